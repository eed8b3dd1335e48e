"""Plans and what came of them: the ledger, forecasts calibrated by it, fleets, and the exact choice within a budget."""

import itertools
import random
from pathlib import Path
from types import SimpleNamespace

import pytest

from core import files
from core.cli.main import main
from core.launch.compose import compose_launch
from core.launch.jobs import Job, make_job
from core.paths import project_root
from core.planning import accelerators, budget, cost_ledger, estimate, forecasting, machine
from core.planning.accelerators import STEP_SECONDS, Accelerator, Fleet
from core.planning.budget import RunOption
from core.planning.cost_ledger import CostEntry
from core.planning.forecasting import Forecast
from core.report import cost_table

LINE = CostEntry(
    paper="toy", study="fit", scale="smoke", identity="toy-fit-smoke-x", replicates=4, workers=2, minutes=1.0,
    seconds_per_replicate=25.0, peak_gib=0.5, steps=90, gflops=40.0, flops=1e11, forecast=0.5, source="",
    date="2026-01-01",
)  # fmt: skip


def another(**changes: object) -> CostEntry:
    return CostEntry(**{**LINE.__dict__, **changes})


def job(*words: str) -> Job:
    launch = compose_launch(["paper=toy", "study=fit", "tracking=none", *words])
    return make_job(launch, launch.studies[0])


# The ledger


def test_a_line_by_hand():
    assert LINE.overhead_seconds == 60 - 2 * 25
    assert LINE.efficiency == 1e11 / (25 * 40e9)
    assert another(flops=None).efficiency is another(seconds_per_replicate=0.0).efficiency is None


def test_the_nearest_lines_are_those_of_the_study_then_of_the_paper_then_all():
    others = [another(study="drift"), another(paper="net", study="net"), another(flops=None)]
    assert cost_ledger.similar_entries("toy", "fit", [*others, LINE]) == ([LINE], "runs of fit here")
    assert cost_ledger.similar_entries("toy", "fit", others) == ([others[0]], "runs of toy here")
    assert cost_ledger.similar_entries("toy", "fit", others[1:]) == ([others[1]], "runs here")
    assert cost_ledger.similar_entries("toy", "fit", others[2:]) == ([], "")
    small = another(flops=1e8)
    assert cost_ledger.similar_entries("toy", "fit", [small, others[0]], flops=1e11) == (
        [others[0]],
        "runs of toy here",
    )
    assert cost_ledger.similar_entries("toy", "fit", [small, others[0]], flops=1e10) == ([small], "runs of fit here")


def test_factors_between_forecast_and_what_happened():
    lines = [LINE, another(forecast=2.0), another(forecast=0.0), another(minutes=0.0)]
    assert cost_ledger.forecast_error_factors(lines) == [(lines[0], 2.0), (lines[1], 2.0)]


def noted(asked: Job, seconds: float, minutes: float, flops: float | None = None) -> None:
    """As if the replicates of a job had been computed, one second of each for compiling."""
    cost = {"seconds": seconds + 1, "compile_seconds": 1.0, "batch": 1, "peak_gib": 0.5, "steps": 90}
    for number in asked.numbers:
        files.write_json(asked.run.replicate_folder(number) / "done.json", cost)
    forecast = Forecast(0.5, 1.0, 2, "counted operations", 90, flops)
    cost_ledger.append_entry(asked, asked.numbers, forecast, minutes, gflops=40.0)


def test_what_was_run_here_before_comes_first_in_a_forecast(toy_root, tmp_path, monkeypatch):
    monkeypatch.setattr(forecasting, "available_cores", lambda: [0, 1])
    monkeypatch.setattr(machine, "free_memory_gib", lambda: 64.0)
    assert cost_ledger.read_entries() == []
    noted(job(), seconds=30.0, minutes=1.2)
    with cost_ledger.ledger_path().open("a") as file:
        file.write('{"half": \n[]\n')
    [line] = cost_ledger.read_entries()
    assert (line.replicates, line.seconds_per_replicate, line.forecast, line.identity) == (
        4, 30.0, 0.5, job().identity.name,
    )  # fmt: skip
    found = forecasting.forecast_job(job("first_replicate=1000", "replicates=6"), 20.0)
    assert found == Forecast((12 + 3 * 60) / 60, 1.0, 2, "this run before", 90)


def test_other_settings_are_foreseen_at_the_speed_that_the_study_reached(toy_root, monkeypatch):
    monkeypatch.setattr(forecasting, "available_cores", lambda: [0, 1])
    monkeypatch.setattr(machine, "free_memory_gib", lambda: 64.0)
    unknown = forecasting.forecast_job(job("settings.steps=60"), 40.0)
    assert unknown.source == "counted operations" and unknown.flops
    noted(job(), seconds=30.0, minutes=1.2, flops=unknown.flops / 2)
    found = forecasting.forecast_job(job("settings.steps=60"), 40.0)
    assert found.source == "operations, runs of fit here"
    assert found.minutes == pytest.approx((12 + 2 * 60) / 60)  # twice the operations, two rounds


def test_forecasts_are_held_against_what_happened(toy_root, capsys):
    assert main(["plan", "--check"]) == 2 and "the ledger of costs is empty" in capsys.readouterr().err
    assert main(["run", "paper=toy", "study=ready", "tracking=none", "replicates=1"]) == 0
    [line] = cost_ledger.read_entries()
    assert line.minutes > 0 and line.forecast > 0 and line.study == "ready"
    capsys.readouterr()
    assert main(["plan", "--check"]) == 0
    assert "median factor" in capsys.readouterr().out


# Accelerators

DEVICE = Accelerator("a device", 10.0, "float32", 4)


@pytest.mark.parametrize(
    ("replicates", "count", "seconds"),
    [(6, 1, 6 * 100), (6, 4, 2 * 100), (6, 6, 100), (6, 64, 100), (0, 8, 0)],
)
def test_replicates_share_devices(replicates, count, seconds):
    fleet = Fleet(DEVICE, count, 0.5)
    assert fleet.study_minutes(replicates, flops=100 * 5e12, steps=10) == pytest.approx(seconds / 60)
    assert fleet.gib_per_device(replicates, 2**29) == -(-replicates // count) / 2


def test_small_steps_take_the_time_of_launching_them():
    assert Fleet(DEVICE).study_minutes(8, flops=1.0, steps=10**6) == pytest.approx(10**6 * STEP_SECONDS / 60)


# Choice within a budget


@pytest.mark.parametrize("seed", range(20))
def test_the_choice_is_that_of_brute_force(seed):
    rng = random.Random(seed)
    offers = [RunOption(str(n), rng.choice([0.0, 0.5, 3.0, rng.random() * 30]), rng.randrange(5)) for n in range(9)]
    minutes = rng.random() * 60
    chosen = budget.choose_runs(offers, minutes)
    subsets = itertools.chain.from_iterable(itertools.combinations(offers, size) for size in range(len(offers) + 1))
    fitting = [subset for subset in subsets if sum(offer.minutes for offer in subset) <= minutes]
    most = max(sum(offer.claims for offer in subset) for subset in fitting)
    least = min(
        sum(offer.minutes for offer in subset) for subset in fitting if sum(offer.claims for offer in subset) == most
    )
    assert sum(offer.claims for offer in chosen) == most
    assert sum(offer.minutes for offer in chosen) == pytest.approx(least)
    assert all(offer.claims for offer in chosen)


# The command


def test_several_papers_and_sweeps_are_planned_together(toy_root, capsys):
    assert main(["plan", "paper=all", "study=all", "scale=smoke"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("fit", "ready", "drift", "together"))
    assert main(["plan", "-m", "paper=toy", "study=fit", "settings.rate=0.1,0.2"]) == 0
    shown = capsys.readouterr().out
    assert "toy/fit settings.rate=0.1" in shown and "toy/fit settings.rate=0.2" in shown


def test_claims_that_a_study_can_decide(toy_root):
    config = compose_launch(["paper=toy", "tracking=none"]).config
    assert [estimate.count_decidable_claims(config, name, "laptop") for name in config.studies] == [1, 1, 0]
    assert [estimate.count_decidable_claims(config, name, "smoke") for name in config.studies] == [0, 1, 0]


def test_a_budget_refuses_a_plan_or_picks_from_it(toy_root, capsys, monkeypatch):
    monkeypatch.setattr(forecasting, "OVERHEAD_SECONDS", 120.0)
    assert main(["plan", "paper=toy", "budget.minutes=3"]) == 3
    assert "forecast 4 min, budget 3 min: --within 3 picks" in capsys.readouterr().err
    assert main(["plan", "paper=toy", "budget.minutes=5"]) == 0
    assert main(["plan", "paper=toy", "--within", "3"]) == 0
    shown = capsys.readouterr().out
    assert "within 3 min: 1 of 2 claims in 2 min" in shown and "encore run paper=toy study=" in shown
    assert main(["plan", "paper=toy", "--within", "1"]) == 3
    assert "no run of these decides a claim within 1 min" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--on", "h10"], "did you mean 'h100'?"),
        (["--count", "8"], "add --on, such as --on h100"),
        (["--on", "h100", "--count", "0"], "--count 0 must be 1 or more"),
        (["--on", "h100", "--efficiency", "1.5"], "--efficiency 1.5 must lie in (0, 1]"),
        (["--within", "-1"], "--within -1 must be a positive number of minutes"),
        (["settings.rate=0.1,0.2"], "add -m to sweep over them"),
    ],
)
def test_bad_plans_are_one_line(toy_root, tmp_path, capsys, words, message):
    assert main(["plan", "paper=toy", *words]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line and not (tmp_path / "results").exists()
    assert main(["plan", "paper=toy,toi"]) == 2 and "did you mean 'toy'?" in capsys.readouterr().err


# The table in the docs


def test_the_table_of_costs_is_that_of_the_configs():
    text = (project_root() / cost_table.COST_FILE).read_text(encoding="utf-8")
    assert cost_table.is_current(text), "run `encore plan --document`"


def test_the_table_of_costs_of_the_toy(toy_root):
    text = cost_table.render_cost_table()
    [line] = [line for line in text.splitlines() if line.startswith("| toy/fit ")]
    steps, replicates = 900, 6
    assert line.startswith(f"| toy/fit | {replicates} | {steps} | 0.0 | 0.0 / 0.0 / 0.0 |")
    assert "| **all** |" in text and "495 TFLOP/s" in text and cost_table.is_current(text)
    assert accelerators.find_accelerator("H100").gib == 80


@pytest.mark.parametrize(("platform", "gib"), [("linux", 3.0), ("darwin", 3.0 / 1024)])
def test_peak_memory_is_in_the_units_of_the_system(platform: str, gib: float, monkeypatch: pytest.MonkeyPatch) -> None:
    used = SimpleNamespace(ru_maxrss=3 * 2**20)
    monkeypatch.setattr("core.planning.machine.resource.getrusage", lambda who: used)
    monkeypatch.setattr("core.planning.machine.sys.platform", platform)
    assert machine.peak_memory_gib() == gib


def test_peak_memory_is_that_of_this_process() -> None:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("this system does not say otherwise")
    [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
    assert machine.peak_memory_gib() == pytest.approx(int(line.split()[1]) / 2**20, rel=0.2)
