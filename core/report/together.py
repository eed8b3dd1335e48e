"""What the published claims of all papers say together: effects beside the printed ones, shares that hold, what failed
and why, what no laptop decides. Made from configs and published results alone, without any local run; light."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.papers.config import PaperConfig
from core.report.claims import VERDICTS, Claim
from core.report.effects import Effect, comparable_effect
from core.report.results import Result

DECIDED = ("holds", "fails")


@dataclass(frozen=True)
class PublishedClaim:
    """A claim with the verdict published for it, and whose it is."""

    slug: str
    title: str
    fields: tuple[str, ...]
    year: int
    scale: str
    claim: Claim
    notes: tuple[str, ...]

    @property
    def link(self) -> str:
        """Where the report shows it."""
        return f"{self.slug}.html#claim-{self.claim.id}"

    @property
    def deviations(self) -> list[str]:
        """How the setting differs from the paper's, as far as it bears on the claim."""
        known = [each for each in self.claim.deviations if isinstance(each, Mapping)]
        return [f"{each.get('what')}: {each.get('laptop')}, in the paper {each.get('paper')}" for each in known]


@dataclass(frozen=True)
class Share:
    """How the claims of one field or one year came out."""

    name: str
    papers: int
    counts: Mapping[str, int]

    @property
    def decided(self) -> int:
        """Claims that hold or fail."""
        return sum(self.counts.get(name, 0) for name in DECIDED)

    @property
    def share(self) -> float | None:
        """The share of these that holds, None where nothing is decided."""
        return self.counts.get("holds", 0) / self.decided if self.decided else None

    @property
    def text(self) -> str:
        """The same in words."""
        held = self.counts.get("holds", 0)
        return "" if self.share is None else f"{100 * self.share:.0f} % ({held} of {self.decided})"


@dataclass(frozen=True)
class Together:
    """All published claims, in the groups that the page shows."""

    claims: tuple[PublishedClaim, ...]

    @property
    def overall(self) -> Share:
        """All of them."""
        return _share("all", self.claims)

    @property
    def by_field(self) -> list[Share]:
        """By field of research, the one with most claims first; a paper counts in each of its fields."""
        found = self._shares(lambda each: each.fields)
        return sorted(found, key=lambda share: (-sum(share.counts.values()), share.name))

    @property
    def by_year(self) -> list[Share]:
        """By year of publication."""
        return sorted(self._shares(lambda each: [str(each.year)]), key=lambda share: share.name)

    @property
    def effects(self) -> list[tuple[PublishedClaim, Effect]]:
        """Claims whose printed number and measured effect have one unit, the larger printed effects first."""
        found = [(each, comparable_effect(each.slug, each.claim)) for each in self.claims]
        return sorted([(each, effect) for each, effect in found if effect], key=lambda pair: -pair[1].printed)

    def with_verdict(self, verdict: str) -> list[PublishedClaim]:
        """Those with one verdict."""
        return [each for each in self.claims if each.claim.verdict == verdict]

    def _shares(self, names: Callable[[PublishedClaim], Iterable[str]]) -> list[Share]:
        groups: dict[str, list[PublishedClaim]] = {}
        for each in self.claims:
            for name in names(each):
                groups.setdefault(name, []).append(each)
        return [_share(name, group) for name, group in groups.items()]


def collect_claims(configs: Iterable[PaperConfig], results: Mapping[str, Sequence[Result]]) -> Together:
    """The published claims of papers, each by its first published result; results of a paper come best first."""
    found = []
    for config in configs:
        known: dict[str, tuple[Result, Claim]] = {}
        for result in results.get(config.slug, ()):
            for claim in result.claims if result.published else ():
                known.setdefault(claim.id, (result, claim))
        found += [_published(config, *known[name]) for name in config.form.claims if name in known]
    return Together(tuple(found))


def _published(config: PaperConfig, result: Result, claim: Claim) -> PublishedClaim:
    about, notes = config.paper, tuple(sentences_about(claim.id, config.notes))
    return PublishedClaim(config.slug, about.title, tuple(about.fields), about.year, result.scale, claim, notes)


def sentences_about(name: str, text: str) -> list[str]:
    """The sentences of a text that name a claim."""
    sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z])", " ".join(text.split()))
    return [sentence for sentence in sentences if re.search(rf"\b{re.escape(name)}\b", sentence)]


def _share(name: str, claims: Sequence[PublishedClaim]) -> Share:
    verdicts = [each.claim.verdict for each in claims]
    return Share(name, len({each.slug for each in claims}), {verdict: verdicts.count(verdict) for verdict in VERDICTS})
