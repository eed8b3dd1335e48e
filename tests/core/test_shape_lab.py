"""The lab that computes nothing: the same stages and steps as the real one, operations counted as by hand."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.errors import BadInput
from core.lab.keys import replicate_keys
from core.lab.lab import Lab
from core.lab.replicas import ReplicateAxis
from core.lab.shape_lab import ShapeLab, count_operations, size_in_bytes
from core.papers.config import load_config
from core.papers.contract import load_study
from core.planning.forecasting import count_trial_cost


def shape(*sizes: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, dtype)


KEYS = jax.eval_shape(lambda: replicate_keys("toy", "fit", [0]))


def matmul(state, key, i, x):
    return {"w": x @ state["w"]}


def test_the_toy_has_the_same_stages_steps_and_measurements_in_both_labs(toy_root, tmp_path):
    config = load_config("toy").studies["fit"]
    settings, study = config.build(config.values("smoke")), load_study("toy", "fit")
    real = Lab([0], [tmp_path / "0"], tmp_path / "checkpoints", lambda name: {}, ReplicateAxis(1, "loop"))
    study.trial(settings, replicate_keys("toy", "fit", [0]), real)
    abstract = ShapeLab()
    study.trial(settings, KEYS, abstract)

    stored = {path.stem for path in (tmp_path / "0" / "stages").iterdir()}
    assert set(abstract.cost.stages) == stored == {"fast", "slow", "slow_again"}
    assert abstract.cost.steps == real.steps == 3 * 7
    assert {(metric, tuple(conditions.items())) for metric, conditions in abstract.measured} == {
        (row["metric"], (("arm", row["arm"]),)) for row in real.rows[0]
    }


def test_the_toy_is_counted_from_its_config(toy_root):
    study = load_config("toy").studies["fit"]
    found = count_trial_cost("toy", study, study.build(study.values("laptop")))
    assert (found["steps"], found["measured"], found["parameters"]) == (90, 6, 3)
    prepared = load_config("toy").studies["ready"]
    assert count_trial_cost("toy", prepared, prepared.build(prepared.values("laptop")))["steps"] == 0


def test_operations_of_a_matrix_product_are_those_of_a_hand_count():
    lab = ShapeLab()
    lab.map(lambda a, b: a @ b, shape(1, 20, 30), shared=(shape(30, 40),))
    assert lab.cost.flops == 2 * 20 * 30 * 40


def test_a_loop_counts_its_steps_looks_and_end():
    lab = ShapeLab()
    x = shape(1, 8, 8)
    found = lab.iterate(
        "loop",
        matmul,
        KEYS,
        {"w": shape(1, 8, 4)},
        steps=10,
        each=(x,),
        evaluate_every=4,
        evaluate=lambda state, i, x: (state, {"product": (x @ x)[0, 0]}),
        finish=lambda state, x: {"end": x @ x @ x},
    )
    square = 2 * 8 * 8 * 8
    assert lab.cost.flops == 10 * (2 * 8 * 8 * 4) + 3 * square + 2 * square
    assert (lab.cost.steps, lab.cost.stages, lab.cost.parameters) == (10, ["loop"], 32)
    assert found.result["end"].shape == (1, 8, 8) and found.curves["product"].shape == (1, 3)
    assert found.steps.tolist() == [4, 8, 10]


def test_memory_is_that_of_data_arguments_and_two_states():
    lab = ShapeLab(count_flops=False)
    data = lab.data("digits")
    digits = 1437 * 64 + 1437 * data["train_labels"].dtype.itemsize
    digits += 360 * 64 + 360 * data["test_labels"].dtype.itemsize
    lab.iterate("loop", matmul, KEYS, {"w": shape(1, 8, 4)}, steps=1, each=(shape(1, 8, 8),))
    assert size_in_bytes(data) == digits
    assert lab.cost.peak_bytes == digits + 2 * 8 * 4 * 4 + 8 * 8 * 4


def test_nothing_of_the_size_is_allocated():
    lab, many = ShapeLab(), 10**6
    found = lab.map(lambda a, b: a @ b, shape(1, many, many), shared=(shape(many, many),))
    assert found.shape == (1, many, many) and lab.cost.flops == pytest.approx(2e18)


def test_plain_numbers_and_arrays_can_be_shared_as_in_the_real_lab(tmp_path):
    def scaled(x, factor, names):
        return {"y": x * factor + names["offset"]}

    shared = (2.0, {"offset": np.float32(1)})
    abstract = ShapeLab().map(scaled, shape(1, 3), shared=shared)
    real = Lab([0], [tmp_path], Path(), lambda name: {}, ReplicateAxis(1, "loop")).map(
        scaled, jnp.ones((1, 3)), shared=shared
    )
    assert (abstract["y"].shape, abstract["y"].dtype) == (real["y"].shape, real["y"].dtype)


def test_a_step_that_changes_shapes_is_refused():
    with pytest.raises(ValueError, match="loop 'loop': a step changes the shapes or dtypes of its state"):
        ShapeLab().iterate("loop", matmul, KEYS, {"w": shape(1, 8, 4)}, steps=2, each=(shape(1, 9, 8),))
    with pytest.raises(ValueError, match="changes the shapes or dtypes"):
        ShapeLab().iterate("loop", lambda s, k, i: s.astype(jnp.bfloat16), KEYS, shape(1, 2), steps=2)


def test_measurements_of_the_wrong_shape_are_refused():
    lab = ShapeLab()
    lab.measure({"m": shape(1, 3)}, along={"step": [1, 2, 3]}, arm="a")
    assert lab.measured == [("m", {"arm": "a"})]
    with pytest.raises(ValueError, match="metric 'm' has shape"):
        lab.measure({"m": shape(1, 2)}, along={"step": [1, 2, 3]})


def test_names_of_stages_are_checked_as_in_the_real_lab():
    lab = ShapeLab()
    lab.stage("once", lambda: {"x": jnp.ones((1, 2))})
    with pytest.raises(BadInput, match="two stages of a trial are called 'once'"):
        lab.stage("once", lambda: {"x": jnp.ones((1, 2))})
    with pytest.raises(BadInput, match="not a valid stage name"):
        lab.stage("../up", lambda: {"x": jnp.ones((1, 2))})


def test_stages_seconds_and_kept_arrays_need_no_computing():
    lab = ShapeLab()
    assert lab.stage("s", lambda: {"x": jnp.ones((1, 2))})["x"] == shape(1, 2)
    lab.keep("x", shape(1, 2))
    followed: list[Any] = []
    calls = {"a": lambda: followed.append(jnp.ones(2) + 1), "host": lambda: 1 / 0}
    assert lab.time(calls, rounds=2) == {"a": [1.0, 1.0], "host": [1.0, 1.0]}
    assert [type(each).__name__ for each in followed] == ["DynamicJaxprTracer"], "by shapes alone"


def test_a_stage_on_the_host_says_what_it_returns(tmp_path):
    def solved(x):
        return {"root": np.roots(np.asarray(x)[0])[None]}

    lab, like = ShapeLab(), {"root": jax.ShapeDtypeStruct((2,), jnp.float64)}
    x = shape(1, 3)
    assert lab.stage("solve", lambda: solved(x), like=like)["root"].shape == (1, 2)
    assert (lab.cost.stages, lab.cost.uncounted) == (["solve"], ["solve"])
    with pytest.raises(BadInput, match=r"stage 'again' cannot be followed by shapes alone .*give lab.stage"):
        lab.stage("again", lambda: solved(x))
    real = Lab([0], [tmp_path], Path(), lambda name: {}, ReplicateAxis(1, "loop"))
    roots = real.stage("solve", lambda: solved(jnp.array([[1.0, -3.0, 2.0]])), like=like)
    assert sorted(roots["root"][0].tolist()) == [1.0, 2.0]


def test_a_scan_counts_as_often_as_it_runs():
    """Also inside another one, under a derivative and in a call: by hand, 2 n^3 for every product."""

    def inner(x):
        return jax.lax.scan(lambda c, _: (c @ c, None), x, None, length=5)[0]

    def outer(x):
        return jax.lax.scan(lambda c, _: (jax.jit(inner)(c) @ c, None), x, None, length=3)[0]

    product, x = 2 * 8**3, jax.ShapeDtypeStruct((8, 8), jnp.float32)
    assert count_operations(inner, x) == pytest.approx(5 * product, rel=0.05)
    assert count_operations(outer, x) == pytest.approx(3 * (5 + 1) * product, rel=0.05)
    assert count_operations(jax.grad(lambda x: inner(x).sum()), x) == pytest.approx(15 * product, rel=0.2)
    assert count_operations(jnp.matmul, x, x) == product


def test_a_loop_that_would_be_evaluated_for_ever_is_refused_before_its_steps_are_counted_out(toy_root):
    study = load_config("toy").studies["fit"]
    settings = study.build(study.values("laptop")).replace(steps=2**31 - 1, every=1)
    with pytest.raises(BadInput, match="'fast' is evaluated 2,147,483,647 times: at most 100,000, so less often"):
        count_trial_cost("toy", study, settings)
