"""This machine: cores, free memory, speed, and whether an accelerator is used."""

import os
import resource
import sys
import time
from pathlib import Path

from core.errors import BadInput

CALIBRATION_SECONDS = 0.3
ACCELERATOR_FILES = ("/dev/nvidia0", "/dev/accel0", "/dev/kfd", "/dev/vfio/0")


def measure_gflops() -> float:
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


def free_memory_gib() -> float:
    """Memory that is free for new work, in GiB (infinite where the system does not say)."""
    path = Path("/proc/meminfo")
    if not path.exists():
        return float("inf")
    fields = dict(line.split(":", 1) for line in path.read_text(encoding="utf-8").splitlines() if ":" in line)
    return int(fields["MemAvailable"].split()[0]) / 2**20


def peak_memory_gib() -> float:
    """The most memory that this process has held at a time, in GiB."""
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def use_accelerator(device: str) -> bool:
    """Whether workers should look for an accelerator; decided without loading any driver."""
    return device == "accelerator" if device != "auto" else has_accelerator()


def has_accelerator() -> bool:
    """Whether this machine shows an accelerator, or JAX_PLATFORMS names one first."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms:
        return platforms.split(",")[0] != "cpu"
    return any(Path(path).exists() for path in ACCELERATOR_FILES)


def check_device(device: str) -> None:
    """Raise BadInput where an accelerator is asked for that this machine does not show."""
    if device == "accelerator" and not has_accelerator():
        platforms = os.environ.get("JAX_PLATFORMS", "")
        why = f"JAX_PLATFORMS={platforms} leaves none" if platforms else f"none of {', '.join(ACCELERATOR_FILES)}"
        raise BadInput(f"device=accelerator: this machine shows none ({why}): device=cpu, or name it in JAX_PLATFORMS")


def available_cores() -> list[int]:
    """The processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
