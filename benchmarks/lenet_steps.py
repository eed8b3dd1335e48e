"""Updates per second of LeNet-300-100, ours against PyTorch and against the bare matrix products of one update.

    python -m benchmarks.lenet_steps [--torch-python PATH] [--rounds 9] [--cores 0,1]

Every arrangement does the same work, 784-300-100-10 with batch 60, masked gradients and Adam, from the same values on
the same batches, and their losses are compared before anything is timed. The arrangements have the same two cores:
two single-threaded processes pinned to a core each, as `encore run` works, or one process with two threads. They take
turns within a round, warm, and rates add up over processes. The matrix products are timed at the shapes of one update,
forward and backward, each in a compiled loop of its own in the same pinned processes.

PyTorch is needed only here, by the interpreter that `--torch-python` names (`pip install torch==2.13.0`).
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.lenet_work import BATCH, UPDATES, flops_of_products, write_inputs
from benchmarks.served import Served, spread
from core.files import write_json
from core.running.worker_pool import worker_environment
from core.runs.provenance import collect_provenance

TOLERANCE = 5e-3  # of the loss after UPDATES updates: float32 sums taken in another order drift apart
PAUSE = 0.1  # seconds between two runs, for idle threads to fall asleep
RESULT = Path(__file__).parent / "results" / "lenet_steps.json"


class Team:
    """Processes that do the same work at the same time, each on its own share of the cores."""

    def __init__(self, kind: str, python: str, folder: Path, shares: Sequence[Sequence[int]]) -> None:
        variables = [worker_environment(accelerator=False, single_threaded=len(share) == 1) for share in shares]
        self.processes = [
            Served(
                [python, "-m", "benchmarks.lenet_work", kind, str(folder), ",".join(map(str, share))],
                own | {"TORCHINDUCTOR_COMPILE_THREADS": "1"},
            )
            for share, own in zip(shares, variables, strict=True)
        ]
        self.facts = [process.answer() for process in self.processes]

    def rate(self, name: str) -> float:
        """Updates (or products) per second, summed over the processes, in one run of UPDATES."""
        for process in self.processes:
            process.ask(name)
        rate = sum(UPDATES / process.answer() for process in self.processes)
        time.sleep(PAUSE)
        return rate

    def close(self) -> None:
        """End the processes."""
        for process in self.processes:
            process.close()


def assert_agreement(teams: dict[str, Team]) -> list[float]:
    """Lowest and highest loss after UPDATES updates; refused when they are not those of the same work."""
    losses = [loss for team in teams.values() for facts in team.facts for loss in facts["losses"].values()]
    if max(losses) - min(losses) > TOLERANCE * max(losses):
        raise SystemExit(f"the arrangements do not do the same work: their losses are {min(losses)} to {max(losses)}")
    return [min(losses), max(losses)]


def measured(teams: dict[str, Team], rounds: int) -> dict[str, list[float]]:
    """The rate of every run of every team in every round, the runs taking turns within a round."""
    rates: dict[str, list[float]] = {}
    for _ in range(rounds):
        for where, team in teams.items():
            for name in team.facts[0]["runs"]:
                rates.setdefault(f"{name} ({where})", []).append(team.rate(name))
    return rates


def summary(rates: dict[str, list[float]], flops: float) -> dict[str, Any]:
    """What the rates say; ratios are formed round by round."""
    ours, *others = rates
    amounts = dict(zip(others, flops_of_products().values(), strict=False))  # the products come right after ours
    peers = others[len(amounts) :]
    best = max(peers, key=lambda name: statistics.median(rates[name]))
    total = sum(amounts.values())
    gflops = [1e-9 * total / sum(1 / rates[name][r] for name in amounts) for r in range(len(rates[ours]))]
    return {
        "updates_per_second": {name: spread(rates[name], 1) for name in (ours, *peers)},
        "gflops": {name: spread([1e-9 * amount * rate for rate in rates[name]], 1) for name, amount in amounts.items()},
        "gflops_of_all_products": spread(gflops, 1),
        "gflops_of_an_update": spread([1e-9 * flops * rate for rate in rates[ours]], 1),
        "share_of_the_products": spread([1e-9 * flops * a / b for a, b in zip(rates[ours], gflops, strict=True)]),
        "best_torch": best,
        "ours_to_best_torch": spread([a / b for a, b in zip(rates[ours], rates[best], strict=True)]),
    }


def print_table(found: dict[str, Any]) -> None:
    """The same for people."""
    lines = {f"updates/s, {name}": values for name, values in found["updates_per_second"].items()}
    lines |= {f"GFLOP/s, {name}": values for name, values in found["gflops"].items()}
    lines["GFLOP/s, all products of an update"] = found["gflops_of_all_products"]
    lines["GFLOP/s, an update of ours"] = found["gflops_of_an_update"]
    lines["an update / all products"] = found["share_of_the_products"]
    lines[f"ours / {found['best_torch']}"] = found["ours_to_best_torch"]
    print(f"{found['work']}\n{'':72}{'median':>9}{'lowest':>9}{'highest':>9}")
    for name, values in lines.items():
        print(f"{name:72}" + "".join(f"{value:9.2f}" for value in values.values()))


def main() -> None:
    """Compare, print a table, and keep it as JSON."""
    parser = argparse.ArgumentParser(description="LeNet-300-100: updates per second against PyTorch.")
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter that has torch and numpy")
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds")
    parser.add_argument("--cores", type=lambda text: [int(core) for core in text.split(",")], default=[0, 1])
    given = parser.parse_args()
    apart, together = [[core] for core in given.cores], [given.cores]
    teams: dict[str, Team] = {}
    with tempfile.TemporaryDirectory() as name:
        write_inputs(Path(name))
        try:
            teams["pinned"] = Team("jax", sys.executable, Path(name), apart)
            teams["torch, pinned"] = Team("torch", given.torch_python, Path(name), apart)
            teams["torch, two threads"] = Team("torch", given.torch_python, Path(name), together)
            losses, started = assert_agreement(teams), time.perf_counter()
            found = summary(measured(teams, given.rounds), teams["pinned"].facts[0]["flops"])
        finally:
            for team in teams.values():
                team.close()
    provenance = collect_provenance(seconds=time.perf_counter() - started, peak_gib=0.0)
    found = {
        "work": f"LeNet-300-100, batch {BATCH}, masked, Adam: {UPDATES} updates a run, {given.rounds} rounds",
        "cpu": provenance["device"]["cpu"],
        "cores": len(given.cores),
        "versions": {"jax": teams["pinned"].facts[0]["version"], "torch": teams["torch, pinned"].facts[0]["version"]},
        "commit": provenance["commit"],
        "flops_of_an_update": teams["pinned"].facts[0]["flops"],
        "losses": losses,
        "not_possible": teams["torch, pinned"].facts[0]["failed"],
        **found,
    }
    write_json(RESULT, found)
    print_table(found)


if __name__ == "__main__":
    main()
