"""Standard output and error: every sign is shown in some way, and output that cannot be written is one line."""

import codecs
import contextlib
import io
import os
import sys
import unicodedata
from collections.abc import Generator
from typing import TextIO

from core.errors import OutputLost

SIGNS = "signs"  # how text files of that name treat a sign that their encoding lacks
PLAIN_SIGNS = {
    "✓": "+", "✗": "x", "×": "x", "–": "-", "—": "-", "−": "-", "·": "-", "…": "...", "∞": "inf", "≥": ">=", "≤": "<=",
    "±": "+-", "→": "->", "↔": "<->", "µ": "u", "“": '"', "”": '"', "‘": "'", "’": "'", "\u202f": " ", "━": "-",
}  # fmt: skip


def write_plain_signs(error: UnicodeError) -> tuple[str, int]:
    """Stand-ins for signs that an encoding lacks: those above, letters without their accents, a question mark."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(sign: str) -> str:
    letters = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    return PLAIN_SIGNS.get(sign) or letters or "?"


codecs.register_error(SIGNS, write_plain_signs)


class Output(io.TextIOWrapper):
    """Standard output that says in one line why it cannot be written, and is then silent."""

    def write(self, text: str) -> int:
        """As usual; `OutputLost` where it fails, unless the reader has only seen enough."""
        with self._blame():
            return super().write(text)

    def flush(self) -> None:
        """The same."""
        with self._blame():
            super().flush()

    @contextlib.contextmanager
    def _blame(self) -> Generator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            discard_output(self)
            raise OutputLost(f"cannot print: {error.strerror or error}") from None


def prepare_output() -> None:
    """Let standard output and error take every sign, whatever their encoding, and say what keeps them from it."""
    if type(sys.stdout) is io.TextIOWrapper:
        given = sys.stdout
        sys.stdout = Output(
            given.buffer, given.encoding, line_buffering=given.line_buffering, write_through=given.write_through
        )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=SIGNS)


def duplicate_output() -> TextIO:
    """Standard output as it is now, for as long as it is sent elsewhere; the caller closes it."""
    sys.stdout.flush()
    return os.fdopen(os.dup(1), "w", buffering=1, encoding=sys.stdout.encoding, errors=SIGNS)


def flush_output() -> None:
    """Write out what was printed; OSError where that is impossible."""
    if sys.stdout is not None:
        sys.stdout.flush()


def print_error(line: str) -> None:
    """One line on standard error, where that can be written."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        discard_output(sys.stderr)


def discard_output(stream: TextIO | None = None) -> None:
    """Send what is still to be printed nowhere, so that the end of the process does not fail at it again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), (stream or sys.stdout).fileno())
