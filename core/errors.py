"""What can go wrong, as one clear line for the person at the terminal and an exit code for the shell."""

import difflib
from collections.abc import Iterable

CLOSE = 0.6  # similarity of two names from which on one can be meant by the other


class EncoreError(Exception):
    """Base of every error that is shown as one line instead of a traceback."""

    exit_code = 1


class BadInput(EncoreError):
    """A name, value or combination that cannot be run; nothing has been written."""

    exit_code = 2


class OutputLost(EncoreError):
    """What was printed cannot be written: a full disk behind the output, a terminal that is gone."""


class OverBudget(EncoreError):
    """The forecast exceeds the budget; nothing has been computed."""

    exit_code = 3


class DataMissing(EncoreError):
    """A data set could not be found, fetched or verified."""

    exit_code = 4


class Interrupted(EncoreError):
    """The run stopped before its end and goes on when the same command is given again."""

    exit_code = 75


class Busy(Interrupted):
    """Another process is computing this very thing."""


class Stopped(Interrupted):
    """A signal asked the run to stop."""


def suggest(name: str, choices: Iterable[str]) -> str:
    """A hint that names the valid choice closest to `name`, or lists the choices when none is close."""
    known = sorted(set(choices))
    parts = {choice.rpartition(".")[2]: choice for choice in reversed(known)}  # of dotted names the last one alone, too
    name = name.lower() if name.lower() in map(str.lower, known) else name
    close = [parts[name]] if name in parts else difflib.get_close_matches(name, known, n=1, cutoff=CLOSE)
    close = close or [parts[part] for part in difflib.get_close_matches(name, parts, n=1, cutoff=CLOSE)]
    if close:
        return f"did you mean '{close[0]}'?"
    if not known:
        return "there is none"
    shown = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
    return f"choose from {shown}"


def unknown_name(kind: str, name: str, choices: Iterable[str]) -> BadInput:
    """The error for a name that does not exist, with the nearest one that does."""
    return BadInput(f"unknown {kind} '{name}': {suggest(name, choices)}")
