"""What Hydra cannot say: `settings.<name>=<value>` speaks to every selected study that has the setting.

Each such override becomes one of `studies.<study>.settings.<name>` for every study it speaks to, and so does what it
refers to: `settings.iterations=${settings.batch}` takes each study's own batch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from core.errors import BadInput, suggest, unknown_name
from core.papers.config import PaperConfig, StudyConfig

PREFIX = "settings."


@dataclass(frozen=True)
class SettingChange:
    """A value for one setting of one study; None of a deletion."""

    study: str
    name: str
    value: Any
    delete: bool = False


def parse_overrides(words: Sequence[str]) -> list[Override]:
    """The overrides of a command line, by Hydra's grammar. Raises BadInput for a word that is none."""
    parser = OverridesParser.create()
    overrides = []
    for word in words:
        try:
            overrides.append(parser.parse_override(word))
        except HydraException:
            raise BadInput(
                f"'{word}' is not an override: write key=value, such as settings.learning_rate=3e-4"
            ) from None
    return overrides


def is_setting(override: Override) -> bool:
    """Whether an override speaks to settings or replicates of studies."""
    key = override.key_or_group
    return key == "settings" or key.startswith((PREFIX, "studies."))


def setting_changes(
    overrides: Sequence[Override], config: PaperConfig, selected: Sequence[StudyConfig], scale: str
) -> list[SettingChange]:
    """What the overrides change in the selected studies, in their order. Raises BadInput for unknown names."""
    return [change for override in overrides for change in _changes(override, config, selected, scale)]


def changes_of_values(
    values: Mapping[str, Any], config: PaperConfig, selected: Sequence[StudyConfig], scale: str
) -> list[SettingChange]:
    """The same of a whole group `settings`, as a preset may hold it."""
    return [
        change for name, value in values.items() for change in _for_all(name, value, False, config, selected, scale)
    ]


def _changes(
    override: Override, config: PaperConfig, selected: Sequence[StudyConfig], scale: str
) -> Iterator[SettingChange]:
    key, value, delete = override.key_or_group, override.value(), override.is_delete()
    if key == "settings":
        if not isinstance(value, Mapping):
            raise BadInput(f"'{override.input_line}': settings is a group: write settings.<name>=<value>")
        yield from changes_of_values(value, config, selected, scale)
    elif key.startswith(PREFIX):
        yield from _for_all(key.removeprefix(PREFIX), value, delete, config, selected, scale)
    else:
        yield _for_one(key, value, delete, config, selected, scale)


def _for_all(
    name: str, value: Any, delete: bool, config: PaperConfig, selected: Sequence[StudyConfig], scale: str
) -> Iterator[SettingChange]:
    """One change for every selected study that has the setting."""
    found = [study for study in selected if has_setting(study, name, scale)]
    if not found:
        names = {known for study in selected for known in study.setting_names(scale)}
        others = [study.name for study in config.studies.values() if has_setting(study, name, scale)]
        hint = f"study={others[0]} has it" if others else suggest(name, names)
        raise BadInput(f"unknown setting '{name}': {hint}")
    for study in found:
        yield SettingChange(study.name, f"settings.{name}", _own_references(value, study.name), delete)


def _for_one(
    key: str, value: Any, delete: bool, config: PaperConfig, selected: Sequence[StudyConfig], scale: str
) -> SettingChange:
    """A change of `studies.<study>.…`."""
    target, _, rest = key.removeprefix("studies.").partition(".")
    if target not in config.studies:
        raise unknown_name(f"study of {config.slug}", target, config.studies)
    if all(study.name != target for study in selected):
        raise BadInput(f"study '{target}' is not selected: add study={target}")
    name = rest.removeprefix(PREFIX)
    if rest != "replicates" and not rest.startswith(PREFIX):
        raise BadInput(f"unknown key '{key}': write studies.{target}.settings.<name>=<value>")
    if rest != "replicates" and not has_setting(config.studies[target], name, scale):
        names = config.studies[target].setting_names(scale)
        raise BadInput(f"unknown setting '{name}': {suggest(name, names)}")
    return SettingChange(target, rest, _own_references(value, target), delete)


def has_setting(study: StudyConfig, name: str, scale: str) -> bool:
    """Whether a study has a setting, or a group of settings, of this dotted name."""
    names = study.setting_names(scale)
    return name in names or any(known.startswith(f"{name}.") for known in names)


def _own_references(value: Any, study: str) -> Any:
    """A value that refers to `${settings.…}` as one that refers to the study's own settings."""
    if isinstance(value, str):
        return value.replace("${settings.", f"${{studies.{study}.settings.")
    if isinstance(value, list):
        return [_own_references(item, study) for item in value]
    if isinstance(value, Mapping):
        return {name: _own_references(item, study) for name, item in value.items()}
    return value
