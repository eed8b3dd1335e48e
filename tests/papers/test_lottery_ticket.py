"""The method of the lottery ticket against independent oracles: arithmetic, brute force, a spy on every training."""

import math
from itertools import pairwise
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest

from core.data import loading
from core.errors import BadInput
from core.lab.keys import replicate_keys
from core.lab.lab import Lab
from core.lab.replicas import ReplicateAxis
from core.papers.config import load_config
from core.sparsity.masks import kernels
from experiments.lottery_ticket import experiment
from experiments.lottery_ticket.settings import TicketSettings

CONFIG = load_config("lottery_ticket")

# Values in the state of the largest loop: a network, what its optimizer keeps (Adam: two moments and a count; momentum:
# one and the count of its schedule), and the best network so far with its loss and iteration.
PARAMETERS = {
    "ladder": {"laptop": 0, "paper": 0},
    "lenet": {"laptop": 4 * 266_610 + 3, "paper": 4 * 266_610 + 3},
    "sparse": {"laptop": 4 * 266_610 + 3, "paper": 4 * 266_610 + 3},
    "conv": {"laptop": 4 * 1_119_962 + 3, "paper": 4 * 4_301_642 + 3},
    "deep": {"laptop": 3 * 20_035_018 + 2 * 11_008 + 3, "paper": 3 * 20_035_018 + 2 * 11_008 + 3},
}


def settings_of(study: str, scale: str = "smoke", **changes: Any) -> Any:
    """The config's settings of a study, with some changed; of a group only what is given."""
    values = CONFIG.studies[study].values(scale)
    groups = {name: {**values[name], **group} for name, group in changes.items() if isinstance(group, dict)}
    return CONFIG.studies[study].build({**values, **changes, **groups}, list(changes))


def parameters_of(settings: Any) -> Any:
    return jax.eval_shape(experiment.classification(settings).initial, jax.random.key(0))["params"]


# --- the ladder and the layers ----------------------------------------------------------------------------------------


def test_the_printed_densities_by_arithmetic() -> None:
    """Figures 3 and 4 of the paper, and the densities without rounding to whole weights."""
    rungs = experiment.densities(settings_of("sparse", "paper"))
    for number, rung in enumerate(rungs):
        exact = (265_200 * 0.8**number + 1_000 * 0.9**number) / 2_662
        assert rung.percent == pytest.approx(exact, abs=2e-3)
        assert rung.percent == pytest.approx(sum(map(int, rung.keep.values())) / 2_662)
    printed = {3: 51.3, 7: 21.1, 12: 7.0, 15: 3.6, 18: 1.9, 20: 1.2}
    assert {number: round(rungs[number].percent, 1) for number in printed} == printed
    assert rungs[9].percent == pytest.approx(13.5, abs=0.05)


def test_a_global_ladder_counts_all_prunable_weights_together() -> None:
    settings = settings_of("deep", "paper")
    prunable = sum(
        math.prod(kernel.shape) for kernel in experiment.prunable(settings, parameters_of(settings)).values()
    )
    for number, rung in enumerate(experiment.densities(settings)):
        assert list(rung.keep) == ["all"]
        assert rung.percent == pytest.approx(100 * 0.8**number, abs=1e-3)
        assert int(rung.keep["all"]) == pytest.approx(prunable * 0.8**number, abs=3)


@pytest.mark.parametrize("study", ["lenet", "sparse", "conv", "deep"])
@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_the_layers_known_beforehand_are_those_of_the_network(study: str, scale: str) -> None:
    settings = settings_of(study, scale)
    sizes = {layer: math.prod(kernel.shape) for layer, kernel in kernels(parameters_of(settings)).items()}
    known = {layer: weights for layer, (weights, _) in settings.plain_layers().items()}
    assert known == (sizes if settings.network.name == "plain" else {})


def test_a_global_ranking_prunes_convolutions_only() -> None:
    settings = settings_of("deep")
    shapes = parameters_of(settings)
    left_out = set(kernels(shapes)) - set(experiment.prunable(settings, shapes))
    # "the 2560 parameters used to downsample residual connections or the 640 parameters in the output layer"
    assert left_out == {"output", "skip_1_0"}
    full = settings_of("deep", network={"channels": (16, 32, 64)})
    left_out = set(kernels(parameters_of(full))) - set(experiment.prunable(full, parameters_of(full)))
    sizes = {layer: math.prod(kernels(parameters_of(full))[layer].shape) for layer in left_out}
    assert sizes == {"output": 640, "skip_1_0": 512, "skip_2_0": 2048}
    assert set(experiment.prunable(settings_of("conv"), parameters_of(settings_of("conv")))) == {
        "conv_0", "conv_1", "dense_0", "dense_1", "output",
    }  # fmt: skip


# --- the comparison ---------------------------------------------------------------------------------------------------


class Spy(Lab):
    """A lab that remembers what every training began with and ended in."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.began: dict[str, Any] = {}
        self.given: dict[str, Any] = {}
        self.ended: dict[str, Any] = {}

    def iterate(self, name: str, step: Any, keys: Any, state: Any, **options: Any) -> Any:
        self.began[name] = (keys, jax.tree.map(np.asarray, state))
        self.given[name] = jax.tree.map(np.asarray, options["each"][0])
        self.ended[name] = super().iterate(name, step, keys, state, **options)
        return self.ended[name]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[TicketSettings, Spy]:
    """The whole trial of two replicates in small."""
    length = {"iterations": 6, "evaluate_every": 3}
    settings = settings_of("sparse", training=length, one_shot=(1, 3), reinit=(2, 2, 3))
    folder = tmp_path_factory.mktemp("compared")
    folders = [folder / "0", folder / "1"]
    lab = Spy(range(2), folders, folder / "checkpoints", loading.load_data_set, ReplicateAxis.choose(2))
    experiment.lenet_trial(settings, replicate_keys("lottery_ticket", "lenet", [0, 1]), lab)
    return settings, lab


def number_of(name: str) -> int:
    return int(name.split("/")[1])


def test_arms_of_a_replicate_share_split_and_order(compared: tuple) -> None:
    _, lab = compared
    assert set(lab.began) == {
        "dense", "one_shot/1", "one_shot/3", "dense_again", "one_shot_again/3", "ticket/1", "ticket/2", "ticket/3",
        "reinit/2/0", "reinit/2/1", "reinit/3/0", "reinit_again/2/0", "random/2/0", "random_again/2/0",
    }  # fmt: skip
    own, split = lab.began["dense"][0], lab.given["dense"].split
    assert (split.order[0] != split.order[1]).any() and (split.validation[0] != split.validation[1]).any()
    for name, (key, _) in lab.began.items():
        assert (key == own).all()
        np.testing.assert_array_equal(lab.given[name].split.order, split.order)
        np.testing.assert_array_equal(lab.given[name].split.validation, split.validation)
        assert (lab.given[name].rate == lab.given["dense"].rate).all()


def test_tickets_restart_from_the_initial_values_bit_for_bit(compared: tuple) -> None:
    settings, lab = compared
    rungs = experiment.densities(settings)
    own = ("ticket/1", "ticket/2", "ticket/3", "one_shot/3", "random/2/0", "random_again/2/0")
    for name, whole in [*((name, "dense") for name in own), ("one_shot_again/3", "dense_again")]:
        state, mask = lab.began[name][1], lab.given[name].mask
        theta_0 = lab.began[whole][1].variables["params"]
        for layer, values in state.variables["params"].items():
            expected = np.where(mask[layer], theta_0[layer]["kernel"], np.float32(0))
            assert values["kernel"].tobytes() == expected.tobytes()
            assert values["bias"].tobytes() == theta_0[layer]["bias"].tobytes()
            kept = rungs[number_of(name)].keep[layer]
            assert mask[layer].sum(axis=(1, 2)).tolist() == [kept, kept]
        assert all((moment == 0).all() for moment in jax.tree.leaves(state.moments))


def test_masks_are_pruned_from_what_was_trained(compared: tuple) -> None:
    """By brute force: of a layer's survivors, those with the largest |θJ|, and nothing that was pruned comes back."""
    settings, lab = compared
    rungs = experiment.densities(settings)
    assert all(mask.all() for mask in lab.given["dense"].mask.values())
    parents = [("ticket/1", "dense"), ("ticket/2", "ticket/1"), ("ticket/3", "ticket/2"), ("one_shot/1", "dense")]
    for name, parent in [*parents, ("one_shot/3", "dense"), ("one_shot_again/3", "dense_again")]:
        trained = lab.ended[parent].result["variables"]["params"]
        for layer, found in lab.given[name].mask.items():
            for r in range(2):
                weights, alive = np.asarray(trained[layer]["kernel"][r]), lab.given[parent].mask[layer][r]
                survivors = sorted(np.flatnonzero(alive), key=lambda i, w=weights: abs(w.flat[i]))
                kept = survivors[len(survivors) - int(rungs[number_of(name)].keep[layer]) :]
                assert np.flatnonzero(found[r]).tolist() == sorted(kept)


def test_redrawn_networks_keep_the_mask_and_nothing_of_the_values(compared: tuple) -> None:
    _, lab = compared
    draws = ["ticket/2", "reinit/2/0", "reinit/2/1", "reinit_again/2/0"]
    wholes = [lab.began[name][1].variables["params"] for name in ("dense", "dense_again")]
    for layer, mask in lab.given["ticket/2"].mask.items():
        drawn = [lab.began[name][1].variables["params"][layer]["kernel"] for name in draws]
        for name, values in zip(draws, drawn, strict=True):
            np.testing.assert_array_equal(lab.given[name].mask[layer], mask)
            assert (values[~mask] == 0).all()
        for one, other in [*pairwise(drawn), (drawn[0], drawn[2]), (drawn[0], drawn[3]), (drawn[1], drawn[3])]:
            assert (one[mask] != other[mask]).mean() > 0.99
        assert (wholes[0][layer]["kernel"] != wholes[1][layer]["kernel"]).mean() > 0.99
        random, again = lab.given["random/2/0"].mask[layer], lab.given["random_again/2/0"].mask[layer]
        assert (random != mask).any() and (again != mask).any() and (random != again).any()


def test_measurements_say_what_was_trained(compared: tuple) -> None:
    settings, lab = compared
    rungs = experiment.densities(settings)
    for replicate, rows in enumerate(lab.rows):
        table = pd.DataFrame(rows)
        for arm, number, draw in (("dense", 0, None), ("ticket", 3, None), ("reinit", 2, 1), ("random", 2, 0)):
            name = "/".join([arm, *([str(number)] if number else []), *([str(draw)] if draw is not None else [])])
            mine = table[(table["arm"] == arm) & (table["density"] == round(rungs[number].percent, 1))]
            mine = mine[mine["draw"].isna() if draw is None else mine["draw"] == draw]
            value = mine[mine["metric"] == "test_accuracy"]["value"].item()
            assert value == float(lab.ended[name].result["test_accuracy"][replicate])
            curve = mine[mine["metric"] == "validation_loss"]
            assert curve["step"].tolist() == [3, 6]
            assert curve["value"].tolist() == [float(v) for v in lab.ended[name].curves["validation_loss"][replicate]]


def test_the_kept_arrays_give_the_networks_again(compared: tuple) -> None:
    """The dense network, the smallest ticket, and the latter before its training, as the config's notes say."""
    _, lab = compared
    trained = {name: lab.ended[name].result["variables"]["params"] for name in ("dense", "ticket/3")}
    before = lab.began["ticket/3"][1].variables["params"]
    assert len(lab.kept) == 3 * 6 + 3
    for layer, mask in lab.given["ticket/3"].mask.items():
        np.testing.assert_allclose(lab.kept[f"dense/{layer}/kernel"], trained["dense"][layer]["kernel"], atol=1e-3)
        for name, params in (("ticket", trained["ticket/3"]), ("initial", before)):
            np.testing.assert_allclose(lab.kept[f"{name}/{layer}/bias"], params[layer]["bias"], atol=1e-3)
            for r in range(2):
                kept = np.unpackbits(lab.kept[f"mask/{layer}"][r], count=mask[r].size).reshape(mask[r].shape) > 0
                np.testing.assert_array_equal(kept, mask[r])
                kernel = np.zeros(mask[r].shape)
                kernel[kept] = lab.kept[f"{name}/{layer}/kernel"][r]
                np.testing.assert_allclose(kernel, params[layer]["kernel"][r], atol=1e-3)


# --- settings ---------------------------------------------------------------------------------------------------------

ALONE = {"reinit": (), "reinit_again": ()}
CONTRADICTIONS = [
    ({"reinit": (4,)}, r"reinit=\[4\] goes beyond settings.pruning.rounds=3"),
    ({"one_shot_again": (9,)}, r"one_shot_again=\[9\] goes beyond settings.pruning.rounds=3"),
    ({"pruning": {"rounds": 40, "dense": 0.5}}, "pruning.rounds=40 leaves less than one weight in dense_0"),
    ({"pruning": {"rounds": 1, "output": 0.999}, **ALONE}, "pruning.rounds=1 leaves less than one weight in output"),
]


@pytest.mark.parametrize(("changes", "words"), CONTRADICTIONS)
def test_contradictory_settings_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words) as refused:
        settings_of("lenet", **changes)
    assert "\n" not in str(refused.value)


def test_the_printed_ladder_needs_a_round_for_every_density() -> None:
    with pytest.raises(BadInput, match="equal lengths"):
        settings_of("ladder", rounds=(3, 7))
