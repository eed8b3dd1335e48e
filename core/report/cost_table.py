"""docs/cost.md: what every paper would cost at the published scale, on 1, 8 and 64 accelerators of one kind."""

from collections.abc import Iterable

from core.launch import compose
from core.launch.compose import Launch
from core.papers.config_files import all_slugs
from core.papers.settings import settings_as_dict
from core.planning import accelerators, estimate
from core.planning.accelerators import STEP_SECONDS, Fleet
from core.runs.identity import digest
from core.terminal import format_duration

COST_FILE = "docs/cost.md"
ACCELERATOR, COUNTS, EFFICIENCY = "h100", (1, 8, 64), 0.3
TABLE_HEADER = """\
# What these papers would cost at the published scale

`encore plan --document` writes this page; nothing on it was measured. Every study of every paper, with the settings and
the number of replicates planned for scale=paper:

- Operations are those that XLA counts in the programs of one replicate, scans as often as they run. What stages on the
  host do is not counted (≥).
- Each device is a {title}: {teraflops:.0f} TFLOP/s ({precision}, dense) and {gib:.0f} GiB as published. It is assumed
  to reach {percent:.0f} % of that peak, and to take {step:.0f} µs or more for every step, for launching its kernels.
- Replicates are spread over devices and share one device where there are fewer of these; a replicate is computed on one
  device, so that more devices than replicates bring nothing. Studies run one after the other. Replicates that share a
  device take their steps together.
- Memory is that of the fullest device with data, states and arguments, on {first}, {then} and {last} devices; what a
  step computes in between comes on top. Starting, compiling and evaluating on the host are left out.

| study | replicates | steps of each | PFLOP in all | GiB per device | {columns} |
|---|---:|---:|---:|---:|{rule}
"""


def table_fleets() -> list[Fleet]:
    """The accelerators of the columns."""
    return [Fleet(accelerators.find_accelerator(ACCELERATOR), count, EFFICIENCY) for count in COUNTS]


def paper_scale_launches(papers: Iterable[str]) -> list[Launch]:
    """Every study of these papers at the published scale."""
    return [compose.compose_launch([f"paper={slug}", "scale=paper", "study=all", "tracking=none"]) for slug in papers]


def table_fingerprint(papers: Iterable[str]) -> str:
    """A fingerprint of what the table is made of, as far as it can be told without following any trial."""
    studies = [
        [launch.config.slug, each.study.name, each.replicates, settings_as_dict(each.settings)]
        for launch in paper_scale_launches(papers)
        for each in launch.studies
    ]
    return digest([studies, [repr(fleet) for fleet in table_fleets()], STEP_SECONDS])[:16]


def render_cost_table() -> str:
    """The whole document, in Markdown."""
    lines, total, operations = [], [0.0] * len(COUNTS), 0.0
    for launch in paper_scale_launches(all_slugs()):
        for each in launch.studies:
            found = estimate.estimate_study(launch, (), each, table_fleets()[0], 0.0)
            minutes = [fleet.study_minutes(each.replicates, found.flops, found.steps) for fleet in table_fleets()]
            gib = [f"{fleet.gib_per_device(each.replicates, found.peak_bytes):.1f}" for fleet in table_fleets()]
            operations += each.replicates * found.flops
            total = [before + own for before, own in zip(total, minutes, strict=True)]
            name, floor = f"{launch.config.slug}/{each.study.name}", "≥ " if found.is_lower_bound else ""
            cells = [name, str(each.replicates), f"{found.steps:,}", f"{each.replicates * found.flops / 1e15:,.1f}"]
            lines.append(_row([*cells, " / ".join(gib), *(floor + format_duration(own) for own in minutes)]))
    lines.append(_row(["**all**", "", "", f"{operations / 1e15:,.1f}", "", *map(format_duration, total)]))
    kind = accelerators.find_accelerator(ACCELERATOR)
    about = TABLE_HEADER.format(
        title=kind.title,
        teraflops=kind.teraflops,
        precision=kind.precision,
        gib=kind.gib,
        percent=100 * EFFICIENCY,
        step=STEP_SECONDS * 1e6,
        first=COUNTS[0],
        then=COUNTS[1],
        last=COUNTS[2],
        columns=" | ".join(f"{count} x {ACCELERATOR.upper()}" for count in COUNTS),
        rule="---:|" * len(COUNTS),
    )
    return about + "".join(lines) + f"\n<!-- state: {table_fingerprint(all_slugs())} -->\n"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"


def is_current(text: str) -> bool:
    """Whether what a page says of its papers was written from their present settings and assumptions."""
    listed = [slug for slug in all_slugs() if f"| {slug}/" in text]
    return bool(listed) and f"<!-- state: {table_fingerprint(listed)} -->" in text
