"""The maths of domain-adversarial training against independent oracles: updates by hand, NumPy, scikit-learn."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import make_moons

from core.errors import BadInput
from core.papers.config import load_config
from core.papers.settings import build_settings
from experiments import dann as experiment
from experiments.dann import adversarial, images, moons, reviews
from experiments.dann.adversarial import Network, State, Training

CONFIG = load_config("dann")

# Values in the state of the largest loop: the parameters, momentum where there is any, and the count of the schedule;
# for reviews also the parameters and the accuracy of the best network so far.
PARAMETERS = {
    "reversal": {"laptop": 0, "paper": 0},
    "moons": {"laptop": 93 + 1, "paper": 93 + 1},
    "digits": {"laptop": 2 * 51_059 + 1, "paper": 2 * 205_891 + 1},
    "mnist_m": {"laptop": 2 * 51_059 + 1, "paper": 2 * 205_891 + 1},
    "reviews": {"laptop": 2 * 250_203 + 2, "paper": 2 * 500_403 + 2},
    "house_numbers": {"laptop": 2 * 292_291 + 1, "paper": 2 * 292_291 + 1},
}


def settings_of(study: str, scale: str = "smoke", **changes: Any) -> Any:
    """The config's settings of a study, with some changed."""
    return replace(build_settings(experiment.STUDIES[study].settings, CONFIG.studies[study].values(scale)), **changes)


# --- the gradient reversal layer ------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0.0, 0.31, 6.0])
def test_the_layer_is_the_identity_whose_gradient_is_reversed(weight: float) -> None:
    x = jax.random.normal(jax.random.key(0), (4, 3))

    def after(x: jax.Array, weight: Any) -> jax.Array:
        return jnp.sum(jnp.sin(adversarial.reverse_gradient(x, weight)))

    np.testing.assert_array_equal(adversarial.reverse_gradient(x, weight), x)
    np.testing.assert_allclose(jax.grad(after)(x, weight), -weight * jnp.cos(x), rtol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.grad(after))(x, jnp.float32(weight)), -weight * jnp.cos(x), rtol=1e-6)
    assert jax.grad(after, argnums=1)(x, weight) == 0, "the weight is no parameter"


class TwoPlayers:
    """The shallow network of algorithm 1 in double precision, each player's gradients by hand."""

    def __init__(self, params: dict) -> None:
        self.w = {name: {k: np.asarray(v, np.float64) for k, v in layer.items()} for name, layer in params.items()}

    def step(
        self, source: np.ndarray, y: np.ndarray, target: np.ndarray, rate: float, on_f: float, on_d: float
    ) -> None:
        """One update: λ is `on_f` for the features and `on_d` for the domain head."""
        x, n = np.concatenate([source, target]).astype(np.float64), len(source)
        f = 1 / (1 + np.exp(-(x @ self.w["features"]["kernel"].T + self.w["features"]["bias"])))
        logits = f[:n] @ self.w["label"]["kernel"].T + self.w["label"]["bias"]
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        label_error = (p - np.eye(p.shape[1])[y]) / n
        d = 1 / (1 + np.exp(-(f @ self.w["domain"]["kernel"].T + self.w["domain"]["bias"])[:, 0]))
        domain_error = ((d - np.repeat([0, 1], n)) / n)[:, None]
        on_features = np.zeros_like(f)
        on_features[:n] = label_error @ self.w["label"]["kernel"]
        on_features -= on_f * domain_error @ self.w["domain"]["kernel"]
        on_features *= f * (1 - f)
        for name, error, inputs in (
            ("features", on_features, x),
            ("label", label_error, f[:n]),
            ("domain", on_d * domain_error, f),
        ):
            self.w[name]["kernel"] = self.w[name]["kernel"] - rate * error.T @ inputs
            self.w[name]["bias"] = self.w[name]["bias"] - rate * error.sum(0)


@pytest.mark.parametrize(("reversal", "domain"), [(1.0, 6.0), (0.31, 1.0), (0.0, 1.0), (-1.0, 2.0)])
def test_a_training_is_that_of_two_players_written_in_numpy(reversal: float, domain: float) -> None:
    """The pseudo-objective moves the features by λ of both weights, the domain head by its own weight."""
    random = np.random.default_rng(0)
    data = {
        "source": random.normal(size=(12, 3)).astype(np.float32),
        "labels": random.integers(0, 2, 12),
        "target": random.normal(size=(9, 3)).astype(np.float32) + 1,
        "mean": np.zeros((1, 3), np.float32),
    }
    training = Training(Network((), 5, (), (), 2), steps=6, learning_rate=0.3, momentum=0.0, decay=10.0, gain=0.0)
    state = adversarial.initial(training, (3,), jax.random.key(1))
    other = TwoPlayers(state.params)
    orders = {"source": random.integers(0, 12, (6, 4)), "target": random.integers(0, 9, (6, 4))}
    chosen = jax.tree.map(lambda leaf: leaf[0], adversarial.arm((1,), reversal, domain))
    advance = jax.jit(partial(adversarial.step, training))
    for i in range(6):
        state = advance(state, jax.random.key(2), jnp.int32(i), chosen, jax.tree.map(jnp.asarray, orders), data)
        rows, others = orders["source"][i], orders["target"][i]
        rate = 0.3 / (1 + 10 * i / 6) ** 0.75
        other.step(data["source"][rows], data["labels"][rows], data["target"][others], rate, reversal * domain, domain)
    for name, layer in state.params.items():
        for part, value in layer.items():
            np.testing.assert_allclose(value, other.w[name][part], atol=2e-5)


def test_both_ways_to_an_update_agree_and_the_broken_one_does_not() -> None:
    settings = settings_of("reversal")
    right, wrong = (float(experiment.update_error(settings, scaled, jax.random.key(3))) for scaled in (False, True))
    assert right < 1e-6 < 0.1 < wrong


def test_shuffled_domain_labels_teach_the_domain_head_nothing() -> None:
    """Its loss is linear in the labels, so on average over shuffles they act as labels of one half everywhere."""
    training = Training(Network((), 5, (), (), 2), 1, 1.0, 0.0, 0.0, 0.0)
    state = adversarial.initial(training, (3,), jax.random.key(1))
    data = {"source": jnp.zeros((8, 3)), "labels": jnp.zeros(8, int), "target": jnp.ones((8, 3))}
    data["mean"] = jnp.zeros((1, 3))
    orders = {name: jnp.arange(8)[None] for name in ("source", "target")}

    @jax.jit
    def moved(key: jax.Array, shuffle: jax.Array) -> jax.Array:
        chosen = adversarial.Arm(0.0, 1.0, shuffle)
        after = adversarial.step(training, state, key, jnp.int32(0), chosen, orders, data)
        return after.params["domain"]["kernel"] - state.params["domain"]["kernel"]

    many = np.stack([moved(key, True) for key in jax.random.split(jax.random.key(5), 200)])
    batch = (data["source"], data["labels"], data["target"])
    halves = jax.grad(adversarial.objective)(state.params, training.network, *batch, jnp.full((2, 8), 0.5), 0.0, 1.0)
    error = 5 * many.std(0) / np.sqrt(len(many))
    assert (np.abs(many.mean(0) + halves["domain"]["kernel"]) < error).all()
    told = np.asarray(moved(jax.random.key(0), False))
    assert (np.abs(told + halves["domain"]["kernel"]) > error).all(), "true labels act no differently"


def test_schedules_are_the_printed_ones() -> None:
    training = Training(Network((), 5, (), (), 2), 100, 0.01, 0.9, 10.0, 10.0)
    assert float(training.reversal(0)) == 0 and float(training.reversal(100)) == pytest.approx(0.99991, abs=1e-5)
    assert float(training.reversal(10)) == pytest.approx(2 / (1 + np.exp(-1)) - 1)
    assert float(training.rate(0)) == pytest.approx(0.01)
    assert float(training.rate(100)) == pytest.approx(0.01 / 11**0.75)
    assert replace(training, gain=0.0).reversal(3) == 1.0


# --- data ---------------------------------------------------------------------------------------------------------


def test_blending_by_hand_does_not_wrap_around() -> None:
    photograph = np.zeros((1, 2, 2, 3), np.uint8)
    photograph[0, 0, 0], photograph[0, 0, 1], photograph[0, 1, 0] = (10, 200, 255), (1, 2, 3), (7, 7, 7)
    digit = np.array([[[1, 0], [255, 0]]], np.uint8)
    found = np.asarray(images.blended(jax.random.key(0), jnp.asarray(digit), jnp.asarray(photograph)))
    expected = [[[245, 55, 0], [1, 2, 3]], [[248, 248, 248], [0, 0, 0]]]
    assert found.dtype == np.uint8 and found[0].tolist() == expected


def test_patches_come_from_everywhere_in_every_photograph() -> None:
    places = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    photographs = jnp.asarray(np.stack([places] * 3, -1))
    found = np.asarray(images.blended(jax.random.key(1), jnp.zeros((600, 2, 2), jnp.uint8), photographs))
    possible = {tuple(places[n, i : i + 2, j : j + 2].ravel()) for n in range(3) for i in range(3) for j in range(4)}
    assert {tuple(patch) for patch in found[..., 0].reshape(600, 4).tolist()} == possible
    assert (found[..., 0] == found[..., 2]).all()


def test_target_images_are_none_of_the_source_and_labels_stay_with_theirs() -> None:
    settings = settings_of("mnist_m", train=40, test=10, size=16)
    data = {
        "train_images": jnp.arange(100, dtype=jnp.uint8)[:, None, None] * jnp.ones((1, 16, 16), jnp.uint8),
        "train_labels": jnp.arange(100) % 10,
        "test_images": jnp.arange(100, 130, dtype=jnp.uint8)[:, None, None] * jnp.ones((1, 16, 16), jnp.uint8),
        "test_labels": jnp.arange(100, 130) % 10,
    }
    found = images.drawn(settings, jax.random.key(0), data, data)
    rows = {name: found[name][:, 0, 0].tolist() for name in ("source", "target", "source_test", "target_test")}
    assert len(set(rows["source"] + rows["target"])) == 80 and max(rows["source"] + rows["target"]) < 100
    assert len(set(rows["target_test"])) == 10 and min(rows["target_test"]) >= 100
    for name, numbers in rows.items():
        assert found[f"{name}_labels"].tolist() == [number % 10 for number in numbers]


def test_moons_are_scikit_learns_and_turn_counter_clockwise() -> None:
    x, labels = moons.moons(jax.random.key(0), 50, 0.0)
    expected, expected_labels = make_moons(50, shuffle=False, noise=None)
    np.testing.assert_allclose(x, expected, atol=1e-6)
    np.testing.assert_array_equal(labels, expected_labels)
    np.testing.assert_allclose(moons.turned(jnp.array([[1.0, 0.0], [0.0, 2.0]]), 90), [[0, 1], [-2, 0]], atol=1e-6)
    noisy = moons.moons(jax.random.key(0), 2000, 0.05)[0] - moons.moons(jax.random.key(0), 2000, 0.0)[0]
    assert float(noisy.std()) == pytest.approx(0.05, rel=0.05)


def test_the_gap_is_covered_from_source_only_to_the_target() -> None:
    assert float(images.gap_covered(52.25, 76.66, 95.96)) == pytest.approx(55.8, abs=0.1)  # by table 2's accuracies
    assert images.gap_covered(jnp.float32(50), jnp.float32(50), jnp.float32(90)) == 0


# --- reverse validation ---------------------------------------------------------------------------------------------


def test_the_reverse_problem_swaps_the_domains_and_reads_no_label_of_the_target() -> None:
    settings = settings_of("reviews")
    documents, labels = jnp.arange(40.0)[:, None], jnp.arange(40) % 2
    none = jnp.full(40, -7)
    data = reviews.split(settings, jax.random.key(0), (documents, labels), (documents + 100, none))
    assert len(data["source"]) == 36 and len(data["source_held"]) == 4
    assert not any((leaf == -7).any() for leaf in jax.tree.leaves(data))
    assert (data["labels"] == data["source"][:, 0] % 2).all()
    back = reviews.backwards(data, jnp.ones(36, int), jnp.zeros(4, int))
    np.testing.assert_array_equal(back["source"], data["target"])
    np.testing.assert_array_equal(back["target"], data["source"])
    np.testing.assert_array_equal(back["source_held"], data["target_held"])


def test_the_best_network_on_held_out_documents_is_kept() -> None:
    training = Training(Network((), 3, (), (), 2), 2, 0.1, 0.0, 0.0, 0.0)
    good, bad = (adversarial.initial(training, (2,), jax.random.key(seed)).params for seed in (0, 1))
    x = jnp.array([[1.0, 0.0], [0.0, 1.0], [2.0, -1.0]])
    given = (
        None,
        None,
        {"source_held": x, "held_labels": reviews.guesses(training, good, x), "mean": jnp.zeros((1, 2))},
    )
    state = reviews.Kept(State(good, None), bad, jnp.float32(-1))
    state, seen = reviews.keep_best(training, state, jnp.int32(1), *given)
    assert seen["held_out_accuracy"] == 100
    worse = jax.tree.map(lambda leaf: -leaf, good)
    state, _ = reviews.keep_best(training, state._replace(now=State(worse, None)), jnp.int32(2), *given)
    jax.tree.map(np.testing.assert_array_equal, state.best, good)


def test_the_highest_reverse_accuracy_chooses() -> None:
    candidates = [{"w": jnp.full(2, float(k))} for k in range(3)]
    assert reviews.chosen([jnp.float32(s) for s in (70, 81, 81)], candidates)["w"].tolist() == [1, 1]


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("study", "changes", "message"),
    [
        ("digits", {"target": "fashion_mnist"}, "other classes"),
        ("digits", {"target": "bsds500"}, "other classes|no set of labelled images"),
        ("mnist_m", {"train": 1437}, "leaves none of the 1437 images"),
        ("mnist_m", {"backgrounds": "digits"}, "no set of photographs"),
        ("digits", {"channels": (2, 3, 4), "size": 28}, "too small for 3 convolutions"),
        ("digits", {"directions": (2, 99)}, "goes beyond hidden"),
        ("digits", {"controls": ("flippd",)}, "flipped"),
        ("moons", {"points": 21}, "is odd"),
        ("reviews", {"pairs": ("books_to_dvds",)}, "did you mean 'dvd'"),
        ("reviews", {"shown_weight": 0.5}, "none of weights"),
        ("reviews", {"costs": (0.1, 0.01)}, "must rise"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(study: str, changes: dict, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        settings_of(study, **changes)
