"""Numbers, intervals and forest plots as a reader sees them."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from core.papers.claims import FEW_UNITS
from core.report.claims import Claim, Clause

FOREST_WIDTH, FOREST_MARGIN = 240.0, 12.0


def format_number(value: float | None, decimals: int, signed: bool = False) -> str:
    """A number with a true minus sign, and a plus sign if it is `signed`."""
    if value is None:
        return "never reached"
    text = f"{value:+,.{decimals}f}" if signed else f"{value:,.{decimals}f}"
    return text.replace(",", "\u202f").replace("-", "−")


def significant_decimals(*values: float | None) -> int:
    """Decimals that show two significant digits of the distance the values span, or of the one value."""
    known = [value for value in values if value is not None]
    size = (max(known) - min(known) or abs(known[0])) if known else 0.0
    if size == 0:
        return 0
    return min(6, max(0, 1 - math.floor(math.log10(size))))


def format_estimate(clause: Clause) -> str:
    """`+0.41 [+0.28, +0.55]`, a bare number for exact clauses."""
    if clause.n is None:
        return format_value(clause.estimate)
    decimals = significant_decimals(clause.estimate, clause.low, clause.high)
    signed = _is_signed(clause)
    interval = format_interval(clause.low, clause.high, decimals, signed)
    return f"{format_number(clause.estimate, decimals, signed)} {interval}"


def format_units(clause: Clause) -> str:
    """Over how many units a clause's interval is, and that they are few where they are."""
    if clause.n is None:
        return ""
    name = " × ".join(clause.units)
    if clause.n != 1 and len(clause.units) == 1:
        name = f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"
    words = f"{clause.n} {name}"
    return f"only {words}, of which an interval says little" if clause.n < FEW_UNITS else words


def format_prose(text: str) -> Markup:
    """A text with what stands between backticks set as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def format_interval(low: float | None, high: float | None, decimals: int, signed: bool = False) -> str:
    """`[low, high]`, with infinite bounds where they are None."""
    shown_low = "−∞" if low is None else format_number(low, decimals, signed)
    shown_high = "∞" if high is None else format_number(high, decimals, signed)
    return f"[{shown_low}, {shown_high}]"


def format_region(clause: Clause) -> str:
    """The region in words a reader can hold the interval against."""
    if clause.region is None:
        return ""
    low, high = clause.region
    if low is None and high is None:
        return "any value"
    if high is None:
        return f"above {format_value(low)}"
    if low is None:
        return f"below {format_value(high)}"
    if low == high:
        return f"exactly {format_value(low)}"
    return f"between {format_value(low)} and {format_value(high)}"


def format_value(value: Any) -> str:
    """A number in four significant digits, whole numbers and thousands in full; anything else as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "never reached" if value is None else str(value)
    if abs(value) < 1e15 and (abs(value) >= 1000 or float(value).is_integer()):
        return format_number(value, 0)
    return f"{value:.4g}".replace("-", "−")


def format_printed_number(claim: Claim) -> str:
    """The number that the paper prints for a claim, whatever its form, with its unit."""
    return format_with_unit(claim.published, claim.clauses[0].unit if claim.clauses else "")


def format_with_unit(value: Any, unit: str) -> str:
    """A printed value, which may be a list or words, with its unit; nothing if there is no value."""
    if value is None:
        return ""
    shown = (
        ", ".join(format_value(item) for item in text_list(value)) if isinstance(value, list) else format_value(value)
    )
    return f"{shown} {unit}" if unit and not isinstance(value, str) else shown


def format_setting(value: Any) -> str:
    """A setting's value as one would type it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(format_setting(item) for item in value) + "]"
    return str(value)


def format_settings(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """The values of nested settings as texts, by dotted name."""
    found: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= format_settings(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = format_setting(value)
    return found


def format_mean_and_range(mean: float | None, low: float | None, high: float | None) -> str:
    """A mean with the lowest and highest value behind it, or the value that all of them have."""
    if mean is None or low is None or high is None:
        return "never reached" if mean is None else format_value(mean)
    if low == high:
        return format_value(low)
    decimals = significant_decimals(mean, low, high)
    return f"{format_number(mean, decimals)} ({format_number(low, decimals)} to {format_number(high, decimals)})"


def format_minutes(minutes: float | None) -> str:
    """A length of time in words, from minutes; nothing where it is not known."""
    if minutes is None:
        return ""
    if minutes < 1:
        return "under 1 s" if minutes < 1 / 60 else f"{60 * minutes:.0f} s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def text_list(value: Any) -> list[str]:
    """A list of texts from a list or a single value."""
    if value is None:
        return []
    if isinstance(value, Iterable) and not isinstance(value, str | Mapping):
        return [str(item) for item in value]
    return [str(value)]


@dataclass(frozen=True)
class ForestPlot:
    """Horizontal places, in pixels, of what a clause's small plot shows."""

    region: tuple[float, float] | None
    interval: tuple[float, float]
    open_ends: tuple[bool, bool]
    estimate: float
    zero: float | None
    matters: float | None
    printed: float | None
    ticks: tuple[tuple[float, str], ...]


def forest_plot(clause: Clause, claim: Claim) -> ForestPlot | None:
    """The plot of a clause that has an interval, with the paper's number if it is of the same kind; else None."""
    if clause.estimate is None or clause.n is None:
        return None
    paper = _comparable(clause, claim)
    known = [clause.estimate, clause.low, clause.high, *(clause.region or ()), clause.matters, paper, _zero(clause)]
    values = [value for value in known if value is not None]
    low, high = min(values), max(values)
    span = (high - low) or abs(high) or 1.0

    def place(value: float) -> float:
        inner = FOREST_WIDTH - 2 * FOREST_MARGIN
        return round(FOREST_MARGIN + (value - low) / span * inner, 1)

    def optional(value: float | None) -> float | None:
        return None if value is None else place(value)

    def bounds(pair: tuple[float | None, float | None]) -> tuple[float, float]:
        left, right = pair
        return (0.0 if left is None else place(left), FOREST_WIDTH if right is None else place(right))

    return ForestPlot(
        region=None if clause.region is None else bounds(clause.region),
        interval=bounds((clause.low, clause.high)),
        open_ends=(clause.low is None, clause.high is None),
        estimate=place(clause.estimate),
        zero=optional(_zero(clause)),
        matters=optional(clause.matters),
        printed=optional(paper),
        ticks=tuple((place(value), format_value(value)) for value in axis_ticks(low, low + span)),
    )


def axis_ticks(low: float, high: float) -> list[float]:
    """Two to six round numbers between two others, for an axis: multiples of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10((high - low) / 5))
    step = next(factor * power for factor in (1, 2, 5, 10) if (high - low) / (factor * power) <= 5)
    digits = max(0, -math.floor(math.log10(power)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, digits) + 0.0 for number in range(first, last + 1)]


def _comparable(clause: Clause, claim: Claim) -> float | None:
    """The paper's number, if it is one number: it belongs to the lead clause, whose unit it shares."""
    value = claim.published
    if clause is not claim.clauses[0] or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def _is_signed(clause: Clause) -> bool:
    """Differences and ratios, whose region has an edge at or around zero, are shown with their sign."""
    return clause.matters is not None or (clause.region is not None and 0.0 in clause.region)


def _zero(clause: Clause) -> float | None:
    return 0.0 if _is_signed(clause) else None
