"""What can be varied in the studies of `experiments.lottery_ticket`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from core.data.catalogue import describe
from core.errors import BadInput
from core.optim.settings import OptimizerSettings
from core.papers.settings import (
    DataSetName,
    Fraction,
    PositiveInt,
    Settings,
    Share,
    setting,
)


class TicketSettings(Settings):
    """One network, one data set, one ladder of densities."""

    dataset: DataSetName = setting("data set")
    network: Literal["plain", "vgg19", "resnet18"] = setting("plain (LeNet, Conv-2/4/6), vgg19 or resnet18")
    channels: tuple[PositiveInt, ...] = setting("widths of the convolutions of a plain network, pooled in pairs")
    hidden: tuple[PositiveInt, ...] = setting("widths of the dense layers of a plain network")
    iterations: PositiveInt = setting("training length J", unit="iterations")
    batch: PositiveInt = setting("batch size", unit="images")
    optimizer: OptimizerSettings = setting("optimizer, reset in every round")
    augment: bool = setting("random flips and 4-pixel shifts")
    validation: PositiveInt = setting("images set aside for validation", unit="images")
    evaluate_every: PositiveInt = setting("between two evaluations", unit="iterations")
    scope: Literal["layer", "global"] = setting("ranking of weights: within each layer, or over all convolutions")
    prune_conv: Fraction = setting("fraction of surviving convolution weights pruned per round")
    prune_dense: Share = setting("fraction of surviving dense weights pruned per round")
    prune_output: Share = setting("the same in the output layer")
    rounds: PositiveInt = setting("rounds of pruning")
    reinit: tuple[PositiveInt, ...] = setting("rounds whose ticket is re-initialised; listed k times: k draws")
    reinit_again: tuple[PositiveInt, ...] = setting("the same, as a control")
    one_shot: tuple[PositiveInt, ...] = setting("rounds whose density is also pruned to in one go")
    random: tuple[PositiveInt, ...] = setting("rounds with a random mask of the same layer densities")
    random_again: tuple[PositiveInt, ...] = setting("the same, as a control")

    @model_validator(mode="after")
    def _check_ticket(self) -> Self:
        """Refuse what contradicts itself before anything is trained."""
        images = describe(self.dataset).arrays["train_images"][0][0]
        if self.validation + self.batch > images:
            raise BadInput(f"settings.validation={self.validation} leaves less than one batch of the {images} images")
        if self.evaluate_every > self.iterations:
            raise BadInput(f"settings.evaluate_every={self.evaluate_every} is longer than iterations={self.iterations}")
        for name in ("reinit", "reinit_again", "one_shot", "random", "random_again"):
            if any(number > self.rounds for number in getattr(self, name)):
                raise BadInput(f"settings.{name}={list(getattr(self, name))} goes beyond rounds={self.rounds}")
        for layer, (weights, fraction) in self.layers().items():
            if weights * (1 - fraction) ** self.rounds < 1:
                raise BadInput(f"settings.rounds={self.rounds} leaves less than one weight in {layer}: prune less")
        return self

    def layers(self) -> dict[str, tuple[int, float]]:
        """Weights and pruned fraction of every layer of a plain network; nothing is known here of the others."""
        if self.network != "plain":
            return {}
        height, width, *rest = describe(self.dataset).arrays["train_images"][0][1:]
        inputs, found = (rest or [1])[0], {}
        for number, outputs in enumerate(self.channels):
            found[f"conv_{number}"] = (9 * inputs * outputs, self.prune_conv)
            inputs = outputs
            if number % 2:
                height, width = height // 2, width // 2
        inputs *= height * width
        for number, outputs in enumerate(self.hidden):
            found[f"dense_{number}"] = (inputs * outputs, self.prune_dense)
            inputs = outputs
        return {**found, "output": (inputs * len(describe(self.dataset).classes), self.prune_output)}


class DeepSettings(TicketSettings):
    """Deep networks under three learning rates: `optimizer` is the high one."""

    low: OptimizerSettings = setting("optimizer with a low learning rate")
    warm: OptimizerSettings = setting("optimizer with a high learning rate after a warm-up")


class LadderSettings(Settings):
    """The printed densities of LeNet-300-100, to be met by arithmetic."""

    weights: tuple[PositiveInt, ...] = setting("weights of the layers, the output layer last")
    prune: Fraction = setting("fraction of surviving weights pruned per round")
    prune_output: Fraction = setting("the same in the output layer")
    rounds: tuple[PositiveInt, ...] = setting("rounds with a printed density")
    printed: tuple[Annotated[float, Field(gt=0, lt=100)], ...] = setting(
        "printed densities after these rounds", unit="percent"
    )

    @model_validator(mode="after")
    def _check_ladder(self) -> Self:
        """Every printed density belongs to a round."""
        if len(self.rounds) != len(self.printed):
            raise BadInput("settings.rounds and settings.printed must have equal lengths")
        return self


SETTINGS = {
    "ladder": LadderSettings,
    "lenet": TicketSettings,
    "tuning": TicketSettings,
    "conv": TicketSettings,
    "deep": DeepSettings,
}
