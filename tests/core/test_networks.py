"""The networks of a study, found from shapes, and their tables."""

import pytest

from core.cli.main import main
from core.papers.config import load_config
from core.planning.networks import find_networks, render_network


def test_the_network_of_every_arm_with_its_layers(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    """LeNet-300-100 has 784·300 + 300 + 300·100 + 100 + 100·10 + 10 parameters, whatever the terminal's width."""
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["show", "lottery_ticket", "lenet", "--model"]) == 0
    shown = capsys.readouterr().out
    assert "lottery_ticket lenet: 1 network" in shown and "ConvNet, in dense, ticket/1" in shown
    assert "Total Parameters: 266,610" in shown and "kernel: float32[300,784]" in shown
    rows = [line for line in shown.splitlines() if line.startswith(("│", "┃"))]
    assert len({len(line) for line in rows}) == 1 and "flops" in rows[0]
    assert "│ dense_0 │ Einsum  │ float32[1,784]" in shown and "470700" in shown, "2·784·300 + 300 operations"


def test_arms_with_networks_of_their_own_have_tables_of_their_own() -> None:
    found = find_networks(load_config("layer_norm").studies["mlp"], "smoke")
    assert len(found) > 2 and len({loop for each in found for loop in each.loops}) >= len(found)
    assert all("Total Parameters" in render_network(each) for each in found[:2])


def test_a_paper_without_a_network_says_so(toy_root, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "toy", "fit", "--model"]) == 0
    assert capsys.readouterr().out == "toy fit: no networks\n"
