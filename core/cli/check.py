"""`encore check`: which published results are current, need seconds, need minutes, or were edited by hand."""

import argparse
import functools
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from core import paths
from core.cli import documents
from core.cli.publish import standing
from core.errors import BadInput
from core.kept import code_files, files_below, find_answers, library_stamp, paper_files, shared_config_files, stamp
from core.launch import compose, jobs
from core.papers.config import PaperConfig, load_config
from core.papers.config_files import all_slugs
from core.paths import project_root, published_folder
from core.planning.machine import available_cores
from core.publishing import confirm, publish
from core.runs import provenance, published

# Relative difference that other versions of the numerical libraries may make after thousands of steps.
OTHER_LIBRARIES = 0.05


def main(arguments: argparse.Namespace) -> int:
    """Print the state of every published study; exit code 1 when one was edited or is computed differently."""
    slugs, bad = arguments.papers or all_slugs(), False
    if arguments.json:
        return _print_json(slugs, arguments)
    for config in map(load_config, slugs if arguments.remake or arguments.confirm else ()):
        if arguments.remake:
            _remake(config)
        if arguments.confirm:
            bad |= _confirm(config)
    for slug, found in published_states(slugs).items():
        for status in found or [publish.PublishedState("-", "-", "not published", "")]:
            print(f"{slug:20} {status.scale:8} {status.study:10} {status.state:32} {status.detail}".rstrip())
            bad |= status.state == publish.EDITED
        if arguments.spot and found:
            bad |= _spot(load_config(slug))
    return int(bad)


def _print_json(slugs: Iterable[str], arguments: argparse.Namespace) -> int:
    if asked := [name for name in ("spot", "remake", "confirm") if getattr(arguments, name)]:
        raise BadInput(f"--json says how results stand and changes nothing: leave --{asked[0]} out")
    states = published_states(slugs)
    documents.print_json("check", **documents.check_document(states))
    return int(any(status.state == publish.EDITED for found in states.values() for status in found))


def published_states(slugs: Iterable[str]) -> dict[str, list[publish.PublishedState]]:
    """The state of every published study by paper, found anew where something that it hangs on was written since."""
    common = f"{stamp(code_files())}{stamp(shared_config_files())}{library_stamp()}"
    own = {slug: (*paper_files(slug), *files_below(published_folder() / slug)) for slug in slugs}
    stamps = {slug: f"{common}{stamp(found)}" for slug, found in own.items()}
    states = find_answers("states", stamps, _find_states, processes=len(available_cores()))
    return {slug: [publish.PublishedState(**state) for state in found] for slug, found in states.items()}


def _find_states(slug: str) -> list[dict[str, str]]:
    config = load_config(slug)
    found = publish.published_states(published_folder(), slug, _current_identities(config))
    return [state._asdict() for state in found]


def _current_identities(config: PaperConfig) -> Callable[[str, str], publish.CurrentIdentities | None]:
    """What a study would be if it were run now, by scale and study; None when the config has it no more.

    All studies of a scale are composed together, once.
    """

    @functools.cache
    def find_studies(scale: str) -> dict[str, publish.CurrentIdentities]:
        launch = compose.compose_launch([f"paper={config.slug}", "study=all", f"scale={scale}"])
        return {each.study.name: standing(jobs.make_job(launch, each)) for each in launch.studies}

    return lambda scale, study: find_studies(scale).get(study)


def _remake(config: PaperConfig) -> None:
    from core.judging import verdicts

    current = _current_identities(config)
    for folder in sorted(path for path in (published_folder() / config.slug).glob("[!.]*") if path.is_dir()):
        scale = folder.name
        again = publish.remake_verdicts(
            published_folder(),
            config.slug,
            scale,
            config,
            current,
            lambda study, table, scale=scale: verdicts.judge_study(config, study, table, scale),
            lambda study, table, arrays: _drawn(config, study, table, arrays),
        )
        if again:
            print(f"{config.slug} {scale}: verdicts and figures of {', '.join(again)} made again")


def _drawn(config: PaperConfig, study: str, table: Any, arrays: Any) -> dict[str, bytes]:
    from core.running import conclude

    with tempfile.TemporaryDirectory() as folder:
        names, notes = conclude.draw_figures(config, study, table, arrays, Path(folder))
        if notes:
            raise BadInput(notes[0])
        return {name: (Path(folder) / "figures" / f"{name}.svg").read_bytes() for name in names}


def _spot(config: PaperConfig) -> bool:
    """Compute the first replicate of the cheapest published study with data again, away from all runs, and compare."""
    folder = published_folder() / config.slug / "laptop"
    studies = publish.files.read_json(folder / publish.PROVENANCE)["studies"]
    study = min(
        (name for name in studies if studies[name]["cost"]["steps"]), key=lambda n: studies[n]["seconds"], default=None
    )
    study = study or next(iter(studies))
    job, table = _first_replicate(config, study, "laptop")
    same_libraries = studies[study]["identity"]["libraries"] == job.identity.parts["libraries"]
    found = publish.compare_replicate(folder, study, job.numbers[0], table, 0.0 if same_libraries else OTHER_LIBRARIES)
    return _differences(config.slug, study, job, table, found)


def _confirm(config: PaperConfig) -> bool:
    """Compute the first replicate of each published study with other code or libraries again; record equal ones."""
    commit, dirty = provenance.git_state(project_root())
    if dirty is not False:
        raise BadInput(f"{config.slug}: commit your changes first; only committed code can be confirmed")
    different, current = False, _current_identities(config)
    for folder in sorted(path for path in (published_folder() / config.slug).glob("[!.]*") if path.is_dir()):
        for study, recorded in published.read_provenance(folder).items():
            standing_now = current(folder.name, study)
            if standing_now is None or not confirm.can_confirm(recorded, standing_now):
                continue
            if config.studies[study].form.exclusive:
                print(f"{config.slug} {study}: seconds cannot be confirmed by a replicate; run it again")
                continue
            job, table = _first_replicate(config, study, folder.name)
            about = {"commit": commit, "date": provenance.today()}
            found = confirm.confirm_study(
                published_folder(), config.slug, folder.name, config, study, standing_now, table, about
            )
            different |= _differences(config.slug, study, job, table, found)
    return different


def _first_replicate(config: PaperConfig, study: str, scale: str) -> tuple[jobs.Job, Any]:
    """The measurements of the first published replicate of a study, computed again away from all runs."""
    from core.running import execute
    from core.runs import measurements

    words = [f"paper={config.slug}", f"study={study}", f"scale={scale}", "replicates=1", "tracking=none"]
    launch = compose.compose_launch(words)
    job = jobs.make_job(launch, launch.studies[0])
    with paths.temporary_results_folder():
        execute.run_launch(launch)
        return job, measurements.collect_measurements(job.run, study, job.numbers)


def _differences(slug: str, study: str, job: jobs.Job, table: Any, found: list[str]) -> bool:
    print(f"{slug} {study}: replicate {job.numbers[0]} computed again, {len(found)} of {len(table)} rows differ")
    for line in found[:5]:
        print(f"  {line}")
    return bool(found)
