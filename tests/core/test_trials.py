"""Trials over the grid of a tuning: stages, conditions, values by arm, resuming; and the scopes behind them."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.errors import BadInput, Unfinished
from core.lab.keys import named_keys, replicate_keys
from core.lab.lab import Lab
from core.lab.replicas import ReplicateAxis
from core.lab.shape_lab import ShapeLab
from core.lab.trials import perform_trial, with_value
from core.papers.config import Tuning
from core.papers.settings import PerArm, PositiveInt, Settings, build_settings, setting

ARMS = {"fast": "the whole rate", "slow": "a tenth of it"}
STEPS, EVERY = 6, 2


class GroupSettings(Settings):
    """A group."""

    rates: PerArm[float] = setting("step sizes")
    width: PositiveInt = setting("of nothing")


class GridSettings(Settings):
    """What is tuned."""

    optimizer: GroupSettings = setting("a group")
    steps: PositiveInt = setting("length")


SETTINGS: GridSettings = build_settings(
    GridSettings, {"optimizer": {"rates": {"fast": 0.5, "slow": 0.5}, "width": 4}, "steps": STEPS}
)
RATES = {"setting": "optimizer.rates", "values": (1e-5, 0.1, 2.0), "by": {"metric": "loss"}}
WIDTHS = {"setting": "optimizer.width", "values": (2, 4, 8), "per_arm": False, "by": {"metric": "loss"}}


def tuning(written: dict[str, Any]) -> Tuning:
    return Tuning.model_validate(written)


def start(key: jax.Array) -> dict[str, jax.Array]:
    return {"x": jax.random.normal(key, (3,))}


def step(rate: float, state: dict[str, jax.Array], key: jax.Array, i: jax.Array) -> dict[str, jax.Array]:
    return {"x": state["x"] - rate * state["x"] + 1e-3 * jax.random.normal(key, (3,))}


def evaluate(state: dict[str, jax.Array], i: jax.Array) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    return state, {"curve": jnp.sum(state["x"] ** 2)}


def finish(state: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return {"x": state["x"], "loss": jnp.sum(state["x"] ** 2)}


def trial(settings: GridSettings, keys: jax.Array, lab: Any) -> None:
    for arm in ARMS:
        state = lab.map(start, named_keys(lab, keys, "init"))
        one = partial(step, settings.optimizer.rates[arm])
        length = {"steps": settings.steps, "evaluate_every": EVERY}
        run = lab.iterate(arm, one, keys, state, **length, evaluate=evaluate, finish=finish)
        lab.measure({"loss": run.result["loss"]}, arm=arm)
        lab.measure(run.curves, along={"step": run.steps}, arm=arm)
        lab.keep(f"end_{arm}", run.result["x"])


def lab_in(folder: Path, numbers: tuple[int, ...] = (0, 1), **options: Any) -> Lab:
    folders = [folder / str(number) for number in numbers]
    return Lab(numbers, folders, folder / "checkpoints", dict, ReplicateAxis.choose(len(numbers), "loop"), **options)


KEYS = replicate_keys("toy", "tuning", [0, 1])


def test_without_a_tuning_the_trial_is_performed_once(tmp_path: Path) -> None:
    plain, other = lab_in(tmp_path / "plain"), lab_in(tmp_path / "other")
    perform_trial(trial, SETTINGS, KEYS, plain, None, ARMS)
    trial(SETTINGS, KEYS, other)
    assert plain.rows == other.rows and all("rates" not in row for row in plain.rows[0])
    assert {path.stem for path in (tmp_path / "plain" / "0" / "stages").iterdir()} == {"fast", "slow"}


def test_every_value_of_the_grid_has_stages_conditions_and_arrays_of_its_own(tmp_path: Path) -> None:
    lab, folder = lab_in(tmp_path), tmp_path / "0" / "stages"
    perform_trial(trial, SETTINGS, KEYS, lab, tuning(RATES), ARMS)
    names = [f"{value}/{arm}" for value in ("1e-05", "0.1", "2") for arm in ("fast", "slow")]
    stored = {path.relative_to(folder).as_posix().removesuffix(".msgpack") for path in folder.rglob("*.msgpack")}
    assert stored == set(names)
    assert set(lab.kept) == {name.replace("/", "/end_") for name in names}
    rows = [row for row in lab.rows[0] if row["metric"] == "loss"]
    assert [(row["rates"], row["arm"]) for row in rows] == [(v, arm) for v in (1e-5, 0.1, 2.0) for arm in ARMS]
    assert {(row["rates"], row["step"]) for row in lab.rows[1] if row["metric"] == "curve"} == {
        (value, mark) for value in (1e-5, 0.1, 2.0) for mark in (2, 4, 6)
    }
    assert lab.steps == 3 * 2 * STEPS
    for value in (1e-5, 0.1, 2.0):  # what the trial gives with this value alone
        alone = lab_in(tmp_path / f"alone-{value}")
        trial(with_value(SETTINGS, "optimizer.rates", dict.fromkeys(ARMS, value)), KEYS, alone)
        own = [
            [{k: v for k, v in row.items() if k != "rates"} for row in rows if row["rates"] == value]
            for rows in lab.rows
        ]
        assert own == alone.rows


def test_a_value_for_all_arms_is_put_into_its_group_and_stays_whole(tmp_path: Path) -> None:
    seen: list[tuple[int, dict[str, float]]] = []
    names = {**WIDTHS, "values": (2, 4, 1_000_000)}
    perform_trial(
        lambda settings, keys, lab: seen.append((settings.optimizer.width, settings.optimizer.rates.root)),
        SETTINGS,
        KEYS,
        lab_in(tmp_path),
        tuning(names),
        ARMS,
    )
    assert seen == [(width, {"fast": 0.5, "slow": 0.5}) for width in (2, 4, 1_000_000)]
    assert all(type(width) is int for width, _ in seen)
    lab = lab_in(tmp_path)
    perform_trial(
        lambda s, k, lab: lab.stage("s", lambda: {"x": np.zeros(2)}), SETTINGS, KEYS, lab, tuning(names), ARMS
    )
    assert {path.parent.name for path in (tmp_path / "0" / "stages").rglob("s.*")} == {"2", "4", "1e06"}


def test_shapes_follow_the_whole_grid(tmp_path: Path) -> None:
    real, shapes = lab_in(tmp_path, (0,)), ShapeLab()
    keys = replicate_keys("toy", "tuning", [0])
    perform_trial(trial, SETTINGS, keys, real, tuning(RATES), ARMS)
    perform_trial(trial, SETTINGS, jax.eval_shape(lambda: keys), shapes, tuning(RATES), ARMS)
    assert shapes.cost.stages == [f"{value}/{arm}" for value in ("1e-05", "0.1", "2") for arm in ARMS]
    assert shapes.cost.steps == real.steps == 3 * 2 * STEPS
    measured = {(metric, conditions["arm"], conditions["rates"]) for metric, conditions in shapes.measured}
    assert measured == {(row["metric"], row["arm"], row["rates"]) for row in real.rows[0]}


def test_an_interrupted_grid_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    whole = lab_in(tmp_path / "whole")
    perform_trial(trial, SETTINGS, KEYS, whole, tuning(RATES), ARMS)
    blocks = []
    counting = lab_in(tmp_path / "cut", on_progress=blocks.append, should_stop=lambda: len(blocks) == 14)
    with pytest.raises(Unfinished):
        perform_trial(trial, SETTINGS, KEYS, counting, tuning(RATES), ARMS)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cut" / "0" / "stages").rglob("*.msgpack")}
    assert len(kept) == 2, "both arms at the first value, three blocks for each of two replicates"
    again: list[int] = []
    resumed = lab_in(tmp_path / "cut", on_progress=again.append)
    perform_trial(trial, SETTINGS, KEYS, resumed, tuning(RATES), ARMS)
    assert resumed.rows == whole.rows and {name: array.tolist() for name, array in resumed.kept.items()} == {
        name: array.tolist() for name, array in whole.kept.items()
    }
    assert sum(again) + sum(blocks) == 3 * 2 * 2 * STEPS, "no step is computed twice"
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


# Scopes


def test_scopes_stand_inside_of_each_other_and_end(tmp_path: Path) -> None:
    lab = lab_in(tmp_path)
    with lab.scope("a/", {"x": 1}), lab.scope("b-", {"y": 2}):
        lab.stage("s", lambda: {"x": np.zeros(2)})
        lab.measure({"m": np.ones(2)}, arm="fast")
        with pytest.raises(ZeroDivisionError), lab.scope("c", {"z": 3}):
            _ = 1 / 0
        lab.measure({"m": np.ones(2)}, arm="fast")
    lab.measure({"m": np.ones(2)}, arm="fast")
    inside, again, outside = lab.rows[0]
    assert inside == again
    assert (inside["x"], inside["y"], inside["arm"]) == (1, 2, "fast")
    assert set(outside) == {"arm", "metric", "value"}
    assert [path.stem for path in (tmp_path / "0" / "stages" / "a").iterdir()] == ["b-s"]


def test_a_condition_of_the_trial_itself_wins_and_names_of_columns_are_refused(tmp_path: Path) -> None:
    shapes = ShapeLab()
    with shapes.scope("", {"rate": 1}):
        shapes.measure({"m": jax.ShapeDtypeStruct((1,), jnp.float32)}, rate=2)
    assert shapes.measured == [("m", {"rate": 2})]
    real = lab_in(tmp_path)
    with real.scope("", {"rate": 1}):
        real.measure({"m": np.ones(2)}, rate=2)
    assert real.rows[0][0]["rate"] == 2
    with real.scope("", {"metric": 1}), pytest.raises(BadInput, match="'metric' cannot be a condition"):
        real.measure({"m": np.ones(2)})


def test_a_value_that_the_settings_refuse_is_refused() -> None:
    assert with_value(SETTINGS, "steps", 3).steps == 3
    changed = with_value(SETTINGS, "optimizer.width", 9)
    assert (changed.optimizer.width, SETTINGS.optimizer.width) == (9, 4)
    with pytest.raises(ValueError, match="width"):
        with_value(SETTINGS, "optimizer.width", 0)
