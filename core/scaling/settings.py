"""Settings of how gradients are computed where networks are large; the defaults are the plain way."""

from typing import Literal

from core.papers.settings import PositiveInt, Settings, setting


class ScalingSettings(Settings):
    """How the gradient of one batch is computed; all of them give the gradient of the whole batch."""

    precision: Literal["float32", "bfloat16"] = setting(
        "of the network's products and activations; parameters, sums and losses stay float32", default="float32"
    )
    micro_batches: PositiveInt = setting(
        "parts that a batch is worked off in, one after the other, to need less memory", default=1
    )
    rematerialise: bool = setting(
        "compute activations again in the backward pass instead of keeping them", default=False
    )
    spread: bool = setting("cut every batch over all devices there are; goes with axis=loop", default=False)
