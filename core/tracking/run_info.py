"""What a tracker is told: which run it mirrors, where the mirror shall go, and in the end the verdict."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from core.errors import EncoreError
from core.files import read_json
from core.papers.config import load_config
from core.papers.settings import flatten_settings
from core.runs.provenance import find_private


@dataclass(frozen=True)
class RunInfo:
    """A run as trackers present it; nothing in it tells where or by whom it was made.

    Attributes:
      folder: where the run's files are.
      tracking: the chosen tracking group: name, mode, project, entity, group, tags, notes.
      display_path: the folder as the person knows it.
    """

    folder: Path
    tracking: Mapping[str, Any]
    display_path: str

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """Paper, study, scale, settings and the parts of the identity."""
        return redact_private(read_json(self.folder / "settings.json"))

    @cached_property
    def override_summary(self) -> str:
        """The settings that differ from the config, in short, such as `rate=0.05 steps=2000`."""
        values = dict(flatten_settings(self.metadata["settings"]))
        names = [name for name in self.metadata["overridden"] if name in values]
        return " ".join(f"{name.rpartition('.')[2]}={values[name]}" for name in names)

    @cached_property
    def label(self) -> str:
        """A short name: study, scale unless it is the default, what is overridden, the end of the identity."""
        scale = self.metadata["scale"] if self.metadata["scale"] != "laptop" else ""
        parts = (self.metadata["study"], scale, self.override_summary, self.folder.name[-6:])
        return " ".join(filter(None, parts))

    @property
    def project(self) -> str:
        """Where the run is shown among others: the project that was asked for, else its paper."""
        return self.tracking["project"] or self.metadata["paper"]

    @cached_property
    def group(self) -> str:
        """What the run belongs to: the group that was asked for, else its sweep, else its paper."""
        return self.tracking["group"] or find_sweep_group(self.folder) or self.metadata["paper"]

    @property
    def tags(self) -> list[str]:
        """Paper, study and scale, and those that were asked for."""
        return [*(self.metadata[name] for name in ("paper", "study", "scale")), *self.tracking["tags"]]

    @cached_property
    def arms(self) -> tuple[str, ...]:
        """The arms of the study in its config; none where the config is gone."""
        try:
            return tuple(load_config(self.metadata["paper"]).form.studies[self.metadata["study"]].arms)
        except (EncoreError, KeyError):
            return ()

    def stage_columns(self, stage: str) -> dict[str, str]:
        """The columns that a stage's name stands for: `low/ticket-3` is stage `low/3` of the arm `ticket`."""
        pieces = re.split(r"([/.-])", stage)
        named = [piece for piece in pieces if piece in self.arms]
        if not named:
            return {"stage": stage}
        pieces.remove(arm := max(named, key=len))
        rest = re.sub(r"([/.-])[/.-]+", r"\1", "".join(pieces)).strip("/.-")
        return {"arm": arm, "stage": rest} if rest else {"arm": arm}


@dataclass(frozen=True)
class VerdictFolder:
    """What the folder of a verdict holds; its name is the first replicate and how many."""

    folder: Path

    @property
    def claims(self) -> list[dict[str, Any]]:
        """What the study claims, judged."""
        return read_json(self.folder / "claims.json")

    @property
    def provenance(self) -> dict[str, Any]:
        """Code, libraries, machine and cost."""
        return redact_private(read_json(self.folder / "provenance.json"))

    @property
    def figures(self) -> list[Path]:
        """The drawn figures, as SVG."""
        return sorted((self.folder / "figures").glob("*.svg"))

    @property
    def replicates(self) -> range:
        """The replicates that were judged."""
        first, count = map(int, self.folder.name.split("-"))
        return range(first, first + count)


def newest_verdict_folder(folder: Path) -> Path | None:
    """The folder of the verdict of a run that was made last, or None."""
    found = [path.parent for path in folder.glob("verdict/*/provenance.json")]
    return max(found, key=lambda path: (path / "provenance.json").stat().st_mtime, default=None)


def find_sweep_group(folder: Path) -> str | None:
    """The dashboard group of a run's sweep, of the one worked on last if there are several, or None."""
    from core.runs import sweep_folder

    for sweep in sweep_folder.read_sweeps(folder.parent):
        if any(folder.name in point.runs for point in sweep.points):
            return f"sweep-{sweep.identity}"
    return None


def redact_private(value: Any) -> Any:
    """The same plain data with every text that tells where or by whom it was made replaced."""
    if isinstance(value, Mapping):
        return {name: redact_private(item) for name, item in value.items()}
    if isinstance(value, list):
        return [redact_private(item) for item in value]
    return "(private)" if any(find_private(value)) else value
