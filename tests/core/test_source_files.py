"""The analysis of a file: what it keeps of the source, in every Python, in the cache, and beside other processes."""

import ast
import itertools
import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.runs import source_cache, syntax
from core.runs.source_cache import read_source_file
from core.runs.source_files import SourceFile, analyse_source
from core.runs.source_tree import REPOSITORY


def text(source: str) -> str:
    return syntax.text_of(*syntax.effective_statements(ast.parse(source)))


def test_the_text_of_a_tree_does_not_depend_on_the_version_of_python() -> None:
    assert text("def f(x: int) -> str:\n    'doc'\n    return f'a{x:>3}' 'b', u'c', None\n") == (
        "FunctionDef(name='f';,args=arguments(args=arg(arg='x';,),),body=Return(value=Tuple(elts=JoinedStr(values="
        "Constant(value='a';,)FormattedValue(value=Name(id='x';,),conversion=-1;,format_spec=JoinedStr(values="
        "Constant(value='>3';,),),)Constant(value='b';,),)Constant(value='c';,)Constant(value=None;,),),),)"
    )


def test_f_strings_cut_differently_are_the_same() -> None:
    whole = ast.JoinedStr([ast.Constant("ab"), ast.FormattedValue(ast.Name("x", ast.Load()), -1)])
    specified = ast.FormattedValue(ast.Name("x", ast.Load()), -1, ast.JoinedStr([ast.Constant("")]))
    cut = ast.JoinedStr([ast.Constant("a"), ast.Constant("b"), specified, ast.Constant("")])
    assert syntax.text_of(whole) == syntax.text_of(cut)


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
        ("class A:\n  x: int = 1", "class A:\n  x: float = 1"),
        ("@app.read\ndef f(x: int): pass", "@app.read\ndef f(x: float): pass"),
        ("@partial(read, 1)\ndef f(x: int): pass", "@partial(read, 1)\ndef f(x: float): pass"),
        ("@app\nclass A:\n  def f(x: int): pass", "@app\nclass A:\n  def f(x: float): pass"),
        ("def f():\n  x: int\n  return x", "def f():\n  return x"),
        ("if not TYPE_CHECKING:\n  import a", ""),
    ],
)
def test_different_programs_have_different_texts(one: str, other: str) -> None:
    assert text(one) != text(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x   =  (1)  # one"),
        ("x: int = 1", "x = 1"),
        ("def f(x: int, *y: int, z: int = 1) -> int:\n  return x", "def f(x, *y, z=1):\n  'doc'\n  return x"),
        ("def f():\n  x: int = 1", "def f():\n  x: float = 1"),
        ("class A:\n  'doc'\n  def f(self) -> int: return 1", "class A:\n  def f(self): return 1"),
        (
            "@partial(jax.jit, static_argnums=0)\ndef f(x: int): pass",
            "@partial(jax.jit, static_argnums=0)\ndef f(x): pass",
        ),
        ("if TYPE_CHECKING:\n  import a\nelse:\n  import b", "import b"),
        ("if typing.TYPE_CHECKING:\n  import a", ""),
        ("if __name__ == '__main__':\n  main()", ""),
        ("x: int", ""),
    ],
)
def test_what_has_no_effect_is_not_in_the_text(one: str, other: str) -> None:
    assert text(one) == text(other)


# The cache


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own, and no memory of files."""
    monkeypatch.setenv("ENCORE_CACHE", str(tmp_path / "cache"))
    forget()
    return tmp_path / "cache"


def forget() -> None:
    source_cache._MEMORY.clear()
    source_cache._analyse_content.cache_clear()


def read(path: Path) -> SourceFile:
    forget()
    found = read_source_file(str(path))
    assert found is not None
    return found


SOURCE = """
from dataclasses import dataclass
from core.models import norms

@dataclass
class A(norms.B):
    x: int = 1
    def f(self):
        import optax
        return optax.adam(self.x)

def g(): return A(1)

STUDIES = {"fit": Study(g, prepare=lambda: 1), "other": Study(trial=g)}
"""


def test_what_comes_from_the_cache_is_what_was_found(cache: Path, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "module.py"
    path.write_text(SOURCE)
    found = read(path)
    assert found == analyse_source(SOURCE) and len(list(cache.rglob("analysis/*/*"))) == 1
    monkeypatch.setattr(source_cache, "analyse_source", None)
    assert read(path) == found
    path.write_text(SOURCE + "\n")
    with pytest.raises(TypeError):
        read(path)


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "other JSON"])
def test_a_damaged_entry_is_made_again(cache: Path, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "module.py"
    path.write_text(SOURCE)
    found = read(path)
    [entry] = cache.rglob("analysis/*/*")
    whole = entry.read_bytes()
    damaged = {"empty": b"", "cut": whole[:-9], "flipped": whole.replace(b"optax", b"optix"), "other JSON": b"[]"}
    entry.write_bytes(damaged[damage])
    assert read(path) == found
    assert entry.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_done_without(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(SOURCE)
    cache.write_text("a file where the folder should be")
    assert read(path) == analyse_source(SOURCE)
    assert cache.read_text() == "a file where the folder should be"


def test_no_half_written_entry_stays_behind(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "module.py"
    path.write_text(SOURCE)

    def refuse(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", refuse)
    assert read(path) == analyse_source(SOURCE)
    assert [each for each in cache.rglob("*") if each.is_file()] == []


def test_writers_beside_each_other_leave_whole_entries(cache: Path) -> None:
    found = analyse_source(SOURCE)
    entry = cache / "analysis" / "ab" / "cd"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: source_cache._save(entry, found), range(64)))
    assert source_cache._load(entry) == found
    assert list(entry.parent.iterdir()) == [entry]


def test_a_file_that_changes_is_read_again_however_soon(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    seen = []
    for number in range(20):
        path.write_text(f"x = {number % 10}")
        os.utime(path, ns=(10**18, 10**18))
        seen.append(read_source_file(str(path)))
    assert all(before != after for before, after in itertools.pairwise(seen))
    path.unlink()
    assert read_source_file(str(path)) is None


# Other Pythons

NAMES = ("python3.11", "python3.12", "python3.13")
FOLDERS = ("core/runs", "core/lab", "core/models", "experiments/pfn")


def find_python(name: str) -> str:
    """A Python of this version that starts."""
    installed = Path.home().glob(f".pyenv/versions/*/bin/{name}")
    for path in filter(None, [shutil.which(name), *map(str, installed)]):
        if subprocess.run([path, "-c", ""], capture_output=True, timeout=60, check=False).returncode == 0:
            return path
    pytest.skip(f"there is no {name} here")


@pytest.mark.parametrize("name", NAMES)
def test_every_python_finds_the_same(name: str, tmp_path: Path) -> None:
    program = (
        "import json, sys; from pathlib import Path; from core.runs.source_files import analyse_source\n"
        "for path in sys.argv[1:]: print(json.dumps(analyse_source(Path(path).read_text())))"
    )
    paths = sorted(str(path) for folder in FOLDERS for path in (REPOSITORY / folder).glob("*.py"))
    environment = {"PYTHONPATH": str(REPOSITORY), "ENCORE_CACHE": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [find_python(name), "-c", program, *paths]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    own = [json.loads(json.dumps(analyse_source(Path(path).read_text()))) for path in paths]
    assert [json.loads(line) for line in done.stdout.splitlines()] == own
    assert len(own) > 20
