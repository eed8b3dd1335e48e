"""What a run would do and cost: batches of replicates, a forecast of minutes and memory, operations by shapes alone."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import files
from core.pages import Study
from core.roots import results_folder

if TYPE_CHECKING:
    from core.abstract import AbstractLab

# Share of a core's matrix-product throughput that a trial reaches when nothing was recorded about it.
TYPICAL_EFFICIENCY = 0.4
CALIBRATION_SECONDS = 0.3
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
      floor: part of the work was not counted, so that it takes this long at least.
    """

    minutes: float
    gib: float
    workers: int
    source: str
    steps: int
    flops: float | None = None
    floor: bool = False


def calibrate() -> float:
    """Single-core matrix-product throughput of this machine now, in GFLOP/s, at the shapes of a small network."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    a, b = np.ones((60, 784), np.float32), np.ones((784, 300), np.float32)
    with threadpool_limits(1):
        count, started = 0, time.perf_counter()
        while not count or time.perf_counter() - started < CALIBRATION_SECONDS:
            for _ in range(20):
                a @ b
            count += 20
    return count * 2 * 60 * 784 * 300 / (time.perf_counter() - started) / 1e9


def recorded(slug: str, scale: str, study: str) -> Mapping[str, Any] | None:
    """What the published run of a study says about its cost, if there is one."""
    path = results_folder() / slug / scale / "provenance.json"
    try:
        return files.read_json(path)["studies"][study]["cost"]
    except (OSError, KeyError, ValueError):
        return None


def forecast(
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


def published_efficiency(slug: str, study: Study) -> float | None:
    """Share of a core's matrix-product throughput that the published run of a study reached, if there is one."""
    cost = recorded(slug, "laptop", study.name)
    if cost is None or not cost["seconds_per_replicate"]:
        return None
    flops = shapes_of(slug, study, study.build(study.values("laptop")))["flops"]
    return flops / (cost["seconds_per_replicate"] * cost["calibration_gflops"] * 1e9) or None


def batches(replicates: Sequence[int], accelerator: bool) -> list[list[int]]:
    """Cut replicates into units of work: one each on a CPU, all together on accelerators."""
    if accelerator:
        return [list(replicates)] if replicates else []
    return [[number] for number in replicates]


def shapes_of(slug: str, study: Study, settings: Any) -> dict[str, Any]:
    """What one replicate takes, by shapes alone, see `core.abstract.Cost`; nothing is allocated."""
    import jax

    from core.abstract import AbstractLab

    jax.config.update("jax_platforms", "cpu")  # for this process alone: what the workers look for is decided elsewhere
    lab = AbstractLab()
    follow(slug, study, settings, lab)
    return {**dataclasses.asdict(lab.cost), "measured": len(lab.measured)}


def follow(slug: str, study: Study, settings: Any, lab: "AbstractLab") -> None:
    """Follow the trial of one replicate with shapes only; the lab keeps count."""
    import jax

    from core.contract import load_sheet, studies_of
    from core.keys import replicate_keys
    from core.settings import build, plain

    with jax.enable_x64(study.data.get("x64", False)):
        sheet = studies_of(load_sheet(slug))[study.name]
        typed = build(sheet.settings, plain(settings))
        keys = jax.eval_shape(lambda: replicate_keys(slug, study.name, [0]))
        if sheet.prepare is not None:
            lab.prepared = sheet.prepare(typed.prepared, keys, lab)
        sheet.trial(typed, keys, lab)


def memory_gib() -> float:
    """Memory that is free for new work, in GiB (infinite where the system does not say)."""
    path = Path("/proc/meminfo")
    if not path.exists():
        return float("inf")
    fields = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    return int(fields["MemAvailable"].split()[0]) / 2**20
