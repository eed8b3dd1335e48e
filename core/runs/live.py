"""Live rows: what the evaluations of a replicate's loops give while it runs, one file per batch.

`live/<first replicate of the batch>.jsonl` in the run's folder holds a line for every evaluation of every replicate:
`{"replicate": 0, "stage": "dense", "step": 100, "validation_loss": 0.41}`. They are never part of a result. A resumed
loop evaluates again where its checkpoint lay behind: later lines win. Once a replicate is finished, its measurements
  count.
"""

import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Row = dict[str, Any]
INDEX_COLUMNS = ("replicate", "stage", "step")  # all other names of a row are metrics


class LiveWriter:
    """Appends the evaluations of one batch; where it cannot write, the run goes on without them."""

    def __init__(self, folder: Path, first_replicate: int) -> None:
        self.path = folder / f"{first_replicate:06d}.jsonl"
        self._begun = self._failed = False

    def write(self, stage: str, step: int, replicates: Sequence[int], values: Mapping[str, "np.ndarray"]) -> None:
        """Write one line per replicate; each metric has shape (), of a single replicate, or (replicates,)."""
        if not values or self._failed:
            return
        by_metric = {name: value.reshape(-1).tolist() for name, value in values.items()}
        lines = [
            {"replicate": number, "stage": stage, "step": step}
            | {name: _encode_number(each[position]) for name, each in by_metric.items()}
            for position, number in enumerate(replicates)
        ]
        try:
            self._append("".join(json.dumps(line) + "\n" for line in lines))
        except OSError:
            self._failed = True

    def remove(self) -> None:
        """Forget the rows; their replicates are finished."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _append(self, text: str) -> None:
        """At the end of the file, which is closed again; what a killed process left of a line is ended first."""
        if not self._begun:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text if self._begun or not file.tell() else "\n" + text)
        self._begun = True


class LiveReader:
    """Reads the rows that were added since the last call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[Path, int] = {}

    def new_rows(self) -> Iterator[Row]:
        """Rows of complete lines, in the order they were written; a line that cannot be read is passed over."""
        for path in sorted(self.folder.glob("*.jsonl")):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:  # its replicate just finished
                file.seek(self._read.get(path, 0))
                text = file.read()
                complete = text[: text.rfind(b"\n") + 1]
                self._read[path] = self._read.get(path, 0) + len(complete)
                yield from filter(None, map(_decode_row, complete.splitlines()))


def _encode_number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _decode_row(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
        metrics = {name: float(value) for name, value in row.items() if name not in INDEX_COLUMNS}
        return {"replicate": int(row["replicate"]), "stage": str(row["stage"]), "step": int(row["step"])} | metrics
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
