"""What can be varied in the studies of `experiments.lottery_ticket`."""

from typing import Literal, Self

from pydantic import model_validator

from core.data.catalogue import find_data_set
from core.errors import BadInput
from core.optim.settings import OptimizerSettings
from core.papers.settings import Fraction, PositiveInt, Settings, Share, setting
from core.papers.validation import conflict
from core.supervised.settings import SupervisedSettings


class NetworkSettings(Settings):
    """Which network."""

    name: Literal["plain", "vgg19", "resnet18"] = setting("plain (LeNet, Conv-2/4/6), vgg19 or resnet18")
    channels: tuple[PositiveInt, ...] = setting(
        "widths of a plain network's convolutions, pooled in pairs; of resnet18's stages", default=()
    )
    hidden: tuple[PositiveInt, ...] = setting("widths of a plain network's dense layers", default=())


class PruningSettings(Settings):
    """How fast and how far weights are pruned."""

    scope: Literal["layer", "global"] = setting("ranking of weights: within each layer, or over all convolutions")
    conv: Fraction = setting("fraction of surviving convolution weights pruned per round", default=0.2)
    dense: Share = setting("fraction of surviving dense weights pruned per round", default=0.2)
    output: Share = setting("the same in the output layer", default=0.1)
    rounds: PositiveInt = setting("rounds of pruning")


class TicketSettings(SupervisedSettings):
    """One network, one data set, one ladder of densities."""

    network: NetworkSettings = setting("the network")
    pruning: PruningSettings = setting("how weights are pruned")
    reinit: tuple[PositiveInt, ...] = setting("rounds whose ticket is re-initialised; listed k times: k draws")
    reinit_again: tuple[PositiveInt, ...] = setting("the same, as a control", default=())
    shuffled: tuple[PositiveInt, ...] = setting("rounds whose ticket's initial weights are exchanged", default=())
    one_shot: tuple[PositiveInt, ...] = setting("rounds whose density is also pruned to in one go", default=())
    one_shot_again: tuple[PositiveInt, ...] = setting("the same of another network, as a control", default=())
    random: tuple[PositiveInt, ...] = setting("rounds with a random mask of the same layer densities", default=())
    random_again: tuple[PositiveInt, ...] = setting("the same, as a control", default=())

    @model_validator(mode="after")
    def _check_rounds(self) -> Self:
        """Every comparison belongs to a round, and every round leaves a weight in every layer."""
        for name in ("reinit", "reinit_again", "shuffled", "one_shot", "one_shot_again", "random", "random_again"):
            if max(getattr(self, name), default=0) > self.pruning.rounds:
                raise conflict(f"{{{name}}} goes beyond {{pruning.rounds}}", name, "pruning.rounds")
        for layer, (weights, fraction) in self.plain_layers().items():
            if weights * (1 - fraction) ** self.pruning.rounds < 1:
                raise conflict(
                    f"{{pruning.rounds}} leaves less than one weight in {layer}: prune less", "pruning.rounds"
                )
        return self

    def plain_layers(self) -> dict[str, tuple[int, float]]:
        """Weights and pruned fraction of every layer of a plain network; nothing is known here of the others."""
        if self.network.name != "plain":
            return {}
        about = find_data_set(self.data.name)
        height, width, *rest = about.array_shapes["train_images"][0][1:]
        inputs, found = (rest or [1])[0], {}
        for number, outputs in enumerate(self.network.channels):
            found[f"conv_{number}"] = (9 * inputs * outputs, self.pruning.conv)
            inputs = outputs
            if number % 2:
                height, width = height // 2, width // 2
        inputs *= height * width
        for number, outputs in enumerate(self.network.hidden):
            found[f"dense_{number}"] = (inputs * outputs, self.pruning.dense)
            inputs = outputs
        return {**found, "output": (inputs * len(about.classes), self.pruning.output)}


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
    printed: tuple[float, ...] = setting("printed densities after these rounds", unit="percent")

    @model_validator(mode="after")
    def _check_printed(self) -> Self:
        """Every printed density belongs to a round."""
        if len(self.rounds) != len(self.printed):
            raise BadInput("settings.rounds and settings.printed must have equal lengths")
        return self


SETTINGS = {
    "ladder": LadderSettings,
    "lenet": TicketSettings,
    "sparse": TicketSettings,
    "conv": TicketSettings,
    "deep": DeepSettings,
}
