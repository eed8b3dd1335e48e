"""Published networks, and those of finished runs on this machine, back by their name."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jax import tree

from core import files
from core.errors import BadInput, unknown_name
from core.launch import compose, jobs
from core.papers.claims import SCALES
from core.papers.config import load_config, settings_classes
from core.papers.config_files import all_slugs
from core.papers.contract import Network, load_networks
from core.papers.settings import build_settings
from core.paths import published_folder
from core.runs.measurements import read_measurements
from core.runs.published import PROVENANCE, TABLE, WEIGHTS
from core.weights.export import CARD_SUFFIX, SUFFIX, VERSION, export_networks
from core.weights.tensors import read_tensors


@dataclass(frozen=True)
class Weights:
    """A trained network as its file holds it.

    Attributes:
      path: of the file; the card lies beside it.
      arrays: nested dictionaries of numpy arrays: "params", and what else belongs to the network. What is stored in
        half precision is handed over in single precision.
      about: paper, network, study, scale, replicate, settings, licence, run, commit and date.
    """

    path: Path
    arrays: dict[str, Any]
    about: dict[str, Any]

    @property
    def params(self) -> Any:
        """The parameter tree of the network."""
        return self.arrays["params"]

    @property
    def card(self) -> str:
        """What the network is, in Markdown."""
        return self.path.with_suffix(CARD_SUFFIX).read_text(encoding="utf-8")

    @cached_property
    def model(self) -> Any:
        """What can be called or fitted; the card says what it takes and gives."""
        declared = find_network(self.about["paper"], self.about["network"])
        classes = settings_classes(self.about["paper"])
        return declared.model(build_settings(classes[declared.study], self.about["settings"]), self.arrays)

    def _repr_markdown_(self) -> str:
        return self.card

    def __repr__(self) -> str:
        """Its name and how many parameters it has."""
        count = sum(leaf.size for leaf in tree.leaves(self.params))
        return f"<weights {self.about['paper']}/{self.about['network']}: {count:,} parameters>"


def load_weights(name: str, scale: str = "laptop") -> Weights:
    """The network called `<paper>/<network>`: the published one, else that of a finished run on this machine.

    Raises BadInput for a name that does not exist, or where the network is neither published nor at hand.
    """
    slug, _, word = name.partition("/")
    if slug not in all_slugs():
        raise unknown_name("paper", slug, all_slugs())
    if scale not in SCALES:
        raise unknown_name("scale", scale, SCALES)
    network = find_network(slug, word)
    published = weights_path(published_folder() / slug / scale, word)
    return read_weights(published if published.exists() else _export_here(slug, scale, word, network))


def find_network(slug: str, name: str) -> Network:
    """What an experiment says of one of its networks. Raises BadInput for one that does not exist."""
    networks = load_networks(slug)
    if name not in networks:
        raise unknown_name(f"network of {slug}", name, networks)
    return networks[name]


def weights_path(folder: Path, name: str) -> Path:
    """The file of a network in a published folder or a verdict's."""
    return folder / WEIGHTS / f"{name}{SUFFIX}"


def read_weights(path: Path) -> Weights:
    """The network in a file. Raises BadInput when it is absent, damaged or something else."""
    arrays, about = read_tensors(path)
    if about.get("version") != VERSION:
        raise BadInput(f"{path} is of version {about.get('version')}, this program reads version {VERSION}")
    return Weights(path, tree.map(_single_precision, arrays), about)


def _single_precision(leaf: np.ndarray) -> np.ndarray:
    return leaf.astype(np.float32) if leaf.dtype == np.float16 else leaf


def _export_here(slug: str, scale: str, word: str, network: Network) -> Path:
    """Write the network of the finished run of the config's own settings into the verdict's folder."""
    launch = compose.compose_launch([f"paper={slug}", f"study={network.study}", f"scale={scale}"])
    job = jobs.make_job(launch, launch.studies[0])
    folder = job.run.verdict_folder(job.numbers)
    if not (folder / PROVENANCE).exists():
        raise BadInput(
            f"{slug}/{word} is not published at {scale} scale, and no finished run here has it: "
            f"encore run paper={slug} study={network.study} scale={scale}"
        )
    write_networks(slug, network.study, scale, job.run.folder, folder)
    return weights_path(folder, word)


def write_networks(slug: str, study: str, scale: str, run: Path, verdict: Path) -> list[Path]:
    """Write the networks of a finished run of a study beside its verdict; returns their files, without the cards."""
    provenance, settings = files.read_json(verdict / PROVENANCE), files.read_json(run / "settings.json")
    table = read_measurements(verdict / TABLE)
    found = export_networks(load_config(slug), study, scale, run, settings["settings"], table, provenance)
    for name, content in found.items():
        files.write_bytes(verdict / WEIGHTS / name, content)
    return [verdict / WEIGHTS / name for name in found if name.endswith(SUFFIX)]
