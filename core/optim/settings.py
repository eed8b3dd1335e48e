"""Settings of an optimizer: optax's optimizers by their names, with a schedule of the learning rate."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Tag, model_validator

from core.papers.settings import (
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PerArm,
    PositiveFloat,
    PositiveInt,
    Settings,
    Share,
    setting,
)
from core.papers.validation import conflict

# Which further settings each optimizer takes; the names are optax's.
OPTAX_ARGUMENTS = {
    "adam": ("b1", "b2", "eps", "nesterov"),
    "adamw": ("b1", "b2", "eps", "nesterov"),
    "sgd": ("momentum", "nesterov"),
    "rmsprop": ("decay", "eps", "momentum", "nesterov"),
    "lion": ("b1", "b2"),
}
DECOUPLED = ("adamw", "lion")  # take weight decay as an argument
ENDING = ("linear", "cosine", "exponential")  # schedules that end at a share of the learning rate


NumberOrPerArm = Annotated[
    Annotated[PositiveFloat, Tag("number")] | Annotated[PerArm[PositiveFloat], Tag("by arm")],
    Discriminator(lambda value: "by arm" if isinstance(value, Mapping | PerArm) else "number"),
]
"""A positive number for all arms, or one for each."""


class OptimizerSettings(Settings):
    """An optax optimizer by name; what is left out keeps optax's default, but for weight decay: none."""

    name: Literal["adam", "adamw", "sgd", "rmsprop", "lion"] = setting("optax optimizer")
    learning_rate: NumberOrPerArm = setting("step size at its highest, for all arms or by arm")
    momentum: Share | None = setting("momentum (sgd, rmsprop)", default=None)
    nesterov: bool | None = setting("Nesterov momentum (all but lion)", default=None)
    weight_decay: NonNegativeFloat = setting(
        "λ of weight decay: decoupled for adamw and lion, λθ added to the gradient for the others", default=0.0
    )
    b1: Share | None = setting("decay of the first moment (adam, adamw, lion)", default=None)
    b2: Share | None = setting("decay of the second moment (adam, adamw, lion)", default=None)
    decay: Share | None = setting("decay of the squared gradient (rmsprop)", default=None)
    eps: PositiveFloat | None = setting("added to the denominator (adam, adamw, rmsprop)", default=None)
    clip: PositiveFloat | None = setting("largest global norm of a gradient", default=None)
    schedule: Literal["constant", "piecewise", "linear", "cosine", "exponential", "one_cycle", "inverse"] = setting(
        "how the learning rate goes over the training", default="constant"
    )
    warmup: NonNegativeInt = setting("linear warm-up from 0, before the schedule", unit="iterations", default=0)
    drop_at: tuple[PositiveInt, ...] = setting(
        "where the learning rate drops (piecewise)", unit="iterations", rising=True, default=()
    )
    drop_by: Fraction = setting("factor of each drop (piecewise)", default=0.1)
    final: Share = setting("share of the learning rate at the end (linear, cosine, exponential)", default=0.0)
    growth: NonNegativeFloat = setting(
        "α of the learning rate divided by (1 + α p)^β, where p goes from 0 to 1 (inverse)", default=0.0
    )
    power: PositiveFloat = setting("β of the same (inverse)", default=1.0)

    @model_validator(mode="after")
    def _check_optimizer(self) -> Self:
        """Refuse settings that the optimizer or the schedule does not take."""
        for name in ("momentum", "nesterov", "b1", "b2", "decay", "eps"):
            if getattr(self, name) is not None and name not in OPTAX_ARGUMENTS[self.name]:
                takers = ", ".join(taker for taker, arguments in OPTAX_ARGUMENTS.items() if name in arguments)
                raise conflict(f"{{name}} takes no {name}; it belongs to {takers}", "name", name)
        if self.schedule == "piecewise" and not self.drop_at:
            raise conflict(
                "{schedule} needs drop_at, where the learning rate drops, such as drop_at=[1000]", "schedule"
            )
        if self.drop_at and self.schedule != "piecewise":
            raise conflict("{drop_at} belongs to schedule=piecewise: drop_at=[] goes with {schedule}", "drop_at",
                           "schedule")  # fmt: skip
        if self.drop_at and self.drop_at[0] < self.warmup:
            raise conflict(f"{{drop_at}} begins inside {{warmup}}: at most {self.drop_at[0]}", "warmup", "drop_at")
        if self.final and self.schedule not in ENDING:
            raise conflict(f"{{final}} belongs to {', '.join(ENDING)}: final=0 goes with {{schedule}}", "final",
                           "schedule")  # fmt: skip
        if self.schedule == "exponential" and not self.final:
            raise conflict("{schedule} needs final, the share of the learning rate at the end, such as final=0.01",
                           "schedule")  # fmt: skip
        if bool(self.growth) != (self.schedule == "inverse"):
            raise conflict("{growth} and {schedule} do not fit: inverse needs it, and nothing else does", "growth",
                           "schedule")  # fmt: skip
        return self

    def rate_of(self, arm: str) -> float:
        """The learning rate of an arm. Raises KeyError for an arm without one."""
        return self.learning_rate[arm] if isinstance(self.learning_rate, PerArm) else self.learning_rate

    def optax_arguments(self) -> dict[str, float | bool]:
        """The further keyword arguments for optax."""
        given = {name: getattr(self, name) for name in OPTAX_ARGUMENTS[self.name]}
        if self.name in DECOUPLED:
            given["weight_decay"] = self.weight_decay
        return {name: value for name, value in given.items() if value is not None}
