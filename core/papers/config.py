"""Configs: what a paper claims and how it is run here, read from `configs/paper/<slug>.yaml`.

The models below are all that a config may say; `configs/paper.schema.json` is made of them. What a study leaves out it
takes from the one that it is `like`; a key with dots reaches into a group.
"""

import contextlib
import functools
import importlib
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

from pydantic import Field

from core import files
from core.errors import BadInput, suggest, unknown_name
from core.papers.claims import SCALES, Claim, ClaimForm, compile_claim
from core.papers.clause_language import Form, Reduction, Scalar, Values, to_tuple
from core.papers.config_files import all_slugs, read_config
from core.papers.front import Front, check_front
from core.papers.groups import flatten_groups, merge_values, open_dotted_keys
from core.papers.settings import (
    Settings,
    build_settings,
    complete_values,
    find_setting,
    is_per_arm,
    setting_names,
)
from core.papers.validation import as_lists, validate
from core.paths import WINNERS, configs_folder, published_folder

SMOKE_REPLICATES = 2
LAPTOP_REPLICATES = 6
NOT_INHERITED = ("says", "default", "like", "tune")  # by a study that is like another
ALL = "all"


class Reference(Form):
    """Which paper, and what it says in two sentences."""

    title: str
    authors: tuple[str, ...] = Field(min_length=1)
    year: int
    venue: str = ""
    arxiv: str = ""
    doi: str = ""
    code: str = Field("", description="the authors' program")
    fields: tuple[str, ...] = Field(min_length=1, description="of research, for lists and filters")
    idea: str = Field(description="two sentences: what the paper says, and why it matters")


class Deviation(Form):
    """A difference from the paper or from the authors' code."""

    what: str
    paper: str | int | float = Field(description="how it is there")
    laptop: str | int | float = Field(description="how it is here")
    bears_on: tuple[str, ...] = Field((), description="ids of the claims that it bears on; none: on all of the study")
    why: str


class Replicates(Form):
    """Planned numbers of replicates by scale."""

    smoke: int = Field(SMOKE_REPLICATES, ge=1)
    laptop: int = Field(LAPTOP_REPLICATES, ge=1)
    paper: int = Field(LAPTOP_REPLICATES, ge=1)


class Scales(Form):
    """What other scales change of the settings."""

    smoke: dict[str, Any] = Field({})
    paper: dict[str, Any] = Field({})


class Criterion(Form):
    """By which measurement a value is better: its mean over replicates; of a curve, that at the last step."""

    metric: str
    best: Literal["min", "max"] = "min"
    at: dict[str, Values] = Field({}, description="which rows: column: value")


class Tuning(Form):
    """A study that performs another one with every value of a grid, and whose winners that one takes."""

    setting: str = Field(description="dotted name of the setting that is tuned")
    per_arm: bool = Field(True, description="the setting is a mapping by arm, and every arm has a winner of its own")
    per: tuple[str, ...] = Field((), description="columns under whose values every arm has a winner of its own, too")
    values: tuple[int | float, ...] = Field(min_length=3, description="the grid, rising")
    by: Criterion
    edges: dict[str, str] = Field({}, description="arm, or all: why its winner may lie at the edge of the grid")


class StudyForm(Form):
    """One study as a config writes it."""

    says: str = Field("", description="what it does, in one line")
    like: str | None = Field(None, description="a study whose entries hold for this one, too, unless it says otherwise")
    default: bool = Field(True, description="whether `encore run` takes it when no study is named")
    replicates: Annotated[int, Field(ge=1)] | Replicates = Replicates()
    x64: bool = Field(False, description="double precision")
    exclusive: bool = Field(False, description="nothing runs beside it, so that its seconds mean something")
    threads: bool = Field(False, description="a worker uses all cores")
    settings: dict[str, Any] = Field({})
    scales: Scales = Scales()
    arms: dict[str, str] = Field({}, description="arm: what it is")
    may_diverge: tuple[str, ...] = Field((), description="arms whose divergence is a result")
    tune: Tuning | None = None
    tuned_by: str | None = Field(None, description="the tuning study whose winners this one takes")
    deviations: tuple[Deviation, ...] = ()


class FigureForm(Form):
    """A standard figure."""

    study: str
    kind: Literal["curves", "differences", "scatter", "ranks"] = "curves"
    x: str = Field("", description="column of the horizontal axis; of a scatter: its metric")
    y: str = Field(description="metric")
    by: str = Field("arm", description="column whose values are lines or dots of their own")
    panels: str = Field("", description="column whose values are panels of their own")
    order: tuple[Scalar, ...] = Field((), description="which values of `by` are shown, and in which order")
    against: str | None = Field(None, description="of differences: the arm that is subtracted")
    at: dict[str, Values] = Field({}, description="which rows: column: value")
    reduce: dict[str, Reduction] = Field({}, description="column: how its values are brought to one")
    unit: str = Field("replicate", description="independent repetitions, for bands and dots")
    log: tuple[Literal["x", "y"], ...] = ()
    x_label: str = ""
    y_label: str = ""
    caption: str = Field(description="what a reader sees, in a sentence or two")


class ConfigForm(Form):
    """A config as a whole."""

    paper: Reference
    metrics: dict[str, str] = Field({}, description="metric: its unit; every metric that a claim or figure names")
    studies: dict[str, StudyForm] = Field(min_length=1)
    claims: dict[str, ClaimForm] = Field(min_length=1)
    figures: dict[str, FigureForm] = Field({})
    front: Front = Front()
    not_shown: str = Field(
        "", description="what the results do not show, in a sentence, beside what the report says itself"
    )
    notes: str = Field("", description="what is known about claims that fail, and where readings of the paper differ")


@dataclass(frozen=True)
class StudyConfig:
    """One study of a config, with what it takes from others laid in."""

    slug: str
    name: str
    form: StudyForm
    tuning: Tuning | None = None  # of the study whose winners it takes

    @property
    def says(self) -> str:
        """What it does, in one line."""
        return self.form.says

    @property
    def default(self) -> bool:
        """Whether `encore run` takes it when no study is named."""
        return self.form.default

    def replicates(self, scale: str) -> int:
        """The planned number of replicates."""
        planned = self.form.replicates
        if isinstance(planned, int):
            return min(planned, SMOKE_REPLICATES) if scale == "smoke" else planned
        return getattr(planned, scale)

    def values(self, scale: str) -> dict[str, Any]:
        """The settings at a scale: the laptop's with the winners of tuning and the block of the scale laid over them.

        What the settings class gives a default and nobody names is not among them. A study that tunes a setting need
        not give it a value: every value of the grid takes its place.
        """
        block = {"smoke": self.form.scales.smoke, "paper": self.form.scales.paper}.get(scale, {})
        tuned = {} if self.form.tune is None else tuned_values(self, self.form.tune, middle(self.form.tune))
        laptop = merge_values(merge_values(tuned, self.form.settings), winners_for(self, scale))
        return as_lists(merge_values(laptop, block))

    def all_values(self, scale: str) -> dict[str, Any]:
        """The same, with the defaults of the settings class, in its order."""
        return complete_values(self.settings_class, self.values(scale))

    @cached_property
    def settings_class(self) -> type[Settings]:
        """The typed settings of the study."""
        known = settings_classes(self.slug)
        if self.name not in known:
            raise unknown_name(f"study in SETTINGS of experiments/{self.slug}/settings.py:", self.name, known)
        return known[self.name]

    def setting_names(self, scale: str = "laptop") -> list[str]:
        """Dotted names of all settings."""
        return setting_names(self.settings_class, self.values(scale))

    def build(self, values: Mapping[str, Any], given: Sequence[str] = ()) -> Any:
        """Typed settings from plain values; in a contradiction those `given` by the user are blamed.

        Raises BadInput with one line, also where the values wait for the winners of a tuning study.
        """
        if self.tuning is not None and self.waits_for_winners(values):
            raise BadInput(
                f"{self.slug} {self.name} takes {self.tuning.setting} from its tuning, which is not published: "
                f"encore run paper={self.slug} study={self.form.tuned_by}, then encore publish {self.slug} --study "
                f"{self.form.tuned_by}"
            )
        return build_settings(self.settings_class, values, given)

    def waits_for_winners(self, values: Mapping[str, Any]) -> bool:
        """Whether values lack what a tuning study that is not published is to give them."""
        return self.tuning is not None and self.tuning.setting not in dict(flatten_groups(values))


@dataclass(frozen=True)
class PaperConfig:
    """The config of one paper."""

    slug: str
    form: ConfigForm

    @property
    def paper(self) -> Reference:
        """Reference and idea."""
        return self.form.paper

    @property
    def metrics(self) -> Mapping[str, str]:
        """Units by metric."""
        return self.form.metrics

    @property
    def notes(self) -> str:
        """What is known about claims that fail, and where readings of the paper differ."""
        return self.form.notes

    @cached_property
    def studies(self) -> dict[str, StudyConfig]:
        """The studies by name, in the order of the config."""
        tunings = {name: form.tune for name, form in self.form.studies.items()}
        return {
            name: StudyConfig(self.slug, name, form, tunings.get(form.tuned_by or ""))
            for name, form in self.form.studies.items()
        }

    @cached_property
    def claims(self) -> dict[str, Claim]:
        """The claims by their ids, in the order of the config."""
        studies = {name: form.arms for name, form in self.form.studies.items()}
        return {name: compile_claim(name, form, self.form.metrics, studies) for name, form in self.form.claims.items()}

    def claims_of(self, study: str) -> dict[str, Claim]:
        """The claims that a study decides."""
        return {name: claim for name, claim in self.claims.items() if claim.study == study}

    def select(self, wanted: Any) -> list[StudyConfig]:
        """The studies called `wanted` ("all", one name, or several), by default the default ones."""
        if wanted is None:
            return [study for study in self.studies.values() if study.default]
        if wanted == ALL:
            return list(self.studies.values())
        names = wanted if isinstance(wanted, list | tuple) else [wanted]
        if not names:
            raise BadInput(f"study=[] names no study of {self.slug}: {suggest('', [*self.studies, 'all'])}")
        for name in names:
            if not isinstance(name, str) or name not in self.studies:
                raise unknown_name(f"study of {self.slug}", str(name), [*self.studies, ALL])
        return [self.studies[name] for name in dict.fromkeys(names)]


def load_config(slug: str) -> PaperConfig:
    """Read and check one config; `BadInput` names the nearest paper or the key that is wrong."""
    if slug not in all_slugs():
        raise unknown_name("paper", slug, all_slugs())
    written = tuple((path, _written_at(path)) for path in (configs_folder() / f"{slug}.yaml", _winners_file(slug)))
    return _load(slug, written)


@functools.lru_cache(maxsize=256)
def _load(slug: str, written: tuple[Any, ...]) -> PaperConfig:
    """Configs are asked for often; one whose files were not written since is not read again."""
    config = parse_config(slug, read_config(slug))
    check_settings(config)
    return config


def _written_at(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def parse_config(slug: str, written: Mapping[str, Any]) -> PaperConfig:
    """The config made of what is `written`, refused when it contradicts itself. Everything here follows from text."""
    with _in_file(slug):
        form = validate(ConfigForm, expand(written), "")
        config = PaperConfig(slug, form)
        for name, study in form.studies.items():
            _check_study(name, study, form)
        _ = config.claims  # compiled, and so checked
        for name, figure in form.figures.items():
            _check_figure(name, figure, form)
        check_front(form.front, form.figures, form.claims)
    return config


def check_settings(config: PaperConfig) -> None:
    """Build the settings of every study at every scale. Raises BadInput with one line about the first fault."""
    with _in_file(config.slug):
        for study in config.studies.values():
            _ = study.settings_class  # there is one
            for tuning in filter(None, (study.form.tune, study.tuning)):
                _check_tuned(study, tuning)
            for scale in SCALES:
                values = study.values(scale)
                if not study.waits_for_winners(values):
                    with _in_place(f"studies.{study.name}, {scale} scale: "):
                        study.build(values)
            if (tune := study.form.tune) is not None:
                for value in tune.values:
                    with _in_place(f"studies.{study.name}.tune.values: "):
                        study.build(merge_values(study.values("laptop"), tuned_values(study, tune, value)))


def _check_tuned(study: StudyConfig, tuning: Tuning) -> None:
    """The setting that is tuned must be one of the study; a mapping by arm where every arm has its own winner."""
    field = find_setting(study.settings_class, tuning.setting)
    if field is None:
        names = [*study.settings_class.model_fields, *study.setting_names()]
        raise unknown_name(f"setting that is tuned in studies.{study.name}:", tuning.setting, names)
    if tuning.per and not tuning.per_arm:
        raise BadInput(f"studies.{study.name}: {tuning.setting} is one value: per names columns beside the arm")
    if tuning.per_arm and not is_per_arm(field):
        raise BadInput(f"studies.{study.name}: {tuning.setting} is one value, not one by arm: write per_arm: false")
    if not tuning.per_arm and is_per_arm(field, alone=True):
        raise BadInput(f"studies.{study.name}: {tuning.setting} is a mapping by arm: write per_arm: true")


@contextlib.contextmanager
def _in_place(place: str) -> Generator[None]:
    """Say in front of a refusal where the fault is."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{place}{error}") from None


def _in_file(slug: str) -> contextlib.AbstractContextManager[None]:
    """The same, for the file of a config."""
    return _in_place(f"configs/paper/{slug}.yaml: ")


def expand(written: Mapping[str, Any]) -> dict[str, Any]:
    """The same with every study whole: what it is `like` laid under it, keys with dots opened into groups."""
    studies = written.get("studies")
    if not isinstance(studies, Mapping):
        return dict(written)
    return {**written, "studies": {name: _whole_study(name, studies, ()) for name in studies}}


def _whole_study(name: str, studies: Mapping[str, Any], above: tuple[str, ...]) -> Any:
    own = studies[name]
    if not isinstance(own, Mapping):
        return own
    own = {key: open_dotted_keys(value) if key in ("settings", "scales") else value for key, value in own.items()}
    parent = own.get("like")
    if not isinstance(parent, str):
        return own
    if parent not in studies:
        raise unknown_name(f"study in studies.{name}.like:", parent, studies)
    if parent in (*above, name):
        raise BadInput(f"studies.{name}.like leads back to {parent}")
    base = _whole_study(parent, studies, (*above, name))
    inherited = {key: value for key, value in base.items() if key not in NOT_INHERITED}
    if "tune" in own:
        inherited.pop("tuned_by", None)
    return merge_values(inherited, own) | ({"arms": own["arms"]} if "arms" in own else {})


def _check_study(name: str, study: StudyForm, form: ConfigForm) -> None:
    """What a study says of claims, metrics, arms and other studies must be there."""
    place = f"studies.{name}"
    for key in ("says", "arms"):
        if not getattr(study, key):
            raise BadInput(f"{place}.{key} is missing: {StudyForm.model_fields[key].description}")
    for number, deviation in enumerate(study.deviations):
        _check_known(f"claim in {place}.deviations[{number}].bears_on", deviation.bears_on, form.claims)
    _check_known(f"arm in {place}.may_diverge", study.may_diverge, study.arms)
    if study.tune is not None and study.tuned_by is not None:
        raise BadInput(f"{place} tunes a setting, and cannot be tuned itself")
    if study.tuned_by is not None:
        tunings = [other for other, each in form.studies.items() if each.tune is not None]
        _check_known(f"tuning study in {place}.tuned_by", [study.tuned_by], tunings)
    if (tune := study.tune) is not None:
        _check_known(f"metric in {place}.tune.by", [tune.by.metric], form.metrics)
        _check_known(f"arm in {place}.tune.edges", tune.edges, [*study.arms, ALL])
        if list(tune.values) != sorted(set(tune.values)):
            raise BadInput(f"{place}.tune.values={list(tune.values)} must rise")


def _check_figure(name: str, figure: FigureForm, form: ConfigForm) -> None:
    """What a figure says of studies, metrics and arms must be there."""
    place = f"figures.{name}"
    _check_known(f"study in {place}", [figure.study], form.studies)
    _check_known(f"metric in {place}", [figure.y, *([figure.x] if figure.kind == "scatter" else [])], form.metrics)
    arms = [*to_tuple(figure.at.get("arm", ())), *([figure.against] if figure.against is not None else [])]
    arms += figure.order if figure.by == "arm" else ()
    _check_known(f"arm in {place}", arms, form.studies[figure.study].arms)


def _check_known(kind: str, names: Iterable[Any], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            raise unknown_name(f"{kind}:", str(name), known)


def settings_classes(slug: str) -> Mapping[str, type[Settings]]:
    """The table SETTINGS of `experiments/<slug>/settings.py`: the settings class of every study."""
    return _settings_module(slug).SETTINGS


def _settings_module(slug: str) -> ModuleType:
    try:
        return importlib.import_module(f"experiments.{slug}.settings")
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("experiments"):
            raise BadInput(f"{slug} has no experiments/{slug}/settings.py with its settings") from None
        raise


def tuned_values(study: StudyConfig, tuning: Tuning, value: float) -> dict[str, Any]:
    """Settings of a study with one value of a grid, for all arms alike."""
    return open_dotted_keys({tuning.setting: dict.fromkeys(study.form.arms, value) if tuning.per_arm else value})


def middle(tuning: Tuning) -> float:
    """The value in the middle of a grid."""
    return tuning.values[len(tuning.values) // 2]


def winners_for(study: StudyConfig, scale: str) -> dict[str, Any]:
    """What tuning gives a study, as settings: its published winners, at smoke scale the middle of the grid.

    Empty for a study that is not tuned, or whose tuning has not been published. Raises BadInput where a winner lies at
    the edge of its grid, unless the config says why it may.
    """
    tuning = study.tuning
    if tuning is None:
        return {}
    if scale == "smoke":
        return tuned_values(study, tuning, middle(tuning))
    found = published_winners(study.slug).get(study.form.tuned_by or "")
    if found is None:
        return {}
    check_winners(study.form.tuned_by or "", tuning, found)
    return open_dotted_keys({tuning.setting: found})


def check_winners(study: str, tuning: Tuning, winners: Any) -> None:
    """Refuse winners of a tuning study at the edge of their grid, unless the config says why they may lie there."""
    for arm, value in winners.items() if isinstance(winners, Mapping) else [(ALL, winners)]:
        explained = {arm, arm.partition("/")[0], ALL} & set(tuning.edges)
        if value in (tuning.values[0], tuning.values[-1]) and not explained:
            whose = study if arm == ALL else f"{arm} in {study}"
            raise BadInput(
                f"the winner of {whose}, {tuning.setting}={value:g}, lies at the edge of its grid "
                f"[{tuning.values[0]:g}, {tuning.values[-1]:g}]: widen it, or say in edges why not"
            )


def published_winners(slug: str) -> dict[str, Any]:
    """The winners of a paper's published tuning studies: {study: value, or {arm: value}}."""
    try:
        return dict(files.read_json(_winners_file(slug)))
    except (OSError, ValueError):
        return {}


def _winners_file(slug: str) -> Path:
    return published_folder() / slug / "laptop" / WINNERS
