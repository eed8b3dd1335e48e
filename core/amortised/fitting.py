"""Training networks on data sets from a prior within a trial, by the settings that all such papers share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from core.amortised import heads
from core.amortised.bar_distribution import borders_from_samples_jit
from core.amortised.encoder import TransformerEncoder
from core.amortised.settings import AmortisedSettings
from core.amortised.training import (
    TrainingSpec,
    init_state,
    learning_rate_plan,
    params_only,
    sample_prior_targets,
    training_step,
)
from core.lab.keys import named_keys

if TYPE_CHECKING:
    from core.lab.lab import Lab

Tree = Any


def make_spec(
    settings: AmortisedSettings,
    prior: Callable,
    outputs: int,
    head: Callable = heads.bar_log_density,
    *,
    positions: bool = False,
    **options: Any,
) -> TrainingSpec:
    """What is trained by the settings; `options` are further attributes of the `TrainingSpec`."""
    size, data = settings.network, settings.data
    network = TransformerEncoder(
        data.features, size.width, size.layers, size.heads, size.hidden, outputs, positions=positions
    )
    compiled = data.sizes or (data.largest,)
    return TrainingSpec(network, prior, head, data.points, settings.training.batch, compiled, data.context, **options)


def borders_of_prior(spec: TrainingSpec, sets: int, key: jax.Array, prior: Tree) -> jax.Array:
    """Borders with equal prior mass between them, from the targets of so many data sets."""
    return borders_from_samples_jit(sample_prior_targets(spec, sets, key, prior), spec.network.outputs)


@dataclass(frozen=True)
class Fitting:
    """Networks of one kind; under the same keys they have the same start, data sets and context sizes.

    Attributes:
      lab: of the trial, with `keys`, one for each replicate.
      spec: what is trained.
      settings: length, step size and batches.
      border_sets: data sets whose targets give the borders of the bars; 0 for a head without.
      prior: arguments of the prior, by name.
    """

    lab: "Lab"
    keys: jax.Array
    spec: TrainingSpec
    settings: AmortisedSettings
    border_sets: int = 0
    prior: Tree = field(default_factory=dict)

    def borders(self) -> Tree:
        """Borders of the bars, (replicates, bars + 1)."""
        if not self.border_sets:
            return jnp.zeros((*self.keys.shape, 1))
        drawn = named_keys(self.lab, self.keys, "borders")
        return self.lab.map(partial(borders_of_prior, self.spec, self.border_sets), drawn, shared=(self.prior,))

    def fit(self, arm: str, borders: Tree, iterations: int | None = None) -> Tree:
        """Parameters of an arm after its whole training."""
        length = iterations or self.settings.training.iterations
        return self.fit_lengths(arm, borders, (length,))[length]

    def fit_lengths(self, arm: str, borders: Tree, lengths: Sequence[int]) -> dict[int, Tree]:
        """Parameters after so many iterations in all, for each of the rising lengths.

        A trunk is trained at the full step size; for every length a branch leaves it at (1 - decay) of it and lowers
        the step size to 0 in the rest, so that every network has a whole schedule of its own.
        """
        done, found = 0, {}
        state = self.lab.map(partial(init_state, self.spec), named_keys(self.lab, self.keys, "start"))
        for length in lengths:
            turn = min(round(length * (1 - self.settings.training.decay)), length - 1)
            if turn > done:
                state = self._loop(arm, "trunk", state, borders, (done, turn))
            done = turn
            found[length] = self._loop(arm, "branch", state, borders, (turn, length))["params"]
        return found

    def _loop(self, arm: str, part: str, state: Tree, borders: Tree, span: tuple[int, int]) -> Tree:
        (start, end), training = span, self.settings.training
        ends = part == "branch"
        plan = learning_rate_plan(start, end, training.warmup, training.rate_of(arm), ends)
        return self.lab.iterate(
            f"{arm}/{part}/{end}",
            partial(training_step, self.spec),
            named_keys(self.lab, self.keys, f"{part}/{end}"),
            state,
            steps=end - start,
            each=(borders,),
            shared=({"plan": plan, "prior": self.prior},),
            evaluate_every=min(training.evaluate_every, end - start),
            finish=params_only if ends else None,
        ).result
