"""However a module is imported, what it does counts; and what may stand in a module without doing anything."""

import pytest

from core.runs.reachability import AT_IMPORT
from tests.small_project import Project, project, read_cases

__all__ = ["project"]  # a fixture

LOADS = read_cases("""
# plain
import core.parts.effects
# from
from core.parts import effects
# star
from core.parts.effects import *
# relative
from . import effects
# try
try:
    from core.parts import effects
except ImportError:
    effects = None
# condition
if True:
    import core.parts.effects
# class
class Own:
    from core.parts import effects
# through another module
import core.parts.middle
# through its package
import core.parts.inner.module
# inside of the function that is reached
def here():
    import core.parts.effects
    return 1
""")


@pytest.mark.parametrize("code", LOADS.values(), ids=LOADS)
def test_however_a_module_is_imported_what_it_does_counts(project: Project, code: str) -> None:
    trial = "from core.parts.between import here\ndef trial():\n    return here()"
    between = code if "def here" in code else code + "\n\ndef here():\n    return 1\n"
    small = project(trial, between=between, effects="import jax\njax.config.update('a', 1)\n")
    small.write("core/parts/middle.py", "from core.parts import effects\n")
    small.write("core/parts/inner/__init__.py", "from core.parts import effects\n")
    small.write("core/parts/inner/module.py", "")
    assert AT_IMPORT in small.reached("core.parts.effects")


def test_an_import_in_a_function_that_nobody_calls_does_nothing(project: Project) -> None:
    trial = "from core.parts.between import here\ndef trial():\n    return here()"
    between = "def there():\n    import core.parts.effects\n\ndef here():\n    return 1\n"
    small = project(trial, between=between, effects="import jax\njax.config.update('a', 1)\n")
    assert small.reached("core.parts.effects") == set()


QUIET = read_cases("""
# function
def f(x=1):
    return x
# constant
import math
X = {"a": (1, math.sqrt(2)), "b": [f"{i}" for i in range(3)]}
# array
import numpy as np
X = np.arange(3) * 2.0
# compiled
from functools import partial
import jax

@partial(jax.jit, static_argnames="n")
def f(x, n):
    return x
# own decorator
from functools import partial
import jax
compiled = partial(jax.jit, static_argnames="n")

@compiled
def f(x, n):
    return x
# derivative
import jax

@jax.custom_vjp
def f(x):
    return x

def g(x):
    return x

f.defvjp(g, g)
# decorated derivative
import jax

@jax.custom_jvp
def f(x):
    return x

@f.defjvp
def g(x):
    return x
# module
import flax.linen as nn

class Net(nn.Module):
    size: int = 1

    @nn.compact
    def __call__(self, x):
        return x
# tuple
from typing import NamedTuple

class T(NamedTuple):
    x: int = 1

X = T(1)
# record
from dataclasses import dataclass, field

@dataclass(frozen=True)
class R:
    x: dict = field(default_factory=dict)

X = {"a": R(), "b": R({})}
# record of functions
from dataclasses import dataclass
from core.parts.shared import register

@dataclass
class R:
    f: object

X = R(register)
# registered class
import jax

class C:
    pass

jax.tree_util.register_pytree_node(C, None, None)
# property
class C:
    @property
    def x(self):
        return 1

    @x.setter
    def x(self, value):
        self.y = value
# error
from core.errors import BadInput

class Own(BadInput, ValueError):
    pass
# pure function
def shapes(n):
    found = {}
    for i in range(n):
        found |= {str(i): (i,)}
    return found

X = shapes(3)
# entry of its own
X = {}
X["a"] = 1
# script
def main():
    print(1)

if __name__ == "__main__":
    main()
# types
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import tensorflow

def f(x: "tensorflow.Tensor"):
    return x
# matplotlib
import matplotlib as mpl
mpl.use("Agg")
# instance with methods
from dataclasses import dataclass
from core.parts.shared import register

@dataclass(frozen=True)
class Own:
    size: int = 1

    @property
    def doubled(self):
        return register(self.size)

ALL = {"a": Own(), "b": Own(2)}
# pure decorator
import functools

def doubled(f):
    @functools.wraps(f)
    def call(x):
        return 2 * x
    return call

@doubled
def f(x):
    return x
# registered by a decorator
import jax

@jax.tree_util.register_pytree_node_class
class C:
    pass
# annotated
from typing import Annotated
import jax
from pydantic import Field
X: int = 1

def f(x: jax.Array, y: Annotated[int, Field(gt=0)]) -> "jax.Array":
    return x
# functions in records
from typing import NamedTuple
from core.parts.shared import register

class Way(NamedTuple):
    run: object

class Other(Way):
    pass

WAYS = {"a": Way(register), "b": Other(lambda x: register(x))}
# union of types
from dataclasses import dataclass
from core.parts.shared import register

class Acting:
    def run(self):
        return register(self)

@dataclass
class Own:
    part: Acting | None = None
    parts: dict[str, Acting | list[Acting]] | None = None
# sums of constants
A = (1, 2)
B = (*A, 3)
C = {name: 2 * number for name, number in zip("ab", A)}
D = [C.get(name) for name in C]
""")


@pytest.mark.parametrize("code", QUIET.values(), ids=QUIET)
def test_definitions_alone_do_nothing_at_import(project: Project, code: str) -> None:
    trial = "from core.parts.effects import here\ndef trial():\n    return here()"
    register = "TABLE = {}\n\ndef register(x):\n    TABLE[x] = x\n"
    small = project(trial, effects="def here():\n    return 1\n", shared=register)
    before = small.fingerprint()
    small.write("core/parts/effects.py", code + "\n\ndef here():\n    return 1\n")
    assert small.reached("core.parts.effects") == {"here"}
    assert small.fingerprint() == before


def test_what_is_said_about_a_definition_belongs_to_it(project: Project) -> None:
    trial = "from core.parts.shared import {}\ndef trial():\n    return {}"
    vjp = QUIET["derivative"] + "X = {}\nX['a'] = g\n"
    assert {"f", "g"} <= project(trial.format("f", "f"), shared=vjp).reached("core.parts.shared")
    assert {"X", "g"} == project(trial.format("X", "X"), shared=vjp).reached("core.parts.shared")
    assert {"g"} == project(trial.format("g", "g"), shared=vjp).reached("core.parts.shared")


def test_the_order_of_effects_counts(project: Project) -> None:
    small = project("import core.parts.effects\ndef trial(): pass", effects="import jax\njax.a(1)\njax.b(2)\n")
    before = small.fingerprint()
    small.write("core/parts/effects.py", "import jax\njax.b(2)\njax.a(1)\n")
    assert small.fingerprint() != before
