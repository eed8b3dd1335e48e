"""From the words of a command line to typed settings: Hydra composes, the scale is laid on, everything is checked.

Nothing here writes a file. Every fault is one `BadInput` line with the nearest valid name.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from core.errors import BadInput, suggest, unknown_name
from core.launch.hosts import Hosts, parse_hosts
from core.papers.config import SCALES, PaperConfig, StudyConfig, merge_values, parse_config, slugs
from core.paths import project_root
from core.tracking.mirror import check_tracking_settings as check_tracking_settings

Composed = tuple[PaperConfig, Mapping[str, Any]]  # a config and the keys of a run
AXES = ("auto", "loop", "vmap", "pmap")
DEVICES = ("auto", "cpu", "accelerator")
SHARED_WORDS = (
    "paper",
    "scale",
    "study",
    "replicates",
    "first_replicate",
    "device",
    "workers",
    "axis",
    "budget.minutes",
    *(f"hosts.{name}" for name in ("coordinator", "count", "index", "patience")),
    "tracking",
    *(f"tracking.{name}" for name in ("mode", "project", "entity", "group", "tags", "notes")),
)


@dataclass(frozen=True)
class SelectedStudy:
    """A study with the settings it will run with."""

    study: StudyConfig
    settings: Any
    overridden: tuple[str, ...]
    replicates: int


@dataclass(frozen=True)
class Launch:
    """One checked command: a paper, its selected studies, and how to run them."""

    config: PaperConfig
    scale: str
    studies: tuple[SelectedStudy, ...]
    first_replicate: int
    tracking: Mapping[str, Any]
    device: str
    workers: int | None
    axis: str
    budget_minutes: float
    hosts: Hosts = dataclasses.field(default_factory=Hosts)

    def printable(self) -> str:
        """The final settings as YAML, scale and overrides included."""
        return OmegaConf.to_yaml(
            {
                "paper": self.config.slug,
                "scale": self.scale,
                "first_replicate": self.first_replicate,
                "device": self.device,
                "workers": self.workers,
                "axis": self.axis,
                "budget": {"minutes": self.budget_minutes},
                "tracking": dict(self.tracking),
                "studies": {
                    chosen.study.name: {
                        "replicates": chosen.replicates,
                        "settings": dataclasses.asdict(chosen.settings),
                    }
                    for chosen in self.studies
                },
            }
        )


def parse_overrides(words: Sequence[str]) -> list[Override]:
    """The overrides of a command line, by Hydra's grammar."""
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


def compose_launch(words: Sequence[str], composed: dict[tuple[str, ...], Composed] | None = None) -> Launch:
    """Compose and check one (unswept) command line.

    `composed` keeps, from one call to the next, what does not depend on settings: the points of a sweep share it.
    """
    overrides = parse_overrides(words)
    for override in overrides:
        if override.is_sweep_override():
            raise BadInput(
                f"'{override.input_line}' names several values: add -m to sweep over them, or write [a,b] for a list"
            )
    slug = _paper(overrides)
    _check_words(overrides)
    others = tuple(str(override.input_line) for override in overrides if not _is_setting(override))
    composed = {} if composed is None else composed
    if others not in composed:
        composition = compose_with_hydra("run", others)
        parts = {key: composition[key] for key in ("paper", "studies", "claims", "notes") if key in composition}
        composed[others] = parse_config(slug, parts), composition
    config, composition = composed[others]
    return _launch(config, composition, overrides)


def _paper(overrides: Sequence[Override]) -> str:
    for override in overrides:
        if override.key_or_group == "paper":
            slug = str(override.value())
            if slug not in slugs():
                raise unknown_name("paper", slug, slugs())
            return slug
    raise BadInput("which paper? write paper=<name>; `encore list` shows all of them")


def _is_setting(override: Override) -> bool:
    key = override.key_or_group
    return key.startswith("settings.") or (key.startswith("studies.") and ".settings." in key)


def _check_words(overrides: Sequence[Override]) -> None:
    """Refuse every key that is none of a run's, before Hydra sees it."""
    for override in overrides:
        key = override.key_or_group
        if _is_setting(override) or key.startswith("hydra"):
            continue
        if override.is_delete() or override.is_add() or override.is_force_add():
            raise BadInput(f"'{override.input_line}': keys of a run cannot be added or removed")
        if key.startswith("studies."):
            raise BadInput(f"unknown key '{key}': write studies.<study>.settings.<name>=<value>")
        if key not in SHARED_WORDS:
            raise BadInput(f"unknown key '{key}': {suggest(key, [*SHARED_WORDS, 'settings.'])}")
        if key == "tracking":
            _choice("tracking", override.value(), [path.stem for path in _configs().glob("tracking/*.yaml")])


def compose_with_hydra(name: str, words: Sequence[str], hydra: bool = False) -> dict[str, Any]:
    """Hydra's composition of `configs/<name>.yaml` as plain values, with its own part when `hydra`; one-line errors."""
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(_configs()), version_base="1.3"):
            composition = compose(name, overrides=list(words), return_hydra_config=hydra)
        if hydra:  # whose own part refers to jobs that do not run yet
            composition = OmegaConf.merge(
                OmegaConf.masked_copy(composition, [str(key) for key in composition if key != "hydra"]),
                {"hydra": {"launcher": composition.hydra.launcher}},
            )
        values = OmegaConf.to_container(composition, resolve=True)
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise BadInput(_one_line(str(error))) from None
    if not isinstance(values, dict):
        raise BadInput(f"configs/{name}.yaml is not a group of keys")
    return {str(key): value for key, value in values.items()}


def _configs() -> Path:
    return project_root() / "configs"


def _one_line(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    useful = [line for line in lines if not line.startswith(("Check that", "To append", "full_key", "object_type"))]
    return "; ".join(useful[:2]).replace("\t", " ")


def _launch(config: PaperConfig, composition: Mapping[str, Any], overrides: Sequence[Override]) -> Launch:
    scale = _choice("scale", composition["scale"], SCALES)
    studies = config.select(composition["study"])
    replicates = composition["replicates"]
    if replicates is not None:
        replicates = _whole("replicates", replicates, 1)
    workers = composition["workers"]
    budget = composition["budget"]["minutes"]
    if isinstance(budget, bool) or not isinstance(budget, int | float) or not budget > 0:
        raise BadInput(f"budget.minutes={budget!r} must be a positive number of minutes")
    check_tracking_settings(composition["tracking"])
    return Launch(
        config=config,
        scale=scale,
        studies=tuple(_selected(config, study, studies, scale, replicates, overrides) for study in studies),
        first_replicate=_whole("first_replicate", composition["first_replicate"], 0),
        tracking=composition["tracking"],
        device=_choice("device", composition["device"], DEVICES),
        workers=None if workers is None else _whole("workers", workers, 1),
        axis=_choice("axis", composition["axis"], AXES),
        budget_minutes=float(budget),
        hosts=parse_hosts(composition["hosts"]),
    )


def default_launch(config: PaperConfig, scale: str, name: str) -> Launch:
    """A launch of one study with the config's own settings, as `paper=… scale=… study=…` gives it, in milliseconds.

    Nothing but the config is read, so that many of them can be asked for their identities.
    """
    study = config.studies[name]
    chosen = SelectedStudy(study, study.build(study.values(scale)), (), study.replicates(scale))
    return Launch(
        config=config,
        scale=scale,
        studies=(chosen,),
        first_replicate=0,
        tracking={},
        device="auto",
        workers=None,
        axis="auto",
        budget_minutes=math.inf,
        hosts=Hosts(),
    )


def _choice(key: str, value: Any, choices: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise unknown_name(key, str(value), choices)
    return value


def _whole(key: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise BadInput(f"{key}={value!r} must be a whole number from {least} on")
    return value


def _selected(
    config: PaperConfig,
    study: StudyConfig,
    selected: Sequence[StudyConfig],
    scale: str,
    replicates: int | None,
    overrides: Sequence[Override],
) -> SelectedStudy:
    """Settings of one study: the config, then the scale, then the command line."""
    values, names = study.values(scale), []
    for override in filter(_is_setting, overrides):
        name = _setting_name(config, study, selected, override)
        if name is not None:
            values = merge_values(values, _nested(name, override.value()))
            names.append(name)
    count = replicates if replicates is not None else study.replicates(scale)
    return SelectedStudy(study, study.build(values), tuple(names), count)


def _setting_name(
    config: PaperConfig, study: StudyConfig, selected: Sequence[StudyConfig], override: Override
) -> str | None:
    """The setting of `study` that an override speaks to, or None when it speaks to other studies."""
    key = override.key_or_group
    if override.is_delete():
        raise BadInput(f"'{override.input_line}': a setting cannot be removed")
    if key.startswith("settings."):
        name = key.removeprefix("settings.")
        if _known(study, name):
            return name
        if not any(_known(other, name) for other in selected):
            raise BadInput(
                f"unknown setting '{name}': {suggest(name, {n for s in selected for n in s.setting_names()})}"
            )
        return None
    target, _, name = key.removeprefix("studies.").partition(".settings.")
    if target not in config.studies:
        raise unknown_name(f"study of {config.slug}", target, config.studies)
    if all(other.name != target for other in selected):
        raise BadInput(f"study '{target}' is not selected: add study={target}")
    if not _known(config.studies[target], name):
        raise BadInput(f"unknown setting '{name}': {suggest(name, config.studies[target].setting_names())}")
    return name if target == study.name else None


def _known(study: StudyConfig, name: str) -> bool:
    names = study.setting_names()
    return name in names or any(known.startswith(f"{name}.") for known in names)


def _nested(dotted: str, value: Any) -> dict[str, Any]:
    first, _, rest = dotted.partition(".")
    return {first: _nested(rest, value) if rest else value}
