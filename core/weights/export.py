"""The networks of a study as files: their arrays from a finished replicate, and a card that says what they are."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.papers.config import PaperConfig, settings_classes
from core.papers.contract import Network, load_networks
from core.papers.settings import build_settings
from core.runs.provenance import assert_publishable
from core.weights.card import render_card
from core.weights.replicate import FinishedReplicate
from core.weights.tensors import pack_tensors

if TYPE_CHECKING:
    import pandas as pd

LICENCE = "Apache-2.0"
VERSION = 1  # of what a file's header says
SUFFIX, CARD_SUFFIX = ".safetensors", ".md"


def networks_of(slug: str, study: str) -> dict[str, Network]:
    """The networks that a study trains for others, by name."""
    return {name: each for name, each in load_networks(slug).items() if each.study == study}


def is_kept_for_network(slug: str, study: str, array: str) -> bool:
    """Whether a kept array of a study is taken up by one of its networks."""
    return any(array.startswith(network.kept) for network in networks_of(slug, study).values() if network.kept)


def export_networks(
    config: PaperConfig,
    study: str,
    scale: str,
    run: Path,
    values: Mapping[str, Any],
    table: "pd.DataFrame",
    provenance: Mapping[str, Any],
) -> dict[str, bytes]:
    """The networks of a finished run of a study, of its first replicate, which nobody chose: contents by file name.

    A network is two files, `<name>.safetensors` and its card `<name>.md`.

    Args:
      config: of the paper.
      study: the study.
      scale: of the run.
      run: its folder.
      values: its settings, as plain data.
      table: its measurements.
      provenance: commit, date and identity of the run.

    Raises BadInput where what a network is collected from was removed.
    """
    found = {}
    for name, network in networks_of(config.slug, study).items():
        number = provenance["first_replicate"]
        left = FinishedReplicate(config.slug, study, number, run / "replicates" / f"{number:06d}")
        about = {
            "version": VERSION,
            "paper": config.slug,
            "network": name,
            "study": study,
            "scale": scale,
            "replicate": number,
            "settings": values,
            "licence": LICENCE,
            **{key: provenance[key] for key in ("run", "commit", "date")},
        }
        assert_publishable(about, f"weights {name}")
        arrays = network.collect(build_settings(settings_classes(config.slug)[study], values), left)
        card = render_card(config, network, about, arrays, table)
        assert_publishable(card, f"the card of {name}")
        found |= {f"{name}{SUFFIX}": pack_tensors(arrays, about), f"{name}{CARD_SUFFIX}": card.encode()}
    return found
