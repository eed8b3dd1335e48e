"""The maths of domain-adversarial training against independent oracles: updates by hand, NumPy."""

from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.errors import BadInput
from core.papers.config import load_config
from core.scaling.settings import ScalingSettings
from core.supervised import training
from core.supervised.batches import stream_split
from core.supervised.training import Plan, TrainingConditions
from experiments.dann import adversarial, experiment, images, reviews, weights

CONFIG = load_config("dann")

# Values in the state of the largest loop: the parameters, the momentum where there is any, and the count of the
# schedule; for reviews also the best network so far with its error and iteration.
PARAMETERS = {
    "reversal": {"laptop": 0, "paper": 0},
    "moons": {"laptop": 93, "paper": 93},
    "clothes": {"laptop": 2 * 51_059 + 1, "paper": 2 * 205_891 + 1},
    "mnist_m": {"laptop": 2 * 51_059 + 1, "paper": 2 * 205_891 + 1},
    "house_numbers": {"laptop": 2 * 51_059 + 1, "paper": 2 * 292_291},
    "tuning": {"laptop": 2 * 250_203 + 2, "paper": 2 * 250_203 + 2},
    "reviews": {"laptop": 2 * 250_203 + 2, "paper": 2 * 500_403 + 2},
}


def settings_of(study: str, scale: str = "smoke", **changes: Any) -> Any:
    """The config's settings of a study, with some changed; `data__size` is size in the group data."""
    settings = CONFIG.studies[study].build(CONFIG.studies[study].values(scale))
    for name, value in changes.items():
        group, _, inner = name.rpartition("__")
        settings = settings.replace(
            **{group: getattr(settings, group).replace(**{inner: value})} if group else {name: value}
        )
    return settings


# --- the gradient reversal layer and its training -------------------------------------------------------------------


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


def training_of(task: Any, schedule: dict[str, Any], steps: int) -> Plan:
    """Plain gradient descent on a task."""
    optimizer = settings_of("moons").optimizer.replace(**schedule)
    return Plan(task, optimizer, steps, ScalingSettings(), keep_best=False)


@pytest.mark.parametrize(("reversal", "domain"), [(1.0, 6.0), (0.31, 1.0), (0.0, 1.0)])
def test_a_training_is_that_of_two_players_written_in_numpy(reversal: float, domain: float) -> None:
    """The features step by λ of both weights, the domain head by its own; step size and reversal as printed."""
    random = np.random.default_rng(0)
    data = {
        "source": random.normal(size=(12, 3)).astype(np.float32),
        "labels": random.integers(0, 2, 12),
        "target": random.normal(size=(9, 3)).astype(np.float32) + 1,
        "mean": np.zeros((1, 3), np.float32),
    }
    data |= {"held": data["source"], "held_labels": data["labels"], "test": data["target"], "true": np.zeros(9, int)}
    task = adversarial.adversarial_task(adversarial.shallow_network(5), (3,), 6, gain=10.0)
    plan = training_of(task, {"schedule": "inverse", "growth": 10.0, "power": 0.75}, 6)
    split = stream_split(adversarial.SHALLOW, {"source": 12, "target": 9}, (12, 9), 4, 6, jax.random.key(4))
    conditions = TrainingConditions(split, {}, jnp.float32(0.3))
    examples = jax.tree.map(jnp.asarray, adversarial.arm_examples(data, jax.random.key(0), reversal, domain))
    state = training.begin(plan, task.initial(jax.random.key(1)), conditions)
    other, advance = TwoPlayers(state.variables["params"]), jax.jit(partial(training.step, plan))
    for i in range(6):
        state = advance(state, jax.random.key(2), jnp.int32(i), conditions, examples)
        rows, others = np.asarray(split.order["source"][i]), np.asarray(split.order["target"][i])
        rate, on_features = 0.3 / (1 + 10 * i / 6) ** 0.75, reversal * domain * (2 / (1 + np.exp(-10 * i / 6)) - 1)
        other.step(data["source"][rows], data["labels"][rows], data["target"][others], rate, on_features, domain)
    for name, layer in state.variables["params"].items():
        for part, value in layer.items():
            np.testing.assert_allclose(value, other.w[name][part], atol=2e-5)


def test_the_layer_performs_the_updates_of_its_own_form_and_of_no_other() -> None:
    """The derivatives written out are those of finite differences in the test above; here each arm meets both forms."""
    settings = settings_of("reversal")
    with jax.enable_x64(True):
        found = {
            names: float(experiment.update_error(settings, *names, jax.random.key(3)))
            for names in product(experiment.ARMS, experiment.UPDATES)
        }
    exact = {("weighted_loss", "equations 13 to 15"), ("weighted_reversal", "section 5.2.2")}
    assert all(error < 1e-12 for names, error in found.items() if names in exact)
    assert all(error > 0.1 for names, error in found.items() if names not in exact)


def test_shuffled_domain_labels_teach_the_domain_head_nothing() -> None:
    """Its loss is linear in the labels, so on average over shuffles they act as labels of one half everywhere."""
    network = adversarial.shallow_network(5)
    task = adversarial.adversarial_task(network, (3,), 1)
    params = task.initial(jax.random.key(1))["params"]
    batch = {"source": jnp.zeros((8, 3)), "labels": jnp.zeros(8, int), "target": jnp.ones((8, 3))}

    @jax.jit
    def moved(key: jax.Array, shuffle: jax.Array) -> jax.Array:
        given = batch | {"reversal": 0.0, "domain": 1.0, "shuffle": shuffle}
        return -jax.grad(lambda p: task.loss({"params": p}, given, key, jnp.int32(0))[0])(params)["domain"]["kernel"]

    many = np.stack([moved(key, True) for key in jax.random.split(jax.random.key(5), 200)])
    halves = jax.grad(adversarial.objective)(params, network, batch, jnp.full((2, 8), 0.5), 0.0, 1.0)
    error = 5 * many.std(0) / np.sqrt(len(many))
    assert (np.abs(many.mean(0) + halves["domain"]["kernel"]) < error).all()
    told = np.asarray(moved(jax.random.key(0), False))
    assert (np.abs(told + halves["domain"]["kernel"]) > error).all(), "true labels act no differently"


def test_the_reversal_grows_as_printed_and_shallow_heads_begin_at_zero() -> None:
    assert float(adversarial.reversal_weight(10.0, 100, 0)) == 0
    assert float(adversarial.reversal_weight(10.0, 100, 10)) == pytest.approx(2 / (1 + np.exp(-1)) - 1)
    assert adversarial.reversal_weight(None, 100, 3) == 1.0
    drawn = adversarial.shallow_network(40).init(jax.random.key(0), jnp.zeros((1, 3)))
    began = adversarial.zero_domain_head(drawn)["params"]
    assert not any(leaf.any() for leaf in jax.tree.leaves(began["domain"]))
    limit = np.sqrt(6 / (3 + 40))  # the authors' uniform weights
    assert 0.9 * limit < np.abs(began["features"]["kernel"]).max() <= limit and not began["features"]["bias"].any()


# --- data -----------------------------------------------------------------------------------------------------------


def test_target_images_are_none_of_the_source_and_labels_stay_with_theirs() -> None:
    settings = settings_of("mnist_m", data__train=40, data__test=10, data__size=16).data
    data = {
        "train_images": jnp.arange(100, dtype=jnp.uint8)[:, None, None] * jnp.ones((1, 16, 16), jnp.uint8),
        "train_labels": jnp.arange(100) % 10,
        "test_images": jnp.arange(100, 130, dtype=jnp.uint8)[:, None, None] * jnp.ones((1, 16, 16), jnp.uint8),
        "test_labels": jnp.arange(100, 130) % 10,
    }
    found = images.draw_images(settings, jax.random.key(0), data, data)
    labels = {"source": "labels", "target": "target_labels", "held": "held_labels", "test": "true"}
    rows = {name: found[name][:, 0, 0].tolist() for name in labels}
    assert len(set(rows["source"] + rows["target"])) == 80 and max(rows["source"] + rows["target"]) < 100
    assert len(set(rows["test"])) == 10 and min(rows["test"]) >= 100
    for name, numbers in rows.items():
        assert found[labels[name]].tolist() == [number % 10 for number in numbers]


def test_the_extractor_is_the_network_on_images_less_their_mean() -> None:
    settings = settings_of("clothes")
    sizes, random = settings.network, np.random.default_rng(0)
    network = adversarial.Network(sizes.channels, 0, sizes.hidden, sizes.domain_hidden, 10)
    params = network.init(jax.random.key(0), jnp.zeros((1, 20, 20, 3)))["params"]
    mean, shown = random.uniform(size=(1, 1, 1, 3)).astype(np.float32), random.integers(0, 256, (4, 20, 20, 3))
    found = weights.extractor(settings, {"params": params, "mean": mean})(shown.astype(np.uint8))
    expected = network.apply({"params": params}, (shown / 255 - mean).astype(np.float32))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_the_gap_is_covered_from_source_only_to_the_target() -> None:
    assert float(images.gap_covered(52.25, 76.66, 95.96)) == pytest.approx(55.8, abs=0.1)  # by table 2's accuracies
    assert images.gap_covered(jnp.float32(50), jnp.float32(50), jnp.float32(90)) == 0


# --- reviews --------------------------------------------------------------------------------------------------------


def test_the_reverse_problem_swaps_the_domains_and_reads_no_label_of_the_target() -> None:
    documents, labels, none = jnp.arange(40.0)[:, None], jnp.arange(40) % 2, jnp.full(40, -7)
    data = reviews.split(jax.random.key(0), (documents, labels), (documents + 100, none))
    assert len(data["source"]) == 36 and len(data["held"]) == 4
    assert not any((leaf == -7).any() for leaf in jax.tree.leaves(data))
    assert (data["labels"] == data["source"][:, 0] % 2).all()
    back = reviews.reverse(data, jnp.ones(36, int), jnp.zeros(4, int))
    pairs = {"source": "target", "target": "source", "held": "target_held", "test": "held", "true": "held_labels"}
    for name, origin in pairs.items():
        np.testing.assert_array_equal(back[name], data[origin])
    assert back["labels"].all() and not back["held_labels"].any()


def test_the_highest_reverse_accuracy_chooses() -> None:
    candidates = [jnp.full(2, k) for k in range(3)]
    assert reviews.choose([jnp.float32(s) for s in (70, 81, 81)], candidates).tolist() == [1, 1]


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("study", "changes", "message"),
    [
        ("house_numbers", {"data__target": "fashion_mnist"}, "other classes"),
        ("house_numbers", {"data__target": "bsds500"}, "no set of labelled images"),
        ("mnist_m", {"data__train": 1437}, "leaves none of the 1437 images"),
        ("mnist_m", {"data__backgrounds": "digits"}, "no set of photographs"),
        ("clothes", {"network__channels": (2, 3, 4), "data__size": 28}, "too small for"),
        ("clothes", {"directions": (2, 99)}, "goes beyond"),
        ("moons", {"points": 21}, "multiple of 2"),
        ("reviews", {"pairs": ("books_to_dvds",)}, "did you mean 'dvd'"),
        ("reviews", {"pairs": ("books",)}, "is no pair"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(study: str, changes: dict, message: str) -> None:
    with pytest.raises((BadInput, ValueError), match=message):
        settings_of(study, **changes)
