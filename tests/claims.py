"""Claims and clauses made of what a config would write, without a config around them."""

from collections.abc import Mapping
from typing import Any

from core.papers.claims import Claim, ClaimForm, Clause, compile_claim
from core.papers.validation import validate

METRICS = {"m": "points", "n": "points", "predicted": "nats", "observed": "nats"}
ARMS = ("a", "b", "c", "other", "dense", "ticket", "reinit", "oneshot")
STUDIES = {"main": dict.fromkeys(ARMS, "an arm"), "deep": dict.fromkeys(ARMS, "an arm")}


def make_claim(
    name: str,
    written: Mapping[str, Any],
    metrics: Mapping[str, str] = METRICS,
    studies: Mapping[str, Mapping[str, str]] = STUDIES,
) -> Claim:
    """A claim as a config's `claims.<name>` gives it. Raises BadInput."""
    return compile_claim(name, validate(ClaimForm, written, ""), metrics, studies)


def make_clauses(*written: Mapping[str, Any], metrics: Mapping[str, str] = METRICS) -> tuple[Clause, ...]:
    """The clauses of a claim that lists these forms, with a control of no interest."""
    claim = {"says": "s", "study": "main", "all": list(written), "control": {"select": {"nothing": 0}}}
    return make_claim("C1", claim, metrics).clauses
