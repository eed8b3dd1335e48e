"""`encore plan`: what a run would do and cost, from shapes alone; nothing of its size is allocated or written."""

import argparse

from rich.table import Table

from core.running import accelerators, compose, flow, jobs, plan
from core.running.compose import Launch
from core.running.screen import console, duration


def main(arguments: argparse.Namespace) -> int:
    """Print the plan of a launch."""
    launch = compose.prepare_launch(arguments.overrides)
    device = accelerators.named(arguments.on) if arguments.on else None
    table = Table(
        "study", "replicates", "stages", "steps", "GFLOP", "memory", "time", "estimated from", box=None, pad_edge=False
    )
    for row in rows(launch, device, arguments.efficiency):
        table.add_row(*row)
    screen = console()
    where = device.title if device else "this machine"
    screen.print(f"{launch.page.slug} · {launch.scale} scale · on {where}", style="bold")
    screen.print(table, soft_wrap=False)
    if device:
        screen.print(
            f" {device.title}: {device.teraflops:.0f} TFLOP/s ({device.precision}), {device.gib:.0f} GiB as published, "
            f"{100 * arguments.efficiency:.0f} % of the peak assumed; operations as XLA counts them"
        )
    return 0


def rows(launch: Launch, device: accelerators.Accelerator | None, efficiency: float) -> list[tuple[str, ...]]:
    """One row per study."""
    gflops = plan.calibrate()
    found = []
    for chosen in launch.studies:
        job = jobs.job_of(launch, chosen)
        shapes = plan.shapes_of(launch.page.slug, chosen.study, chosen.settings)
        count = len(job.missing)
        if device is None:
            expected = flow.forecast_of(job, gflops)
            minutes, gib, source = expected.minutes, expected.gib, expected.source
        else:
            minutes = count * shapes["flops"] / (efficiency * device.teraflops * 1e12) / 60
            gib, source = count * shapes["peak_bytes"] / 2**30, "operations and published peak"
        found.append(
            (
                chosen.study.name,
                f"{count} of {chosen.replicates}" if count < chosen.replicates else str(count),
                str(len(shapes["stages"])),
                f"{count * shapes['steps']:,}",
                f"{count * shapes['flops'] / 1e9:,.0f}",
                f"{gib:.1f} GiB" if gib >= 0.1 else f"{gib * 1024:.0f} MiB",
                duration(minutes),
                source,
            )
        )
    return found
