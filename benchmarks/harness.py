"""What a benchmark is: a question, work of fixed size, and a way to measure. A comparison says peers, work, agreement
and unit; starting the peers, checking that they agree, taking turns, ratios, tables and provenance are written here."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from benchmarks.peers import LAYOUTS, PACKAGES, SEPARATOR, Inputs, Peer, Run, Team, find_interpreter, start_teams
from benchmarks.results import Result, describe_origin, find_load, middle
from benchmarks.timing import ratios, take_turns

SLOW_ROUNDS = 2


@dataclass(frozen=True)
class Options:
    """How a benchmark is asked for: `quick` runs tiny sizes, the peers that are ours in this process."""

    sizes: SimpleNamespace
    rounds: int
    cores: list[int]
    pythons: list[str]
    quick: bool = False


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What all benchmarks declare.

    Attributes:
      question: that its result answers, one sentence.
      work: what is done, in a line; sizes in braces.
      sizes: of the work; `quick` replaces some of them by tiny ones, which say nothing about speed.
      rounds: in which everything that is compared takes its turn.
      peers: the sides of a comparison, the reference first.
      headline: the rows, by title of the table and name, that the list of benchmarks shows.
    """

    name: str
    question: str
    work: str
    sizes: Mapping[str, Any] = field(default_factory=dict)
    quick: Mapping[str, Any] = field(default_factory=dict)
    rounds: int = 5
    peers: tuple[Peer, ...] = ()
    headline: tuple[tuple[str, str], ...] = ()

    def measure(self, options: Options, result: Result) -> None:
        """Fill the result."""
        raise NotImplementedError

    def summary(self, tables: Mapping[str, Mapping[str, Any]]) -> str:
        """The rows of the headline."""
        shown = [(title, row, tables.get(title, {}).get(row)) for title, row in self.headline]
        return "; ".join(f"{row} {middle(value):.3g} {title}" for title, row, value in shown if value is not None)


@dataclass(frozen=True, kw_only=True)
class Measurement(Benchmark):
    """A benchmark of the product itself: `perform(options, result)` adds the tables."""

    perform: Callable[[Options, Result], None]

    def measure(self, options: Options, result: Result) -> None:
        """Fill the result."""
        self.perform(options, result)


class Label(NamedTuple):
    """One row: a case, who does it, in which of its forms, and how it uses the cores."""

    case: str
    peer: str
    form: str = ""
    layout: str = ""

    def __str__(self) -> str:
        return f"{self.case}: {', '.join(filter(None, self[1:]))}"


class Outcome(NamedTuple):
    """What a comparison measured: units of work per second by row and round, facts by peer, sizes."""

    rates: dict[Label, list[float]]
    facts: dict[str, dict[str, Any]]
    sizes: SimpleNamespace


@dataclass(frozen=True, kw_only=True)
class Comparison(Benchmark):
    """A benchmark that times several sides at the same work, once their results agree.

    Attributes:
      unit: of the work that is counted, in the plural.
      draw: makes the arrays that all sides begin from.
      tolerance: largest difference from the reference's result relative to its largest entry, by a text that the
        name of the result holds; the first that fits counts.
      layouts: ways to use the cores, of which each side's best counts.
      slow: seconds from which a run is measured in the first two rounds only.
      derive: further tables from the outcome: values of the rounds, or one number, by title and row.
    """

    unit: str
    draw: Callable[[SimpleNamespace], Inputs] = lambda _: {}
    tolerance: Mapping[str, float] = field(default_factory=lambda: {"": 1e-5})
    layouts: Sequence[str] = ("one process",)
    slow: float = math.inf
    derive: Callable[[Outcome], Mapping[str, Mapping[str, Sequence[float] | float]]] = lambda _: {}

    def measure(self, options: Options, result: Result) -> None:
        """Start the sides, refuse disagreement, time, and fill the result."""
        layouts = {name: LAYOUTS[name](options.cores) for name in self.layouts}
        peers, inputs = choose_interpreters(self.peers, options, result), self.draw(options.sizes)
        with start_teams(self.name, peers, layouts, inputs, options.sizes) as teams:
            result.agreement |= check_agreement(teams, self.tolerance)
            runs: dict[Label, tuple[Team, int, Run]] = {}
            for team in teams:
                result.versions |= team.sides[0].versions
                for number, run in enumerate(team.sides[0].runs):
                    layout = team.layout if len(layouts) > 1 else ""
                    runs[Label(run.case, team.peer, run.form, layout)] = team, number, run
            runs = dict(
                sorted(runs.items(), key=lambda item: [run.case for *_, run in runs.values()].index(item[0].case))
            )
            limits = {str(label): SLOW_ROUNDS for label, (*_, run) in runs.items() if run.first_seconds > self.slow}
            calls = {
                str(label): lambda team=team, number=number: {"rate": team.rate(number)}
                for label, (team, number, _) in runs.items()
            }
            by_text = take_turns(calls, options.rounds, limits).get("rate", {})
            facts = {team.peer: team.sides[0].facts for team in reversed(teams)}
        rates = {label: by_text[str(label)] for label in runs}
        for label, (*_, run) in runs.items():
            result.add(f"{run.unit or self.unit}/s", {str(label): rates[label]})
        if compared := compare_rates(rates, self.peers[0].name):
            result.add(self.ratio_title, compared)
        for title, rows in self.derive(Outcome(rates, facts, options.sizes)).items():
            result.add(title, rows)
        result.facts |= {name: fact for name, fact in facts.items() if fact}

    @property
    def ratio_title(self) -> str:
        """Of the table of ratios."""
        return f"{self.peers[0].name} is … times as fast as"

    def summary(self, tables: Mapping[str, Mapping[str, Any]]) -> str:
        """The headline, or how many times as fast the reference is as the best form of each peer, over the cases."""
        best: dict[str, dict[str, Any]] = {}
        for row, value in tables.get(self.ratio_title, {}).items():
            case, _, form = row.rpartition(": ")
            own = best.setdefault(form.partition(", ")[0], {})
            own[case] = min(own.get(case, value), value, key=middle)
        parts = []
        for peer in (peer.name for peer in self.peers[1:] if peer.name in best):
            low, *_, high = sorted(map(middle, best[peer].values())) * 2
            [only, *more] = best[peer].values()
            about = f" in {len(best[peer])} cases" if more else f" ({only['lowest']:.3g} to {only['highest']:.3g})"
            parts.append(f"{low:.3g}{f' to {high:.3g}' if more else ''} times {peer}{about}")
        return super().summary(tables) or "; ".join(parts)


def choose_interpreters(peers: Sequence[Peer], options: Options, result: Result) -> list[tuple[Peer, str | None]]:
    """The peers that can be started here, each with its interpreter; what is missing is said."""
    import sys

    found: list[tuple[Peer, str | None]] = []
    for peer in peers:
        python = find_interpreter(peer.libraries, options.pythons) if peer.foreign else sys.executable
        if python is None:
            result.left_out.append(peer.name)
            library = next(name for name in peer.libraries if name in PACKAGES)
            print(f"without {peer.name}: no --peer-python that has it; make one by --install {library} FOLDER")
        else:
            found.append((peer, None if options.quick and not (peer.foreign or peer.environment) else python))
    return found


def check_agreement(teams: Sequence[Team], tolerance: Mapping[str, float]) -> dict[str, float]:
    """The largest difference of every result from the reference's, relative to its largest entry; refused when large.

    The reference of a case is the first team's, in its plain form; a result may be its first rows only.
    """
    expected = {}
    for key, array in teams[0].sides[0].results.items():
        case, _, part = key.split(SEPARATOR)
        expected.setdefault((case, part), array.astype(float))
    apart: dict[str, float] = {}
    for team in teams:
        for side in team.sides:
            for key, array in side.results.items():
                case, form, part = key.split(SEPARATOR)
                if (case, part) not in expected:
                    continue
                reference = expected[case, part][: len(array)] if array.ndim else expected[case, part]
                name = f"{case}: {', '.join(filter(None, (team.peer, form, part)))}"
                found = float(np.abs(array - reference).max() / np.abs(reference).max())
                allowed = next(value for text, value in tolerance.items() if text in name)
                if not found <= allowed:
                    raise SystemExit(
                        f"not the same work: {name} differs by {found:.1e} of the largest, over {allowed:g}"
                    )
                if team.peer != teams[0].peer or form:
                    apart[name] = float(f"{max(apart.get(name, 0.0), found):.1e}")
    return apart


def compare_rates(rates: Mapping[Label, Sequence[float]], reference: str) -> dict[str, list[float]]:
    """By row, how many times as fast the reference does the case in its plain form and best layout."""
    best: dict[str, Label] = {}
    for label in (label for label in rates if label.peer == reference and not label.form):
        best[label.case] = max(best.get(label.case, label), label, key=lambda one: np.median(rates[one]))
    others = [label for label in rates if label.case in best and (label.peer != reference or label.form)]
    return {str(label): ratios(rates[best[label.case]], rates[label]) for label in others}


def run_benchmark(benchmark: Benchmark, options: Options) -> Result:
    """Measure, with provenance."""
    result = Result(benchmark.name, benchmark.work.format(**vars(options.sizes)))
    before, begun = find_load(), time.perf_counter()
    benchmark.measure(options, result)
    result.provenance = describe_origin(result, options.rounds, options.cores, before, time.perf_counter() - begun)
    return result
