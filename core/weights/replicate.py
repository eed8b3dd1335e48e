"""What a finished replicate left on disk, for those who collect a network from it."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.data import loading
from core.errors import BadInput
from core.lab import keys, stages
from core.lab.lab import Lab
from core.lab.replicas import ReplicateAxis

Tree = Any


@dataclass(frozen=True)
class FinishedReplicate:
    """One finished replicate of a study; all arrays are without the replicate axis."""

    paper: str
    study: str
    number: int
    folder: Path

    def stage(self, name: str) -> Tree:
        """The result of a stage, a nested dictionary of arrays. Raises BadInput where it is gone."""
        path = self.folder / "stages" / (stages.check_stage_name(name) + stages.SUFFIX)
        return _found(stages.load_tree(path), f"stage '{name}'", self)

    def arrays(self, prefix: str) -> dict[str, np.ndarray]:
        """The kept arrays whose names begin so, by the rest of their names."""
        found = _found(stages.load_tree(self.folder / "arrays.msgpack"), "kept arrays", self)
        return {name.removeprefix(prefix): array for name, array in found.items() if name.startswith(prefix)}

    @contextmanager
    def lab(self) -> Generator[tuple[Any, Lab]]:
        """The replicate's key (1,) and a lab, to compute again what was drawn from it and not kept."""
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            axis = ReplicateAxis.choose(1, "loop")
            yield (
                keys.replicate_keys(self.paper, self.study, [self.number]),
                Lab([self.number], [place / "replicate"], place / "checkpoints", loading.load_data_set, axis),
            )


def _found(tree: Tree | None, what: str, of: FinishedReplicate) -> Tree:
    if tree is None:
        raise BadInput(
            f"{of.paper} {of.study}: {what} of replicate {of.number} was removed; "
            f"encore run paper={of.paper} study={of.study} into another ENCORE_RESULTS computes it again"
        )
    return tree
