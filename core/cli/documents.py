"""What commands say with `--json`: one document each, as docs/json.md describes them; plain data, made here alone."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from core import files, paths
from core.papers.claims import SCALES, Printed
from core.papers.overview import PaperOverview
from core.papers.settings import flatten_settings, range_of, unit_of
from core.runs.sweep_folder import STATES, Sweep, SweepPoint

if TYPE_CHECKING:
    from core.launch.compose import Launch
    from core.launch.jobs import JobOutcome
    from core.papers.config import PaperConfig, StudyConfig
    from core.planning.accelerators import Fleet
    from core.planning.estimate import StudyEstimate
    from core.publishing.publish import PublishedState

VERSION = 1  # raised when a name goes or changes its meaning; names may be added within a version


def print_json(command: str, **content: Any) -> None:
    """Print one document. Numbers that JSON lacks are null, signs beyond ASCII are escaped."""
    print(json.dumps(_plain({"version": VERSION, "command": command, **content}), indent=1, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def list_document(found: Mapping[str, PaperOverview]) -> dict[str, Any]:
    """Every paper with what is published of it at laptop scale."""
    return {"papers": [overview_document(slug, about) for slug, about in found.items()]}


def overview_document(slug: str, about: PaperOverview) -> dict[str, Any]:
    """One paper; `minutes` are what its default studies took, `unproven` claims that hold though no control passes."""
    folder, claims, minutes = paths.published_folder() / slug / "laptop", [], None
    if (folder / "claims.json").exists():
        claims = files.read_json(folder / "claims.json")
        studies = files.read_json(folder / "provenance.json")["studies"]
        seconds = sum(study["seconds"] for name, study in studies.items() if name in about.default_studies)
        minutes = round(seconds / 60, 1)
    return {
        "paper": slug,
        "title": about.title,
        "fields": about.fields,
        "claims": about.claims,
        "default_studies": about.default_studies,
        "verdicts": {claim["id"]: claim["verdict"] for claim in claims},
        "unproven": [claim["id"] for claim in claims if _is_unproven(claim)],
        "minutes": minutes,
    }


def _is_unproven(claim: Mapping[str, Any]) -> bool:
    return claim["verdict"] == "holds" and claim["control"]["passes"] is False


def paper_document(config: "PaperConfig") -> dict[str, Any]:
    """What a config says of its paper."""
    about = config.paper
    claims = [
        {
            "claim": name,
            "study": claim.study,
            "says": claim.says,
            "printed": _printed(config.form.claims[name].printed),
            "control": claim.control.name,
        }
        for name, claim in config.claims.items()
    ]
    return {
        "paper": config.slug,
        "title": about.title,
        "authors": about.authors,
        "year": about.year,
        "venue": about.venue,
        "arxiv": about.arxiv,
        "doi": about.doi,
        "fields": about.fields,
        "idea": about.idea.strip(),
        "claims": claims,
        "studies": [{"study": s.name, "says": s.says, "default": s.default} for s in config.studies.values()],
        "notes": config.notes.strip(),
    }


def _printed(printed: Printed | None) -> dict[str, Any] | None:
    return {"value": printed.value, "unit": printed.unit, "where": printed.where} if printed else None


def study_document(study: "StudyConfig", fields: Mapping[str, Any]) -> dict[str, Any]:
    """Arms, settings and deviations of a study; `fields` are those of its settings by dotted name."""
    values = {scale: dict(flatten_settings(study.all_values(scale))) for scale in SCALES}
    settings = []
    for name in dict.fromkeys(name for column in values.values() for name in column):
        field = fields.get(name) or fields.get(name.rpartition(".")[0])
        settings.append(
            {
                "setting": name,
                "values": {scale: column.get(name) for scale, column in values.items()},
                "unit": (unit_of(field) if field else "") or None,
                "range": (range_of(field) if field else "") or None,
                "meaning": field.description if field else None,
            }
        )
    return {
        "paper": study.slug,
        "study": study.name,
        "says": study.says,
        "default": study.default,
        "replicates": {scale: study.replicates(scale) for scale in SCALES},
        "arms": study.form.arms,
        "settings": settings,
        "deviations": [each.model_dump(mode="json") for each in study.form.deviations],
    }


def plan_document(found: Sequence["StudyEstimate"], fleet: "Fleet | None", picked: Sequence[int]) -> dict[str, Any]:
    """What runs would cost; `picked` are the numbers of those that `--within` chooses."""
    accelerator = fleet and {
        "name": fleet.accelerator.title, "count": fleet.count, "efficiency": fleet.efficiency
    }  # fmt: skip
    studies = [
        {
            "paper": line.slug,
            "study": line.study,
            "scale": line.scale,
            "words": line.words,
            "replicates": line.total_replicates,
            "missing_replicates": line.replicates,
            "stages": line.stages,
            "steps": line.replicates * line.steps,
            "flops": line.replicates * line.flops,
            "gib": line.gib,
            "minutes": line.minutes,
            "at_least": line.is_lower_bound,
            "claims": line.claims,
            "estimated_from": line.source,
            "differs_from_published": line.changes,
            "picked": number in picked,
        }
        for number, line in enumerate(found)
    ]
    return {"accelerator": accelerator, "minutes": sum(line.minutes for line in found), "studies": studies}


def check_document(states: Mapping[str, Sequence["PublishedState"]]) -> dict[str, Any]:
    """The state of every published study."""
    return {"papers": [{"paper": slug, "results": list(map(_state, found))} for slug, found in states.items()]}


def _state(found: "PublishedState") -> dict[str, Any]:
    state, _, rest = found.state.partition(" (")
    minutes = re.fullmatch(r"(\d+) min\)", rest)
    study = None if found.study == "*" else found.study
    return {
        "scale": found.scale,
        "study": study,
        "state": state,
        "minutes": int(minutes.group(1)) if minutes else None,
        "detail": found.detail,
    }


def sweep_document(sweep: Sweep) -> dict[str, Any]:
    """How far a sweep has come, and its points, the best first."""
    ranked = [point.number for point in sweep.ranked_points()]
    return {
        "sweep": sweep.identity,
        "words": sweep.words,
        "sweeper": sweep.sweeper,
        "axes": sweep.axes,
        "objective": sweep.objective,
        "states": {state: sweep.count_points(state) for state in STATES},
        "ranked": ranked,
        "winner": sweep.winner,
        "points": [_point(point) for point in sweep.points],
    }


def _point(point: SweepPoint) -> dict[str, Any]:
    return {
        "number": point.number,
        "overrides": point.overrides,
        "state": point.state,
        "message": point.message,
        "seconds": point.seconds,
        "runs": point.runs,
        "objective": point.objective,
    }


def run_document(launch: "Launch", outcomes: Sequence["JobOutcome"]) -> dict[str, Any]:
    """What came of a run; claims are entries of claims.json."""
    return {"paper": launch.config.slug, "scale": launch.scale, "studies": list(map(_outcome, outcomes))}


def _outcome(outcome: "JobOutcome") -> dict[str, Any]:
    job, folder = outcome.job, outcome.folder
    return {
        "study": job.study.name,
        "run": job.identity.name,
        "first_replicate": job.numbers[0],
        "replicates": len(job.numbers),
        "folder": str(folder),
        "figures": sorted(path.name for path in (folder / "figures").glob("*.svg")),
        "notes": outcome.notes,
        "claims": outcome.claims,
    }
