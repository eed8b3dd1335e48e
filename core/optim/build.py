"""From optimizer settings to an optax transformation."""

import optax

from core.optim.settings import OptimizerSettings


def learning_rate_schedule(settings: OptimizerSettings) -> optax.Schedule | float:
    """Linear warm-up from 0, then drops by a factor; a plain number when neither is asked for."""
    if not settings.warmup and not settings.drop_at:
        return settings.learning_rate
    drops = {step - settings.warmup: settings.drop_by for step in settings.drop_at}
    after = optax.piecewise_constant_schedule(settings.learning_rate, drops)
    if not settings.warmup:
        return after
    rising = optax.linear_schedule(0.0, settings.learning_rate, settings.warmup)
    return optax.join_schedules([rising, after], [settings.warmup])


def make_optimizer(settings: OptimizerSettings) -> optax.GradientTransformation:
    """The optax optimizer that the settings name."""
    return getattr(optax, settings.name)(learning_rate_schedule(settings), **settings.optax_arguments())
