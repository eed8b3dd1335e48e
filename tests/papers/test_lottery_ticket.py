"""The maths of the lottery ticket against independent oracles: arithmetic, brute force, a network written in NumPy."""

import math
from dataclasses import replace
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from core import paths
from core.data import loading
from core.errors import BadInput
from core.lab import keys
from core.lab.lab import Lab
from core.lab.replicas import ReplicateAxis
from core.optim.settings import OptimizerSettings
from core.papers.config import load_config
from core.runs import measurements
from experiments.lottery_ticket import experiment

CONFIG = load_config("lottery_ticket")

# Values in the state of the largest loop: a network, what its optimizer keeps (Adam: two moments and a count; momentum:
# one and the count of its schedule), and the best network so far with its loss and iteration.
PARAMETERS = {
    "ladder": {"laptop": 0, "paper": 0},
    "lenet": {"laptop": 4 * 266_610 + 3, "paper": 4 * 266_610 + 3},
    "tuning": {"laptop": 4 * 266_610 + 3, "paper": 4 * 266_610 + 3},
    "conv": {"laptop": 4 * 1_119_962 + 3, "paper": 4 * 4_301_642 + 3},
    "deep": {"laptop": 3 * 20_035_018 + 2 * 11_008 + 3, "paper": 3 * 20_035_018 + 2 * 11_008 + 3},
}


def settings_of(study: str, scale: str = "smoke", **changes: Any) -> Any:
    """The config's settings of a study, with some changed."""
    return CONFIG.studies[study].build(CONFIG.studies[study].values(scale)).replace(**changes)


# --- the ladder ---------------------------------------------------------------------------------------------------


def test_the_printed_densities_by_arithmetic() -> None:
    layers = {"dense_0": (784 * 300, 0.2), "dense_1": (300 * 100, 0.2), "output": (100 * 10, 0.1)}
    assert sum(weights for weights, _ in layers.values()) == 266_200
    rungs = experiment.ladder(layers, 20)
    assert dict(rungs[0].keep) == {layer: weights for layer, (weights, _) in layers.items()}
    for before, after in pairwise(rungs):
        for layer, (_, fraction) in layers.items():
            removed = int(before.keep[layer]) - int(after.keep[layer])
            assert abs(removed - fraction * int(before.keep[layer])) <= 0.5 + 1e-9, "not the nearest whole number"
    for number, rung in enumerate(rungs):
        assert rung.density == pytest.approx(sum(map(int, rung.keep.values())) / 2_662)
        exact = (235_200 * 0.8**number + 30_000 * 0.8**number + 1_000 * 0.9**number) / 2_662
        assert rung.density == pytest.approx(exact, abs=2e-3)  # rounding to whole weights
    printed = {3: 51.28, 7: 21.07, 9: 13.52, 12: 6.95, 15: 3.58, 18: 1.85, 20: 1.19}
    assert {number: round(rungs[number].density, 2) for number in printed} == pytest.approx(printed, abs=0.011)


@pytest.mark.parametrize("study", ["lenet", "tuning", "conv", "deep"])
@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_the_layers_known_beforehand_are_those_of_the_network(study: str, scale: str) -> None:
    settings = settings_of(study, scale)
    if settings.network == "plain":
        assert settings.layers() == experiment.prunable(settings)
    else:
        assert settings.layers() == {} and list(experiment.prunable(settings)) == ["all"]


def test_networks_have_the_printed_sizes() -> None:
    """Figure 2 of the paper: all weights and convolution weights."""
    conv = settings_of("conv", "paper")
    conv_4, conv_6 = replace(conv, channels=(64, 64, 128, 128)), replace(conv, channels=(64, 64, 128, 128, 256, 256))
    deep = settings_of("deep", "paper")
    printed = [
        (settings_of("lenet", "paper"), 266e3, 0),
        (conv, 4.3e6, 38e3),
        (conv_4, 2.4e6, 260e3),
        (conv_6, None, 1.1e6),
        (replace(deep, network="resnet18"), 274e3, 270e3),
        (deep, 20.0e6, 20.0e6),
    ]
    for settings, everything, convolutions in printed:
        shapes = jax.eval_shape(partial(experiment.initial, settings), jax.random.key(0))["params"]
        sizes = [
            sum(math.prod(kernel.shape) for kernel in experiment.kernels(shapes, scope).values())
            for scope in ("layer", "global")
        ]
        assert everything is None or sizes[0] == pytest.approx(everything, rel=0.02)
        assert sizes[1] == pytest.approx(convolutions, rel=0.05)


# --- pruning ------------------------------------------------------------------------------------------------------


def smallest_removed(weights: dict, mask: dict, keep: dict, together: bool) -> dict:
    """Brute force: of the survivors remove the smallest magnitudes one by one, the first of equal ones first."""
    left = {layer: [False] * mask[layer].size for layer in mask}
    groups = [list(mask)] if together else [[layer] for layer in mask]
    for group in groups:
        alive = [(layer, i) for layer in group for i in range(mask[layer].size) if mask[layer].flat[i]]
        alive.sort(key=lambda place: abs(weights[place[0]].flat[place[1]]))  # a stable sort keeps equal ones in order
        for layer, i in alive[len(alive) - int(keep["all" if together else group[0]]) :]:
            left[layer][i] = True
    return {layer: np.array(left[layer]).reshape(mask[layer].shape) for layer in mask}


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("seed", range(3))
def test_pruning_is_by_rank_with_exact_counts_also_among_ties(scope: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    shapes = {"a": (3, 3, 2, 4), "b": (7, 5), "c": (5, 2)}
    weights = {layer: random.integers(-3, 4, shape).astype(np.float32) for layer, shape in shapes.items()}
    mask = {layer: random.random(shape) < 0.7 for layer, shape in shapes.items()}
    alive = {layer: int(m.sum()) for layer, m in mask.items()}
    keep = {layer: np.int32(n // 2) for layer, n in alive.items()} | {"all": np.int32(sum(alive.values()) // 2)}
    found = jax.jit(partial(experiment.pruned, scope))(weights, mask, keep)
    expected = smallest_removed(weights, mask, keep, scope == "global")
    for layer in shapes:
        np.testing.assert_array_equal(found[layer], expected[layer])
        assert not (np.asarray(found[layer]) & ~mask[layer]).any(), "what was pruned comes back"
        assert scope == "global" or found[layer].sum() == keep[layer]
    assert scope == "layer" or sum(int(m.sum()) for m in found.values()) == keep["all"]


def test_a_surviving_zero_outranks_what_was_pruned() -> None:
    weights, mask = {"a": np.zeros(4, np.float32)}, {"a": np.array([False, True, False, True])}
    assert experiment.pruned("layer", weights, mask, {"a": np.int32(2)})["a"].tolist() == [False, True, False, True]
    assert experiment.pruned("layer", weights, mask, {"a": np.int32(1)})["a"].tolist() == [False, False, False, True]


def test_a_random_mask_has_the_densities_of_the_layers() -> None:
    random = np.random.default_rng(0)
    mask = {"a": jnp.asarray(random.random((40, 30)) < 0.2), "b": jnp.asarray(random.random((30, 10)) < 0.6)}
    one, other = (experiment.shuffled(jax.random.key(seed), mask) for seed in (0, 1))
    for layer in mask:
        assert one[layer].shape == mask[layer].shape and one[layer].sum() == mask[layer].sum() == other[layer].sum()
        assert (one[layer] != mask[layer]).any() and (one[layer] != other[layer]).any()
    everywhere = (
        sum(np.asarray(experiment.shuffled(jax.random.key(seed), mask)["a"], float) for seed in range(200)) / 200
    )
    density = float(mask["a"].mean())  # every place is as likely as any other: 5 standard errors
    assert np.abs(everywhere - density).max() < 5 * math.sqrt(density * (1 - density) / 200)


# --- data ---------------------------------------------------------------------------------------------------------


def test_training_images_and_held_out_ones_are_disjoint() -> None:
    settings = settings_of("lenet", iterations=50, batch=60, validation=200)
    order, held_out = jax.jit(partial(experiment.arranged, settings))(jax.random.key(0), jax.random.key(1))
    assert order.shape == (50, 60) and held_out.shape == (200,)
    assert len(set(held_out.tolist())) == 200
    assert not set(held_out.tolist()) & set(order.ravel().tolist())
    assert set(held_out.tolist()) | set(order.ravel().tolist()) <= set(range(1437))
    per_epoch = (1437 - 200) // 60
    for first in range(0, 50, per_epoch):
        epoch = order[first : first + per_epoch].ravel().tolist()
        assert len(set(epoch)) == len(epoch), "an image comes twice in one epoch"
    assert order[:per_epoch].tolist() != order[per_epoch : 2 * per_epoch].tolist()


def test_augmented_images_are_flips_and_shifts() -> None:
    image = np.arange(1, 8 * 8 * 3 + 1, dtype=np.float32).reshape(8, 8, 3)
    possible = {}
    for flip, top, left in product((False, True), range(9), range(9)):
        padded = np.pad(image[:, ::-1] if flip else image, ((4, 4), (4, 4), (0, 0)))
        possible[padded[top : top + 8, left : left + 8].tobytes()] = (flip, top, left)
    assert len(possible) == 162
    batch = np.asarray(jax.jit(experiment.random_flip_and_shift)(jax.random.key(0), jnp.stack([image] * 400)))
    assert batch.shape == (400, 8, 8, 3)
    drawn = [possible[one.tobytes()] for one in batch]
    assert {flip for flip, _, _ in drawn} == {False, True}
    assert {top for _, top, _ in drawn} == {left for _, _, left in drawn} == set(range(9))
    assert 150 < sum(flip for flip, _, _ in drawn) < 250


# --- one training, against NumPy ----------------------------------------------------------------------------------


TINY = {"hidden": (12, 7), "iterations": 45, "batch": 10, "evaluate_every": 4, "validation": 150}


def tiny_inputs(settings: experiment.TicketSettings, density: float = 0.5) -> tuple[dict, dict, tuple]:
    """Initial values, a mask, and what every step is given: order, held-out images, mask, data."""
    values = experiment.initial(settings, jax.random.key(3))
    kept = experiment.kernels(values["params"], "layer")
    random = np.random.default_rng(1)
    mask = {layer: jnp.asarray(random.random(kernel.shape) < density) for layer, kernel in kept.items()}
    order, held_out = experiment.arranged(settings, jax.random.key(4), jax.random.key(5))
    data = loading.load_data_set(settings.dataset)
    arrays = [jnp.asarray(data[name]) for name in ("train_images", "train_labels", "test_images", "test_labels")]
    return values, mask, (order, held_out, mask, *arrays)


class Reference:
    """A perceptron with ReLU, softmax cross-entropy and Adam in double precision, gradients by hand."""

    def __init__(self, params: dict, mask: dict, learning_rate: float) -> None:
        self.layers = ["dense_0", "dense_1", "output"]
        self.mask = {(layer, "kernel"): np.asarray(mask[layer], float) for layer in self.layers}
        self.w = {(n, part): np.asarray(params[n][part], float) for n in self.layers for part in ("kernel", "bias")}
        self.w = {name: value * self.mask.get(name, 1.0) for name, value in self.w.items()}
        self.m, self.v = ({name: np.zeros_like(w) for name, w in self.w.items()} for _ in range(2))
        self.rate, self.count = learning_rate, 0

    def forward(self, images: np.ndarray) -> list[np.ndarray]:
        x = [images.reshape(len(images), -1) / 255.0]
        for layer in self.layers:
            z = x[-1] @ self.w[layer, "kernel"].T + self.w[layer, "bias"]
            x.append(z if layer == "output" else np.maximum(z, 0))
        return x

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
        logits = self.forward(images)[-1]
        losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]
        return float(losses.mean()), float(100 * (logits.argmax(1) == labels).mean())

    def step(self, images: np.ndarray, labels: np.ndarray) -> None:
        x = self.forward(images)
        p = np.exp(x[-1])
        error = p / p.sum(1, keepdims=True)
        error[np.arange(len(labels)), labels] -= 1
        error /= len(labels)
        self.count += 1
        for layer, inputs in zip(reversed(self.layers), reversed(x[:-1]), strict=True):
            gradient = {"kernel": error.T @ inputs * self.mask[layer, "kernel"], "bias": error.sum(0)}
            error = (error @ self.w[layer, "kernel"]) * (inputs > 0)
            for part, g in gradient.items():
                self._adam((layer, part), g)

    def _adam(self, name: tuple[str, str], g: np.ndarray) -> None:
        self.m[name] = 0.9 * self.m[name] + 0.1 * g
        self.v[name] = 0.999 * self.v[name] + 0.001 * g**2
        m, v = self.m[name] / (1 - 0.9**self.count), self.v[name] / (1 - 0.999**self.count)
        self.w[name] = self.w[name] - self.rate * m / (np.sqrt(v) + 1e-8)


def test_a_training_is_that_of_a_network_written_in_numpy(tmp_path: Path) -> None:
    """Loss, gradient, Adam, evaluation; early stop at the smallest validation loss, its network tested afterwards."""
    settings = settings_of("lenet", optimizer=OptimizerSettings(name="adam", learning_rate=0.1), **TINY)
    values, mask, given = tiny_inputs(settings)
    trained = iterated(settings, values, mask, given, tmp_path)
    order, held_out, images, labels, test_images, test_labels = map(np.asarray, given[:2] + given[3:])
    other, curve, tested = Reference(values["params"], mask, 0.1), [], {}
    for i, batch in enumerate(order, 1):
        other.step(images[batch], labels[batch])
        if i % settings.evaluate_every == 0 or i == settings.iterations:
            curve.append(other.evaluate(images[held_out], labels[held_out]))
            tested[i] = other.evaluate(test_images, test_labels)[1]
    np.testing.assert_allclose(trained.curves["validation_loss"][0], [loss for loss, _ in curve], rtol=2e-3)
    np.testing.assert_allclose(trained.curves["validation_accuracy"][0], [hits for _, hits in curve], atol=0.7)
    assert trained.steps.tolist() == list(tested) == [*range(4, 45, 4), 45]
    stopped = int(trained.result["early_stop_iteration"][0])
    assert stopped == trained.steps[np.argmin([loss for loss, _ in curve])]
    assert stopped < settings.iterations, "the training is too tame to tell the best network from the last"
    assert trained.result["test_accuracy"][0] == pytest.approx(tested[stopped], abs=0.3)  # one image of 360
    assert trained.result["final_test_accuracy"][0] == pytest.approx(tested[45], abs=0.3)
    assert abs(tested[stopped] - tested[45]) > 0.6, "the two accuracies are too alike to be told apart"
    for layer in mask:
        np.testing.assert_allclose(trained.result["weights"][layer][0], other.w[layer, "kernel"], atol=2e-3)


class Spy(Lab):
    """A lab that remembers what every training began with and ended in."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.began: dict[str, tuple] = {}
        self.masks: dict[str, dict[str, np.ndarray]] = {}
        self.ended: dict[str, Any] = {}

    def iterate(self, name: str, step: Any, keys: Any, state: Any, **options: Any) -> Any:
        order, held_out, mask = options["each"]
        self.began[name] = (keys, jax.tree.map(np.asarray, state), np.asarray(order), np.asarray(held_out))
        self.masks[name] = jax.tree.map(np.asarray, mask)
        self.ended[name] = super().iterate(name, step, keys, state, **options)
        return self.ended[name]


def spy_in(folder: Path, replicates: int) -> Spy:
    folders = [folder / str(number) for number in range(replicates)]
    return Spy(
        range(replicates), folders, folder / "checkpoints", loading.load_data_set, ReplicateAxis.choose(replicates)
    )


def iterated(settings: Any, values: dict, mask: dict, given: tuple, folder: Path) -> Any:
    """One training of one replicate as the trial does it."""
    lab = spy_in(folder, 1)
    batched = partial(jax.tree.map, lambda leaf: leaf[None])
    comparison = experiment.Comparison(
        settings, jax.random.split(jax.random.key(9), 1), lab, batched(given[:2]), given[3:]
    )
    comparison.train("dense", batched(values), batched(mask), experiment.Rung({}, 100.0))
    return lab.ended["dense"]


OPTIMIZERS = {name: OptimizerSettings(name=name, learning_rate=0.01) for name in ARGUMENTS} | {
    "sgd with momentum": OptimizerSettings(name="sgd", learning_rate=0.01, momentum=0.9, nesterov=True),
    "adamw with decay": OptimizerSettings(name="adamw", learning_rate=0.01, weight_decay=0.1),
    "adam warmed up": OptimizerSettings(name="adam", learning_rate=0.01, warmup=3, drop_at=(5,)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_pruned_weights_and_their_moments_stay_exactly_zero(name: str) -> None:
    settings = settings_of("lenet", optimizer=OPTIMIZERS[name], **TINY)
    values, mask, given = tiny_inputs(settings)
    state = started = experiment.start(settings, values, mask)
    step = jax.jit(partial(experiment.step, settings))
    for i in range(6):
        state = step(state, jax.random.key(i), jnp.int32(i), *given)
    for layer, kept in mask.items():
        before, after = (s.values["params"][layer]["kernel"] for s in (started, state))
        np.testing.assert_array_equal(np.asarray(before), np.where(kept, values["params"][layer]["kernel"], 0))
        assert (np.asarray(after)[~np.asarray(kept)] == 0).all()
        assert (before != after)[kept].mean() > 0.5, "survivors are not trained"
        moments = [np.asarray(leaf) for leaf in jax.tree.leaves(state.moments) if leaf.shape == kept.shape]
        assert all((moment[~np.asarray(kept)] == 0).all() for moment in moments)
        fresh = [leaf for leaf in jax.tree.leaves(started.moments) if leaf.shape == kept.shape]
        assert len(fresh) == len(moments) and all((leaf == 0).all() for leaf in fresh)


# --- the comparison -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[experiment.TicketSettings, Spy]:
    """The whole trial of two replicates in small."""
    settings = settings_of("lenet", iterations=6, evaluate_every=3, one_shot=(1, 3), reinit=(2, 2, 3))
    lab = spy_in(tmp_path_factory.mktemp("compared"), 2)
    experiment.trial(settings, keys.replicate_keys("lottery_ticket", "lenet", [0, 1]), lab)
    return settings, lab


def test_arms_of_a_replicate_share_split_and_order(compared: tuple) -> None:
    _, lab = compared
    assert set(lab.began) == {
        "dense", "one_shot/1", "one_shot/3", "ticket/1", "ticket/2", "ticket/3", "reinit/2/0", "reinit/2/1",
        "reinit/3/0", "reinit_again/2/0", "random/2/0", "random_again/2/0",
    }  # fmt: skip
    own_key, _, order, held_out = lab.began["dense"]
    assert (order[0] != order[1]).any() and (held_out[0] != held_out[1]).any()
    for key, _, other_order, other_held_out in lab.began.values():
        assert (key == own_key).all()
        np.testing.assert_array_equal(other_order, order)
        np.testing.assert_array_equal(other_held_out, held_out)


def test_tickets_restart_from_the_initial_values_bit_for_bit(compared: tuple) -> None:
    settings, lab = compared
    theta_0 = lab.began["dense"][1].values["params"]
    rungs = experiment.ladder(settings.layers(), settings.rounds)
    for name in ("ticket/1", "ticket/2", "ticket/3", "one_shot/3", "random/2/0", "random_again/2/0"):
        state, mask = lab.began[name][1], lab.masks[name]
        for layer, values in state.values["params"].items():
            expected = np.where(mask[layer], theta_0[layer]["kernel"], np.float32(0))
            assert values["kernel"].tobytes() == expected.tobytes()
            assert values["bias"].tobytes() == theta_0[layer]["bias"].tobytes()
            kept = rungs[int(name.split("/")[1])].keep[layer]
            assert mask[layer].sum(axis=(1, 2)).tolist() == [kept, kept]
        assert all((moment == 0).all() for moment in jax.tree.leaves(state.moments))


def test_masks_are_pruned_from_what_was_trained(compared: tuple) -> None:
    settings, lab = compared
    rungs = experiment.ladder(settings.layers(), settings.rounds)
    everything = {layer: np.ones_like(mask) for layer, mask in lab.masks["dense"].items()}
    assert all(mask.all() for mask in lab.masks["dense"].values())
    parents = [("ticket/1", "dense"), ("ticket/2", "ticket/1"), ("ticket/3", "ticket/2")]
    for name, parent in [*parents, ("one_shot/1", "dense"), ("one_shot/3", "dense")]:
        trained, before = lab.ended[parent].result["weights"], everything if parent == "dense" else lab.masks[parent]
        for r in range(2):
            weights = {layer: np.asarray(w[r]) for layer, w in trained.items()}
            mask = {layer: m[r] for layer, m in before.items()}
            expected = smallest_removed(weights, mask, rungs[int(name.split("/")[1])].keep, together=False)
            for layer, kept in expected.items():
                np.testing.assert_array_equal(lab.masks[name][layer][r], kept)


def test_redrawn_networks_keep_the_mask_and_nothing_of_the_values(compared: tuple) -> None:
    _, lab = compared
    draws = ["ticket/2", "reinit/2/0", "reinit/2/1", "reinit_again/2/0"]
    for layer, mask in lab.masks["ticket/2"].items():
        drawn = [lab.began[name][1].values["params"][layer]["kernel"] for name in draws]
        for name, values in zip(draws, drawn, strict=True):
            np.testing.assert_array_equal(lab.masks[name][layer], mask)
            assert (values[~mask] == 0).all()
        for one, other in [*pairwise(drawn), (drawn[0], drawn[2]), (drawn[0], drawn[3]), (drawn[1], drawn[3])]:
            assert (one[mask] != other[mask]).mean() > 0.99
    for layer, mask in lab.masks["ticket/2"].items():
        random, again = lab.masks["random/2/0"][layer], lab.masks["random_again/2/0"][layer]
        assert (random != mask).any() and (again != mask).any() and (random != again).any()


def test_measurements_say_what_was_trained(compared: tuple) -> None:
    settings, lab = compared
    rungs = experiment.ladder(settings.layers(), settings.rounds)
    for replicate, rows in enumerate(lab.rows):
        table = pd.DataFrame(rows)
        assert len(table) == len(lab.began) * (3 + 2 * 2)
        for arm, number, draw in (("dense", 0, None), ("ticket", 3, None), ("reinit", 2, 1), ("random", 2, 0)):
            name = "/".join([arm, *([str(number)] if number else []), *([str(draw)] if draw is not None else [])])
            mine = table[(table["arm"] == arm) & (table["density"] == round(rungs[number].density, 1))]
            mine = mine[mine["draw"].isna() if draw is None else mine["draw"] == draw]
            value = mine[mine["metric"] == "test_accuracy"]["value"].item()
            assert value == float(lab.ended[name].result["test_accuracy"][replicate])
            curve = mine[mine["metric"] == "validation_loss"]
            assert curve["step"].tolist() == [3, 6]
            assert curve["value"].tolist() == [float(v) for v in lab.ended[name].curves["validation_loss"][replicate]]


# --- settings -----------------------------------------------------------------------------------------------------

CONTRADICTIONS = [
    ({"validation": 1400}, "less than one batch"),
    ({"evaluate_every": 61}, "longer than iterations"),
    ({"reinit": (4,)}, "beyond rounds=3"),
    ({"random_again": (9,)}, "beyond rounds=3"),
    ({"rounds": 40, "prune_dense": 0.5}, "less than one weight in dense_0"),
    ({"prune_output": 0.999, "rounds": 1, "reinit": (), "reinit_again": (), "one_shot": (), "random": (),
      "random_again": ()}, "less than one weight in output"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "words"), CONTRADICTIONS)
def test_contradictory_settings_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words) as refused:
        settings_of("lenet", **changes)
    assert "\n" not in str(refused.value)


def test_the_printed_ladder_needs_a_round_for_every_density() -> None:
    with pytest.raises(BadInput, match="equal lengths"):
        settings_of("ladder", rounds=(3, 7))


# --- the config -----------------------------------------------------------------------------------------------------


def test_the_target_loss_is_what_the_tuning_study_says() -> None:
    """By the config's rule: the largest over replicates of the lowest loss within half of the training, rounded up."""
    folder = paths.project_root() / "results" / "lottery_ticket" / "laptop"
    table = measurements.read_measurements(folder / "measurements.csv.gz") if folder.exists() else None
    if table is None or "tuning" not in set(table["study"]):
        pytest.skip("no tuning study is published in results/lottery_ticket/laptop yet")
    rows = table[(table["study"] == "tuning") & (table["arm"] == "reinit") & (table["metric"] == "validation_loss")]
    half = CONFIG.studies["tuning"].values("laptop")["iterations"] / 2
    reached = rows[(rows["density"] == 21.1) & (rows["step"] <= half)].groupby("replicate")["value"].min()
    assert len(reached) == CONFIG.studies["tuning"].replicates("laptop")
    steps = [step for clause in CONFIG.claims["C1"].clauses for step in clause.number]
    [target] = [step.threshold for step in steps if step.name == "crossing"]
    assert target == pytest.approx(math.ceil(reached.max() / 0.005 - 1e-9) * 0.005)
