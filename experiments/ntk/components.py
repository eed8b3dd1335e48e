"""Convergence along kernel principal components (section 6.3 of the paper; claims C5, C6, M1 and M2).

For a target f* = f_0 + a f^(i) the linear equation keeps the network on the line from f_0 to f*, with a exp(-λ_i t)
left to learn: the larger the eigenvalue, the faster, which is what early stopping rests on.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from core.kernels.solvers import kernel_pca
from core.lab.keys import named_keys
from core.models.ntk import NTKNetwork
from experiments.ntk.networks import begin, check_rate, limit, network, train, value

if TYPE_CHECKING:
    from core.lab.lab import Lab
    from experiments.ntk.settings import ComponentSettings

Tree = Any


# --- the batch and its components -----------------------------------------------------------------------------------


def batch(settings: "ComponentSettings", key: jax.Array, images: jax.Array) -> dict[str, jax.Array]:
    """N images as pixels in [0, 1], (N, pixels), their limiting kernels (N, N), and a random orthogonal `mixture`."""
    chosen, mixing = jax.random.split(key)
    x = images[jax.random.permutation(chosen, len(images))[: settings.images]]
    x = x.reshape(len(x), -1).astype(jnp.float32) / 255
    kernels = {"limit": limit(settings, x), "other_limit": limit(settings, x, depth=settings.other_depth)}
    return {"x": x, "mixture": jax.random.orthogonal(mixing, settings.leading), **kernels}


def principal(count: int, kernels: Tree, others: Tree) -> dict[str, np.ndarray]:
    """Eigenvalues λ_i (k,) and components f^(i) (N, k) of every replicate, and the eigenvalues of another depth.

    On the host in float64, where the small eigenvalues are not lost, and rounded to float32.
    """
    own = [kernel_pca(kernel, count) for kernel in np.asarray(kernels)]
    found = {
        "eigenvalues": [eigenvalues for eigenvalues, _ in own],
        "components": [components for _, components in own],
        "other_eigenvalues": [kernel_pca(kernel, count)[0] for kernel in np.asarray(others)],
    }
    return {name: np.stack(values).astype(np.float32) for name, values in found.items()}


def principal_shapes(settings: "ComponentSettings") -> dict[str, jax.ShapeDtypeStruct]:
    """What `principal` finds for one replicate."""
    k = settings.leading
    shapes = {"eigenvalues": (k,), "components": (settings.images, k), "other_eigenvalues": (k,)}
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}


def directions(numbers: tuple[int, ...], arm: str, components: jax.Array, mixture: jax.Array) -> jax.Array:
    """What is learnt in an arm, (N, k), of unit mean square: the components f^(i) of these numbers or a control."""
    chosen = np.array(numbers) - 1
    if arm == "pair":  # of two components, and so none itself
        return (components[:, chosen] + components[:, -1:]) / np.sqrt(2)
    return (components @ mixture if arm == "mixed" else components)[:, chosen]


# --- training along them --------------------------------------------------------------------------------------------


def aim(amplitude: float, start: jax.Array, along: jax.Array) -> jax.Array:
    """f* = f_0 + a Σ_i f^(i) on the batch, (N,)."""
    return start + amplitude * along.sum(1)


def evaluate_along(
    net: NTKNetwork, state: Tree, i: Any, x: jax.Array, y: jax.Array, kernel: Tree, along: jax.Array
) -> tuple[Tree, dict[str, jax.Array]]:
    """What is left to learn: g_i along every direction, h across all of them; root mean squares over the batch."""
    seen = {}
    for name, f in (("network", value(net, state["params"], x)), ("frozen", state["linear"])):
        left = y - f
        # f* - f_t = Σ_i g_i f^(i) + h
        g = along.T @ left / len(x)
        seen |= {f"{name}/{i}": g[i] for i in range(len(g))}
        seen[f"{name}/h"] = jnp.sqrt(jnp.mean((left - along @ g) ** 2))
    return state, seen


def nothing(state: Tree, *given: Tree) -> dict:
    """The curves say it all."""
    return {}


def learn(
    name: str, width: int, arm: str, settings: "ComponentSettings", keys: jax.Array, data: Tree, lab: "Lab"
) -> tuple[dict[str, np.ndarray], tuple[int, ...]]:
    """One training of every replicate: curves of the network and of its frozen kernel, and the steps they are at."""
    course, net = getattr(settings, name), network(settings, width)
    numbers = (settings.component,) if name == "alone" else settings.components
    along = lab.map(partial(directions, numbers, arm), data["components"], data["mixture"])
    state, kernel = lab.map(partial(begin, net), named_keys(lab, keys, f"init/{name}/{width}"), data["x"])
    target = lab.map(partial(aim, course.amplitude), state["linear"], along)
    run = lab.iterate(
        f"{arm}/{name}/{width}",
        partial(train, net, course.learning_rate),
        keys,
        state,
        steps=course.iterations,
        each=(data["x"], target, kernel, along),
        evaluate_every=course.evaluate_every,
        evaluate=partial(evaluate_along, net),
        finish=nothing,
    )
    return run.curves, tuple(run.steps.tolist())


# --- what is measured -----------------------------------------------------------------------------------------------


def theory(settings: "ComponentSettings", steps: tuple[int, ...], eigenvalues: jax.Array) -> jax.Array:
    """|g_t| = a exp(-λ t) for the component that is learnt alone, at these steps."""
    # One step of descent multiplies the component by 1 - ηλ, which is exp(-ηλ) to first order.
    factor = 1 - settings.alone.learning_rate * eigenvalues[settings.component - 1]
    return settings.alone.amplitude * factor ** jnp.asarray(steps, jnp.float32)


def line(
    settings: "ComponentSettings", steps: tuple[int, ...], g: jax.Array, h: jax.Array, eigenvalues: jax.Array
) -> dict[str, jax.Array]:
    """Largest deviations from the line and from the course along it, by its length, and |g_t|'s rate by λ's."""
    fallen, expected = (
        jnp.abs(curve) / settings.alone.amplitude for curve in (g, theory(settings, steps, eigenvalues))
    )
    # |g| = a exp(-r steps), fitted to log |g| up to t = 1/λ
    early = jnp.asarray(steps) * ((expected > np.exp(-1)) | (jnp.arange(len(steps)) == 0))
    rates = [-jnp.sum(early * jnp.log(curve)) / jnp.sum(early**2) for curve in (fallen, expected)]
    return {
        "off_line": h.max() / settings.alone.amplitude,
        "off_course": jnp.abs(fallen - expected).max(),
        "rate_ratio": rates[0] / rates[1],
    }


def halving(
    settings: "ComponentSettings", steps: tuple[int, ...], g: tuple[jax.Array, ...], eigenvalues: jax.Array
) -> dict[str, jax.Array]:
    """Time in which |g_i| halves for every component i, that of the limit, and the least log-ratio of neighbours."""
    chosen = eigenvalues[np.array(settings.components) - 1]
    fallen = jnp.log(settings.together.amplitude / jnp.abs(jnp.stack(g)))
    # log |g| taken as straight between two evaluations, or from start to end where it has not halved there
    marks, fallen = jnp.asarray((0, *steps), jnp.float32), jnp.pad(fallen, ((0, 0), (1, 0)))
    halved, rows = fallen >= np.log(2), jnp.arange(len(g))
    after = jnp.where(halved.any(1), halved.argmax(1), len(steps))
    before = jnp.where(halved.any(1), after - 1, 0)
    rise = jnp.maximum(fallen[rows, after] - fallen[rows, before], 1e-3)
    half = marks[before] + (np.log(2) - fallen[rows, before]) / rise * (marks[after] - marks[before])
    return {
        "half_time": settings.together.learning_rate * half,
        "limit_half_time": np.log(2) / chosen,
        "least_slowdown": jnp.diff(jnp.log(half)).min(),
    }


def component_trial(settings: "ComponentSettings", keys: jax.Array, lab: "Lab") -> None:
    """One component alone and several together, at every width; and a control of each."""
    images = lab.data(settings.dataset)["train_images"]
    data = lab.map(partial(batch, settings), named_keys(lab, keys, "batch"), shared=(images,))
    for course in (settings.alone, settings.together):
        check_rate(course.learning_rate, data["limit"])
    solve = partial(principal, settings.leading, data["limit"], data["other_limit"])
    data |= lab.stage("principal", solve, like=principal_shapes(settings))
    for arm, name in (("component", "eigenvalues"), ("other_depth", "other_eigenvalues")):
        lab.measure({"eigenvalue": data[name]}, along={"component": range(1, settings.leading + 1)}, arm=arm)
    for width in settings.alone.widths:
        for arm, arms in (("component", ("component", "frozen")), ("pair", ("pair",))):
            curves, steps = learn("alone", width, arm, settings, keys, data, lab)
            for source, name in zip(("network", "frozen"), arms, strict=False):
                g, h = curves[f"{source}/0"], curves[f"{source}/h"]
                found = lab.map(partial(line, settings, steps), g, h, data["eigenvalues"])
                lab.measure({"left": g, "across": h}, along={"step": steps}, arm=name, width=width)
                lab.measure(found, arm=name, width=width)
        expected = lab.map(partial(theory, settings, steps), data["eigenvalues"])
        lab.measure({"left": expected}, along={"step": steps}, arm="limit", width=width)
    for width in settings.together.widths:
        for arm in ("component", "mixed"):
            curves, steps = learn("together", width, arm, settings, keys, data, lab)
            g = tuple(curves[f"network/{i}"] for i in range(len(settings.components)))
            found = lab.map(partial(halving, settings, steps), g, data["eigenvalues"])
            lab.measure({"least_slowdown": found.pop("least_slowdown")}, arm=arm, width=width)
            lab.measure(found, along={"component": settings.components}, arm=arm, width=width)
