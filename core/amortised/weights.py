"""A trained network with what its estimators have to know of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from core.amortised.bar_distribution import validate_borders
from core.amortised.encoder import TransformerEncoder
from core.errors import BadInput

TASKS = ("regression", "classification")


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network.

    Attributes:
      network: its architecture.
      params: its parameters, a nested dictionary.
      task: "regression", whose outputs are bars, or "classification", whose output is the logit of class 1 of 2.
      max_context_size: the largest context that it was trained for.
      borders: of the bars, (outputs + 1,); None for classification.
      min_context_size: the smallest one.
    """

    network: TransformerEncoder
    params: Any
    task: str
    max_context_size: int
    borders: np.ndarray | None = None
    min_context_size: int = 1

    def __post_init__(self) -> None:
        """Refuse borders that do not fit the task and the outputs."""
        if self.task not in TASKS:
            raise BadInput(f"a trained network is for {' or '.join(TASKS)}, not {self.task!r}")
        outputs = 1 if self.borders is None else len(validate_borders(self.borders)) - 1
        if (self.borders is None) != (self.task == "classification") or outputs != self.network.outputs:
            raise BadInput(f"{self.task} with {self.network.outputs} outputs does not fit its borders")

    def __deepcopy__(self, memo: dict[int, Any]) -> "TrainedNetwork":
        """Itself: it never changes, and scikit-learn holds an estimator's copies against it bit by bit."""
        return self
