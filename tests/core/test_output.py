"""What is printed reaches any standard output, and one that cannot be written ends a command in one line."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core import output
from core.errors import OutputLost
from tests.limits import machine_seconds

FULL = Path("/dev/full")
EVERY_COMMAND = """
import sys
from core.cli.main import main
WORDS = (["list"], ["show", "toy"], ["show", "toy", "fit"], ["plan", "paper=toy"],
         ["run", "paper=toy", "study=fit", "scale=smoke", "tracking=none", "workers=1"],
         ["run", "-m", "paper=toy", "study=fit", "scale=smoke", "tracking=none", "workers=1", "settings.rate=0.1,0.2"],
         ["sweeps"], ["report"], ["check"], ["list", "--field", "tois"])
for words in WORDS:
    print(main(words), end=" ", file=sys.stderr)
"""


def run_here(
    words: list[str], root: Path, unbuffered: bool = False, **changes: str
) -> subprocess.CompletedProcess[bytes]:
    """A process of the project at the root of a test, with its raw output."""
    environment = {**os.environ, "ENCORE_ROOT": str(root), "PYTHONUNBUFFERED": "1" if unbuffered else "", **changes}
    command = [sys.executable, *words]
    place = Path(__file__).parents[2]
    return subprocess.run(
        command, env=environment, capture_output=True, timeout=machine_seconds(120), cwd=place, check=False
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_every_command_prints_in_every_encoding(toy_root: Path, encoding: str) -> None:
    path = toy_root / "configs" / "paper" / "toy.yaml"
    path.write_text(path.read_text().replace("authors: [Nobody]", "authors: [François Łódź–Ω]"))
    done = run_here(["-c", EVERY_COMMAND], toy_root, PYTHONIOENCODING=encoding)
    said = done.stderr.decode(encoding).split()
    assert [word for word in said if word.isdigit()] == [*"0" * 9, "2"], said
    shown = done.stdout.decode(encoding)
    assert "+ holds   x fails   ? undecided" in shown
    assert ("Francois ?odz-?" if encoding == "ascii" else "François ?ódz-?") in shown


@pytest.mark.parametrize(
    ("sign", "plain"),
    [("✓", "+"), ("é", "e"), ("ł", "?"), ("…", "..."), ("∞", "inf"), ("²", "2"), ("Ω", "?"), ("a", "a")],
)
def test_signs_have_stand_ins(sign: str, plain: str) -> None:
    assert f"<{sign}>".encode("ascii", output.SIGNS) == f"<{plain}>".encode()
    assert sign.encode("utf-8", output.SIGNS) == sign.encode()


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("line", ["list", "--help", "show toy"])
def test_output_that_cannot_be_written_is_one_line(toy_root: Path, line: str, unbuffered: bool) -> None:
    begin = "import os, sys; os.dup2(os.open('/dev/full', os.O_WRONLY), 1); from core.cli.main import main; "
    shell = ["-c", f"{begin}sys.exit(main())"]
    done = run_here([*shell, *line.split()], toy_root, unbuffered)
    assert done.stderr.decode() == "encore: cannot print: No space left on device\n"
    assert done.returncode == 1


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_lost_output_is_silent_from_then_on() -> None:
    stream = output.Output(FULL.open("wb"), "utf-8")
    with pytest.raises(OutputLost, match="cannot print: No space left on device"):
        print("lost", file=stream, flush=True)
    print("not complained of again", file=stream, flush=True)
    stream.close()


def test_a_reader_that_leaves_early_is_told_apart(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = output.Output(os.fdopen(writer, "wb", buffering=0), "utf-8", write_through=True)
    with stream, pytest.raises(BrokenPipeError):
        stream.write("x")


def test_an_output_that_somebody_else_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(sys, "stdout", text)
    output.prepare_output()
    assert sys.stdout is text
