"""Which settings a trial reads: settings that note what is asked of them."""

import functools
from collections.abc import Iterator
from typing import Any

from core.papers.settings import PerArm, Settings


def noting_settings(settings: Settings, read: set[str], prefix: str = "") -> Any:
    """A copy of settings, equal to them, that adds the dotted name of every field that is read to `read`."""
    values = {
        name: noting_settings(value, read, f"{prefix}{name}.") if isinstance(value, Settings) else value
        for name, value in settings.__dict__.items()
    }
    made = _noting_class(type(settings)).model_construct(**values)
    _notes[id(made)] = (made, read, prefix)
    return made


def unread_settings(cls: type[Settings], read: set[str], shared: tuple[str, ...] = ("core.",)) -> list[str]:
    """Dotted names of the fields of a class that are not in `read`.

    A group whose class is defined in a module that begins with one of `shared` counts as a whole: papers use of it what
    they need.
    """
    found: list[str] = []
    for name, field in cls.model_fields.items():
        group = field.annotation if isinstance(field.annotation, type) else None
        own = group is not None and issubclass(group, Settings) and not group.__module__.startswith(shared)
        inner = {each.partition(".")[2] for each in read if each.startswith(f"{name}.")}
        if own and name in read:
            found += [f"{name}.{rest}" for rest in unread_settings(group, inner, shared)]
        elif name not in read:
            found.append(name)
    return found


# The instances that note, by their identity as objects: a field of their own would make them unequal to the others.
_notes: dict[int, tuple[Any, set[str], str]] = {}


@functools.cache
def _noting_class(cls: type[Settings]) -> Any:
    """A subclass that notes; its name is the class's own."""

    def __getattribute__(self: Any, name: str) -> Any:
        if name in cls.model_fields:
            _note(self, name)
        return object.__getattribute__(self, name)

    def __iter__(self: Any) -> Iterator[tuple[str, Any]]:
        for name in cls.model_fields:
            yield name, getattr(self, name)

    def replace(self: Any, **changes: Any) -> Any:
        _, read, prefix = _notes[id(self)]
        return noting_settings(plain_settings(self).replace(**{k: plain_settings(v) for k, v in changes.items()}), read,
                               prefix)  # fmt: skip

    members = {"__getattribute__": __getattribute__, "__iter__": __iter__, "replace": replace, "__module__": __name__}
    return type(cls.__name__, (cls,), members)


def plain_settings(value: Any) -> Any:
    """The settings behind noting ones; any other value as it is."""
    if id(value) not in _notes or isinstance(value, PerArm):
        return value
    cls = type(value).__mro__[1]
    return cls.model_construct(**{name: plain_settings(each) for name, each in value.__dict__.items()})


def _note(settings: Any, name: str) -> None:
    if (found := _notes.get(id(settings))) is not None:
        found[1].add(found[2] + name)
