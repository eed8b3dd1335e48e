"""Processes that run what is named, one name a line, and answer with seconds: for peers in interpreters of their own.

Both sides are here; the side of the child needs nothing but the standard library.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any


class Served:
    """The parent's side of one process; `facts` is what the child told first, with its `runs` among them."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.command = list(command)
        self.process = subprocess.Popen(
            self.command,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.facts: dict[str, Any] = {}

    def ask(self, name: str) -> None:
        """Start what is called `name`."""
        assert self.process.stdin is not None
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        """What the child says next."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a process ended early; to see why: {' '.join(self.command)}")
        return json.loads(line)

    def close(self) -> None:
        """End the process by closing its input."""
        self.process.communicate(timeout=60)


def serve(runs: Mapping[str, Callable[[], Any]], facts: Mapping[str, Any]) -> None:
    """The child's side: tell the facts, then run what is named until the input ends."""
    print(json.dumps({"runs": list(runs), **facts}), flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        runs[line.strip()]()
        print(json.dumps(time.perf_counter() - started), flush=True)


def spread(values: Sequence[float], digits: int = 3) -> dict[str, float]:
    """Median, lowest and highest over the rounds."""
    found = {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}
    return {name: round(value, digits) for name, value in found.items()}


def command_line(description: str, rounds: int) -> argparse.ArgumentParser:
    """What a comparison with PyTorch is asked on the command line; `--work` is for the processes it starts."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter that has torch and numpy")
    parser.add_argument("--rounds", type=int, default=rounds, help="interleaved rounds")
    parser.add_argument("--cores", type=lambda text: [int(core) for core in text.split(",")], default=[0, 1])
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    return parser
