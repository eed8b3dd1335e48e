"""Log-ratios in the words of a reader: how many times, beside the logarithm that is judged."""

import math

from core.report.claims import Claim, Clause
from core.report.formatting import format_interval, format_number, format_value, significant_decimals

LARGEST_EXPONENT = 700.0  # beyond it a double overflows


def is_log_ratio(unit: str) -> bool:
    """Whether numbers of this unit are natural logarithms of a ratio."""
    return unit.startswith("log-ratio")


def format_times(clause: Clause) -> str:
    """`2.9 times [2.2, 3.8]` for a log-ratio of 1.06, nothing for any other number."""
    if not is_log_ratio(clause.unit) or clause.estimate is None:
        return ""
    estimate = _times(clause.estimate)
    if clause.low is None and clause.high is None:
        return f"{_short(estimate)} times"
    low = 0.0 if clause.low is None else _times(clause.low)
    high = None if clause.high is None else _times(clause.high)
    decimals = significant_decimals(estimate, low, high)
    return f"{format_number(estimate, decimals)} times {format_interval(low, high, decimals)}"


def format_printed_times(claim: Claim) -> str:
    """The same of the number that the paper prints for a claim."""
    unit = claim.clauses[0].unit if claim.clauses else ""
    return bound_in_times(claim.published, unit)


def bound_in_times(value: object, unit: str) -> str:
    """`10 times` for a single number of a log-ratio; nothing for none, for zero, and for any other unit."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and value != 0
    return f"{_short(_times(float(value)))} times" if known and is_log_ratio(unit) else ""


def format_region_in_times(clause: Clause) -> str:
    """The finite ends of a log-ratio's region, but zero, as `10 times`; nothing where there are none."""
    ends = [bound_in_times(end, clause.unit) for end in clause.region or ()]
    return " to ".join(filter(None, ends))


def _times(logarithm: float) -> float:
    return math.exp(min(logarithm, LARGEST_EXPONENT))


def _short(value: float) -> str:
    """Two significant digits, whole numbers in full from 10 on."""
    return format_number(value, 0) if value >= 10 else format_value(float(f"{value:.2g}"))
