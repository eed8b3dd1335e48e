"""Numbers that vary within a batch: where placeholders may go, where they raise, and what fills them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.lab import vectorised
from core.lab.vectorised import Placeholder, fill_placeholders, insert_placeholders
from core.launch import compose
from core.optim.settings import OptimizerSettings
from core.papers.settings import PerArm, Settings, setting
from core.sweeps.vectorised import numeric_settings


class OneSettings(Settings):
    """Settings as an experiment has them, with a check that no placeholder would pass."""

    rate: float = setting("a number", at_most="steps")
    steps: int = setting("another")
    optimizer: OptimizerSettings = setting("a group")
    decays: PerArm[float] = setting("by arm")


SETTINGS = OneSettings(
    rate=0.5,
    steps=3,
    optimizer=OptimizerSettings(name="sgd", learning_rate=0.1, momentum=0.9),
    decays=PerArm[float]({"ticket": 0.25, "dense": 0.75}),
)
NAMES = ("rate", "optimizer.learning_rate", "decays.ticket")
NUMBERS = dict(zip(NAMES, (0.5, 0.1, 0.25), strict=True))


def test_placeholders_stand_where_the_numbers_were() -> None:
    varying = insert_placeholders(SETTINGS, NAMES)
    assert varying.rate == Placeholder("rate") and varying.optimizer.learning_rate == Placeholder(NAMES[1])
    assert (varying.steps, varying.optimizer.momentum, varying.optimizer.name) == (3, 0.9, "sgd")
    assert (varying.decays["ticket"], varying.decays["dense"]) == (Placeholder(NAMES[2]), 0.75)
    assert hash(varying) == hash(insert_placeholders(SETTINGS, NAMES)) and varying == insert_placeholders(
        SETTINGS, NAMES
    )
    assert fill_placeholders(varying, NUMBERS) == SETTINGS
    assert SETTINGS.rate == 0.5 and SETTINGS.decays["ticket"] == 0.25, "the settings themselves stay"


def test_filling_goes_through_partials_and_leaves_everything_else_as_it_is() -> None:
    varying = insert_placeholders(SETTINGS, NAMES)

    def loss(settings: Any, scale: float, x: float) -> float:
        return scale * settings.rate * settings.optimizer.learning_rate * settings.decays["ticket"] * x

    inner = partial(loss, varying)
    outer = partial(lambda function, x: function(2.0, x), inner)
    assert fill_placeholders(outer, {"rate": 3.0, NAMES[1]: 5.0, NAMES[2]: 11.0})(7.0) == 2 * 3 * 5 * 11 * 7
    for same in (SETTINGS, SETTINGS.optimizer, loss, (1, "a"), None, 0.5):
        assert fill_placeholders(same, {}) is same or fill_placeholders(same, {}) == same


def test_numbers_that_may_vary_are_those_with_a_fraction_in_groups_and_arms_too() -> None:
    found = dict(numeric_settings(SETTINGS))
    named = {"rate": 0.5, "optimizer.learning_rate": 0.1, "optimizer.momentum": 0.9}
    assert found == found | named | {"decays.ticket": 0.25, "decays.dense": 0.75}
    assert "steps" not in found and all(type(value) is float for value in found.values())
    varying = insert_placeholders(SETTINGS, list(found))
    assert fill_placeholders(varying, found) == SETTINGS


USES: dict[str, Callable] = {
    "sum": lambda x: x + 1,
    "product": lambda x: 2.0 * x,
    "negative": lambda x: -x,
    "order": lambda x: x > 0,
    "equality": lambda x: x == 0.5,
    "truth": lambda x: bool(x),
    "float": lambda x: float(x),
    "round": lambda x: round(x),
    "least": lambda x: min(x, 1.0),
    "jax": lambda x: jnp.exp(x),
    "numpy": lambda x: np.asarray([x], float),
    "full": lambda x: np.full(3, x, float),
}


@pytest.mark.parametrize("use", USES)
def test_any_use_outside_of_a_function_of_one_replicate_raises(use: str) -> None:
    with pytest.raises(TypeError):
        USES[use](Placeholder("rate"))


def test_numbers_are_as_good_as_python_numbers() -> None:
    """A half-precision product stays one, as it does with a constant."""
    numbers = vectorised.stack_numbers({"rate": [0.25, 0.5]})
    call = partial(
        vectorised._call, partial(lambda settings, x: settings.rate * x, insert_placeholders(SETTINGS, ["rate"]))
    )
    found = jax.jit(jax.vmap(call))(numbers, jnp.ones(2, jnp.bfloat16))
    assert found.dtype == jnp.bfloat16 and found.tolist() == [0.25, 0.5]


BRANCHING = """
def trial(settings, keys, lab):
    {body}
"""


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("lab.measure({'loss': lab.map(partial(lambda s, key: s.rate * 2, settings), keys)}, arm='fast')", None),
        ("lab.measure({'loss': np.full(keys.shape, settings.rate)}, arm='fast')", "TypeError"),
        ("x = 1 if settings.rate > 0.5 else 2", "TypeError"),
        ("lab.map(partial(lambda s, key: 1.0 if s.rate > 0.5 else 2.0, settings), keys)", "TracerBoolConversionError"),
        ("lab.map(partial(lambda s, key: jnp.zeros(int(s.rate)), settings), keys)", "ConcretizationTypeError"),
    ],
)
def test_whether_points_can_share_a_program_is_known_beforehand(toy_root, body, reason) -> None:
    experiment = toy_root / "experiments" / "toy" / "experiment.py"
    text = experiment.read_text()
    start, end = text.index("def trial("), text.index("def prepare(")
    experiment.write_text(text[:start] + BRANCHING.format(body=body) + "\n\n" + text[end:])
    [chosen] = compose.compose_launch(["paper=toy", "study=fit"]).studies
    found = vectorised.why_not_vectorisable("toy", chosen.study, chosen.settings, ["rate"])
    assert (found is None) if reason is None else (found is not None and found.startswith(reason)), found
