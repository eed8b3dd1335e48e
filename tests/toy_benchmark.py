"""A comparison of two ways to add numbers, which need no heavy library, for tests of the harness."""

import time
from types import SimpleNamespace

import numpy as np

from benchmarks.harness import Comparison
from benchmarks.peers import Inputs, Peer, Work


def build_sum(work: Work, inputs: Inputs) -> None:
    """All at once."""
    print("what a library says is not part of the protocol")
    work.add("sum", lambda: inputs["x"].sum(), len(inputs["x"]), result=lambda total: total)
    work.facts["threads"] = work.threads


def build_loop(work: Work, inputs: Inputs) -> None:
    """With a pause; wrong where the sizes say so."""

    def add() -> float:
        time.sleep(0.01)
        return float(sum(inputs["x"])) + work.sizes.error

    work.add("sum", add, len(inputs["x"]), form="slow", result=lambda total: total)


def build_broken(work: Work, inputs: Inputs) -> None:
    """Ends before it begins."""
    raise ValueError(f"{len(inputs)} arrays are too few")


def draw(sizes: SimpleNamespace) -> Inputs:
    """Some numbers."""
    return {"x": np.arange(1.0, sizes.count)}


def toy(name: str, *others: Peer, layouts: tuple[str, ...] = ("one process",)) -> Comparison:
    """A comparison with the plain sum."""
    return Comparison(
        name=name,
        question="Which is faster?",
        work="{count} numbers",
        sizes={"count": 10, "error": 0.0},
        unit="numbers",
        peers=(Peer("encore", build_sum, ("numpy",)), *others),
        draw=draw,
        tolerance={"": 1e-6},
        layouts=layouts,
    )


LOOP = Peer("loop", build_loop, ("numpy",))
ABSENT = Peer("absent", build_loop, ("no_such_library",), foreign=True)
BENCHMARKS = (
    toy("sums", LOOP, layouts=("pinned", "one process")),
    toy("alone"),
    toy("lonely", ABSENT),
    toy("broken", Peer("broken", build_broken, ("numpy",))),
)
