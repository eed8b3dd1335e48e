"""The rules of the house: sizes, direction of imports, light start-up, what may stand in a tracked file, locks."""

import ast
import importlib
import re
import shutil
import socket
import subprocess
import sys
import tomllib
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from core.papers.config import load_config
from core.papers.config_files import all_slugs
from core.report import readme_table
from tests.limits import machine_seconds

ROOT = Path(__file__).resolve().parents[1]
SLUGS = sorted(config.stem for config in (ROOT / "configs" / "paper").glob("*.yaml"))
CODE = ("core", "configs", "experiments", "benchmarks")
HEAVY = {"jax", "jaxlib", "flax", "optax", "wandb", "trackio", "numpy", "scipy", "pandas", "sklearn"}
HEAVY |= {"jinja2", "matplotlib", "optuna"}
LOCKS = ("installer", "cpu", "cuda")


def modules(*tops: str) -> list[Path]:
    return sorted(path for top in tops for path in (ROOT / top).rglob("*.py"))


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def each(*tops: str) -> pytest.MarkDecorator:
    """One test per module, named by the module."""
    return pytest.mark.parametrize("path", modules(*tops), ids=shown)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> set[str]:
    """Dotted names of everything that a module imports anywhere in it."""
    names = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{shown(path)}:{node.lineno}: relative import"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def strings(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


# Who may know whom


@pytest.mark.parametrize("slug", SLUGS)
def test_an_experiment_imports_core_and_no_other_experiment(slug: str) -> None:
    folder = ROOT / "experiments" / slug
    parts = modules(f"experiments/{slug}") if folder.is_dir() else [folder.with_suffix(".py")]
    own = f"experiments.{slug}."
    wanted = set().union(*(imported(part) for part in parts))
    assert any(name.startswith("core.") for name in wanted)
    assert not {name for name in wanted if name.split(".")[0] == "experiments" and not f"{name}.".startswith(own)}


@each("core")
def test_core_knows_no_paper(path: Path) -> None:
    assert not {name for name in imported(path) if name.split(".")[0] == "experiments"}
    if path.parent.name in ("models", "optim"):
        return  # a model or an optimizer may bear the name of the paper that brought it
    assert not set(strings(path)) & set(SLUGS)
    assert not [text for text in strings(path) for slug in SLUGS if f"experiments.{slug}" in text]


def test_rooms_of_core_import_each_other_in_one_direction() -> None:
    """Imports inside of functions count, too: what is put off is a cycle all the same."""
    rooms: dict[str, set[str]] = defaultdict(set)
    for path in modules("core"):
        own = ".".join(path.relative_to(ROOT).with_suffix("").parts[:2])
        wanted = {".".join(name.split(".")[:2]) for name in imported(path) if name.startswith("core.")}
        rooms[own] |= wanted - {own}
    assert len(rooms) > 20
    order = list(TopologicalSorter(rooms).static_order())  # raises CycleError, which names the rooms
    assert order.index("core.errors") < order.index("core.lab") < order.index("core.cli")


@each("core/models", "core/optim")
def test_models_and_optimizers_touch_no_file_or_network(path: Path) -> None:
    reaching = {"builtins", "http", "io", "logging", "os", "pathlib", "requests", "shutil", "socket", "subprocess"}
    reaching |= {"sys", "tempfile", "urllib", "wandb"}
    allowed_core = {"errors", "kernels", "models", "optim", "papers"}
    for name in imported(path):
        top, _, rest = name.partition(".")
        assert top not in reaching
        assert top != "core" or rest.split(".")[0] in allowed_core, f"{name} may do I/O"
    called = {node.func.id for node in ast.walk(tree(path)) if isinstance(node, ast.Call) and hasattr(node.func, "id")}
    assert not called & {"open", "print", "input", "exec", "eval", "__import__"}


# Sizes and shape


@each(*CODE, "docs", "tests")
def test_modules_and_functions_are_small(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 500
    assert len(lines) <= 15 or ast.get_docstring(tree(path)), "a module says what it is for"
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            assert size <= 80, f"{node.name} has {size} lines"


def public_functions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Functions of a module and methods of its public classes that others may call."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not re.match(
            r"_(?!_init__|_call__)", node.name
        ):
            yield node


@each("core", "experiments")
def test_public_functions_are_annotated(path: Path) -> None:
    for function in public_functions(tree(path).body):
        where = f"{shown(path)}:{function.lineno} {function.name}"
        spec = function.args
        named = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs]
        if named and named[0].arg in ("self", "cls"):
            named = named[1:]
        bare = [arg.arg for arg in [*named, spec.vararg, spec.kwarg] if arg is not None and arg.annotation is None]
        assert not bare, f"{where}: {bare} without a type"
        assert function.returns is not None, f"{where} does not say what it returns"


def code_lines(path: Path) -> list[str]:
    """Lines of code, stripped, without imports, docstrings, comments and lines of brackets only."""
    text = path.read_text(encoding="utf-8").splitlines()
    skipped: set[int] = set()
    for node in ast.walk(tree(path)):
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_docstring or isinstance(node, ast.Import | ast.ImportFrom):
            skipped.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    kept = (line.strip() for number, line in enumerate(text, 1) if number not in skipped)
    return [line for line in kept if not line.startswith("#") and re.search(r"\w", line)]


def copied_share(texts: list[list[str]], run: int = 6) -> float:
    """Share of lines that belong to a run of `run` or more lines which stands in several places."""
    places = defaultdict(list)
    for number, lines in enumerate(texts):
        for start in range(len(lines) - run + 1):
            places[tuple(lines[start : start + run])].append((number, start))
    copied = {(n, s + k) for found in places.values() if len(found) > 1 for n, s in found for k in range(run)}
    return len(copied) / max(1, sum(map(len, texts)))


def test_little_is_copied() -> None:
    once, twice = [f"a{i}" for i in range(14)], [f"b{i}" for i in range(6)]
    assert copied_share([once + twice, twice]) == pytest.approx(12 / 26)  # the measure itself, by hand
    assert copied_share([once, twice]) == 0
    assert copied_share([code_lines(path) for path in modules(*CODE)]) < 0.05


# Light start-up


def loaded_by(*command: str) -> set[str]:
    """Top-level names of the modules that a command of Python imports, as Python itself reports them."""
    line = [sys.executable, "-X", "importtime", *command]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=machine_seconds(60), check=False)
    report = [line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert done.returncode == 0, "\n".join(line for line in done.stderr.splitlines() if "import time:" not in line)
    return {name.split(".")[0] for name in report}


def test_the_report_of_imports_sees_heavy_ones() -> None:
    assert "numpy" in loaded_by("-c", "import numpy")


LIGHT_MODULES = (
    "core.errors", "core.files", "core.paths", "core.papers.config", "core.papers.settings", "core.data.catalogue",
    "core.cli.main", "core.cli.list", "core.cli.show",
)  # fmt: skip


def test_light_modules_import_nothing_heavy() -> None:
    assert not loaded_by("-c", "import " + ", ".join(LIGHT_MODULES)) & HEAVY


COMMANDS = [["--help"], ["list"], ["run", "--help"], ["show", "--help"]] + [["show", slug] for slug in SLUGS[:1]]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_looking_around_starts_light(words: list[str]) -> None:
    loaded = loaded_by("-m", "experiments", *words)
    assert "core" in loaded
    # Numbers and tables may be needed to show results; what takes seconds to load may not.
    assert not loaded & {"jax", "jaxlib", "flax", "optax", "wandb", "sklearn", "matplotlib"}


# Tracked files


@cache
def tracked() -> tuple[Path, ...]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, timeout=machine_seconds(60), check=True
    ).stdout
    return tuple(ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file())


def texts() -> Iterator[tuple[str, str]]:
    """Name and content of every tracked file that is text."""
    for path in tracked():
        try:
            yield shown(path), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def any_of(*words: str) -> str:
    """A pattern for words that are given with spaces in them, so that this file does not hold what it searches for."""
    return "(?:" + "|".join(word.replace(" ", "") for word in words) + ")"


FORBIDDEN = {
    "an absolute path of a machine": r"(?<![\w.:~-])/"
    + any_of("ho me", "ro ot", "wo rk", "Us ers")
    + r"/(?!someone\b)\w",
    "the host of a package registry": any_of(r"pypi \.org", r"pythonhosted \.org", r"npmjs \.", r"deb\. debian\.org"),
    "a note that is not part of the project": r"\b" + any_of("DESIGN", "STACK", "ANCHORS", "DATA", "SPEC") + r"\.md",
    "how a line came to be": r"(?i)\b" + any_of("clau de", "anthro pic", "chat gpt", "sub agent", r"iss ue\s#\d"),
}
EXAMPLES = ("see /" + "home/ada/x", "pypi" + ".org", "DESIGN" + ".md", "iss" + "ue #3")


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_tracked_text_speaks_of_the_project_alone(kind: str) -> None:
    found = [
        f"{name}:{content.count(chr(10), 0, match.start()) + 1}: {match.group()}"
        for name, content in texts()
        for match in re.finditer(FORBIDDEN[kind], content)
    ]
    assert not found


@pytest.mark.parametrize(("kind", "text"), list(zip(FORBIDDEN, EXAMPLES, strict=True)))
def test_the_patterns_find_what_they_are_for(kind: str, text: str) -> None:
    assert re.search(FORBIDDEN[kind], text)


def test_nothing_large_or_derived_is_tracked() -> None:
    for path in tracked():
        assert path.stat().st_size < 5_000_000, shown(path)
        assert not shown(path).startswith(("results/runs/", "results/report/", ".venv/", ".cache/", "wandb/"))
        assert path.suffix not in (".pyc", ".pkl", ".pickle", ".tmp")


def test_all_weights_together_are_small() -> None:
    held = {shown(path): path.stat().st_size for path in tracked() if path.parent.name == "weights"}
    assert sum(held.values()) < 5_000_000, held
    assert {name.rpartition(".")[0] for name in held if name.endswith(".md")} == {
        name.rpartition(".")[0] for name in held if name.endswith(".safetensors")
    }


# Papers


@pytest.mark.parametrize("slug", SLUGS)
def test_every_config_has_an_experiment_and_a_test_of_its_maths(slug: str) -> None:
    folder = ROOT / "experiments" / slug
    assert folder.with_suffix(".py").is_file() or (folder / "__init__.py").is_file()
    assert (ROOT / "tests" / "papers" / f"test_{slug}.py").is_file()


def test_every_experiment_has_a_config() -> None:
    experiments = {path.stem if path.is_file() else path.name for path in (ROOT / "experiments").iterdir()}
    assert {name for name in experiments if not name.startswith(("_", "."))} == set(SLUGS)


# Packaging


@cache
def pins(lock: str) -> dict[str, list[Requirement]]:
    """The pinned requirements of a lock by name; a package may have one pin per range of Python."""
    logical = (ROOT / "locks" / f"{lock}.txt").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    found = defaultdict(list)
    for line in logical:
        if line.strip() and not line.lstrip().startswith("#"):
            requirement, *hashes = line.split(" --hash=sha256:")
            assert hashes, f"{requirement} has no hash"
            assert all(re.fullmatch("[0-9a-f]{64}", each.strip()) for each in hashes)
            parsed = Requirement(requirement.strip())
            assert re.fullmatch(r"==[\w.+!]+", str(parsed.specifier)), f"{requirement} is not one version"
            found[canonicalize_name(parsed.name)].append(parsed)
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_by_hash_and_names_no_address(lock: str) -> None:
    assert pins(lock)
    text = (ROOT / "locks" / f"{lock}.txt").read_text(encoding="utf-8")
    assert not re.search(r"://|@ |^-(?!-hash)|--(?!hash)", text, re.MULTILINE)


def declared() -> tuple[list[str], list[str], list[str]]:
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = content["project"]["optional-dependencies"]
    return (
        [*content["project"]["dependencies"], *extras["trackio"]],
        content["dependency-groups"]["dev"],
        extras["cuda"],
    )


@pytest.mark.parametrize("lock", ["cpu", "cuda"])
def test_a_lock_satisfies_what_is_declared(lock: str) -> None:
    needed, development, accelerator = declared()
    for text in [*needed, *development, *(accelerator if lock == "cuda" else [])]:
        wanted = Requirement(text)
        locked = pins(lock)[canonicalize_name(wanted.name)]
        versions = [next(iter(pin.specifier)).version for pin in locked]
        fitting = [version for version in versions if wanted.specifier.contains(version)]
        assert versions == fitting != [], f"{text} is locked as {versions}: make lock"


def test_the_locks_agree_and_only_one_brings_cuda() -> None:
    for name, locked in pins("cpu").items():
        assert [str(pin) for pin in pins("cuda")[name]] == [str(pin) for pin in locked]
    assert any(name.startswith("jax-cuda") for name in pins("cuda"))
    assert not any(name.startswith(("jax-cuda", "nvidia-")) for name in pins("cpu"))
    assert set(pins("installer")) == {"uv", "setuptools"}


def test_a_wheel_holds_every_config_and_template(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=machine_seconds(60), check=False)
    assert done.returncode == 0, done.stderr
    [wheel] = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    packages = ("core/", "configs/", "experiments/")
    assert {shown(path) for path in tracked() if shown(path).startswith(packages)} <= held
    assert any(name.endswith(".yaml") for name in held)
    assert not [name for name in held if name.startswith(("tests/", "results/", "benchmarks/"))]


def test_the_command_is_where_the_package_says() -> None:
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    module, _, function = content["project"]["scripts"]["encore"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


# The surroundings of the tests themselves


def test_tests_have_devices_and_no_network() -> None:
    import jax

    assert jax.device_count() == 8
    with pytest.raises(socket.gaierror, match="no network"):
        socket.create_connection(("example.org", 80), timeout=1)
    with pytest.raises(ConnectionRefusedError, match="no network"), socket.socket() as sock:
        sock.connect(("192.0.2.1", 80))
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), timeout=1):
        pass


def test_the_table_of_the_readme_says_what_the_results_say() -> None:
    configs = [load_config(slug) for slug in all_slugs()]
    assert readme_table.is_current(ROOT / "README.md", configs, ROOT / "results"), "run `encore report --readme`"
