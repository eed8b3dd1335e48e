"""Provenance says enough to repeat a run, and nothing of where or by whom it was made."""

import getpass
import json
import os
import platform
import re
import subprocess

import numpy
import pytest

from core.errors import BadInput
from core.runs import provenance
from tests.limits import machine_seconds


@pytest.fixture
def checkout(tmp_path):
    """A git repository with one committed module, one lock and an ignored folder."""
    for name, text in {
        "core/a.py": "A = 1\n",
        "locks/cpu.txt": "x\n",
        ".gitignore": "*.log\n",
        "README.md": "",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "."], [*author, "commit", "-qm", "first"]):
        subprocess.run(
            ["git", "-C", str(tmp_path), *command], check=True, timeout=machine_seconds(30), capture_output=True
        )
    return tmp_path


def test_a_clean_checkout_is_clean_until_something_that_matters_changes(checkout):
    commit, dirty = provenance.git_state(checkout)
    assert re.fullmatch("[0-9a-f]{40}", str(commit))
    assert dirty is False
    (checkout / "README.md").write_text("words")
    (checkout / "core" / "a.log").write_text("ignored")
    assert provenance.git_state(checkout) == (commit, False)
    (checkout / "core" / "new.py").write_text("")
    assert provenance.git_state(checkout) == (commit, True)
    (checkout / "core" / "new.py").unlink()
    (checkout / "locks" / "cpu.txt").write_text("y\n")
    assert provenance.git_state(checkout) == (commit, True)


def test_without_git_the_state_is_unknown(checkout, tmp_path_factory, monkeypatch):
    outside = tmp_path_factory.mktemp("outside")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(outside.parent))
    assert provenance.git_state(outside) == (None, None)
    monkeypatch.setenv("PATH", str(outside))
    assert provenance.git_state(checkout) == (None, None)


def test_provenance_is_complete_and_private(checkout):
    environment = {"XLA_FLAGS": "--xla_dump_to=/data/dump --xla_cpu_a=1", "JAX_PLATFORMS": "cpu", "SECRET": "s"}
    found = provenance.collect_provenance(
        seconds=12.345,
        peak_gib=0.5,
        accelerators=["A100"],
        environment=environment,
        distributions=["numpy"],
        repository=checkout,
    )
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["commit"] == provenance.git_state(checkout)[0]
    assert found["dirty"] is False
    assert found["locks"] == {"cpu.txt": "73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac"}
    assert found["python"] == platform.python_version()
    assert found["flags"] == {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_dump_to=(path) --xla_cpu_a=1"}
    assert found["libraries"] == {"numpy": numpy.__version__}
    assert found["device"]["accelerators"] == ["A100"]
    assert 1 <= found["device"]["cores"] <= (os.cpu_count() or 1)
    assert found["device"]["cpu"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found["date"])
    assert (found["seconds"], found["peak_gib"]) == (12.3, 0.5)
    provenance.assert_publishable(found)


@pytest.mark.parametrize(
    "text",
    [
        "/home/someone/file",
        "written to /srv/data/x.npz",
        '"/opt/venv/bin/python"',
        "--dump=/data/dump",
        "file:///etc/hosts",
        "~/.cache/encore/x",
        "C:\\Users\\someone",
        "in /tmp",
    ],
)
def test_absolute_paths_are_found(text):
    with pytest.raises(BadInput, match="an absolute path"):
        provenance.assert_publishable({"a": [1, {"b": text}]})


@pytest.mark.parametrize(
    "text",
    [
        "https://arxiv.org/abs/1803.03635",
        "updates/s and net-updates/s/core",
        "results/lottery_ticket/laptop",
        "ticket / dense",
        "50/50 or 1/2/3",
        "</g><path d='M 0 0'/>",
        "-//W3C//DTD SVG 1.1//EN",
    ],
)
def test_ordinary_text_is_not_a_path(text):
    provenance.assert_publishable({"a": text, text: 1})


def test_names_of_the_machine_and_its_user_are_found(monkeypatch):
    monkeypatch.setattr(platform, "node", lambda: "node-17")
    monkeypatch.setattr(getpass, "getuser", lambda: "marie")
    with pytest.raises(BadInput, match=r"device\.name holds the host name"):
        provenance.assert_publishable({"device": {"name": "cpu of node-17"}})
    with pytest.raises(BadInput, match="the user name"):
        provenance.assert_publishable(["marie's machine"])
    provenance.assert_publishable({"text": "node-170 and mariel"})
    with pytest.raises(BadInput, match="hostname holds a private field"):
        provenance.assert_publishable({"hostname": "x"})
