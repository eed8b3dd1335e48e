"""Which code counts for one study: its own entry in the table of studies, and what its settings compute."""

from pathlib import Path

import pytest

from core.errors import BadInput
from core.runs.identity import code_of_preparation, code_of_trial, study_parts
from tests.small_project import SHARED, Project, SmallProject, project

__all__ = ["project"]  # a fixture

SEVERAL = """
from functools import partial
from core.papers.contract import Study
from core.parts.shared import other, scale
from experiments.several.settings import FitSettings, PlainSettings

def first():
    return scale(1)

def second(fast=False):
    return other(1)

def ready():
    return 1

STUDIES = {
    "fit": Study(first, prepare=ready),
    "plain": Study(trial=partial(second, fast=True)),
}
"""
SETTINGS = """
from dataclasses import dataclass
from core.parts.shared import other, scale
from core.papers.settings import setting
from core.parts.groups import GroupSettings, Inner

LIMIT = 3

@dataclass(frozen=True)
class BaseSettings:
    def doubled(self):
        return 2 * self.rate

@dataclass(frozen=True)
class FitSettings(BaseSettings):
    \"\"\"Words.\"\"\"

    rate: float = setting("step size", within="(0, 1)")
    group: GroupSettings = setting("a group")
    pairs: tuple["Inner", ...] = setting("groups")

    @property
    def steps(self):
        return LIMIT * scale(self.rate)

class PlainSettings:
    x: int = setting("of no use")
"""


@pytest.fixture
def several(tmp_path: Path) -> SmallProject:
    groups = "class Inner:\n    pass\n\nclass GroupSettings:\n    size: int = 1\n"
    groups += "    def total(self):\n        return self.size\n"
    files = {"core/parts/shared.py": SHARED, "core/parts/groups.py": groups}
    folder = {"__init__.py": '"""Words."""\n', "experiment.py": SEVERAL, "settings.py": SETTINGS}
    files |= {f"experiments/several/{name}": text for name, text in folder.items()}
    small = SmallProject(tmp_path, files)
    small.experiment = tmp_path / "experiments" / "several"
    return small


def test_each_study_counts_by_its_own_entry(several: SmallProject) -> None:
    fit, plain = (code_of_trial(several.experiment, study) for study in ("fit", "plain"))
    assert set(fit.definitions["experiments.several.experiment"]) == {"first", "STUDIES.fit.trial"}
    assert set(plain.definitions["experiments.several.experiment"]) == {"second", "STUDIES.plain.trial"}
    ready = code_of_preparation(several.experiment, "fit").definitions["experiments.several.experiment"]
    assert set(ready) == {"ready", "STUDIES.fit.prepare"}
    several.replace("experiments/several/experiment.py", "fast=True", "fast=2")
    assert code_of_trial(several.experiment, "fit").fingerprint == fit.fingerprint
    assert code_of_trial(several.experiment, "plain").fingerprint != plain.fingerprint
    assert study_parts(several.experiment) == {"fit": ["trial", "prepare"], "plain": ["trial"]}
    with pytest.raises(BadInput, match="the study 'plain' has no prepare"):
        code_of_preparation(several.experiment, "plain")
    with pytest.raises(BadInput, match=r"no study 'fitt' .*: did you mean 'fit'\?"):
        code_of_trial(several.experiment, "fitt")


def test_a_study_that_a_function_makes_counts_with_all_it_is_given(several: SmallProject) -> None:
    several.replace("experiments/several/experiment.py", "Study(first, prepare=ready)", "made(first, second)")
    several.replace("experiments/several/experiment.py", "def first", "def made(*of):\n    return of\n\ndef first")
    for code in (code_of_trial(several.experiment, "fit"), code_of_preparation(several.experiment, "fit")):
        assert {"made", "first", "second"} <= set(code.definitions["experiments.several.experiment"])
    plain = code_of_trial(several.experiment, "plain").definitions["experiments.several.experiment"]
    assert set(plain) == {"second", "STUDIES.plain.trial"}


def test_of_settings_counts_what_they_compute(several: SmallProject) -> None:
    def code() -> str:
        return code_of_trial(
            several.experiment, "plain", settings_classes=["experiments.several.settings:FitSettings"]
        ).fingerprint

    def changes(name: str, old: str, new: str) -> bool:
        before = code()
        several.replace(name, old, new)
        return code() != before

    file, groups, shared = "experiments/several/settings.py", "core/parts/groups.py", "core/parts/shared.py"
    assert code() != code_of_trial(several.experiment, "plain").fingerprint
    assert not changes(file, '"step size", within="(0, 1)"', '"the step size", within="(0, 2)"')
    assert not changes(file, '"of no use"', '"of use"')
    assert not changes(file, '"""Words."""', '"""Other words."""')
    assert not changes(groups, "size: int = 1", "size: int = 2")
    assert changes(file, "LIMIT = 3", "LIMIT = 4")
    assert changes(file, "return 2 * self.rate", "return 3 * self.rate")
    assert changes(groups, "return self.size", "return 1 + self.size")
    assert changes(groups, "class Inner:\n    pass", "class Inner:\n    scale = 1")
    assert changes(shared, "FACTOR = 2.0", "FACTOR = 2.5")


def test_settings_that_the_trial_names_count_whole(several: SmallProject) -> None:
    several.replace("experiments/several/experiment.py", "return other(1)", "return PlainSettings(1)")
    before = code_of_trial(several.experiment, "plain").fingerprint
    several.replace("experiments/several/settings.py", '"of no use"', '"of use"')
    assert code_of_trial(several.experiment, "plain").fingerprint != before


def test_a_table_of_studies_that_is_no_dictionary_is_refused(project: Project) -> None:
    small = project("def trial(): pass\nSTUDIES = dict(fit=trial)")
    with pytest.raises(BadInput, match=r"experiments\.demo has no study 'fit' in a table STUDIES written as one dict"):
        small.fingerprint()
