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
# method of a fresh instance
from core.parts.shared import Silent
GOT = Silent().run()
# reading method of an instance
from core.parts.shared import SILENT
GOT = SILENT.get(1)
# property of an instance
from core.parts.shared import SILENT
GOT = SILENT.part
# property in a table
from core.parts.shared import SILENT
GOT = {"a": (SILENT.part, 1)}
# operator
from core.parts.shared import SILENT
GOT = SILENT + 1
# comparison
from core.parts.shared import SILENT
GOT = [1 for _ in (1,) if SILENT]
# iteration
from core.parts.shared import SILENT
GOT = [x for x in SILENT]
# index
from core.parts.shared import SILENT
GOT = SILENT[0]
# formatted
from core.parts.shared import SILENT
GOT = f"{SILENT}"
# class method
from core.parts.shared import Silent
GOT = Silent.make()
# method of a builtin type
from core.parts.shared import TABLE
DONE = dict.update(TABLE, a=1)
# object's way of setting
from core.parts import shared
DONE = object.__setattr__(shared, "FACTOR", 1)
# found in a table and handed on
from core.parts.shared import FUNCTIONS
ALL = sorted((1, 2), key=FUNCTIONS["a"])
# one of two
from core.parts.shared import register
ALL = sorted((1, 2), key=None or register)
# behind partial
from functools import partial
from core.parts.shared import register
ALL = partial(sorted, key=register)((1, 2))
# decorator behind partial
from functools import partial
from core.parts.shared import register

@partial(register)
def f():
    return 1
# decorator of a decorator
from core.parts.shared import register

def twice(f):
    return lambda *x: f(f(*x))

@twice(register)
def f():
    return 1
# handed to a function
from core.parts.shared import register

def call(f):
    return f(1)

GOT = call(register)
# handed to a library inside of a function
from core.parts.shared import register

def call(f):
    return sorted((1, 2), key=f)

GOT = call(register)
# returned and handed on
from core.parts.shared import register

def find():
    return register

GOT = sorted((1, 2), key=find())
# lambda handed on
from core.parts.shared import register
GOT = sorted((1, 2), key=lambda x: register(x))
# lambda in a constant
from core.parts.shared import TABLE
F = lambda x: TABLE.setdefault(x, x)
GOT = F(1)
# circle of functions
from core.parts.shared import register

def a(n):
    return b(n - 1) if n else 1

def b(n):
    return a(n), register(n)

FIRST = a(1)
GOT = b(1)
# array sorted in place
import numpy as np
from core.parts.shared import ARRAY
DONE = np.asarray(ARRAY).sort()
# annotation
from core.parts.shared import register
X: register(1) = 1
# annotation of a function
from core.parts.shared import register

def f(x: register(1)):
    return x
# class body
from core.parts.shared import register

class Own:
    part = register(1)
# walrus
from core.parts.shared import register
GOT = [y for x in (1,) if (y := register(x))]
# registration of another module's class
import jax
from core.parts.shared import Silent
jax.tree_util.register_pytree_node(Silent, None, None)
# derivative of another module's function
from core.parts.shared import register
register.defvjp(None, None)
# unknown base
from core.parts.shared import *

class Own(Watching):
    pass
# random numbers
import numpy as np
GOT = np.random.default_rng(0).shuffle([1])
# star
from core.parts.acting import *
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

class Silent:
    @property
    def part(self):
        return register(self)

    @classmethod
    def make(cls):
        return register(1)

    def run(self):
        return register(self)

    def get(self, x):
        return register(x)

    def __add__(self, other):
        return register(other)

    def __bool__(self):
        return register(self)

    def __iter__(self):
        return register(self)

    def __getitem__(self, x):
        return register(x)

    def __format__(self, x):
        return register(x)

SILENT = Silent()
FUNCTIONS = {"a": register}
ARRAY = [2, 1]
"""


@pytest.mark.parametrize("code", ACTS.values(), ids=ACTS)
def test_what_an_import_does_counts_wherever_it_is_imported(project: Project, code: str) -> None:
    trial = "from core.parts.between import here\ndef trial():\n    return here()"
    between = "from core.parts import effects\n\ndef there():\n    return effects\n\ndef here():\n    return 1\n"
    small = project(trial, between=between, effects="", shared=STATE, acting="import jax\njax.config.update('a', 1)\n")
    assert small.reached("core.parts.effects") == set()
    before = small.fingerprint()
    small.write("core/parts/effects.py", code)
    assert AT_IMPORT in small.reached("core.parts.effects")
    assert small.fingerprint() != before
