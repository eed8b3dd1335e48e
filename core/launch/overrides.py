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
from core.papers.config_files import all_slugs
from core.papers.groups import flatten_groups
from core.papers.settings import find_setting

PREFIX = "settings."


@dataclass(frozen=True)
class SettingChange:
    """A value for one setting, or group of settings, of one study; `delete` takes it out.

    Attributes:
      name: dotted, within the study: "settings.rate", or "replicates".
    """

    study: str
    name: str
    value: Any
    delete: bool = False

    def setting_names(self) -> list[str]:
        """Dotted names of the settings that it changes, those of a group each."""
        name = self.name.removeprefix(PREFIX)
        inner = [f"{name}.{key}" for key, _ in flatten_groups(self.value)] if isinstance(self.value, Mapping) else []
        return [name, *inner]


@dataclass(frozen=True)
class Selection:
    """The studies that overrides speak to."""

    config: PaperConfig
    studies: Sequence[StudyConfig]
    scale: str

    def changes(self, overrides: Sequence[Override]) -> list[SettingChange]:
        """What overrides of settings change, in their order. Raises BadInput for unknown names."""
        return [change for override in overrides for change in self._changes(override)]

    def changes_of_values(self, values: Mapping[str, Any]) -> list[SettingChange]:
        """What a whole group `settings` changes, as a preset may hold it."""
        return [change for name, value in values.items() for change in self._for_all(name, value)]

    def _changes(self, override: Override) -> Iterator[SettingChange]:
        key, value, delete = override.key_or_group, override.value(), override.is_delete()
        anew = override.is_add() or override.is_force_add()
        if key == "settings":
            if not isinstance(value, Mapping):
                raise BadInput(f"'{override.input_line}': settings is a group: write settings.<name>=<value>")
            yield from self.changes_of_values(value)
        elif key.startswith(PREFIX):
            yield from self._for_all(key.removeprefix(PREFIX), value, delete, anew)
        else:
            yield self._for_one(key, value, delete, anew)

    def _for_all(self, name: str, value: Any, delete: bool = False, anew: bool = False) -> Iterator[SettingChange]:
        """One change for every study that has the setting."""
        found = [study for study in self.studies if self._has(study, name, anew)]
        if not found:
            names = {known for study in self.studies for known in study.setting_names(self.scale)}
            others = [study.name for study in self.config.studies.values() if self._has(study, name, anew)]
            hint = f"study={others[0]} has it" if others else suggest(name, names)
            raise BadInput(f"unknown setting '{name}': {hint}")
        for study in found:
            yield SettingChange(study.name, PREFIX + name, own_references(value, study.name), delete)

    def _for_one(self, key: str, value: Any, delete: bool, anew: bool) -> SettingChange:
        """A change of `studies.<study>.…`."""
        target, _, rest = key.removeprefix("studies.").partition(".")
        if target not in self.config.studies:
            raise unknown_name(f"study of {self.config.slug}", target, self.config.studies)
        if all(study.name != target for study in self.studies):
            raise BadInput(f"study '{target}' is not selected: add study={target}")
        name, study = rest.removeprefix(PREFIX), self.config.studies[target]
        if rest != "replicates" and not rest.startswith(PREFIX):
            raise BadInput(f"unknown key '{key}': write studies.{target}.settings.<name>=<value>")
        if rest != "replicates" and not self._has(study, name, anew):
            raise BadInput(f"unknown setting '{name}': {suggest(name, study.setting_names(self.scale))}")
        return SettingChange(target, rest, own_references(value, target), delete)

    def _has(self, study: StudyConfig, name: str, anew: bool) -> bool:
        """Whether a study has a setting, or a group, of this dotted name; `anew` (`+`), it may be a further arm's."""
        if anew:
            return find_setting(study.settings_class, name) is not None
        names = study.setting_names(self.scale)
        return name in names or any(known.startswith(f"{name}.") for known in names)


def parse_overrides(words: Sequence[str]) -> list[Override]:
    """The overrides of a command line, by Hydra's grammar. Raises BadInput for a word that is none."""
    parser = OverridesParser.create()
    overrides = []
    for word in words:
        try:
            override = parser.parse_override(word)
        except HydraException:
            override = None
        if override is None or not override.key_or_group:
            example = f"paper={word}" if word in all_slugs() else "settings.optimizer.learning_rate=3e-4"
            raise BadInput(f"'{word}' is not an override: write key=value, such as {example}")
        overrides.append(override)
    return overrides


def is_setting(override: Override) -> bool:
    """Whether an override speaks to settings or replicates of studies."""
    key = override.key_or_group
    return key == "settings" or key.startswith((PREFIX, "studies."))


def own_references(value: Any, study: str) -> Any:
    """A value that refers to `${settings.…}` as one that refers to the study's own settings."""
    if isinstance(value, str):
        return value.replace("${settings.", f"${{studies.{study}.settings.")
    if isinstance(value, list):
        return [own_references(item, study) for item in value]
    if isinstance(value, Mapping):
        return {name: own_references(item, study) for name, item in value.items()}
    return value
