"""Networks trained one after another under equal conditions: the same examples in the same order, the same length."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.serialization import from_state_dict

from core.lab.keys import named_keys
from core.optim.settings import OptimizerSettings
from core.scaling.settings import ScalingSettings
from core.sparsity.masks import Mask
from core.supervised import training
from core.supervised.batches import Split, random_split
from core.supervised.settings import SupervisedSettings
from core.supervised.tasks import Task
from core.supervised.training import Conditions, Examples, Plan

if TYPE_CHECKING:
    from core.lab.lab import Lab

Tree = Any


class Trained(NamedTuple):
    """What a training leaves, with a replicate axis on every array.

    Attributes:
      variables: the network at the end.
      metrics: of the test examples, by name.
      curves: of the examples evaluated during the training, (replicates, evaluations), by name.
      steps: at which iterations these were taken.
      also: what was asked for beside them.
    """

    variables: dict[str, Tree]
    metrics: dict[str, jax.Array]
    curves: dict[str, np.ndarray]
    steps: np.ndarray
    also: dict[str, Tree]

    @property
    def params(self) -> Tree:
        """The parameters at the end."""
        return self.variables["params"]


@dataclass
class Comparison:
    """Trains and measures arms under equal conditions.

    Attributes:
      lab: of the trial, with `keys`, one for each replicate.
      task: what is trained, unless an arm has a task of its own.
      examples: shared by all replicates, or with a replicate axis where `own_examples`.
      split: row numbers of every replicate.
      iterations, evaluate_every: length of every training.
      optimizer: unless an arm has one of its own.
      scaling: how gradients are computed.
      keep_best: test the network at the lowest validation loss, too.
      monitor: what is meant by that loss, such as "validation_error".
      own_examples: whether examples have a replicate axis.
    """

    lab: "Lab"
    keys: jax.Array
    task: Task
    examples: Examples
    split: Split
    iterations: int
    evaluate_every: int
    optimizer: OptimizerSettings
    scaling: ScalingSettings = field(default_factory=ScalingSettings)
    keep_best: bool = False
    monitor: str = training.MONITORED
    own_examples: bool = False

    @classmethod
    def of_settings(
        cls, settings: SupervisedSettings, keys: jax.Array, lab: "Lab", task: Task, **options: Any
    ) -> "Comparison":
        """A comparison on the data set that the settings name, split and ordered anew for every replicate."""
        return cls(
            lab,
            keys,
            task,
            labelled_examples(lab.data(settings.data.name)),
            split_examples(settings, keys, lab),
            settings.training.iterations,
            settings.training.evaluate_every,
            settings.optimizer,
            settings.scaling,
            **options,
        )

    def key(self, name: str) -> jax.Array:
        """One key per replicate for the draw called `name`."""
        return named_keys(self.lab, self.keys, name)

    def initial(self, name: str, task: Task | None = None) -> dict[str, Tree]:
        """Fresh variables from the draw called `name`."""
        return self.lab.map((task or self.task).initial, self.key(name))

    def rates(self, chosen: OptimizerSettings, arm: str) -> Any:
        """The learning rate of an arm in every replicate, float32."""
        rate = chosen.rate_of(arm)
        if isinstance(rate, float):
            return np.full(self.keys.shape, rate, np.float32)
        return self.lab.map(partial(_rate, rate), self.keys)  # it differs between replicates

    def train(
        self,
        arm: str,
        variables: dict[str, Tree],
        *,
        stage: str = "",
        mask: Mask | None = None,
        task: Task | None = None,
        optimizer: OptimizerSettings | None = None,
        split: Split | None = None,
        examples: Examples | None = None,
        also: Callable | None = None,
        rate_of: str | None = None,
        **conditions: Any,
    ) -> Trained:
        """Train one arm from `variables` and measure it.

        Args:
          arm: its name, a condition of every measurement.
          variables: to begin with, with a replicate axis.
          stage: further words of the stage's name, where an arm is trained several times.
          mask: weights that are trained; the others are 0 all along.
          task, optimizer, split, examples: in the place of the comparison's own.
          also: `also(variables, examples) -> {name: array}` of one replicate and the network that is tested (the best
            one where it is kept); its result is kept beside the network, not measured.
          rate_of: whose learning rate it has, where that differs by arm; by default its own.
          conditions: of the measurements, beside the arm.
        """
        chosen = optimizer or self.optimizer
        alike = chosen.model_copy(update={"learning_rate": 1.0})  # arms that differ in it share a program
        plan = Plan(task or self.task, alike, self.iterations, self.scaling, self.keep_best, also, self.monitor)
        mask, examples, split = mask or {}, examples or self.examples, split or self.split
        conditioned = Conditions(split, mask, self.rates(chosen, rate_of or arm))
        result, curves, steps = self.lab.iterate(
            arm + stage,
            partial(training.step, plan),
            self.keys,
            self.lab.map(partial(training.begin, plan), variables, conditioned),
            steps=self.iterations,
            each=(conditioned, *((examples,) if self.own_examples else ())),
            shared=() if self.own_examples else (examples,),
            evaluate_every=self.evaluate_every,
            evaluate=None if split.validation is None else partial(training.evaluate, plan),
            finish=partial(training.finish, plan),
        )
        metrics = {name: value for name, value in result.items() if name not in ("variables", "also")}
        self.lab.measure(metrics, arm=arm, **conditions)
        self.lab.measure(curves, along={"step": steps}, arm=arm, **conditions)
        return Trained(from_state_dict(variables, result["variables"]), metrics, curves, steps, result.get("also", {}))


def _rate(rate: Any, key: jax.Array) -> jax.Array:
    return jnp.float32(rate)


def split_examples(settings: SupervisedSettings, keys: jax.Array, lab: "Lab", order: str = "order") -> Split:
    """Which examples every replicate learns from, in which order; `order` names the draw of the latter."""
    data, length = settings.data, settings.training
    counts = (data.there, data.train, data.validation, data.test)
    split = partial(random_split, counts, length.batch, length.iterations, evaluated=data.evaluated)
    return lab.map(split, named_keys(lab, keys, "split"), named_keys(lab, keys, order))


def labelled_examples(data: Mapping[str, jax.Array], inputs: str = "images") -> Examples:
    """The training and test part of a data set with labels, as "x" and "y"."""
    train, test = ({"x": data[f"{part}_{inputs}"], "y": data[f"{part}_labels"]} for part in ("train", "test"))
    return Examples(train, test)
