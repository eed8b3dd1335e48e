"""An environment in which neural-tangents 0.6.5 works: it needs a jax of its time (December 2023).

    python -m benchmarks.old_jax FOLDER       makes FOLDER with about 2.5 GB of packages, and says whether it works

With later versions of jax the library cannot be imported, or its structured derivatives end in an error (0.4.30).
Python 3.9 to 3.12. Used by the benchmarks of kernels, which run the library in processes of its own.
"""

import argparse
import subprocess
import sys
from pathlib import Path

PACKAGES = ("neural-tangents==0.6.5", "jax==0.4.23", "jaxlib==0.4.23", "scipy<1.13", "numpy<2")
MINUTES = 20


def interpreter(folder: Path) -> Path:
    """The interpreter of the environment."""
    return folder / "bin" / "python"


def failure(python: Path) -> str | None:
    """Why the library cannot be used, in one line; None where it can."""
    if not python.exists():
        return f"there is no {python.name} in {python.parent.parent.name}"
    done = subprocess.run(
        [str(python), "-c", "import neural_tangents"], capture_output=True, text=True, timeout=120, check=False
    )
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]


def main() -> None:
    """Make the environment."""
    parser = argparse.ArgumentParser(description="An environment for neural-tangents 0.6.5.")
    parser.add_argument("folder", type=Path, help="where to make it")
    folder = parser.parse_args().folder
    python = interpreter(folder)
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 * MINUTES, check=False)
        if done.returncode:
            raise SystemExit(f"neural-tangents cannot be installed here: {(done.stderr.splitlines() or ['?'])[-1]}")
    why = failure(python)
    raise SystemExit(f"neural-tangents does not work here: {why}" if why else 0)


if __name__ == "__main__":
    main()
