"""What a module does when it is imported: it counts wherever the module is imported, definitions alone do not."""

import pytest

from core.runs.reachability import AT_IMPORT
from tests.small_project import Project, project, read_cases

__all__ = ["project"]  # a fixture

ACTS = read_cases("""
# call
import jax
jax.config.update("jax_enable_x64", True)
# call in assignment
import jax
DONE = jax.config.update("jax_enable_x64", True)
# unknown library
import wandb
RUN = wandb.init()
# import for its effect
import tensorflow
# patch
import optax
optax.adam = None
# patch of the project
from core.parts import shared
shared.FACTOR = 3.0
# entry
from core.parts.shared import TABLE
TABLE["a"] = 1
# entry by another name
from core.parts.shared import TABLE as T
X = T
X["a"] = 1
# method
from core.parts.shared import TABLE
GOT = TABLE.setdefault("a", 1)
# decorator
from core.parts.shared import register

@register
def f():
    return 1
# decorator with name
from core.parts import shared

@shared.register("a")
def f():
    return 1
# subclass
from core.parts.shared import Watching

class Own(Watching):
    pass
# subclass of subclass
from core.parts.shared import Watching

class A(Watching):
    pass

class B(A):
    pass
# metaclass
from core.parts.shared import Meta

class Own(metaclass=Meta):
    pass
# instance
from core.parts.shared import Registering
OWN = Registering()
# instance of subclass
from core.parts.shared import Registering

class Own(Registering):
    pass

OWN = Own()
# descriptor
from core.parts.shared import Registering

class Own:
    part = Registering()
# factory
from dataclasses import dataclass, field
from core.parts.shared import register

@dataclass
class Own:
    part: list = field(default_factory=register)

OWN = Own()
# default
from core.parts.shared import register

def f(x=register(1)):
    return x
# loop
from core.parts.shared import TABLE
for name in ("a",):
    TABLE[name] = 1
# condition
from core.parts.shared import register
if True:
    register(1)
# handed to map
from core.parts.shared import register
ALL = list(map(register, (1, 2)))
# handed to sorted
from core.parts.shared import register
ALL = sorted((1, 2), key=register)
# handed to library
import numpy as np
from core.parts.shared import register
ALL = np.vectorize(register)
# handed in a table
from core.parts.shared import register
F = register
ALL = sorted((1, 2), key=F)
# through partial
from functools import partial
from core.parts.shared import register
GOT = partial(register, 1)()
# through a function
from core.parts.shared import register

def build():
    return register(1)

GOT = build()
# through a lambda
from core.parts.shared import register
GOT = (lambda: register(1))()
# comprehension
from core.parts.shared import register
ALL = [register(x) for x in (1, 2)]
# random seed
import numpy as np
SEED = np.random.seed(1)
# setattr
from core.parts import shared
DONE = setattr(shared, "FACTOR", 1)
# delete
from core.parts.shared import TABLE
del TABLE["b"]
# assertion
from core.parts.shared import register
assert register(1)
# augmented
from core.parts.shared import TABLE
TABLE["a"] += 1
# several targets
from core.parts.shared import TABLE
x = TABLE["a"] = 1
""")
STATE = """
FACTOR = 2.0
TABLE = {}

def register(x):
    TABLE[x] = x
    return x

class Watching:
    def __init_subclass__(cls):
        register(cls)

class Registering:
    def __init__(self):
        register(self)

    def __set_name__(self, owner, name):
        register(name)

class Meta(type):
    pass
"""


@pytest.mark.parametrize("code", ACTS.values(), ids=ACTS)
def test_what_an_import_does_counts_wherever_it_is_imported(project: Project, code: str) -> None:
    trial = "from core.parts.between import here\ndef trial():\n    return here()"
    between = "from core.parts import effects\n\ndef there():\n    return effects\n\ndef here():\n    return 1\n"
    small = project(trial, between=between, effects="", shared=STATE)
    assert small.reached("core.parts.effects") == set()
    before = small.fingerprint()
    small.write("core/parts/effects.py", code)
    assert AT_IMPORT in small.reached("core.parts.effects")
    assert small.fingerprint() != before


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
""")


@pytest.mark.parametrize("code", QUIET.values(), ids=QUIET)
def test_definitions_alone_do_nothing_at_import(project: Project, code: str) -> None:
    trial = "from core.parts.effects import here\ndef trial():\n    return here()"
    small = project(trial, effects="def here():\n    return 1\n", shared=STATE)
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
