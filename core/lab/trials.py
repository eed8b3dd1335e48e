"""Performing a trial: once, or once with every value of a tuning's grid."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from core.papers.config import Tuning
from core.papers.settings import Settings

SomeSettings = TypeVar("SomeSettings", bound=Settings)


def perform_trial(
    trial: Callable, settings: Settings, keys: Any, lab: Any, tuning: Tuning | None, arms: Mapping[str, str]
) -> None:
    """Call `trial(settings, keys, lab)`; when tuning, for every value, which becomes a condition of what it measures.

    The condition bears the last word of the setting's name; stages of a value have names of their own.
    """
    if tuning is None:
        trial(settings, keys, lab)
        return
    column = tuning.setting.rpartition(".")[2]
    for value in tuning.values:
        chosen = dict.fromkeys(arms, value) if tuning.per_arm else value
        with lab.scope(f"{value:g}/".replace("+", ""), {column: value}):
            trial(with_value(settings, tuning.setting, chosen), keys, lab)


def with_value(settings: SomeSettings, name: str, value: Any) -> SomeSettings:
    """A copy of the settings with another value under a dotted name, checked."""
    first, _, rest = name.partition(".")
    return settings.replace(**{first: with_value(getattr(settings, first), rest, value) if rest else value})
