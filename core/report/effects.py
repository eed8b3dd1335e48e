"""Printed effects against measured ones, as a drawing: an SVG for the report's page, and one for the README.

Both axes are logarithmic, so that effects of any unit stand in one picture: on the diagonal an effect is as large as
the paper prints it. An effect with another sign than the printed one, or none, lies at the lower edge.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from core.report.claims import Claim
from core.report.formatting import format_value

WIDTH, HEIGHT = 720.0, 440.0
LEFT, RIGHT, TOP, BOTTOM = 64.0, 16.0, 14.0, 52.0
MOST_LABELS = 30  # points with a name beside them; with more there is no room
P_VALUE = "p-value"  # which is no effect
LABEL_WIDTH, LABEL_HEIGHT = 6.8, 12.0  # of a letter, about
STYLE = """
  svg { --ink: #1b1f23; --soft: #555d66; --rule: #dededa; --paper: #fbfbf9; --region: #d9ede2;
        --holds: #11683f; --fails: #a63603; --undecided: #6b5900; }
  @media (prefers-color-scheme: dark) {
    svg { --ink: #e7e9eb; --soft: #a5aeb6; --rule: #343a40; --paper: #14171a; --region: #1f3d2e;
          --holds: #6fd3a0; --fails: #ff9e70; --undecided: #e3c65a; } }
  .ground { fill: var(--paper); } text { font: 12px system-ui, sans-serif; fill: var(--soft); }
  .axis { fill: var(--ink); font-size: 13px; } .rule { stroke: var(--rule); } .equal { stroke: var(--soft); }
  .near { fill: var(--region); } .holds { stroke: var(--holds); fill: var(--holds); }
  .fails { stroke: var(--fails); fill: var(--paper); } .undecided { stroke: var(--undecided); fill: var(--paper); }
  .point { stroke-width: 1.75; }
"""


@dataclass(frozen=True)
class Effect:
    """A printed number and what was measured in its unit; signs are those of the printed one, which is positive."""

    name: str
    unit: str
    verdict: str
    printed: float
    measured: float
    low: float | None
    high: float | None

    @property
    def ratio(self) -> float:
        """The measured effect as a multiple of the printed one."""
        return self.measured / self.printed


def comparable_effect(slug: str, claim: Claim) -> Effect | None:
    """A claim's printed and measured effect where both are one number, not zero, of one unit; else None.

    A printed number has the unit of the first clause; anything else is refused when configs are read.
    """
    value, first = claim.published, claim.clauses[0] if claim.clauses else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value == 0:
        return None
    if first is None or first.estimate is None or first.unit in ("", P_VALUE):
        return None
    sign = math.copysign(1.0, value)
    low, high = (None if end is None else sign * end for end in (first.low, first.high)[:: int(sign)])
    name = f"{slug.replace('_', ' ')} {claim.id}"
    return Effect(name, first.unit, claim.verdict, abs(float(value)), sign * first.estimate, low, high)


def effects_svg(effects: Sequence[Effect], alone: bool = False) -> Markup:
    """The drawing; `alone` with colours of its own and a ground, for a page that brings none."""
    scale = _Scale(effects)
    label = f"Printed against measured effects of {len(effects)} claims"
    space = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}"'
    parts = [f'<svg {space} class="effects" role="img" aria-label="{label}">']
    if alone:
        parts += [f"<style>{STYLE}</style>", f'<rect class="ground" width="{WIDTH:.0f}" height="{HEIGHT:.0f}"/>']
    parts += [*_axes(scale), *(_point(scale, each) for each in effects)]
    if len(effects) <= MOST_LABELS:
        parts += _labels(scale, effects)
    return Markup("\n".join([*parts, "</svg>"]) + "\n")


class _Scale:
    """Places of numbers: whole powers of ten around all that is shown; below them a strip for what is not above 0."""

    def __init__(self, effects: Sequence[Effect]) -> None:
        shown = [value for each in effects for value in (each.printed, each.measured, each.high) if value and value > 0]
        shown += [each.low for each in effects if each.low is not None and each.low > 0]
        self.first = math.floor(math.log10(min(shown, default=0.1)))
        self.last = max(self.first + 1, math.ceil(math.log10(max(shown, default=10.0))))
        self.floor = HEIGHT - BOTTOM

    def x(self, value: float) -> float:
        return LEFT + self._share(value) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """The floor for what is not above 0, and a little above it for the least that is."""
        return self.floor if value <= 0 else self.floor - 18 - self._share(value) * (self.floor - 18 - TOP)

    def _share(self, value: float) -> float:
        return (math.log10(value) - self.first) / (self.last - self.first)


def _axes(scale: _Scale) -> list[str]:
    low, high = 10.0**scale.first, 10.0**scale.last
    near = [(low, low / 2), (low, low * 2), (high / 2, high), (high, high), (high, high / 2), (low * 2, low)]
    corners = " ".join(f"{scale.x(x):.1f},{min(scale.y(y), scale.y(low)):.1f}" for x, y in near)
    parts = [f'<polygon class="near" points="{corners}"/>']
    for power in range(scale.first, scale.last + 1):
        value = 10.0**power
        x, y, words = scale.x(value), scale.y(value), format_value(value)
        parts += [
            f'<line class="rule" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{scale.floor}"/>',
            f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<text x="{x:.1f}" y="{scale.floor + 18}" text-anchor="middle">{words}</text>',
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{words}</text>',
        ]
    ends = f'x1="{scale.x(low):.1f}" y1="{scale.y(low):.1f}" x2="{scale.x(high):.1f}" y2="{scale.y(high):.1f}"'
    across, up = (LEFT + WIDTH - RIGHT) / 2, f"translate(16 {(TOP + scale.floor) / 2}) rotate(-90)"
    return [
        *parts,
        f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{scale.floor}" y2="{scale.floor}"/>',
        f'<text x="{LEFT - 8}" y="{scale.floor + 4}" text-anchor="end">none</text>',
        f'<line class="equal" {ends}/>',
        f'<text class="axis" x="{across}" y="{HEIGHT - 10}" text-anchor="middle">effect that the paper prints</text>',
        f'<text class="axis" transform="{up}" text-anchor="middle">effect measured here</text>',
    ]


def _point(scale: _Scale, each: Effect) -> str:
    """A disc holds, a square fails, a ring is undecided; the line is the interval."""
    x, y, kind = scale.x(each.printed), scale.y(each.measured), each.verdict.replace(" ", "-")
    line = ""
    if each.low is not None or each.high is not None:
        low = scale.floor if each.low is None else scale.y(each.low)
        high = TOP if each.high is None else scale.y(each.high)
        line = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
    if each.verdict == "fails":
        mark = f'<rect x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10"/>'
    else:
        mark = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
    said = f"{each.name}, {each.verdict}: printed {format_value(each.printed)}, measured {format_value(each.measured)}"
    return f'<g class="point {kind}"><title>{escape(f"{said} {each.unit}")}</title>{line}{mark}</g>'


def _labels(scale: _Scale, effects: Sequence[Effect]) -> list[str]:
    """Names beside the points, where there is room: right, left, above or below, and nowhere over another name."""
    taken = [(scale.x(e.printed) - 6, scale.y(e.measured) - 6, 12.0, 12.0) for e in effects]
    parts = []
    for each in effects:
        x, y, width = scale.x(each.printed), scale.y(each.measured), LABEL_WIDTH * len(each.name)
        places = [(x + 9, y + 4), (x - 9 - width, y + 4), (x + 6, y - 9), (x + 6, y + 18), (x - 6 - width, y - 9)]
        for left, base in places:
            box = (left, base - LABEL_HEIGHT + 2, width, LABEL_HEIGHT)
            inside = left >= LEFT and left + width <= WIDTH - RIGHT and box[1] >= TOP and base <= scale.floor + 6
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                parts.append(f'<text x="{left:.1f}" y="{base:.1f}">{escape(each.name)}</text>')
                break
    return parts


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return all(one[side] < other[side] + other[side + 2] and other[side] < one[side] + one[side + 2] for side in (0, 1))
