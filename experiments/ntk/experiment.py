"""The experiment, to be read beside the paper; see the package's docstring for its claim and symbols."""

from functools import partial
from math import comb
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from core.kernels import duals
from core.kernels.dynamics import GradientFlow, check_learning_rate
from core.kernels.infinite import KernelPair, fully_connected_kernels
from core.lab.keys import named_keys
from core.models.ntk import NTKNetwork
from core.papers.contract import Study
from experiments.ntk.components import component_trial
from experiments.ntk.networks import (
    check_rate,
    circle,
    descend,
    frobenius,
    limit,
    network,
    product,
    standard_network,
    tangent,
    value,
)
from experiments.ntk.settings import InitialSettings, LawSettings, SphereSettings, TrainingSettings

if TYPE_CHECKING:
    from core.lab.lab import Lab

Tree = Any
SHOWN = 10  # trained networks of an ensemble that are kept for the figure, as many as the paper draws


# --- C7: positive definite on the sphere ----------------------------------------------------------------------------

ACTIVATIONS = {"relu": duals.relu, "erf": duals.erf, "square": duals.square}


def sphere_spectrum(settings: SphereSettings, arm: str, dimension: int, points: int, key: jax.Array) -> dict:
    """Smallest eigenvalue of Θ∞ by the largest, and its rank beyond what polynomials of the degree of x² allow."""
    x = jax.random.normal(key, (points, dimension))
    x = x / jnp.linalg.norm(x, axis=1, keepdims=True)
    eigenvalues = jnp.linalg.eigvalsh(limit(settings, x, ACTIVATIONS[arm]))
    rank = jnp.sum(eigenvalues > eigenvalues[-1] * points * jnp.finfo(x.dtype).eps)
    # s(x) = x² makes Θ_L a polynomial of degree m = 2^(L-1) in x·x'. On the sphere of R^d such polynomials span
    # C(m+d-1, d-1) + C(m+d-2, d-1) dimensions.
    m, d = 2 ** (settings.depth - 1), dimension
    bound = comb(m + d - 1, d - 1) + comb(m + d - 2, d - 1)
    return {"smallest_eigenvalue": eigenvalues[0] / eigenvalues[-1], "rank_beyond_bound": rank - bound}


def sphere_trial(settings: SphereSettings, keys: jax.Array, lab: "Lab") -> None:
    """The same points for every activation."""
    for dimension, points in zip(settings.dimensions, settings.points, strict=True):
        drawn = named_keys(lab, keys, f"points/{dimension}")
        for arm in ACTIVATIONS:
            found = lab.map(partial(sphere_spectrum, settings, arm, dimension, points), drawn)
            lab.measure(found, arm=arm, dimension=dimension)


# --- C1: the kernel at initialisation -------------------------------------------------------------------------------


def initial_kernels(settings: InitialSettings, width: int, key: jax.Array) -> dict[str, jax.Array]:
    """Distances ‖Θ - Θ∞‖ / ‖Θ∞‖ of every draw to the limit and to the limit of one layer less, and the spread."""
    x, net = circle(settings.grid), network(settings, width)
    kernels = jax.lax.map(lambda k: tangent(net, net.init(k, x), x), jax.random.split(key, settings.draws))
    found = {"spread": jnp.sqrt(jnp.mean(kernels.var(0, ddof=1))) / jnp.sqrt(jnp.mean(limit(settings, x) ** 2))}
    for arm, depth in (("limit", settings.depth), ("other_depth", settings.depth - 1)):
        expected = limit(settings, x, depth=depth)
        found[arm] = frobenius(kernels - expected[None]) / frobenius(expected)
    return found


def initial_trial(settings: InitialSettings, keys: jax.Array, lab: "Lab") -> None:
    """An ensemble of initialisations at every width."""
    for width in settings.widths:
        drawn = named_keys(lab, keys, f"draws/{width}")
        found = lab.stage(f"kernels/{width}", partial(lab.map, partial(initial_kernels, settings, width), drawn))
        lab.measure({"kernel_spread": found["spread"]}, arm="limit", width=width)
        for arm in ("limit", "other_depth"):
            lab.measure({"kernel_error": found[arm]}, along={"draw": range(settings.draws)}, arm=arm, width=width)
            if width == max(settings.widths):
                lab.measure({"error_at_widest": lab.map(jnp.mean, found[arm])}, arm=arm)


# --- C2 and C4: the kernel in training, and the linear equation -----------------------------------------------------


def task(settings: TrainingSettings, key: jax.Array) -> dict[str, jax.Array]:
    """The training set: N points x ~ N(0, I) of the plane with y = x1 x2, and their limiting kernel."""
    x = jax.random.normal(key, (settings.points, 2))
    return {"x": x, "y": product(x), "limit": limit(settings, x)}


def begin(settings: TrainingSettings, net: NTKNetwork, key: jax.Array, x: jax.Array) -> tuple[Tree, Tree]:
    """What moves in training, and what it is held against: f_0 and Θ_0 on the training points and on the circle."""
    points = jnp.concatenate([x, circle(settings.grid)])
    params = net.init(key, points)
    start, kernel = value(net, params, points), tangent(net, params, points)
    return {"params": params, "linear": start, "row": kernel[len(x), len(x) :]}, {"start": start, "kernel": kernel}


def train(
    net: NTKNetwork, rate: float, state: Tree, key: jax.Array, i: jax.Array, x: jax.Array, y: jax.Array, before: Tree
) -> Tree:
    """One step of the network, and the same step of the linear equation that it is said to follow."""
    n, f = len(x), state["linear"]
    # f(·) ← f(·) - η/N Θ_0(·, X) (f(X) - y)
    linear = f - rate / n * before["kernel"][:, :n] @ (f[:n] - y)
    return {**state, "params": descend(net, rate, state["params"], x, y), "linear": linear}


def evaluate(
    settings: TrainingSettings, net: NTKNetwork, state: Tree, i: jax.Array, x: jax.Array, y: jax.Array, before: Tree
) -> tuple[Tree, dict[str, jax.Array]]:
    """How far the kernel on the circle has moved, and how far the network is from the linear equation."""
    n, grid = len(x), circle(settings.grid)
    old, new = before["kernel"][n:, n:], tangent(net, state["params"], grid)
    apart = value(net, state["params"], grid) - state["linear"][n:]
    error = jnp.sqrt(jnp.mean(apart**2))
    to_learn = jnp.sqrt(jnp.mean((before["start"][n:] - product(grid)) ** 2))
    seen = {
        "kernel_change": frobenius(new - old) / frobenius(old),
        "change_at_x0": jnp.linalg.norm(new[0] - old[0]) / jnp.linalg.norm(old[0]),
        "inflation": jnp.mean(new - old) / jnp.mean(old),
        "linear_error": error,
        "linear_error_share": error / to_learn,
    }
    return {**state, "row": jnp.where(i == settings.kernel_after, new[0], state["row"])}, seen


def rows(state: Tree, x: jax.Array, y: jax.Array, before: Tree) -> dict[str, jax.Array]:
    """Θ(x0, ·) on the circle before training and after `kernel_after` steps, (2, grid)."""
    return {"rows": jnp.stack([before["kernel"][len(x), len(x) :], state["row"]])}


def training_trial(settings: TrainingSettings, keys: jax.Array, lab: "Lab") -> None:
    """Every width in the NTK parametrisation, in the standard one, and with a narrow network in its place."""
    data = lab.map(partial(task, settings), named_keys(lab, keys, "task"))
    check_rate(settings, data["limit"])
    lab.keep("limit", np.tile(limit(settings, circle(settings.grid))[0], (*keys.shape, 1)))
    own, narrow = settings.learning_rate, network(settings, settings.narrow)
    # The standard kernel grows with the width, so that what is stable for all widths is the rate of the widest.
    common = own / max(settings.widths)
    for width in settings.widths:
        for arm, net, rate, steps in (
            ("ntk", network(settings, width), own, settings.steps),
            ("standard", standard_network(settings, width), common, settings.kernel_after),
            ("narrow", narrow, own, settings.steps),
        ):
            state, before = lab.map(partial(begin, settings, net), named_keys(lab, keys, f"{arm}/{width}"), data["x"])
            run = lab.iterate(
                f"{arm}/{width}",
                partial(train, net, rate),
                keys,
                state,
                steps=steps,
                each=(data["x"], data["y"], before),
                evaluate_every=settings.every,
                evaluate=partial(evaluate, settings, net),
                finish=rows,
            )
            lab.measure(run.curves, along={"step": run.steps}, arm=arm, width=width)
            if arm == "ntk":
                lab.keep(f"rows_{width}", run.result["rows"])


# --- C3: the law of trained networks --------------------------------------------------------------------------------


def law(settings: LawSettings, bias: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over initialisations of the infinitely wide network at t = ∞, on the circle."""
    x, grid = training_points(settings), circle(settings.grid)
    kernels = partial(fully_connected_kernels, depth=settings.depth, activation=duals.relu, bias_variance=bias**2)
    train, cross, test = kernels(x), kernels(grid, x), kernels(grid)
    # f_∞(x) ~ N(A y, S(x,x) - A S(X,x) - (A S(X,x))ᵀ + A S(X,X) Aᵀ) with A = Θ(x,X) Θ(X,X)⁻¹
    found = GradientFlow.from_kernel(train.ntk).predictive_distribution(
        np.inf, product(x), train.nngp, KernelPair(cross.nngp, cross.ntk), test.nngp
    )
    return found.mean.astype(np.float32), np.sqrt(np.maximum(found.covariance.diagonal(), 0)).astype(np.float32)


def training_points(settings: LawSettings) -> jax.Array:
    """Points of the unit circle, (N, 2)."""
    angles = np.array(settings.angles)
    return jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], 1), jnp.float32)


def add_network(settings: LawSettings, net: NTKNetwork, state: Tree, key: jax.Array, i: jax.Array) -> Tree:
    """Network i of an ensemble, from its random start to the end of its training."""
    x = training_points(settings)
    move = partial(descend, net, settings.learning_rate, x=x, y=product(x))
    params = jax.lax.fori_loop(0, settings.steps, lambda _, p: move(p), net.init(key, x))
    return {"outputs": state["outputs"].at[i].set(value(net, params, circle(settings.grid)))}


def against(outputs: jax.Array, mean: jax.Array, sd: jax.Array) -> dict[str, jax.Array]:
    """An ensemble's outputs (networks, grid) beside a law: its mean and its standard deviation over networks."""
    variance = outputs.var(0, ddof=1)
    # ((mean of f) - m)², less the share s²/M that M networks owe to chance, in units of the law's variance
    gap = (outputs.mean(0) - mean) ** 2 - variance / len(outputs)
    return {"mean_gap": gap.mean() / jnp.mean(sd**2), "sd_ratio": jnp.sqrt(variance).mean() / sd.mean()}


def shown(outputs: jax.Array) -> jax.Array:
    """The networks that are drawn."""
    return outputs[:SHOWN]


def law_trial(settings: LawSettings, keys: jax.Array, lab: "Lab") -> None:
    """An ensemble at every width, beside the law of the limit and beside that of another bias."""
    check_learning_rate(settings.learning_rate, limit(settings, training_points(settings)))
    laws = {"own_bias": law(settings, settings.bias), "other_bias": law(settings, settings.other_bias)}
    for width in settings.widths:
        run = lab.iterate(
            f"ensemble/{width}",
            partial(add_network, settings, network(settings, width)),
            named_keys(lab, keys, f"ensemble/{width}"),
            {"outputs": jnp.zeros((*keys.shape, settings.networks, settings.grid))},
            steps=settings.networks,
            evaluate_every=min(SHOWN, settings.networks),
        )
        for arm, (mean, sd) in laws.items():
            lab.measure(lab.map(against, run.result["outputs"], shared=(mean, sd)), arm=arm, width=width)
        lab.keep(f"outputs_{width}", lab.map(shown, run.result["outputs"]))
    mean, sd = laws["own_bias"]
    for name, values in (("mean", mean), ("sd", sd), ("angles", np.array(settings.angles, np.float32))):
        lab.keep(name, np.tile(values, (*keys.shape, 1)))


STUDIES = {
    "sphere": Study(sphere_trial),
    "initial": Study(initial_trial),
    "training": Study(training_trial),
    "law": Study(law_trial),
    "components": Study(component_trial),
    "mnist": Study(component_trial),
}
