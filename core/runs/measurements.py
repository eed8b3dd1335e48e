"""Measurements as tidy rows: JSON lines per replicate while a run goes on, one compressed CSV file at its end."""

import gzip
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core import files
from core.errors import BadInput
from core.lab import stages
from core.runs.folder import RunFolder

FIRST, LAST = ["study", "replicate", "arm"], ["step", "metric", "value"]


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the rows of one replicate as JSON lines; infinite values become the words "inf" and "-inf"."""
    lines = [json.dumps({**row, "value": _encode_number(row["value"])}, allow_nan=False) for row in rows]
    files.write_text(path, "".join(line + "\n" for line in lines))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows that `write_rows` wrote."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [{**row, "value": float(row["value"])} for row in rows]


def _encode_number(value: float) -> float | str:
    return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")


def collect_measurements(run: RunFolder, study: str, replicates: Sequence[int]) -> pd.DataFrame:
    """The table of measurements of some finished replicates."""
    rows = [
        {"study": study, "replicate": number, **row}
        for number in replicates
        for row in read_rows(run.replicate_folder(number) / "measurements.jsonl")
    ]
    return sort_columns(pd.DataFrame(rows))


def sort_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Columns in their fixed order: study, replicate, arm, other conditions by name, step, metric, value."""
    conditions = sorted(set(table.columns) - {*FIRST, *LAST})
    present = [column for column in [*FIRST, *conditions, *LAST] if column in table.columns]
    table = table[present]
    if "step" in table.columns:
        table = table.astype({"step": "Int64"})
    return table


def write_measurements(path: Path, table: pd.DataFrame) -> None:
    """Write a table so that equal tables give equal bytes."""
    text = sort_columns(table).to_csv(index=False, lineterminator="\n")
    files.write_bytes(path, gzip.compress(text.encode(), mtime=0))


def read_measurements(path: Path) -> pd.DataFrame:
    """Read a table of measurements; missing conditions are NaN (`<NA>` for steps)."""
    text = gzip.decompress(path.read_bytes()).decode()
    return sort_columns(pd.read_csv(io.StringIO(text), keep_default_na=False, na_values=[""], low_memory=False))


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as an uncompressed .npz file without time-stamps, so that equal arrays give equal bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{name: np.asarray(arrays[name]) for name in sorted(arrays)})
    files.write_bytes(path, buffer.getvalue())


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read named arrays; an absent file is none. Pickled objects are refused."""
    if not path.exists():
        return {}
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def collect_arrays(run: RunFolder, replicates: Sequence[int]) -> dict[str, np.ndarray]:
    """The kept arrays of some finished replicates, with the replicate axis in front."""
    kept = [_arrays_of(run.replicate_folder(number)) for number in replicates]
    return {name: np.stack([arrays[name] for arrays in kept]) for name in kept[0]}


def _arrays_of(folder: Path) -> dict[str, np.ndarray]:
    path = folder / "arrays.msgpack"
    if not path.exists():
        return {}
    found = stages.load_tree(path)
    if found is None:
        raise BadInput(f"{path} was damaged: remove its folder, and the replicate is computed again")
    return found
