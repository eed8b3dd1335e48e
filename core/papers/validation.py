"""One line for what pydantic refuses: what was given, what is wrong with it, and the nearest valid choice."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import annotated_types
from pydantic import BaseModel, RootModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from core.errors import BadInput, suggest

KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a word",
    "bool_type": "true or false",
    "dict_type": "a group of keys",
    "mapping_type": "a group of keys",
    "model_type": "a group of keys",
    "tuple_type": "a list",
    "none_required": "null",
}
RANGES = ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "multiple_of")
CONFLICT = "conflict"
LONGEST_VALUE = 60  # characters of a value that a message repeats
Step = int | str


class Fault(NamedTuple):
    """One complaint of pydantic.

    Attributes:
      path: where in the data it lies. The names that pydantic gives to alternatives and keys are left out.
    """

    kind: str
    path: tuple[Step, ...]
    value: Any
    context: Mapping[str, Any]
    message: str
    of_key: bool


def conflict(message: str, *names: str) -> PydanticCustomError:
    """The error to raise in a model's validator where several of its fields contradict each other.

    Args:
      message: with `{name}` wherever a field and its value are to be named.
      names: fields of the model, dotted where they belong to its groups; the first one is blamed unless the user gave
        another of them.
    """
    return PydanticCustomError(CONFLICT, "{message}", {"message": message, "names": names})


def validate(model: type[BaseModel], values: Any, where: str, given: Collection[str] = ()) -> Any:
    """An instance of `model`, which is strict, made of plain `values`; `BadInput` with one line about the first fault.

    Args:
      model: the pydantic model.
      values: plain data; lists count as tuples.
      where: what stands in front of every name: "settings", or nothing.
      given: dotted names that the user gave; in a contradiction they are blamed.
    """
    try:
        return model.model_validate(as_tuples(values))
    except ValidationError as error:
        raise BadInput(describe_error(error, model, values, where, given)) from None


def as_tuples(values: Any) -> Any:
    """Plain data with tuples in the place of lists, at any depth."""
    if isinstance(values, Mapping):
        return {name: as_tuples(value) for name, value in values.items()}
    return tuple(map(as_tuples, values)) if isinstance(values, list | tuple) else values


def as_lists(values: Any) -> Any:
    """The same with lists, as YAML has them."""
    if isinstance(values, Mapping):
        return {name: as_lists(value) for name, value in values.items()}
    return list(map(as_lists, values)) if isinstance(values, list | tuple) else values


def describe_error(
    error: ValidationError, model: type[BaseModel], values: Any, where: str, given: Collection[str] = ()
) -> str:
    """One line about the first fault, with what the user gave; unknown names come first, as they often cause others."""
    line = _describe(error, model, values, where, given)
    told = {name: _value(values, name, None) for name in given}
    spelled = [f"{where}.{name}" for name, value in told.items() if not isinstance(value, Mapping)]
    if not spelled or any(name in line for name in spelled):
        return line
    return f"with {', '.join(f'{name}={_plain(told[name.removeprefix(where)[1:]])!r}' for name in spelled[:3])}: {line}"


def _describe(error: ValidationError, model: type[BaseModel], values: Any, where: str, given: Collection[str]) -> str:
    faults = [_fault(each, values) for each in error.errors(include_url=False)]
    fault = next((each for each in faults if each.kind == "extra_forbidden"), None) or _innermost(faults)
    place, field = _spelled(where, fault.path), field_at(model, fault.path)
    shown = place if isinstance(fault.value, Mapping) or _is_long(fault.value) else f"{place}={_plain(fault.value)!r}"
    if fault.kind == CONFLICT:
        return _contradiction(fault, model, where, given)
    if fault.kind == "extra_forbidden":
        return _unknown_key(fault, place, keys_at(model, fault.path[:-1]))
    if fault.of_key:
        return f"unknown key '{place}': {suggest(str(fault.path[-1]), _choices(fault))}"
    if fault.kind == "missing" and isinstance(fault.path[-1], int):
        return f"{_spelled(where, fault.path[:-1])} is too short: it lacks its item {fault.path[-1] + 1}"
    if fault.kind == "missing":
        return f"{place} is missing" + (f": {field.description}" if field and field.description else "")
    alternatives = [each for each in faults if each.path == fault.path]
    if len(alternatives) > 1 and all(each.kind in (*KINDS, "literal_error") for each in alternatives):
        return f"{shown} must be {_in_words(alternatives)}"
    if fault.kind == "literal_error":
        return f"{shown} is not a valid choice: {suggest(str(fault.value), _choices(fault))}"
    if fault.kind in RANGES:
        return f"{shown} is out of range: it must {_range(field, fault.context)}"
    if fault.kind in ("too_short", "too_long"):
        few = fault.kind == "too_short"
        bound = f"at least {fault.context['min_length']}" if few else f"at most {fault.context['max_length']}"
        return f"{shown} must have {bound} item{'s' if bound[-2:] != ' 1' else ''}"
    if isinstance(fault.context.get("error"), Exception):
        return f"{shown if fault.path else place}: {fault.context['error']}"
    if fault.kind in KINDS:
        return f"{shown} must be {_kind(fault, keys_at(model, fault.path), place if where else '')}"
    return f"{shown}: {fault.message}"


def _fault(error: Any, values: Any) -> Fault:
    path, inner, location = [], values, error["loc"]
    for step in location:
        is_key = isinstance(inner, Mapping) and step in inner
        if is_key or (isinstance(inner, list | tuple) and isinstance(step, int) and step < len(inner)):
            path.append(step)
            inner = inner[step]
    if error["type"] == "missing":
        path.append(location[-1])
    of_key = bool(location) and location[-1] == "[key]"
    return Fault(error["type"], tuple(path), inner, error.get("ctx", {}), error["msg"], of_key)


def _innermost(faults: Sequence[Fault]) -> Fault:
    """The first fault, or the deepest below it: of several alternatives, the one that was meant comes furthest."""
    length = len(faults[0].path)
    return max((each for each in faults if each.path[:length] == faults[0].path), key=lambda each: len(each.path))


def _spelled(where: str, path: Sequence[Step]) -> str:
    """A place as somebody would write it."""
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return f"{where}{place}".removeprefix(".")


def _unknown_key(fault: Fault, place: str, known: Sequence[Step]) -> str:
    """What to say of a key that there is not; YAML makes one of what follows an unquoted comma in braces."""
    key = str(fault.path[-1])
    if fault.value is None and " " in key:
        return f"unknown key '{place}': a text with a comma needs quotes"
    if key in known:
        return f"'{place}' does not go with the keys beside it"
    return f"unknown key '{place}': {suggest(key, map(str, known))}"


def _kind(fault: Fault, keys: Sequence[Step], place: str) -> str:
    """Of what kind a value must be, with an example where `place` is the name of a setting."""
    if place and fault.kind == "tuple_type":
        return f"a list, such as {place}=[…]"
    if place and fault.kind == "model_type":
        return f"a group of settings, such as {place}.{next(iter(keys), '…')}=…"
    return KINDS[fault.kind]


def _in_words(alternatives: Sequence[Fault]) -> str:
    words = [
        f"one of {', '.join(_choices(each))}" if each.kind == "literal_error" else KINDS[each.kind]
        for each in alternatives
    ]
    if "a number" in words:
        words = [word for word in words if word != "a whole number"]
    *others, last = dict.fromkeys(words)
    return f"{', '.join(others)} or {last}" if others else last


def _choices(fault: Fault) -> list[str]:
    """What a field of some choices may be, as pydantic words it."""
    return [choice.strip(" '") for choice in re.split(", | or ", fault.context["expected"])]


def range_words(field: FieldInfo | None) -> str:
    """The range of a number, or of the items of a list: "(0, 1)", "[1, inf)"; empty where there is none."""
    low, high = "", ""
    for bound in _bounds(field.annotation, field.metadata) if field is not None else ():
        low = f"({_digits(bound.gt)}" if isinstance(bound, annotated_types.Gt) else low
        low = f"[{_digits(bound.ge)}" if isinstance(bound, annotated_types.Ge) else low
        high = f"{_digits(bound.lt)})" if isinstance(bound, annotated_types.Lt) else high
        high = f"{_digits(bound.le)}]" if isinstance(bound, annotated_types.Le) else high
    return f"{low or '(-inf'}, {high or 'inf)'}" if low or high else ""


def _digits(bound: Any) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def _bounds(annotation: Any, marks: Sequence[Any] = ()) -> Iterator[Any]:
    for mark in marks:
        yield from mark.metadata if isinstance(mark, FieldInfo) else (mark,)
    if _is_model(annotation) and issubclass(annotation, RootModel):
        annotation = annotation.model_fields["root"].annotation
    for item in get_args(annotation):
        yield from _bounds(item, getattr(item, "__metadata__", ()))


def _range(field: FieldInfo | None, context: Mapping[str, Any]) -> str:
    if "multiple_of" in context:
        return f"be a multiple of {context['multiple_of']:g}"
    if words := range_words(field):
        return f"lie in {words}"
    words = {"gt": "be above", "ge": "be at least", "lt": "be below", "le": "be at most"}
    return next(f"{words[name]} {bound:g}" for name, bound in context.items() if name in words)


def _contradiction(fault: Fault, model: type[BaseModel], where: str, given: Collection[str]) -> str:
    """A message about fields that contradict each other, what the user gave in front."""
    names, message = list(fault.context["names"]), fault.context["message"]
    paths = {name: (*fault.path, *name.split(".")) for name in names}
    spelled = {
        name: f"{_spelled(where, path)}={_plain(_value(fault.value, name, field_at(model, path)))!r}"
        for name, path in paths.items()
    }
    for name, text in spelled.items():
        message = message.replace(f"{{{name}}}", text)
    blamed = [name for name in names if ".".join(map(str, paths[name])) in given]
    if blamed and names[0] not in blamed:
        others = ", ".join(spelled[name] for name in names if name not in blamed)
        return f"{spelled[blamed[0]]} does not go with {others}: {message}"
    return message


def _value(values: Any, name: str, field: FieldInfo | None) -> Any:
    """The value under a dotted name, or its field's default."""
    for step in name.split("."):
        if not isinstance(values, Mapping) or step not in values:
            return field.get_default(call_default_factory=True) if field is not None else None
        values = values[step]
    return values


def _is_long(value: Any) -> bool:
    return len(repr(value)) > LONGEST_VALUE


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


# Where in a model a path of the data leads


def field_at(model: type[BaseModel], path: Sequence[Step]) -> FieldInfo | None:
    """The innermost field on the way to a place."""
    found, kinds = None, [model]
    for step in path:
        fields = [keys[step] for kind in kinds if step in (keys := _keys(kind))]
        found = fields[0] if fields else found
        kinds = list(_kinds_inside(kinds, step))
    return found


def keys_at(model: type[BaseModel], path: Sequence[Step]) -> list[Step]:
    """The keys that a place may have; where there are alternatives, those of all."""
    kinds: list[Any] = [model]
    for step in path:
        kinds = list(_kinds_inside(kinds, step))
    return [key for kind in kinds for key in _keys(kind)]


def group_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that holds a group, or a group or nothing; None for any other field."""
    return next((kind for kind in kinds_of(field) if _is_model(kind)), None)


def kinds_of(field: FieldInfo) -> list[Any]:
    """The alternatives of what a field may hold."""
    return list(_alternatives(field.annotation))


def _kinds_inside(kinds: Sequence[Any], step: Step) -> Iterator[Any]:
    """The annotations of what stands at one step inside of any of these."""
    for kind in kinds:
        items = get_args(kind)
        if _is_model(kind) and issubclass(kind, RootModel):
            yield from _kinds_inside(list(_alternatives(kind.model_fields["root"].annotation)), step)
        elif step in (keys := _keys(kind)):
            yield from _alternatives(keys[step].annotation)
        elif get_origin(kind) is dict:
            yield from _alternatives(items[1])
        elif get_origin(kind) is tuple and isinstance(step, int):
            yield from _alternatives(items[min(step, len(items) - 1)] if items[-1] is not Ellipsis else items[0])


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The kinds that a union names, without what is said of them beside."""
    if get_origin(annotation) is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif get_origin(annotation) in (dict, tuple) or not get_args(annotation) or _is_model(annotation):
        yield annotation
    else:
        for item in get_args(annotation):
            yield from _alternatives(item)


def _keys(kind: Any) -> dict[Step, FieldInfo]:
    """The fields of a model by the names that its data have; none of what is no model."""
    return {field.alias or name: field for name, field in kind.model_fields.items()} if _is_model(kind) else {}


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
