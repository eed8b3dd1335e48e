"""Training on data sets from a prior: the distribution of context sizes, the loss, and one step.

    minimise E_{D ~ p(D), n} [ -1/(N-n) Σ_{j>n} log q(y_j | x_j, D_{1..n}) ]        (prior-data NLL)

Its minimiser is the exact posterior predictive. A step draws everything on the device: a context size n, a batch of
data sets, and the gradient by the program compiled for the smallest size that holds n.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from core.amortised.encoder import TransformerEncoder, init_params
from core.errors import BadInput

Tree = Any
ADAM = optax.scale_by_adam()


def context_size_probabilities(points: int, smallest: int = 0) -> np.ndarray:
    """P(n) of context sizes 0 to N - 1, (N,): weight 1/(N - n), so that all n see about equally many query losses.

    Sizes below `smallest` are never drawn.
    """
    sizes = np.arange(points)
    weights = np.where(sizes < smallest, 0, 1 / (points - sizes))
    return weights / weights.sum()


def standardise_targets(y: jax.Array, context_size: jax.Array | int) -> jax.Array:
    """Targets (B, N) in units of the mean and standard deviation of the first `context_size`, which may be traced.

    A context without spread counts as one of spread 1, as in `core.amortised.estimators`.
    """
    inside = jnp.arange(y.shape[1]) < context_size
    count = jnp.maximum(jnp.sum(inside), 1)
    mean = jnp.sum(jnp.where(inside[None], y, 0), 1, keepdims=True) / count
    variance = jnp.sum(jnp.where(inside[None], (y - mean) ** 2, 0), 1, keepdims=True) / count
    return (y - mean) / jnp.where(variance > 0, jnp.sqrt(variance), 1)


@dataclass(frozen=True)
class TrainingSpec:
    """What is trained and how; static, so that a step is compiled once.

    Attributes:
      network: the encoder.
      prior: `prior(key, (batch, points, features), **arguments)`, its arguments from `arguments["prior"]` of a step.
      head: `head(borders, outputs, y)`, the log density.
      points: N points of a data set.
      batch_size: data sets in a step.
      compiled_context_sizes: growing compiled context sizes; the largest one bounds n.
      fixed_context_size: one context size for all steps instead of a random one.
      smallest_context_size: of random ones.
      standardise: whether targets are in units of their context's own mean and standard deviation.
    """

    network: TransformerEncoder
    prior: Callable
    head: Callable
    points: int
    batch_size: int
    compiled_context_sizes: tuple[int, ...]
    fixed_context_size: int | None = None
    smallest_context_size: int = 0
    standardise: bool = False

    def __post_init__(self) -> None:
        """Sizes grow, and hold every context size that is drawn."""
        largest = self.points - 1 if self.fixed_context_size is None else self.fixed_context_size
        sizes = self.compiled_context_sizes
        if list(sizes) != sorted(set(sizes)) or not sizes or sizes[0] < 0:
            raise BadInput(f"compiled context sizes {list(sizes)} must be 0 or more, and grow")
        if sizes[-1] != largest or largest >= self.points:
            raise BadInput(f"the last compiled context size is {sizes[-1]}, the largest context {largest}")

    def draw(self, key: jax.Array, prior: Tree) -> tuple[jax.Array, jax.Array, jax.Array]:
        """A context size and a batch of data sets, x (B, N, F) and y (B, N), targets as the network sees them."""
        for_size, for_data = jax.random.split(key)
        x, y = self.prior(for_data, self.input_shape, **prior)
        if self.fixed_context_size is None:
            law = jnp.asarray(context_size_probabilities(self.points, self.smallest_context_size))
            context = jax.random.choice(for_size, self.points, p=law)
        else:
            context = jnp.int32(self.fixed_context_size)
        return context, x, standardise_targets(y, context) if self.standardise else y

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of the inputs of a batch: (batch_size, points, features)."""
        return self.batch_size, self.points, self.network.features


def learning_rate_plan(start: int, until: int, warmup: int, learning_rate: float, decay: bool) -> dict[str, np.ndarray]:
    """The learning rate of a loop as numbers: it begins after `start` steps, and with `decay` falls to 0 at `until`."""
    falls = until - start if decay else 1
    values = {
        "start": start,
        "until": until if decay else 1e9,
        "falls": falls,
        "warmup": max(1, warmup),
        "rate": learning_rate,
    }
    return {name: np.array(value, np.float32) for name, value in values.items()}


def learning_rate_at(plan: Tree, i: jax.Array) -> jax.Array:
    """The learning rate after i steps of a loop.

    Linear warm-up from the very first step on, then constant; or a straight fall to 0 in the course of the loop.
    """
    done = plan["start"] + i
    return (
        plan["rate"]
        * jnp.minimum(1, (done + 1) / plan["warmup"])
        * jnp.clip((plan["until"] - done) / plan["falls"], 0, 1)
    )


def init_state(spec: TrainingSpec, key: jax.Array) -> Tree:
    """Initial parameters and the state of Adam."""
    params = init_params(spec.network, key)
    moments: Any = ADAM.init(params)
    return {"params": params, "adam": moments._asdict()}


def query_log_densities(
    spec: TrainingSpec,
    params: Tree,
    borders: jax.Array,
    x: jax.Array,
    y: jax.Array,
    context_size: jax.Array | int,
    **static: Any,
) -> jax.Array:
    """log q(y_j | x_j, context), (B, N - first_query); `static` are `max_context_size` and `first_query`."""
    outputs = jnp.asarray(spec.network.apply({"params": params}, x, y, context_size, **static))
    return spec.head(borders, outputs, y[:, y.shape[1] - outputs.shape[1] :])


def query_loss(
    params: Tree, spec: TrainingSpec, bounds: tuple[int, int], borders: jax.Array, x: jax.Array, y: jax.Array,
    context_size: jax.Array,
) -> jax.Array:  # fmt: skip
    """Mean negative log density of a batch's queries."""
    first, size = bounds
    found = query_log_densities(spec, params, borders, x, y, context_size, max_context_size=size, first_query=first)
    asked = jnp.arange(first, spec.points) >= context_size
    return -jnp.sum(jnp.where(asked[None], found, 0.0)) / (spec.batch_size * (spec.points - context_size))


def gradient_branches(spec: TrainingSpec) -> list[Callable]:
    """Functions for the loss and its gradient, one per range of context sizes.

    Each is compiled for the sizes above the one before it.
    """
    if spec.fixed_context_size is not None:
        bounds = [(spec.fixed_context_size, spec.fixed_context_size)]
    else:
        sizes = spec.compiled_context_sizes
        bounds = list(zip((0, *(size + 1 for size in sizes[:-1])), sizes, strict=True))
    return [lambda params, *rest, b=b: jax.value_and_grad(query_loss)(params, spec, b, *rest) for b in bounds]


def training_step(
    spec: TrainingSpec, state: Tree, key: jax.Array, i: jax.Array, borders: jax.Array, arguments: Tree
) -> Tree:
    """One update of the parameters by Adam on a fresh batch of data sets.

    Args:
      spec: what is trained.
      state: of `init_state`.
      key: of this step.
      i: steps done in this loop.
      borders: of the bars, (bars + 1,).
      arguments: `plan` of `learning_rate_plan`, and `prior`, arguments by name.
    """
    context, x, y = spec.draw(key, arguments["prior"])
    chosen = jnp.searchsorted(jnp.array(spec.compiled_context_sizes), context)
    _, gradient = jax.lax.switch(chosen, gradient_branches(spec), state["params"], borders, x, y, context)
    # Adam on the gradient clipped to norm 1
    size = jnp.maximum(1, optax.tree.norm(gradient))
    clipped = jax.tree.map(lambda g: g / size, gradient)
    moved: Any = ADAM.update(clipped, optax.ScaleByAdamState(**state["adam"]))
    update, adam = moved
    rate = learning_rate_at(arguments["plan"], i)
    return {"params": jax.tree.map(lambda p, u: p - rate * u, state["params"], update), "adam": adam._asdict()}


def params_only(state: Tree, borders: jax.Array, arguments: Tree) -> Tree:
    """The parameters of a state, without that of Adam: `finish` of a training loop."""
    return {"params": state["params"]}


def sample_prior_targets(spec: TrainingSpec, sets: int, key: jax.Array, prior: Tree) -> jax.Array:
    """Targets of many data sets, for the borders of bars: (sets × N,)."""
    batches = -(-sets // spec.batch_size)
    return jax.lax.map(lambda k: spec.draw(k, prior)[2], jax.random.split(key, batches)).reshape(-1)
