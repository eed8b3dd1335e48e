"""In what two identities differ: which setting, definition, data file, library or flag, with its values where known."""

from collections.abc import Iterator, Mapping
from typing import Any

from core.runs.identity import flatten_leaves
from core.runs.numeric_flags import UNSET

SHOWN = 3  # things of a kind that are named; of the others there is a number
NOT_SINGLY = "recorded as a whole then"  # of results from before identities had a hash for each thing

Values = tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]


def identity_differences(
    recorded: Mapping[str, Any], current: Mapping[str, Any], values: Values = (None, None), shown: int | None = SHOWN
) -> list[str]:
    """In which parts two identities differ, a short line each.

    Such as "definition core.models.norms.layer_norm changed", "setting batch 60 -> 64", "data file mnist/train-images
    changed", "jax 0.10.2 -> 0.11.0" or "flag jax_enable_x64 unset -> true". Of more than `shown` things of a kind in
    one line the others are counted.

    Args:
      recorded: the parts of one identity, as they were recorded.
      current: those of the other.
      values: the settings behind each, nested, where they are known.
      shown: how many things of a kind are named in a line; None: all, in lines of their own.
    """
    lines = _changes("definition", "code", _part(recorded, "code"), _part(current, "code"), shown)
    lines += _setting_changes(recorded, current, values, shown)
    before, now = _mapping(recorded.get("data")), _mapping(current.get("data"))
    for name in sorted({*before, *now}):
        if name not in before or name not in now:
            lines.append(f"data {name} {'new' if name in now else 'gone'}")
            continue
        lines += _changes("data file", f"data {name}", _data_set(before, name), _data_set(now, name), shown)
    for title, part, nothing in (("", "libraries", "unused"), ("flag ", "flags", UNSET)):
        before, now = _mapping(recorded.get(part)), _mapping(current.get(part))
        changed = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
        lines += [f"{title}{name} {before.get(name, nothing)} -> {now.get(name, nothing)}" for name in changed]
    before, now = _mapping(recorded.get("prepared")), _mapping(current.get("prepared"))
    if bool(before) != bool(now):
        return [*lines, "prepared work"]
    if not now:
        return lines
    own = {part: now.get(part) for part in ("settings", "data", "libraries", "flags")}  # said of the run already
    return lines + [f"prepared work: {line}" for line in identity_differences({**before, **own}, now, shown=shown)]


def _setting_changes(
    recorded: Mapping[str, Any], current: Mapping[str, Any], values: Values, shown: int | None
) -> Iterator[str]:
    """Lines on settings: the old and the new value of each where both are known."""
    (before, old), (now, new) = _part(recorded, "settings"), _part(current, "settings")
    if before == now:
        return
    known = [dict(flatten_leaves(each)) for each in values if each is not None]
    if len(known) < 2:
        yield from _changes("setting", "settings", (before, old), (now, new), shown)
        return
    if not old or not new:  # there is no hash of each: the values themselves are compared
        old, new = known
    then, today = known
    told: dict[str, list[str]] = {"changed": [], "new": [], "gone": []}
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            told["gone"].append(f"setting {name} gone{f' (was {_text(then[name])})' if name in then else ''}")
        elif name not in old:
            told["new"].append(f"setting {name} new{f': {_text(today[name])}' if name in today else ''}")
        elif old[name] != new[name]:
            both = name in then and name in today
            moved = f"{_text(then[name])} -> {_text(today[name])}" if both else "changed"
            told["changed"].append(f"setting {name} {moved}")
    lines = [line for each in told.values() for line in each] or [f"settings ({NOT_SINGLY})"]
    yield from lines[:shown]
    if shown is not None and (more := len(lines) - shown) > 0:
        yield f"{more} more setting{'s' * (more > 1)}"


def _text(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _part(parts: Mapping[str, Any], name: str) -> tuple[Any, dict[str, Any]]:
    """A part's digest, and the hashes of what it is made of by their dotted names, where they are recorded."""
    part = parts.get(name)
    if not isinstance(part, Mapping):
        return part, {}
    return part.get("digest"), dict(flatten_leaves(_mapping(part.get("definitions") or part.get("values"))))


def _data_set(sets: Mapping[str, Any], name: str) -> tuple[Any, dict[str, Any]]:
    found = sets.get(name)
    if not isinstance(found, Mapping):
        return found, {}
    return found.get("digest"), {f"{name}/{file}": hashed for file, hashed in _mapping(found.get("files")).items()}


def _changes(
    kind: str, part: str, recorded: tuple[Any, dict[str, Any]], current: tuple[Any, dict[str, Any]], shown: int | None
) -> list[str]:
    """Lines on one part: what changed; where nothing did, what is new or gone; else just the part."""
    (before, old), (now, new) = recorded, current
    if before == now:
        return []
    if not old or not new:
        return [f"{part} ({NOT_SINGLY})"]
    changed = [name for name in sorted(old.keys() & new.keys()) if old[name] != new[name]]
    more, less = sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys())
    if shown is None:
        found = [(changed, "changed"), (more, "new"), (less, "gone")]
        return [f"{kind} {name} {word}" for names, word in found for name in names] or [part]
    if changed:
        return [_named(kind, changed, "changed", shown)]
    lines = [_named(kind, names, word, shown) for names, word in ((more, "new"), (less, "gone")) if names]
    return lines or [part]


def _named(kind: str, names: list[str], what: str, shown: int) -> str:
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{kind}{'s' * (len(names) > 1)} {', '.join(names[:shown])}{rest} {what}"
