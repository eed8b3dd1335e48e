"""The keys of a run beside its settings, each with its range; `configs/run.yaml` holds their defaults."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from core.papers.claims import Scale
from core.papers.clause_language import Form

AXES = ("auto", "loop", "vmap", "pmap")
DEVICES = ("auto", "cpu", "accelerator")
MOST_REPLICATES = 10_000


class Options(Form):
    """Base: numbers are finite."""

    model_config = ConfigDict(allow_inf_nan=False)


class Budget(Options):
    """What a run may take."""

    minutes: float = Field(gt=0, le=10_000_000, description="a forecast above this is refused before anything starts")


class HostOptions(Options):
    """Which process this is among those that perform a run together; see `core.launch.hosts`."""

    coordinator: str | None = Field(None, description="address of process 0, such as node1:8476")
    count: int | None = Field(None, ge=1, le=100_000, description="how many processes")
    index: int | None = Field(None, ge=0, le=100_000, description="which one this is, from 0")
    patience: float = Field(20, ge=5, le=3_600, description="seconds after which a silent process counts as lost")


class TrackingOptions(Options):
    """Where a run is mirrored to."""

    name: str
    mode: str = Field(description="offline, online or disabled")
    project: str | None
    entity: str | None
    group: str | None
    tags: tuple[str, ...]
    notes: str | None


class DebugOptions(Options):
    """What is looked into beside a run; no part of its identity."""

    nan: bool = Field(False, description="say in which step, function and line a replicate diverged")
    trace: bool = Field(False, description="keep a profiler trace of some warm steps")


class RunOptions(Options):
    """Every key of a run but the settings of its studies."""

    paper: str = Field(description="the name of a paper; `encore list` shows all of them")
    scale: Scale = Field(description="smoke, laptop or paper")
    study: str | tuple[str, ...] | None = Field(description="one study, a list of studies, or all")
    replicates: int | None = Field(ge=1, le=MOST_REPLICATES, description="how many; by default as planned")
    first_replicate: int = Field(ge=0, le=2**31 - 1 - MOST_REPLICATES, description="number of the first replicate")
    device: Literal["auto", "cpu", "accelerator"] = Field(description="where replicates are computed")
    workers: int | None = Field(ge=1, le=1024, description="worker processes on a CPU")
    axis: Literal["auto", "loop", "vmap", "pmap"] = Field(description="how a batch of replicates is laid out")
    budget: Budget
    hosts: HostOptions
    tracking: TrackingOptions
    debug: DebugOptions


def option_names(model: type[Form] = RunOptions, prefix: str = "") -> list[str]:
    """Dotted names of all keys."""
    names: list[str] = []
    for name, field in model.model_fields.items():
        kind: Any = field.annotation
        names.append(prefix + name)
        if isinstance(kind, type) and issubclass(kind, Form):
            names += option_names(kind, f"{prefix}{name}.")
    return names
