"""Optimizers from settings: optax's own names and values, and hand-worked schedules."""

import inspect

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from core.optim.named import learning_rate, optimizer
from core.optim.settings import ARGUMENTS, OptimizerSettings

VALUES = {"nesterov": True, "momentum": 0.7, "weight_decay": 0.03, "b1": 0.8, "b2": 0.9, "decay": 0.6, "eps": 1e-3}


def three_updates(transformation: optax.GradientTransformation) -> np.ndarray:
    params, state = jnp.array([1.0, -2.0]), None
    state = transformation.init(params)
    for gradient in ([0.5, 0.1], [-0.2, 0.3], [0.1, 0.1]):
        updates, state = transformation.update(jnp.array(gradient), state, params)
        params = optax.apply_updates(params, updates)
    return np.asarray(params)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_are_those_of_optax(name):
    known = set(inspect.signature(getattr(optax, name)).parameters)
    assert set(ARGUMENTS[name]) <= known
    assert set(VALUES) & known <= set(ARGUMENTS[name]), "optax takes more of our settings than we pass on"


def test_every_argument_is_a_setting_and_every_optional_setting_an_argument():
    optional = {name for name, field in OptimizerSettings.model_fields.items() if field.default is None}
    assert optional == set(VALUES) == {argument for arguments in ARGUMENTS.values() for argument in arguments}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_argument_reaches_optax(name):
    plain = three_updates(optimizer(OptimizerSettings(name=name, learning_rate=0.1)))
    assert np.array_equal(plain, three_updates(getattr(optax, name)(0.1)))
    given = {argument: VALUES[argument] for argument in ARGUMENTS[name]}
    ours = three_updates(optimizer(OptimizerSettings(name=name, learning_rate=0.1, **given)))
    assert np.array_equal(ours, three_updates(getattr(optax, name)(0.1, **given)))


@pytest.mark.parametrize("name", ARGUMENTS)
def test_other_arguments_are_refused(name):
    for argument in set(VALUES) - set(ARGUMENTS[name]):
        with pytest.raises(ValueError, match=f"takes no {argument}; it belongs to"):
            OptimizerSettings(name=name, learning_rate=0.1, **{argument: VALUES[argument]})


def rates(settings: OptimizerSettings, count: int) -> list[float]:
    """The step sizes really taken: a gradient of one under plain descent."""
    transformation = optimizer(settings)
    state, taken = transformation.init(jnp.zeros(())), []
    for _ in range(count):
        update, state = transformation.update(jnp.ones(()), state)
        taken.append(-float(update))
    return taken


def test_a_plain_rate_stays_a_number():
    assert learning_rate(OptimizerSettings(name="sgd", learning_rate=0.3)) == 0.3
    assert rates(OptimizerSettings(name="sgd", learning_rate=0.25), 3) == [0.25, 0.25, 0.25]


def test_a_hand_worked_warm_up_with_drops():
    settings = OptimizerSettings(name="sgd", learning_rate=0.4, warmup=4, drop_at=(6, 8), drop_by=0.5)
    assert rates(settings, 10) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.4, 0.2, 0.2, 0.1, 0.1], abs=1e-7)


def test_hand_worked_drops_without_a_warm_up():
    settings = OptimizerSettings(name="sgd", learning_rate=1.0, drop_at=(2, 3))
    assert rates(settings, 5) == pytest.approx([1, 1, 0.1, 0.01, 0.01])


def test_a_warm_up_without_drops():
    assert rates(OptimizerSettings(name="sgd", learning_rate=1.0, warmup=2), 4) == pytest.approx([0, 0.5, 1, 1])


def test_a_drop_at_the_end_of_the_warm_up():
    settings = OptimizerSettings(name="sgd", learning_rate=1.0, warmup=2, drop_at=(2,))
    assert rates(settings, 4) == pytest.approx([0, 0.5, 0.1, 0.1])


def test_a_drop_inside_the_warm_up_is_refused():
    with pytest.raises(ValueError, match="begins at 3, inside"):
        OptimizerSettings(name="sgd", learning_rate=0.1, warmup=4, drop_at=(3, 8))
