"""What lies in the results folder, read and checked: published results and local runs; anything unfit is named.

Light: reads JSON and SVG text, imports neither jax nor pandas.
"""

import base64
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core import files
from core.paths import result_name
from core.report.claims import Claim, parse_claims
from core.runs.published import find_edits

RESERVED_FOLDERS = ("runs", "report")
NOT_RUNS = re.compile(r"sweeps|.+-prepared-[0-9a-f]{12}")  # folders of sweeps, and work that runs share
MEASUREMENTS_FILE = "measurements.csv.gz"
SCALES = ("laptop", "paper", "smoke")  # in the order of interest to a reader

_DESCRIPTION = re.compile(r"<dc:description>(.*?)</dc:description>", re.DOTALL)


class InvalidResult(ValueError):
    """A folder that cannot be shown, and why."""


@dataclass(frozen=True)
class Drawing:
    """The file of a figure, and of what."""

    study: str
    name: str
    path: Path


@dataclass(frozen=True)
class FigureImage:
    """One drawing as a data URI, with words for those who cannot see it."""

    name: str
    caption: str
    uri: str


@dataclass(frozen=True)
class StudyOrigin:
    """How one study's numbers came about."""

    name: str
    replicates: str
    settings: Mapping[str, Any]
    overridden: tuple[str, ...]
    provenance: Mapping[str, Any]

    @property
    def minutes(self) -> float:
        """Wall time."""
        return self.known_minutes or 0.0

    @property
    def known_minutes(self) -> float | None:
        """The same; None where nothing says so."""
        return None if self.provenance.get("seconds") is None else _number(self.provenance["seconds"]) / 60


@dataclass(frozen=True)
class Result:
    """Claims with verdicts, figures and provenance of one published scale, or of one local verdict."""

    slug: str
    scale: str
    path: str
    published: bool
    claims: tuple[Claim, ...]
    studies: tuple[StudyOrigin, ...]
    warnings: tuple[str, ...] = ()
    folder: Path = field(default=Path(), repr=False)
    modified_time: float = 0.0

    @property
    def minutes(self) -> float:
        """Wall time of all its studies."""
        return self.minutes_of_studies({study.name for study in self.studies})

    def minutes_of_studies(self, names: set[str]) -> float:
        """Wall time of the studies with these names."""
        return sum(study.minutes for study in self.studies if study.name in names)

    @property
    def date(self) -> str:
        """Day of its latest study, or an empty text."""
        return max((str(study.provenance.get("date") or "") for study in self.studies), default="")

    @property
    def measurements_file(self) -> Path:
        """The file of its measurements."""
        return self.folder / MEASUREMENTS_FILE

    @property
    def label(self) -> str:
        """A few words to tell it from the paper's other results."""
        if self.published:
            return f"published, {self.scale} scale"
        [study] = self.studies
        changed = f", {', '.join(study.overridden)} overridden" if study.overridden else ""
        return f"local run of {study.name}, {self.scale} scale, {study.replicates}{changed}"

    def drawings(self, studies: Sequence[str] = (), names: Sequence[str] = ()) -> list[Drawing]:
        """Its drawings, in the order of `studies` and, of each study, of `names`."""
        found = [self._drawing(path) for path in sorted((self.folder / "figures").glob("*.svg"))]
        return sorted(found, key=lambda each: (_index(each.study, studies), _index(each.name, names), each.path.name))

    def _drawing(self, path: Path) -> Drawing:
        study, _, name = path.stem.partition("-") if self.published else (self.studies[0].name, "", path.stem)
        return Drawing(study, name, path)

    def missing_figures(self) -> list[str]:
        """Drawings that its provenance names and that are not there."""
        prefix = "{}-" if self.published else ""
        wanted = [
            f"figures/{prefix.format(study.name)}{name}.svg"
            for study in self.studies
            for name in _text_items(study.provenance.get("figures"))
        ]
        return [name for name in wanted if not (self.folder / name).is_file()]


def read_published_result(root: Path, slug: str, scale: str) -> Result:
    """The published result of a paper at a scale; InvalidResult says why there is none to show."""
    folder = root / slug / scale
    provenance = _mapping(_read(folder, "provenance.json"), folder)
    studies = _mapping(provenance.get("studies"), folder)
    parsed = tuple(_published_study(name, _mapping(data, folder)) for name, data in studies.items())
    warnings = tuple(f"edited by hand: {edit}" for edit in find_edits(folder))
    claims = _claims(folder)
    return Result(slug, scale, result_name(folder), True, claims, parsed, warnings, folder)


def read_local_result(folder: Path) -> Result:
    """The verdict of a local run in `folder`, a run's `verdict/<first>-<count>`."""
    run = folder.parents[1]
    about = read_run_settings(run)
    if not re.fullmatch(r"\d+-\d+", folder.name):
        raise InvalidResult(f"{result_name(folder)}: not a verdict's folder")
    first, count = (int(text) for text in folder.name.split("-"))
    provenance = _mapping(_read(folder, "provenance.json"), folder)
    study = StudyOrigin(
        name=about["study"],
        replicates=_replicates(first, count),
        settings=_or_empty(about.get("settings")),
        overridden=tuple(str(name) for name in about.get("overridden") or ()),
        provenance=provenance,
    )
    claims, age = _claims(folder), (folder / "claims.json").stat().st_mtime
    return Result(
        about["paper"],
        about["scale"],
        result_name(folder),
        False,
        claims,
        (study,),
        folder=folder,
        modified_time=age,
    )


def read_run_settings(run: Path) -> Mapping[str, Any]:
    """What a run's settings.json says; InvalidResult when it does not name paper, study and scale."""
    about = _mapping(_read(run, "settings.json"), run)
    if any(not isinstance(about.get(name), str) for name in ("paper", "study", "scale")):
        raise InvalidResult(f"{result_name(run)}: settings.json names no paper, study and scale")
    return about


def publishable_folders(root: Path) -> Iterator[tuple[str, str]]:
    """Slug and scale of every folder that may be published."""
    for paper in sorted(path for path in root.glob("[!.]*") if path.is_dir() and path.name not in RESERVED_FOLDERS):
        for folder in sorted(path for path in paper.glob("[!.]*") if path.is_dir()):
            yield paper.name, folder.name


def run_folders(root: Path) -> list[Path]:
    """Every folder that may be a local run."""
    folders = (path for path in (root / "runs").glob("[!.]*") if path.is_dir())
    return sorted(path for path in folders if not NOT_RUNS.fullmatch(path.name))


def read_all_results(root: Path, local_root: Path, slugs: set[str]) -> tuple[dict[str, list[Result]], list[str]]:
    """Results by paper (published first, then local ones, the newest first), and a line per folder left out."""
    found: dict[str, list[Result]] = {slug: [] for slug in slugs}
    skipped: list[str] = []
    for slug, scale in publishable_folders(root):
        if slug in slugs:
            _collect(found, skipped, lambda slug=slug, scale=scale: read_published_result(root, slug, scale))
        else:
            skipped.append(f"{slug}/{scale}: there is no config for this paper")
    for run in run_folders(local_root):
        for folder in sorted(path for path in (run / "verdict").glob("[!.]*") if path.is_dir()):
            _collect(found, skipped, lambda folder=folder: read_local_result(folder))
    for results in found.values():
        results.sort(key=lambda result: (not result.published, scale_sort_key(result.scale), -result.modified_time))
    return found, skipped


def _collect(found: dict[str, list[Result]], skipped: list[str], read: Any) -> None:
    try:
        result = read()
    except InvalidResult as error:
        skipped.append(str(error))
        return
    if result.slug in found:
        found[result.slug].append(result)
    else:
        skipped.append(f"{result.path}: there is no config for '{result.slug}'")


def _index(name: str, names: Sequence[str]) -> int:
    return names.index(name) if name in names else len(names)


def scale_sort_key(scale: str) -> int:
    """Sorts scales by their interest to a reader."""
    return SCALES.index(scale) if scale in SCALES else len(SCALES)


def _published_study(name: str, data: Mapping[str, Any]) -> StudyOrigin:
    count = data.get("replicates")
    shown = _replicates(0, count) if isinstance(count, int) else ""
    return StudyOrigin(name, shown, _or_empty(data.get("settings")), (), data)


def _replicates(first: int, count: int) -> str:
    if count == 1:
        return f"1 replicate ({first})"
    return f"{count} replicates ({first} to {first + count - 1})"


def _claims(folder: Path) -> tuple[Claim, ...]:
    try:
        return parse_claims(_read(folder, "claims.json"))
    except InvalidResult:
        raise
    except ValueError as error:
        raise InvalidResult(f"{result_name(folder)}: claims.json: {error}") from None


def read_figure(path: Path) -> FigureImage:
    """A drawing with the words that describe it."""
    content = path.read_bytes()
    described = _DESCRIPTION.search(content.decode("utf-8", errors="replace"))
    name = path.stem.replace("_", " ").replace("-", ": ", 1)
    caption = html.unescape(described.group(1)).strip() if described else name
    return FigureImage(name, caption, "data:image/svg+xml;base64," + base64.b64encode(content).decode())


def _read(folder: Path, name: str) -> Any:
    try:
        return files.read_json(folder / name)
    except FileNotFoundError:
        raise InvalidResult(f"{result_name(folder)}: {name} is missing; the result is not finished") from None
    except (OSError, ValueError, RecursionError):
        raise InvalidResult(f"{result_name(folder)}: {name} cannot be read") from None


def _mapping(value: Any, folder: Path) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidResult(f"{result_name(folder)}: not written by this program")
    return value


def _text_items(value: Any) -> list[str]:
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []


def _or_empty(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
