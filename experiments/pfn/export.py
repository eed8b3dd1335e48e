"""Write a published network to a file: `python -m experiments.pfn.export regressor|classifier weights.safetensors`.

from core.amortised.estimators import load_estimator
model = load_estimator("weights.safetensors").fit(X, y)      # 5 to 50 rows, for the classifier just 30
mean, spread = model.predict(X_new, return_std=True)         # of the regressor; predict_proba of the classifier
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from core.amortised.encoder import unflatten_params
from core.amortised.weights import TrainedNetwork, save_weights
from core.errors import BadInput, EncoreError, unknown_name
from core.papers.config import load_config
from core.paths import published_folder
from experiments.pfn.hyper import estimator_spec
from experiments.pfn.tables import tables_spec

STUDIES = {"regressor": "estimator", "classifier": "tables"}


def published_network(kind: str, arrays: Mapping[str, Any], scale: str = "laptop") -> TrainedNetwork:
    """The first network of a kind, from the arrays of the published results; its sizes are those of the config."""
    if kind not in STUDIES:
        raise unknown_name("network", kind, STUDIES)
    name = STUDIES[kind]
    if f"{name}/weights" not in arrays:
        raise BadInput(f"no {kind} is published: encore run paper=pfn study={name}, then encore publish pfn")
    study = load_config("pfn").studies[name]
    settings = study.build(study.values(scale))
    spec = estimator_spec(settings) if kind == "regressor" else tables_spec(settings)
    params = unflatten_params(spec.network, jnp.asarray(arrays[f"{name}/weights"][0]))
    size = settings.data.largest
    if kind == "classifier":  # of this size are all contexts of its training
        return TrainedNetwork(spec.network, params, "classification", size, None, size)
    return TrainedNetwork(spec.network, params, "regression", size, arrays[f"{name}/borders"][0], settings.smallest)


def main(words: Sequence[str]) -> int:
    """Write the network that is named to the file that is named."""
    if len(words) != 2:
        print("usage: python -m experiments.pfn.export regressor|classifier weights.safetensors", file=sys.stderr)
        return 2
    try:
        path = published_folder() / "pfn" / "laptop" / "arrays.npz"
        arrays = dict(np.load(path, allow_pickle=False)) if path.exists() else {}
        save_weights(Path(words[1]), published_network(words[0], arrays))
    except EncoreError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
