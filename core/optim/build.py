"""From optimizer settings to an optax transformation."""

from typing import Any

import jax
import optax

from core.errors import BadInput
from core.optim.settings import DECOUPLED, OptimizerSettings


def learning_rate_schedule(
    settings: OptimizerSettings, iterations: int | None = None, rate: float | jax.Array | None = None
) -> optax.Schedule | float | jax.Array:
    """The learning rate by iteration: a warm-up from 0, then the schedule; a plain number when it is constant.

    Args:
      settings: of the optimizer.
      iterations: length of the training, which the schedules that go to its end need.
      rate: in the place of the settings' learning rate; it may be traced.
    """
    if rate is None:
        assert isinstance(settings.learning_rate, float), "a learning rate for each arm: say whose"
        rate = settings.learning_rate
    if settings.schedule == "constant" and not settings.warmup:
        return rate
    after = _schedule(settings, rate, None if iterations is None else max(1, iterations - settings.warmup))
    if not settings.warmup:
        return after
    rising = optax.linear_schedule(0.0, rate, settings.warmup)
    return optax.join_schedules([rising, after], [settings.warmup])


def make_optimizer(
    settings: OptimizerSettings, iterations: int | None = None, rate: float | jax.Array | None = None
) -> optax.GradientTransformation:
    """The optax optimizer that the settings name, with clipping and weight decay before it."""
    named = getattr(optax, settings.name)(
        learning_rate_schedule(settings, iterations, rate), **settings.optax_arguments()
    )
    before = [] if settings.clip is None else [optax.clip_by_global_norm(settings.clip)]
    if settings.weight_decay and settings.name not in DECOUPLED:
        before.append(optax.add_decayed_weights(settings.weight_decay))
    return optax.chain(*before, named) if before else named


def _schedule(settings: OptimizerSettings, rate: Any, iterations: int | None) -> optax.Schedule:
    """The learning rate after the warm-up."""
    if settings.schedule == "constant":
        return optax.constant_schedule(rate)
    if settings.schedule == "piecewise":
        drops = {step - settings.warmup: settings.drop_by for step in settings.drop_at}
        return optax.piecewise_constant_schedule(rate, drops)
    if iterations is None:
        raise BadInput(f"the schedule {settings.schedule} goes to the end of a training, whose length nobody gave")
    match settings.schedule:
        case "linear":
            return optax.linear_schedule(rate, settings.final * rate, iterations)
        case "cosine":
            return optax.cosine_decay_schedule(rate, iterations, settings.final)
        case "exponential":
            return optax.exponential_decay(rate, iterations, settings.final)
        case "inverse":
            # μ_p = μ / (1 + α p)^β
            return lambda step: rate / (1 + settings.growth * step / iterations) ** settings.power
    return optax.cosine_onecycle_schedule(iterations, rate)
