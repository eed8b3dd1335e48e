"""Confirming published results under changed code or libraries, at the cost of one replicate instead of all.

Whoever changes shared code would have to perform every paper again, though most such changes alter no result. Where
settings and data are the same, one published replicate is computed again; if all of its rows are equal bit by bit, the
published study stands for the present code too, and its provenance says by which replicate that was confirmed.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.papers.config import PaperConfig
from core.publishing.publish import CurrentIdentities, claims_without_rows, compare_replicate, lock_published_folder
from core.runs import published
from core.runs.identity import inputs_of

if TYPE_CHECKING:
    import pandas as pd


def can_confirm(provenance: Mapping[str, Any], current: CurrentIdentities | None) -> bool:
    """Whether a published study has the settings, data and flags of today, but other code or versions of libraries."""
    if current is None:
        return False
    before, today = provenance["identity"], current.identity.parts
    return before != today and inputs_of(before) == inputs_of(today)


def confirm_study(
    results: Path,
    slug: str,
    scale: str,
    config: PaperConfig,
    study: str,
    current: CurrentIdentities,
    recomputed: "pd.DataFrame",
    confirmation: Mapping[str, Any],
) -> list[str]:
    """Record that the present code computes a published replicate bit by bit; returns the rows where it does not.

    Args:
      results: folder of published results.
      slug: the paper.
      scale: the published scale.
      config: of the paper.
      study: the study, confirmable as it is now.
      current: what the study would be now.
      recomputed: the measurements of one published replicate, computed by the present code.
      confirmation: what is recorded with the confirmation, such as commit and date.

    Nothing is written when a row differs. Raises BadInput when the folder was edited by hand.
    """
    [replicate] = recomputed["replicate"].unique().tolist()
    if found := compare_replicate(results / slug / scale, study, replicate, recomputed):
        return found
    with lock_published_folder(results, slug, scale) as folder:
        parts = published.read_published(folder)
        before = parts[study].provenance
        entry = {**confirmation, "replicate": replicate, "rows": len(recomputed), "before": _moving(before["identity"])}
        provenance = {
            **before,
            "identity": current.identity.parts,
            "confirmed": [*before.get("confirmed", []), entry],
        }
        parts[study] = dataclasses.replace(parts[study], provenance=provenance)
        published.write_published(folder, parts, list(config.claims), claims_without_rows(config, scale, parts))
    return []


def _moving(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What a confirmation replaces, of the code only the digests."""
    prepared = identity.get("prepared")
    return {"code": identity["code"]["digest"], "libraries": identity["libraries"]} | (
        {"prepared": _moving(prepared)} if prepared else {}
    )
