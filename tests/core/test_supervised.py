"""The supervised kit against plain numpy: splits, steps, masks, evaluation, early stop, several forms of the batch."""

from functools import partial
from pathlib import Path
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.errors import BadInput
from core.lab.keys import replicate_keys
from core.lab.lab import Lab
from core.lab.replicas import ReplicateAxis
from core.models.norms import BatchNorm, Moments
from core.optim.settings import OptimizerSettings
from core.papers.settings import build_settings
from core.scaling.settings import ScalingSettings
from core.supervised import training
from core.supervised.batches import Split, cyclic_batches, epoch_batches, random_split, uniform_batches
from core.supervised.comparison import Comparison
from core.supervised.settings import SupervisedSettings
from core.supervised.tasks import (
    Task,
    classification_metrics,
    cross_entropies,
    module_task,
    regression_metrics,
    squared_errors,
)
from core.supervised.training import Conditions, Examples, Plan

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(40, 3)).astype(np.float32), RANDOM.integers(0, 4, 40)
TEST_X, TEST_Y = RANDOM.normal(size=(17, 3)).astype(np.float32), RANDOM.integers(0, 4, 17)
EXAMPLES = Examples({"x": jnp.array(X), "y": jnp.array(Y)}, {"x": jnp.array(TEST_X), "y": jnp.array(TEST_Y)})
SGD = {"name": "sgd", "learning_rate": 0.3, "momentum": 0.9, "weight_decay": 0.05}


class Linear(nn.Module):
    classes: int = 4

    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(self.classes, name="layer")(x)


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.8, name="norm")(nn.Dense(5, name="hidden")(x))
        return nn.Dense(4)(x)


def linear_task(**options: Any) -> Task:
    return module_task(Linear(), jax.ShapeDtypeStruct((3,), jnp.float32), **options)


def plan(task: Task, optimizer: dict[str, Any] | None = None, **options: Any) -> Plan:
    chosen = OptimizerSettings(**{**SGD, **(optimizer or {})})
    given = {"iterations": 12, "scaling": ScalingSettings(), "keep_best": False, **options}
    return Plan(task, chosen, **given)


def conditions(mask: dict | None = None, rate: float = 0.3, steps: int = 12) -> Conditions:
    split = random_split((40, 30, 10, None), 6, steps, jax.random.key(1), jax.random.key(2))
    return Conditions(split, mask or {}, jnp.float32(rate))


def trained(chosen: Plan, given: Conditions, steps: int = 12) -> training.State:
    state = training.begin(chosen, chosen.task.initial(jax.random.key(3)), given)
    step = jax.jit(partial(training.step, chosen))
    for i in range(steps):
        state = step(state, jax.random.key(i), jnp.int32(i), given, EXAMPLES)
    return state


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


# Splits


def test_a_split_cuts_the_rows_and_every_epoch_visits_the_training_rows_once() -> None:
    split = random_split((40, 25, 10, 7), 6, 9, jax.random.key(1), jax.random.key(2))
    held_out, order = np.asarray(split.validation), np.asarray(split.order)
    assert order.shape == (9, 6) and order.dtype == np.int32 and held_out.shape == (10,)
    assert np.asarray(split.test).tolist() == list(range(7))
    own = set(order.ravel())
    assert len(own) == 25 and not own & set(held_out) and len(set(held_out)) == 10
    for first in (0, 4):  # four batches of 6 out of 25 are an epoch
        assert len(set(order[first : first + 4].ravel())) == 24
    other = random_split((40, 25, 10, 7), 6, 9, jax.random.key(1), jax.random.key(3))
    np.testing.assert_array_equal(other.validation, held_out)
    assert (np.asarray(other.order) != order).any()


def test_some_training_examples_can_be_evaluated_beside_the_held_out_ones() -> None:
    split = random_split((40, 25, 10, 7), 5, 5, jax.random.key(1), jax.random.key(2), evaluated=8)
    assert split.train is not None and len(set(np.asarray(split.train))) == 8
    assert set(np.asarray(split.train)) < set(np.asarray(split.order).ravel())
    chosen, given = plan(linear_task()), conditions()._replace(split=split)
    state = training.begin(chosen, chosen.task.initial(jax.random.key(3)), given)
    _, seen = training.evaluate(chosen, state, jnp.int32(0), given, EXAMPLES)
    for part, rows in (("train", split.train), ("validation", split.validation)):
        expected = training.mean_metrics(chosen.task, state.variables, EXAMPLES.train, rows)
        assert seen[f"{part}_loss"] == expected["loss"] and seen[f"{part}_accuracy"] == expected["accuracy"]


def test_epochs_differ_in_their_order() -> None:
    order = np.asarray(epoch_batches(jax.random.key(0), 12, 4, 6))
    assert sorted(order[:3].ravel()) == sorted(order[3:].ravel()) == list(range(12))
    assert (order[:3] != order[3:]).any()


# A step


def test_a_training_is_that_of_softmax_regression_in_numpy() -> None:
    """Order of the rows, gradient, L2 weight decay, momentum and mask, written out."""
    mask = np.ones((3, 4), bool)
    mask[0, 1] = mask[2, 3] = False
    given = conditions({"layer": jnp.array(mask)})
    chosen = plan(linear_task())
    start = chosen.task.initial(jax.random.key(3))["params"]["layer"]
    w, b = np.where(mask, np.asarray(start["kernel"], np.float64), 0), np.asarray(start["bias"], np.float64)
    momentum_w, momentum_b = np.zeros_like(w), np.zeros_like(b)
    for rows in np.asarray(given.split.order):
        x, labels = X[rows].astype(np.float64), np.eye(4)[Y[rows]]
        error = (softmax(x @ w + b) - labels) / len(rows)
        # m ← 0.9 m + (∇L + λ θ), θ ← θ - η m, masked weights 0 all along
        momentum_w = 0.9 * momentum_w + np.where(mask, x.T @ error + 0.05 * w, 0)
        momentum_b = 0.9 * momentum_b + error.sum(0) + 0.05 * b
        w, b = w - 0.3 * momentum_w, b - 0.3 * momentum_b
    found = trained(chosen, given).variables["params"]["layer"]
    np.testing.assert_allclose(found["kernel"], w, rtol=2e-4, atol=1e-6)
    np.testing.assert_allclose(found["bias"], b, rtol=2e-4, atol=1e-6)
    assert not found["kernel"][~mask].any()


OPTIMIZERS = [
    {"name": "sgd", "momentum": 0.9, "weight_decay": 0.1},
    {"name": "adam", "weight_decay": 0.1, "momentum": None},
    {"name": "adamw", "weight_decay": 0.1, "momentum": None},
    {"name": "rmsprop", "weight_decay": 0.1, "momentum": 0.5},
    {"name": "lion", "weight_decay": 0.1, "momentum": None},
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda each: each["name"])
def test_pruned_weights_stay_exactly_0_under_every_optimizer_with_weight_decay(optimizer: dict) -> None:
    mask = np.arange(12).reshape(3, 4) % 3 > 0
    found = trained(plan(linear_task(), optimizer), conditions({"layer": jnp.array(mask)}, 0.05))
    kernel = np.asarray(found.variables["params"]["layer"]["kernel"])
    assert (kernel[~mask] == 0).all() and (kernel[mask] != 0).all()


def test_statistics_of_normalisation_are_carried_along() -> None:
    task = module_task(Normalised(), jax.ShapeDtypeStruct((3,), jnp.float32))
    given = conditions(steps=3)
    found = trained(plan(task), given, steps=1)
    before = task.initial(jax.random.key(3))
    hidden = X[np.asarray(given.split.order)[0]] @ np.asarray(before["params"]["hidden"]["kernel"])
    # mean ← 0.8 mean + 0.2 batch mean
    statistics = found.variables["batch_stats"]["norm"]
    np.testing.assert_allclose(statistics["mean"], 0.2 * hidden.mean(0), rtol=1e-4)
    np.testing.assert_allclose(statistics["var"], 0.8 + 0.2 * hidden.var(0), rtol=1e-4)


def test_parts_of_a_batch_give_the_gradient_of_the_whole() -> None:
    whole = trained(plan(linear_task()), conditions())
    parts = trained(plan(linear_task(), scaling=ScalingSettings(micro_batches=3)), conditions())
    chex.assert_trees_all_close(whole.variables, parts.variables, rtol=1e-5)


def test_low_precision_is_close_and_keeps_float32_parameters() -> None:
    scaling = ScalingSettings(precision="bfloat16")
    low = trained(plan(linear_task(scaling=scaling), scaling=scaling), conditions())
    full = trained(plan(linear_task()), conditions())
    chex.assert_trees_all_close(low.variables, full.variables, atol=0.05)
    assert {leaf.dtype for leaf in jax.tree.leaves(low.variables)} == {np.dtype("float32")}
    kernels = [state.variables["params"]["layer"]["kernel"] for state in (low, full)]
    assert (np.asarray(kernels[0]) != np.asarray(kernels[1])).any()


# Evaluation


class Variants(chex.TestCase):
    """Means over examples do not depend on how many are evaluated together, nor on jit."""

    @chex.variants(with_jit=True, without_jit=True)
    def test_means_are_those_of_all_examples_at_once(self) -> None:
        variables = linear_task().initial(jax.random.key(0))
        logits = Linear().apply(variables, TEST_X)
        assert isinstance(logits, jax.Array)
        loss = -np.log(softmax(np.asarray(logits)))[np.arange(17), TEST_Y].mean()
        accuracy = 100 * (np.asarray(logits).argmax(1) == TEST_Y).mean()
        for at_once in (1, 4, 17, 500):
            task = linear_task(at_once=at_once)
            mean = self.variant(partial(training.mean_metrics, task))
            found = mean(variables, EXAMPLES.test, jnp.arange(17))
            np.testing.assert_allclose(found["loss"], loss, rtol=1e-5)
            np.testing.assert_allclose(found["accuracy"], accuracy, rtol=1e-5)


def test_cyclic_batches_repeat_one_order_and_uniform_ones_draw_anew() -> None:
    cyclic = np.asarray(cyclic_batches(jax.random.key(0), 7, 3, 7)).ravel()
    assert sorted(cyclic[:7]) == list(range(7)) and (cyclic[:7] != np.arange(7)).any()
    np.testing.assert_array_equal(cyclic.reshape(3, 7), np.tile(cyclic[:7], (3, 1)))
    uniform = np.asarray(uniform_batches(jax.random.key(0), 7, 50, 100))
    counts = np.bincount(uniform.ravel(), minlength=7)
    assert uniform.shape == (100, 50) and len(counts) == 7 and np.abs(counts - 5000 / 7).max() < 5 * np.sqrt(5000 / 7)


def test_metrics_that_are_not_one_number_an_example_are_refused() -> None:
    task = linear_task(metrics=lambda logits, labels: {"loss": logits})
    with pytest.raises(AssertionError, match="shape"):
        training.mean_metrics(task, task.initial(jax.random.key(0)), EXAMPLES.test, jnp.arange(17))


def test_the_best_network_is_the_one_at_the_lowest_validation_loss() -> None:
    chosen, given = plan(linear_task(), keep_best=True), conditions(rate=3.0)  # a rate at which the loss goes up again
    state = training.begin(chosen, chosen.task.initial(jax.random.key(3)), given)
    seen, networks = [], []
    for i in range(12):
        state = training.step(chosen, state, jax.random.key(i), jnp.int32(i), given, EXAMPLES)
        state, metrics = training.evaluate(chosen, state, jnp.int32(i + 1), given, EXAMPLES)
        seen.append(float(metrics["validation_loss"]))
        networks.append(state.variables)
    lowest = int(np.argmin(seen))
    assert 0 < lowest < 11
    result = training.finish(chosen, state, given, EXAMPLES)
    assert int(result["early_stop_iteration"]) == lowest + 1
    test = training.mean_metrics(chosen.task, networks[lowest], EXAMPLES.test, jnp.arange(17))
    final = training.mean_metrics(chosen.task, networks[-1], EXAMPLES.test, jnp.arange(17))
    np.testing.assert_allclose(result["test_loss"], test["loss"], rtol=1e-6)
    np.testing.assert_allclose(result["final_test_loss"], final["loss"], rtol=1e-6)
    chex.assert_trees_all_equal(result["variables"], networks[-1])


def test_another_metric_can_be_monitored_and_of_equal_networks_the_later_is_kept() -> None:
    def metrics(logits: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
        return {"loss": -logits[:, 0], "error": 0.0 * logits[:, 0]}

    def params(variables: Any, examples: Any) -> Any:
        return variables["params"]

    chosen = plan(linear_task(metrics=metrics), keep_best=True, monitor="validation_error", also=params)
    given, states = conditions(), []
    state = training.begin(chosen, chosen.task.initial(jax.random.key(3)), given)
    for i in range(3):
        state = training.step(chosen, state, jax.random.key(i), jnp.int32(i), given, EXAMPLES)
        state, _ = training.evaluate(chosen, state, jnp.int32(i + 1), given, EXAMPLES)
        states.append(state.variables)
    last = training.step(chosen, state, jax.random.key(3), jnp.int32(3), given, EXAMPLES)
    result = training.finish(chosen, last, given, EXAMPLES)
    assert int(result["early_stop_iteration"]) == 3
    chex.assert_trees_all_equal(result["also"], states[-1]["params"])


# Comparisons


def lab_of(folder: Path, how: str = "loop", numbers: tuple[int, ...] = (0, 1)) -> Lab:
    folders = [folder / str(number) for number in numbers]
    return Lab(numbers, folders, folder / "checkpoints", lambda name: {}, ReplicateAxis.choose(len(numbers), how))


def comparison_of(lab: Lab, task: Task, optimizer: dict[str, Any] | None = None, **options: Any) -> Comparison:
    keys = replicate_keys("toy", "fit", lab.replicates)
    split = lab.map(
        partial(random_split, (40, 30, 10, None), 6, 9),
        replicate_keys("toy", "split", lab.replicates),
        replicate_keys("toy", "order", lab.replicates),
    )
    chosen = OptimizerSettings(**{**SGD, **(optimizer or {})})
    return Comparison(lab, keys, task, EXAMPLES, split, 9, 4, chosen, **options)


@pytest.mark.parametrize("how", ["loop", "vmap", "pmap"])
def test_replicates_train_alike_in_every_layout_of_the_batch(how: str, tmp_path: Path) -> None:
    """And alone: the second replicate by itself is the second one of two."""
    comparison = comparison_of(lab_of(tmp_path / how, how), linear_task(), keep_best=True)
    found = comparison.train("sgd", comparison.initial("init"))
    alone = comparison_of(lab_of(tmp_path / "alone", numbers=(1,)), linear_task(), keep_best=True)
    second = alone.train("sgd", alone.initial("init"))
    chex.assert_trees_all_close(jax.tree.map(lambda leaf: leaf[1:], found.variables), second.variables, rtol=1e-5)
    assert found.steps.tolist() == [4, 8, 9] and found.curves["validation_loss"].shape == (2, 3)
    np.testing.assert_allclose(found.curves["validation_loss"][1:], second.curves["validation_loss"], rtol=1e-5)


def test_statistics_in_named_tuples_come_back_as_they_were(tmp_path: Path) -> None:
    """A stage keeps dictionaries alone; what is trained, or read from it, has the types of what training began with."""

    class Batched(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            return BatchNorm(name="norm")(nn.Dense(4, name="hidden")(x), train=train)

    task = module_task(Batched(), jax.ShapeDtypeStruct((3,), jnp.float32))
    found = []
    for _ in range(2):
        comparison = comparison_of(lab_of(tmp_path), task)
        found.append(comparison.train("a", comparison.initial("init")).variables)
        assert isinstance(found[-1]["batch_stats"]["norm"]["running"], Moments)
    chex.assert_trees_all_equal(*found)
    assert (np.asarray(found[0]["batch_stats"]["norm"]["running"].count) == 9).all()


def test_everything_measured_becomes_rows(tmp_path: Path) -> None:
    lab = lab_of(tmp_path)
    comparison = comparison_of(lab, linear_task(), keep_best=True)
    comparison.train("ticket", comparison.initial("init"), stage="/2", density=21.1)
    rows = lab.rows[0]
    assert {row["arm"] for row in rows} == {"ticket"} and {row["density"] for row in rows} == {21.1}
    found = {(row["metric"], row.get("step")) for row in rows}
    curves = {(f"validation_{name}", step) for name in ("loss", "accuracy") for step in (4, 8, 9)}
    tests = {(f"{kind}test_{name}", None) for kind in ("", "final_") for name in ("loss", "accuracy")}
    assert found == curves | tests | {("early_stop_iteration", None)}
    assert (tmp_path / "0" / "stages" / "ticket" / "2.msgpack").exists()


def test_arms_have_their_own_learning_rates_and_share_a_program(tmp_path: Path) -> None:
    rates = {"slow": 0.001, "fast": 0.3}
    lab = lab_of(tmp_path)
    comparison = comparison_of(lab, linear_task(), {"learning_rate": rates})
    start = comparison.initial("init")
    slow, fast = comparison.train("slow", start), comparison.train("fast", start)
    again = comparison.train("again", start, rate_of="fast")
    apart = [
        np.abs(np.asarray(each.params["layer"]["kernel"]) - start["params"]["layer"]["kernel"]).mean()
        for each in (slow, fast)
    ]
    assert apart[1] > 30 * apart[0]
    chex.assert_trees_all_equal(again.variables, fast.variables)
    assert lab.lifter is not None
    blocks = [name for name in lab.lifter.compiled if isinstance(name, tuple) and name[0] == "block"]
    assert len(blocks) == 2  # of 4 steps and of 1, for all three arms
    with pytest.raises(KeyError, match="no value for the arm 'middle'"):
        comparison.train("middle", start)


def test_further_results_of_the_trained_network_are_kept_and_not_measured(tmp_path: Path) -> None:
    lab = lab_of(tmp_path)
    comparison = comparison_of(lab, linear_task())
    found = comparison.train("a", comparison.initial("init"), also=lambda variables, examples: {
        "logits": Linear().apply(variables, examples.test["x"])})  # fmt: skip
    assert found.also["logits"].shape == (2, 17, 4)
    assert "logits" not in {row["metric"] for row in lab.rows[0]}


def test_examples_can_belong_to_replicates(tmp_path: Path) -> None:
    lab = lab_of(tmp_path)
    own = Examples(*({name: jnp.stack([a, a]) for name, a in part.items()} for part in EXAMPLES[:2]))
    comparison = comparison_of(lab, linear_task())
    shared = comparison.train("shared", comparison.initial("init"))
    comparison.own_examples, comparison.examples = True, own
    chex.assert_trees_all_close(
        comparison.train("own", comparison.initial("init")).variables, shared.variables, rtol=1e-6
    )


def test_regression_two_streams_and_sequences_are_tasks_like_others(tmp_path: Path) -> None:
    """A task gathers its batches itself: two streams in orders of their own, windows of one long array."""
    series = jnp.sin(jnp.arange(60.0))

    def gather(examples: Any, rows: Any) -> dict[str, jax.Array]:
        starts = rows["a"] if isinstance(rows, dict) else rows
        return {
            "x": examples["series"][starts[:, None] + jnp.arange(3)[None]],
            "y": examples["series"][starts + 3][:, None],
        }

    module = Linear(1)
    task = module_task(module, jax.ShapeDtypeStruct((3,), jnp.float32), squared_errors, regression_metrics)
    task = Task(task.initial, task.loss, task.metrics, gather)
    lab = lab_of(tmp_path)
    keys = replicate_keys("toy", "fit", [0, 1])
    order = jax.random.randint(jax.random.key(0), (2, 200, 8), 0, 50)
    split = Split(
        {"a": order, "b": order}, jnp.tile(jnp.arange(50)[None], (2, 1)), jnp.tile(jnp.arange(56)[None], (2, 1))
    )
    optimizer = OptimizerSettings(name="adam", learning_rate=0.05)
    examples = Examples({"series": series}, {"series": series})
    comparison = Comparison(lab, keys, task, examples, split, 200, 100, optimizer)
    found = comparison.train("linear", comparison.initial("init"))
    # a sine is a linear recurrence of itself, sin(t + 1) = 2 cos(1) sin(t) - sin(t - 1)
    assert (np.asarray(found.metrics["test_loss"]) < 1e-3).all()


# Settings

GOOD = {
    "data": {"name": "digits", "validation": 200},
    "training": {"iterations": 30, "batch": 32, "evaluate_every": 10},
    "optimizer": {"name": "adam", "learning_rate": 0.01},
}


@pytest.mark.parametrize(
    ("changes", "given", "line"),
    [
        ({"data": {"name": "digits", "validation": 1437}}, [], "validation=1437 leaves too few of the 1437"),
        ({"data": {"name": "digits", "validation": 200, "examples": 1300}}, [], "at most 137"),
        ({"training": {"iterations": 30, "batch": 1300, "evaluate_every": 10}}, ["training.batch"],
         "settings.training.batch=1300 is larger than the 1237 training examples"),
        ({"training": {"iterations": 5, "batch": 32, "evaluate_every": 10}}, ["training.iterations"],
         "settings.training.iterations=5 does not go with settings.training.evaluate_every=10"),
        ({"data": {"name": "digts", "validation": 200}}, [], "did you mean 'digits'"),
        ({"optimizer": {"name": "adam", "learning_rate": 0.0}}, [], "learning_rate=0.0 is out of range"),
        ({"optimizer": {"name": "adam", "learning_rate": {"a": -1.0}}}, [], "settings.optimizer.learning_rate.a=-1.0"),
    ],
)  # fmt: skip
def test_settings_that_contradict_themselves_blame_what_was_given(changes: dict, given: list[str], line: str) -> None:
    assert build_settings(SupervisedSettings, GOOD).data.train == 1237
    with pytest.raises(BadInput) as refused:
        build_settings(SupervisedSettings, {**GOOD, **changes}, given)
    assert line in str(refused.value) and "\n" not in str(refused.value)


def test_metrics_of_classification_and_regression_by_hand() -> None:
    logits = jnp.array([[0.0, 0.0], [2.0, 0.0]])
    found = classification_metrics(logits, jnp.array([0, 1]))
    np.testing.assert_allclose(found["loss"], [np.log(2), np.log(1 + np.exp(2))], rtol=1e-6)
    assert found["accuracy"].tolist() == [100.0, 0.0]
    np.testing.assert_allclose(cross_entropies(logits, jnp.array([0, 1])), found["loss"])
    assert squared_errors(jnp.array([[1.0, 3.0]]), jnp.array([[0.0, 1.0]])).tolist() == [2.5]
