"""Settings of an optimizer: optax's optimizers by their names, with a schedule of the learning rate."""

from dataclasses import dataclass

from core.errors import BadInput
from core.papers.settings import setting

# Which further settings each optimizer takes; the names are optax's.
OPTAX_ARGUMENTS = {
    "adam": ("b1", "b2", "eps", "nesterov"),
    "adamw": ("b1", "b2", "eps", "weight_decay", "nesterov"),
    "sgd": ("momentum", "nesterov"),
    "rmsprop": ("decay", "eps", "momentum", "nesterov"),
    "lion": ("b1", "b2", "weight_decay"),
}


@dataclass(frozen=True)
class OptimizerSettings:
    """An optax optimizer by name; what is left out keeps optax's default."""

    name: str = setting("optax optimizer", choices=tuple(OPTAX_ARGUMENTS))
    learning_rate: float = setting("step size at its highest", within="(0, inf)")
    momentum: float | None = setting("momentum (sgd, rmsprop)", within="[0, 1)", default=None)
    nesterov: bool | None = setting("Nesterov momentum (all but lion)", default=None)
    weight_decay: float | None = setting("decoupled weight decay (adamw, lion)", within="[0, inf)", default=None)
    b1: float | None = setting("decay of the first moment (adam, adamw, lion)", within="[0, 1)", default=None)
    b2: float | None = setting("decay of the second moment (adam, adamw, lion)", within="[0, 1)", default=None)
    decay: float | None = setting("decay of the squared gradient (rmsprop)", within="[0, 1)", default=None)
    eps: float | None = setting("added to the denominator (adam, adamw, rmsprop)", within="(0, inf)", default=None)
    warmup: int = setting("linear warm-up from 0", unit="iterations", within="[0, inf)", default=0)
    drop_at: tuple[int, ...] = setting("where the step size drops", unit="iterations", within="[1, inf)", default=())
    drop_by: float = setting("factor of each drop", within="(0, 1]", default=0.1)

    def __post_init__(self) -> None:
        """Refuse settings that the named optimizer does not take, and drops before the step size is at its highest."""
        for name in ("momentum", "nesterov", "weight_decay", "b1", "b2", "decay", "eps"):
            if getattr(self, name) is not None and name not in OPTAX_ARGUMENTS[self.name]:
                takers = ", ".join(taker for taker, arguments in OPTAX_ARGUMENTS.items() if name in arguments)
                raise BadInput(f"optimizer {self.name} takes no {name}; it belongs to {takers}")
        if early := [step for step in self.drop_at if step < self.warmup]:
            raise BadInput(f"drop_at={early[0]} lies inside the warm-up of {self.warmup} iterations")

    def optax_arguments(self) -> dict[str, float | bool]:
        """The further keyword arguments for optax."""
        given = {name: getattr(self, name) for name in OPTAX_ARGUMENTS[self.name]}
        return {name: value for name, value in given.items() if value is not None}
