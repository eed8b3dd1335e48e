"""The four lines that a paper's page opens with: what it says, what was run, what came out, what that does not show."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.report.claims import MARKS
from core.report.formatting import format_estimate, format_printed_number
from core.report.paper_page import ClaimRow, PaperPage, StudySummary
from core.report.ratios import format_printed_times, format_times

FEW = 3  # studies and deviations named in a line; of the others there is a number
WORDS = {"holds": ("holds", "hold"), "fails": ("fails", "fail"), "undecided": ("is undecided", "are undecided")}


@dataclass(frozen=True)
class Opening:
    """The four lines, as texts that may hold code between backticks."""

    says: str
    ran: str
    found: str
    not_shown: str


def opening(paper: PaperPage) -> Opening:
    """Made of config and results alone."""
    return Opening(paper.idea, _ran(paper), _found(paper), _not_shown(paper))


def _ran(paper: PaperPage) -> str:
    """The studies behind the verdicts, each in the config's words."""
    shown = _studies_shown(paper)
    if not shown:
        return "Nothing yet."
    listed = " ".join(_sentence(study.description or study.name) for study in shown[:FEW])
    more = len(shown) - FEW
    rest = f" And {more} more {'study' if more == 1 else 'studies'}, described below." if more > 0 else ""
    about = [f"{_scales(paper)} scale", *_replicates(paper, shown)]
    about += [paper.duration_text] if paper.duration_text else []
    local = " Not published: these are runs of this checkout." if paper.is_local_only else ""
    return f"{listed}{rest} {_capital(', '.join(about))}.{local}"


def _studies_shown(paper: PaperPage) -> list[StudySummary]:
    """Studies with a verdict shown, those that other verdicts hang on first."""
    names = [row.claim.study for row in paper.rows if row.claim and row.claim.verdict in WORDS]
    found = [study for study in paper.studies if study.name in names]
    return sorted(found, key=lambda study: -names.count(study.name))


def _scales(paper: PaperPage) -> str:
    return " and ".join(dict.fromkeys(result.scale for result in paper.shown_results))


def _replicates(paper: PaperPage, shown: Sequence[StudySummary]) -> list[str]:
    """Their numbers of replicates, as one text: that of all, or the lowest and the highest."""
    names = {study.name for study in shown}
    texts = [s.replicates for result in paper.shown_results for s in result.studies if s.name in names]
    counts = sorted({int(text.split(" ")[0]) for text in texts if text.split(" ")[0].isdigit()})
    if not counts:
        return []
    if len(counts) == 1:
        return [f"{counts[0]} {'replicate' if counts[0] == 1 else 'replicates'}"]
    return [f"{counts[0]} to {counts[-1]} replicates"]


def _found(paper: PaperPage) -> str:
    """How many claims have which verdict, and the leading claim with its numbers."""
    parts = []
    for verdict, (one, several) in WORDS.items():
        names = [row.id for row in paper.rows if row.claim and row.claim.verdict == verdict]
        if not names:
            parts += ["none fails"] if verdict == "fails" else []
        else:
            listed = "" if verdict == "holds" else f" ({', '.join(names)})"
            parts.append(f"{len(names)} {one if len(names) == 1 else several}{listed}")
    if parts == ["none fails"]:
        return "No claim has been decided yet."
    counts = f"Of {len(paper.rows)} claims {', '.join(parts)}."
    if unproven := [row.id for row in paper.rows if row.claim and row.claim.proves_nothing]:
        counts += f" The control of {' and of '.join(unproven)} does not pass, so that verdict proves nothing."
    lead = leading_row(paper)
    return counts if lead is None else f"{counts} {lead.id}: {_sentence(lead.statement)} {_numbers(lead)}".rstrip()


def _numbers(row: ClaimRow) -> str:
    """`It holds: measured 0.37 [0.22, 0.51] percentage points, printed 0.3.`"""
    claim = row.claim
    assert claim is not None
    first = claim.telling_clause
    if first is None or first.estimate is None:
        return f"Verdict: {claim.verdict}."
    measured = format_times(first) or f"{format_estimate(first)} {first.unit}".strip()
    number = isinstance(claim.published, int | float) and first is claim.clauses[0]
    printed = f"; the paper prints {format_printed_times(claim) or format_printed_number(claim)}" if number else ""
    return f"Verdict: {claim.verdict}, measured {measured}{printed}."


def leading_row(paper: PaperPage) -> ClaimRow | None:
    """The claim that stands for the paper: the one that the config names, or else the first decided one about what
    its front drawing shows, of that drawing's study, or at all; one that proves nothing comes last."""
    decided = [row for row in paper.rows if row.claim and row.claim.verdict in WORDS]
    decided.sort(key=lambda row: bool(row.claim and row.claim.proves_nothing))
    named = [row for row in decided if row.id == paper.front.claim]
    metric, drawing = paper.front_metric, paper.front_drawing
    beside = [row for row in decided if row.claim and drawing is not None and row.claim.study == drawing.study]
    drawn = [row for row in beside if row.claim and metric in [clause.metric for clause in row.claim.clauses]]
    return next(iter([*named, *drawn, *beside, *decided]), None)


def _not_shown(paper: PaperPage) -> str:
    """What could not be decided, what was not run, and how the setting differs."""
    parts = [_sentence(paper.not_shown)] if paper.not_shown else []
    reasons: dict[str, list[str]] = {}
    for row in paper.rows:
        if row.claim and row.claim.verdict == "not testable":
            reasons.setdefault(row.claim.note or "this scale cannot decide it", []).append(row.id)
    parts += [f"{_listed(names)} not testable here: {reason}." for reason, names in reasons.items()]
    missing = [row.id for row in paper.rows if not row.claim]
    parts += [f"{_listed(missing)} not run yet."] if missing else []
    if differences := _differences(paper):
        parts.append(f"The setting is not the paper's: {differences}.")
    scales = _scales(paper)
    parts.append(f"Verdicts speak about {scales} scale alone." if scales else "")
    return " ".join(filter(None, parts)) or "Everything: nothing has been run."


def _differences(paper: PaperPage) -> str:
    """The deviations of the studies shown, those first that bear on most."""
    listed = [each for study in _studies_shown(paper) for each in study.deviations]
    unique = list({str(each["what"]): each for each in listed}.values())
    unique.sort(key=lambda each: bool(each["bears_on"]))  # those that bear on all come first
    texts = [f"{each['what']} (here {each['laptop']}, in the paper {each['paper']})" for each in unique]
    rest = f"; and {len(texts) - FEW} more, below" if len(texts) > FEW else ""
    return "; ".join(texts[:FEW]) + rest


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'}"


def _sentence(text: str) -> str:
    stripped = _capital(text.strip())
    return stripped if stripped.endswith((".", "?", "!")) else f"{stripped}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def verdict_counts(rows: Iterable[ClaimRow]) -> dict[str, int]:
    """How many claims have which verdict, and how many have none."""
    verdicts = [row.claim.verdict if row.claim else "not run" for row in rows]
    return {name: verdicts.count(name) for name in [*MARKS, "not run"]}
