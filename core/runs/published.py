"""The format of published results: a folder `results/<slug>/<scale>/` with the union over a paper's studies.

It holds measurements, arrays, claims, figures, weights of trained networks with their cards, the winners of tuning
studies, and `provenance.json` with {"studies": {study: provenance}, "files": {name: sha256}}. Names of arrays begin
with "<study>/", those of figures with "<study>-". The sum of a compressed file is that of its content; that of
provenance.json itself covers "studies".
"""

import gzip
import shutil
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import files
from core.errors import BadInput
from core.paths import WINNERS
from core.runs.identity import digest
from core.runs.provenance import assert_publishable

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

TABLE, ARRAYS, CLAIMS, PROVENANCE = "measurements.csv.gz", "arrays.npz", "claims.json", "provenance.json"
WEIGHTS = "weights"  # the folder of networks


@dataclass(frozen=True)
class PublishedStudy:
    """What is published of one study; arrays and figures (SVG) by their names within the study, weights by file."""

    table: "pd.DataFrame"
    arrays: dict[str, "np.ndarray"]
    claims: list[dict[str, Any]]
    figures: dict[str, bytes]
    provenance: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, bytes] = field(default_factory=dict)


def find_edits(folder: Path) -> list[str]:
    """What in a published folder is not as it was published, a few words each."""
    try:
        provenance = files.read_json(folder / PROVENANCE)
        recorded = dict(provenance["files"])
        sums = {PROVENANCE: digest(provenance["studies"])}
    except (OSError, ValueError, KeyError, TypeError):
        return [f"{PROVENANCE} is missing or damaged"]
    sums = _sums(folder) | sums
    changed = [f"{name} changed" for name in sorted(sums.keys() & recorded.keys()) if sums[name] != recorded[name]]
    removed = [f"{name} is missing" for name in sorted(recorded.keys() - sums.keys())]
    return changed + removed + [f"{name} was added" for name in sorted(sums.keys() - recorded.keys())]


def read_provenance(folder: Path) -> dict[str, dict[str, Any]]:
    """Provenance by study; empty where nothing is published or the file is damaged."""
    try:
        return dict(files.read_json(folder / PROVENANCE)["studies"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def read_published(folder: Path) -> dict[str, PublishedStudy]:
    """What is published, by study. Raises BadInput for a folder that was edited by hand."""
    from core.runs.measurements import read_arrays, read_measurements

    if not folder.exists():
        return {}
    if edits := find_edits(folder):
        raise BadInput(f"{folder.parent.name}/{folder.name} was edited by hand ({edits[0]}); restore it from git first")
    table, arrays = read_measurements(folder / TABLE), read_arrays(folder / ARRAYS)
    claims = files.read_json(folder / CLAIMS)
    parts = {}
    for study, provenance in read_provenance(folder).items():
        parts[study] = PublishedStudy(
            table=table[table["study"] == study].dropna(axis="columns", how="all").reset_index(drop=True),
            arrays={name.partition("/")[2]: array for name, array in arrays.items() if name.startswith(f"{study}/")},
            claims=[claim for claim in claims if claim["study"] == study],
            figures={name: _figure(folder, study, name).read_bytes() for name in provenance["figures"]},
            provenance=provenance,
            weights={name: (folder / WEIGHTS / name).read_bytes() for name in provenance.get("weights", ())},
        )
    return parts


def write_published(
    folder: Path,
    studies: Mapping[str, PublishedStudy],
    order: Sequence[str],
    untestable_claims: Sequence[dict[str, Any]] = (),
) -> None:
    """Write all parts beside the published folder, then put them in its place.

    `order` lists the ids of the config's claims; others are dropped. `untestable_claims` are claims of no part. Raises
    BadInput, leaving the folder as it was, for content that must stay private. The caller holds the lock and has called
    `recover_interrupted_write`.
    """
    new, old = _beside(folder)
    try:
        _write(new, studies, order, untestable_claims)
    except BaseException:  # of a full disk, too, nothing is left that takes its room
        shutil.rmtree(new, ignore_errors=True)
        raise
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def recover_interrupted_write(folder: Path) -> None:
    """Clear away what a writer that was killed left behind; only for the holder of the lock."""
    new, old = _beside(folder)
    shutil.rmtree(new, ignore_errors=True)
    if old.exists() and not folder.exists():
        old.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _beside(folder: Path) -> tuple[Path, Path]:
    return folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")


def _write(
    folder: Path, parts: Mapping[str, PublishedStudy], order: Sequence[str], untested: Sequence[dict[str, Any]]
) -> None:
    import pandas as pd

    from core.runs.measurements import write_arrays, write_measurements

    claims = [claim for part in parts.values() for claim in part.claims if claim["id"] in order] + list(untested)
    arrays = {f"{study}/{name}": array for study, part in parts.items() for name, array in part.arrays.items()}
    studies = {study: _provenance(part) for study, part in parts.items()}
    assert_publishable(studies, PROVENANCE)
    assert_publishable(claims, CLAIMS)
    for study, part in parts.items():
        for name, content in part.figures.items():
            assert_publishable(content.decode(), f"figure {name} of {study}")
    write_measurements(folder / TABLE, pd.concat([part.table for part in parts.values()], ignore_index=True))
    if arrays:
        write_arrays(folder / ARRAYS, arrays)
    for study, part in parts.items():
        for name, content in part.figures.items():
            files.write_bytes(_figure(folder, study, name), content)
        for name, content in part.weights.items():
            files.write_bytes(folder / WEIGHTS / name, content)
    if winners := {study: part.provenance["winners"] for study, part in parts.items() if "winners" in part.provenance}:
        files.write_json(folder / WINNERS, winners)
    files.write_json(folder / CLAIMS, sorted(claims, key=lambda claim: order.index(claim["id"])))
    files.write_json(folder / PROVENANCE, {"studies": studies, "files": {**_sums(folder), PROVENANCE: digest(studies)}})


def _provenance(part: PublishedStudy) -> dict[str, Any]:
    """With the names of its figures, and of its files of weights where it has any."""
    named = {"figures": sorted(part.figures)} | ({"weights": sorted(part.weights)} if part.weights else {})
    return {name: value for name, value in part.provenance.items() if name != "weights"} | named


def _figure(folder: Path, study: str, name: str) -> Path:
    return folder / "figures" / f"{study}-{name}.svg"


def _sums(folder: Path) -> dict[str, str]:
    """SHA-256 of the content of every file but the provenance, by relative name."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / PROVENANCE)
    return {path.relative_to(folder).as_posix(): _sum(path) for path in found}


def _sum(path: Path) -> str:
    """SHA-256 of a file's content, decompressed for .gz: compressing it again is no edit."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            return "damaged"
    return files.sha256(content)
