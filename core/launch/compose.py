"""From the words of a command line to a checked launch: Hydra composes, settings are typed, everything is checked.

Nothing here writes a file. Every fault is one `BadInput` line with the nearest valid name.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from core.errors import BadInput, suggest, unknown_name
from core.launch.hosts import Hosts, parse_hosts
from core.launch.options import DebugOptions, RunOptions, option_names
from core.launch.overrides import Selection, SettingChange, is_setting, parse_overrides
from core.launch.paper_source import register, scale_for_hydra
from core.papers.claims import SCALES
from core.papers.config import PaperConfig, StudyConfig, load_config
from core.papers.config_files import all_slugs
from core.papers.settings import Settings, flatten_settings, settings_as_dict
from core.papers.validation import validate
from core.paths import project_root
from core.tracking.mirror import check_tracking_settings

MAIN = "run"  # the config that Hydra begins with
NOT_OPTIONS = ("studies", "settings", "hydra")
TOP_KEYS = (*RunOptions.model_fields, *NOT_OPTIONS)


@dataclass(frozen=True)
class SelectedStudy:
    """A study with the settings it will run with."""

    study: StudyConfig
    settings: Any
    overridden: tuple[str, ...]
    replicates: int


@dataclass(frozen=True)
class Launch:
    """One checked command: a paper, its selected studies, and how to run them.

    Attributes:
      words: the overrides as they were given.
      job: Hydra's composition, unresolved; None of a launch that no command line asked for.
      hydra: the part of it that is Hydra's own.
    """

    config: PaperConfig
    scale: str
    studies: tuple[SelectedStudy, ...]
    first_replicate: int = 0
    tracking: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    workers: int | None = None
    axis: str = "auto"
    budget_minutes: float = float("inf")
    hosts: Hosts = field(default_factory=Hosts)
    debug: DebugOptions = field(default_factory=DebugOptions)
    words: tuple[str, ...] = ()
    job: DictConfig | None = None
    hydra: DictConfig | None = None


@dataclass(frozen=True)
class Composition:
    """What does not depend on settings from the command line: many points of a sweep share it.

    Attributes:
      job: what Hydra composed, unresolved, without its own part.
      hydra: Hydra's own part.
      changes: what a preset says of all studies, and `replicates=` of each.
    """

    selection: Selection
    options: RunOptions
    job: DictConfig
    hydra: DictConfig
    changes: tuple[SettingChange, ...]


Compositions = dict[tuple[str, ...], Composition]


def compose_launch(words: Sequence[str], compositions: Compositions | None = None) -> Launch:
    """Compose and check one (unswept) command line. Raises BadInput.

    `compositions` keeps, from one call to the next, what does not depend on settings.
    """
    overrides = parse_overrides(words)
    for override in overrides:
        if override.is_sweep_override():
            raise BadInput(
                f"'{override.input_line}' names several values: add -m to sweep over them, or write [a,b] for a list"
            )
    others = [override for override in overrides if not is_setting(override)]
    key = tuple(str(override.input_line) for override in others)
    compositions = {} if compositions is None else compositions
    if key not in compositions:
        compositions[key] = _compose(key, others)
    found = compositions[key]
    settings = [override for override in overrides if is_setting(override)]
    changes = [*found.changes, *found.selection.changes(settings)]
    return _launch(found, _changed(found.job, changes), changes, tuple(words))


def default_launch(config: PaperConfig, scale: str, name: str) -> Launch:
    """A launch of one study with the config's own settings, as `paper=… scale=… study=…` gives it, in milliseconds.

    Nothing but the config is read, so that many of them can be asked for their identities.
    """
    study = config.studies[name]
    chosen = SelectedStudy(study, study.build(study.values(scale)), (), study.replicates(scale))
    return Launch(config, scale, (chosen,))


def compose_with_hydra(name: str, words: Sequence[str], hydra: bool = False) -> DictConfig:
    """Hydra's composition of `configs/<name>.yaml`, with its own part when `hydra`. Raises BadInput with one line."""
    register()
    with one_line_errors():
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(configs_root()), job_name="encore", version_base="1.3"):
            return compose(name, overrides=list(words), return_hydra_config=hydra)


def configs_root() -> Path:
    """Where Hydra finds its configs."""
    return project_root() / "configs"


@contextmanager
def one_line_errors() -> Any:
    """Turn what Hydra, OmegaConf and YAML complain of into BadInput with one line."""
    try:
        yield
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{Path(mark.name).name}, line {mark.line + 1}: " if mark is not None else ""
        raise BadInput(f"{place}{getattr(error, 'problem', None) or error}") from None
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # Hydra itself raises all of them
        reason = f"\n{error.__cause__}" if str(error).startswith("Error merging override") else ""
        raise BadInput(_one_line(f"{error}{reason}").removeprefix("Error merging override ")) from None


def _compose(words: tuple[str, ...], overrides: Sequence[Override]) -> Composition:
    """Compose what the words say beside settings.

    The studies' values depend on the scale, which a preset may say: it is composed once to learn it, and once more.
    """
    slug, given = _paper(overrides), {override.key_or_group: override for override in overrides}
    _check_studies(overrides)
    _check_bare_settings(slug, overrides)
    scale = str(given["scale"].value()) if "scale" in given else "laptop"
    job = _compose_at(scale, words)
    if (said := job.get("scale")) in SCALES and said != scale:
        job = _compose_at(said, words)
    _check_added(job, overrides)
    options = _options(job)
    config = load_config(slug)
    selection = Selection(config, config.select(options.study), options.scale)
    with open_dict(job):
        hydra, preset = job.hydra, job.get("settings")
        del job["hydra"], job["settings"]
        for name in job.studies:
            if name not in config.studies:
                raise unknown_name(f"study of {slug}", str(name), config.studies)
        job.studies = {study.name: job.studies[study.name] for study in selection.studies}
    changes = selection.changes_of_values(_plain_values(preset))
    if options.replicates is not None:
        changes += [SettingChange(study.name, "replicates", options.replicates) for study in selection.studies]
    return Composition(selection, options, job, hydra, tuple(changes))


def _compose_at(scale: str, words: Sequence[str]) -> DictConfig:
    with scale_for_hydra(scale if scale in SCALES else "laptop"):
        return compose_with_hydra(MAIN, words, hydra=True)


def _plain_values(preset: Any) -> dict[str, Any]:
    """The group `settings` of a preset as plain data, references as they are written."""
    if preset is None:
        return {}
    values = OmegaConf.to_container(preset, resolve=False) if OmegaConf.is_config(preset) else preset
    if not isinstance(values, Mapping):
        raise BadInput(f"settings={values!r} must be a group of keys")
    return {str(name): value for name, value in values.items()}


def _paper(overrides: Sequence[Override]) -> str:
    named = [override for override in overrides if override.key_or_group == "paper"]
    if not named or named[-1].is_delete() or named[-1].value() is None:
        raise BadInput("which paper? write paper=<name>; `encore list` shows all of them")
    slug = str(named[-1].value())
    if slug not in all_slugs():
        raise unknown_name("paper", slug, all_slugs())
    return slug


def _check_studies(overrides: Sequence[Override]) -> None:
    """Refuse names of studies under the word for their settings."""
    for override in overrides:
        value = override.value()
        if override.key_or_group == "studies" and not isinstance(value, Mapping):
            names = ",".join(map(str, value)) if isinstance(value, list) else value
            wanted = f"[{names}]" if isinstance(value, list) and len(value) != 1 else names
            raise BadInput(f"'{override.input_line}': studies are chosen by study={wanted}")


def _check_bare_settings(slug: str, overrides: Sequence[Override]) -> None:
    """Refuse keys that are settings of the paper, without the word in front that says so."""
    bare = [each for each in overrides if not each.is_add() and each.key_or_group.partition(".")[0] not in TOP_KEYS]
    for override in bare:
        key = override.key_or_group
        names = {name for study in load_config(slug).studies.values() for name in study.setting_names()}
        if found := sorted(name for name in names if name == key or name.endswith(f".{key}")):
            raise BadInput(f"unknown key '{key}': did you mean 'settings.{found[0]}'?")


def _check_added(job: DictConfig, overrides: Sequence[Override]) -> None:
    """Say what a preset lacks that became a key of its own: its folder, or the line that lets it speak of the run."""
    for override in overrides:
        key = override.key_or_group
        if override.is_add() and key in job and key not in RunOptions.model_fields:
            if OmegaConf.is_config(job[key]):
                raise BadInput(f"{key}/{override.value()}.yaml must begin with the line '# @package _global_'")
            raise BadInput(
                f"unknown key '{key}': {suggest(key, option_names())}; of a preset of your own, --config-dir names the "
                "folder"
            )


def _options(job: DictConfig) -> RunOptions:
    with one_line_errors():
        values = {
            str(key): OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            for key, value in job.items()
            if key not in NOT_OPTIONS
        }
    options = validate(RunOptions, values, "")
    check_tracking_settings(options.tracking.model_dump(mode="json"))
    return options


def _changed(job: DictConfig, changes: Sequence[SettingChange]) -> DictConfig:
    """A copy of the composition with the changes in it, the later ones winning."""
    job = job.copy()
    with open_dict(job), one_line_errors():
        for change in changes:
            *groups, last = f"studies.{change.study}.{change.name}".split(".")
            if change.delete:
                OmegaConf.select(job, ".".join(groups)).pop(last, None)
            else:
                OmegaConf.update(job, ".".join([*groups, last]), change.value, merge=True, force_add=True)
    return job


def _launch(found: Composition, job: DictConfig, changes: Sequence[SettingChange], words: tuple[str, ...]) -> Launch:
    options, selection = found.options, found.selection
    with one_line_errors():
        studies = OmegaConf.to_container(job.studies, resolve=True)
    assert isinstance(studies, dict)
    chosen = []
    for study in selection.studies:
        values = studies[study.name]
        _check_replicates(values["replicates"])
        given = [name for change in changes if change.study == study.name for name in change.setting_names()]
        settings = study.build(values["settings"], given)
        overridden = _overridden(study, settings, options.scale)
        chosen.append(SelectedStudy(study, settings, overridden, values["replicates"]))
    return Launch(
        config=selection.config,
        scale=options.scale,
        studies=tuple(chosen),
        first_replicate=options.first_replicate,
        tracking=options.tracking.model_dump(mode="json"),
        device=options.device,
        workers=options.workers,
        axis=options.axis,
        budget_minutes=options.budget.minutes,
        hosts=parse_hosts(options.hosts.model_dump()),
        debug=options.debug,
        words=words,
        job=job,
        hydra=found.hydra,
    )


def _overridden(study: StudyConfig, settings: Settings, scale: str) -> tuple[str, ...]:
    """Names of the settings that are not the config's own, wherever they come from."""
    own = dict(flatten_settings(study.all_values(scale)))
    found = dict(flatten_settings(settings_as_dict(settings)))
    return tuple(sorted(name for name in own.keys() | found.keys() if own.get(name) != found.get(name)))


def _check_replicates(value: Any) -> None:
    field = RunOptions.model_fields["replicates"]
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= field.metadata[-1].le:
        raise BadInput(f"replicates={value!r} must be a whole number from 1 to {field.metadata[-1].le}")


def _one_line(message: str) -> str:
    """Hydra's message as one line; for a key or a choice that does not exist, the nearest one that does."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if lines and lines[0].startswith("Could not override '"):
        key = lines[0].split("'")[1]
        return f"unknown key '{key}': {suggest(key, [*option_names(), 'settings.', 'studies.'])}"
    if len(lines) > 2 and (missing := re.search("Could not find '(.*)/(.*)'", lines[0])) and "Available" in lines[1]:
        names = lines[2 : next((i for i, line in enumerate(lines) if line.startswith("Config search path")), None)]
        return f"unknown {missing[1]} '{missing[2]}': {suggest(missing[2], names)}"
    useful = [line for line in lines if not line.startswith(("Check that", "To append", "full_key", "object_type"))]
    return "; ".join(useful[:2]).replace("\t", " ")
