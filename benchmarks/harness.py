"""What a benchmark is: a question, work of fixed size, and a way to measure. A comparison says peers, work, agreement
and unit; starting the peers, checking that they agree, taking turns, ratios, tables and provenance are written here."""

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from benchmarks.peers import LAYOUTS, SEPARATOR, Inputs, Peer, Run, Team, find_interpreter, start_teams
from benchmarks.results import Result, describe_origin, find_load, middle, short
from benchmarks.timing import ratios, take_turns

Tables = Mapping[str, Mapping[str, Any]]
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
      question: that its result answers.
      work: what is done, in a line; sizes in braces.
      sizes: of the work; `quick` replaces some by tiny ones, which say nothing about speed.
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

    def summary(self, tables: Tables) -> str:
        """The rows of the headline."""
        shown: dict[str, list[str]] = {}
        for title, row in self.headline:
            if (value := tables.get(title, {}).get(row)) is not None:
                shown.setdefault(title, []).append(f"{row} {short(middle(value))}")
        return "; ".join(f"{title}: {', '.join(rows)}" for title, rows in shown.items())


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
      draw: makes the arrays that all sides begin from, and may add to the sizes.
      tolerance: largest difference from the reference's result relative to its largest entry, by a text that the
        name of the result holds; the first that fits counts.
      layouts: ways to use the cores, of which each side's best counts.
      slow: seconds from which a run is measured in the first two rounds only.
      derive: further tables from the outcome.
    """

    unit: str
    draw: Callable[[SimpleNamespace], Inputs] = lambda _: {}
    tolerance: Mapping[str, float] = field(default_factory=lambda: {"": 1e-5})
    layouts: Sequence[str] = ("one process",)
    slow: float = math.inf
    derive: Callable[[Outcome], Tables] = lambda _: {}

    def measure(self, options: Options, result: Result) -> None:
        """Start the sides, refuse disagreement, time, and fill the result."""
        layouts = {name: LAYOUTS[name](options.cores) for name in self.layouts[: 1 if options.quick else None]}
        peers, inputs = choose_interpreters(self.peers, options, result), self.draw(options.sizes)
        with start_teams(self.name, peers, layouts, inputs, options.sizes) as teams:
            result.agreement |= check_agreement(teams, self.tolerance)
            for team in teams:
                result.versions |= team.sides[0].versions
            facts = {team.peer: team.sides[0].facts for team in reversed(teams)}
            runs = label_runs(teams, several_layouts=len(layouts) > 1)
            slow = {str(label): SLOW_ROUNDS for label, (*_, run) in runs.items() if run.first_seconds > self.slow}
            calls = {str(label): team_call(team, number) for label, (team, number, _) in runs.items()}
            times = take_turns(calls, options.rounds, slow)["rate"]
        rates = {label: times[str(label)] for label in runs}
        for label, (*_, run) in runs.items():
            result.add(f"{run.unit or self.unit}/s", {str(label): rates[label]})
        result.add(self.ratio_title, compare_rates(rates, self.peers[0].name))
        for title, rows in self.derive(Outcome(rates, facts, options.sizes)).items():
            result.add(title, rows)
        result.facts |= {name: fact for name, fact in facts.items() if fact}

    @property
    def ratio_title(self) -> str:
        """Of the table of ratios."""
        return f"{self.peers[0].name} is … times as fast as"

    def summary(self, tables: Tables) -> str:
        """The headline; without one, how many times as fast the reference is as each peer's best form, over the cases
        that count in the comparison's own unit."""
        best: dict[str, dict[str, Any]] = {}
        compared = tables.get(self.ratio_title, {})
        counted = {row.rpartition(": ")[0] for row in tables.get(f"{self.unit}/s", compared)}
        for row, value in compared.items():
            case, _, who = row.rpartition(": ")
            if case in counted:
                own = best.setdefault(who.partition(", ")[0], {})
                own[case] = min(own.get(case, value), value, key=middle)
        parts = []
        for name in (peer.name for peer in self.peers[1:] if peer.name in best):
            values = sorted(best[name].values(), key=middle)
            if len(values) > 1:
                range_of_cases = f"{short(middle(values[0]))} to {short(middle(values[-1]))}"
                parts.append(f"{range_of_cases} times as fast as {name} in {len(values)} cases")
            else:
                spread = f"{short(values[0]['lowest'])} to {short(values[0]['highest'])}"
                parts.append(f"{short(middle(values[0]))} ({spread}) times as fast as {name}")
        return super().summary(tables) or "; ".join(parts)


def label_runs(teams: Sequence[Team], several_layouts: bool) -> dict[Label, tuple[Team, int, Run]]:
    """All runs, those of a case together, each with its team and number there."""
    found = {}
    for team in teams:
        for number, run in enumerate(team.sides[0].runs):
            found[Label(run.case, team.peer, run.form, team.layout * several_layouts)] = team, number, run
    cases = list(dict.fromkeys(label.case for label in found))
    return dict(sorted(found.items(), key=lambda item: cases.index(item[0].case)))


def team_call(team: Team, number: int) -> Callable[[], dict[str, float]]:
    """One run of a team, to be taken in turn."""
    return lambda: {"rate": team.rate(number)}


def choose_interpreters(peers: Sequence[Peer], options: Options, result: Result) -> list[tuple[Peer, str | None]]:
    """The peers that can be started here, each with its interpreter; what is missing is noted."""
    found: list[tuple[Peer, str | None]] = []
    for peer in peers:
        python = find_interpreter(peer.libraries, options.pythons) if peer.foreign else sys.executable
        if python is None:
            result.left_out.append(peer.name)
            continue
        found.append((peer, None if options.quick and not (peer.foreign or peer.environment) else python))
    return found


def check_agreement(teams: Sequence[Team], tolerance: Mapping[str, float]) -> dict[str, float]:
    """The largest difference of every result from the reference's, relative to its largest entry; refused when large.

    The reference is the first team's first result of the case; a result may be its first rows only.
    """
    expected: dict[tuple[str, str], np.ndarray] = {}
    apart: dict[str, float] = {}
    for team in teams:
        for key, array in (pair for side in team.sides for pair in side.results.items()):
            case, form, part = key.split(SEPARATOR)
            if team is teams[0]:
                expected.setdefault((case, part), array)
            if (reference := expected.get((case, part))) is None:
                continue
            name = f"{case}: {', '.join(filter(None, (team.peer, form, part)))}"
            rows = slice(len(array)) if array.ndim else ...
            found = float(np.abs(array - reference[rows]).max() / np.abs(reference).max())
            allowed = next(value for text, value in tolerance.items() if text in name)
            if not found <= allowed:
                raise SystemExit(f"not the same work: {name} differs by {found:.1e} of the largest, over {allowed:g}")
            if reference is not array:
                apart[name] = max(apart.get(name, 0.0), found)
    return apart


def compare_rates(rates: Mapping[Label, Sequence[float]], reference: str) -> dict[str, list[float]]:
    """By row, how many times as fast the reference does the case in its plain form and best layout."""
    best: dict[str, Label] = {}
    for label in (label for label in rates if label.peer == reference and not label.form):
        best[label.case] = max(best.get(label.case, label), label, key=lambda one: float(np.median(rates[one])))
    others = [label for label in rates if label.case in best and (label.peer != reference or label.form)]
    return {str(label): ratios(rates[best[label.case]], rates[label]) for label in others}


def run_benchmark(benchmark: Benchmark, options: Options) -> Result:
    """Measure, with provenance."""
    result = Result(benchmark.name, benchmark.work.format(**vars(options.sizes)))
    before, begun = find_load(), time.perf_counter()
    benchmark.measure(options, result)
    result.provenance = describe_origin(result, options.rounds, options.cores, before, time.perf_counter() - begun)
    return result
