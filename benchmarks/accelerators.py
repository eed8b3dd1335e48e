"""Every paper's smoke rows on an accelerator beside the CPU's, and paper-scale steps per second and memory there.

    python -m benchmarks.accelerators               every paper, on the accelerators of this machine
    python -m benchmarks.accelerators ntk pfn       some of them
    python -m benchmarks.accelerators ntk --cpu 2   the script itself, on two virtual CPU devices

The default studies are performed in processes of their own: replicate by replicate on the CPU, under `vmap` and under
`pmap` on the accelerator. Rows lie apart where they differ by more than 2 % (of 1, where they are smaller); the exit
code is then 1. Steps per second are those of all replicates of a study together at paper scale, in the first long loop
once its program is warm. What was found is printed, and written to `benchmarks/results/accelerators.json`.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core import files
from core.errors import BadInput, EncoreError
from core.papers.config import load_config
from core.papers.config_files import all_slugs
from core.paths import project_root
from core.runs import provenance

RESULT = Path(__file__).parent / "results" / "accelerators.json"
TOLERANCE = 0.02  # of a row, relative, and absolute below 1: sums in another order, after some tens of steps
SECONDS = 1800.0
AXES = ("vmap", "pmap")
Rows = dict[str, float]


def compare_rows(expected: Rows, found: Rows, tolerance: float = TOLERANCE) -> tuple[list[str], float]:
    """Rows that differ by more than a tolerance, or are there once only; and the largest difference of the others.

    The difference of a row is |a - b| / max(1, |a|); equal infinities do not differ.
    """
    apart, largest = sorted(expected.keys() ^ found.keys()), 0.0
    for name in sorted(expected.keys() & found.keys()):
        a, b = expected[name], found[name]
        difference = 0.0 if a == b else abs(a - b) / max(1.0, abs(a)) if math.isfinite(a - b) else math.inf
        if difference > tolerance:
            apart.append(name)
        else:
            largest = max(largest, difference)
    return sorted(apart), largest


def measure(slug: str, study: str, axis: str, rate_scale: str) -> dict[str, Any]:
    """In this process: the rows of a study at smoke scale, and how fast its first long loop goes at another scale.

    Returns {"device", "devices", "rows", "steps_per_second", "gib"}; without a scale no speed.
    """
    import jax

    config = load_config(slug).studies[study]
    device = jax.local_devices()[0]
    with jax.enable_x64(config.form.x64), tempfile.TemporaryDirectory() as folder:
        lab = _lab(Path(folder) / "rows", config.replicates("smoke"), axis)
        _perform(slug, config, "smoke", lab)
        found: dict[str, Any] = {"device": device.device_kind, "devices": jax.local_device_count(), "rows": _rows(lab)}
        if rate_scale:
            found |= _rate(slug, config, rate_scale, axis, Path(folder) / "rate")
    return found


def _lab(folder: Path, replicates: int, axis: str, kind: Any = None) -> Any:
    from core.data import loading
    from core.lab.lab import Lab
    from core.lab.replicas import ReplicateAxis

    numbers = list(range(replicates))
    folders = [folder / str(number) for number in numbers]
    how = ReplicateAxis.choose(replicates, axis)
    return (kind or Lab)(numbers, folders, folder / "checkpoints", loading.load_data_set, how)


def _perform(slug: str, config: Any, scale: str, lab: Any) -> None:
    from core.lab.keys import preparation_key, replicate_keys
    from core.lab.trials import perform_trial
    from core.papers.contract import load_study

    study, settings = load_study(slug, config.name), config.build(config.values(scale))
    if study.prepare is not None:
        alone = _lab(lab.checkpoints / "prepared", 1, "loop")
        lab.prepared = study.prepare(settings.prepared, preparation_key(slug, config.name), alone)
    keys = replicate_keys(slug, config.name, lab.replicates)
    perform_trial(study.trial, settings, keys, lab, config.form.tune, config.form.arms)


def _rows(lab: Any) -> Rows:
    """Values by replicate, metric and conditions in words."""
    found = {}
    for number, rows in zip(lab.replicates, lab.rows, strict=True):
        for row in rows:
            about = sorted((name, value) for name, value in row.items() if name != "value")
            found[f"{number} " + " ".join(f"{name}={value}" for name, value in about)] = row["value"]
    return found


def _rate(slug: str, config: Any, scale: str, axis: str, folder: Path) -> dict[str, Any]:
    """Steps per second of all replicates together in the first long loop, warm, and the memory taken by then."""
    import jax

    from core.lab import debugging
    from core.planning.machine import peak_memory_gib

    class RateLab(debugging.TraceLab):
        """Times the blocks of steps that it would trace."""

        def _trace(self, loop: Any, keys: Any, state: Any, each: tuple, shared: tuple) -> list[str]:
            advance, progress, steps = self._warm(loop, keys, state, each, shared)
            started = time.perf_counter()
            for block in range(1, debugging.TRACED_BLOCKS + 1):
                progress = advance(progress, block)
            return [repr(debugging.TRACED_BLOCKS * steps * len(self.replicates) / (time.perf_counter() - started))]

    lab = _lab(folder, config.replicates(scale), axis, RateLab)
    lab.least_steps = 100 if scale == "paper" else 1
    speed = None
    try:
        _perform(slug, config, scale, lab)
    except debugging.Seen as seen:
        speed = float(seen.lines[0])
    taken = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return {"steps_per_second": speed, "gib": peak_memory_gib() if taken is None else taken / 2**30}


def measure_elsewhere(words: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """The same in a process with other devices. Raises EncoreError with its last line where that fails."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.accelerators", "--measure", *words],
        capture_output=True, text=True, timeout=SECONDS, env={**os.environ, **environment}, check=False,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    if done.returncode:
        raise EncoreError(f"{' '.join(words)}: {(done.stderr.strip().splitlines() or ['no answer'])[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def check_study(slug: str, study: str, accelerator: Mapping[str, str], scale: str) -> dict[str, Any]:
    """A study on the accelerator beside the CPU: rows apart under each axis, speed and memory at a scale."""
    expected = measure_elsewhere([slug, study, "loop", ""], {"JAX_PLATFORMS": "cpu"})["rows"]
    about: dict[str, Any] = {"rows": len(expected)}
    for axis in AXES:
        found = measure_elsewhere([slug, study, axis, scale], accelerator)
        apart, largest = compare_rows(expected, found["rows"])
        speed = {name: found.get(name) for name in ("device", "devices", "steps_per_second", "gib")}
        about[axis] = {**speed, "rows_apart": len(apart), "first_apart": apart[:3], "largest_within": largest}
    return about


def check_papers(slugs: Sequence[str], accelerator: Mapping[str, str], scale: str) -> dict[str, Any]:
    """Every default study of some papers, but those whose rows are seconds; printed as they come."""
    found: dict[str, Any] = {}
    for slug in slugs:
        for study in load_config(slug).select(None):
            if study.form.exclusive:
                continue
            try:
                about = check_study(slug, study.name, accelerator, scale)
            except EncoreError as error:
                about = {"failed": str(error)}
            found[f"{slug}/{study.name}"] = about
            print(f"{slug}/{study.name}: {json.dumps(about)}", flush=True)
    return found


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 1 where a row lies apart or a study fails."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accelerators", description=__doc__.splitlines()[0])
    parser.add_argument("papers", nargs="*", help="names of papers; by default all")
    parser.add_argument("--cpu", type=int, metavar="N", help="try the script on N virtual CPU devices; writes nothing")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    if given.measure:
        print(json.dumps(measure(*given.measure)))
        return 0
    if given.cpu:
        flags = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"--xla_force_host_platform_device_count={given.cpu}"}
        found = check_papers(given.papers or all_slugs(), flags, "smoke")
    else:
        import jax

        if jax.default_backend() == "cpu":
            raise BadInput("no accelerator is here: --cpu 2 tries the script on two virtual CPU devices")
        found = check_papers(given.papers or all_slugs(), {}, "paper")
        commit, dirty = provenance.git_state(project_root())
        files.write_json(RESULT, {"date": provenance.today(), "commit": commit, "dirty": dirty, "studies": found})
    bad = [name for name, each in found.items() if "failed" in each or any(each[x]["rows_apart"] for x in AXES)]
    print(f"{len(found)} studies, {len(bad)} with rows apart or failures: {', '.join(bad) or 'none'}")
    return int(bool(bad))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EncoreError as error:
        print(f"accelerators: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
