"""What Hydra's users ask it beside running: `--cfg`, `--package`, `--resolve`, `--info`, `--hydra-help`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf, open_dict

from core.errors import BadInput, suggest
from core.launch.compose import MAIN, Launch, compose_with_hydra, configs_root, one_line_errors
from core.launch.overrides import is_setting, parse_overrides, setting_changes
from core.launch.paper_source import register, scale_for_hydra

PRINTED = ("job", "hydra", "all")


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
    if package is not None:
        known = [str(key) for key in config]
        config = OmegaConf.select(config, package)
        if config is None:
            raise BadInput(f"--package {package} is no part of it: {suggest(package.partition('.')[0], known)}")
    if resolve:
        with one_line_errors():
            OmegaConf.resolve(config)
    return OmegaConf.to_yaml(config)


def whole_config(launch: Launch) -> DictConfig:
    """The composition of a launch with Hydra's own part."""
    assert launch.job is not None
    words = [word for word in launch.words if not any(map(is_setting, parse_overrides([word])))]
    with scale_for_hydra(launch.scale):
        own = compose_with_hydra(MAIN, words, hydra=True)
    whole = launch.job.copy()
    with open_dict(whole):
        whole.hydra = own.hydra
        whole.hydra.overrides.task = list(launch.words)
    return whole


def hydra_folder(launch: Launch) -> dict[str, str]:
    """What Hydra keeps of a run in its folder `.hydra`, by file name."""
    assert launch.job is not None
    whole = whole_config(launch)
    return {
        "config.yaml": OmegaConf.to_yaml(launch.job),
        "hydra.yaml": OmegaConf.to_yaml(OmegaConf.masked_copy(whole, ["hydra"])),
        "overrides.yaml": OmegaConf.to_yaml(OmegaConf.create(list(launch.words))),
    }


def ask_hydra(launch: Launch | None, words: Sequence[str], flags: Sequence[str]) -> None:
    """Have Hydra itself answer its flags (`--info defaults`, `--hydra-help`) about a command line."""
    register()
    told = _for_hydra(launch) if launch is not None else list(words)
    before = sys.argv
    sys.argv = ["encore run", *told, *flags]
    try:
        with scale_for_hydra(launch.scale if launch is not None else "laptop"):
            _answer()
    finally:
        sys.argv = before


def _for_hydra(launch: Launch) -> list[str]:
    """A launch's words with `settings.<name>` spelled for every study."""
    told: list[str] = []
    selected = [chosen.study for chosen in launch.studies]
    for word in launch.words:
        [override] = parse_overrides([word])
        if override.key_or_group.startswith("settings."):
            value = word.partition("=")[2]
            changes = setting_changes([override], launch.config, selected, launch.scale)
            told += [f"studies.{change.study}.{change.name}={value}" for change in changes]
        else:
            told.append(word)
    return told


@hydra.main(version_base="1.3", config_path=str(configs_root()), config_name=MAIN)
def _answer(config: Any) -> None:
    """Hydra answers its flags before it comes here."""
