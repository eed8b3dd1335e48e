"""Wrong command lines and surroundings, each refused in one line with what was given and what would work.

`command_lines.txt` holds a line, with variables in front as in a shell, and below it the answer, whole or up to `…`.
`demo` is the paper that `encore new demo --supervised` writes, `toy` that of `tests/toy.py`.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.cli.main import main
from core.launch import compose
from core.optim.build import learning_rate_schedule
from tests.limits import machine_seconds
from tests.toy import build_toy, use_root

TEXT = Path(__file__).with_name("command_lines.txt").read_text(encoding="utf-8")
LINES = [line for line in TEXT.splitlines() if line and not line.startswith("#")]
REFUSALS = dict(zip(LINES[::2], (line.strip() for line in LINES[1::2]), strict=True))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkout with the two papers."""
    folder = tmp_path_factory.mktemp("checkout")
    with pytest.MonkeyPatch.context() as patch:
        use_root(build_toy(folder / "root"), patch)
        patch.setenv("ENCORE_RESULTS", str(folder / "results"))
        (folder / "root" / "tests").mkdir()
        (folder / "root" / "tests" / "test_contract.py").touch()
        assert main(["new", "demo", "--supervised"]) == 0
        yield folder


@pytest.fixture
def here(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The checkout, seen from an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    return root


def files_below(*folders: Path) -> dict[Path, int]:
    """When every file was written, but for bytecode."""
    found = [path for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts]
    return {path: path.stat().st_mtime_ns for path in found if path.is_file()}


def variables_and_words(line: str) -> tuple[dict[str, str], list[str]]:
    """What stands in front of a command, as a shell reads it, and the command."""
    words, variables = line.split(), {}
    while (given := words[0].partition("="))[1] and given[0].isupper():
        variables[given[0]] = given[2]
        del words[0]
    return variables, words


def test_there_are_two_hundred() -> None:
    assert len(REFUSALS) > 200
    assert {variables_and_words(line)[1][0] for line in REFUSALS} >= {
        "run", "sweeps", "list", "show", "plan", "fetch", "report", "board", "sync", "publish", "check", "new",
    }  # fmt: skip


@pytest.mark.parametrize("line", REFUSALS)
def test_it_is_refused_at_once_and_nothing_is_written(
    line: str, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    variables, words = variables_and_words(line)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    before, started = files_below(here, tmp_path), time.process_time()
    assert main(words) == 2
    assert time.process_time() - started < machine_seconds(2)
    printed = capsys.readouterr()
    expected = f"encore: {REFUSALS[line]}".format(root=here / "root")
    assert printed.err.startswith(expected[:-1]) if expected[-1] == "…" else printed.err == f"{expected}\n"
    assert printed.out == "" and len(printed.err.splitlines()) == 1
    assert files_below(here, tmp_path) == before


@pytest.mark.parametrize(
    "line",
    [
        "run paper=deno",
        "run -m paper=demo settings.training.iterations=range(60,1000060)",
        "plan paper=all --within -1",
        "ENCORE_RESULTS=/proc/x run paper=demo",
    ],
)
def test_so_it_is_in_a_process_of_its_own_without_the_libraries_for_numbers(line: str, here: Path) -> None:
    variables, words = variables_and_words(line)
    program = (
        "import sys\nfrom core.cli.main import main\ncode = main(sys.argv[1:])\n"
        "assert not {'jax', 'flax', 'optax', 'pandas', 'sklearn'} & sys.modules.keys(), sorted(sys.modules)\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output=True, text=True, timeout=machine_seconds(30), env=os.environ | variables, check=False,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert (done.returncode, done.stderr, done.stdout) == (2, f"encore: {REFUSALS[line]}\n", "")


@pytest.mark.parametrize(
    ("words", "rates"),
    [
        ("constant", [1e-3, 1e-3, 1e-3]),
        ("linear", [1e-3, 0.5e-3, 0]),
        ("cosine", [1e-3, 0.5e-3, 0]),
        ("exponential settings.optimizer.final=0.25", [1e-3, 0.5e-3, 0.25e-3]),
        ("piecewise settings.optimizer.drop_at=[200,300]", [1e-3, 1e-4, 1e-5]),
        ("one_cycle", [1e-3 / 25, None, 1e-3 / 25 / 1e4]),
        ("cosine settings.optimizer.warmup=200", [0, 1e-3, 0]),
        ("piecewise settings.optimizer.drop_at=[300] settings.optimizer.warmup=200", [0, 1e-3, 1e-4]),
    ],
)
def test_a_schedule_is_one_word(words: str, rates: list[float | None], here: Path) -> None:
    """The learning rate at the beginning, in the middle and at the end of 400 iterations."""
    launch = compose.compose_launch(["paper=demo", *f"settings.optimizer.schedule={words}".split()])
    settings = launch.studies[0].settings
    found = learning_rate_schedule(settings.optimizer, settings.training.iterations)
    for step, rate in zip((0, 200, 400), rates, strict=True):
        if rate is not None:
            assert float(found(step) if callable(found) else found) == pytest.approx(rate, rel=1e-4, abs=1e-10)


def test_a_data_set_can_be_fetched_by_its_name(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "digits"]) == 0
    assert "digits: 1 file" in capsys.readouterr().out
