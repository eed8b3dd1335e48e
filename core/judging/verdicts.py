"""The verdicts of one study from its measurements."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from core.errors import BadInput
from core.papers.config import PaperConfig

if TYPE_CHECKING:
    import pandas as pd


def judge_study(config: PaperConfig, study: str, table: "pd.DataFrame", scale: str) -> list[dict[str, Any]]:
    """The verdicts of one study's claims.

    A claim that cannot be judged from these rows, because settings were overridden or the scale is too small to
    decide, is "not testable" and says why.
    """
    from core.judging.judge import judge_claim

    deviations = config.form.studies[study].deviations
    found = []
    for claim in config.claims_of(study).values():
        if scale == "smoke" and claim.kind == "statistical":
            claim = replace(claim, not_testable={"smoke": "a smoke run decides nothing"})
        try:
            found.append(judge_claim(claim, table, scale, deviations))
        except BadInput as error:
            claim = replace(claim, not_testable={scale: f"the measurements do not fit: {error}"})
            found.append(judge_claim(claim, table, scale, deviations))
    return found
