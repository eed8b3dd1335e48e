"""What Hydra sees of a paper's config: its studies, with replicates and settings at the scale that is asked for.

A config says more than Hydra can use: studies that are like others, blocks of scales, winners of tuning. So Hydra does
not read `configs/paper/<slug>.yaml` itself: this source, which Hydra finds before its files, answers for the group
`paper` with plain values.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from core.papers.config import load_config
from core.papers.config_files import all_slugs

SCHEME, GROUP = "encore", "paper"
_scale = ["laptop"]  # what the composition that is under way asks for


@contextmanager
def scale_for_hydra(scale: str) -> Generator[None]:
    """Give Hydra the settings of a scale for as long as the context lasts."""
    _scale.append(scale)
    try:
        yield
    finally:
        _scale.pop()


def studies_node(slug: str, scale: str) -> dict[str, Any]:
    """Replicates and settings of every study of a paper, as plain values."""
    studies = load_config(slug).studies
    return {
        name: {"replicates": study.replicates(scale), "settings": study.all_values(scale)}
        for name, study in studies.items()
    }


class PaperSource(ConfigSource):
    """The group `paper`."""

    @staticmethod
    def scheme() -> str:
        """Of its addresses."""
        return SCHEME

    def load_config(self, config_path: str) -> ConfigResult:
        """The node of one paper."""
        slug = self._normalize_file_name(config_path).removesuffix(".yaml").partition("/")[2]
        node = OmegaConf.create({"paper": slug, "studies": studies_node(slug, _scale[-1])})
        header = {"package": "_global_"}
        return ConfigResult(config=node, path=f"{SCHEME}://{GROUP}/{slug}", provider=self.provider, header=header)

    def available(self) -> bool:
        """Always."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Whether a path is the group."""
        return config_path in ("", GROUP)

    def is_config(self, config_path: str) -> bool:
        """Whether a path is a paper."""
        group, _, slug = self._normalize_file_name(config_path).removesuffix(".yaml").partition("/")
        return group == GROUP and slug in all_slugs()

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """The group, or the papers in it."""
        if results_filter is ObjectType.GROUP:
            return [GROUP] if config_path == "" else []
        return all_slugs() if config_path == GROUP else []


class PaperSearchPath(SearchPathPlugin):
    """Puts the source before Hydra's files."""

    def manipulate_search_path(self, search_path: Any) -> None:
        """Prepend it."""
        search_path.prepend(SCHEME, f"{SCHEME}://papers")


def register() -> None:
    """Tell Hydra of both, once a process."""
    known = Plugins.instance()
    if PaperSearchPath not in known.discover(SearchPathPlugin):
        known.register(PaperSource)
        known.register(PaperSearchPath)
