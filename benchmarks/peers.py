"""The sides of a comparison: what each does, in processes of its own or in this one.

A foreign interpreter needs numpy and its library, nothing of ours: this module and those of the comparisons import what
is heavy where it is used.
"""

import contextlib
import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

Inputs = dict[str, np.ndarray]
ROOT = Path(__file__).resolve().parents[1]
SEPARATOR = "; "  # between case, form and part in the name of a result

# How a peer uses the cores it is given: the cores of each of its processes, which work at the same time.
LAYOUTS: dict[str, Callable[[list[int]], list[list[int]]]] = {
    "pinned": lambda cores: [[core] for core in cores],  # single-threaded processes, as `encore run` works
    "one process": lambda cores: [cores],  # with a thread for each core
    "one core": lambda cores: [cores[-1:]],
}


@dataclass(frozen=True)
class Run:
    """One thing to be timed, which does `amount` of `unit` (where empty: the comparison's own unit)."""

    case: str
    form: str
    unit: str
    amount: float
    first_seconds: float


class Work:
    """What one side does: runs to be timed, results to be compared, and facts about them."""

    def __init__(self, sizes: SimpleNamespace, threads: int = 1) -> None:
        self.sizes, self.threads = sizes, threads
        self.runs: list[Run] = []
        self.results: Inputs = {}
        self.facts: dict[str, Any] = {}
        self.versions: dict[str, str] = {}
        self._calls: list[Callable[[], Any]] = []
        self._seconds = 0.0

    def add(
        self,
        case: str,
        call: Callable[[], Any],
        amount: float = 1.0,
        unit: str = "",
        form: str = "",
        result: Callable[[Any], Any] | None = None,
    ) -> None:
        """Have `call`, a form of a case, timed as doing `amount` of `unit`, after it is performed once, now; `result`
        turns what it returns into what is compared."""
        begun = time.perf_counter()
        returned = call()
        self.runs.append(Run(case, form, unit, float(amount), time.perf_counter() - begun))
        self._calls.append(call)
        if result is not None:
            self.compare(case, result(returned), form)

    def compare(self, case: str, value: Any, form: str = "") -> None:
        """Keep an array, its first rows, or several arrays by name, to be held against the reference's."""
        for part, array in (value if isinstance(value, dict) else {"": value}).items():
            self.results[SEPARATOR.join((case, form, part))] = np.asarray(array)

    def start(self, number: int) -> None:
        """Perform a run."""
        begun = time.perf_counter()
        self._calls[number]()
        self._seconds = time.perf_counter() - begun

    def seconds(self) -> float:
        """How long it took."""
        return self._seconds


def ready(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    """A call of a compiled function of jax that waits for its outputs."""
    import jax

    return lambda: jax.block_until_ready(function(*arguments))


@dataclass(frozen=True)
class Peer:
    """One side of a comparison.

    Attributes:
      build: `build(work, inputs)` adds its runs.
      libraries: what its interpreter must be able to import; their versions are kept with the result.
      foreign: whether it needs an interpreter that the command line names.
      environment: variables of its processes.
    """

    name: str
    build: Callable[[Work, Inputs], None]
    libraries: tuple[str, ...] = ("jax",)
    foreign: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    def work(self, inputs: Inputs, sizes: SimpleNamespace, threads: int = 1) -> Work:
        """What it does, in this process."""
        work = Work(sizes, threads)
        self.build(work, inputs)
        work.versions = {name: importlib.metadata.version(name) for name in self.libraries}
        return work


class ProcessSide:
    """The parent's end of a side in a process of its own, which is used as `Work` is."""

    def __init__(self, benchmark: str, peer: Peer, python: str, cores: list[int], folder: Path) -> None:
        from core.running.worker_pool import worker_environment

        environment = {**worker_environment(accelerator=False, single=len(cores) == 1), **peer.environment}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment["PYTHONPATH"]])
        if peer.foreign:
            del environment["JAX_COMPILATION_CACHE_DIR"]  # its jax is another one
        module, own = getattr(peer.build, "func", peer.build).__module__, tempfile.mkdtemp(dir=folder)
        words = [module, benchmark, peer.name, str(folder), own, ",".join(map(str, cores))]
        self.name, self.log = peer.name, Path(own) / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [python, "-m", "benchmarks.peers", *words],
                env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        told = self._answer()
        self.runs = [Run(**run) for run in told["runs"]]
        self.facts, self.versions = told["facts"], told["versions"]
        with np.load(Path(own) / "results.npz") as arrays:
            self.results = dict(arrays)

    def start(self, number: int) -> None:
        """Begin a run."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{number}\n")
        self.process.stdin.flush()

    def seconds(self) -> float:
        """How long it took, once it is done."""
        return float(self._answer())

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        if line := self.process.stdout.readline():
            return json.loads(line)
        self.close()
        said = self.log.read_text(encoding="utf-8").strip().splitlines() or ["it said nothing"]
        raise SystemExit(f"{self.name} ended early: {said[-1]}")

    def close(self) -> None:
        """End the process by closing its input."""
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate(timeout=60)


@dataclass
class Team:
    """A peer in one layout: its processes do the same run at the same time."""

    peer: str
    layout: str
    sides: list[Work | ProcessSide]

    def rate(self, number: int) -> float:
        """Units of work per second, summed over the processes."""
        for side in self.sides:
            side.start(number)
        return sum(side.runs[number].amount / side.seconds() for side in self.sides)


@contextlib.contextmanager
def start_teams(
    benchmark: str,
    peers: Sequence[tuple[Peer, str | None]],
    layouts: Mapping[str, list[list[int]]],
    inputs: Inputs,
    sizes: SimpleNamespace,
) -> Generator[list[Team]]:
    """Every peer in every layout, warm, started one after the other; each by its interpreter, None for this process."""
    teams: list[Team] = []
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        write_arrays(folder / "inputs.npz", inputs)
        (folder / "sizes.json").write_text(json.dumps(vars(sizes)), encoding="utf-8")
        for layout, shares in layouts.items():
            for peer, python in peers:
                teams.append(team := Team(peer.name, layout, []))
                if python is None:
                    team.sides.append(peer.work(inputs, sizes))
                    continue
                for cores in shares:
                    team.sides.append(side := ProcessSide(benchmark, peer, python, cores, folder))
                    stack.callback(side.close)
        yield teams


def write_arrays(path: Path, arrays: Any) -> None:
    """Write arrays by name."""
    np.savez(path, **arrays)


def find_interpreter(libraries: Sequence[str], pythons: Sequence[str]) -> str | None:
    """The first interpreter that can import all libraries."""
    for python in pythons:
        command = [python, "-c", "import " + ", ".join(libraries)]
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            if subprocess.run(command, capture_output=True, timeout=120, check=False).returncode == 0:
                return python
    return None


def serve(module: str, benchmark: str, name: str, folder: str, own: str, cores: str) -> None:
    """The child's end: tell what can be run, then run what is asked for until the input ends."""
    used = [int(core) for core in cores.split(",")]
    os.sched_setaffinity(0, used)  # before any library counts the cores
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is for the log
    [declared] = [each for each in importlib.import_module(module).BENCHMARKS if each.name == benchmark]
    [peer] = [each for each in declared.peers if each.name == name]
    sizes = SimpleNamespace(**json.loads((Path(folder) / "sizes.json").read_text(encoding="utf-8")))
    with np.load(Path(folder) / "inputs.npz") as arrays:
        work = peer.work(dict(arrays), sizes, len(used))
    write_arrays(Path(own) / "results.npz", work.results)
    about = {"runs": [asdict(run) for run in work.runs], "facts": work.facts, "versions": work.versions}
    print(json.dumps(about), file=answers, flush=True)
    for line in sys.stdin:
        work.start(int(line))
        print(work.seconds(), file=answers, flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
