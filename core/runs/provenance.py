"""Where a result comes from: code, locked dependencies, machine, cost; and a guard for what must stay private."""

import getpass
import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.errors import BadInput
from core.files import sha256_file
from core.runs.identity import NUMERICAL, REPOSITORY, library_versions

DISTRIBUTION = "encore-papers"
RESULT_PATHS = ("core", "configs", "experiments", "pyproject.toml", "locks")
GIT_SECONDS = 20.0
PRIVATE_KEYS = frozenset({"argv", "cmdline", "command", "cwd", "host", "hostname", "user", "username", "remote"})
COMMON_NAMES = frozenset({"root", "user", "runner", "localhost", "docker", "ubuntu", "build", "main", "test"})

_ABSOLUTE = re.compile(
    r"file://|(?:^|(?<=[\s\"'=:;,(\[{<>]))(?:~?/(?:[\w.+@-]+/)+[\w.+@-]*|/(?:home|root|tmp)\b|[A-Za-z]:\\[\w\\])"
)


def collect_provenance(
    *,
    seconds: float,
    peak_gib: float,
    accelerators: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
    distributions: Iterable[str] = NUMERICAL,
    repository: Path = REPOSITORY,
) -> dict[str, Any]:
    """The provenance of a run, ready for JSON.

    Args:
      seconds: wall time of the run.
      peak_gib: greatest resident memory of one worker, in GiB.
      accelerators: names of the devices, when the run was not on the CPU.
      environment: environment of the workers, of which only XLA's and JAX's flags are taken.
      distributions: those whose versions are in the run's identity.
      repository: the checkout.
    """
    commit, dirty = git_state(repository)
    return {
        "encore": _encore_version(),
        "commit": commit,
        "dirty": dirty,
        "locks": {path.name: sha256_file(path) for path in sorted((repository / "locks").glob("*.txt"))},
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": {"cpu": _cpu_model(), "cores": _cores(), "accelerators": list(accelerators)},
        "flags": relevant_flags(os.environ if environment is None else environment),
        "libraries": library_versions(distributions),
        "date": today(),
        "seconds": round(seconds, 1),
        "peak_gib": round(peak_gib, 3),
    }


def today() -> str:
    """The date in UTC, to the day."""
    return datetime.now(UTC).date().isoformat()


def git_state(repository: Path = REPOSITORY) -> tuple[str | None, bool | None]:
    """The commit, and whether files that can change a result differ from it; None where git cannot tell."""
    commit = _git(repository, "rev-parse", "HEAD")
    status = _git(repository, "status", "--porcelain", "--untracked-files=all", "--", *RESULT_PATHS)
    if commit is None or status is None:
        return None, None
    return commit.strip(), bool(status.strip())


def relevant_flags(environment: Mapping[str, str]) -> dict[str, str]:
    """XLA's and JAX's flags of an environment, paths in them left out."""
    chosen = {name: text for name, text in environment.items() if name == "XLA_FLAGS" or name.startswith("JAX_")}
    return {name: _ABSOLUTE.sub("(path)", text) for name, text in sorted(chosen.items())}


def assert_publishable(value: Any, where: str = "") -> None:
    """Raise BadInput when a text or plain data names the host, the user, an absolute path or a command line."""
    for place, finding in find_private(value, where):
        raise BadInput(f"not fit to be published: {place or 'the text'} holds {finding}; remove it and run again")


def find_private(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """What in a text or in nested plain data tells where or by whom it was made: place in the data, kind of finding."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            inner = f"{where}.{name}" if where else str(name)
            if str(name).lower() in PRIVATE_KEYS:
                yield inner, "a private field"
            yield from find_private(str(name), f"a name in {where or 'the data'}")
            yield from find_private(item, inner)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from find_private(item, f"{where}[{index}]")
    elif isinstance(value, str):
        if _ABSOLUTE.search(value):
            yield where, "an absolute path"
        for kind, name in _own_names():
            if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", value):
                yield where, kind


def _own_names() -> list[tuple[str, str]]:
    """Names of this machine and its user that are telling enough to be searched for."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without an entry in the password database
        user = ""
    names = [("the host name", platform.node()), ("the user name", user)]
    return [(kind, name) for kind, name in names if len(name) > 3 and name.lower() not in COMMON_NAMES]


def _git(repository: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(repository), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=GIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _encore_version() -> str:
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_model() -> str:
    """The processor's model name, as Linux gives it, or the architecture."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, flags=re.MULTILINE)
    return found.group(1).strip() if found else platform.processor() or platform.machine()
