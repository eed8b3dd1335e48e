"""What a run would do and cost: batches of replicates, a forecast of minutes and memory, operations by shapes alone."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import files
from core.kept import find_answers
from core.launch.hosts import spreads_batches
from core.launch.jobs import Job
from core.papers.config import StudyConfig
from core.papers.settings import Settings, settings_as_dict
from core.paths import published_folder
from core.planning import cost_ledger, machine
from core.planning.machine import available_cores, use_accelerator

if TYPE_CHECKING:
    from core.lab.shape_lab import ShapeLab

# Share of a core's matrix-product throughput that a trial reaches when nothing was recorded about it.
TYPICAL_EFFICIENCY = 0.4
OVERHEAD_SECONDS = 5.0  # starting workers, compiling and loading data, when nothing was recorded about it
BYTES_PER_WORKER = 0.7 * 2**30  # libraries and compiled programs of one worker, before any array


@dataclass(frozen=True)
class Forecast:
    """What a study of a run is expected to take.

    Attributes:
      minutes: wall-clock time on `workers` processes.
      gib: peak memory of all workers together.
      source: where the estimate comes from, in words.
      steps: steps of one replicate.
      flops: counted operations of one replicate, where they were counted.
      is_lower_bound: part of the work was not counted, so that it takes this long at least.
    """

    minutes: float
    gib: float
    workers: int
    source: str
    steps: int
    flops: float | None = None
    is_lower_bound: bool = False


def published_cost(slug: str, scale: str, study: str, settings: Settings) -> Mapping[str, Any] | None:
    """What the published run of a study says about its cost, if there is one with these settings."""
    path = published_folder() / slug / scale / "provenance.json"
    try:
        found = files.read_json(path)["studies"][study]
        return found["cost"] if found["settings"] == settings_as_dict(settings) else None
    except (OSError, KeyError, ValueError, TypeError):
        return None


def make_forecast(
    replicates: int,
    workers: int,
    gflops: float,
    cost: Mapping[str, Any] | None,
    shapes: Mapping[str, Any] | None,
    source: str = "the published run",
    efficiency: float = TYPICAL_EFFICIENCY,
    overhead_seconds: float = OVERHEAD_SECONDS,
) -> Forecast:
    """Expected minutes: from a recorded cost scaled by this machine's speed, else from counted operations.

    Args:
      replicates: how many have to be computed.
      workers: processes that compute one replicate each at a time.
      gflops: this machine's single-core throughput by `calibrate`.
      cost: as recorded by an earlier run with the same settings, and `source` in words.
      shapes: as counted by `shapes_of`, at an `efficiency`: the share of that throughput which is reached.
      overhead_seconds: beyond the replicates, where `cost` does not say.
    """
    rounds = -(-replicates // workers)
    if cost is not None:
        seconds = rounds * cost["seconds_per_replicate"] * cost["calibration_gflops"] / gflops
        overhead = cost.get("overhead_seconds", overhead_seconds)
        return Forecast((overhead + seconds) / 60, workers * cost["peak_gib"], workers, source, cost["steps"])
    assert shapes is not None
    seconds = overhead_seconds + rounds * shapes["flops"] / (efficiency * gflops * 1e9)
    gib = workers * (BYTES_PER_WORKER + shapes["peak_bytes"]) / 2**30
    uncounted = bool(shapes.get("uncounted"))
    return Forecast(seconds / 60, gib, workers, source, shapes["steps"], shapes["flops"], uncounted)


def published_efficiency(slug: str, study: StudyConfig) -> float | None:
    """Share of a core's matrix-product throughput that the published run of a study reached, if there is one."""
    values = study.values("laptop")
    if study.waits_for_winners(values):
        return None
    settings = study.build(values)
    cost = published_cost(slug, "laptop", study.name, settings)
    if cost is None or not cost["seconds_per_replicate"]:
        return None
    flops = count_trial_cost(slug, study, settings)["flops"]
    return flops / (cost["seconds_per_replicate"] * cost["calibration_gflops"] * 1e9) or None


def replicate_batches(replicates: Sequence[int], accelerator: bool) -> list[list[int]]:
    """Cut replicates into units of work: one each on a CPU, all together on accelerators."""
    if accelerator:
        return [list(replicates)] if replicates else []
    return [[number] for number in replicates]


def job_trial_cost(job: Job) -> dict[str, Any]:
    """What one replicate of a job takes by shapes; kept under the identity of the run while the counting stays."""
    run, counting = job.identity.name, files.sha256_file(Path(__file__).parents[1] / "lab" / "shape_lab.py")

    def count(_: str) -> dict[str, Any]:
        return count_trial_cost(job.launch.config.slug, job.study, job.chosen.settings)

    return find_answers("trial_costs", {run: counting}, count)[run]


def count_trial_cost(slug: str, study: StudyConfig, settings: Any) -> dict[str, Any]:
    """What one replicate takes, by shapes alone, see `core.lab.shape_lab.TrialCost`; nothing is allocated."""
    import jax

    from core.lab.shape_lab import ShapeLab

    jax.config.update("jax_platforms", "cpu")  # for this process alone: what the workers look for is decided elsewhere
    lab = ShapeLab()
    trace_trial(slug, study, settings, lab)
    return {**dataclasses.asdict(lab.cost), "measured": len(lab.measured)}


def trace_trial(slug: str, study: StudyConfig, settings: Any, lab: "ShapeLab") -> None:
    """Follow the trial of one replicate with shapes only; the lab keeps count."""
    import jax

    from core.lab.keys import replicate_keys
    from core.lab.trials import perform_trial
    from core.papers.contract import load_study

    with jax.enable_x64(study.form.x64):
        offered = load_study(slug, study.name)
        keys = jax.eval_shape(lambda: replicate_keys(slug, study.name, [0]))
        if offered.prepare is not None:
            lab.prepared = offered.prepare(settings.prepared, keys, lab)
        perform_trial(offered.trial, settings, keys, lab, study.form.tune, study.form.arms)


def worker_count(job: Job, peak_gib: float) -> int:
    """Worker processes: one per core, as long as memory and work last; one when an accelerator is used."""
    if use_accelerator(job.launch.device) or job.study.form.exclusive:
        return 1
    room = max(1, int(machine.free_memory_gib() / max(peak_gib, 0.1)))
    wanted = job.launch.workers or min(len(available_cores()), room)
    return max(1, min(wanted, len(job.missing)))


def forecast_job(job: Job, gflops: float) -> Forecast:
    """What the missing replicates are expected to take: by the same run earlier, the published one, or by counting."""
    if not job.missing:
        return Forecast(0.0, 0.0, 0, "finished before", 0)
    slug, study, lines = job.launch.config.slug, job.study, cost_ledger.read_entries()
    count = -(-len(job.missing) // (1 if spreads_batches(job.chosen.settings) else job.launch.hosts.count))
    cost, source = cost_ledger.cost_of_run(job.identity.name, lines), "this run before"
    if cost is None and not job.chosen.overridden:
        cost = published_cost(slug, job.launch.scale, study.name, job.chosen.settings)
        source = "the published run"
    if cost is not None:
        workers = worker_count(job, cost["peak_gib"])
        return make_forecast(count, workers, gflops, cost, None, source)
    shapes = job_trial_cost(job)
    workers = worker_count(job, (BYTES_PER_WORKER + shapes["peak_bytes"]) / 2**30)
    near, words = cost_ledger.similar_entries(slug, study.name, lines, shapes["flops"])
    source, efficiency, overhead = "counted operations", TYPICAL_EFFICIENCY, OVERHEAD_SECONDS
    if near:
        source = f"operations, {words}"
        efficiency = statistics.median(line.efficiency or efficiency for line in near)
        overhead = statistics.median(line.overhead_seconds for line in near)
    elif published := published_efficiency(slug, study):
        source, efficiency = "operations, the published run", published
    return make_forecast(count, workers, gflops, None, shapes, source, efficiency, overhead)
