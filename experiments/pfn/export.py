"""Write the published network of the study `gp` to a file: `python -m experiments.pfn.export weights.safetensors`.

from core.amortised.estimators import load_estimator
model = load_estimator("weights.safetensors").fit(X, y)      # X (n, 1), y (n,), at most 31 points
mean, spread = model.predict(X_new, return_std=True)
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from core.amortised.encoder import TransformerEncoder, init_params
from core.amortised.weights import TrainedNetwork, save_weights
from core.errors import BadInput, EncoreError
from core.papers.config import load_config
from core.paths import published_folder


def network_of(row: np.ndarray, borders: np.ndarray, scale: str = "laptop") -> TrainedNetwork:
    """The network whose parameters stand in one row, (parameters,), by the settings of the config."""
    values = load_config("pfn").studies["gp"].values(scale)
    sizes: Any = [values[name] for name in ("features", "width", "layers", "heads", "hidden", "bars")]
    network, points = TransformerEncoder(*sizes), int(str(values["points"]))
    flat, unravel = ravel_pytree(init_params(network, jax.random.key(0)))
    if np.shape(row) != flat.shape:
        raise BadInput(f"the config's network has {flat.size} parameters, not {np.size(row)}")
    return TrainedNetwork(network, unravel(jnp.asarray(row)), "regression", points - 1, borders)


def main(words: Sequence[str]) -> int:
    """Write the first network to the file that is named."""
    if len(words) != 1:
        print("usage: python -m experiments.pfn.export weights.safetensors", file=sys.stderr)
        return 2
    try:
        path = published_folder() / "pfn" / "laptop" / "arrays.npz"
        if not path.exists():
            raise BadInput("no result of pfn is published: encore run paper=pfn study=gp, then encore publish")
        with np.load(path, allow_pickle=False) as arrays:
            save_weights(Path(words[0]), network_of(arrays["gp/weights"][0], arrays["gp/borders"][0]))
    except EncoreError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
