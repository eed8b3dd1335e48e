"""Typed settings of a study: frozen pydantic models whose fields carry a help line, a unit and a valid range.

    class TrainingSettings(Settings):
        iterations: PositiveInt = setting("length of a training", unit="iterations")
        evaluate_every: PositiveInt = setting("between two evaluations", unit="iterations", at_most="iterations")
        hidden: tuple[PositiveInt, ...] = setting("widths of the hidden layers")
        scope: Literal["layer", "global"] = setting("what is ranked together")
        data: DataSetName = setting("data set")

The values stand in the paper's config. Nothing here needs a numerical library.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Generic, Self, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, RootModel, model_validator
from pydantic import NonNegativeFloat as NonNegativeFloat
from pydantic import NonNegativeInt as NonNegativeInt
from pydantic import PositiveFloat as PositiveFloat
from pydantic import PositiveInt as PositiveInt
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from core.errors import BadInput, suggest
from core.papers.validation import conflict, group_of, kinds_of, range_words, validate

Fraction = Annotated[float, Field(gt=0, lt=1)]
"""A number inside (0, 1)."""
Share = Annotated[float, Field(ge=0, lt=1)]
"""A number in [0, 1)."""

LARGEST = 2**31 - 1  # whole number of a setting

Item = TypeVar("Item")


class Settings(BaseModel):
    """Base of every class of settings: frozen, strict about types, and without unknown names."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="after")
    def _check_fields(self) -> Self:
        """Relations between fields, as declared on them."""
        for name, field in type(self).model_fields.items():
            extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
            value = getattr(self, name)
            if "at_most" in extra and value is not None:
                _check_at_most(self, name, value, str(extra["at_most"]))
            if "member_of" in extra and value not in getattr(self, str(extra["member_of"])):
                raise conflict(f"{{{name}}} is none of {{{extra['member_of']}}}", name, str(extra["member_of"]))
            if extra.get("rising") and list(value) != sorted(set(value)):
                raise conflict(f"{{{name}}} must rise", name)
        return self

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, checked like any other."""
        return type(self).model_validate({**{name: getattr(self, name) for name in type(self).model_fields}, **changes})


class PerArm(RootModel[dict[str, Item]], Generic[Item]):
    """A value for each arm, by its name: `rates: PerArm[PositiveFloat]`, then `settings.rates["ticket"]`.

    An arm may have values of its own under a condition, as `ticket/long`; without one `ticket` counts.
    """

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    def __getitem__(self, arm: str) -> Item:
        """The value of an arm. Raises KeyError where the config gives none."""
        for name in (arm, arm.partition("/")[0]):
            if name in self.root:
                return self.root[name]
        raise KeyError(f"no value for the arm '{arm}': {suggest(arm, self.root)}")

    def __contains__(self, arm: str) -> bool:
        """Whether the config gives the arm a value."""
        return arm in self.root or arm.partition("/")[0] in self.root

    def __hash__(self) -> int:
        """Of the values in the order of their names."""
        return hash(tuple(sorted(self.root.items(), key=lambda item: item[0])))


def setting(
    help: str,
    *,
    unit: str = "",
    gt: float | None = None,
    ge: float | None = None,
    lt: float | None = None,
    le: float | None = None,
    multiple_of: float | None = None,
    at_most: str | None = None,
    member_of: str | None = None,
    rising: bool = False,
    default: Any = PydanticUndefined,
) -> Any:
    """Declare one field of a settings class.

    Args:
      help: one line for `encore show`.
      unit: of the value.
      gt, ge, lt, le, multiple_of: range of a number, as in `pydantic.Field`.
      at_most: another field of the class; the value, or every item of a list, must not be larger.
      member_of: another field, a list, that must hold the value.
      rising: the items of a list must rise.
      default: only where most configs leave the field out.
    """
    relations = {"at_most": at_most, "member_of": member_of, "rising": rising or None, "unit": unit or None}
    return Field(
        default,
        description=help,
        gt=gt,
        ge=ge,
        lt=lt,
        le=le,
        multiple_of=multiple_of,
        json_schema_extra={name: value for name, value in relations.items() if value is not None},
    )


class _NamesDataSet:
    """Marks a field whose value names a data set: its checksum becomes part of the identity of a run."""


def _check_data_set(name: str) -> str:
    from core.data import catalogue

    if name not in catalogue.data_set_names():
        raise ValueError(f"there is no such data set: {suggest(name, catalogue.data_set_names())}")
    return name


DataSetName = Annotated[str, AfterValidator(_check_data_set), _NamesDataSet()]
"""The name of a data set of `core.data`."""


def _check_at_most(settings: Settings, name: str, value: Any, bound: str) -> None:
    largest = max(value, default=None) if isinstance(value, tuple) else value
    limit = getattr(settings, bound)
    limit = max(limit, default=0) if isinstance(limit, tuple) else limit
    if largest is not None and largest > limit:
        raise conflict(f"{{{name}}} must not be larger than {{{bound}}}: at most {limit}", name, bound)


def build_settings(cls: type[Settings], values: Mapping[str, Any], given: Collection[str] = ()) -> Any:
    """Settings of class `cls` from plain values. Raises BadInput with one line; the user gave the names in `given`."""
    for name, value in flatten_settings(values):
        _check_size(name, value)
    return validate(cls, values, "settings", given)


def _check_size(name: str, value: Any) -> None:
    """Refuse whole numbers that no index of the numerical libraries can have, before any is counted out."""
    for number in value if isinstance(value, list | tuple) else [value]:
        if isinstance(number, int) and abs(number) > LARGEST:
            raise BadInput(f"settings.{name}={value!r} is out of range: whole numbers are at most {LARGEST}")


def settings_as_dict(settings: Settings) -> dict[str, Any]:
    """Typed settings as JSON-ready values."""
    return settings.model_dump(mode="json")


def setting_names(cls: type[Settings], values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of all settings of a class, groups opened; `values` say which arms have values of their own."""
    names: list[str] = []
    for name, field in cls.model_fields.items():
        group, given = group_of(field), values.get(name)
        if group is None:
            names.append(prefix + name)
        elif issubclass(group, PerArm):
            is_open = isinstance(given, Mapping) or is_per_arm(field, alone=True)
            names += [f"{prefix}{name}.{arm}" for arm in given or ()] if is_open else [prefix + name]
        elif issubclass(group, Settings):
            names += setting_names(group, given if isinstance(given, Mapping) else {}, f"{prefix}{name}.")
    return names


def find_setting(cls: type[Settings], name: str) -> FieldInfo | None:
    """The field of a setting, a group of settings or a value by arm; None where the class has none of that name.

    Every arm counts as one that has a value.
    """
    first, _, rest = name.partition(".")
    field = cls.model_fields.get(first)
    group = group_of(field) if field is not None else None
    if not rest or field is None:
        return field
    if group is not None and issubclass(group, PerArm):
        return field if "." not in rest else None
    return find_setting(group, rest) if group is not None and issubclass(group, Settings) else None


def is_per_arm(field: FieldInfo, alone: bool = False) -> bool:
    """Whether a field may hold a value for each arm; `alone`: and nothing else."""
    found = [isinstance(kind, type) and issubclass(kind, PerArm) for kind in kinds_of(field)]
    return all(found) if alone else any(found)


def complete_values(cls: type[Settings], values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values with the defaults of a class where they say nothing, in its order; unknown names come last."""
    found: dict[str, Any] = {}
    for name, field in cls.model_fields.items():
        group, given = group_of(field), values.get(name)
        if isinstance(given, Mapping) and group is not None and issubclass(group, Settings):
            found[name] = complete_values(group, given)
        elif name in values:
            found[name] = given
        elif not field.is_required():
            default = field.get_default(call_default_factory=True)
            found[name] = settings_as_dict(default) if isinstance(default, Settings) else _as_list(default)
    return {**found, **{name: value for name, value in values.items() if name not in found}}


def flatten_settings(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of plain settings, groups opened."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten_settings(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def data_sets_of_settings(settings: Settings) -> list[str]:
    """Names of the data sets that typed settings refer to, those of their groups included."""
    names: list[str] = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, Settings):
            names += data_sets_of_settings(value)
        elif value is not None and any(isinstance(mark, _NamesDataSet) for mark in _marks(field)):
            names.append(value)
    return names


def _marks(field: FieldInfo) -> list[Any]:
    """What a field's type is marked with, also where it may be left out (`DataSetName | None`)."""
    return [
        *field.metadata,
        *(mark for kind in get_args(field.annotation) for mark in getattr(kind, "__metadata__", ())),
    ]


def range_of(field: FieldInfo) -> str:
    """The range or the choices of a field in words, for tables: "(0, 1)", "layer | global", or nothing."""
    return range_words(field) or " | ".join(str(choice) for choice in _choices(field.annotation))


def unit_of(field: FieldInfo) -> str:
    """The unit of a field; empty where it has none."""
    extra = field.json_schema_extra
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


def _choices(annotation: Any) -> Iterator[Any]:
    for item in getattr(annotation, "__args__", ()):
        if isinstance(item, str):
            yield item
        elif item is not Ellipsis:
            yield from _choices(item)


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
