"""The folder of a run: one study at one identity, whatever the number of replicates."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import files
from core.paths import runs_folder


@dataclass(frozen=True)
class RunFolder:
    """Where the parts of a run are kept."""

    identity: str

    @property
    def folder(self) -> Path:
        """Everything of the run."""
        return runs_folder() / self.identity

    @property
    def settings_file(self) -> Path:
        """Settings and identity, written before anything is computed."""
        return self.folder / "settings.json"

    @property
    def checkpoints(self) -> Path:
        """States of unfinished loops."""
        return self.folder / "checkpoints"

    @property
    def live_folder(self) -> Path:
        """What unfinished replicates show of themselves."""
        return self.folder / "live"

    @property
    def logs_folder(self) -> Path:
        """What the workers said."""
        return self.folder / "logs"

    def replicate_folder(self, number: int) -> Path:
        """The folder of one replicate."""
        return self.folder / "replicates" / f"{number:06d}"

    def is_finished(self, number: int) -> bool:
        """Whether a replicate is complete."""
        return (self.replicate_folder(number) / "done.json").exists()

    def missing_replicates(self, numbers: Sequence[int]) -> list[int]:
        """Those of the replicates that still have to be computed."""
        return [number for number in numbers if not self.is_finished(number)]

    def read_cost(self, number: int) -> dict[str, Any]:
        """What a finished replicate cost."""
        return files.read_json(self.replicate_folder(number) / "done.json")

    def verdict_folder(self, numbers: Sequence[int]) -> Path:
        """The folder of the table, claims and figures made from these replicates."""
        return self.folder / "verdict" / f"{numbers[0]}-{len(numbers)}"


def append_to_ledger(entry: dict[str, Any]) -> None:
    """Append a line to the ledger of runs, which counts how often the published replicates were run."""
    path = runs_folder() / "ledger.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
