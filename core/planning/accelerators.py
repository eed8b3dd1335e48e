"""Published peaks of some accelerators, for plans, and the time that counted operations take on them."""

from dataclasses import dataclass

from core.errors import unknown_name

# Launching the kernels of one compiled step takes about this long, however small they are.
STEP_SECONDS = 50e-6


@dataclass(frozen=True)
class Accelerator:
    """One accelerator as its data sheet describes it: dense peak at the precision named, and memory."""

    title: str
    teraflops: float
    precision: str
    gib: float


# Dense (not sparse) peaks of the makers' data sheets, at the precision that float32 programs use by default.
ACCELERATORS = {
    "t4": Accelerator("NVIDIA T4", 8.1, "float32", 16),
    "a100": Accelerator("NVIDIA A100 80 GB", 156, "tensorfloat32", 80),
    "h100": Accelerator("NVIDIA H100 SXM", 495, "tensorfloat32", 80),
    "rtx4090": Accelerator("NVIDIA GeForce RTX 4090", 82.6, "float32", 24),
    "v4": Accelerator("Google TPU v4", 275, "bfloat16", 32),
    "v5e": Accelerator("Google TPU v5e", 197, "bfloat16", 16),
}


def find_accelerator(name: str) -> Accelerator:
    """An accelerator by its short name."""
    if name.lower() not in ACCELERATORS:
        raise unknown_name("accelerator", name, ACCELERATORS)
    return ACCELERATORS[name.lower()]


@dataclass(frozen=True)
class Fleet:
    """Some accelerators of one kind, of whose peak the share `efficiency` is reached."""

    accelerator: Accelerator
    count: int = 1
    efficiency: float = 0.3

    def replicates_per_device(self, replicates: int) -> int:
        """Replicates of the fullest device: each is computed on one device, beside the others there."""
        return -(-replicates // self.count)

    def study_minutes(self, replicates: int, flops: float, steps: int) -> float:
        """Wall-clock time of a study with `flops` operations and `steps` steps in each replicate."""
        if not replicates:
            return 0.0
        # t = max(R/D · F / (e · peak), steps · launch)
        computing = (
            self.replicates_per_device(replicates) * flops / (self.efficiency * self.accelerator.teraflops * 1e12)
        )
        return max(computing, steps * STEP_SECONDS) / 60

    def gib_per_device(self, replicates: int, peak_bytes: int) -> float:
        """Memory of the fullest device: arrays of its replicates, without what a step computes in between."""
        return self.replicates_per_device(replicates) * peak_bytes / 2**30
