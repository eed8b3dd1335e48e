"""Adversarial training beside PyTorch, on the very same arrays: accuracies on MNIST-M at the end of whole trainings.

    python -m benchmarks.dann_beside [--torch-python PATH] [--replicates 3] [words of `encore run`]

Images, blended digits, order of the batches and initial weights are those of development replicates 1000 and up of the
study `mnist_m`; each side then trains the network without adaptation and the adversarial one by its own code: PyTorch's
convolutions, pooling, losses, optimizer and automatic differentiation are independent of ours, and the reversal layer
is written as re-implementations have it. After COMPARED steps the weights must agree; at the end of a training,
where rounding has grown, accuracies are compared. PyTorch is needed only here (`pip install torch==2.13.0`).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

COMPARED = 5
TOLERANCE = 1e-4  # of weights after COMPARED steps: float32 sums taken in another order
ARMS = {"source_only": 0.0, "dann": 1.0}
RESULT = Path(__file__).parent / "results" / "dann_beside.json"
Inputs = dict[str, np.ndarray]


# --- ours, and the arrays -----------------------------------------------------------------------------------------


def with_jax(settings: Any, number: int, folder: Path) -> dict[str, Any]:
    """Keep the arrays of one replicate in the folder; what our own step makes of them, by arm."""
    import jax
    import jax.numpy as jnp

    from core.data.loading import load_data_set
    from core.lab.keys import key_for, replicate_keys
    from experiments.dann import adversarial, images

    key = replicate_keys("dann", "mnist_m", [number])[0]
    sets = {name: jax.tree.map(jnp.asarray, load_data_set(getattr(settings, name))) for name in ("source", "target")}
    photographs = load_data_set(settings.backgrounds)
    data = images.drawn(settings, key_for(key, "images"), sets["source"], sets["target"])
    parts = [jnp.asarray(photographs[f"{part}_photographs"]) for part in ("train", "test")]
    data = images.finished(images.blend_target(key_for(key, "backgrounds"), data, *parts))
    training = images.training_of(settings)
    orders = images.ordered(settings, (len(data["source"]), len(data["target"])), key_for(key, "order"))
    start = adversarial.initial(training, (settings.size, settings.size, 3), key_for(key, "init"))
    kept = {name: data[name] for name in ("source", "target", "labels", "target_test", "target_test_labels", "mean")}
    kept |= {f"order_{name}": order for name, order in orders.items()}
    kept |= {f"{leaf}_{name}": value for name, pair in start.params.items() for leaf, value in pair.items()}
    for name, array in kept.items():
        np.save(folder / f"{name}.npy", np.asarray(array))

    @partial(jax.jit, static_argnums=1)
    def run(state: Any, steps: int, chosen: Any, orders: Any, data: Any) -> Any:
        def one(state: Any, i: jax.Array) -> tuple[Any, None]:
            return adversarial.step(training, state, jax.random.key(0), i, chosen, orders, data), None

        return jax.lax.scan(one, state, jnp.arange(steps))[0]

    found = {}
    for name, reversal in ARMS.items():
        chosen = jax.tree.map(jnp.asarray, adversarial.arm((), reversal, settings.domain_weight))
        early, late = (run(start, steps, chosen, orders, data).params for steps in (COMPARED, settings.steps))
        labels = adversarial.outputs(training, late, data["target_test"], data["mean"]).labels
        right = adversarial.accuracy(labels, data["target_test_labels"])
        filters = np.asarray(early["features_0"]["kernel"]).transpose(3, 2, 0, 1)
        found[name] = {"accuracy": float(right), "filters": filters.tolist()}
    return found


# --- PyTorch's side, in an interpreter of its own -------------------------------------------------------------------


def with_torch(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The same trainings from the arrays in the folder."""
    import torch

    inputs = {path.stem: np.load(path) for path in folder.glob("*.npy")}
    found = {}
    for name, reversal in ARMS.items():
        early, late = (torch_training(settings, inputs, reversal, n) for n in (COMPARED, settings["steps"]))
        with torch.no_grad():
            test = torch.from_numpy(inputs["target_test"])
            labels = torch.cat([torch_network(settings, late, torch_input(inputs, x))[0] for x in test.split(500)])
        right = (labels.argmax(1) == torch.from_numpy(inputs["target_test_labels"])).float().mean()
        found[name] = {"accuracy": 100 * float(right), "filters": early["features_0"][0].tolist()}
    return found


def torch_input(inputs: Inputs, x: Any) -> Any:
    """Bytes (n, h, w, 1 or 3) as numbers with the mean subtracted, (n, 3, h, w)."""
    import torch

    return (x.float() / 255 - torch.from_numpy(inputs["mean"].reshape(3))).permute(0, 3, 1, 2)


def torch_parameters(settings: Mapping[str, Any], inputs: Inputs) -> dict[str, Any]:
    """Kernel and bias of every layer; features are flattened by channel here, by place there."""
    import torch

    found, width = {}, settings["channels"][-1]
    for name in (stem.removeprefix("kernel_") for stem in inputs if stem.startswith("kernel_")):
        kernel = torch.from_numpy(inputs[f"kernel_{name}"])
        if kernel.ndim == 4:
            kernel = kernel.permute(3, 2, 0, 1)
        elif name.endswith("_0"):
            side = round((kernel.shape[1] / width) ** 0.5)
            kernel = kernel.reshape(-1, side, side, width).permute(0, 3, 1, 2).reshape(len(kernel), -1)
        bias = torch.from_numpy(inputs[f"bias_{name}"]).clone()
        found[name] = (kernel.contiguous().clone().requires_grad_(), bias.requires_grad_())
    return found


def torch_network(settings: Mapping[str, Any], p: dict[str, Any], x: Any, reversal: float = 0.0) -> tuple[Any, Any]:
    """Logits of labels (n, classes) and of domains (n,)."""
    import torch
    from torch.nn import functional

    class Reversal(torch.autograd.Function):
        @staticmethod
        def forward(_context: Any, features: Any) -> Any:
            return features.view_as(features)

        @staticmethod
        def backward(_context: Any, gradient: Any) -> Any:
            return -reversal * gradient

    for number in range(len(settings["channels"])):
        x = functional.relu(functional.max_pool2d(functional.conv2d(x, *p[f"features_{number}"]), 2))
    h = x.flatten(1)
    d = Reversal.apply(h)
    for number in range(len(settings["hidden"])):
        h = functional.relu(functional.linear(h, *p[f"label_{number}"]))
    for number in range(len(settings["domain_hidden"])):
        d = functional.relu(functional.linear(d, *p[f"domain_{number}"]))
    return functional.linear(h, *p["label"]), functional.linear(d, *p["domain"])[:, 0]


def torch_training(settings: Mapping[str, Any], inputs: Inputs, reversal: float, steps: int) -> dict[str, Any]:
    """The parameters after the first `steps` steps of a training."""
    import torch
    from torch.nn import functional

    data = {name: torch.from_numpy(inputs[name]) for name in ("source", "target", "labels")}
    orders = {name: torch.from_numpy(inputs[f"order_{name}"]).long() for name in ("source", "target")}
    p, batch = torch_parameters(settings, inputs), settings["batch"]
    told = torch.cat([torch.zeros(batch), torch.ones(batch)])
    sgd = torch.optim.SGD([leaf for pair in p.values() for leaf in pair], 1.0, momentum=settings["momentum"])
    for i in range(steps):
        rows, others, progress = orders["source"][i], orders["target"][i], i / settings["steps"]
        for group in sgd.param_groups:
            group["lr"] = settings["learning_rate"] / (1 + settings["decay"] * progress) ** 0.75
        weight = reversal * (2 / (1 + np.exp(-settings["reversal_gain"] * progress)) - 1)
        x = torch.cat([torch_input(inputs, data["source"][rows]), torch_input(inputs, data["target"][others])])
        labels, domains = torch_network(settings, p, x, weight)
        loss = functional.cross_entropy(labels[:batch], data["labels"][rows].long())
        loss = loss + 2 * settings["domain_weight"] * functional.binary_cross_entropy_with_logits(domains, told)
        sgd.zero_grad(set_to_none=True)
        loss.backward()
        sgd.step()
    return p


# --- both -----------------------------------------------------------------------------------------------------------


def beside(settings: Any, plain: Mapping[str, Any], number: int, python: str) -> dict[str, Any]:
    """Both sides of one replicate, refused where they do not begin alike."""
    with tempfile.TemporaryDirectory() as name:
        ours = with_jax(settings, number, Path(name))
        command = [python, "-m", "benchmarks.dann_beside", "--work", name, json.dumps(plain)]
        theirs = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=3600).stdout)
        first = np.load(Path(name) / "kernel_features_0.npy").transpose(3, 2, 0, 1)
    found: dict[str, Any] = {"replicate": number}
    for arm in ARMS:
        a, b = (np.array(side[arm]["filters"]) for side in (ours, theirs))
        apart, moved = float(np.abs(a - b).max()), float(np.abs(a - first).max())
        if apart > TOLERANCE or moved < 10 * apart:
            raise SystemExit(f"not the same work: weights moved by {moved:g} and differ by {apart:g}")
        found[arm] = {
            "encore": round(ours[arm]["accuracy"], 2),
            "torch": round(theirs[arm]["accuracy"], 2),
            "weights_apart": apart,
        }
    return found


def main() -> None:
    """Compare, print, and keep as JSON."""
    parser = argparse.ArgumentParser(description="Adversarial training beside PyTorch, on the very same arrays.")
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter that has torch and numpy")
    parser.add_argument("--replicates", type=int, default=3, help="development replicates, from 1000 on")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("words", nargs="*", help="settings in the words of `encore run`")
    given = parser.parse_args()
    if given.work:
        print(json.dumps(with_torch(json.loads(given.work[1]), Path(given.work[0]))))
        return
    from core.files import write_json
    from core.launch.compose import compose_launch
    from core.papers.settings import settings_as_dict
    from core.runs.provenance import collect_provenance

    (chosen,) = compose_launch(["paper=dann", "study=mnist_m", *given.words]).studies
    rows = []
    for number in range(1000, 1000 + given.replicates):
        rows.append(beside(chosen.settings, settings_as_dict(chosen.settings), number, given.torch_python))
        print(json.dumps(rows[-1]), flush=True)
    gains = [[row["dann"][side] - row["source_only"][side] for row in rows] for side in ("encore", "torch")]
    found = {
        "work": f"mnist_m at laptop scale, {chosen.settings.steps} steps, target accuracy in percent of the network",
        "rows": rows,
        "mean_gain": dict(zip(("encore", "torch"), (round(float(np.mean(g)), 2) for g in gains), strict=True)),
        "mean_difference": {
            arm: round(float(np.mean([row[arm]["encore"] - row[arm]["torch"] for row in rows])), 2) for arm in ARMS
        },
        "commit": collect_provenance(seconds=0.0, peak_gib=0.0).get("commit"),
    }
    print(json.dumps(found, indent=1))
    write_json(RESULT, found)


if __name__ == "__main__":
    main()
