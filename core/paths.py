"""Where things are: configs, experiments, results, caches. Every location can be moved by an environment variable."""

import contextlib
import os
import tempfile
from collections.abc import Generator
from pathlib import Path

WINNERS = "winners.json"  # of tuning studies, beside the published results


def project_root() -> Path:
    """The checkout with `configs/` and `experiments/` (`ENCORE_ROOT`, by default the one this package stands in)."""
    return Path(os.environ.get("ENCORE_ROOT") or Path(__file__).resolve().parents[1])


def configs_folder() -> Path:
    """Folder with one config per paper."""
    return project_root() / "configs" / "paper"


def experiment_path(slug: str) -> Path:
    """The method of a paper."""
    return project_root() / "experiments" / slug / "experiment.py"


def experiment_file(slug: str) -> str:
    """The same as a path within the project."""
    return experiment_path(slug).relative_to(project_root()).as_posix()


def published_folder() -> Path:
    """Published results, which are part of the checkout."""
    return project_root() / "results"


def results_folder() -> Path:
    """What this machine makes: local runs and the report (`ENCORE_RESULTS`, by default beside published results)."""
    return Path(os.environ.get("ENCORE_RESULTS") or published_folder())


def runs_folder() -> Path:
    """Local runs, one folder per identity; ignored by git."""
    return results_folder() / "runs"


def report_folder() -> Path:
    """The pages of `encore report`; ignored by git."""
    return results_folder() / "report"


def result_name(path: Path) -> str:
    """A place among the results as every reader knows it, whatever this machine calls their folder."""
    for name, folder in (("results", published_folder()), ("$ENCORE_RESULTS", results_folder())):
        if path.is_relative_to(folder):
            return f"{name}/{path.relative_to(folder).as_posix()}"
    return path.as_posix()


def cache_folder() -> Path:
    """Fetched data and compiled programs (`ENCORE_CACHE`, by default `~/.cache/encore`)."""
    return Path(os.environ.get("ENCORE_CACHE") or Path.home() / ".cache" / "encore")


@contextlib.contextmanager
def temporary_results_folder() -> Generator[Path]:
    """Send what is computed to a temporary folder for a while, away from all runs."""
    with tempfile.TemporaryDirectory() as folder, results_in(Path(folder)):
        yield Path(folder)


@contextlib.contextmanager
def results_in(folder: Path) -> Generator[None]:
    """Send what is computed to another folder for a while."""
    before = os.environ.get("ENCORE_RESULTS")
    os.environ["ENCORE_RESULTS"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["ENCORE_RESULTS"]
        else:
            os.environ["ENCORE_RESULTS"] = before
