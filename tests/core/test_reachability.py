"""What a trial reaches: followed by name where that is sure, whole where it is not, in small projects made for it."""

import textwrap
from functools import partial

import pytest

from core.errors import BadInput
from core.runs.identity import MACHINERY, code_of_trial, definition_of
from core.runs.reachability import NAMES
from tests.small_project import SHARED, Project, project, read_cases

__all__ = ["project"]  # a fixture


def test_only_what_is_named_counts(project: Project) -> None:
    small = project("from core.parts.shared import scale\ndef trial():\n    return scale(1)", shared=SHARED)
    assert small.reached("core.parts.shared") == {"FACTOR", "scale"}
    assert small.reached("experiments.demo") == {"trial", "Settings", "STUDIES.fit.trial"}
    before = small.fingerprint()
    small.replace("core/parts/shared.py", "UNUSED = 3", "UNUSED = 4\n\ndef unused():\n    return Derived\n")
    assert small.fingerprint() == before
    small.replace("core/parts/shared.py", "FACTOR = 2.0", "FACTOR = 2")
    assert small.fingerprint() != before


def test_a_class_counts_whole_with_its_bases(project: Project) -> None:
    small = project("from core.parts import shared\ndef trial():\n    return shared.Derived().second()", shared=SHARED)
    assert small.reached("core.parts.shared") == {"FACTOR", "UNUSED", "other", "Base", "Derived"}


LOCALS = read_cases("""
# parameter
def trial(scale):
    return scale(1)
# keyword parameter
def trial(*, scale=None, **other):
    return scale(other)
# variable
def trial():
    scale = 1
    return scale
# bound later
def trial():
    print(scale)
    scale = 1
# loop
def trial():
    for scale in (1, 2):
        print(scale)
# comprehension
def trial():
    return [scale for scale in (1, 2) if scale]
# dictionary
def trial():
    return {scale: other for scale, other in ()}
# lambda
def trial():
    return lambda scale: scale
# nested function
def trial():
    def scale():
        return 1
    return scale()
# closure
def trial(scale):
    def inner():
        return lambda: scale
    return inner
# with
def trial():
    with open("x") as scale:
        return scale
# except
def trial():
    try:
        pass
    except ValueError as scale:
        print(scale)
# walrus
def trial():
    return [x for x in (1,) if (scale := x)], scale
# match
def trial(x):
    match x:
        case {"a": scale, **other}:
            return scale, other
# star
def trial(x):
    match x:
        case [*scale]:
            return scale
# nonlocal
def trial():
    scale = 1
    def inner():
        nonlocal scale
        scale = 2
    return inner, scale
# nested import
def trial():
    import math as scale
    return scale.pi
# attribute
def trial(x):
    return x.scale + x.other
# keyword
def trial(f):
    return f(scale=1)
# annotation
def trial(x: "scale") -> scale:
    y: scale = 1
    return y
# string
def trial():
    "scale"
    return "scale"
# method
class Own:
    def scale(self):
        return self.scale

def trial():
    return Own().scale()
""")
GLOBALS = read_cases("""
# free
def trial():
    return scale(1)
# default
def trial(f=scale):
    return f
# decorator
@scale
def trial():
    pass
# first iterable
def trial():
    return [scale for scale in scale(1)]
# inner of another
def trial():
    def inner():
        scale = 1
        return scale
    return inner, scale
# global
def trial():
    global scale
    scale = 1
    return scale
# method sees no class name
class Own:
    scale = 1
    def f(self):
        return scale

def trial():
    return Own
# class before it binds
class Own:
    scale = scale

def trial():
    return Own
# class comprehension
class Own:
    scale = 1
    all = [scale for _ in (1, 2)]

def trial():
    return Own
# lambda default
def trial():
    return lambda f=scale: f
# f string
def trial():
    return f"{scale(1):>{3}}"
# base
def trial():
    class Own(scale):
        pass
    return Own
# match value
def trial(x):
    match x:
        case scale.part:
            return 1
# private
class _Own:
    def f(self):
        return __scale

_Own__scale = scale

def trial():
    return _Own
# through global
def use():
    global late
    late = scale

def trial():
    return late
# deferred
class Own:
    kind: "scale"

def trial():
    return Own
""")


@pytest.mark.parametrize("trial", LOCALS.values(), ids=LOCALS)
def test_a_local_name_is_not_the_module_s(project: Project, trial: str) -> None:
    small = project(f"from core.parts.shared import other, scale\n{trial}", shared=SHARED)
    assert small.reached("core.parts.shared") == set()


@pytest.mark.parametrize("trial", GLOBALS.values(), ids=GLOBALS)
def test_a_name_of_the_module_is_followed(project: Project, trial: str) -> None:
    small = project(f"from core.parts.shared import scale\n{trial}", shared=SHARED)
    assert {"FACTOR", "scale"} <= small.reached("core.parts.shared")


IMPORTS = read_cases("""
# module
import core.parts.shared
def trial():
    return core.parts.shared.scale
# module as
import core.parts.shared as s
def trial():
    return s.scale
# from package
from core.parts import shared
def trial():
    return shared.scale(1)
# from module as
from core.parts.shared import scale as s
def trial():
    return s
# inside
def trial():
    from core.parts import shared
    return shared.scale
# inside as
def trial():
    import core.parts.shared as s
    return lambda: s.scale
# inside dotted
def trial():
    import core.parts.shared
    return core.parts.shared.scale
# re export
from core.parts.front import scale
def trial():
    return scale
# re export of module
from core.parts import front
def trial():
    return front.shared.scale
# package re export
from core.outer import scale
def trial():
    return scale
""")


@pytest.mark.parametrize("trial", IMPORTS.values(), ids=IMPORTS)
def test_imports_of_every_form_lead_to_the_name_alone(project: Project, trial: str) -> None:
    front = "from core.parts import shared as shared\nfrom .shared import scale as scale\n"
    small = project(trial, shared=SHARED, front=front)
    small.write("core/outer/__init__.py", "from core.parts.front import scale as scale\n")
    assert small.reached("core.parts.shared") == {"FACTOR", "scale"}


WHOLE = read_cases("""
# computed attribute
from core.parts import shared
def trial(name):
    return getattr(shared, name)()
# handed around
from core.parts import shared
def trial(f):
    return f(shared)
# stored
from core.parts import shared
TABLE = {"a": shared}
def trial():
    return TABLE["a"].scale
# other name
from core.parts import shared
again = shared
def trial():
    return again.scale
# returned
def find():
    from core.parts import shared
    return shared

def trial():
    return find().scale
# package
from core import parts
def trial(name):
    return getattr(parts, name)
# star
from core.parts.shared import *
def trial():
    return scale(1)
# dictionary
from core.parts import shared
def trial(name):
    return shared.__dict__[name]
# vars
from core.parts import shared
def trial(name):
    return vars(shared)[name]
# class attribute
class Own:
    from core.parts import shared

def trial():
    return Own().shared.scale
# either
try:
    from core.parts import shared
except ImportError:
    shared = None

def trial():
    return shared
# rebound
def trial(x):
    from core.parts import shared
    if x:
        shared = None
    return shared
# global import
def load():
    global shared
    from core.parts import shared

def trial():
    return shared.scale
# importlib
import importlib
def trial(name):
    return importlib.import_module(name)
# importlib inside
def trial(name):
    from importlib import import_module as get
    return get(name)
# dunder import
def trial(name):
    return __import__(name)
# sys modules
import sys
def trial(name):
    return sys.modules[name]
# sys handed
import sys
def trial(name):
    return getattr(sys, name)
# eval
def trial(text):
    return eval(text)
# exec
def trial(text):
    exec(text)
# function globals
def trial(f):
    return f.__globals__["scale"]
# function globals by name
def trial(f):
    return getattr(f, "__globals__")
# subclasses
def trial(x):
    return type(x).__subclasses__()
# pickle
import pickle
def trial(x):
    return pickle.loads(x)
# frames
import inspect
def trial():
    return inspect.currentframe().f_back
# module getattr
from core.parts import lazy
def trial():
    return lazy.anything
# globals
from core.parts.own import find
def trial(name):
    return find(name)
""")


@pytest.mark.parametrize("trial", WHOLE.values(), ids=WHOLE)
def test_what_cannot_be_followed_counts_whole(project: Project, trial: str) -> None:
    lazy = "from core.parts import shared\n\ndef __getattr__(name):\n    return getattr(shared, name)\n"
    own = SHARED + "\ndef find(name):\n    return globals()[name]\n"
    small = project(trial, shared=SHARED, lazy=lazy, own=own)
    module = "core.parts.own" if "parts.own" in trial else "core.parts.shared"
    assert {"FACTOR", "UNUSED", "scale", "other", "Base", "Derived", NAMES} <= small.reached(module)


def test_a_whole_module_counts_with_what_its_imports_bind(project: Project) -> None:
    small = project(
        "from core.parts import front\ndef trial(name):\n    return getattr(front, name)",
        shared=SHARED,
        front="from core.parts.shared import scale\nfrom core.parts import deep\n",
        deep="def depth():\n    return 1\n",
    )
    assert small.reached("core.parts.shared") == {"FACTOR", "scale"}
    assert small.reached("core.parts.deep") == {"depth"}
    before = small.fingerprint()
    small.replace("core/parts/front.py", "import scale", "import other as scale")
    assert small.fingerprint() != before


def test_what_a_name_stands_for_is_part_of_what_uses_it(project: Project) -> None:
    trial = (
        "from core.parts.shared import other as b, scale as a\nimport numpy as np\ndef trial():\n    return np.a(a), b"
    )
    small = project(trial, shared=SHARED)
    prints = [small.fingerprint()]
    for old, new in (("other as b, scale as a", "other as a, scale as b"), ("import numpy as", "import jax.numpy as")):
        small.replace("experiments/demo.py", old, new)
        prints.append(small.fingerprint())
    assert len(set(prints)) == 3


def test_code_that_reads_code_sees_comments_and_annotations(project: Project) -> None:
    reader = "from core.parts.reader import words\ndef trial(x: 'a number'):\n    return words(trial)  # as it is"
    plain = "def words(f):\n    return f\n"
    small = project(reader, reader=plain)
    before = small.fingerprint()
    small.replace("experiments/demo.py", "a number", "an array")
    assert small.fingerprint() == before
    for body in ("f.__annotations__", "f.__doc__", "__import__('typing').get_type_hints(f)"):
        small.write("core/parts/reader.py", f"def words(f):\n    return {body}\n")
        before = small.fingerprint()
        small.replace("experiments/demo.py", "an array", "an array of numbers")
        assert small.fingerprint() != before
        small.replace("experiments/demo.py", "an array of numbers", "an array")


def test_what_does_not_exist_is_named(project: Project) -> None:
    small = project("from core.absent import f\ndef trial():\n    return f")
    with pytest.raises(BadInput, match=r"no module core\.absent, which the code of a run imports"):
        small.fingerprint()


def test_the_machinery_and_what_is_named_besides_always_count(project: Project) -> None:
    small = project(shared=SHARED)
    definitions = code_of_trial(small.experiment, "fit", extra_definitions=["core.parts.shared:scale"]).definitions
    assert all(name in definitions[module] for module, name in (each.split(":") for each in MACHINERY))
    assert set(definitions["core.parts.shared"]) == {"FACTOR", "scale"}
    whole = code_of_trial(small.experiment, "fit", extra_definitions=["core.parts.shared:"])
    assert "UNUSED" in whole.definitions["core.parts.shared"]


def test_functions_are_named_by_where_they_are_defined() -> None:
    assert definition_of(textwrap.dedent) == "textwrap:dedent"
    with pytest.raises(BadInput, match="must be a function with a name"):
        definition_of(partial(textwrap.dedent, ""))
    assert definition_of(lambda: 1) == f"{__name__}:"
