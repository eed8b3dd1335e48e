"""Plain data in groups: one laid over another, keys with dots opened, dotted names."""

from collections.abc import Iterator, Mapping
from typing import Any


def merge_values(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over` laid over it, group by group."""
    merged = dict(base)
    for name, value in over.items():
        under = merged.get(name)
        merged[name] = (
            merge_values(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
        )
    return merged


def flatten_groups(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of plain data, groups among them."""
    for name, value in values.items():
        yield prefix + name, value
        if isinstance(value, Mapping):
            yield from flatten_groups(value, f"{prefix}{name}.")


def open_dotted_keys(values: Any) -> Any:
    """Plain data with keys such as `optimizer.name` opened into groups, at any depth."""
    if not isinstance(values, Mapping):
        return values
    found: dict[str, Any] = {}
    for name, value in values.items():
        first, _, rest = str(name).partition(".")
        inner = {first: open_dotted_keys({rest: value}) if rest else open_dotted_keys(value)}
        found = merge_values(found, inner)
    return found
