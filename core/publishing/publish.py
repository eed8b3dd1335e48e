"""Publishing finished, unmodified runs to `results/<slug>/<scale>/`, and checking whether what is published stands."""

import contextlib
import dataclasses
import json
import math
import re
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from core import files
from core.errors import BadInput
from core.papers.config import PaperConfig, check_winners
from core.runs import published
from core.runs.identity import Identity, identity_differences, inputs_of
from core.runs.published import ARRAYS, CLAIMS, PROVENANCE, TABLE, PublishedStudy, find_edits

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

CURRENT, VERDICTS_CHANGED, EDITED = "current", "verdict logic changed (seconds)", "edited by hand"


@dataclass(frozen=True)
class CurrentIdentities:
    """What a study would be if it were run now: its identity, those of its verdicts and of its figures."""

    identity: Identity
    verdicts: str
    figures: str


@dataclass(frozen=True)
class PublishableRun:
    """A run of one study that is to be published: its folder, and how many replicates the config plans."""

    study: str
    folder: Path
    replicates: int
    current: CurrentIdentities

    @property
    def verdict(self) -> Path:
        """Where the run's table, claims and figures on the planned replicates are."""
        return self.folder / "verdict" / f"0-{self.replicates}"


class PublishedState(NamedTuple):
    """The state of one published study ("*": of all, when files were edited); `detail` says what differs."""

    scale: str
    study: str
    state: str
    detail: str


def publish(
    slug: str,
    scale: str,
    candidates: Sequence[PublishableRun],
    config: PaperConfig,
    results: Path,
    dirty: bool | None,
) -> Path:
    """Publish runs, keep what was published of the config's other studies, and return the folder.

    Args:
      slug: the paper.
      scale: the scale of all runs.
      candidates: one run per study.
      config: of the paper.
      results: folder of published results.
      dirty: whether the checkout has uncommitted changes; None where that is unknown.

    Raises BadInput, leaving everything as it was, when a run may not be published.
    """
    if not candidates:
        raise BadInput(f"{slug}: no run to publish; `encore run paper={slug} scale={scale}` makes one")
    if dirty is not False:
        raise BadInput(f"{slug}: commit your changes first; only results of committed code are published")
    for candidate in candidates:
        if refusal := _refusal(slug, candidate):
            raise BadInput(f"{slug} {candidate.study}: {refusal}")
    with lock_published_folder(results, slug, scale) as folder:
        new = {each.study: _part(slug, scale, each, config, results) for each in candidates}
        earlier = published.read_provenance(folder)
        replaced = earlier and all(study in new or study not in config.studies for study in earlier)
        parts = {**({} if replaced else published.read_published(folder)), **new}
        ordered = {study: parts[study] for study in config.studies if study in parts}
        published.write_published(folder, ordered, list(config.claims), claims_without_rows(config, scale, ordered))
    return folder


def claims_without_rows(config: PaperConfig, scale: str, studies: Collection[str]) -> list[dict[str, Any]]:
    """The claims of other studies than these that nothing measured at this scale could decide."""
    import pandas as pd

    from core.judging.judge import judge_claim

    return [
        judge_claim(claim, pd.DataFrame(), scale, config.form.studies[claim.study].deviations)
        for claim in config.claims.values()
        if claim.study not in studies and scale in claim.not_testable
    ]


def published_states(
    results: Path, slug: str, current_identities: Callable[[str, str], CurrentIdentities | None]
) -> list[PublishedState]:
    """The state of every published study of a paper.

    `current_identities(scale, study)` is what the study would be now, None when the config no longer has it.
    """
    found = []
    for folder in sorted(path for path in (results / slug).glob("[!.]*") if path.is_dir()):
        if edits := find_edits(folder):
            found.append(PublishedState(folder.name, "*", EDITED, "; ".join(edits)))
            continue
        for study, provenance in published.read_provenance(folder).items():
            state, detail = _state(provenance, current_identities(folder.name, study))
            found.append(PublishedState(folder.name, study, state, detail))
    return found


def remake_verdicts(
    results: Path,
    slug: str,
    scale: str,
    config: PaperConfig,
    current_identities: Callable[[str, str], CurrentIdentities | None],
    judge: Callable[[str, "pd.DataFrame"], list[dict[str, Any]]],
    draw: Callable[[str, "pd.DataFrame", dict[str, "np.ndarray"]], dict[str, bytes]],
) -> list[str]:
    """Make verdicts and figures again, from the published measurements, where their logic changed and nothing else.

    Args:
      results: folder of published results.
      slug: the paper.
      scale: the published scale.
      config: of the paper.
      current_identities: as for `check`.
      judge: `judge(study, measurements)`, the entries of claims.json for the claims of one study.
      draw: `draw(study, measurements, arrays)`, figures as SVG by name.

    Returns the studies that were made again. Raises BadInput when the folder was edited by hand.
    """
    with lock_published_folder(results, slug, scale) as folder:
        parts, again = published.read_published(folder), []
        for study, part in parts.items():
            now = current_identities(scale, study)
            if now is None or _logic(part.provenance) == (now.verdicts, now.figures):
                continue
            if inputs_of(part.provenance["identity"]) != inputs_of(now.identity.parts):
                continue  # rows of other settings or data are of another study: it is to be run again
            parts[study] = dataclasses.replace(
                part,
                claims=judge(study, part.table),
                figures=draw(study, part.table, part.arrays),
                provenance={**part.provenance, "verdict_identity": now.verdicts, "figures_identity": now.figures},
            )
            again.append(study)
        if again:
            published.write_published(folder, parts, list(config.claims), claims_without_rows(config, scale, parts))
    return again


def compare_replicate(
    folder: Path,
    study: str,
    replicate: int,
    recomputed: "pd.DataFrame",
    tolerance: float = 0.0,
    ignored: Collection[str] = (),
) -> list[str]:
    """How one replicate, computed `recomputed`, differs from the published one: a line per row that does.

    `tolerance` is relative; metrics that are `ignored`, such as seconds, are not compared.
    """
    from core.runs.measurements import read_measurements

    table = read_measurements(folder / TABLE)
    mine = table[(table["study"] == study) & (table["replicate"] == replicate)]
    before, now = _by_conditions(mine, ignored), _by_conditions(recomputed, ignored)
    found = [f"{row}: only published" for row in sorted(before.keys() - now.keys())]
    found += [f"{row}: not published" for row in sorted(now.keys() - before.keys())]
    for row in sorted(before.keys() & now.keys()):
        if not math.isclose(before[row], now[row], rel_tol=tolerance):
            found.append(f"{row}: {before[row]!r} published, {now[row]!r} now")
    return found


def ledger_entries(ledger: Path, slug: str, study: str, scale: str, replicates: int) -> list[dict[str, Any]]:
    """The distinct lines of the ledger about runs of a study, by whatever code, on replicates below `replicates`."""
    mine = re.compile(rf"{re.escape(f'{slug}-{study}-{scale}')}-[0-9a-f]{{12}}")
    found = []
    for line in ledger.read_text(encoding="utf-8").splitlines() if ledger.exists() else []:
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a line cut short when its process was killed
            entry = {name: json.loads(line)[name] for name in ("identity", "first", "count", "date")}
            if mine.fullmatch(entry["identity"]) and entry["first"] < replicates:
                found.append(entry)
    return _distinct(found)


def _distinct(entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    unique = {json.dumps(entry, sort_keys=True): dict(entry) for entry in entries}
    return sorted(unique.values(), key=lambda entry: (entry["date"], entry["identity"], entry["first"], entry["count"]))


@contextlib.contextmanager
def lock_published_folder(results: Path, slug: str, scale: str) -> Generator[Path]:
    """The published folder of a paper at a scale, for one writer at a time."""
    busy = f"{slug} at scale {scale} is being published by another process; try again when it is done"
    with files.try_lock(results / "runs" / f".{slug}-{scale}.publishing", busy):
        published.recover_interrupted_write(results / slug / scale)
        yield results / slug / scale


def _refusal(slug: str, candidate: PublishableRun) -> str | None:
    """Why a run may not be published, in one line; None when it may."""
    folder, now = candidate.folder, candidate.current
    command = f"`encore run paper={slug} study={candidate.study} scale={now.identity.scale}`"
    if not (folder / "settings.json").exists():
        return f"no run to publish; {command} makes one"
    settings = files.read_json(folder / "settings.json")
    if settings["overridden"]:
        return f"settings were overridden ({', '.join(settings['overridden'])}); only the config's own are published"
    if changes := identity_differences(settings["identity"], now.identity.parts):
        return f"the run is no longer current ({', '.join(changes)}); {command} makes a new one"
    done = [(folder / "replicates" / f"{number:06d}" / "done.json").exists() for number in range(candidate.replicates)]
    if not all(done):
        absent = ", ".join(str(number) for number, there in enumerate(done) if not there)
        return f"of the {len(done)} planned replicates these are missing: {absent}; {command} computes them"
    if not all((candidate.verdict / name).exists() for name in (TABLE, CLAIMS, PROVENANCE)):
        return f"the run is not finished; {command} goes on with it"
    provenance = files.read_json(candidate.verdict / PROVENANCE)
    if _logic(provenance) != (now.verdicts, now.figures):
        return f"verdicts or figures were made by other code; {command} makes them again in seconds"
    if provenance["dirty"] is not False:
        return f"the run was made from uncommitted code; {command} makes its verdicts again from a clean tree"
    return None


def _part(slug: str, scale: str, candidate: PublishableRun, config: PaperConfig, results: Path) -> PublishedStudy:
    """What is to be published of one run."""
    from core.runs.measurements import read_arrays, read_measurements
    from core.weights.export import export_networks, is_kept_for_network

    folder, settings = candidate.verdict, files.read_json(candidate.folder / "settings.json")
    provenance, table, study = files.read_json(folder / PROVENANCE), read_measurements(folder / TABLE), candidate.study
    ledger = _ledger(slug, scale, candidate, results, provenance["date"])
    arrays = read_arrays(folder / ARRAYS).items()
    part = PublishedStudy(
        table=table,
        arrays={name: array for name, array in arrays if not is_kept_for_network(slug, study, name)},
        claims=files.read_json(folder / CLAIMS),
        figures={name: (folder / "figures" / f"{name}.svg").read_bytes() for name in provenance["figures"]},
        provenance={
            **provenance,
            "replicates": candidate.replicates,
            "settings": settings["settings"],
            "identity": settings["identity"],
            "times_run": len(ledger),
            "ledger": ledger,
        },
        weights=export_networks(config, study, scale, candidate.folder, settings["settings"], table, provenance),
    )
    return _with_winners(part, config, study)


def _with_winners(part: PublishedStudy, config: PaperConfig, study: str) -> PublishedStudy:
    """The same with the winners of a study that tunes a setting; one at the edge of its grid is not published."""
    if (tuning := config.form.studies[study].tune) is None:
        return part
    from core.judging.winners import find_winners

    winners = find_winners(tuning, part.table)
    check_winners(study, tuning, winners)
    return dataclasses.replace(part, provenance={**part.provenance, "winners": winners})


def _ledger(slug: str, scale: str, candidate: PublishableRun, results: Path, date: str) -> list[dict[str, Any]]:
    """Every run on the published replicates that is known of: here, before the last publication, and this one."""
    found = ledger_entries(candidate.folder.parent / "ledger.jsonl", slug, candidate.study, scale, candidate.replicates)
    found += published.read_provenance(results / slug / scale).get(candidate.study, {}).get("ledger", [])
    name = candidate.current.identity.name
    if name not in {entry["identity"] for entry in found}:
        found.append({"identity": name, "first": 0, "count": candidate.replicates, "date": date})
    return _distinct(found)


def _state(provenance: Mapping[str, Any], now: CurrentIdentities | None) -> tuple[str, str]:
    renew = f"renew ({max(1, math.ceil(provenance['seconds'] / 60))} min)"
    if now is None:
        return renew, "the config has no such study"
    if changes := identity_differences(provenance["identity"], now.identity.parts):
        return renew, ", ".join(changes)
    pairs = zip(("verdicts", "figures"), _logic(provenance), (now.verdicts, now.figures), strict=True)
    changed = [name for name, before, after in pairs if before != after]
    return (VERDICTS_CHANGED, ", ".join(changed)) if changed else (CURRENT, _confirmation_text(provenance))


def _confirmation_text(provenance: Mapping[str, Any]) -> str:
    """By what the present code is known to compute the same as the code that was run, if it is another."""
    if not (entries := provenance.get("confirmed")):
        return ""
    return f"by replicate {entries[-1]['replicate']}, computed again on {entries[-1]['date']}"


def _logic(provenance: Mapping[str, Any]) -> tuple[str | None, str | None]:
    return provenance.get("verdict_identity"), provenance.get("figures_identity")


def _by_conditions(table: "pd.DataFrame", ignored: Collection[str]) -> dict[str, float]:
    """Values by the words for their row: metric, then every condition that applies, numbers in one spelling."""
    values = {}
    for row in table[~table["metric"].isin(list(ignored))].to_dict("records"):
        conditions = sorted(row.keys() - {"study", "replicate", "metric", "value"})
        words = [f"{name}={_format_condition(row[name])}" for name in conditions if not _is_missing(row[name])]
        values[" ".join([row["metric"], *words])] = float(row["value"])
    return values


def _is_missing(value: Any) -> bool:
    import pandas as pd

    return bool(pd.isna(value))


def _format_condition(value: Any) -> str:
    return value if isinstance(value, str) else repr(float(value))
