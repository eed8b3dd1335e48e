"""What others join by: workflows, templates, hooks, changelog and contributing, as far as their text can say."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_are_pinned_bounded_and_may_do_little(path: Path) -> None:
    workflow, text = read(path), path.read_text(encoding="utf-8")
    assert workflow["permissions"] == {"contents": "read"}
    assert all(0 < job["timeout-minutes"] <= 90 for job in workflow["jobs"].values())
    used = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", each) for each in used)
    # a version beside each hash, for those who renew it; and one hash for each action
    assert len(re.findall(r"uses: \S+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", text, re.MULTILINE)) == len(used)
    assert not any("${{" in step.get("run", "") for step in steps(workflow)), "what others write reaches no shell"


def test_an_action_has_one_hash_in_all_workflows() -> None:
    used = {step["uses"] for path in WORKFLOWS for step in steps(read(path)) if "uses" in step}
    assert len({each.partition("@")[0] for each in used}) == len(used) >= 3


def test_the_same_command_tests_every_python_that_is_supported() -> None:
    jobs = read(ROOT / ".github" / "workflows" / "test.yml")["jobs"]
    [(lowest, above)] = re.findall(r"^>=3\.(\d+),<3\.(\d+)$", PROJECT["requires-python"])
    wanted = [f"3.{minor}" for minor in range(int(lowest), int(above))]
    assert jobs["linux"]["strategy"]["matrix"]["python"] == wanted
    assert jobs["macos"]["runs-on"].startswith("macos-")
    for name in ("linux", "macos"):
        assert jobs[name]["steps"][-1] == {"run": "make test"}
    assert {"run": "make dist"} in jobs["package"]["steps"]


@pytest.mark.parametrize("path", [*WORKFLOWS, ROOT / ".ci" / "run"], ids=lambda path: path.name)
def test_the_goals_of_make_that_are_called_exist(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    called = re.findall(r"(?:run: |exec )make (\w+)", path.read_text(encoding="utf-8"))
    assert called
    assert all(re.search(rf"^{goal}:", makefile, re.MULTILINE) for goal in called)


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_template_asks_for_what_is_needed(path: Path) -> None:
    form = read(path)
    assert {"name", "description", "body"} <= form.keys()
    ids = [part["id"] for part in form["body"]]
    assert len(set(ids)) == len(ids)
    assert any(part.get("validations", {}).get("required") for part in form["body"])
    assert {part["type"] for part in form["body"]} <= {"input", "textarea", "dropdown", "checkboxes"}


def test_there_are_templates_for_doubts_and_for_papers() -> None:
    assert {read(path)["name"] for path in FORMS} == {"A verdict I doubt", "A paper to add"}


def test_the_hooks_are_the_checks_of_make_test() -> None:
    hooks = [hook for repo in read(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for hook in hooks:
        checked = " ".join(hook["entry"].split()[:2])
        assert checked in makefile  # the locked ruff, not one of another version
    assert [hook["id"] for hook in hooks] == ["ruff-check", "ruff-format"]


def test_the_version_is_the_same_everywhere_and_in_the_changelog() -> None:
    assert read(ROOT / "CITATION.cff")["version"] == PROJECT["version"]
    heads = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert heads[0] == "Unreleased" or heads[0] == PROJECT["version"]
    assert PROJECT["version"] in heads


def test_what_contributing_names_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert len(text.split()) < 500  # short: details are in docs/paper.md
    named = re.findall(r"`((?:tests|docs|core|benchmarks)/[\w./]*)`|\]\(([\w./]+)\)", text)
    assert named
    assert all((ROOT / (one or other)).exists() for one, other in named)
