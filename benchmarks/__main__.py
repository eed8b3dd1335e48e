"""The command line of all benchmarks, and the table of them in `benchmarks/README.md`."""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

from benchmarks.harness import Benchmark, Options, run_benchmark
from benchmarks.results import print_result, read_result, was_busy, write_result
from core.errors import BadInput, EncoreError, unknown_name
from core.files import write_text

README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- table -->", "<!-- end of table -->"


def find_benchmarks() -> dict[str, Benchmark]:
    """All benchmarks by name: whatever the modules of this folder list in BENCHMARKS."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
    modules = [importlib.import_module(f"benchmarks.{name}") for name in names]
    return {each.name: each for module in modules for each in getattr(module, "BENCHMARKS", ())}


def make_table(benchmarks: Mapping[str, Benchmark]) -> str:
    """The table of all benchmarks with their newest results, as Markdown."""
    lines = ["| benchmark | question | beside | newest result |", "| --- | --- | --- | --- |"]
    for name, benchmark in benchmarks.items():
        content = read_result(name) or {}
        about = content.get("provenance", {})
        says = benchmark.summary(content.get("tables", {})) or "none"
        origin = [about.get("date"), about.get("commit", "")[:8], "busy machine" if was_busy(about) else ""]
        when = f" ({', '.join(filter(None, origin))})" if any(origin) else ""
        beside = ", ".join(peer.name for peer in benchmark.peers[1:])
        lines.append(f"| `{name}` | {benchmark.question} | {beside} | {says}{when} |")
    return "\n".join(lines)


def with_table(text: str, table: str) -> str:
    """A text with the table between its marks."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}"


def choose_sizes(benchmark: Benchmark, quick: bool, words: Sequence[str]) -> SimpleNamespace:
    """The sizes of the work, some replaced by `name=value` words; plain data, as it comes out of JSON."""
    sizes = {**benchmark.sizes, **(benchmark.quick if quick else {})}
    for name, _, text in (word.partition("=") for word in words):
        if name not in sizes:
            raise unknown_name(f"size of {benchmark.name}", name, sizes)
        try:
            sizes[name] = json.loads(text)
        except ValueError:
            raise BadInput(f"--size {name}: '{text}' is not JSON") from None
    return SimpleNamespace(**json.loads(json.dumps(sizes)))


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Benchmarks: see benchmarks/README.md.")
    parser.add_argument("name", nargs="?", help="of the benchmark")
    parser.add_argument("--rounds", type=int, help="interleaved rounds")
    parser.add_argument("--peer-python", action="append", default=[], metavar="PATH", help="interpreter of a peer")
    parser.add_argument("--cores", type=lambda text: [int(core) for core in text.split(",")], help="such as 0,1")
    parser.add_argument(
        "--size", action="append", default=[], metavar="NAME=JSON", help="another size: nothing is kept"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs: nothing is kept")
    parser.add_argument("--show", action="store_true", help="print the result that is kept")
    parser.add_argument("--list", action="store_true", help="list all benchmarks")
    parser.add_argument("--table", action="store_true", help="bring the table in benchmarks/README.md up to date")
    return parser.parse_args(words)


def run_command(given: argparse.Namespace) -> None:
    """Do what was asked for."""
    benchmarks = find_benchmarks()
    if given.table:
        write_text(README, with_table(README.read_text(encoding="utf-8"), make_table(benchmarks)))
    elif given.list or not given.name:
        print("\n".join(f"{name:20}{benchmark.question}" for name, benchmark in benchmarks.items()))
    elif given.name not in benchmarks:
        raise unknown_name("benchmark", given.name, benchmarks)
    elif given.show:
        print_result(read_result(given.name) or {"work": "no result is kept", "provenance": {}})
    else:
        measure(benchmarks[given.name], given)


def measure(benchmark: Benchmark, given: argparse.Namespace) -> None:
    """Run a benchmark, print its result, and keep it where it can be compared."""
    sizes = choose_sizes(benchmark, given.quick, given.size)
    rounds = given.rounds or (1 if given.quick else benchmark.rounds)
    cores = given.cores or sorted(os.sched_getaffinity(0))
    result = run_benchmark(benchmark, Options(sizes, rounds, cores, given.peer_python, given.quick))
    print_result(result.content())
    reasons = ["tiny sizes, not comparable"] * given.quick + ["other sizes"] * bool(given.size)
    reasons += [f"no --peer-python can import what {peer} needs" for peer in result.left_out]
    print(
        f"\nnot kept: {', '.join(reasons)}" if reasons else f"\nkept as benchmarks/results/{write_result(result).name}"
    )


def main(words: Sequence[str]) -> int:
    """Run the command; an error is one line."""
    try:
        run_command(parse(words))
    except EncoreError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
