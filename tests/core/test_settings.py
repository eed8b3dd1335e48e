"""Typed settings: what is accepted, what is refused and in which words, and classes read from source."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core.errors import BadInput
from core.optim.settings import OptimizerSettings
from core.papers.contract import experiment_studies, load_experiment
from core.papers.settings import (
    StudyNames,
    build_settings,
    data_sets_of_settings,
    inside,
    read_settings_class,
    read_studies,
    setting,
    settings_as_dict,
)
from core.paths import experiment_path


@dataclass(frozen=True)
class InnerSettings:
    depth: int = setting("levels", within="[1, 9]")
    source: str = setting("data of the group", data=True, default="digits")
    cuts: tuple[int, ...] = setting("where", default=())


@dataclass(frozen=True)
class OuterSettings:
    count: int = setting("how many", within="[1, 5]")
    share: float = setting("part of it", within="(0, 1]")
    name: str = setting("which", choices=("red", "green"))
    loud: bool = setting("says more", default=False)
    limit: float | None = setting("upper bound", within="[0, 1)", default=None)
    widths: tuple[float, ...] = setting("of each", within="(0, inf)", default=(1.0,))
    words: tuple[str, ...] | None = setting("of each", choices=("a", "b"), default=None)
    free: float = setting("any number", default=0.5)
    dataset: str = setting("data set", data=True, default="digits")
    inner: InnerSettings = setting("a group", default=InnerSettings(depth=2))
    extra: InnerSettings | None = setting("a group that may be absent", default=None)

    def __post_init__(self) -> None:
        """A small count goes with a small share."""
        if self.count == 1 and self.share > 0.5:
            raise BadInput(f"settings.share={self.share} is too much for count=1")


GOOD: dict[str, Any] = {"count": 2, "share": 0.5, "name": "red"}


def refusal(**values: Any) -> str:
    with pytest.raises(BadInput) as caught:
        build_settings(OuterSettings, {**GOOD, **values})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_plain_values_become_typed_ones():
    built = build_settings(
        OuterSettings, {**GOOD, "share": 1, "widths": [1, 2.5], "inner": {"depth": 3, "cuts": [4, 5]}}
    )
    assert built == OuterSettings(2, 1.0, "red", widths=(1.0, 2.5), inner=InnerSettings(3, cuts=(4, 5)))
    assert type(built.share) is float and [type(width) for width in built.widths] == [float, float]


def test_an_optional_value_is_null_or_of_its_type():
    assert build_settings(OuterSettings, {**GOOD, "limit": None, "words": None}).limit is None
    assert build_settings(OuterSettings, {**GOOD, "limit": 0, "words": ["a", "b"]}).words == ("a", "b")
    assert "settings.limit='none' must be a number" in refusal(limit="none")
    assert "[0, 1)" in refusal(limit=1.0)


def test_an_optional_group_is_null_or_a_group():
    assert build_settings(OuterSettings, {**GOOD, "extra": None}).extra is None
    assert build_settings(OuterSettings, {**GOOD, "extra": {"depth": 4}}).extra == InnerSettings(4)
    assert "settings.extra.depth" in refusal(extra={"depth": 10})


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
        ("name", 3, "must be a word"),
        ("loud", 1, "must be true or false"),
        ("loud", "yes", "must be true or false"),
        ("widths", 2.0, "must be a list, such as settings.widths=[…]"),
        ("widths", "12", "must be a list"),
        ("widths", [1.0, "2"], "must be a number"),
        ("widths", [[1.0]], "must be a number"),
        ("inner", 3, "must be a group of settings, such as settings.inner.depth=…"),
    ],
)
def test_the_wrong_type_is_refused(name, value, said):
    message = refusal(**{name: value})
    assert message.startswith(f"settings.{name}=") and said in message


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"count": 0}, "settings.count=0 is out of range: it must lie in [1, 5]"),
        ({"count": 6}, "[1, 5]"),
        ({"share": 0.0}, "(0, 1]"),
        ({"share": float("nan")}, "settings.share=nan"),
        ({"widths": [1.0, 0.0]}, "settings.widths=0.0"),
        ({"widths": [float("inf")]}, "settings.widths=inf"),
        ({"free": float("nan")}, "settings.free=nan must be a finite number"),
        ({"free": float("-inf")}, "settings.free=-inf must be a finite number"),
        ({"inner": {"depth": 10}}, "settings.inner.depth=10"),
        ({"name": "gren"}, "did you mean 'green'?"),
        ({"words": ["a", "c"]}, "settings.words='c'"),
        ({"dataset": "digit"}, "did you mean 'digits'?"),
    ],
)
def test_a_value_out_of_range_is_refused(values, said):
    assert said in refusal(**values)


@pytest.mark.parametrize("values", [{"count": 1, "share": 0.5}, {"count": 5}, {"share": 1.0}, {"share": 1e-300}])
def test_the_bounds_of_a_range_are_kept(values):
    built = build_settings(OuterSettings, {**GOOD, **values})
    assert all(getattr(built, name) == value for name, value in values.items())


@pytest.mark.parametrize(
    ("interval", "within", "without"),
    [
        ("(0, 1)", [0.5, 1e-9], [0, 1, -1, float("nan")]),
        ("[0, 1]", [0, 1], [-1e-9, 1 + 1e-9]),
        ("[1, inf)", [1, 1e300], [0.999, float("inf"), float("nan")]),
        ("(-inf, 0]", [0, -1e300], [1e-300, float("-inf")]),
        ("[0, inf]", [float("inf"), 0], [-1]),
    ],
)
def test_interval_notation(interval, within, without):
    assert all(inside(value, interval) for value in within)
    assert not any(inside(value, interval) for value in without)


def test_unknown_names_are_answered_with_the_nearest():
    assert refusal(shares=0.5) == "unknown setting 'settings.shares': did you mean 'share'?"
    assert refusal(inner={"dept": 3}) == "unknown setting 'settings.inner.dept': did you mean 'depth'?"


def test_a_missing_value_is_named_with_its_help():
    with pytest.raises(BadInput, match=r"settings\.share is missing: part of it"):
        build_settings(OuterSettings, {"count": 2, "name": "red"})


def test_contradictory_settings_are_refused():
    assert refusal(count=1, share=0.6) == "settings.share=0.6 is too much for count=1"
    with pytest.raises(BadInput, match="optimizer adam takes no momentum; it belongs to sgd, rmsprop"):
        OptimizerSettings("adam", 0.1, momentum=0.9)


def test_data_sets_are_found_in_groups_too():
    built = build_settings(
        OuterSettings, {**GOOD, "dataset": "mnist", "inner": {"depth": 1, "source": "fashion_mnist"}}
    )
    assert data_sets_of_settings(built) == ["mnist", "fashion_mnist"]
    assert data_sets_of_settings(dataclasses.replace(built, extra=InnerSettings(1))) == [
        "mnist",
        "fashion_mnist",
        "digits",
    ]


def test_plain_values_survive_json_and_build_the_same_settings():
    built = build_settings(OuterSettings, {**GOOD, "inner": {"depth": 3, "cuts": [4]}, "words": ["a"]})
    values = settings_as_dict(built)
    assert json.loads(json.dumps(values)) == values
    assert values["inner"]["cuts"] == [4]
    assert build_settings(OuterSettings, values) == built


def test_classes_read_from_source_equal_the_imported_ones(toy_root):
    experiment = experiment_path("toy")
    imported, names = experiment_studies(load_experiment("toy")), read_studies(experiment)
    assert names["ready"] == StudyNames("ReadySettings", "ready_trial", "prepare")
    assert list(names) == list(imported) and names["fit"].prepare is None
    for study, found in names.items():
        assert described(read_settings_class(experiment, found.settings)) == described(imported[study].settings)


def described(cls: type) -> list[Any]:
    """Everything that matters about a settings class, its groups included."""
    return [
        (f.name, described(f.type) if dataclasses.is_dataclass(f.type) else f.type, dict(f.metadata), f.default)
        for f in dataclasses.fields(cls)
    ]


def test_reading_a_class_runs_nothing_else_of_the_experiment(tmp_path):
    experiment = tmp_path / "experiment.py"
    experiment.write_text(
        "import nowhere\nfrom dataclasses import dataclass\nfrom core.papers.settings import setting\n"
        "raise SystemExit('imported')\n"
        "@dataclass(frozen=True)\nclass MySettings:\n    size: int = setting('size')\n"
    )
    assert build_settings(read_settings_class(experiment, "MySettings"), {"size": 3}).size == 3
    with pytest.raises(BadInput, match=r"experiment\.py has no settings class YourSettings"):
        read_settings_class(experiment, "YourSettings")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1", "has no table STUDIES"),
        ("STUDIES = make()", "must be written as one dictionary"),
        ("STUDIES = {name: Study(settings=A, trial=b)}", "must be written as strings"),
        ("STUDIES = {'a': (A, b)}", "must be written as Study"),
        ("STUDIES = {'a': Study(settings=A)}", "must be written as Study"),
        ("STUDIES = {'a': Study(settings=A, trial=b, prepares=c)}", "must be written as Study"),
    ],
)
def test_a_table_of_studies_that_cannot_be_read_is_refused(tmp_path, source, said):
    experiment = Path(tmp_path / "experiment.py")
    experiment.write_text(source)
    with pytest.raises(BadInput, match=said):
        read_studies(experiment)
