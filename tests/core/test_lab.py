"""The lab: loops against plain Python, resuming at every point, divergence, measurements, stages per replicate."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.errors import BadInput, Unfinished
from core.lab.keys import named_keys, replicate_keys
from core.lab.lab import Lab, evaluation_steps
from core.lab.replicas import ReplicateAxis
from core.runs import measurements

STEPS, EVERY = 10, 4
MARKS = [4, 8, 10]


def lab(folder: Path, numbers=(0, 1, 2), how="loop", **options: Any) -> Lab:
    folders = [folder / "replicates" / str(number) for number in numbers]
    axis = ReplicateAxis.choose(len(numbers), how)
    return Lab(numbers, folders, folder / "checkpoints", lambda name: {"x": np.arange(4.0)}, axis, **options)


def start(key):
    return {"x": jax.random.normal(key, (3,)), "best": jnp.float32(1e9), "n": jnp.int32(0)}


def step(rate, state, key, i, own, everyones):
    x = state["x"] - rate * (state["x"] - own) + 0.01 * everyones * jax.random.normal(key, (3,)) * (i + 1)
    return {"x": x, "best": state["best"], "n": state["n"] + 1}


def evaluate(state, i, own, everyones):
    """Carries the best distance so far along; the distance is exact in float32 for any form of the loop."""
    distance = jnp.sum((state["x"] - own) ** 2)
    return {**state, "best": jnp.minimum(state["best"], distance + i)}, {"distance": distance, "done": i}


def finish(state, own, everyones):
    return {"x": state["x"], "best": state["best"], "n": state["n"], "own": own}


def run(one: Lab, **changes: Any):
    keys = replicate_keys("toy", "fit", one.replicates)
    own = jnp.asarray(one.replicates, jnp.float32)
    given: dict[str, Any] = {
        "steps": STEPS,
        "evaluate_every": EVERY,
        "each": (own,),
        "shared": (jnp.float32(0.5),),
        "evaluate": evaluate,
        "finish": finish,
        **changes,
    }
    return one.iterate("loop", partial(step, 0.3), keys, one.map(start, named_keys(one, keys, "init")), **given)


def by_hand(number: int) -> tuple[dict, list[float]]:
    """The same loop as plain Python, one operation after the other."""
    key = replicate_keys("toy", "fit", [number])[0]
    state, distances = (
        start(named_keys(Lab([number], [Path()], Path(), dict, ReplicateAxis(1, "loop")), key[None], "init")[0]),
        [],
    )
    for i in range(STEPS):
        state = step(0.3, state, jax.random.fold_in(key, i), i, float(number), 0.5)
        if i + 1 in MARKS:
            state, seen = evaluate(state, i + 1, float(number), 0.5)
            distances.append(float(seen["distance"]))
    return state, distances


@pytest.mark.parametrize("how", ["loop", "vmap", "pmap"])
def test_a_loop_equals_plain_python(tmp_path, how):
    found = run(lab(tmp_path, how=how))
    assert found.steps.tolist() == MARKS
    assert found.curves["done"].tolist() == [MARKS] * 3
    assert np.asarray(found.result["n"]).tolist() == [STEPS] * 3
    for number in range(3):
        state, distances = by_hand(number)
        np.testing.assert_allclose(found.result["x"][number], state["x"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found.result["best"][number], state["best"], rtol=1e-5)
        np.testing.assert_allclose(found.curves["distance"][number], distances, rtol=1e-4, atol=1e-6)
        assert found.result["own"][number] == number


@pytest.mark.parametrize(
    ("steps", "every", "marks"),
    [(10, 4, [4, 8, 10]), (10, 5, [5, 10]), (10, 10, [10]), (3, 7, [3]), (1, 1, [1]), (3, 1, [1, 2, 3])],
)
def test_evaluations_fall_on_every_so_many_steps_and_the_end(steps, every, marks):
    assert evaluation_steps(steps, every).tolist() == marks


@pytest.mark.parametrize(("steps", "every"), [(0, 5), (5, 0), (-1, 1)])
def test_loops_without_steps_are_refused(steps, every):
    with pytest.raises(BadInput, match="must be 1 or more"):
        evaluation_steps(steps, every)


def test_a_loop_without_evaluations_returns_its_state(tmp_path):
    found = run(lab(tmp_path), evaluate=None, finish=None, evaluate_every=None)
    assert found.curves == {} and found.steps.tolist() == [STEPS]
    assert set(found.result) == {"x", "best", "n"}
    np.testing.assert_allclose(found.result["x"][1], by_hand(1)[0]["x"], rtol=1e-5, atol=1e-6)


# --- divergence ---------------------------------------------------------------------------------------------------


def exploding(state, key, i, limit):
    return {"x": jnp.where(i >= limit, jnp.inf, state["x"] + 1)}


@pytest.mark.parametrize("how", ["loop", "vmap", "pmap"])
def test_what_diverges_is_frozen_and_flagged_while_the_others_go_on(tmp_path, how):
    one = lab(tmp_path, how=how)
    keys, limits = replicate_keys("toy", "fit", [0, 1, 2]), jnp.array([100, 5, 2])
    found = one.iterate(
        "walk",
        exploding,
        keys,
        {"x": jnp.zeros(3)},
        steps=9,
        evaluate_every=3,
        each=(limits,),
        evaluate=lambda state, i, limit: (state, {"x": state["x"]}),
    )
    assert np.asarray(found.result["x"]).tolist() == [9, 3, 0]
    assert np.asarray(found.curves["x"]).tolist() == [[3, 6, 9], [3, 3, 3], [0, 0, 0]]
    assert one.rows == [
        [],
        [{"stage": "walk", "metric": "diverged", "value": 6.0}],
        [{"stage": "walk", "metric": "diverged", "value": 3.0}],
    ]


# --- interruption -------------------------------------------------------------------------------------------------


def everything(one: Lab) -> None:
    """A small trial: two loops, a stage, curves and kept arrays."""
    found = run(one)
    one.measure(found.curves, along={"step": found.steps}, arm="a")
    squares = one.stage("squares", lambda: {"x": np.asarray(found.result["x"]) ** 2})
    keys = replicate_keys("toy", "fit", one.replicates)
    state = {"x": jnp.asarray(squares["x"]), "k": jax.random.split(jax.random.key(0), len(keys))}
    again = one.iterate("again", redraw, keys, state, steps=6, evaluate_every=2, finish=lambda state: {"x": state["x"]})
    one.measure({"end": np.asarray(again.result["x"]).sum(1)}, arm="b")
    one.keep("end", again.result["x"])


def redraw(state, key, i):
    """A state that carries a typed key of its own."""
    own, draw = jax.random.split(state["k"])
    return {"x": state["x"] * 0.5 + jax.random.normal(draw, (3,)), "k": own}


def left_by(one: Lab, folder: Path) -> dict[str, bytes]:
    """All that a trial leaves, as bytes."""
    for number, rows in zip(one.replicates, one.rows, strict=True):
        measurements.write_rows(folder / f"rows-{number}.jsonl", rows)
    measurements.write_arrays(folder / "kept.npz", one.kept)
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(("how", "blocks"), [("loop", 18), ("vmap", 6)])
def test_interrupted_at_every_block_and_resumed_gives_the_same_bytes(tmp_path, how, blocks):
    whole = lab(tmp_path / "whole", how=how)
    everything(whole)
    expected = left_by(whole, tmp_path / "whole")

    one, interrupted = whole, 0
    for _ in range(blocks + 1):
        one = lab(tmp_path / "pieces", how=how, should_stop=lambda: True, lifter=one.lifter)
        try:
            everything(one)
        except Unfinished:
            interrupted += 1
    assert interrupted == blocks
    assert left_by(one, tmp_path / "pieces") == expected


def test_checkpoints_are_kept_from_time_to_time_and_removed_in_the_end(tmp_path):
    class Killed(Exception):
        pass

    def killed(steps):
        blocks.append(steps)
        if len(blocks) == 3:
            raise Killed

    blocks: list[int] = []
    with pytest.raises(Killed):
        run(lab(tmp_path, [5], on_progress=killed, checkpoint_seconds=0.0))
    assert blocks == [4, 4, 2]
    assert [path.name for path in (tmp_path / "checkpoints" / "000005").iterdir()] == ["loop.msgpack"]
    resumed: list[int] = []
    found = run(lab(tmp_path, [5], on_progress=resumed.append))
    assert resumed == [2]
    assert not list((tmp_path / "checkpoints" / "000005").iterdir())
    assert np.array_equal(found.curves["distance"], run(lab(tmp_path / "whole", [5])).curves["distance"])


@pytest.mark.parametrize("how", ["loop", "vmap"])
def test_every_evaluation_is_told_as_it_will_stand_in_the_curves(tmp_path, how):
    seen: dict[tuple, float] = {}

    def told(stage, step, replicates, values):
        for name, value in values.items():
            for number, each in zip(replicates, np.reshape(value, -1), strict=True):
                seen[stage, name, number, step] = each

    found = run(lab(tmp_path, [2, 7, 5], how, on_evaluate=told))
    expected = {
        ("loop", name, number, mark): found.curves[name][r, m]
        for name in ("distance", "done")
        for r, number in enumerate([2, 7, 5])
        for m, mark in enumerate(MARKS)
    }
    assert seen == expected
    run(lab(tmp_path, [2, 7, 5], how, on_evaluate=lambda *evaluated: pytest.fail("nothing is computed again")))


def test_a_checkpoint_of_other_replicates_is_not_taken(tmp_path):
    with pytest.raises(Unfinished):
        run(lab(tmp_path, [0, 2], "vmap", should_stop=lambda: True))
    found, expected = run(lab(tmp_path, [0, 3], "vmap")), run(lab(tmp_path / "fresh", [0, 3], "vmap"))
    assert np.array_equal(found.result["x"], expected.result["x"])


# --- stages -------------------------------------------------------------------------------------------------------


def test_stages_are_kept_per_replicate_and_used_by_other_batches(tmp_path):
    first = run(lab(tmp_path, [0, 1, 2]))
    advanced: list[int] = []
    second = run(lab(tmp_path, [2, 3], on_progress=advanced.append))
    assert advanced and np.array_equal(second.result["x"][0], first.result["x"][2])
    advanced.clear()
    third = run(lab(tmp_path, [3, 1, 2], on_progress=advanced.append))
    assert not advanced
    for name in ("distance", "done"):
        assert np.array_equal(third.curves[name][1:], first.curves[name][1:])
    assert np.array_equal(third.result["x"][0], second.result["x"][1])


def test_a_stage_is_computed_once(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"a": np.arange(2.0)}

    for _ in range(2):
        assert lab(tmp_path, [0, 1]).stage("s", compute)["a"].tolist() == [0, 1]
    assert len(calls) == 1


def test_two_stages_of_one_name_are_refused(tmp_path):
    one = lab(tmp_path)
    run(one)
    with pytest.raises(BadInput, match="two stages of a trial are called 'loop'"):
        run(one)


def test_data_arrives_once_on_the_device(tmp_path):
    loaded = []

    def load(name):
        loaded.append(name)
        return {"x": np.arange(3, dtype=np.uint8)}

    one = Lab([0], [tmp_path], tmp_path, load, ReplicateAxis(1, "loop"))
    assert one.data("digits") is one.data("digits") and loaded == ["digits"]
    assert isinstance(one.data("digits")["x"], jax.Array) and one.data("digits")["x"].dtype == jnp.uint8


def test_functions_are_lifted_with_shared_arguments(tmp_path):
    for how in ("loop", "vmap", "pmap"):
        one = lab(tmp_path, how=how)
        found = one.map(lambda x, y, s: {"sum": x + y.sum() * s}, jnp.arange(3.0), jnp.ones((3, 2)), shared=(10,))
        assert found["sum"].tolist() == [20, 21, 22]


# --- measurements -------------------------------------------------------------------------------------------------


def test_measurements_become_rows_of_their_replicate(tmp_path):
    one = lab(tmp_path, [0, 1])
    one.measure({"loss": jnp.array([0.5, jnp.inf])}, arm="a", density=np.float32(0.25), draw=np.int64(3))
    assert one.rows == [
        [{"arm": "a", "density": 0.25, "draw": 3, "metric": "loss", "value": 0.5}],
        [{"arm": "a", "density": 0.25, "draw": 3, "metric": "loss", "value": float("inf")}],
    ]
    assert [type(one.rows[0][0][name]) for name in ("density", "draw")] == [float, int]


def test_further_axes_become_columns(tmp_path):
    one = lab(tmp_path, [0, 1])
    values = np.arange(12.0).reshape(2, 2, 3)
    one.measure({"m": values}, along={"query": ["q", "r"], "step": jnp.array([5, 10, 15])}, arm="a")
    assert [(row["query"], row["step"], row["value"]) for row in one.rows[1]] == [
        ("q", 5, 6.0),
        ("q", 10, 7.0),
        ("q", 15, 8.0),
        ("r", 5, 9.0),
        ("r", 10, 10.0),
        ("r", 15, 11.0),
    ]
    measurements.write_rows(tmp_path / "rows.jsonl", one.rows[1])


@pytest.mark.parametrize(
    ("metrics", "options", "said"),
    [
        ({"m": [1.0]}, {}, r"metric 'm' has shape \(1,\), expected \(2,\)"),
        ({"m": 1.0}, {}, r"has shape \(\), expected \(2,\)"),
        ({"m": [[1.0], [2.0]]}, {"along": {"step": [1, 2]}}, r"has shape \(2, 1\), expected \(2, 2\): .*step"),
        ({"m": [1.0, np.nan]}, {"arm": "a"}, "metric 'm' is NaN under {'arm': 'a'}"),
        ({"m": [1.0, 2.0]}, {"value": 3}, "'value' cannot be a condition of m"),
        ({"m": [1.0, 2.0]}, {"replicate": 3}, "'replicate' cannot be a condition"),
        ({"m": [[1.0], [2.0]]}, {"along": {"step": [1]}, "step": 3}, "'step' cannot be a condition"),
        ({"m": [1.0, 2.0]}, {"arm": ["a", "b"]}, "cannot label a measurement"),
        ({"m": [1.0, 2.0]}, {"density": float("nan")}, "cannot label a measurement"),
        ({"m": [1.0, 2.0]}, {"density": None}, "cannot label a measurement"),
    ],
)
def test_what_is_no_measurement_is_refused(tmp_path, metrics, options, said):
    one = lab(tmp_path, [0, 1])
    with pytest.raises(BadInput, match=said):
        one.measure(metrics, **options)
    assert one.rows == [[], []]


def test_kept_arrays_have_the_replicate_axis(tmp_path):
    one = lab(tmp_path, [0, 1])
    one.keep("mask", jnp.ones((2, 3), bool))
    assert one.kept["mask"].shape == (2, 3) and isinstance(one.kept["mask"], np.ndarray)
    for wrong in (np.ones(3), np.float32(1)):
        with pytest.raises(BadInput, match="kept array 'mask' has shape"):
            one.keep("mask", wrong)
    with pytest.raises(BadInput, match="not a valid stage name"):
        one.keep("../mask", np.ones(2))


# --- seconds ------------------------------------------------------------------------------------------------------


def test_seconds_are_only_measured_where_nothing_else_runs(tmp_path):
    arms = {"a": lambda: jnp.ones(2), "b": lambda: jnp.ones(2)}
    with pytest.raises(BadInput, match="exclusive: true"):
        lab(tmp_path).time(arms)
    found = lab(tmp_path, exclusive=True).time(arms, rounds=3)
    assert {arm: len(seconds) for arm, seconds in found.items()} == {"a": 3, "b": 3}


def test_seconds_of_different_results_are_refused(tmp_path):
    with pytest.raises(AssertionError, match="b differs from a"):
        lab(tmp_path, exclusive=True).time({"a": lambda: jnp.ones(2), "b": lambda: jnp.zeros(2)})
