"""Prepared work: what all replicates of a study share, computed once on all cores and kept under its own identity.

That identity covers only `settings.prepared`, so that sweeps over the other settings reuse it.
"""

from typing import TYPE_CHECKING, Any

from core.papers.contract import Study
from core.runs.folder import RunFolder

if TYPE_CHECKING:
    import jax

    from core.lab.lab import Lab

FILE = "prepared.msgpack"


def compute_prepared(study: Study, settings: Any, keys: "jax.Array", lab: "Lab") -> None:
    """Run `prepare(settings.prepared, keys, lab)` as a batch of one, and keep the nested dictionary it returns."""
    from core.lab import stages

    assert study.prepare is not None
    stages.save_tree(lab.folders[0] / FILE, study.prepare(settings.prepared, keys, lab))


def load_prepared(identity: str | None) -> Any:
    """What was prepared under an identity; None for a study that prepares nothing."""
    if identity is None:
        return None
    from core.lab import stages

    return stages.load_tree(RunFolder(identity).replicate_folder(0) / FILE)


def is_prepared(identity: str) -> bool:
    """Whether the prepared work is there, and whole."""
    return load_prepared(identity) is not None
