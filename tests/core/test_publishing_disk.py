"""A disk that fills up while results are published: what was there stays, and one line says so."""

import contextlib
import errno
import itertools
import os

from core import files
from core.cli.main import main
from core.publishing.publish import publish, published
from tests.published_runs import CONFIG, candidate, contents, published_run


def test_a_disk_that_fills_up_in_mid_publication_leaves_what_was_there(tmp_path, monkeypatch):
    """Every write ends in fsync, which fails from the first, the second, … on, until one publication goes through."""
    folder = published_run(tmp_path)
    before, synchronise = contents(folder), os.fsync
    again, room = candidate(tmp_path, code="c2"), 0
    for room in itertools.count():
        left = itertools.count(room, -1)

        def fill(descriptor: int, left: itertools.count = left) -> None:
            if next(left) <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            synchronise(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fill)
            with contextlib.suppress(OSError):
                publish("demo", "laptop", [again], CONFIG, tmp_path, dirty=False)
                break
        assert contents(folder) == before and published.find_edits(folder) == []
        assert [path.name for path in folder.parent.iterdir()] == ["laptop"], "nothing takes up room"
    assert room > 4 and published.find_edits(folder) == []
    assert files.read_json(folder / "provenance.json")["studies"]["lenet"]["identity"] == again.current.identity.parts


def test_a_full_disk_is_one_line_for_every_command(toy_root, monkeypatch, capsys):
    def fill(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fill)
    assert main(["new", "another"]) == 75
    assert capsys.readouterr().err == "encore: the disk is full: free some space and give the same command again\n"
