"""Configs: what a paper claims and how it is run here, read from `configs/paper/<slug>.yaml`."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from core.errors import BadInput, suggest, unknown_name
from core.papers.settings import StudyNames, build_settings, leaf_names, read_settings_class, read_studies
from core.paths import configs_folder, experiment_path

SCALES = ("smoke", "laptop", "paper")
SMOKE_REPLICATES = 2
LAPTOP_REPLICATES = 6

CONFIG_KEYS = {"paper", "studies", "claims", "notes"}
PAPER_KEYS = {"title", "authors", "year", "venue", "arxiv", "code", "fields", "idea"}
STUDY_KEYS = {"says", "default", "replicates", "x64", "alone", "threads", "settings", "scales", "arms", "deviations"}
STUDY_KEYS |= {"may_diverge"}  # arms of which a replicate may turn non-finite: that is a result there


@dataclass(frozen=True)
class StudyConfig:
    """One study of a config."""

    paper: str
    name: str
    data: Mapping[str, Any]
    names: StudyNames

    @property
    def default(self) -> bool:
        """Whether `encore run` takes it when no study is named."""
        return self.data.get("default", True)

    def replicates(self, scale: str) -> int:
        """The planned number of replicates."""
        planned = self.data.get("replicates", {})
        if isinstance(planned, int):
            return min(planned, SMOKE_REPLICATES) if scale == "smoke" else planned
        return planned.get(scale, SMOKE_REPLICATES if scale == "smoke" else LAPTOP_REPLICATES)

    def values(self, scale: str) -> dict[str, Any]:
        """The config's settings at a scale: the laptop's, with the block of the scale laid over them."""
        return merge_values(self.data["settings"], self.data.get("scales", {}).get(scale, {}))

    @cached_property
    def settings_class(self) -> type:
        """The typed settings of the study, from the source of the experiment."""
        return read_settings_class(experiment_path(self.paper), self.names.settings)

    def setting_names(self) -> list[str]:
        """Dotted names of all settings."""
        return leaf_names(self.settings_class)

    def build(self, values: Mapping[str, Any]) -> Any:
        """Typed settings from plain values."""
        return build_settings(self.settings_class, values)


@dataclass(frozen=True)
class PaperConfig:
    """The config of one paper."""

    slug: str
    data: Mapping[str, Any]

    @property
    def paper(self) -> Mapping[str, Any]:
        """Reference and idea."""
        return self.data["paper"]

    @property
    def claims(self) -> Mapping[str, Any]:
        """The claims by their ids, as written."""
        return self.data.get("claims", {})

    @cached_property
    def studies(self) -> dict[str, StudyConfig]:
        """The studies by name, in the order of the config."""
        names = read_studies(experiment_path(self.slug))
        for name in self.data["studies"]:
            if name not in names:
                raise BadInput(f"{self.slug}: the experiment has no study '{name}' in STUDIES; {suggest(name, names)}")
        return {name: StudyConfig(self.slug, name, data, names[name]) for name, data in self.data["studies"].items()}

    def select(self, wanted: Any) -> list[StudyConfig]:
        """The studies called `wanted` ("all", one name, or several), by default the default ones."""
        if wanted is None:
            return [study for study in self.studies.values() if study.default]
        if wanted == "all":
            return list(self.studies.values())
        names = wanted if isinstance(wanted, list | tuple) else [wanted]
        if not names:
            raise BadInput(f"study=[] names no study of {self.slug}: {suggest('', [*self.studies, 'all'])}")
        for name in names:
            if not isinstance(name, str) or name not in self.studies:
                raise unknown_name(f"study of {self.slug}", str(name), [*self.studies, "all"])
        return [self.studies[name] for name in dict.fromkeys(names)]


def merge_values(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over` laid over it, group by group."""
    merged = dict(base)
    for name, value in over.items():
        under = merged.get(name)
        merged[name] = (
            merge_values(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
        )
    return merged


def slugs() -> list[str]:
    """Every paper that has a config."""
    return sorted(path.stem for path in configs_folder().glob("*.yaml"))


def load_config(slug: str) -> PaperConfig:
    """Read and check one config; `BadInput` names the nearest paper or the key that is wrong."""
    if slug not in slugs():
        raise unknown_name("paper", slug, slugs())
    from yaml import YAMLError

    from core.papers.yaml_reader import read_yaml

    try:
        data = read_yaml(configs_folder() / f"{slug}.yaml")
    except (YAMLError, OSError, ValueError) as error:
        raise BadInput(f"configs/paper/{slug}.yaml cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise BadInput(f"configs/paper/{slug}.yaml is not a config")
    return parse_config(slug, {str(key): value for key, value in data.items()})


def parse_config(slug: str, data: Mapping[str, Any]) -> PaperConfig:
    """The config made of `data`, refused when a key is unknown or missing."""
    kept = {key: value for key, value in data.items() if key in CONFIG_KEYS}
    _check_keys(f"configs/paper/{slug}.yaml", data, CONFIG_KEYS, {"paper", "studies", "claims"})
    _check_keys(f"{slug}: paper", data["paper"], PAPER_KEYS, {"title", "authors", "year", "fields", "idea"})
    for key in ("studies", "claims"):
        _check_group(f"{slug}: {key}", data[key])
    for name, study in data["studies"].items():
        where = f"{slug}: studies.{name}"
        _check_keys(where, study, STUDY_KEYS, {"says", "settings", "arms"})
        _check_group(f"{where}.settings", study["settings"])
        scales = study.get("scales", {})
        _check_keys(f"{where}.scales", scales, set(SCALES) - {"laptop"}, set())
        for scale, values in scales.items():
            _check_group(f"{where}.scales.{scale}", values)
    return PaperConfig(slug, kept)


def _check_group(where: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise BadInput(f"{where} must be a group of keys")


def _check_keys(where: str, mapping: Any, known: set[str], needed: set[str]) -> None:
    _check_group(where, mapping)
    for key in mapping:
        if key not in known:
            raise BadInput(f"{where} has an unknown key '{key}': {suggest(str(key), known)}")
    if missing := sorted(needed - set(mapping)):
        raise BadInput(f"{where} lacks {', '.join(missing)}")
