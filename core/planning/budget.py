"""Which runs decide the most claims within some minutes: a knapsack, solved exactly."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class RunOption:
    """A run that could be made: what it costs, and how many claims it can decide."""

    name: str
    minutes: float
    claims: int


def choose_runs(options: Sequence[RunOption], minutes: float) -> list[RunOption]:
    """The offers that together decide the most claims in at most `minutes`; of equal ones the cheapest.

    For every number of claims the cheapest way to reach it is carried along, offer by offer; claims are few and whole,
    so nothing has to be rounded. Offers that decide nothing are never taken.
    """
    cheapest: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}
    for number, offer in enumerate(options):
        if not offer.claims:
            continue
        for claims, (spent, chosen) in sorted(cheapest.items(), reverse=True):
            reached, total = claims + offer.claims, spent + offer.minutes
            if total <= minutes and total < cheapest.get(reached, (float("inf"),))[0]:
                cheapest[reached] = (total, (*chosen, number))
    return [options[number] for number in cheapest[max(cheapest)][1]]
