"""Trained networks on disk: a safetensors file, which holds arrays and a description and runs no code when read."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError
from safetensors.numpy import load, save

from core import files
from core.amortised.bar_distribution import validate_borders
from core.amortised.encoder import TransformerEncoder
from core.errors import BadInput

TASKS = ("regression", "classification")
METADATA_KEY = "amortised"
ARCHITECTURE = ("features", "width", "layers", "heads", "hidden", "outputs", "positions")


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


def save_weights(path: str | Path, trained: TrainedNetwork) -> None:
    """Save a network; an existing file is replaced as a whole."""
    tensors = {name: np.asarray(leaf) for name, leaf in flatten_dict(trained.params, sep="/").items()}
    if trained.borders is not None:
        tensors["borders"] = np.asarray(trained.borders, np.float32)
    about = {name: getattr(trained.network, name) for name in ARCHITECTURE}
    about |= {"kind": trained.task, "points": trained.max_context_size, "fewest": trained.min_context_size}
    files.write_bytes(Path(path), save(tensors, {METADATA_KEY: json.dumps(about, sort_keys=True)}))


def load_weights(path: str | Path) -> TrainedNetwork:
    """Load a network; `BadInput` when the file is absent, damaged or something else."""
    try:
        content = Path(path).read_bytes()
        tensors = load(content)
        length = int.from_bytes(content[:8], "little")
        about = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][METADATA_KEY])
        task, points, fewest = str(about.pop("kind")), int(about.pop("points")), int(about.pop("fewest"))
        network = TransformerEncoder(**about)
    except OSError as error:
        raise BadInput(f"no weights at {path}: {error.strerror}") from None
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} does not hold a trained network: {error}") from None
    borders = tensors.pop("borders", None)
    params = unflatten_dict({name: jnp.asarray(value) for name, value in tensors.items()}, sep="/")
    return TrainedNetwork(network, params, task, points, borders, fewest)
