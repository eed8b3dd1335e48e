"""Identities: what changes them, what does not, and that processes and Python versions agree on them."""

import ast
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from core.errors import BadInput
from core.papers.config_files import all_slugs
from core.papers.settings import read_studies
from core.paths import experiment_path
from core.runs import identity, syntax
from tests.limits import machine_seconds

ROOTS = ("Settings", "trial")
EXPERIMENT = '''
"""A paper."""

import numpy as np

from core.lab import loops as training
from core.lab.lab import Lab
from core.models.mlp import Mlp


class Settings:
    """Settings."""

    rate = 0.5


SCALE = 2.0
TABLE = {}
TABLE["a"] = 1


def helper(x):
    """Scale a number."""
    return SCALE * x + TABLE["a"]


def trial(settings, keys, lab):
    from core.optim import sgd

    return helper(training.step(keys)) + np.sum(Mlp) + sgd.RATE


def drawn(x):
    from core.figures import style

    return style(x)


def figures(measurements, arrays):
    return drawn(measurements)
'''


@pytest.fixture
def tree(tmp_path):
    """A repository in small: an experiment, the modules it uses, and some that it must not depend on."""
    files = {
        "core/__init__.py": "",
        "core/lab/lab.py": "from typing import TYPE_CHECKING\nfrom core.lab.keys import key_for\n"
        "if TYPE_CHECKING:\n    from core.planning.forecasting import Plan\n",
        "core/lab/keys.py": "def key_for(key):\n    return key\n",
        "core/planning/forecasting.py": "BUDGET = 1\n",
        "core/lab/__init__.py": "",
        "core/lab/loops.py": "from . import keys\n\ndef step(x):\n    return x\n",
        "core/models/__init__.py": "",
        "core/models/mlp.py": "Mlp = 1\n",
        "core/models/conv.py": "Conv = 1\n",
        "core/optim/__init__.py": "",
        "core/optim/sgd.py": "RATE = 1\n",
        "core/figures/drawing.py": "def style(x):\n    return x\n",
        "core/judging/judge.py": "from core.judging.stats import mean\n",
        "core/judging/stats.py": "def mean(x):\n    return x\n",
        "experiments/demo.py": EXPERIMENT,
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def edit(tree: Path, name: str, old: str, new: str) -> None:
    path = tree / name
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def fingerprint(tree: Path) -> str:
    return identity.code_fingerprint(tree / "experiments" / "demo.py", ROOTS)


def test_the_closure_is_what_the_trial_imports_and_what_that_imports(tree):
    expected = (
        "core core.lab core.lab.lab core.lab.keys core.lab.loops core.models core.models.mlp core.optim core.optim.sgd"
    )
    assert identity.closure(tree / "experiments" / "demo.py", ROOTS) == set(expected.split())


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("experiments/demo.py", '"""Scale a number."""', '"""Other words."""'),
        ("experiments/demo.py", '    """Settings."""\n', ""),
        ("experiments/demo.py", "SCALE = 2.0", "SCALE   =   2.0  # twice"),
        ("experiments/demo.py", "return style(x)", "return style(2 * x)"),
        ("experiments/demo.py", "return drawn(measurements)", "return drawn(arrays)"),
        ("experiments/demo.py", '"""A paper."""', "UNUSED = 3"),
        ("core/lab/loops.py", "    return x", '    """Step."""\n\n    return x  # as it is'),
        ("core/models/conv.py", "Conv = 1", "Conv = 2"),
        ("core/figures/drawing.py", "return x", "return -x"),
        ("core/planning/forecasting.py", "1", "2"),
        ("core/judging/stats.py", "return x", "return -x"),
    ],
)
def test_what_a_trial_does_not_reach_keeps_its_fingerprint(tree, name, old, new):
    before = fingerprint(tree)
    edit(tree, name, old, new)
    assert fingerprint(tree) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("experiments/demo.py", "SCALE = 2.0", "SCALE = 3.0"),
        ("experiments/demo.py", "SCALE = 2.0", "SCALE = 2"),
        ("experiments/demo.py", 'TABLE["a"] = 1', 'TABLE["a"] = 2'),
        ("experiments/demo.py", "rate = 0.5", "rate = 0.25"),
        ("experiments/demo.py", "SCALE * x", "SCALE / x"),
        ("experiments/demo.py", "import numpy as np", "import jax.numpy as np"),
        ("experiments/demo.py", '"""A paper."""', "print(1)"),
        ("core/lab/loops.py", "return x", "return -x"),
        ("core/lab/keys.py", "return key", "return None"),
        ("core/optim/sgd.py", "1", "2"),
        ("core/models/__init__.py", "", "import os"),
    ],
)
def test_what_a_trial_reaches_changes_its_fingerprint(tree, name, old, new):
    before = fingerprint(tree)
    if old:
        edit(tree, name, old, new)
    else:
        (tree / name).write_text(new)
    assert fingerprint(tree) != before


def test_verdicts_and_figures_have_identities_of_their_own(tree):
    experiment = tree / "experiments" / "demo.py"
    claims = {"C1": {"says": "a sentence"}}
    verdicts, drawings = identity.verdict_identity(claims, tree), identity.figures_identity(experiment)
    assert identity.verdict_identity({"C1": {"says": "another"}}, tree) != verdicts
    edit(tree, "experiments/demo.py", "return style(x)", "return style(2 * x)")
    assert identity.verdict_identity(claims, tree) == verdicts
    restyled = identity.figures_identity(experiment)
    assert restyled != drawings
    edit(tree, "core/figures/drawing.py", "return x", "return -x")
    assert identity.figures_identity(experiment) != restyled
    edit(tree, "core/judging/stats.py", "return x", "return -x")
    assert identity.verdict_identity(claims, tree) != verdicts


def test_an_experiment_without_figures_depends_on_the_style_alone(tree):
    experiment = tree / "experiments" / "plain.py"
    experiment.write_text("def trial():\n    return 1\n")
    before = identity.figures_identity(experiment)
    experiment.write_text("def trial():\n    return 2\n")
    assert identity.figures_identity(experiment) == before


def test_an_experiment_may_be_a_folder_whose_modules_import_each_other(tree):
    folder = tree / "experiments" / "large"
    folder.mkdir()
    experiment = "from .model import net\nfrom . import drawing\n\ndef trial():\n    return net()\n\n"
    (folder / "__init__.py").write_text(experiment + "def figures():\n    return drawing.draw()\n")
    (folder / "model.py").write_text("from .layers import layer\n\ndef net():\n    return layer\n")
    (folder / "layers.py").write_text("layer = 1\n")
    (folder / "drawing.py").write_text("def draw():\n    return 1\n")
    modules = identity.closure(folder, ["trial"])
    assert {name for name in modules if name.startswith("experiments")} == {
        "experiments.large.model",
        "experiments.large.layers",
    }
    before = identity.code_fingerprint(folder, ["trial"])
    (folder / "__init__.py").write_text(experiment + "def figures():\n    return 2\n")
    assert identity.code_fingerprint(folder, ["trial"]) == before
    (folder / "layers.py").write_text("layer = 2\n")
    assert identity.code_fingerprint(folder, ["trial"]) != before


def test_what_does_not_exist_is_named(tree):
    experiment = tree / "experiments" / "demo.py"
    with pytest.raises(BadInput, match="demo does not define 'prepare'"):
        identity.code(experiment, [*ROOTS, "prepare"])
    edit(tree, "core/lab/loops.py", "from . import keys", "from core.absent import keys")
    with pytest.raises(BadInput, match=r"no module core\.absent"):
        identity.code(experiment, ROOTS)


def test_messages_and_places_are_not_part_of_a_result(tree):
    before = fingerprint(tree)
    (tree / "core" / "errors.py").write_text("class BadInput(Exception):\n    pass\n")
    edit(tree, "core/lab/lab.py", "from core.lab.keys", "from core.errors import BadInput\nfrom core.lab.keys")
    imported = fingerprint(tree)
    assert imported != before
    edit(tree, "core/errors.py", "Exception", "ValueError")
    assert fingerprint(tree) == imported


def test_modules_that_work_for_a_trial_unseen_can_be_named(tree):
    experiment = tree / "experiments" / "demo.py"
    (tree / "core" / "readers.py").write_text("import PIL\nfrom core.models import conv\n")
    also = ["core.readers"]
    assert identity.closure(experiment, ROOTS, also) - identity.closure(experiment, ROOTS) == {
        "core.readers",
        "core.models.conv",
    }
    assert "pillow" in identity.code(experiment, ROOTS, also).distributions
    before = identity.code_fingerprint(experiment, ROOTS, also)
    edit(tree, "core/models/conv.py", "1", "2")
    assert identity.code_fingerprint(experiment, ROOTS, also) != before


def test_distributions_come_from_the_experiment_and_not_from_the_machinery(tree):
    edit(tree, "core/lab/lab.py", "from core.lab.keys", "import pandas\nfrom core.lab.keys")
    edit(tree, "core/models/mlp.py", "Mlp = 1", "import sklearn.svm\nimport hydra\nimport math\nMlp = 1")
    edit(tree, "experiments/demo.py", "from core.figures", "import matplotlib\n    from core.figures")
    found = identity.code(tree / "experiments" / "demo.py", ROOTS).distributions
    assert found == {*identity.NUMERICAL, "scikit-learn", "hydra-core"}
    versions = identity.library_versions([*found, "no-such-thing"])
    assert versions["no-such-thing"] == "absent"
    assert versions["jax"] == pytest.importorskip("jax").__version__


def sample(settings=None, code="c0de", data=None, libraries=None):
    settings = {"b": 0.1, "a": [1, "é"]} if settings is None else settings
    data = {"mnist": "ab"} if data is None else data
    libraries = {"jax": "1.0", "numpy": "2.0"} if libraries is None else libraries
    return identity.run_identity("demo", "lenet", "laptop", settings, code, data, libraries)


def test_a_run_is_named_after_its_parts():
    name = sample().name
    assert name.startswith("demo-lenet-laptop-")
    assert len(name) == len("demo-lenet-laptop-") + 12
    assert sample(settings={"a": (1, "é"), "b": 0.1}).name == name
    others = [
        sample(settings={"a": [1, "é"], "b": 0.1 + 2**-55}),
        sample(code="c0df"),
        sample(data={}),
        sample(libraries={"jax": "1.1", "numpy": "2.0"}),
    ]
    assert len({name, *(other.name for other in others)}) == 5


def test_differences_name_the_parts():
    before = sample().parts
    assert identity.identity_differences(before, before) == []
    assert identity.identity_differences(before, sample(code="x", settings={}).parts) == ["code", "settings"]
    now = sample(data={"mnist": "cd"}, libraries={"jax": "1.1", "scipy": "1.0", "numpy": "2.0"}).parts
    assert identity.identity_differences(before, now) == ["data mnist", "jax 1.0 -> 1.1", "scipy unused -> 1.0"]


def test_other_processes_agree(tree):
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from core.runs import identity
        print(identity.code_fingerprint(Path(sys.argv[1]), ["Settings", "trial"]))
        print(identity.run_identity("s", "t", "u", {"a": 0.1, "b": {"c": 1}}, "x", {}, {}).name)
        assert "jax" not in sys.modules and "numpy" not in sys.modules
        """
    )
    answers = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(identity.REPOSITORY)}
        command = [sys.executable, "-c", program, str(tree / "experiments" / "demo.py")]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=machine_seconds(60), check=True
        )
        answers.add(done.stdout)
    assert len(answers) == 1
    assert answers.pop().split()[0] == fingerprint(tree)


def test_the_text_of_a_tree_does_not_depend_on_the_version_of_python():
    (piece,) = syntax.pieces("def f(x):\n    'doc'\n    return f'a{x:>3}' 'b', u'c', None\n")
    assert piece.text == (
        "FunctionDef(name='f';,args=arguments(args=arg(arg='x';,),),body=Return(value=Tuple(elts=JoinedStr(values="
        "Constant(value='a';,)FormattedValue(value=Name(id='x';,),conversion=-1;,format_spec=JoinedStr(values="
        "Constant(value='>3';,),),)Constant(value='b';,),)Constant(value='c';,)Constant(value=None;,),),),)"
    )


def test_f_strings_cut_differently_are_the_same():
    whole = ast.JoinedStr([ast.Constant("ab"), ast.FormattedValue(ast.Name("x", ast.Load()), -1)])
    specified = ast.FormattedValue(ast.Name("x", ast.Load()), -1, ast.JoinedStr([ast.Constant("")]))
    cut = ast.JoinedStr([ast.Constant("a"), ast.Constant("b"), specified, ast.Constant("")])
    texts = {syntax._piece(ast.Assign([ast.Name("y", ast.Store())], value)).text for value in (whole, cut)}
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x = True"),
        ("x = 1", "x = 1.0"),
        ("x = 'a', 'b'", "x = 'ab'"),
        ("x = {**a}", "x = {None: a}"),
        ("x[1:]", "x[:1]"),
        ("def f(): return", "def f(): return None"),
        ("from a import b", "from .a import b"),
        ("f(a, *b)", "f(a, b)"),
        ("if a:\n  b()\nc()", "if a:\n  b()\n  c()"),
        ("x = '\\u00e9'", "x = '\\u00e8'"),
    ],
)
def test_different_programs_have_different_texts(one, other):
    texts = ["".join(piece.text for piece in syntax.pieces(source)) for source in (one, other)]
    assert texts[0] != texts[1]


def test_no_presentation_is_in_the_identity_of_a_trial():
    experiments = [experiment_path(slug) for slug in all_slugs()]
    assert experiments
    outside = {"cli", "figures", "judging", "publishing", "report", "running", "tracking"}
    for experiment in experiments:
        for names in read_studies(experiment).values():
            roots = [name for name in (names.settings, names.trial, names.prepare) if name]
            words = {word for name in identity.closure(experiment, roots) for word in name.split(".")}
            assert not words & outside, experiment
