"""Optimizers from settings: optax's own names and values, and hand-worked schedules."""

import dataclasses
import inspect

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from core.errors import BadInput
from core.optim.build import learning_rate_schedule, make_optimizer
from core.optim.settings import OPTAX_ARGUMENTS, OptimizerSettings

VALUES = {"nesterov": True, "momentum": 0.7, "weight_decay": 0.03, "b1": 0.8, "b2": 0.9, "decay": 0.6, "eps": 1e-3}


def three_updates(transformation: optax.GradientTransformation) -> np.ndarray:
    params, state = jnp.array([1.0, -2.0]), None
    state = transformation.init(params)
    for gradient in ([0.5, 0.1], [-0.2, 0.3], [0.1, 0.1]):
        updates, state = transformation.update(jnp.array(gradient), state, params)
        params = optax.apply_updates(params, updates)
    return np.asarray(params)


@pytest.mark.parametrize("name", OPTAX_ARGUMENTS)
def test_arguments_are_those_of_optax(name):
    known = set(inspect.signature(getattr(optax, name)).parameters)
    assert set(OPTAX_ARGUMENTS[name]) <= known
    assert set(VALUES) & known <= set(OPTAX_ARGUMENTS[name]), "optax takes more of our settings than we pass on"


def test_every_argument_is_a_setting_and_every_optional_setting_an_argument():
    optional = {f.name for f in dataclasses.fields(OptimizerSettings) if f.default is None}
    assert optional == set(VALUES) == {argument for arguments in OPTAX_ARGUMENTS.values() for argument in arguments}


@pytest.mark.parametrize("name", OPTAX_ARGUMENTS)
def test_every_argument_reaches_optax(name):
    assert np.array_equal(
        three_updates(make_optimizer(OptimizerSettings(name, 0.1))), three_updates(getattr(optax, name)(0.1))
    )
    given = {argument: VALUES[argument] for argument in OPTAX_ARGUMENTS[name]}
    ours = three_updates(make_optimizer(OptimizerSettings(name, 0.1, **given)))
    assert np.array_equal(ours, three_updates(getattr(optax, name)(0.1, **given)))


@pytest.mark.parametrize("name", OPTAX_ARGUMENTS)
def test_other_arguments_are_refused(name):
    for argument in set(VALUES) - set(OPTAX_ARGUMENTS[name]):
        with pytest.raises(BadInput, match=f"optimizer {name} takes no {argument}"):
            OptimizerSettings(name, 0.1, **{argument: VALUES[argument]})


def rates(settings: OptimizerSettings, count: int) -> list[float]:
    """The step sizes really taken: a gradient of one under plain descent."""
    transformation = make_optimizer(settings)
    state, taken = transformation.init(jnp.zeros(())), []
    for _ in range(count):
        update, state = transformation.update(jnp.ones(()), state)
        taken.append(-float(update))
    return taken


def test_a_plain_rate_stays_a_number():
    assert learning_rate_schedule(OptimizerSettings("sgd", 0.3)) == 0.3
    assert rates(OptimizerSettings("sgd", 0.25), 3) == [0.25, 0.25, 0.25]


def test_a_hand_worked_warm_up_with_drops():
    settings = OptimizerSettings("sgd", 0.4, warmup=4, drop_at=(6, 8), drop_by=0.5)
    assert rates(settings, 10) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.4, 0.2, 0.2, 0.1, 0.1], abs=1e-7)


def test_hand_worked_drops_without_a_warm_up():
    settings = OptimizerSettings("sgd", 1.0, drop_at=(2, 3))
    assert rates(settings, 5) == pytest.approx([1, 1, 0.1, 0.01, 0.01])


def test_a_warm_up_without_drops():
    assert rates(OptimizerSettings("sgd", 1.0, warmup=2), 4) == pytest.approx([0, 0.5, 1, 1])


def test_a_drop_at_the_end_of_the_warm_up():
    assert rates(OptimizerSettings("sgd", 1.0, warmup=2, drop_at=(2,)), 4) == pytest.approx([0, 0.5, 0.1, 0.1])


def test_a_drop_inside_the_warm_up_is_refused():
    with pytest.raises(BadInput, match="drop_at=3 lies inside the warm-up of 4 iterations"):
        OptimizerSettings("sgd", 0.1, warmup=4, drop_at=(3, 8))
