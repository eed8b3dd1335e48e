"""Small projects on disk, for tests of what a trial reaches: `core/parts/` to fill, and an experiment `demo`."""

import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from core.runs.identity import FIGURES, MACHINERY, VERDICTS, code_of_trial


def stand_ins(*roots: str) -> dict[str, str]:
    """Modules with a function in the place of everything that always counts."""
    found: dict[str, str] = {}
    for module, name in (root.split(":") for root in roots):
        file = f"{module.replace('.', '/')}.py"
        found[file] = found.get(file, "") + f"def {name}(x):\n    return x\n\n"
    return found


PARTS = {
    **stand_ins(*MACHINERY, *VERDICTS, *FIGURES),
    "core/__init__.py": "",
    "core/lab/__init__.py": "",
    "core/parts/__init__.py": "",
    "core/papers/contract.py": "class Study:\n    pass\n",
    "core/judging/verdicts.py": "from core.judging.stats import mean\n\ndef judge_study(x):\n    return mean(x)\n",
    "core/judging/stats.py": "def mean(x):\n    return x\n\ndef unused(x):\n    return -x\n",
}
HEAD = "from core.papers.contract import Study\n\nclass Settings:\n    pass\n\n"
TABLE = '\nSTUDIES = {"fit": Study(settings=Settings, trial=trial)}\n'
# A module that others use, in many tests.
SHARED = """
import numpy as np

FACTOR = 2.0
UNUSED = 3

def scale(x):
    return FACTOR * np.sum(x)

def other(x):
    return UNUSED * x

class Base:
    def first(self):
        return other(1)

class Derived(Base):
    size: int = 1

    def second(self):
        return FACTOR
"""


class SmallProject:
    """A project in a folder of its own."""

    def __init__(self, root: Path, files: dict[str, str]) -> None:
        self.root, self.experiment = root, root / "experiments" / "demo.py"
        for name, text in (PARTS | files).items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        """Write a file; the experiment `demo` gets a table of studies where it has none."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = textwrap.dedent(text)
        path.write_text(HEAD + text + TABLE if path == self.experiment and "STUDIES" not in text else text)

    def replace(self, name: str, old: str, new: str) -> None:
        """Change one place of a file."""
        text = (self.root / name).read_text()
        assert text.count(old) == 1, (name, old)
        (self.root / name).write_text(text.replace(old, new))

    def fingerprint(self) -> str:
        """That of the trial."""
        return code_of_trial(self.experiment, "fit").fingerprint

    def reached(self, module: str) -> set[str]:
        """Names of a module that the trial reaches."""
        return set(code_of_trial(self.experiment, "fit").definitions.get(module, {}))


Project = Callable[..., SmallProject]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Makes the project with a trial and with modules of `core/parts/`."""

    def make(trial: str = "def trial(): pass", **parts: str) -> SmallProject:
        files = {f"core/parts/{name}.py": text for name, text in parts.items()}
        return SmallProject(tmp_path, {"experiments/demo.py": trial, **files})

    return make


def read_cases(text: str) -> dict[str, str]:
    """Pieces of code by their titles, which are comments at the start of a line."""
    _, *parts = re.split(r"^# (.+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))
