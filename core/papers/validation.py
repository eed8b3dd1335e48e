"""One line for what pydantic refuses: what was given, what is wrong with it, and the nearest valid choice."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import annotated_types
from pydantic import BaseModel, TypeAdapter, ValidationError
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
}
CONFLICT = "conflict"
TAGS = ("clause", "short form", "number", "by arm")  # how our models name alternatives


def conflict(message: str, *names: str) -> PydanticCustomError:
    """The error to raise in a model's validator where several of its fields contradict each other.

    Args:
      message: with `{name}` wherever a field and its value are to be named.
      names: fields of the model, dotted where they belong to its groups; the first one is blamed unless the user gave
        another of them.
    """
    return PydanticCustomError(CONFLICT, "{message}", {"message": message, "names": names})


def validate(model: type[BaseModel], values: Any, where: str, given: Collection[str] = ()) -> Any:
    """An instance of `model` made of plain `values`, or `BadInput` with one line about the first fault.

    Args:
      model: the pydantic model.
      values: plain data; lists count as tuples, also where the model is strict.
      where: what the values are, in front of every name: "settings".
      given: dotted names that the user gave; in a contradiction they are blamed.
    """
    try:
        return model.model_validate(as_tuples(values) if model.model_config.get("strict") else values)
    except ValidationError as error:
        raise BadInput(describe_error(error, model, values, where, given)) from None


def as_tuples(values: Any) -> Any:
    """Plain data with tuples in the place of lists, at any depth."""
    if isinstance(values, Mapping):
        return {name: as_tuples(value) for name, value in values.items()}
    return tuple(map(as_tuples, values)) if isinstance(values, list | tuple) else values


def describe_error(
    error: ValidationError, model: type[BaseModel], values: Any, where: str, given: Collection[str] = ()
) -> str:
    """One line about the first fault; unknown names come first, since they often cause the others."""
    faults = sorted(error.errors(include_url=False), key=lambda fault: fault["type"] != "extra_forbidden")
    fault, location = faults[0], tuple(faults[0]["loc"])
    place = _spelled(where, location)
    kind, context = fault["type"], fault.get("ctx", {})
    if kind == CONFLICT:
        return _contradiction(context, place, _at(values, location), given, len(where) + bool(where))
    if kind == "extra_forbidden":
        parent = model_at(model, location[:-1])
        return f"unknown key '{place}': {suggest(str(location[-1]), parent.model_fields if parent else ())}"
    field = field_at(model, location)
    if kind == "missing":
        return f"{place} is missing" + (f": {field.description}" if field and field.description else "")
    given_value = f"{place}={_at(values, location)!r}"
    if kind == "literal_error":
        return f"{given_value} is not a valid choice: {suggest(str(fault['input']), choices_of(fault, field))}"
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "multiple_of"):
        return f"{given_value} is out of range: it must {_range(field, context)}"
    if kind in ("tuple_type", "list_type"):
        return f"{given_value} must be a list, such as {place}=[…]"
    if kind == "model_type":
        group = model_at(model, location)
        first = next(iter(group.model_fields), "…") if group else "…"
        return f"{given_value} must be a group of settings, such as {place}.{first}=…"
    if kind in ("value_error", "assertion_error") and isinstance(context.get("error"), Exception):
        return f"{given_value}: {context['error']}" if location else f"{place}: {context['error']}"
    return f"{given_value} must be {KINDS[kind]}" if kind in KINDS else f"{given_value}: {fault['msg']}"


def _spelled(where: str, location: Sequence[int | str]) -> str:
    """A location as somebody would write it; the names of alternatives, which hold a space, are left out."""
    place = ""
    for step in location:
        place += f"[{step}]" if isinstance(step, int) else f".{step}" if step not in TAGS else ""
    is_file = where.endswith(".yaml")
    return f"{where}: {place.removeprefix('.')}" if is_file else f"{where}{place}".removeprefix(".")


def field_at(model: type[BaseModel], location: Sequence[int | str]) -> FieldInfo | None:
    """The field that a location of an error leads to."""
    found, inner = None, model
    for step in location:
        if not isinstance(step, str) or inner is None:
            continue
        if step in inner.model_fields:
            found = inner.model_fields[step]
            inner = group_of(found)
    return found


def model_at(model: type[BaseModel], location: Sequence[int | str]) -> type[BaseModel] | None:
    """The model that a location of an error leads to."""
    inner: type[BaseModel] | None = model
    for step in location:
        if isinstance(step, str) and inner is not None:
            inner = group_of(inner.model_fields[step]) if step in inner.model_fields else inner
    return inner


def group_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that holds a group, a list or a mapping of them; None for any other field."""
    pending = [field.annotation]
    while pending:
        kind = pending.pop()
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
        pending += getattr(kind, "__args__", ())
    return None


def choices_of(fault: Mapping[str, Any], field: FieldInfo | None) -> list[str]:
    """What a field of some choices may be."""
    if field is not None and field.annotation is not None:
        schema = TypeAdapter[Any](field.annotation).json_schema()
        found = [choice for option in [schema, *schema.get("anyOf", ())] for choice in option.get("enum", ())]
        found += [option["const"] for option in [schema, *schema.get("anyOf", ())] if "const" in option]
        if found:
            return [str(choice) for choice in found]
    return [choice.strip(" '") for choice in fault["ctx"]["expected"].replace(" or ", ",").split(",")]


def _range(field: FieldInfo | None, context: Mapping[str, Any]) -> str:
    """The range of a field in words, as its whole where it is known."""
    low, high = "(-inf", "inf)"
    for bound in field.metadata if field is not None else ():
        low = f"({bound.gt:g}" if isinstance(bound, annotated_types.Gt) else low
        low = f"[{bound.ge:g}" if isinstance(bound, annotated_types.Ge) else low
        high = f"{bound.lt:g})" if isinstance(bound, annotated_types.Lt) else high
        high = f"{bound.le:g}]" if isinstance(bound, annotated_types.Le) else high
    if "multiple_of" in context:
        return f"be a multiple of {context['multiple_of']:g}"
    if (low, high) != ("(-inf", "inf)"):
        return f"lie in {low}, {high}"
    words = {"gt": "be above", "ge": "be at least", "lt": "be below", "le": "be at most"}
    return next(f"{words[name]} {bound:g}" for name, bound in context.items() if name in words)


def _contradiction(context: Mapping[str, Any], place: str, values: Any, given: Collection[str], cut: int) -> str:
    """A message about fields that contradict each other, what the user gave in front."""
    names = list(context["names"])
    message = context["message"]
    spelled = {name: f"{place}.{name}={_plain(_at(values, tuple(name.split('.'))))!r}" for name in names}
    for name, text in spelled.items():
        message = message.replace(f"{{{name}}}", text)
    blamed = [name for name in names if f"{place}.{name}"[cut:] in given]
    if blamed and names[0] not in blamed:
        others = ", ".join(spelled[name] for name in names if name not in blamed)
        return f"{spelled[blamed[0]]} does not go with {others}: {message}"
    return message


def _at(values: Any, location: Sequence[int | str]) -> Any:
    """What stands at a location of plain data; steps that lead nowhere are passed over."""
    for step in location:
        if (isinstance(values, Mapping) and step in values) or (
            isinstance(values, list | tuple) and isinstance(step, int) and step < len(values)
        ):
            values = values[step]
    return values


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
