"""What Hydra's users ask it beside running: `--cfg`, `--package`, `--resolve`, `--info`, `--hydra-help`."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml
from omegaconf import DictConfig, OmegaConf, open_dict

from core.errors import BadInput, suggest
from core.launch.compose import MAIN, Launch, configs_root, one_line_errors
from core.launch.overrides import Selection, SettingChange, is_setting, own_references, parse_overrides
from core.launch.paper_source import register, scale_for_hydra
from core.papers.groups import flatten_groups


def search_path_words(config_dir: str | None) -> list[str]:
    """The override that has Hydra look for presets in a further folder. Raises BadInput where there is none."""
    if config_dir is None:
        return []
    folder = Path(config_dir).resolve()
    if not folder.is_dir():
        raise BadInput(f"--config-dir {config_dir} is no folder")
    return [f"hydra.searchpath=[file://{folder}]"]


def printed_config(launch: Launch, what: str, package: str | None, resolve: bool) -> str:
    """The composition of a launch as YAML: the run's own part, Hydra's, or both; `package` prints a part of it."""
    config = whole_config(launch)
    if what == "job":
        config = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    elif what == "hydra":
        config = OmegaConf.masked_copy(config, ["hydra"])
    with one_line_errors():
        part = config if package is None else _part(config, package)
        if resolve and OmegaConf.is_config(part):
            OmegaConf.resolve(part)
    header = "" if package is None else f"# @package {package}\n"
    text = OmegaConf.to_yaml(part) if OmegaConf.is_config(part) else yaml.safe_dump(part).removesuffix("...\n")
    return header + text


def _part(config: DictConfig, package: str) -> Any:
    """What stands under a dotted name. Raises BadInput with the nearest name that there is."""
    part: Any = config
    names = package.split(".")
    for number, name in enumerate(names):
        keys = [str(key) for key in part] if isinstance(part, DictConfig) else []
        if name not in keys:
            place = "".join(f"{name}." for name in names[:number])
            raise BadInput(f"unknown --package {package}: {suggest(place + name, [place + key for key in keys])}")
        part = None if part is None or OmegaConf.is_missing(part, name) else part[name]
    return part


def whole_config(launch: Launch) -> DictConfig:
    """The composition of a launch with Hydra's own part, as a copy."""
    assert launch.job is not None and launch.hydra is not None
    whole = launch.job.copy()
    with open_dict(whole):
        whole.hydra = launch.hydra
        whole.hydra.overrides.task = list(launch.words)
    return whole


def hydra_folder(launch: Launch) -> dict[str, str]:
    """What Hydra keeps of a run in its folder `.hydra`, by file name."""
    return {
        "config.yaml": printed_config(launch, "job", None, resolve=False),
        "hydra.yaml": printed_config(launch, "hydra", None, resolve=False),
        "overrides.yaml": OmegaConf.to_yaml(OmegaConf.create(list(launch.words))),
    }


def ask_hydra(launch: Launch | None, words: Sequence[str], flags: Sequence[str]) -> None:
    """Have Hydra itself answer its flags (`--info defaults`, `--hydra-help`) about a command line.

    Raises BadInput with one line about words that Hydra cannot compose.
    """
    register()
    before, handlers, level = sys.argv, logging.root.handlers[:], logging.root.level
    sys.argv = ["encore run", *(_for_hydra(launch) if launch is not None else words), *flags]
    try:
        with scale_for_hydra(launch.scale if launch is not None else "laptop"), one_line_errors():
            _answer()
    finally:  # Hydra sets up logging for its answer
        sys.argv, logging.root.handlers[:] = before, handlers
        logging.root.setLevel(level)


def _for_hydra(launch: Launch) -> list[str]:
    """A launch's words with `settings.<name>` spelled for every study, so that Hydra composes what runs."""
    told: list[str] = []
    selection = Selection(launch.config, [chosen.study for chosen in launch.studies], launch.scale)
    for word, override in zip(launch.words, parse_overrides(launch.words), strict=True):
        if not is_setting(override):
            told.append(word)
            continue
        if override.key_or_group == "settings":  # a whole group: as it is, though it speaks to no study
            told.append(f"++{word.lstrip('+')}")
            continue
        value = word.partition("=")[2]
        for change in selection.changes([override]):
            key = f"studies.{change.study}.{change.name}"
            if not change.delete:
                told.append(f"++{key}={own_references(value, change.study)}")
            elif _is_given(selection, change):  # Hydra takes null for nothing, and cannot delete it
                told.append(f"~{key}")
    return told


def _is_given(selection: Selection, change: SettingChange) -> bool:
    values = selection.config.studies[change.study].all_values(selection.scale)
    return dict(flatten_groups({"settings": values})).get(change.name) is not None


@hydra.main(version_base="1.3", config_path=str(configs_root()), config_name=MAIN)
def _answer(config: Any) -> None:
    """Hydra answers its flags before it comes here."""
