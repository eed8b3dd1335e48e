"""Identities: their parts, what two of them differ in, and what changes those of the papers in this repository."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from core.runs import identity
from core.runs.identity import Code, identity_differences
from core.runs.source_tree import REPOSITORY
from tests.limits import machine_seconds
from tests.small_project import SHARED, Project, project

__all__ = ["project"]  # a fixture

CODE = Code({"core.a": {"f": "11" * 8, "g": "22" * 8}, "experiments.x": {"trial": "33" * 8}})


def changed_code(**hashes: str) -> Code:
    return Code({"core.a": {"f": "11" * 8, "g": "22" * 8} | hashes, "experiments.x": {"trial": "33" * 8}})


def sample(settings=None, code=CODE, data=None, libraries=None, flags=None, prepared=None) -> identity.Identity:
    return identity.run_identity(
        "demo",
        "lenet",
        "laptop",
        settings={"b": 0.1, "a": [1, "é"], "group": {"c": 2}} if settings is None else settings,
        code=code,
        data={"mnist": {"train": "ab" * 32, "shapes": "cd" * 32}} if data is None else data,
        libraries={"jax": "1.0", "numpy": "2.0"} if libraries is None else libraries,
        flags=flags or {},
        prepared=prepared,
    )


def test_a_run_is_named_after_its_parts() -> None:
    name = sample().name
    assert name.startswith("demo-lenet-laptop-")
    assert len(name) == len("demo-lenet-laptop-") + 12
    assert sample(settings={"group": {"c": 2}, "a": (1, "é"), "b": 0.1}).name == name
    others = [
        sample(settings={"a": [1, "é"], "b": 0.1 + 2**-55, "group": {"c": 2}}),
        sample(settings={"a": [1, "é"], "b": 0.1, "group": {"c": 2.0}}),
        sample(code=changed_code(f="12" * 8)),
        sample(data={}),
        sample(data={"mnist": {"train": "ab" * 32, "shapes": "ce" * 32}}),
        sample(libraries={"jax": "1.1", "numpy": "2.0"}),
        sample(flags={"jax_enable_x64": "true"}),
        sample(prepared=sample()),
        sample(prepared=sample(settings={})),
    ]
    assert len({name, *(other.name for other in others)}) == len(others) + 1


def test_there_is_a_hash_for_every_setting_definition_and_file() -> None:
    parts = sample().parts
    assert set(parts["settings"]["values"]) == {"a", "b", "group.c"}
    assert parts["code"]["definitions"] == {
        "core.a": {"f": "11" * 6, "g": "22" * 6},
        "experiments.x": {"trial": "33" * 6},
    }
    assert parts["data"]["mnist"]["files"] == {"train": "ab" * 6, "shapes": "cd" * 6}
    assert all(len(part["digest"]) == 64 for part in (parts["settings"], parts["code"], parts["data"]["mnist"]))
    assert json.loads(json.dumps(parts)) == parts


@pytest.mark.parametrize(
    ("now", "lines"),
    [
        ({}, []),
        ({"code": changed_code(f="12" * 8)}, ["definition core.a.f changed"]),
        ({"code": changed_code(f="12" * 8, g="12" * 8, h="12" * 8)}, ["definitions core.a.f, core.a.g changed"]),
        ({"code": changed_code(h="12" * 8)}, ["definition core.a.h new"]),
        ({"code": Code({"core.a": {"f": "11" * 8}})}, ["definitions core.a.g, experiments.x.trial gone"]),
        ({"code": changed_code(f="11" * 7 + "10")}, ["code"]),
        ({"settings": {"b": 0.2, "a": [1, "é"], "group": {"c": 2}}}, ["setting b changed"]),
        ({"settings": {"b": 0.2, "a": [1, "é"], "group": {"c": 3}}}, ["settings b, group.c changed"]),
        ({"settings": {"b": 0.1, "a": [1, "é"], "group": {"d": 2}}}, ["setting group.d new", "setting group.c gone"]),
        ({"data": {"mnist": {"train": "ee" * 32, "shapes": "cd" * 32}}}, ["data file mnist/train changed"]),
        ({"data": {"digits": {"a": "1"}}}, ["data digits", "data mnist"]),
        ({"libraries": {"jax": "1.1", "scipy": "1.0", "numpy": "2.0"}}, ["jax 1.0 -> 1.1", "scipy unused -> 1.0"]),
        ({"flags": {"jax_enable_x64": "true"}}, ["flag jax_enable_x64 unset -> true"]),
        ({"prepared": sample()}, ["prepared work"]),
    ],
)
def test_differences_say_what_changed(now: dict, lines: list[str]) -> None:
    assert identity_differences(sample().parts, sample(**now).parts) == lines


def test_of_many_differences_some_are_named() -> None:
    before = sample(settings={str(number): 1 for number in range(9)}).parts
    now = sample(settings={str(number): 2 for number in range(9)}, code=changed_code(f="12" * 8)).parts
    assert identity_differences(before, now) == [
        "definition core.a.f changed",
        "settings 0, 1, 2 and 6 more changed",
    ]


def test_differences_of_prepared_work_are_said_once() -> None:
    before = sample(prepared=sample()).parts
    now = sample(flags={"f": "1"}, prepared=sample(code=changed_code(g="0" * 16), flags={"f": "1"})).parts
    assert identity_differences(before, now) == ["flag f unset -> 1", "prepared work: definition core.a.g changed"]


@pytest.mark.parametrize("recorded", [{}, {"code": "c0de", "settings": "ab", "data": {"mnist": "cd"}}])
def test_records_without_the_parts_are_different_as_a_whole(recorded: dict) -> None:
    lines = identity_differences(recorded, sample().parts)
    assert lines[:3] == ["code", "settings", "data mnist"]


def test_other_processes_agree(project: Project) -> None:
    small = project("from core.parts.shared import Derived\ndef trial():\n    return {Derived, 'x'}", shared=SHARED)
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from core.runs import identity
        code = identity.code_of_trial(Path(sys.argv[1]), "fit")
        made = identity.run_identity("s", "t", "u", settings={"a": 0.1}, code=code, data={}, libraries={}, flags={})
        print(code.fingerprint, made.name)
        assert not {"jax", "numpy", "flax", "pandas"} & set(sys.modules)
        """
    )
    answers = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-c", program, str(small.experiment)]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=machine_seconds(60), check=True
        )
        answers.add(done.stdout)
    [answer] = answers
    assert answer.split()[0] == small.fingerprint()


def test_libraries_are_those_that_are_reached(project: Project) -> None:
    trial = "from core.parts.shared import near\ndef trial():\n    import PIL\n    return near(PIL)"
    shared = "import sklearn.svm\nimport hydra\nimport math\n\ndef near(x):\n    return sklearn.svm, math\n\n"
    small = project(trial, shared=shared + "def far():\n    return hydra\n")
    found = identity.code_of_trial(small.experiment, "fit").distributions
    assert found == {*identity.NUMERICAL, "scikit-learn", "pillow"}
    versions = identity.library_versions([*found, "no-such-thing"])
    assert versions["no-such-thing"] == "absent"
    assert versions["jax"] == pytest.importorskip("jax").__version__


def test_verdicts_and_figures_have_identities_of_their_own(project: Project) -> None:
    small = project(
        "from core.parts.shared import scale, other\ndef trial():\n    return other\n\n"
        "def figures():\n    return scale(1)\n",
        shared=SHARED,
    )

    def now() -> list[str]:
        figures = identity.figures_identity(small.experiment, {})
        return [identity.verdict_identity({"C1": {"says": "a"}}, small.root), figures, small.fingerprint()]

    def changes(name: str, old: str, new: str) -> list[bool]:
        before = now()
        small.replace(name, old, new)
        return [one != other for one, other in zip(before, now(), strict=True)]

    assert identity.verdict_identity({"C1": {"says": "b"}}, small.root) != now()[0]
    assert changes("core/judging/stats.py", "return x", "return +x") == [True, False, False]
    assert changes("core/judging/stats.py", "return -x", "return 1") == [False, False, False]
    assert changes("core/parts/shared.py", "FACTOR = 2.0", "FACTOR = 3.0") == [False, True, False]
    assert changes("core/parts/shared.py", "UNUSED = 3", "UNUSED = 4") == [False, False, True]
    assert changes("core/figures/drawing.py", "def call_in_style(x):", "def call_in_style(x, *_):") == [
        False,
        True,
        False,
    ]


def test_figures_may_have_a_module_of_their_own(tmp_path: Path, project: Project) -> None:
    small = project()
    small.write("experiments/large/experiment.py", "STUDIES = {}\n")
    experiment = small.root / "experiments" / "large"
    before = identity.figures_identity(experiment, {})
    small.write("experiments/large/figures.py", "def figures():\n    return 1\n")
    assert identity.figures_identity(experiment, {}) != before


def test_figures_that_an_experiment_lacks_leave_the_style(project: Project) -> None:
    small = project("def trial():\n    return 1")
    before = identity.figures_identity(small.experiment, {})
    small.replace("experiments/demo.py", "return 1", "return 2")
    assert identity.figures_identity(small.experiment, {}) == before


# The papers of this repository

CONSTANTS = {
    ("core/models/norms.py", "BLOCK_VALUES = 32768", "BLOCK_VALUES = 65536"): {"layer_norm"},
    ("core/kernels/infinite.py", "TILE, LANES = 400, 16", "TILE, LANES = 400, 8"): {"ntk"},
    ("core/bayes/chains.py", "MAX_DOUBLINGS = 8", "MAX_DOUBLINGS = 9"): {"pfn hyper", "pfn bnn"},
    ("core/amortised/bar_distribution.py", "HALF_NORMAL_MEAN = 0.7978", "HALF_NORMAL_MEAN = 0.7979"): {"pfn gp"},
    ("core/lab/lab.py", "CHECKPOINT_SECONDS = 30.0", "CHECKPOINT_SECONDS = 31.0"): {""},
    ("core/amortised/estimators.py", "QUERY_CHUNK = 64", "QUERY_CHUNK = 32"): set(),
    ("core/judging/stats.py", "FEWEST_FOR_BOOTSTRAP = 10", "FEWEST_FOR_BOOTSTRAP = 11"): set(),
    ("core/lab/shape_lab.py", "return jax.eval_shape(compute)", "return jax.eval_shape(compute), 1"): set(),
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of core and the experiments."""
    for top in ("core", "experiments"):
        shutil.copytree(REPOSITORY / top, tmp_path / top, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def fingerprints(root: Path) -> dict[str, str]:
    """Those of every trial, by paper and study."""
    found = {}
    for path in sorted((root / "experiments").iterdir()):
        if (path / "experiment.py").is_file():
            for study in identity.study_parts(path):
                found[f"{path.name} {study}"] = identity.code_of_trial(path, study).fingerprint
    return found


def test_a_function_added_to_every_module_of_core_changes_nothing(repository: Path) -> None:
    before = fingerprints(repository)
    for path in (repository / "core").rglob("*.py"):
        text = path.read_text()
        path.write_text(f"{text}\n\ndef of_no_use(x):\n    return [x, of_no_use]\n\n\nOF_NO_USE = {{1: of_no_use}}\n")
    assert fingerprints(repository) == before
    assert len(before) > 30


def test_a_constant_changes_exactly_what_reaches_it(repository: Path) -> None:
    before = fingerprints(repository)
    for (name, old, new), wanted in CONSTANTS.items():
        path = repository / name
        text = path.read_text()
        assert text.count(old) == 1, (name, old)
        path.write_text(text.replace(old, new))
        now = fingerprints(repository)
        changed = {study for study in before if now[study] != before[study]}
        assert changed == {study for study in before if any(study.startswith(each) for each in wanted)}, name
        path.write_text(text)
    assert fingerprints(repository) == before


def test_no_presentation_is_in_the_identity_of_a_trial() -> None:
    outside = {"cli", "figures", "judging", "launch", "planning", "publishing", "report", "running", "runs", "sweeps"}
    for path in sorted((REPOSITORY / "experiments").iterdir()):
        if (path / "experiment.py").is_file():
            for study in identity.study_parts(path):
                modules = identity.code_of_trial(path, study).modules
                assert not {word for name in modules for word in name.split(".")} & (outside | {"tracking"}), study
                assert "core.lab.shape_lab" not in modules
