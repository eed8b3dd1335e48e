"""Forecasts by hand-worked arithmetic, batches, memory, and what a budget refuses."""

import os
from pathlib import Path
from typing import Any

import pytest

from core import files
from core.errors import OverBudget
from core.launch.compose import compose_launch
from core.launch.jobs import Job, make_job
from core.papers.settings import settings_as_dict
from core.planning import forecasting, machine, measurable
from core.planning.estimate import published_changes
from core.planning.forecasting import BYTES_PER_WORKER, OVERHEAD_SECONDS, Forecast
from core.running import execute
from core.runs.folder import RunFolder

COST = {"seconds_per_replicate": 30.0, "calibration_gflops": 40.0, "peak_gib": 0.5, "steps": 1000}
SHAPES = {"flops": 4.8e11, "peak_bytes": 2**29, "steps": 70}


def job(*words: str) -> Job:
    launch = compose_launch(["paper=toy", "study=fit", "tracking=none", *words])
    return make_job(launch, launch.studies[0])


@pytest.mark.parametrize(("replicates", "workers", "rounds"), [(6, 2, 3), (5, 2, 3), (1, 1, 1), (6, 6, 1), (7, 3, 3)])
def test_minutes_from_a_recorded_cost_scale_with_speed_and_rounds(replicates, workers, rounds):
    found = forecasting.make_forecast(replicates, workers, 20.0, COST, None)
    expected = (OVERHEAD_SECONDS + rounds * 60) / 60
    assert found == Forecast(pytest.approx(expected), workers * 0.5, workers, "the published run", 1000)


def test_minutes_from_counted_operations():
    found = forecasting.make_forecast(4, 2, 10.0, None, SHAPES, "counted operations")
    expected = OVERHEAD_SECONDS + 2 * (4.8e11 / (forecasting.TYPICAL_EFFICIENCY * 1e10))
    assert found.minutes == pytest.approx(expected / 60) and not found.is_lower_bound
    assert forecasting.make_forecast(4, 2, 10.0, None, {**SHAPES, "uncounted": ["solve"]}).is_lower_bound
    assert found.gib == pytest.approx(2 * (BYTES_PER_WORKER / 2**30 + 0.5))
    assert (found.steps, found.source, found.workers) == (70, "counted operations", 2)


def test_batches():
    assert forecasting.replicate_batches([3, 5, 6], accelerator=False) == [[3], [5], [6]]
    assert forecasting.replicate_batches([3, 5, 6], accelerator=True) == [[3, 5, 6]]
    assert (
        forecasting.replicate_batches([], accelerator=True)
        == forecasting.replicate_batches([], accelerator=False)
        == []
    )


def test_free_memory_is_less_than_there_is():
    there_is = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    assert 0 < machine.free_memory_gib() < there_is


def test_the_speed_of_this_machine_is_plausible():
    assert 0.5 < machine.measure_gflops() < 5000


def published_cost(study: str, scale: str = "laptop", *words: str) -> Any:
    """As it is found for a study of the toy."""
    chosen = job(f"scale={scale}", f"study={study}", *words).chosen
    return forecasting.published_cost("toy", scale, study, chosen.settings)


def test_a_recorded_cost_is_that_of_the_published_run_with_the_same_settings(toy_root):
    path = toy_root / "results" / "toy" / "laptop" / "provenance.json"
    assert published_cost("fit") is None
    settings = settings_as_dict(job().chosen.settings)
    files.write_json(path, {"studies": {"fit": {"cost": COST, "settings": settings}, "ready": {}}})
    assert published_cost("fit") == COST
    assert published_cost("ready") is None and published_cost("fit", "smoke") is None
    assert published_cost("fit", "laptop", "settings.rate=0.2") is None
    files.write_json(path, {"studies": {"fit": {"cost": COST, "settings": settings | {"steps": 3}}}})
    assert published_cost("fit") is None, "a run of three steps says nothing of one of thirty"
    path.write_text("{")
    assert published_cost("fit") is None


@pytest.mark.parametrize(
    ("words", "cores", "free", "peak", "workers"),
    [
        ([], 2, 64.0, 1.0, 2),
        ([], 16, 64.0, 1.0, 4),  # four replicates are missing
        ([], 16, 2.5, 1.0, 2),
        ([], 16, 0.5, 1.0, 1),
        (["replicates=1"], 16, 64.0, 1.0, 1),
        (["workers=3"], 2, 64.0, 1.0, 3),
        (["workers=9"], 2, 64.0, 1.0, 4),
        (["device=accelerator"], 16, 64.0, 1.0, 1),
    ],
)
def test_workers_last_as_far_as_cores_memory_and_work(toy_root, monkeypatch, words, cores, free, peak, workers):
    monkeypatch.setattr(forecasting, "available_cores", lambda: list(range(cores)))
    monkeypatch.setattr(machine, "free_memory_gib", lambda: free)
    assert forecasting.worker_count(job(*words), peak) == workers


def test_a_forecast_prefers_the_published_run_unless_settings_were_overridden(toy_root, tmp_path, monkeypatch):
    about = {"cost": COST, "settings": settings_as_dict(job().chosen.settings)}
    files.write_json(toy_root / "results" / "toy" / "laptop" / "provenance.json", {"studies": {"fit": about}})
    monkeypatch.setattr(forecasting, "available_cores", lambda: [0, 1])
    monkeypatch.setattr(machine, "free_memory_gib", lambda: 64.0)
    found = forecasting.forecast_job(job(), 40.0)
    assert found == Forecast((OVERHEAD_SECONDS + 2 * 30) / 60, 1.0, 2, "the published run", 1000)
    assert forecasting.forecast_job(job("settings.steps=20"), 40.0).source == "operations, the published run"
    assert forecasting.forecast_job(job("settings.steps=20"), 40.0).steps == 60


def test_what_is_finished_costs_nothing(toy_root):
    asked = job("replicates=2")
    for number in (0, 1):
        files.write_json(asked.run.replicate_folder(number) / "done.json", {"seconds": 1.0})
    assert forecasting.forecast_job(asked, 40.0) == Forecast(0.0, 0.0, 0, "finished before", 0)
    assert job("replicates=3").missing == [2]


def test_a_budget_refuses_before_anything_starts(toy_root, monkeypatch):
    monkeypatch.setattr(machine, "free_memory_gib", lambda: 8.0)
    launch = job("budget.minutes=10").launch

    def forecasts(minutes: float, gib: float) -> Any:
        return [Forecast(minutes / 2, gib, 1, "", 0), Forecast(minutes / 2, 1.0, 1, "", 0)]

    execute.check_budget(launch, forecasts(10.0, 8.0))
    with pytest.raises(OverBudget, match=r"forecast 11 min, budget 10 min: raise it with budget\.minutes=13"):
        execute.check_budget(launch, forecasts(11.0, 1.0))
    with pytest.raises(OverBudget, match=r"forecast 9\.0 GiB of memory, 8\.0 GiB are free"):
        execute.check_budget(launch, forecasts(1.0, 9.0))


def test_replicates_and_scales_of_a_run_do_not_depend_on_how_many_are_asked_for(toy_root):
    assert job("replicates=2").run == job("replicates=11").run == job("first_replicate=1000").run
    assert job("first_replicate=1000", "replicates=2").numbers == (1000, 1001)
    assert job("scale=smoke").run != job().run != job("settings.rate=0.2").run
    assert isinstance(job().run, RunFolder) and job().run.identity.startswith("toy-fit-laptop-")


def test_prepared_work_depends_on_its_own_settings_alone(toy_root):
    def prepared(*words: str) -> str | None:
        launch = compose_launch(["paper=toy", "study=ready", "tracking=none", *words])
        return make_job(launch, launch.studies[0]).prepared

    assert prepared() == prepared("settings.extra=5") != prepared("settings.prepared.count=5")
    assert job().prepared is None


def test_a_plan_says_how_a_published_result_differs(toy_root, tmp_path):
    def publish(identity: Any, **settings: Any) -> None:
        studies = {"studies": {"fit": {"identity": identity, **settings}}}
        files.write_json(toy_root / "results" / "toy" / "laptop" / "provenance.json", studies)

    assert published_changes(job()) == []
    publish(job().identity.parts)
    assert published_changes(job()) == [] == published_changes(job("scale=smoke"))
    publish(job("settings.rate=0.2").identity.parts)
    assert published_changes(job()) == ["setting rate changed"]
    assert published_changes(job("settings.rate=0.3")) == []
    before = settings_as_dict(job("settings.rate=0.2").chosen.settings)
    publish(job("settings.rate=0.2").identity.parts, settings=before)
    assert published_changes(job()) == ["setting rate 0.2 -> 0.1"]
    publish("?")
    assert published_changes(job()) == []


def test_what_is_measured_is_imagined_for_the_replicates_that_are_asked_for(
    toy_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = compose_launch(["paper=toy", "study=fit", "tracking=none", "first_replicate=5000"])
    seen: list[list[int]] = []
    make = measurable.imagined_table
    monkeypatch.setattr(measurable, "imagined_table", lambda *given: (seen.append(list(given[2])), make(*given))[1])
    found = measurable.follow_study(make_job(launch, launch.studies[0]))
    assert seen == [[5000, 5001, 5002]] and found.fault == ""
