"""Training on data sets from a prior: the law of context sizes, the loss, and one step.

    minimise E_{D ~ p(D), n} [ -1/(N-n) Σ_{j>n} log q(y_j | x_j, D_{1..n}) ]        (prior-data NLL)

Its minimiser is the exact posterior predictive. A step draws everything on the device: a context size n, a batch of
data sets, and the gradient by the program compiled for the smallest size that holds n.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from core.amortised.encoder import Encoder, initial
from core.errors import BadInput

Tree = Any
ADAM = optax.scale_by_adam()


def context_law(points: int) -> np.ndarray:
    """P(n) of context sizes 0 to N - 1, (N,): weight 1/(N - n), so that all n see about equally many query losses."""
    weights = 1 / (points - np.arange(points))
    return weights / weights.sum()


@dataclass(frozen=True)
class Recipe:
    """What is trained and how; static, so that a step is compiled once.

    Attributes:
      network: the encoder.
      prior: `prior(key, (batch, points, features), **arguments)`, arguments from `Given.prior`.
      head: `head(borders, outputs, y)`, the log density.
      points: N points of a data set.
      batch: data sets in a step.
      sizes: growing compiled context sizes; the largest one bounds n.
      fixed: one context size for all steps instead of the law.
    """

    network: Encoder
    prior: Callable
    head: Callable
    points: int
    batch: int
    sizes: tuple[int, ...]
    fixed: int | None = None

    def __post_init__(self) -> None:
        """Sizes grow, and hold every context size that is drawn."""
        largest = self.points - 1 if self.fixed is None else self.fixed
        if list(self.sizes) != sorted(set(self.sizes)) or not self.sizes or self.sizes[0] < 0:
            raise BadInput(f"compiled context sizes {list(self.sizes)} must be 0 or more, and grow")
        if self.sizes[-1] != largest or largest >= self.points:
            raise BadInput(f"the last compiled context size is {self.sizes[-1]}, the largest context {largest}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the inputs of a batch."""
        return self.batch, self.points, self.network.features


def schedule(start: int, until: int, warmup: int, rate: float, ends: bool) -> dict[str, np.ndarray]:
    """The learning rate of a loop as numbers: it begins after `start` steps, and falls to 0 at `until` if it `ends`."""
    falls = until - start if ends else 1
    values = {"start": start, "until": until if ends else 1e9, "falls": falls, "warmup": max(1, warmup), "rate": rate}
    return {name: np.array(value, np.float32) for name, value in values.items()}


def rate_at(plan: Tree, i: jax.Array) -> jax.Array:
    """Linear warm-up from the very first step on, then constant; or a straight fall to 0 in the course of the loop."""
    done = plan["start"] + i
    return (
        plan["rate"]
        * jnp.minimum(1, (done + 1) / plan["warmup"])
        * jnp.clip((plan["until"] - done) / plan["falls"], 0, 1)
    )


def begin(recipe: Recipe, key: jax.Array) -> Tree:
    """Parameters and the state of Adam."""
    params = initial(recipe.network, key)
    moments: Any = ADAM.init(params)
    return {"params": params, "adam": moments._asdict()}


def log_densities(
    recipe: Recipe,
    params: Tree,
    borders: jax.Array,
    x: jax.Array,
    y: jax.Array,
    context: jax.Array | int,
    **static: Any,
) -> jax.Array:
    """log q(y_j | x_j, context), (B, N - first); `static` are `size` and `first` of the network."""
    outputs = jnp.asarray(recipe.network.apply({"params": params}, x, y, context, **static))
    return recipe.head(borders, outputs, y[:, y.shape[1] - outputs.shape[1] :])


def loss(
    params: Tree, recipe: Recipe, bounds: tuple[int, int], borders: jax.Array, x: jax.Array, y: jax.Array,
    context: jax.Array, seen: jax.Array,
) -> jax.Array:  # fmt: skip
    """Mean negative log density of the queries of a batch; of the context only `seen` points are shown (a control)."""
    first, size = bounds
    found = log_densities(recipe, params, borders, x, y, seen, size=size, first=first)
    asked = jnp.arange(first, recipe.points) >= context
    return -jnp.sum(jnp.where(asked[None], found, 0.0)) / (recipe.batch * (recipe.points - context))


def branches(recipe: Recipe) -> list[Callable]:
    """Value and gradient by context size: each is compiled for the sizes above the one before it."""
    if recipe.fixed is not None:
        bounds = [(recipe.fixed, recipe.fixed)]
    else:
        bounds = list(zip((0, *(size + 1 for size in recipe.sizes[:-1])), recipe.sizes, strict=True))
    return [lambda params, *rest, b=b: jax.value_and_grad(loss)(params, recipe, b, *rest) for b in bounds]


def step(recipe: Recipe, state: Tree, key: jax.Array, i: jax.Array, borders: jax.Array, given: Tree) -> Tree:
    """One update.

    Args:
      recipe: what is trained.
      state: of `begin`.
      key: of this step.
      i: steps done in this loop.
      borders: of the bars, (bars + 1,).
      given: `plan` of `schedule`, `prior` (arguments by name), and `sees`: 1, or 0 for a network that is shown no
        context.
    """
    for_size, for_data = jax.random.split(key)
    x, y = recipe.prior(for_data, recipe.shape, **given["prior"])
    if recipe.fixed is None:
        context = jax.random.choice(for_size, recipe.points, p=jnp.asarray(context_law(recipe.points)))
    else:
        context = jnp.int32(recipe.fixed)
    chosen = jnp.searchsorted(jnp.array(recipe.sizes), context)
    rest = (borders, x, y, context, context * given["sees"].astype(context.dtype))
    _, gradient = jax.lax.switch(chosen, branches(recipe), state["params"], *rest)
    # Adam on the gradient clipped to norm 1
    size = jnp.maximum(1, optax.tree.norm(gradient))
    clipped = jax.tree.map(lambda g: g / size, gradient)
    moved: Any = ADAM.update(clipped, optax.ScaleByAdamState(**state["adam"]))
    update, adam = moved
    rate = rate_at(given["plan"], i)
    return {"params": jax.tree.map(lambda p, u: p - rate * u, state["params"], update), "adam": adam._asdict()}


def finish(state: Tree, borders: jax.Array, given: Tree) -> Tree:
    """The parameters alone."""
    return {"params": state["params"]}


def prior_targets(recipe: Recipe, sets: int, key: jax.Array, prior: Tree) -> jax.Array:
    """Targets of many data sets, for the borders of bars: (sets × N,)."""
    batches = -(-sets // recipe.batch)
    draw = partial(recipe.prior, shape=recipe.shape, **prior)
    return jax.lax.map(lambda k: draw(k).y, jax.random.split(key, batches)).reshape(-1)
