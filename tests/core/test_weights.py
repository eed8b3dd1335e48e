"""Networks for others: files that come back as they were, cards, and the way from a run to a published file."""

import json
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core import files
from core.cli.main import main
from core.errors import BadInput
from core.paths import published_folder
from core.publishing.publish import published_states
from core.runs import measurements, provenance
from core.weights.loading import load_weights, read_weights
from core.weights.replicate import FinishedReplicate
from core.weights.tensors import pack_tensors, read_tensors

TREE = {"params": {"dense": {"kernel": np.arange(6.0).reshape(2, 3)}}, "mask": np.array([True, False])}
NETWORKS = '''\
"""Networks of the toy."""

from core.papers.contract import Network


def collect(settings, left):
    with left.lab() as (key, lab):
        assert key.shape == (1,) and lab.replicates == [0]
    end = left.arrays("end_")["fast"]
    assert (left.stage("fast")["result"]["x"] == end).all()
    return {"params": {"x": end.astype("float16")}}


NETWORKS = {
    "bottom": Network(
        "fit", "The bottom of a bowl.", collect, lambda settings, arrays: settings.rate * arrays["params"]["x"],
        lambda settings: [{"metric": "loss", "arm": "fast"}], kept=("end_fast",),
    )
}
'''


@pytest.fixture
def run_of_toy(toy_root: Path) -> Path:
    """The toy paper with a network, after a run of its own settings."""
    (toy_root / "experiments" / "toy" / "weights.py").write_text(NETWORKS)
    assert main(["run", "paper=toy", "study=fit", "tracking=none"]) == 0
    return toy_root


def test_the_format_is_a_length_a_header_in_json_and_the_bytes(tmp_path: Path) -> None:
    """Read here by hand, as the format is specified."""
    content = pack_tensors(TREE, {"paper": "toy"})
    [length] = struct.unpack("<Q", content[:8])
    header, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    assert json.loads(header.pop("__metadata__")["encore"]) == {"paper": "toy"}
    assert set(header) == {"params/dense/kernel", "mask"}
    first, last = header["params/dense/kernel"]["data_offsets"]
    assert struct.unpack("<6d", body[first:last]) == (0, 1, 2, 3, 4, 5)
    files.write_bytes(tmp_path / "w", content)
    arrays, about = read_tensors(tmp_path / "w")
    np.testing.assert_array_equal(arrays["params"]["dense"]["kernel"], TREE["params"]["dense"]["kernel"])
    np.testing.assert_array_equal(arrays["mask"], TREE["mask"])
    assert about == {"paper": "toy"}


def test_an_array_that_does_not_lie_in_order_is_written_in_order(tmp_path: Path) -> None:
    turned = np.arange(6.0).reshape(2, 3).T
    files.write_bytes(tmp_path / "w", pack_tensors({"x": turned}, {}))
    np.testing.assert_array_equal(read_tensors(tmp_path / "w")[0]["x"], turned)


def test_what_holds_no_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no weights at"):
        read_weights(tmp_path / "absent")
    whole = pack_tensors(TREE, {"version": 1})
    for content in (b"", b"nonsense" * 9, whole[:-10]):
        (tmp_path / "torn").write_bytes(content)
        with pytest.raises(BadInput, match="does not hold a trained network"):
            read_weights(tmp_path / "torn")
    (tmp_path / "later").write_bytes(pack_tensors(TREE, {"version": 2}))
    with pytest.raises(BadInput, match="is of version 2, this program reads version 1"):
        read_weights(tmp_path / "later")


@pytest.mark.parametrize(
    ("name", "scale", "message"),
    [
        ("toi/bottom", "laptop", "unknown paper 'toi': did you mean 'toy'"),
        ("toy/botom", "laptop", "unknown network of toy 'botom': did you mean 'bottom'"),
        ("toy", "laptop", "unknown network of toy ''"),
        ("toy/bottom", "lapto", "unknown scale 'lapto': did you mean 'laptop'"),
        ("toy/bottom", "smoke", "no finished run here has it: encore run paper=toy study=fit scale=smoke"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(toy_root: Path, name: str, scale: str, message: str) -> None:
    (toy_root / "experiments" / "toy" / "weights.py").write_text(NETWORKS)
    with pytest.raises(BadInput, match=message):
        load_weights(name, scale)


def test_what_was_removed_from_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="stage 'fast' of replicate 3 was removed"):
        FinishedReplicate("toy", "fit", 3, tmp_path).stage("fast")


def test_a_network_goes_from_a_run_to_its_published_file(
    run_of_toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = load_weights("toy/bottom")
    assert own.params["x"].dtype == np.float32 and own.params["x"].shape == (3,)
    np.testing.assert_allclose(own.model, 0.1 * own.params["x"])
    assert repr(own) == "<weights toy/bottom: 3 parameters>"
    monkeypatch.setattr(provenance, "git_state", lambda *_: ("ab", False))
    for path in own.path.parents[1].glob("provenance.json"):
        files.write_json(path, files.read_json(path) | {"commit": "ab", "dirty": False})
    assert main(["publish", "toy", "--study", "fit"]) == 0
    folder = published_folder() / "toy" / "laptop"
    assert sorted(path.name for path in (folder / "weights").iterdir()) == ["bottom.md", "bottom.safetensors"]
    found = load_weights("toy/bottom")
    assert found.path.is_relative_to(folder)
    np.testing.assert_array_equal(found.params["x"], own.params["x"])
    assert set(measurements.read_arrays(folder / "arrays.npz")) == {"fit/end_slow", "fit/end_slow_again"}
    assert {"weights/bottom.md", "weights/bottom.safetensors"} <= set(
        files.read_json(folder / "provenance.json")["files"]
    )
    assert_card(found.card, measurements.read_measurements(folder / "measurements.csv.gz"))
    capsys.readouterr()
    files.write_text(folder / "weights" / "bottom.md", "better than it is")
    [state] = published_states(published_folder(), "toy", lambda *_: None)
    assert state.state == "edited by hand" and state.detail == "weights/bottom.md changed"


def assert_card(card: str, table: pd.DataFrame) -> None:
    """It says what the network is, by what, how good, with the numbers of the table, and what differs."""
    losses = table[(table["metric"] == "loss") & (table["arm"] == "fast")]["value"]
    reach = 3.182446 * losses.std() / 2  # t of three degrees of freedom, four replicates
    assert (
        f"| {losses.iloc[0]:.4g} | {losses.mean():.4g} [{losses.mean() - reach:.4g}, {losses.mean() + reach:.4g}] | 4 |"
        in card
    )
    for words in (
        "# toy/bottom\n\nThe bottom of a bowl.", 'load("toy/bottom")', "*A toy* (Nobody; 2001)",
        "- length: 30 steps (the paper: 300 steps)",
        "Claims judged on this study: C1;", "- `rate`: 0.1\n", "| `params/x` | 3 | float16 |", "Apache-2.0",
    ):  # fmt: skip
        assert words in card
