"""The work that `benchmarks.ntk_empirical` and `benchmarks.ntk_infinite` time, by each peer in a process of its own.

    python -m benchmarks.ntk_work TASK PEER FOLDER     TASK empirical|infinite|wide, PEER encore|torch|neural-tangents

Every run is done once first, and what it computed is kept as FOLDER/<peer>, <run>.npy for the comparison. A run that
would take minutes computes fewer rows of the kernel; its seconds are multiplied with its `scale`.
"""

import os
import resource
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.served import serve

Run = Callable[[], Any]
POINTS, FEATURES, WIDTHS, OUTPUTS, BIAS = 128, 784, (1024, 2048), (1, 10), 0.1
FEW_ROWS = 4  # of a kernel that would take minutes
EXACT = "float64"  # a small case in double precision
INFINITE, DEPTH = 2000, 4
GROWTH = {"points": (128, 256, 512, 1024), "width": (512, 1024, 2048, 4096), "depth": (3, 5, 9, 17)}
INFINITE_GROWTH = {"points": (500, 1000, 2000, 4000), "depth": (2, 4, 8, 16)}
GIB = 2.0**30


def drawn(points: int, widths: tuple[int, ...], dtype: str = "float32") -> tuple[np.ndarray, list]:
    """Inputs (points, widths[0]), and weights (outputs, inputs) with biases of every affine map."""
    rng = np.random.default_rng(0)
    layers = [
        (rng.standard_normal((m, n), np.float32).astype(dtype), rng.standard_normal(m).astype(dtype))
        for n, m in pairwise(widths)
    ]
    return rng.standard_normal((points, widths[0]), np.float32).astype(dtype), layers


def cases() -> dict[str, tuple[int, tuple[int, ...], str]]:
    """Points, widths and dtype of what is compared."""
    found = {
        named(width, outputs): (POINTS, (FEATURES, width, width, width, outputs), "float32")
        for outputs in OUTPUTS
        for width in WIDTHS
    }
    return {**found, EXACT: (16, (20, 64, 64, 64, 3), "float64")}


def named(width: int, outputs: int) -> str:
    """What a case is called."""
    return f"width {width}, outputs {outputs}"


def encore_empirical() -> tuple[dict[str, Run], dict[str, float]]:
    """Every case layer by layer, the smallest in the other ways too, and how the seconds grow."""
    import jax
    import jax.numpy as jnp

    from core.kernels.empirical import empirical_ntk
    from core.models.ntk import NTKNetwork

    def run(points: int, widths: tuple[int, ...], dtype: str, method: str = "auto") -> Run:
        x, layers = drawn(points, widths, dtype)
        names = [*(f"dense_{k}" for k in range(len(layers) - 1)), "output"]
        with jax.enable_x64(dtype == "float64"):
            arrays = {
                name: {"kernel": jnp.asarray(w), "bias": jnp.asarray(b)}
                for name, (w, b) in zip(names, layers, strict=True)
            }
            network, x = NTKNetwork(widths[1:-1], widths[-1], bias_std=BIAS), jnp.asarray(x)

        def once() -> Any:
            with jax.enable_x64(dtype == "float64"):
                return jax.block_until_ready(
                    empirical_ntk(network.apply, {"params": arrays}, x, method=method, memory_gib=4.0)
                )

        return once

    runs = {name: run(*case) for name, case in cases().items()}
    small = named(WIDTHS[0], OUTPUTS[0])
    runs |= {f"{small}, {method}": run(*cases()[small], method) for method in ("products", "jacobian")}
    base = {"points": POINTS, "width": 1024, "depth": 4}
    for axis, values in GROWTH.items():
        for value in values:
            at = base | {axis: value}
            widths = (FEATURES, *[at["width"]] * (at["depth"] - 1), 1)
            runs[f"growth with {axis}: {value}"] = run(at["points"], widths, "float32")
    return runs, {}


def torch_empirical() -> tuple[dict[str, Run], dict[str, float]]:
    """Contracted Jacobians and NTK-vector products of torch.func."""
    import torch
    from torch.func import jacrev, jvp, vjp, vmap

    torch.set_num_threads(os.cpu_count() or 1)

    def network(params: Any, x: Any) -> Any:
        for number, (w, b) in enumerate(params):
            x = torch.relu(x) if number else x
            x = x @ w.T / w.shape[1] ** 0.5 + BIAS * b
        return x

    def jacobian(params: Any, x: Any) -> Any:
        found = vmap(jacrev(lambda p, one: network(p, one[None])[0]), (None, 0))(params, x)
        return [leaf.flatten(2) for pair in found for leaf in pair]

    def contraction(params: Any, x: Any) -> Any:
        found = jacobian(params, x)
        return sum(torch.einsum("nop,mqp->nmoq", leaf, leaf) for leaf in found)

    def products(params: Any, x: Any, rows: int) -> Any:
        def column(one: Any) -> Any:  # Θ(x, x') e for every unit vector e of the outputs: (o of x', n, o of x)
            value, pull = vjp(lambda p: network(p, one[None])[0], params)
            return vmap(lambda e: jvp(lambda p: network(p, x), (params,), pull(e))[1])(
                torch.eye(len(value), dtype=x.dtype)
            )

        return torch.stack([column(one) for one in x[:rows]]).permute(0, 2, 1, 3)

    runs: dict[str, Run] = {}
    scales = {}
    for name, (points, widths, dtype) in cases().items():
        x, layers = drawn(points, widths, dtype)
        params, x = [(torch.from_numpy(w), torch.from_numpy(b)) for w, b in layers], torch.from_numpy(x)
        if widths[-1] == 1 or name == EXACT:
            runs[f"{name}, jacobian"] = lambda p=params, x=x: contraction(p, x)
        rows = points if name == EXACT else FEW_ROWS
        runs[f"{name}, products"] = lambda p=params, x=x, r=rows: products(p, x, r)
        scales[f"{name}, products"] = points / rows
    return runs, scales


def tangents_empirical() -> tuple[dict[str, Run], dict[str, float]]:
    """The structured derivatives of neural-tangents, and at the smallest case its other two ways."""
    import jax
    import jax.numpy as jnp
    import neural_tangents as nt

    jax.config.update("jax_enable_x64", True)

    def network(params: Any, x: Any) -> Any:  # weights (inputs, outputs), as in its own layers: fastest so
        for number, (w, b) in enumerate(params):
            x = jnp.maximum(x, 0) if number else x
            x = x @ w / len(w) ** 0.5 + BIAS * b
        return x

    ways = {"structured": 3, "products": 2, "jacobian": 1}
    runs: dict[str, Run] = {}
    for name, (points, widths, dtype) in cases().items():
        x, layers = drawn(points, widths, dtype)
        params, x = [(jnp.asarray(w.T.copy()), jnp.asarray(b)) for w, b in layers], jnp.asarray(x)
        for way in ways if name == named(WIDTHS[0], OUTPUTS[0]) else ("structured",):
            form = jax.jit(nt.empirical_ntk_fn(network, trace_axes=(), vmap_axes=0, implementation=ways[way]))
            runs[f"{name}, {way}"] = lambda f=form, p=params, x=x: jax.block_until_ready(f(x, None, p))
    return runs, {}


def encore_infinite() -> tuple[dict[str, Run], dict[str, float]]:
    """Both kernels, how the seconds grow, and what bounds them: the product of the inputs, and writing two kernels."""
    import jax
    import jax.numpy as jnp

    from core.kernels.duals import relu
    from core.kernels.infinite import fully_connected_kernels

    def run(points: int, features: int, depth: int, dtype: str = "float32") -> Run:
        with jax.enable_x64(dtype == "float64"):
            x = jnp.asarray(drawn(points, (features,), dtype)[0])

        def once() -> Any:
            with jax.enable_x64(dtype == "float64"):
                found = fully_connected_kernels(x, depth=depth, activation=relu, bias_variance=BIAS**2)
                return jax.block_until_ready(tuple(found))

        return once

    runs = {f"features {features}": run(INFINITE, features, DEPTH) for features in (16, FEATURES)}
    runs[EXACT] = run(INFINITE // 10, FEATURES, DEPTH, "float64")
    base = {"points": INFINITE, "depth": DEPTH}
    for axis, values in INFINITE_GROWTH.items():
        for value in values:
            at = base | {axis: value}
            runs[f"growth with {axis}: {value}"] = run(at["points"], FEATURES, at["depth"])
    kernel, product = jnp.ones((INFINITE, INFINITE)), jax.jit(lambda x: x @ x.T)
    written = jax.jit(lambda k: (k + 1, k * 2))
    for features in (16, FEATURES):
        x = jnp.asarray(drawn(INFINITE, (features,))[0])
        runs[f"bound: product of features {features}"] = lambda x=x: jax.block_until_ready(product(x))
    runs["bound: one kernel read, two written"] = lambda: jax.block_until_ready(written(kernel))
    return runs, {}


def tangents_infinite() -> tuple[dict[str, Run], dict[str, float]]:
    """Both kernels by the layers of neural-tangents, compiled."""
    import jax
    import jax.numpy as jnp
    from neural_tangents import stax

    jax.config.update("jax_enable_x64", True)
    dense, layers = stax.Dense(1, W_std=1.0, b_std=BIAS), []
    for _ in range(DEPTH - 1):
        layers += [dense, stax.Relu()]
    form = jax.jit(stax.serial(*layers, dense)[2], static_argnames="get")
    runs: dict[str, Run] = {}
    for name, points, features, dtype in (
        ("features 16", INFINITE, 16, "float32"),
        (f"features {FEATURES}", INFINITE, FEATURES, "float32"),
        (EXACT, INFINITE // 10, FEATURES, "float64"),
    ):
        x = jnp.asarray(drawn(points, (features,), dtype)[0])
        runs[name] = lambda x=x: jax.block_until_ready(form(x, None, get=("nngp", "ntk")))
    return runs, {}


def encore_wide(width: int = 10_000, points: int = 64) -> dict[str, Any]:
    """Seconds and greatest memory of the kernel of a network too wide for its Jacobian."""
    import jax

    from core.kernels.empirical import empirical_ntk, estimate_cost
    from core.models.ntk import NTKNetwork

    network = NTKNetwork((width,) * 3, bias_std=BIAS)
    x = jax.random.normal(jax.random.key(0), (points, FEATURES))
    params = jax.block_until_ready(jax.jit(network.init)(jax.random.key(1), x))
    before, seconds = _peak(), []
    for _ in range(4):
        started = time.perf_counter()
        jax.block_until_ready(empirical_ntk(network.apply, params, x))
        seconds.append(time.perf_counter() - started)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    return {
        "seconds": seconds[1:],
        "seconds_with_compilation": seconds[0],
        "peak_gib": _peak(),
        "peak_gib_before": before,
        "estimated_gib": estimate_cost(network.apply, params, x).costs["layers"].gib,
        "parameters_gib": 4 * size / GIB,
        "jacobian_gib": 4 * size * points / GIB,
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


TASKS: dict[tuple[str, str], Callable[[], tuple[dict[str, Run], dict[str, float]]]] = {
    ("empirical", "encore"): encore_empirical,
    ("empirical", "torch"): torch_empirical,
    ("empirical", "neural-tangents"): tangents_empirical,
    ("infinite", "encore"): encore_infinite,
    ("infinite", "neural-tangents"): tangents_infinite,
}


def main() -> None:
    """Do every run once, keep what it computed, and serve."""
    task, peer, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    if task == "wide":
        serve({}, encore_wide())
        return
    runs, scales = TASKS[task, peer]()
    first = {}
    for name, run in runs.items():
        begun = time.perf_counter()
        found = run()
        first[name] = time.perf_counter() - begun
        if ":" not in name:  # what is compared
            found = np.stack([np.asarray(part) for part in found]) if isinstance(found, tuple) else np.asarray(found)
            np.save(folder / f"{peer}, {name}.npy", found)
    library = {"encore": "jax", "torch": "torch", "neural-tangents": "jax"}[peer]
    serve(runs, {"scales": scales, "first": first, "version": __import__(library).__version__})


if __name__ == "__main__":
    main()
