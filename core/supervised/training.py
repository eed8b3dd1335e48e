"""Training one network as functions of one replicate: a step, an evaluation in bounded memory, the best so far."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax
from flax.serialization import to_state_dict

from core.optim.build import make_optimizer
from core.optim.settings import OptimizerSettings
from core.scaling.gradients import batch_value_and_grad
from core.scaling.settings import ScalingSettings
from core.sparsity.masks import apply_mask
from core.supervised.batches import Split
from core.supervised.tasks import Task

Tree = Any
MONITORED = "validation_loss"


class Best(NamedTuple):
    """The network at the lowest validation loss so far, found without ever stopping the training.

    `loss` is whatever validation metric the plan monitors.
    """

    variables: dict[str, Tree]
    loss: jax.Array
    iteration: jax.Array


class State(NamedTuple):
    """A network in training; `best` is empty where nobody asked for it."""

    variables: dict[str, Tree]
    moments: Tree
    best: Best | tuple[()]


class Conditions(NamedTuple):
    """What one replicate trains under.

    Attributes:
      split: which examples, in which order.
      mask: of the weights that are trained; empty: all of them.
      rate: the learning rate at its highest, a scalar: arms that differ in nothing else share a program.
    """

    split: Split
    mask: Mapping[str, jax.Array]
    rate: jax.Array


class Examples(NamedTuple):
    """Arrays with one row per example, by name ("x" and "y" for most tasks).

    Attributes:
      train: to learn from.
      test: to be tested on, once.
      validation: to be evaluated on during the training; None: held-out rows of `train`.
    """

    train: Mapping[str, jax.Array]
    test: Mapping[str, jax.Array]
    validation: Mapping[str, jax.Array] | None = None


class Plan(NamedTuple):
    """How a network is trained, the same for all replicates; the optimizer's own learning rate does not count."""

    task: Task
    optimizer: OptimizerSettings
    iterations: int
    scaling: ScalingSettings
    keep_best: bool
    also: Callable | None = None
    monitor: str = MONITORED

    def transformation(self, rate: jax.Array) -> optax.GradientTransformation:
        """The optimizer at a learning rate."""
        return make_optimizer(self.optimizer, self.iterations, rate)


def begin(plan: Plan, variables: dict[str, Tree], conditions: Conditions) -> State:
    """m ∘ θ0 with a fresh optimizer."""
    variables = {**variables, "params": apply_mask(variables["params"], conditions.mask)}
    moments = plan.transformation(conditions.rate).init(variables["params"])
    nothing_yet = jnp.finfo(jnp.float32).max  # finite, since an infinite state counts as diverged
    best = Best(variables, jnp.float32(nothing_yet), jnp.int32(0)) if plan.keep_best else ()
    return State(variables, moments, best)


def step(plan: Plan, state: State, key: jax.Array, i: jax.Array, conditions: Conditions, examples: Examples) -> State:
    """One update on batch `i`; masked weights stay 0 whatever optimizer and weight decay do."""
    rows = jax.tree.map(lambda order: order[i], conditions.split.order)
    batch = plan.task.gather(examples.train, rows)
    params = state.variables["params"]

    def loss(params: Tree, batch: Mapping[str, jax.Array]) -> tuple[jax.Array, dict[str, Tree]]:
        return plan.task.loss({**state.variables, "params": params}, batch, key, i)

    (_, changed), gradient = batch_value_and_grad(loss, plan.scaling)(params, batch)
    # g ← m ∘ g, and Δ ← m ∘ Δ
    gradient = apply_mask(gradient, conditions.mask)
    updates, moments = plan.transformation(conditions.rate).update(gradient, state.moments, params)
    params = optax.apply_updates(params, apply_mask(updates, conditions.mask))
    return State({**state.variables, **changed, "params": params}, moments, state.best)


def evaluate(
    plan: Plan, state: State, i: jax.Array, conditions: Conditions, examples: Examples
) -> tuple[State, dict[str, jax.Array]]:
    """Metrics of the held-out and of some training examples; the best network so far is carried along."""
    assert conditions.split.validation is not None
    held_out = examples.train if examples.validation is None else examples.validation
    found = mean_metrics(plan.task, state.variables, held_out, conditions.split.validation)
    seen = {f"validation_{name}": value for name, value in found.items()}
    if conditions.split.train is not None:
        found = mean_metrics(plan.task, state.variables, examples.train, conditions.split.train)
        seen |= {f"train_{name}": value for name, value in found.items()}
    if plan.keep_best:
        assert isinstance(state.best, Best)
        here = Best(state.variables, seen[plan.monitor], i)
        better = seen[plan.monitor] <= state.best.loss  # of equal ones the later, which has been trained longer
        state = state._replace(best=jax.tree.map(lambda new, old: jnp.where(better, new, old), here, state.best))
    return state, seen


def finish(plan: Plan, state: State, conditions: Conditions, examples: Examples) -> dict[str, Tree]:
    """The trained network, and its metrics on the test examples: of the best network where it was kept, and at the end.

    With the best network: `test_…`, `early_stop_iteration` and `also` are its own, `final_test_…` those at the end.
    """
    rows = conditions.split.test
    if rows is None:
        rows = jnp.arange(jax.tree.leaves(examples.test)[0].shape[0])
    final = mean_metrics(plan.task, state.variables, examples.test, rows)
    result: dict[str, Tree] = {"variables": to_state_dict(state.variables)}  # dictionaries alone, as stages are kept
    if plan.also is not None:
        tested = state.best.variables if isinstance(state.best, Best) else state.variables
        result["also"] = plan.also(tested, examples)
    if not plan.keep_best:
        return result | {f"test_{name}": value for name, value in final.items()}
    assert isinstance(state.best, Best)
    best = mean_metrics(plan.task, state.best.variables, examples.test, rows)
    result |= {f"test_{name}": value for name, value in best.items()}
    result |= {f"final_test_{name}": value for name, value in final.items()}
    return result | {"early_stop_iteration": state.best.iteration}


def mean_metrics(
    task: Task, variables: dict[str, Tree], examples: Mapping[str, jax.Array], rows: jax.Array
) -> dict[str, jax.Array]:
    """Means of a task's metrics over the examples of some numbers, some at a time to bound memory."""
    chex.assert_rank(rows, 1)
    count, at_once = len(rows), min(task.at_once, len(rows))

    def sums(chunk: jax.Array) -> dict[str, jax.Array]:
        found = task.metrics(variables, task.gather(examples, chunk))
        chex.assert_shape(list(found.values()), chunk.shape)
        return {name: values.sum() for name, values in found.items()}

    whole = count // at_once * at_once
    total = jax.tree.map(lambda each: each.sum(0), jax.lax.map(sums, rows[:whole].reshape(-1, at_once)))
    if whole < count:
        total = jax.tree.map(jnp.add, total, sums(rows[whole:]))
    return {name: value / count for name, value in total.items()}
