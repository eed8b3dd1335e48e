"""Points of a sweep that stop early: a rule of Optuna's compares their means after every replicate.

A point is compared with the others on the same number of replicates, and replicates of one number have the same seeds:
like with like, whatever the paper measures while it trains. What a pruned point has computed is kept; a sweep without a
pruner goes on with it.
"""

import dataclasses
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from core.errors import BadInput, unknown_name
from core.launch.compose import Launch
from core.launch.jobs import make_job
from core.planning.machine import available_cores
from core.running import execute
from core.runs import sweep_folder
from core.runs.sweep_folder import Sweep, SweepPoint
from core.sweeps.objective import Objective

NONE = "none"
PRUNERS = (NONE, "median", "halving")
WARMUP_POINTS = 4  # finished points before a median is taken for one
REDUCTION = 2  # of halving: after 1, 2, 4, 8 replicates the better half goes on


def check_pruner(name: Any, objective: Objective | None, launcher: str, points: Sequence[SweepPoint]) -> str:
    """The name of a pruner, refused with one line where it is unknown or has nothing to compare points by."""
    if name not in PRUNERS:
        raise unknown_name("sweeper.pruner", str(name), PRUNERS)
    if name == NONE:
        return NONE
    if objective is None:
        raise BadInput("a pruner needs to know what is better: objective.metric=… objective.direction=min|max")
    if launcher == "vectorised":
        raise BadInput("sweeper.pruner: launcher=vectorised computes all points at once; choose another launcher")
    if all(point.replicates[1] < 2 for point in points):
        raise BadInput("sweeper.pruner compares points after every replicate: replicates=2 or more")
    return str(name)


def compute_until_pruned(sweep: Sweep, point: SweepPoint, launch: Launch) -> tuple[list[float], bool]:
    """Compute the replicates of a point a few at a time, as many as there are workers, while it keeps up with others.

    Returns the mean objective over its first 1, 2, … replicates, and whether it was pruned; one that was not has all of
    its replicates computed, and none judged.
    """
    objective = Objective(**(sweep.objective or {}))
    [chosen] = [each for each in launch.studies if each.study.name == objective.study]
    at_once = launch.workers or len(available_cores())
    means: list[float] = []
    for count in [*range(at_once, chosen.replicates, at_once), chosen.replicates]:
        part = dataclasses.replace(launch, studies=(dataclasses.replace(chosen, replicates=count),))
        execute.compute_launch(part)
        means = running_means(objective.values(make_job(part, part.studies[0])), objective.direction)
        others = [each for each in sweep_folder.read_sweep(sweep.folder).points if each.number != point.number]
        if count < chosen.replicates and should_prune(sweep.pruner, objective.direction, means, others):
            return means, True
    return means, False


def running_means(values: Sequence[float], direction: str) -> list[float]:
    """The means of the first 1, 2, … values; of one that was never reached the worst number there is."""
    worst = sys.float_info.max if direction == "min" else -sys.float_info.max
    means = [math.fsum(values[:count]) / count for count in range(1, len(values) + 1)]
    return [mean if math.isfinite(mean) else worst for mean in means]


def should_prune(pruner: str, direction: str, means: Sequence[float], others: Sequence[SweepPoint]) -> bool:
    """Whether a point with these means should stop, by what is recorded of the others."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rule: Any = optuna.pruners.MedianPruner(n_startup_trials=WARMUP_POINTS)
    if pruner == "halving":
        rule = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION)
    study = optuna.create_study(pruner=rule, direction="maximize" if direction == "max" else "minimize")
    for other in others:
        if other.means:
            study.add_trial(_trial(other, pruner))
    trial = study.ask()
    for count, mean in enumerate(means, 1):
        trial.report(mean, count)
        if trial.should_prune():
            return True
    return False


def _trial(point: SweepPoint, pruner: str) -> Any:
    """Another point as Optuna remembers it, with the rungs of halving that it has reached."""
    import optuna
    from optuna.trial import TrialState

    done = point.state == "finished"
    rungs: Mapping[str, Any] = {}
    if pruner == "halving":
        reached = range(len(point.means).bit_length())  # 1, 2, 4, … replicates
        rungs = {f"completed_rung_{rung}": point.means[REDUCTION**rung - 1] for rung in reached}
    return optuna.trial.create_trial(
        state=TrialState.COMPLETE if done else TrialState.PRUNED,
        value=point.means[-1],
        intermediate_values=dict(enumerate(point.means, 1)),
        system_attrs=dict(rungs),
    )
