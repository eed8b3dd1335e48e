"""Optimizers from settings: optax's own names and values, and hand-worked schedules."""

import inspect

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from core.errors import BadInput
from core.optim.build import learning_rate_schedule, make_optimizer
from core.optim.settings import DECOUPLED, OPTAX_ARGUMENTS, OptimizerSettings

VALUES = {"nesterov": True, "momentum": 0.7, "b1": 0.8, "b2": 0.9, "decay": 0.6, "eps": 1e-3}


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
    assert (name in DECOUPLED) == ("weight_decay" in known)


def test_every_argument_is_a_setting_and_every_optional_setting_an_argument():
    optional = {name for name, field in OptimizerSettings.model_fields.items() if field.default is None} - {"clip"}
    assert optional == set(VALUES) == {argument for arguments in OPTAX_ARGUMENTS.values() for argument in arguments}


@pytest.mark.parametrize("name", OPTAX_ARGUMENTS)
def test_every_argument_reaches_optax(name):
    plain = three_updates(make_optimizer(OptimizerSettings(name=name, learning_rate=0.1)))
    undecayed = {"weight_decay": 0.0} if name in DECOUPLED else {}
    assert np.array_equal(plain, three_updates(getattr(optax, name)(0.1, **undecayed)))
    given = {argument: VALUES[argument] for argument in OPTAX_ARGUMENTS[name]}
    given |= {"weight_decay": 0.03} if name in DECOUPLED else {}
    ours = three_updates(make_optimizer(OptimizerSettings(name=name, learning_rate=0.1, **given)))
    assert np.array_equal(ours, three_updates(getattr(optax, name)(0.1, **given)))


@pytest.mark.parametrize("name", OPTAX_ARGUMENTS)
def test_other_arguments_are_refused(name):
    for argument in set(VALUES) - set(OPTAX_ARGUMENTS[name]):
        with pytest.raises(ValueError, match=f"takes no {argument}; it belongs to"):
            OptimizerSettings(name=name, learning_rate=0.1, **{argument: VALUES[argument]})


def rates(settings: OptimizerSettings, count: int) -> list[float]:
    """The step sizes really taken: a gradient of one under plain descent."""
    transformation = make_optimizer(settings)
    state, found = transformation.init(jnp.zeros(())), []
    for _ in range(count):
        update, state = transformation.update(jnp.ones(()), state)
        found.append(-float(update))
    return found


def test_weight_decay_is_added_to_the_gradient_where_it_is_not_decoupled():
    """θ ← θ - η (g + λθ), by hand."""
    found = three_updates(make_optimizer(OptimizerSettings(name="sgd", learning_rate=0.1, weight_decay=0.5)))
    theta = np.array([1.0, -2.0])
    for gradient in ([0.5, 0.1], [-0.2, 0.3], [0.1, 0.1]):
        theta = theta - 0.1 * (np.array(gradient) + 0.5 * theta)
    assert found == pytest.approx(theta, rel=1e-6)


def test_a_gradient_is_clipped_by_its_norm_before_all_else():
    settings = OptimizerSettings(name="sgd", learning_rate=1.0, clip=1.0)
    transformation, params = make_optimizer(settings), jnp.array([0.0, 0.0])
    for gradient, expected in (([3.0, 4.0], [-0.6, -0.8]), ([0.3, 0.4], [-0.3, -0.4])):
        update, _ = transformation.update(jnp.array(gradient), transformation.init(params), params)
        assert np.asarray(update) == pytest.approx(expected)


def test_a_plain_rate_stays_a_number():
    assert learning_rate_schedule(OptimizerSettings(name="sgd", learning_rate=0.3)) == 0.3
    assert rates(OptimizerSettings(name="sgd", learning_rate=0.25), 3) == [0.25, 0.25, 0.25]


def test_a_rate_by_arm():
    settings = OptimizerSettings.model_validate({"name": "sgd", "learning_rate": {"ticket": 0.1, "dense": 0.2}})
    assert (settings.rate_of("ticket"), settings.rate_of("dense")) == (0.1, 0.2)
    assert learning_rate_schedule(settings, rate=settings.rate_of("dense")) == 0.2
    with pytest.raises(KeyError, match="no value for the arm 'tikcet': did you mean 'ticket'"):
        settings.rate_of("tikcet")
    assert OptimizerSettings(name="sgd", learning_rate=0.3).rate_of("any") == 0.3
    for wrong in ({"ticket": -0.1}, "fast", -0.1):
        with pytest.raises(ValueError, match="learning_rate"):
            OptimizerSettings.model_validate({"name": "sgd", "learning_rate": wrong})


def taken(count: int, iterations: int | None = None, rate: float = 1.0, **given) -> list[float]:
    """The learning rates of the first iterations under a schedule."""
    settings = OptimizerSettings(name="sgd", learning_rate=rate, **given)
    schedule = learning_rate_schedule(settings, iterations)
    assert callable(schedule)
    by_step = [float(schedule(step)) for step in range(count)]
    if iterations is None:
        assert rates(settings, count) == pytest.approx(by_step, abs=1e-7)
    return by_step


@pytest.mark.parametrize(
    ("given", "count", "expected"),
    [
        ({"warmup": 4, "drop_at": (6, 8), "drop_by": 0.5, "schedule": "piecewise", "rate": 0.4}, 10,
         [0, 0.1, 0.2, 0.3, 0.4, 0.4, 0.2, 0.2, 0.1, 0.1]),
        ({"drop_at": (2, 3), "schedule": "piecewise"}, 5, [1, 1, 0.1, 0.01, 0.01]),
        ({"warmup": 2}, 4, [0, 0.5, 1, 1]),
        ({"warmup": 2, "drop_at": (2,), "schedule": "piecewise"}, 4, [0, 0.5, 0.1, 0.1]),
        ({"schedule": "linear", "iterations": 4}, 5, [1, 0.75, 0.5, 0.25, 0]),
        ({"schedule": "linear", "iterations": 6, "warmup": 2, "final": 0.2}, 7, [0, 0.5, 1, 0.8, 0.6, 0.4, 0.2]),
        ({"schedule": "cosine", "iterations": 4}, 5, [1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2, 0]),
        ({"schedule": "cosine", "iterations": 2, "final": 0.5}, 3, [1, 0.75, 0.5]),
        ({"schedule": "exponential", "iterations": 4, "final": 0.0625}, 5, [1, 0.5, 0.25, 0.125, 0.0625]),
        ({"schedule": "inverse", "iterations": 4, "growth": 12.0, "power": 0.5}, 3, [1, 4**-0.5, 7**-0.5]),
    ],
)  # fmt: skip
def test_hand_worked_schedules(given, count, expected):
    assert taken(count, **given) == pytest.approx(expected, abs=1e-6)


def test_one_cycle_rises_and_falls():
    found = taken(20, iterations=20, schedule="one_cycle")
    top = int(np.argmax(found))
    assert found[top] == pytest.approx(1.0) and 0 < top < 19
    assert np.all(np.diff(found[: top + 1]) > 0) and np.all(np.diff(found[top:]) < 0)


def test_a_schedule_to_the_end_needs_the_length():
    with pytest.raises(BadInput, match="the schedule cosine goes to the end of a training, whose length nobody gave"):
        learning_rate_schedule(OptimizerSettings(name="sgd", learning_rate=0.1, schedule="cosine"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"warmup": 4, "drop_at": (3, 8), "schedule": "piecewise"}, "begins inside"),
        ({"drop_at": (8, 3), "schedule": "piecewise"}, "must rise"),
        ({"drop_at": (3,)}, "belongs to schedule=piecewise"),
        ({"schedule": "piecewise"}, "needs drop_at"),
        ({"final": 0.1}, "belongs to linear, cosine, exponential"),
        ({"schedule": "exponential"}, "needs final"),
        ({"schedule": "inverse"}, "inverse needs it"),
        ({"growth": 2.0}, "nothing else does"),
        ({"schedule": "cosin"}, "schedule"),
        ({"clip": 0.0}, "clip"),
    ],
)
def test_schedules_that_contradict_themselves_are_refused(given, said):
    with pytest.raises(ValueError, match=said):
        OptimizerSettings(name="sgd", learning_rate=0.1, **given)
