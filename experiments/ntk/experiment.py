"""The experiment, to be read beside the paper; see the package's docstring for its claim and symbols."""

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from core.kernels import duals
from core.kernels.dynamics import GradientFlow, check_learning_rate
from core.kernels.infinite import KernelPair, fully_connected_kernels
from core.kernels.solvers import gaussian_process_posterior
from core.lab.keys import named_keys
from core.models.ntk import NTKNetwork
from core.papers.contract import Study
from experiments.ntk import networks
from experiments.ntk.components import component_trial
from experiments.ntk.networks import MeanFieldNetwork, circle, limit, network, tangent, value
from experiments.ntk.settings import InitialSettings, LawSettings, SphereSettings, TrainingSettings

if TYPE_CHECKING:
    from core.lab.lab import Lab

Tree = Any
Law = tuple[np.ndarray, np.ndarray]
frobenius = partial(jnp.linalg.norm, axis=(-2, -1))
SHOWN = 10  # trained networks of an ensemble that are kept for the figure, as many as the paper draws


def product(x: jax.Array) -> jax.Array:
    """f*(x) = x1 x2, shape (n,)."""
    return x[:, 0] * x[:, 1]


# --- C7: positive definite on the sphere ----------------------------------------------------------------------------

ACTIVATIONS = {"relu": duals.relu, "erf": duals.erf, "square": duals.square}


def smallest_eigenvalue(settings: SphereSettings, arm: str, shape: tuple[int, int], key: jax.Array) -> jax.Array:
    """The smallest eigenvalue of Θ∞ by the largest, on random points of a sphere, `shape` = (points, dimension)."""
    x = jax.random.normal(key, shape)
    x = x / jnp.linalg.norm(x, axis=1, keepdims=True)
    eigenvalues = jnp.linalg.eigvalsh(limit(settings, x, ACTIVATIONS[arm]))
    return eigenvalues[0] / eigenvalues[-1]


def sphere_trial(settings: SphereSettings, keys: jax.Array, lab: "Lab") -> None:
    """The same points for every activation."""
    for dimension, points in settings.spheres:
        drawn = named_keys(lab, keys, f"points/{dimension}")
        for arm in ACTIVATIONS:
            found = lab.map(partial(smallest_eigenvalue, settings, arm, (points, dimension)), drawn)
            lab.measure({"smallest_eigenvalue": found}, arm=arm, dimension=dimension)


# --- C1: the kernel at initialisation -------------------------------------------------------------------------------


def initial_kernels(settings: InitialSettings, width: int, key: jax.Array) -> dict[str, jax.Array]:
    """Distances ‖Θ - Θ∞‖ / ‖Θ∞‖ of every draw to the limit and to the limit of one layer less."""
    x, net = circle(settings.grid), network(settings, width)
    kernels = jax.lax.map(lambda k: tangent(net, net.init(k, x), x), jax.random.split(key, settings.draws))
    expected = {"limit": limit(settings, x), "other_depth": limit(settings, x, depth=settings.depth - 1)}
    return {arm: frobenius(kernels - kernel[None]) / frobenius(kernel) for arm, kernel in expected.items()}


def initial_trial(settings: InitialSettings, keys: jax.Array, lab: "Lab") -> None:
    """An ensemble of initialisations at every width."""
    for width in settings.widths:
        drawn = named_keys(lab, keys, f"draws/{width}")
        found = lab.stage(f"kernels/{width}", partial(lab.map, partial(initial_kernels, settings, width), drawn))
        for arm, error in found.items():
            lab.measure({"kernel_error": error}, along={"draw": range(settings.draws)}, arm=arm, width=width)


# --- C2 and C4: the kernel in training, and the linear equation -----------------------------------------------------


def task(settings: TrainingSettings, key: jax.Array) -> dict[str, jax.Array]:
    """N points x ~ N(0, I) of the plane with y = x1 x2, their limiting kernel, and the same points with the circle."""
    x = jax.random.normal(key, (settings.points, 2))
    points = jnp.concatenate([x, circle(settings.grid)])
    return {"x": x, "y": product(x), "limit": limit(settings, x), "points": points}


def evaluate(
    settings: TrainingSettings, net: NTKNetwork, state: Tree, i: jax.Array, x: jax.Array, y: jax.Array, kernel: Tree
) -> tuple[Tree, dict[str, jax.Array]]:
    """How far the kernel on the circle has moved, and how far the network is from the linear equation."""
    n, grid = len(x), circle(settings.grid)
    old, new = kernel[n:, n:], tangent(net, state["params"], grid)
    apart = value(net, state["params"], grid) - state["linear"][n:]
    return state, {
        "kernel_change": frobenius(new - old) / frobenius(old),
        "inflation": jnp.mean(new - old) / jnp.mean(old),
        "linear_error": jnp.sqrt(jnp.mean(apart**2)),
    }


def rows(
    settings: TrainingSettings, net: NTKNetwork, state: Tree, x: jax.Array, y: jax.Array, kernel: Tree
) -> dict[str, jax.Array]:
    """Θ(x0, ·) on the circle before and after training, (2, grid)."""
    after = tangent(net, state["params"], circle(settings.grid))
    return {"rows": jnp.stack([kernel[len(x), len(x) :], after[0]])}


def training_trial(settings: TrainingSettings, keys: jax.Array, lab: "Lab") -> None:
    """Every width in the NTK parametrisation, and divided by √n at n times the learning rate."""
    data = lab.map(partial(task, settings), named_keys(lab, keys, "task"))
    networks.check_rate(settings.learning_rate, data["limit"])
    lab.keep("limit", np.tile(limit(settings, circle(settings.grid))[0], (*keys.shape, 1)))
    for width in settings.widths:
        for arm, kind, factor in (("ntk", NTKNetwork, 1), ("mean_field", MeanFieldNetwork, width)):
            net, rate = network(settings, width, kind), factor * settings.learning_rate
            state, kernel = lab.map(
                partial(networks.begin, net), named_keys(lab, keys, f"init/{width}"), data["points"]
            )
            run = lab.iterate(
                f"{arm}/{width}",
                partial(networks.train, net, rate),
                keys,
                state,
                steps=settings.iterations,
                each=(data["x"], data["y"], kernel),
                evaluate_every=settings.evaluate_every,
                evaluate=partial(evaluate, settings, net),
                finish=partial(rows, settings, net),
            )
            lab.measure(run.curves, along={"step": run.steps}, arm=arm, width=width)
            if arm == "ntk":
                lab.keep(f"rows_{width}", run.result["rows"])


# --- C3: the law of trained networks --------------------------------------------------------------------------------


def laws(settings: LawSettings) -> dict[str, Law]:
    """Mean and standard deviation on the circle of the infinitely wide network over its initialisations, at t = ∞.

    `tangent_kernel` where all layers are trained, `posterior` where the Gaussian process of the initial networks is
    conditioned on the targets instead.
    """
    x, grid = circle(settings.angles), circle(settings.grid)
    kernels = partial(
        fully_connected_kernels, depth=settings.depth, activation=duals.relu, bias_variance=settings.bias**2
    )
    train, cross, test = kernels(x), kernels(grid, x), kernels(grid)
    # f_∞(x) ~ N(A y, S(x,x) - A S(X,x) - (A S(X,x))ᵀ + A S(X,X) Aᵀ) with A = Θ(x,X) Θ(X,X)⁻¹
    own = GradientFlow.from_kernel(train.ntk).predictive_distribution(
        np.inf, product(x), train.nngp, KernelPair(cross.nngp, cross.ntk), test.nngp
    )
    # f(x) | f(X) = y ~ N(B y, S(x,x) - B S(X,x)) with B = S(x,X) S(X,X)⁻¹
    other = gaussian_process_posterior(train.nngp, cross.nngp, test.nngp, product(x))
    return {
        arm: (found.mean.astype(np.float32), np.sqrt(np.maximum(found.covariance.diagonal(), 0)).astype(np.float32))
        for arm, found in (("tangent_kernel", own), ("posterior", other))
    }


def add_network(settings: LawSettings, net: NTKNetwork, state: Tree, key: jax.Array, i: jax.Array) -> Tree:
    """Network i of an ensemble, from its random start to the end of its training."""
    x = circle(settings.angles)
    move = partial(networks.descend, net, settings.learning_rate, x=x, y=product(x))
    params = jax.lax.fori_loop(0, settings.iterations, lambda _, p: move(p), net.init(key, x))
    return {"outputs": state["outputs"].at[i].set(value(net, params, circle(settings.grid)))}


def against(outputs: jax.Array, mean: jax.Array, sd: jax.Array) -> dict[str, jax.Array]:
    """An ensemble's outputs (networks, grid) beside a law: its mean and its standard deviation over networks."""
    variance = outputs.var(0, ddof=1)
    # ((mean of f) - m)², less the share s²/M that M networks owe to chance, in units of the law's variance
    gap = (outputs.mean(0) - mean) ** 2 - variance / len(outputs)
    return {"mean_gap": gap.mean() / jnp.mean(sd**2), "sd_ratio": jnp.sqrt(variance).mean() / sd.mean()}


def law_trial(settings: LawSettings, keys: jax.Array, lab: "Lab") -> None:
    """An ensemble at every width, beside the law of the tangent kernel and beside the posterior."""
    check_learning_rate(settings.learning_rate, limit(settings, circle(settings.angles)))
    expected = laws(settings)
    shown = min(SHOWN, settings.networks)
    for width in settings.widths:
        run = lab.iterate(
            f"ensemble/{width}",
            partial(add_network, settings, network(settings, width)),
            named_keys(lab, keys, f"ensemble/{width}"),
            {"outputs": jnp.zeros((*keys.shape, settings.networks, settings.grid))},
            steps=settings.networks,
            evaluate_every=shown,
        )
        for arm, law in expected.items():
            lab.measure(lab.map(against, run.result["outputs"], shared=law), arm=arm, width=width)
        lab.keep(
            f"outputs_{width}",
            lab.map(partial(jax.lax.slice_in_dim, start_index=0, limit_index=shown), run.result["outputs"]),
        )
    mean, sd = expected["tangent_kernel"]
    for name, values in (("mean", mean), ("sd", sd), ("angles", np.array(settings.angles, np.float32))):
        lab.keep(name, np.tile(values, (*keys.shape, 1)))


STUDIES = {
    "sphere": Study(sphere_trial),
    "initial": Study(initial_trial),
    "training": Study(training_trial),
    "law": Study(law_trial),
    "components": Study(component_trial),
    "wide": Study(component_trial),
}
