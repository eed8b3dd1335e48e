"""Python for notebooks: the same kind of object of what is published and of a run, and a notebook run as in Jupyter."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from core.api import load, results, run
from core.errors import BadInput
from core.paths import project_root
from core.runs.measurements import read_measurements

ROOT = project_root()


def test_what_is_published_is_tables_figures_and_networks() -> None:
    found, folder = results("lottery_ticket"), ROOT / "results" / "lottery_ticket" / "laptop"
    pd.testing.assert_frame_equal(found.measurements, read_measurements(folder / "measurements.csv.gz"))
    assert found.claims.loc["C1", "verdict"] == "holds" and found.claims.loc["C1", "control"]
    assert found.claims.loc["C1", "low"] < found.claims.loc["C1", "estimate"] < found.claims.loc["C1", "high"]
    assert found.figures["lenet-densities"]._repr_svg_().lstrip().startswith("<?xml")
    assert set(found.weights) == {"dense", "ticket"}
    assert "C1" in repr(found) and len(found.entries) == len(found.claims)
    shown = found._repr_html_()
    assert shown.count("<tr") == len(found.claims) + 2 and found.claims.loc["C1", "says"] in shown
    with pytest.raises(BadInput, match="unknown network 'tiket': did you mean 'ticket'"):
        found.weights["tiket"]


def test_the_published_ticket_is_what_its_card_says() -> None:
    """13.5 % of the weights, the trained and the initial ones at the same places."""
    ticket = load("lottery_ticket/ticket")
    kept = {layer: mask.sum() for layer, mask in ticket.arrays["mask"].items()}
    assert kept == {"dense_0": 31568, "dense_1": 4026, "output": 387}
    for layer, mask in ticket.arrays["mask"].items():
        for tree in (ticket.params, ticket.arrays["initial"]):
            assert not tree[layer]["kernel"][~mask].any() and tree[layer]["kernel"][mask].all()
    assert "98.3" in ticket.card and "CC BY-SA 3.0" in ticket.card
    folder = ticket.path.parent
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2_000_000


def test_a_run_is_the_same_kind_of_object(toy_root: Path) -> None:
    found = run("paper=toy", "tracking=none", "scale=smoke")
    assert (found.paper, found.scale) == ("toy", "smoke")
    assert set(found.measurements["study"]) == {"fit", "ready"}
    assert list(found.claims.index) == ["C1", "C2"]
    assert set(found.figures) == {"fit-loss", "ready-loss"} and not found.weights
    assert "A higher rate gets further." in found._repr_html_()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: run("paper=toi"), "unknown paper 'toi': did you mean 'toy'?"),
        (lambda: run("paper=toy", "settings.rat=1"), "unknown setting 'rat': did you mean 'rate'?"),
        (lambda: results("tooy"), "unknown paper 'tooy': did you mean 'toy'?"),
        (lambda: results("toy", "lapto"), "unknown scale 'lapto': did you mean 'laptop'?"),
        (lambda: results("toy"), "toy is not published at laptop scale: run('paper=toy', 'scale=laptop') computes it"),
    ],
)
def test_bad_input_is_one_line(toy_root: Path, call, message: str) -> None:
    with pytest.raises(BadInput) as refusal:
        call()
    assert str(refusal.value).startswith(message) and "\n" not in str(refusal.value)


def untracked(code: str) -> str:
    """The same without a mirror for dashboards, which is waited for."""
    return code.replace('"scale=smoke")', '"scale=smoke", "tracking=none")')


def test_the_lines_of_readme_and_docs_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCORE_RESULTS", str(tmp_path))
    names: dict[str, Any] = {}
    for file in ("README.md", "docs/python.md"):
        text = (ROOT / file).read_text(encoding="utf-8")
        blocks = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "load" in block]
        assert blocks, file
        for block in blocks:
            exec(compile(untracked(block), file, "exec"), names)
    assert names["own"].claims.loc["S0", "verdict"] == "holds"
    assert names["ticket"].model(np.zeros((1, 28, 28), np.uint8)).shape == (1, 10)


def test_the_notebook_runs_as_in_jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a kernel of its own, without a browser; every cell shows what the text says, and none is kept with outputs."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    for name in ("ENCORE_RESULTS", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(ROOT / "docs" / "notebook.ipynb", as_version=4)
    nbformat.validate(notebook)
    cells = {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}
    assert not any(cell.outputs or cell.execution_count for cell in cells.values())
    for cell in cells.values():
        cell.source = untracked(cell.source)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = {name: [form for output in cell.outputs for form in output.get("data", {})] for name, cell in cells.items()}
    for name, form in {
        "results": "text/html", "claims": "text/html", "figure": "image/svg+xml", "card": "text/markdown",
        "run-it": "text/html",
    }.items():  # fmt: skip
        assert form in shown[name], (name, shown[name])
    assert cells["model"].outputs[0]["text"].startswith("0.134")
