"""What stands for a paper in the report's gallery, as its config may say."""

from collections.abc import Mapping

from pydantic import Field

from core.errors import BadInput, unknown_name
from core.papers.claims import ClaimForm
from core.papers.clause_language import Form


class Front(Form):
    """The figure and the claim of the gallery; what is left out is chosen there."""

    figure: str = Field("", description="a declared figure; none: the first one of a default study")
    claim: str = Field("", description="the claim that it shows; none: the first one about what the figure draws")


def check_front(front: Front, figures: Mapping[str, object], claims: Mapping[str, ClaimForm]) -> None:
    """What the front names must be there, and only words are quoted. Raises BadInput."""
    for kind, name, known in (("figure", front.figure, figures), ("claim", front.claim, claims)):
        if name and name not in known:
            raise unknown_name(f"{kind} in front:", name, known)
    for name, claim in claims.items():
        if claim.printed is not None and claim.printed.quote and not isinstance(claim.printed.value, str):
            raise BadInput(f"claims.{name}.printed.quote is for words, and {claim.printed.value} is a number")
