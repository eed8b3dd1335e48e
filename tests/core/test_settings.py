"""Typed settings: what is accepted, what is refused and in which words, and what tables say of them."""

import json
from typing import Annotated, Any, Literal, Self

import pytest
from pydantic import Field, model_validator

from core.errors import BadInput
from core.optim.settings import OptimizerSettings
from core.papers.settings import (
    DataSetName,
    Fraction,
    PerArm,
    PositiveFloat,
    PositiveInt,
    Settings,
    build_settings,
    complete_values,
    data_sets_of_settings,
    find_setting,
    flatten_settings,
    is_per_arm,
    range_of,
    setting,
    setting_names,
    settings_as_dict,
    unit_of,
)
from core.papers.validation import conflict


class InnerSettings(Settings):
    """A group."""

    depth: Annotated[int, Field(ge=1, le=9)] = setting("levels")
    source: DataSetName = setting("data of the group", default="digits")
    cuts: tuple[PositiveInt, ...] = setting("where", default=(), rising=True)


class OuterSettings(Settings):
    """One of every kind."""

    count: int = setting("how many", unit="apples", ge=1, le=5)
    share: float = setting("part of it", gt=0, le=1)
    name: Literal["red", "green"] = setting("which")
    loud: bool = setting("says more", default=False)
    limit: Annotated[float, Field(ge=0, lt=1)] | None = setting("upper bound", default=None)
    widths: tuple[PositiveFloat, ...] = setting("of each", default=(1.0,))
    words: tuple[Literal["a", "b"], ...] | None = setting("of each", default=None)
    chosen: float = setting("one of the widths", member_of="widths", default=1.0)
    few: PositiveInt = setting("no more than count", at_most="count", default=1)
    places: tuple[PositiveInt, ...] = setting("none beyond count", at_most="count", default=())
    pairs: int = setting("even", multiple_of=2, default=0)
    free: float = setting("any number", default=0.5)
    dataset: DataSetName = setting("data set", default="digits")
    inner: InnerSettings = setting("a group", default=InnerSettings(depth=2))
    extra: InnerSettings | None = setting("a group that may be absent", default=None)
    rates: PerArm[PositiveFloat] = setting("step sizes", default=PerArm[PositiveFloat]({}))

    @model_validator(mode="after")
    def _small_count(self) -> Self:
        """A small count goes with a small share."""
        if self.count == 1 and self.share > 0.5:
            raise conflict("{share} is too much for {count}", "share", "count")
        if self.inner.depth == 9 and self.loud:
            raise conflict("{inner.depth} is not for {loud}", "inner.depth", "loud")
        return self


GOOD: dict[str, Any] = {"count": 2, "share": 0.5, "name": "red"}


def build(**values: Any) -> OuterSettings:
    return build_settings(OuterSettings, {**GOOD, **values})


def refusal(given: tuple[str, ...] = (), **values: Any) -> str:
    with pytest.raises(BadInput) as caught:
        build_settings(OuterSettings, {**GOOD, **values}, given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_plain_values_become_typed_ones() -> None:
    built = build(share=1, widths=[1, 2.5], inner={"depth": 3, "cuts": [4, 5]}, rates={"a": 1})
    assert (built.share, built.widths, built.inner) == (1.0, (1.0, 2.5), InnerSettings(depth=3, cuts=(4, 5)))
    assert type(built.share) is float and [type(width) for width in built.widths] == [float, float]
    assert (built.rates["a"], "a" in built.rates, "b" in built.rates) == (1.0, True, False)
    assert built == build(share=1, widths=[1, 2.5], inner={"depth": 3, "cuts": [4, 5]}, rates={"a": 1})
    assert hash(built) == hash(built.replace())


def test_settings_are_frozen_and_copies_are_checked() -> None:
    built = build(rates={"a": 0.5})
    with pytest.raises(ValueError, match="frozen"):
        setattr(built, "count", 3)  # noqa: B010  a type checker refuses it, too
    assert built.replace(count=3, rates={"b": 2.0}).rates["b"] == 2.0
    assert built.replace(inner=InnerSettings(depth=4)).inner.depth == 4
    with pytest.raises(ValueError, match="less than or equal to 5"):
        built.replace(count=6)
    with pytest.raises(ValueError, match="cuont"):
        built.replace(cuont=3)


def test_an_optional_value_is_null_or_of_its_type() -> None:
    assert build(limit=None, words=None).limit is None
    assert build(limit=0, words=["a", "b"]).words == ("a", "b")
    assert refusal(limit="none") == "settings.limit='none' must be a number"
    assert "[0, 1)" in refusal(limit=1.0)


def test_an_optional_group_is_null_or_a_group() -> None:
    assert build(extra=None).extra is None
    assert build(extra={"depth": 4}).extra == InnerSettings(depth=4)
    assert refusal(extra={"depth": 10}).startswith("settings.extra.depth=10 is out of range")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("count", 2.0, "must be a whole number"),
        ("count", "2", "must be a whole number"),
        ("count", True, "must be a whole number"),
        ("count", None, "must be a whole number"),
        ("count", [2], "must be a whole number"),
        ("share", "0.5", "must be a number"),
        ("share", True, "must be a number"),
        ("name", 3, "is not a valid choice"),
        ("dataset", 3, "must be a word"),
        ("loud", 1, "must be true or false"),
        ("loud", "yes", "must be true or false"),
        ("widths", 2.0, "must be a list, such as settings.widths=[…]"),
        ("widths", "12", "must be a list"),
        ("inner", 3, "must be a group of settings, such as settings.inner.depth=…"),
        ("rates", 0.1, "must be a group of keys"),
    ],
)
def test_the_wrong_type_is_refused(name: str, value: Any, said: str) -> None:
    message = refusal(**{name: value})
    shown = {"None": "null", "True": "true", "False": "false"}.get(repr(value), repr(value))
    assert message.startswith(f"settings.{name}={shown} ") and said in message


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"count": 0}, "settings.count=0 is out of range: it must lie in [1, 5]"),
        ({"count": 6}, "[1, 5]"),
        ({"share": 0.0}, "(0, 1]"),
        ({"share": float("nan")}, "settings.share=nan must be a finite number"),
        ({"widths": [1.0, "2"]}, "settings.widths[1]='2' must be a number"),
        ({"widths": [[1.0]]}, "settings.widths[0]=[1.0] must be a number"),
        ({"widths": [1.0, 0.0]}, "settings.widths[1]=0.0 is out of range: it must lie in (0, inf)"),
        ({"widths": [float("inf")]}, "settings.widths[0]=inf"),
        ({"free": float("-inf")}, "settings.free=-inf must be a finite number"),
        ({"pairs": 3}, "settings.pairs=3 is out of range: it must be a multiple of 2"),
        ({"inner": {"depth": 10}}, "settings.inner.depth=10 is out of range: it must lie in [1, 9]"),
        ({"rates": {"ticket": -1.0}}, "settings.rates.ticket=-1.0 is out of range: it must lie in (0, inf)"),
        ({"rates": {"ticket": "fast"}}, "settings.rates.ticket='fast' must be a number"),
        ({"name": "gren"}, "settings.name='gren' is not a valid choice: did you mean 'green'?"),
        ({"words": ["a", "c"]}, "settings.words[1]='c' is not a valid choice"),
        ({"dataset": "digit"}, "settings.dataset='digit': there is no such data set: did you mean 'digits'?"),
        ({"inner": {"depth": 1, "source": "digit"}}, "settings.inner.source='digit'"),
    ],
)
def test_a_value_out_of_range_is_refused(values: dict[str, Any], said: str) -> None:
    assert said in refusal(**values)


@pytest.mark.parametrize("values", [{"count": 1, "share": 0.5}, {"count": 5}, {"share": 1.0}, {"share": 1e-300}])
def test_the_bounds_of_a_range_are_kept(values: dict[str, Any]) -> None:
    built = build(**values)
    assert all(getattr(built, name) == value for name, value in values.items())


def test_unknown_names_are_answered_with_the_nearest() -> None:
    assert refusal(shares=0.5) == "unknown key 'settings.shares': did you mean 'share'?"
    assert refusal(inner={"dept": 3}) == "unknown key 'settings.inner.dept': did you mean 'depth'?"
    assert refusal(extra={"dept": 3}) == "unknown key 'settings.extra.dept': did you mean 'depth'?"
    assert "unknown key 'settings.shares'" in refusal(count=0, shares=0.5), "it often causes the other fault"


def test_a_missing_value_is_named_with_its_help() -> None:
    with pytest.raises(BadInput, match=r"^settings\.share is missing: part of it$"):
        build_settings(OuterSettings, {"count": 2, "name": "red"})
    assert refusal(inner={}) == "settings.inner.depth is missing: levels"


# Fields that contradict each other


def test_contradictions_name_the_values_and_blame_what_the_user_gave() -> None:
    plain = "settings.share=0.6 is too much for settings.count=1"
    assert refusal(count=1, share=0.6) == plain
    assert refusal(given=("share",), count=1, share=0.6) == plain
    assert refusal(given=("share", "count"), count=1, share=0.6) == plain
    blamed = refusal(given=("count",), count=1, share=0.6)
    assert blamed == f"settings.count=1 does not go with settings.share=0.6: {plain}"


def test_contradictions_reach_into_groups_and_name_defaults() -> None:
    deep = refusal(inner={"depth": 9}, loud=True)
    assert deep == "settings.inner.depth=9 is not for settings.loud=true"
    assert refusal(given=("loud",), inner={"depth": 9}, loud=True).startswith("settings.loud=true does not go with")
    assert refusal(widths=[2.0, 3.0]) == "settings.chosen=1.0 is none of settings.widths=[2.0, 3.0]"
    inside = refusal(given=("inner.cuts",), inner={"depth": 1, "cuts": [3, 2]})
    assert inside == "settings.inner.cuts=[3, 2] must rise"


@pytest.mark.parametrize(
    ("values", "given", "said"),
    [
        ({"few": 3}, (), "settings.few=3 must not be larger than settings.count=2: at most 2"),
        ({"few": 3}, ("count",), "settings.count=2 does not go with settings.few=3: "),
        ({"places": [1, 3, 2]}, (), "settings.places=[1, 3, 2] must not be larger than settings.count=2: at most 2"),
        ({"chosen": 2.0}, (), "settings.chosen=2.0 is none of settings.widths=[1.0]"),
        ({"inner": {"depth": 1, "cuts": [2, 2]}}, (), "settings.inner.cuts=[2, 2] must rise"),
    ],
)
def test_relations_that_fields_declare(values: dict[str, Any], given: tuple[str, ...], said: str) -> None:
    assert refusal(given, **values).startswith(said)


def test_relations_that_hold_are_accepted() -> None:
    built = build(few=2, places=[2, 1], widths=[0.5, 2], chosen=0.5, inner={"depth": 1, "cuts": [1, 2]})
    assert (built.few, built.places, built.chosen, built.inner.cuts) == (2, (2, 1), 0.5, (1, 2))


def test_an_optimizer_refuses_what_its_name_does_not_take() -> None:
    def refused(given: tuple[str, ...], **values: Any) -> str:
        with pytest.raises(BadInput) as caught:
            build_settings(WithOptimizer, {"optimizer": {"learning_rate": 0.1, **values}}, given)
        return str(caught.value)

    plain = "settings.optimizer.name='adam' takes no momentum; it belongs to sgd, rmsprop"
    assert refused(("optimizer.name",), name="adam", momentum=0.9) == plain
    assert refused(("optimizer.momentum",), name="adam", momentum=0.9) == (
        f"settings.optimizer.momentum=0.9 does not go with settings.optimizer.name='adam': {plain}"
    )
    inside = refused((), name="sgd", warmup=4, drop_at=[3, 8], schedule="piecewise")
    assert inside == "settings.optimizer.drop_at=[3, 8] begins inside settings.optimizer.warmup=4: at most 3"
    unset = refused((), name="sgd", final=0.5)
    assert unset.endswith("goes with settings.optimizer.schedule='constant'"), "the default is named"
    assert refused((), name="sgd", learning_rate={"a": -1.0}).startswith(
        "settings.optimizer.learning_rate.a=-1.0 is out"
    )
    assert refused((), name="sgd", learning_rate="fast") == "settings.optimizer.learning_rate='fast' must be a number"


def test_a_number_or_one_by_arm_has_the_names_that_it_is_given() -> None:
    for rate, names in ((0.1, ["learning_rate"]), ({"a": 0.1, "b": 0.2}, ["learning_rate.a", "learning_rate.b"])):
        found = setting_names(OptimizerSettings, {"learning_rate": rate})
        assert [name for name in found if name.startswith("learning_rate")] == names
    field = find_setting(WithOptimizer, "optimizer.learning_rate.any_arm")
    assert field is not None and is_per_arm(field) and not is_per_arm(field, alone=True)
    assert range_of(OptimizerSettings.model_fields["learning_rate"]) == "(0, inf)"


class WithOptimizer(Settings):
    """A group alone."""

    optimizer: OptimizerSettings = setting("optimizer")


# What tables and other tools read


def test_data_sets_are_found_in_groups_too() -> None:
    built = build(dataset="mnist", inner={"depth": 1, "source": "fashion_mnist"})
    assert data_sets_of_settings(built) == ["mnist", "fashion_mnist"]
    assert data_sets_of_settings(built.replace(extra=InnerSettings(depth=1))) == ["mnist", "fashion_mnist", "digits"]


class MayName(Settings):
    """A data set that may be left out."""

    backgrounds: DataSetName | None = setting("data set", default=None)


def test_a_data_set_that_may_be_left_out_is_found_where_it_is_named() -> None:
    assert data_sets_of_settings(MayName()) == []
    assert data_sets_of_settings(MayName(backgrounds="digits")) == ["digits"]


def test_plain_values_survive_json_and_build_the_same_settings() -> None:
    built = build(inner={"depth": 3, "cuts": [4]}, words=["a"], rates={"b": 2.0, "a": 1.0})
    values = settings_as_dict(built)
    assert json.loads(json.dumps(values)) == values
    assert (values["inner"]["cuts"], values["rates"]) == ([4], {"b": 2.0, "a": 1.0})
    assert build_settings(OuterSettings, values) == built


def test_complete_values_are_those_of_the_settings_in_the_order_of_the_class() -> None:
    given = {"name": "red", "share": 0.5, "count": 2, "extra": {"depth": 3}, "rates": {"a": 0.1}}
    complete = complete_values(OuterSettings, given)
    assert complete == settings_as_dict(build_settings(OuterSettings, given))
    assert list(complete) == list(OuterSettings.model_fields)
    assert list(complete_values(OuterSettings, {"shares": 1, **given}))[-1] == "shares", "kept, to be refused"


def test_names_of_settings_open_groups_and_arms() -> None:
    names = setting_names(OuterSettings, {**GOOD, "rates": {"a": 0.1, "b": 0.2}})
    assert {"count", "inner.depth", "extra.cuts", "rates.a", "rates.b", "words"} <= set(names)
    assert "inner" not in names and "rates" not in names
    assert not any(name.startswith("rates") for name in setting_names(OuterSettings, GOOD))
    assert dict(flatten_settings({"a": 1, "b": {"c": {"d": 2}, "e": []}})) == {"a": 1, "b.c.d": 2, "b.e": []}


def test_a_setting_is_found_by_its_dotted_name() -> None:
    helps = {"count": "how many", "inner": "a group", "inner.depth": "levels", "extra.depth": "levels"}
    for name, help in helps.items():
        field = find_setting(OuterSettings, name)
        assert field is not None and field.description == help
    for name in ("inner.dept", "count.more", "widths.a", "rates.a.b", "", "."):
        assert find_setting(OuterSettings, name) is None
    rates = find_setting(OuterSettings, "rates.any_arm")
    assert rates is not None and is_per_arm(rates) and is_per_arm(rates, alone=True)
    assert not is_per_arm(OuterSettings.model_fields["inner"])


def test_ranges_and_units_in_words() -> None:
    shown = {name: range_of(field) for name, field in OuterSettings.model_fields.items()}
    above_zero = dict.fromkeys(("widths", "few", "places", "rates"), "(0, inf)")
    choices = {"name": "red | green", "words": "a | b"}
    bounds = {"count": "[1, 5]", "share": "(0, 1]", "limit": "[0, 1)"}
    assert shown == dict.fromkeys(shown, "") | above_zero | choices | bounds
    assert unit_of(OuterSettings.model_fields["count"]) == "apples"
    assert unit_of(OuterSettings.model_fields["share"]) == ""
    assert range_of(_Fractional.model_fields["part"]) == "(0, 1)"


class _Fractional(Settings):
    part: Fraction = setting("a part")


def test_an_arm_without_a_value_is_named() -> None:
    with pytest.raises(KeyError, match="no value for the arm 'tikcet': did you mean 'ticket'"):
        build(rates={"ticket": 0.1}).rates["tikcet"]


def test_an_arm_may_have_values_of_its_own_under_a_condition() -> None:
    rates = PerArm[PositiveFloat]({"plain": 0.1, "plain/long": 0.3, "other": 1.0})
    assert [rates[arm] for arm in ("plain", "plain/long", "plain/short", "other/long")] == [0.1, 0.3, 0.1, 1.0]
    assert "other/long" in rates and "third/long" not in rates
    with pytest.raises(KeyError, match="no value for the arm 'third/long'"):
        rates["third/long"]
