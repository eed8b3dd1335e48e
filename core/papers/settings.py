"""Typed settings of a study: frozen dataclasses whose fields carry a help line, a unit and a valid range.

The values stand in the config; a Settings class says what they mean. The classes are read from the source of an
experiment without importing it, so that help and refusals need no numerical library.
"""

import ast
import dataclasses
import functools
import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import BadInput, suggest, unknown_name

LIGHT_IMPORTS = ("core.data.catalogue", "core.errors", "dataclasses", "typing")


def setting(
    help: str,
    *,
    unit: str = "",
    within: str = "",
    choices: tuple[str, ...] = (),
    data: bool = False,
    default: Any = dataclasses.MISSING,
) -> Any:
    """Declare one field of a settings class.

    Args:
      help: one line for `encore show`.
      unit: the unit of the value.
      within: valid range of a number, or of every number of a tuple, in interval notation: "(0, 1)", "[1, inf)".
      choices: valid values of a string.
      data: the value names a data set, whose checksum becomes part of the identity of a run.
      default: only for fields that most configs leave out.
    """
    return field(
        default=default, metadata={"help": help, "unit": unit, "within": within, "choices": choices, "data": data}
    )


@dataclass(frozen=True)
class StudyNames:
    """What the experiment calls the parts of one study; `prepare` may be absent."""

    settings: str
    trial: str
    prepare: str | None = None


def read_studies(experiment: Path) -> dict[str, StudyNames]:
    """The `STUDIES` table of an experiment, read from its syntax tree."""
    for node in _parsed(experiment.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "STUDIES" for t in node.targets):
            return {_constant(k): _study_names(v) for k, v in zip(_dict(node).keys, _dict(node).values, strict=True)}
    raise BadInput(f"{experiment.name} has no table STUDIES = {{name: Study(settings=…, trial=…)}}")


@functools.lru_cache(maxsize=8)
def _parsed(source: str) -> ast.Module:
    """The syntax tree of an experiment, which is asked for once per study and more; nobody changes it."""
    return ast.parse(source)


def _dict(node: ast.Assign) -> ast.Dict:
    if not isinstance(node.value, ast.Dict):
        raise BadInput("STUDIES must be written as one dictionary")
    return node.value


def _constant(node: ast.expr | None) -> str:
    if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        raise BadInput("the keys of STUDIES must be written as strings")
    return node.value


def _study_names(node: ast.expr) -> StudyNames:
    keywords = node.keywords if isinstance(node, ast.Call) else []
    names = {k.arg: k.value.id for k in keywords if k.arg and isinstance(k.value, ast.Name)}
    if not {"settings", "trial"} <= set(names) <= {"settings", "trial", "prepare"}:
        raise BadInput("the values of STUDIES must be written as Study(settings=…, trial=…)")
    return StudyNames(**names)


def read_settings_class(experiment: Path, name: str) -> type:
    """Build the settings class `name` from the source of `experiment`, executing nothing else of it."""
    namespace = _light_parts(experiment.read_text(encoding="utf-8"), str(experiment))
    if name not in namespace:
        raise BadInput(f"{experiment.name} has no settings class {name}")
    return namespace[name]


@functools.lru_cache(maxsize=8)
def _light_parts(source: str, experiment: str) -> dict[str, Any]:
    """What an experiment's settings classes and the imports they need define, once for all of its studies."""
    wanted = [node for node in _parsed(source).body if _is_light_import(node) or _is_settings_class(node)]
    namespace: dict[str, Any] = {"__name__": f"settings of {Path(experiment).stem}"}
    exec(compile(ast.Module(body=wanted, type_ignores=[]), experiment, "exec"), namespace)
    return namespace


def _is_light_import(node: ast.stmt) -> bool:
    if not isinstance(node, ast.ImportFrom) or node.module is None:
        return False
    return node.module in LIGHT_IMPORTS or node.module.split(".")[-1] == "settings"


def _is_settings_class(node: ast.stmt) -> bool:
    return isinstance(node, ast.ClassDef) and node.name.endswith("Settings")


def build_settings(cls: Any, values: Mapping[str, Any], where: str = "settings") -> Any:
    """An instance of the settings class `cls` from plain values, or `BadInput` with one line about the first fault."""
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for name in values:
        if name not in fields:
            raise BadInput(f"unknown setting '{where}.{name}': {suggest(name, fields)}")
    hints = typing.get_type_hints(cls)
    typed = {}
    for name, described in fields.items():
        if name in values:
            typed[name] = _typed(values[name], hints[name], described.metadata, f"{where}.{name}")
        elif described.default is dataclasses.MISSING:
            raise BadInput(f"{where}.{name} is missing: {described.metadata.get('help', '')}")
    return cls(**typed)


def _typed(value: Any, hint: Any, about: Mapping[str, Any], name: str) -> Any:
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = _without_none(hint)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise BadInput(
                f"{name}={value!r} must be a group of settings, such as {name}.{dataclasses.fields(hint)[0].name}=…"
            )
        return build_settings(typing.cast(type, hint), value, name)
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        if not isinstance(value, list | tuple):
            raise BadInput(f"{name}={value!r} must be a list, such as {name}=[…]")
        return tuple(_scalar(v, item, about, name) for v in value)
    return _scalar(value, hint, about, name)


def _without_none(hint: Any) -> Any:
    return next((option for option in typing.get_args(hint) if option is not type(None)), hint)


def _scalar(value: Any, kind: type, about: Mapping[str, Any], name: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        words = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}
        raise BadInput(f"{name}={value!r} must be {words.get(kind, kind.__name__)}")
    if kind is float and not math.isfinite(value):
        raise BadInput(f"{name}={value!r} must be a finite number")
    if about.get("choices") and value not in about["choices"]:
        raise BadInput(f"{name}={value!r} is not a valid choice: {suggest(str(value), about['choices'])}")
    if about.get("data"):
        _known_data_set(str(value), name)
    if about.get("within") and not inside(value, about["within"]):
        raise BadInput(f"{name}={value!r} is out of range: it must lie in {about['within']}")
    return value


def _known_data_set(value: str, name: str) -> None:
    from core.data import catalogue

    if value not in catalogue.data_set_names():
        raise unknown_name(f"data set in {name}", value, catalogue.data_set_names())


def inside(value: float, interval: str) -> bool:
    """Whether a number lies in an interval such as "(0, 1]"; NaN and, unless closed there, infinity do not."""
    low, high = (float(bound) for bound in interval[1:-1].split(","))
    above = value >= low if interval[0] == "[" else value > low
    below = value <= high if interval[-1] == "]" else value < high
    return above and below and not math.isnan(value)


def leaf_names(cls: Any, prefix: str = "") -> list[str]:
    """Dotted names of the settings of a class, groups opened."""
    names = []
    for described in dataclasses.fields(cls):
        group = _without_none(described.type) if isinstance(described.type, types.UnionType) else described.type
        if dataclasses.is_dataclass(group):
            names += leaf_names(group, f"{prefix}{described.name}.")
        else:
            names.append(prefix + described.name)
    return names


def flatten_settings(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of plain settings, groups opened."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten_settings(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def data_sets_of_settings(settings: Any) -> list[str]:
    """Names of the data sets that typed settings refer to, those of their groups included."""
    names: list[str] = []
    for described in dataclasses.fields(settings):
        value = getattr(settings, described.name)
        if described.metadata.get("data"):
            names.append(value)
        elif dataclasses.is_dataclass(value):
            names += data_sets_of_settings(value)
    return names


def settings_as_dict(settings: Any) -> dict[str, Any]:
    """Typed settings as JSON-ready values."""
    return dataclasses.asdict(settings, dict_factory=lambda pairs: {name: _as_list(value) for name, value in pairs})


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
