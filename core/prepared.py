"""Prepared work: what all replicates of a study share, computed once on all cores and kept under its own identity.

That identity covers only `settings.prepared`, so that sweeps over the other settings reuse it.
"""

from typing import Any

import jax

from core import stages
from core.contract import Study
from core.lab import Lab
from core.running.runs import Run

FILE = "prepared.msgpack"


def compute(study: Study, settings: Any, keys: jax.Array, lab: Lab) -> None:
    """Run `prepare(settings.prepared, keys, lab)` as a batch of one, and keep the nested dictionary it returns."""
    assert study.prepare is not None
    stages.save(lab.folders[0] / FILE, study.prepare(settings.prepared, keys, lab))


def load(identity: str | None) -> Any:
    """What was prepared under an identity; None for a study that prepares nothing."""
    return None if identity is None else stages.load(Run(identity).replicate(0) / FILE)


def ready(identity: str) -> bool:
    """Whether the prepared work is there, and whole."""
    return load(identity) is not None
