"""Compiled programs are kept within the bound that the user sets, and said once not to be where they cannot be kept."""

import os
import warnings
from pathlib import Path

import pytest
from jax._src.lru_cache import LRUCache  # what jax keeps programs in; it has no public name

from core.cli.main import main
from core.running import program_cache


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(program_cache.FOLDER, str(tmp_path))
    return tmp_path


def test_a_bound_holds_for_programs_that_were_kept_without_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free, bounded = LRUCache(str(folder), max_size=-1), LRUCache(str(folder), max_size=10)
    for number, name in enumerate(("old", "new")):
        free.put(name, b"12345")
        os.utime(folder / f"{name}-cache", (number, number))
    with pytest.raises(FileNotFoundError):
        bounded.put("next", b"12345")
    monkeypatch.setenv(program_cache.MAX_SIZE, "10")
    program_cache.date_programs()
    bounded.put("next", b"12345")
    assert sorted(path.name for path in folder.glob("*-cache")) == ["new-cache", "next-cache"]


@pytest.mark.parametrize("bound", [None, "-1"])
def test_without_a_bound_nothing_is_dated(folder: Path, monkeypatch: pytest.MonkeyPatch, bound: str | None) -> None:
    LRUCache(str(folder), max_size=-1).put("old", b"12345")
    if bound is not None:
        monkeypatch.setenv(program_cache.MAX_SIZE, bound)
    program_cache.date_programs()
    assert [path.name for path in folder.iterdir()] == ["old-cache"]


def test_faults_are_told_once_and_others_never(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        program_cache.report_faults(told.append)
        warnings.warn("something else about 'x'", stacklevel=1)
        assert told == []
        about = "Error writing persistent compilation cache entry for 'jit_step'"
        warnings.warn(f"{about}: OSError: [Errno 28] No space left", stacklevel=1)
        warnings.warn(f"{about}: OSError: again", stacklevel=1)
    assert told == [
        f"compiled programs are not kept in {folder}, every run compiles them anew: OSError: [Errno 28] No space left"
    ]


def test_a_cache_that_cannot_be_written_is_said_once(
    toy_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENCORE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "compiled").write_text("not a folder")
    words = ["run", "paper=toy", "study=[fit,ready]", "scale=smoke", "tracking=none", "replicates=2", "workers=2"]
    assert main(words) == 0
    shown = capfd.readouterr()
    assert shown.out.count("compiled programs are not kept in") == 1 and shown.err == ""
    assert str(tmp_path / "cache" / "compiled") in shown.out
