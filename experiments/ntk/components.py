"""Convergence along kernel principal components (section 6.3 of the paper; claims C5 and C6).

For a target f* = f_0 + a f^(i) the linear equation keeps the network on the line from f_0 to f*, with a exp(-λ_i t)
left to learn: the larger the eigenvalue, the faster, which is what early stopping rests on.
"""

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from core.kernels.solvers import kernel_pca
from core.lab.keys import named_keys
from core.models.ntk import NTKNetwork
from experiments.ntk.networks import check_rate, descend, limit, network, value

if TYPE_CHECKING:
    from core.lab.lab import Lab
    from experiments.ntk.settings import ComponentSettings

Tree = Any


def batch(settings: "ComponentSettings", key: jax.Array, images: jax.Array) -> dict[str, jax.Array]:
    """N images as pixels in [0, 1], (N, pixels), their limiting kernels (N, N), and a permutation of them, `order`."""
    chosen, order = jax.random.split(key)
    x = images[jax.random.permutation(chosen, len(images))[: settings.images]]
    x = x.reshape(len(x), -1).astype(jnp.float32) / 255
    kernels = {"limit": limit(settings, x), "other_limit": limit(settings, x, depth=settings.other_depth)}
    return {"x": x, "order": jax.random.permutation(order, len(x)), **kernels}


def principal(count: int, kernels: Tree, others: Tree) -> dict[str, np.ndarray]:
    """Eigenvalues λ_i (k,) and components f^(i) (N, k) of every replicate, and the eigenvalues of another depth.

    On the host in float64, where the small eigenvalues are not lost, and rounded to float32.
    """
    eigenvalues, components = zip(*(kernel_pca(kernel, count) for kernel in np.asarray(kernels)), strict=True)
    other_eigenvalues = [kernel_pca(kernel, count)[0] for kernel in np.asarray(others)]
    found = {"eigenvalues": eigenvalues, "components": components, "other_eigenvalues": other_eigenvalues}
    return {name: np.stack(values).astype(np.float32) for name, values in found.items()}


def principal_shapes(settings: "ComponentSettings") -> dict[str, jax.ShapeDtypeStruct]:
    """What `principal` finds for one replicate."""
    k = settings.largest()
    shapes = {"eigenvalues": (k,), "components": (settings.images, k), "other_eigenvalues": (k,)}
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}


def directions(numbers: tuple[int, ...], shuffle: bool, components: jax.Array, order: jax.Array) -> jax.Array:
    """The components f^(i) of these numbers as functions on the batch, (N, k), or their values in another order."""
    chosen = components[:, np.array(numbers) - 1]
    return chosen[order] if shuffle else chosen


def begin_along(
    net: NTKNetwork, amplitude: float, key: jax.Array, x: jax.Array, along: jax.Array
) -> tuple[Tree, jax.Array]:
    """A network at its start, and the target f* = f_0 + amplitude Σ_i f^(i) on the batch."""
    params = net.init(key, x)
    return {"params": params}, value(net, params, x) + amplitude * along.sum(1)


def train_along(
    settings: "ComponentSettings",
    net: NTKNetwork,
    state: Tree,
    key: jax.Array,
    i: jax.Array,
    x: jax.Array,
    y: jax.Array,
    along: jax.Array,
) -> Tree:
    """One step towards the target."""
    return {"params": descend(net, settings.learning_rate, state["params"], x, y)}


def evaluate_along(
    net: NTKNetwork, state: Tree, i: jax.Array, x: jax.Array, y: jax.Array, along: jax.Array
) -> tuple[Tree, dict[str, jax.Array]]:
    """What is left to learn: g_i along every direction, h across all of them; root mean squares over the batch."""
    left = y - value(net, state["params"], x)
    # f* - f_t = Σ_i g_i f^(i) + h
    g = along.T @ left / len(x)
    across = left - along @ g
    return state, {**{f"g{i}": g[i] for i in range(len(g))}, "h": jnp.sqrt(jnp.mean(across**2))}


def line(
    settings: "ComponentSettings", marks: tuple[int, ...], g: jax.Array, h: jax.Array, eigenvalues: jax.Array
) -> dict:
    """Rate of |g_t| by that of the eigenvalue, and the largest deviation from the line by its length."""
    steps, rate, eigenvalue = jnp.asarray(marks, g.dtype), settings.learning_rate, eigenvalues[settings.component - 1]
    # |g| = amplitude exp(-r steps), fitted to log |g| up to t = 1/λ
    early = steps <= jnp.maximum(1 / (rate * eigenvalue), steps[0])
    r = -jnp.sum(early * steps * jnp.log(jnp.abs(g) / settings.amplitude)) / jnp.sum(early * steps**2)
    # One step of descent multiplies the component by 1 - ηλ, which is exp(-ηλ) to first order.
    ratio = r / -jnp.log1p(-rate * eigenvalue)
    return {"rate_ratio": ratio, "rate_gap": jnp.abs(ratio - 1), "off_line": h.max() / settings.amplitude}


def halving(
    settings: "ComponentSettings", marks: tuple[int, ...], g: tuple[jax.Array, ...], eigenvalues: jax.Array
) -> dict[str, jax.Array]:
    """Time in which |g_i| halves for every component i, and how it goes with the eigenvalue."""
    steps, chosen = jnp.asarray((0, *marks), jnp.float32), eigenvalues[np.array(settings.components) - 1]
    fallen = jnp.log(settings.together_amplitude / jnp.abs(jnp.stack(g)))
    fallen = jnp.concatenate([jnp.zeros_like(fallen[:, :1]), fallen], 1)
    # log |g| taken as straight between two evaluations; where it has not halved at the end, as straight from start to
    # end
    halved, rows = fallen >= np.log(2), jnp.arange(len(g))
    after = jnp.where(halved.any(1), halved.argmax(1), len(marks))
    before = jnp.where(halved.any(1), after - 1, 0)
    rise = jnp.maximum(fallen[rows, after] - fallen[rows, before], 1e-3)
    half = steps[before] + (np.log(2) - fallen[rows, before]) / rise * (steps[after] - steps[before])
    times, logs = jnp.log(settings.learning_rate * half), jnp.log(chosen)
    logs = logs - logs.mean()
    # Slope of log t on log λ: -1 where t = log 2 / λ
    slope = jnp.sum(logs * times) / jnp.sum(logs**2)
    return {"half_time": jnp.exp(times), "half_time_slope": slope, "least_slowdown": jnp.diff(times).min()}


class Course(NamedTuple):
    """One training: which components are learnt, how large, by a network of which width, and for how long."""

    name: str
    width: int
    numbers: tuple[int, ...]
    amplitude: float
    steps: int
    every: int


def follow(
    course: Course, arm: str, settings: "ComponentSettings", keys: jax.Array, data: Tree, lab: "Lab"
) -> tuple[list[Any], Any, tuple[int, ...]]:
    """Train one network of every replicate; its curves g_i (of each component) and h, and the steps they are at."""
    net = network(settings, course.width)
    along = lab.map(partial(directions, course.numbers, arm == "shuffled"), data["components"], data["order"])
    drawn = named_keys(lab, keys, f"init/{course.name}")
    state, target = lab.map(partial(begin_along, net, course.amplitude), drawn, data["x"], along)
    run = lab.iterate(
        f"{arm}/{course.name}",
        partial(train_along, settings, net),
        keys,
        state,
        steps=course.steps,
        each=(data["x"], target, along),
        evaluate_every=course.every,
        evaluate=partial(evaluate_along, net),
        finish=nothing,
    )
    curves, about = [run.curves[f"g{i}"] for i in range(len(course.numbers))], {"arm": arm, "width": course.width}
    for number, curve in zip(course.numbers, curves, strict=True):
        lab.measure({"left": curve}, along={"step": run.steps}, **about, course=course.name, component=number)
    lab.measure({"across": run.curves["h"]}, along={"step": run.steps}, **about, course=course.name)
    return curves, run.curves["h"], tuple(run.steps.tolist())


def nothing(state: Tree, *given: Tree) -> dict:
    """The curves say it all."""
    return {}


def component_trial(settings: "ComponentSettings", keys: jax.Array, lab: "Lab") -> None:
    """One component at every width, several at once at one width; and the same with their values shuffled."""
    images = lab.data(settings.dataset)["train_images"]
    data = lab.map(partial(batch, settings), named_keys(lab, keys, "batch"), shared=(images,))
    check_rate(settings, data["limit"])
    solve = partial(principal, settings.largest(), data["limit"], data["other_limit"])
    data |= lab.stage("principal", solve, like=principal_shapes(settings))
    measure_eigenvalues(settings, data, lab)
    lab.keep("learning_rate", np.full(keys.shape, settings.learning_rate))
    lab.keep("amplitude", np.full(keys.shape, settings.amplitude))
    length = (settings.steps, settings.every)
    for arm in ("component", "shuffled"):
        for width in settings.widths:
            course = Course(f"alone/{width}", width, (settings.component,), settings.amplitude, *length)
            (g,), h, marks = follow(course, arm, settings, keys, data, lab)
            lab.measure(lab.map(partial(line, settings, marks), g, h, data["eigenvalues"]), arm=arm, width=width)
        if settings.components:
            length_together = (settings.together_steps, settings.together_every)
            course = Course(
                "together", settings.together_width, settings.components, settings.together_amplitude, *length_together
            )
            curves, _, marks = follow(course, arm, settings, keys, data, lab)
            found = lab.map(partial(halving, settings, marks), tuple(curves), data["eigenvalues"])
            times = {"half_time": found.pop("half_time")}
            lab.measure(times, along={"component": settings.components}, arm=arm, course="together")
            lab.measure(found, arm=arm)


def measure_eigenvalues(settings: "ComponentSettings", data: Tree, lab: "Lab") -> None:
    """The eigenvalues of the batch, and those with a printed value by it, for the depth and for another one."""
    numbers = tuple(sorted({settings.component, *settings.components}))
    chosen = lab.map(partial(numbered, numbers), data["eigenvalues"])
    lab.measure({"eigenvalue": chosen}, along={"component": numbers}, arm="component")
    if settings.printed:
        count = len(settings.printed)
        for arm, name in (("component", "eigenvalues"), ("other_depth", "other_eigenvalues")):
            ratio = lab.map(partial(by_printed, settings.printed), data[name])
            lab.measure({"eigenvalue_ratio": ratio}, along={"component": range(1, count + 1)}, arm=arm)


def numbered(numbers: tuple[int, ...], values: jax.Array) -> jax.Array:
    """Some of the values, which are numbered from 1 on."""
    return values[np.array(numbers) - 1]


def by_printed(printed: tuple[float, ...], values: jax.Array) -> jax.Array:
    """The first values by the printed ones."""
    return values[: len(printed)] / np.array(printed, np.float32)
