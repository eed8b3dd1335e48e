"""Tangent kernels: empirical ones beside torch.func and neural-tangents, those of infinite width beside neural-tangents
and the products and writes that bound them, and the memory of a kernel whose Jacobian does not fit.

Empirical: the kernel of a ReLU network of four affine maps, from the same parameters. torch.func contracts Jacobians
(`vmap(jacrev)`; at ten outputs they do not fit, 15 and 51 GB) or multiplies vectors (`jvp` of `vjp`), of which a few
rows are computed. neural-tangents runs its structured derivatives, and at the smallest case its other ways. Infinite
width: NNGP and NTK with 784 inputs, where the bound is the product of the inputs, and with 16, where it is writing both
kernels. Diagonals are compared apart: a point's correlation with itself, rounded, has an angle of 1e-3 in float32.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.harness import Comparison, Outcome
from benchmarks.peers import Inputs, Peer, Work, ready
from benchmarks.timing import fit_exponent, ratios
from core.planning.machine import peak_memory_gib

BIAS, EXACT, WHOLE, MILLION, GIB = 0.1, "float64", "kernels", 1e6, 2.0**30


def draw_network(points: int, widths: list[int], dtype: str = "float32") -> tuple[np.ndarray, list]:
    """Inputs (points, widths[0]), and weights (outputs, inputs) with biases of every affine map."""
    rng = np.random.default_rng(0)
    layers = [
        (rng.standard_normal((m, n), np.float32).astype(dtype), rng.standard_normal(m).astype(dtype))
        for n, m in pairwise(widths)
    ]
    return rng.standard_normal((points, widths[0]), np.float32).astype(dtype), layers


def in_precision(dtype: str, function: Callable[[], Any]) -> Any:
    """What a function returns where arrays of this type can be made."""
    import jax

    with jax.enable_x64(dtype == "float64"):
        return jax.block_until_ready(function())


def empirical_cases(work: Work) -> dict[str, tuple[int, list[int], str]]:
    """Points, widths and dtype of what is compared, the smallest case first."""
    sizes = work.sizes
    found = {
        f"width {n}, outputs {o}": (sizes.points, [sizes.features, n, n, n, o], "float32")
        for o in sizes.outputs
        for n in sizes.widths
    }
    return {**found, EXACT: (16, [20, 64, 64, 64, 3], "float64")}


def entries(points: int, widths: list[int], rows: int | None = None) -> float:
    """Million entries of a kernel, or of its first rows."""
    return (rows or points) * points * widths[-1] ** 2 / MILLION


def build_encore_empirical(work: Work, _: Inputs) -> None:
    """Every case layer by layer, the smallest in the other ways too, and how the seconds grow."""
    import jax
    import jax.numpy as jnp

    from core.kernels.empirical import empirical_ntk
    from core.models.ntk import NTKNetwork

    def kernel(points: int, widths: list[int], dtype: str, method: str = "auto") -> Callable[[], Any]:
        x, layers = draw_network(points, widths, dtype)
        names = [*(f"dense_{k}" for k in range(len(layers) - 1)), "output"]
        params = {name: {"kernel": w, "bias": b} for name, (w, b) in zip(names, layers, strict=True)}
        given = in_precision(dtype, lambda: jax.tree.map(jnp.asarray, ({"params": params}, x)))
        network = NTKNetwork(tuple(widths[1:-1]), widths[-1], bias_std=BIAS)
        way = partial(empirical_ntk, network.apply, *given, method=method, memory_gib=4.0)
        return partial(in_precision, dtype, way)

    cases = empirical_cases(work)
    smallest = next(iter(cases))
    for name, case in cases.items():
        for form in ("", "products", "jacobian") if name == smallest else ("",):
            work.add(name, kernel(*case, form or "auto"), entries(*case[:2]), form=form, result=np.asarray)
    base = {"points": work.sizes.points, "width": work.sizes.widths[0], "depth": 4}
    for axis, values in work.sizes.growth.items():
        for value in values:
            at = base | {axis: value}
            widths = [work.sizes.features, *[at["width"]] * (at["depth"] - 1), 1]
            work.add(f"growth with {axis}, {value}", kernel(at["points"], widths, "float32"), unit=WHOLE)


def build_torch_empirical(work: Work, _: Inputs) -> None:
    """Contracted Jacobians and NTK-vector products of torch.func."""
    import torch
    from torch.func import jacrev, jvp, vjp, vmap

    torch.set_num_threads(work.threads)

    def network(params: Any, x: Any) -> Any:
        for number, (w, b) in enumerate(params):
            x = torch.relu(x) if number else x
            x = x @ w.T / w.shape[1] ** 0.5 + BIAS * b
        return x

    def contraction(params: Any, x: Any) -> Any:
        found = vmap(jacrev(lambda p, one: network(p, one[None])[0]), (None, 0))(params, x)
        leaves = [leaf.flatten(2) for pair in found for leaf in pair]
        return sum(torch.einsum("nop,mqp->nmoq", leaf, leaf) for leaf in leaves)

    def products(params: Any, x: Any, rows: int) -> Any:
        def column(one: Any) -> Any:  # Θ(x, x') e for every unit vector e of the outputs: (o of x', n, o of x)
            value, pull = vjp(lambda p: network(p, one[None])[0], params)
            units = torch.eye(len(value), dtype=x.dtype)
            return vmap(lambda e: jvp(lambda p: network(p, x), (params,), pull(e))[1])(units)

        return torch.stack([column(one) for one in x[:rows]]).permute(0, 2, 1, 3)

    for name, (points, widths, dtype) in empirical_cases(work).items():
        x, layers = draw_network(points, widths, dtype)
        params, x = [(torch.from_numpy(w), torch.from_numpy(b)) for w, b in layers], torch.from_numpy(x)
        rows = points if name == EXACT else min(points, work.sizes.few_rows)  # the whole kernel takes minutes
        if widths[-1] == 1 or name == EXACT:
            amount = entries(points, widths)
            work.add(name, lambda p=params, x=x: contraction(p, x), amount, form="jacobian", result=np.asarray)
        amount = entries(points, widths, rows)
        work.add(name, lambda p=params, x=x, r=rows: products(p, x, r), amount, form="products", result=np.asarray)


def build_tangents_empirical(work: Work, _: Inputs) -> None:
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

    cases, ways = empirical_cases(work), {"structured": 3, "products": 2, "jacobian": 1}
    for name, (points, widths, dtype) in cases.items():
        x, layers = draw_network(points, widths, dtype)
        params, x = [(jnp.asarray(w.T.copy()), jnp.asarray(b)) for w, b in layers], jnp.asarray(x)
        for form in ways if name == next(iter(cases)) else ("structured",):
            kernel = jax.jit(nt.empirical_ntk_fn(network, trace_axes=(), vmap_axes=0, implementation=ways[form]))
            work.add(name, ready(kernel, x, None, params), entries(points, widths), form=form, result=np.asarray)


# --- infinite width ------------------------------------------------------------------------------------------------


def infinite_cases(work: Work) -> dict[str, tuple[np.ndarray, str]]:
    """Inputs and dtype of what is compared."""
    points, features = work.sizes.points, work.sizes.features
    cases = {f"features {n}": (points, n, "float32") for n in features} | {
        EXACT: (points // 10, features[-1], "float64")
    }
    return {name: (draw_network(n, [d], dtype)[0], dtype) for name, (n, d, dtype) in cases.items()}


def split_diagonal(kernels: Any) -> dict[str, np.ndarray]:
    """Both kernels (2, n, n): off their diagonals, and on them."""
    both = np.stack([np.asarray(kernel) for kernel in kernels])
    off = ~np.eye(both.shape[1], dtype=bool)
    return {"": both[:, off], "diagonal": both[:, ~off]}


def build_encore_infinite(work: Work, _: Inputs) -> None:
    """Both kernels, how the seconds grow, and what bounds them."""
    import jax
    import jax.numpy as jnp

    from core.kernels.duals import relu
    from core.kernels.infinite import fully_connected_kernels

    def kernels(x: np.ndarray, depth: int, dtype: str = "float32") -> Callable[[], Any]:
        given = in_precision(dtype, lambda: jnp.asarray(x))
        way = partial(fully_connected_kernels, given, depth=depth, activation=relu, bias_variance=BIAS**2)
        return partial(in_precision, dtype, lambda: tuple(way()))

    for name, (x, dtype) in infinite_cases(work).items():
        work.add(name, kernels(x, work.sizes.depth, dtype), len(x) ** 2 / MILLION, result=split_diagonal)
    for axis, values in work.sizes.growth.items():
        for value in values:
            at = {"points": work.sizes.points, "depth": work.sizes.depth} | {axis: value}
            x = draw_network(at["points"], work.sizes.features[-1:])[0]
            work.add(f"growth with {axis}, {value}", kernels(x, at["depth"]), unit=WHOLE)
    kernel, product = jnp.ones((work.sizes.points,) * 2), jax.jit(lambda x: x @ x.T)
    write = jax.jit(lambda k: (k + 1, k * 2))
    for name, (x, dtype) in infinite_cases(work).items():
        if dtype == "float32":
            work.add(f"product of {name}", ready(product, jnp.asarray(x)), unit=WHOLE)
    work.add("one kernel read, two written", ready(write, kernel), unit=WHOLE)


def build_tangents_infinite(work: Work, _: Inputs) -> None:
    """Both kernels by the layers of neural-tangents, compiled."""
    import jax
    import jax.numpy as jnp
    from neural_tangents import stax

    jax.config.update("jax_enable_x64", True)
    dense, layers = stax.Dense(1, W_std=1.0, b_std=BIAS), []
    for _layer in range(work.sizes.depth - 1):
        layers += [dense, stax.Relu()]
    kernels = jax.jit(stax.serial(*layers, dense)[2], static_argnames="get")
    for name, (x, _dtype) in infinite_cases(work).items():
        call = ready(partial(kernels, get=("nngp", "ntk")), jnp.asarray(x), None)
        work.add(name, call, len(x) ** 2 / MILLION, result=split_diagonal)


# --- memory --------------------------------------------------------------------------------------------------------


def build_wide(work: Work, _: Inputs) -> None:
    """The kernel of a network too wide for its Jacobian."""
    import jax

    from core.kernels.empirical import empirical_ntk, estimate_cost
    from core.models.ntk import NTKNetwork

    network = NTKNetwork((work.sizes.width,) * 3, bias_std=BIAS)
    x = jax.random.normal(jax.random.key(0), (work.sizes.points, work.sizes.features))
    params = jax.block_until_ready(jax.jit(network.init)(jax.random.key(1), x))
    before, size = peak_memory_gib(), sum(leaf.size for leaf in jax.tree.leaves(params))
    work.add("kernel", ready(empirical_ntk, network.apply, params, x), unit=WHOLE)
    work.facts["gib"] = {
        "peak": peak_memory_gib(),
        "peak before": before,
        "estimated": estimate_cost(network.apply, params, x).costs["layers"].gib,
        "parameters": 4 * size / GIB,
        "Jacobian": 4 * size * work.sizes.points / GIB,
    }
    work.facts["seconds"] = {"with compilation": work.runs[0].first_seconds}


# --- what follows --------------------------------------------------------------------------------------------------


def growth(outcome: Outcome) -> dict[str, dict[str, list[float]]]:
    """The power with which the seconds grow with each axis: over all sizes, and between the two largest."""
    tables: dict[str, dict[str, list[float]]] = {"exponent": {}}
    for axis, sizes in outcome.sizes.growth.items():
        rates = [values for label, values in outcome.rates.items() if label.case.startswith(f"growth with {axis}, ")]
        seconds = [[1 / rate for rate in one_round] for one_round in zip(*rates, strict=True)]
        tables["exponent"] |= {
            f"seconds with {axis}": [fit_exponent(sizes, one) for one in seconds],
            f"seconds with {axis}, the two largest": [fit_exponent(sizes[-2:], one[-2:]) for one in seconds],
        }
    return tables


def share_of_bounds(outcome: Outcome) -> dict[str, dict[str, list[float]]]:
    """The seconds that bound both kernels over ours, formed round by round; and how the seconds grow."""
    rates, found = {label.case: values for label, values in outcome.rates.items() if label.peer == "encore"}, {}
    writing = [1 / rate for rate in rates["one kernel read, two written"]]
    for name in (f"features {n}" for n in outcome.sizes.features):
        ours = [outcome.sizes.points**2 / MILLION / rate for rate in rates[name]]
        product = [1 / rate for rate in rates[f"product of {name}"]]
        found[f"{name}, product of the inputs"] = ratios(product, ours)
        found[f"{name}, product, and writing both kernels"] = ratios(np.add(product, writing).tolist(), ours)
    return {"seconds of the bound / ours": found, **growth(outcome)}


TANGENTS = ("neural_tangents", "jax")
BENCHMARKS = (
    Comparison(
        name="ntk_empirical",
        question="How fast are empirical tangent kernels, beside torch.func and neural-tangents?",
        work="tangent kernel of {features}-n-n-n-o, ReLU, at {points} points",
        sizes={
            "points": 128, "features": 784, "widths": [1024, 2048], "outputs": [1, 10], "few_rows": 4,
            "growth": {"points": [128, 256, 512, 1024], "width": [512, 1024, 2048, 4096], "depth": [3, 5, 9, 17]},
        },
        quick={"points": 4, "features": 6, "widths": [8], "outputs": [1], "growth": {"points": [4, 8]}},
        rounds=7,
        unit="million entries",
        peers=(
            Peer("encore", build_encore_empirical),
            Peer("torch", build_torch_empirical, ("torch",), foreign=True),
            Peer("neural-tangents", build_tangents_empirical, TANGENTS, foreign=True),
        ),
        tolerance={EXACT: 1e-10, "": 1e-5},
        slow=3.0,
        derive=growth,
    ),
    Comparison(
        name="ntk_infinite",
        question="How fast are kernels of infinite width, beside neural-tangents and what bounds them?",
        work="NNGP and NTK of depth {depth}, ReLU, at {points} points",
        sizes={
            "points": 2000, "features": [16, 784], "depth": 4,
            "growth": {"points": [500, 1000, 2000, 4000], "depth": [2, 4, 8, 16]},
        },
        quick={"points": 20, "features": [2, 3], "growth": {"depth": [2, 3]}},
        rounds=7,
        unit="million entries",
        peers=(
            Peer("encore", build_encore_infinite),
            Peer("neural-tangents", build_tangents_infinite, TANGENTS, foreign=True),
        ),
        tolerance={"diagonal": 1e-5, EXACT: 1e-10, "": 1e-5},
        derive=share_of_bounds,
    ),
    Comparison(
        name="ntk_memory",
        question="How long does a tangent kernel take whose Jacobian does not fit, and in what memory?",
        work="tangent kernel of {features}-n-n-n-1 of width {width} at {points} points",
        sizes={"points": 64, "features": 784, "width": 10_000},
        quick={"points": 4, "features": 6, "width": 8},
        rounds=3,
        unit=WHOLE,
        peers=(Peer("encore", build_wide),),
        derive=lambda outcome: {"GiB": outcome.facts["encore"]["gib"], "seconds": outcome.facts["encore"]["seconds"]},
        headline=(("GiB", "peak"), ("GiB", "Jacobian")),
    ),
)  # fmt: skip
