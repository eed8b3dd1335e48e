"""Settings of an optimizer: optax's optimizers by their names, with a schedule of the learning rate."""

from typing import Literal, Self

from pydantic import model_validator

from core.papers.settings import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Settings, Share
from core.papers.settings import setting as setting
from core.papers.validation import conflict

# Which further settings each optimizer takes; the names are optax's.
ARGUMENTS = {
    "adam": ("b1", "b2", "eps", "nesterov"),
    "adamw": ("b1", "b2", "eps", "weight_decay", "nesterov"),
    "sgd": ("momentum", "nesterov"),
    "rmsprop": ("decay", "eps", "momentum", "nesterov"),
    "lion": ("b1", "b2", "weight_decay"),
}


class OptimizerSettings(Settings):
    """An optax optimizer by name; what is left out keeps optax's default."""

    name: Literal["adam", "adamw", "sgd", "rmsprop", "lion"] = setting("optax optimizer")
    learning_rate: PositiveFloat = setting("step size at its highest")
    momentum: Share | None = setting("momentum (sgd, rmsprop)", default=None)
    nesterov: bool | None = setting("Nesterov momentum (all but lion)", default=None)
    weight_decay: NonNegativeFloat | None = setting("decoupled weight decay (adamw, lion)", default=None)
    b1: Share | None = setting("decay of the first moment (adam, adamw, lion)", default=None)
    b2: Share | None = setting("decay of the second moment (adam, adamw, lion)", default=None)
    decay: Share | None = setting("decay of the squared gradient (rmsprop)", default=None)
    eps: PositiveFloat | None = setting("added to the denominator (adam, adamw, rmsprop)", default=None)
    warmup: NonNegativeInt = setting("linear warm-up from 0", unit="iterations", default=0)
    drop_at: tuple[PositiveInt, ...] = setting("where the step size drops", unit="iterations", default=())
    drop_by: Fraction = setting("factor of each drop", default=0.1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse settings that the named optimizer does not take, and drops before the step size is at its highest."""
        for name in ("momentum", "nesterov", "weight_decay", "b1", "b2", "decay", "eps"):
            if getattr(self, name) is not None and name not in ARGUMENTS[self.name]:
                takers = ", ".join(taker for taker, arguments in ARGUMENTS.items() if name in arguments)
                raise conflict(f"{{name}} takes no {name}; it belongs to {takers}", "name", name)
        if early := [step for step in self.drop_at if step < self.warmup]:
            raise conflict(f"{{drop_at}} begins at {early[0]}, inside {{warmup}}", "drop_at", "warmup")
        return self

    def arguments(self) -> dict[str, float | bool]:
        """The further keyword arguments for optax."""
        given = {name: getattr(self, name) for name in ARGUMENTS[self.name]}
        return {name: value for name, value in given.items() if value is not None}
