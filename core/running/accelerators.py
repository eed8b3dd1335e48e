"""Published peaks of some accelerators, for plans."""

from dataclasses import dataclass

from core.errors import unknown


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


def named(name: str) -> Accelerator:
    """An accelerator by its short name."""
    if name.lower() not in ACCELERATORS:
        raise unknown("accelerator", name, ACCELERATORS)
    return ACCELERATORS[name.lower()]
