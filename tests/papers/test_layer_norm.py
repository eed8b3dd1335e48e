"""The maths of layer normalisation against independent oracles: NumPy by hand, finite differences, brute force."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from core.data import catalogue, loading
from core.errors import BadInput
from core.lab import keys
from core.lab.lab import Lab
from core.lab.replicas import ReplicateAxis
from core.papers.config import load_config
from experiments.layer_norm import drawing, experiment, invariances, learning, perceptrons, sequences

CONFIG = load_config("layer_norm")


def settings_of(study: str, scale: str = "smoke", **changes: Any) -> Any:
    """The config's settings of a study, with some changed."""
    return CONFIG.studies[study].build(CONFIG.studies[study].values(scale)).replace(**changes)


# Values in the state of the largest loop: parameters, two moments of each and Adam's count, running statistics.


def adam(parameters: int) -> int:
    return 3 * parameters + 1


def perceptron(width: int) -> int:
    """The one with batch norm, whose layers have no bias of their own; means, variances and a count for each."""
    weights = 784 * width + width * width + width * 10
    return adam(weights + 2 * (2 * width + 10)) + 2 * (2 * width + 10) + 3


def gru(symbols: int, width: int) -> int:
    """With layer norm: gains and biases of both gates and of the candidate, for input and state."""
    kernels = 3 * width * (symbols + width + 1)
    return adam(kernels + 2 * 2 * 3 * width + (width + 1) * symbols)


def lstm(inputs: int, width: int, steps: int = 0) -> int:
    """With norms of input, state and cell; running statistics of every step where it is batch norm."""
    kernels, normalised = 4 * width * (inputs + width + 1), 9 * width
    return adam(kernels + 2 * normalised + (width + 1) * 10) + steps * (2 * normalised + 3)


def draw(width: int, latent: int) -> int:
    kernels = 4 * width * (2 * 784 + 2 * width + latent + width) + 2 * width * latent + 784 * width
    return adam(kernels + 2 * (4 * width + 2 * width) + 784)


PARAMETERS = {
    "numerics": {"laptop": 0, "paper": 0},
    "mlp": {"laptop": perceptron(256), "paper": perceptron(1000)},
    "chars": {"laptop": gru(80, 128), "paper": gru(80, 2400)},
    "rows": {"laptop": lstm(28, 128, 28), "paper": lstm(28, 240, 28)},
    "pixels": {"laptop": lstm(14, 64), "paper": lstm(28, 400)},
    "draw": {"laptop": draw(64, 16), "paper": draw(256, 100)},
    "gain": {"laptop": lstm(28, 128, 28), "paper": lstm(28, 240, 28)},
    "seconds": {"laptop": 0, "paper": 0},
    "tuning": {"laptop": perceptron(256), "paper": perceptron(256)},
    "long_tuning": {"laptop": draw(64, 16), "paper": draw(64, 16)},
}


# --- table 1 --------------------------------------------------------------------------------------------------------

PRINTED = {  # the paper's table 1: what each norm is invariant to
    "layer_norm": {"matrix_scaling", "matrix_centring", "dataset_scaling", "case_scaling"},
    "batch_norm": {"matrix_scaling", "vector_scaling", "dataset_scaling", "dataset_centring"},
    "weight_norm": {"matrix_scaling", "vector_scaling"},
    "plain": set(),
    "batch_axis": {"matrix_scaling", "vector_scaling", "dataset_scaling", "dataset_centring"},
    "uncentred": {"matrix_scaling", "vector_scaling", "dataset_scaling"},
    "whole_matrix": {"matrix_scaling"},
}


def test_invariances_are_those_of_table_1_and_broken_variants_lack_some() -> None:
    with jax.enable_x64(True):
        found = jax.tree.map(float, jax.jit(partial(invariances.tables, settings_of("numerics")))(jax.random.key(3)))
    assert set(found) == set(PRINTED)
    for arm, changes in found.items():
        assert {name for name, change in changes.items() if change < 1e-10} == PRINTED[arm]
        assert all(change > 0.01 for name, change in changes.items() if name not in PRINTED[arm])


def test_the_config_claims_every_cell_of_table_1() -> None:
    told: dict[str, dict[str, set]] = {}
    for clause in CONFIG.claims["C7"].clauses:
        kind = "invariant" if clause.region[0] == 0 else "not"
        told.setdefault(clause.select["arm"][0], {})[kind] = set(clause.select["transformation"])
    everything = set(invariances.TRANSFORMATIONS)
    assert told == {
        arm: {"invariant": PRINTED[arm], "not": everything - PRINTED[arm]}
        for arm in ("layer_norm", "batch_norm", "weight_norm")
    }


def test_transformations_are_made_as_the_table_says() -> None:
    settings, key = settings_of("numerics", factor=2.0), jax.random.key(0)
    w, x = (jax.random.normal(jax.random.key(k), (3, 2)) for k in (1, 2))
    made = {name: invariances.transformed(settings, name, key, w, x) for name in invariances.TRANSFORMATIONS}
    for name, (kernel, cases) in made.items():
        changed = [(np.asarray(kernel) != w).any(), (np.asarray(cases) != x).any()]
        assert changed == [not name.startswith(("dataset", "case")), name.startswith(("dataset", "case"))]
    np.testing.assert_allclose(made["matrix_scaling"][0], 2 * w)
    np.testing.assert_allclose(np.ptp(np.asarray(made["matrix_centring"][0] - w), axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(made["vector_scaling"][0] / w, [[2, 2], [1, 1], [1, 1]], rtol=1e-6)
    np.testing.assert_allclose(np.ptp(np.asarray(made["dataset_centring"][1] - x), axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(made["case_scaling"][1] / x, [[2, 2], [1, 1], [1, 1]], rtol=1e-6)


def test_a_layer_under_every_norm_is_the_one_of_the_equations() -> None:
    random = np.random.default_rng(0)
    w, x = random.normal(size=(4, 3)), random.normal(size=(5, 3))
    gain, bias = random.normal(size=4), random.normal(size=4)
    a = x @ w.T
    expected = {
        "plain": a,
        "layer_norm": (a - a.mean(1, keepdims=True)) / a.std(1, keepdims=True),
        "batch_norm": (a - a.mean(0)) / a.std(0),
        "batch_axis": (a - a.mean(0)) / a.std(0),
        "weight_norm": x @ (w / np.linalg.norm(w, axis=1, keepdims=True)).T,
        "uncentred": a / np.sqrt((a**2).mean(0)),
        "whole_matrix": a / np.sqrt((w**2).sum()),
    }
    with jax.enable_x64(True):
        for arm, normal in expected.items():
            given = [jnp.asarray(each) for each in (w, x, gain, bias)]
            found = invariances.normalised(settings_of("numerics"), arm, *given)
            np.testing.assert_allclose(found, gain * normal + bias, rtol=1e-7, err_msg=arm)


def test_only_norms_over_the_batch_see_the_other_cases() -> None:
    settings = settings_of("numerics")
    with jax.enable_x64(True):
        found = {
            arm: jax.tree.map(float, jax.jit(partial(invariances.company, settings, arm))(jax.random.key(0)))
            for arm in ("plain", "layer_norm", "batch_norm", "batch_axis")
        }
    assert max(found["layer_norm"].values()) < 1e-12 > max(found["plain"].values())
    assert found["batch_norm"]["mates"] > 0.1 < found["batch_norm"]["test"] and "alone" not in found["batch_norm"]
    assert found["batch_axis"]["mates"] > 0.1 < found["batch_axis"]["alone"] and found["batch_axis"]["test"] == 0


# --- training -------------------------------------------------------------------------------------------------------


def test_a_step_is_that_of_adam_on_a_gradient_cut_at_its_norm() -> None:
    """Two steps on a quadratic, by the equations of Adam in NumPy."""
    target = jnp.array([[1.0, -2.0, 30.0], [0.5, 0.1, -3.0]])

    def loss(values: Any, row: jax.Array, key: jax.Array, targets: jax.Array) -> tuple[jax.Array, Any]:
        return 0.5 * jnp.sum((values["params"]["w"] - targets[row]) ** 2), {"seen": values["batch_stats"]["seen"] + 1}

    def initial(key: jax.Array) -> dict[str, Any]:
        return {"params": {"w": jnp.zeros(3)}, "batch_stats": {"seen": jnp.zeros(())}}

    state, w, m, v = learning.begin(initial, jax.random.key(0)), np.zeros(3), np.zeros(3), np.zeros(3)
    for i in range(2):
        order = jnp.array([0, 1])
        state = learning.update(loss, 2.0, state, jax.random.key(i), jnp.int32(i), order, {}, np.float32(0.1), target)
        g = w - np.asarray(target[i])
        g *= min(1, 2.0 / np.linalg.norm(g))
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w - 0.1 * (m / (1 - 0.9 ** (i + 1))) / (np.sqrt(v / (1 - 0.999 ** (i + 1))) + 1e-8)
        np.testing.assert_allclose(state.values["params"]["w"], w, rtol=1e-5)
    assert state.values["batch_stats"]["seen"] == 2


def test_controls_have_the_networks_of_their_arms() -> None:
    arms = ("plain", "plain_again", "batch_norm_again", "shuffled", "layer_norm")
    assert [learning.kind_of(arm) for arm in arms] == ["plain", "plain", "batch_norm", "layer_norm", "layer_norm"]


# --- perceptrons ----------------------------------------------------------------------------------------------------


def perceptron_by_hand(values: Any, x: np.ndarray, arm: str) -> np.ndarray:
    """Logits in training, in NumPy."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, float), values["params"])

    def normalised(a: np.ndarray, name: str) -> np.ndarray:
        axis = {"layer_norm": 1, "batch_norm": 0, "batch_axis": 0}[arm]
        normal = (a - a.mean(axis, keepdims=True)) / np.sqrt(a.var(axis, keepdims=True) + 1e-5)
        return params[name]["gain"] * normal + params[name]["bias"]

    for layer in range(2):
        own = params[f"dense_{layer}"]
        a = x @ own["kernel"] + (own["bias"] if arm == "plain" else 0)
        x = np.maximum(a if arm == "plain" else normalised(a, f"norm_{layer}"), 0)
    a = x @ params["output"]["kernel"]
    return normalised(a, "norm_output") if arm == "batch_norm" else a + params["output"]["bias"]


@pytest.mark.parametrize("arm", perceptrons.ARMS)
def test_perceptrons_are_normalised_where_the_paper_says(arm: str) -> None:
    settings = settings_of("mlp")
    values = perceptrons.initial(settings, arm, 4, jax.random.key(0))
    flat, rebuild = ravel_pytree(values["params"])
    values["params"] = rebuild(flat + 0.1 * jax.random.normal(jax.random.key(1), flat.shape))
    x = np.random.default_rng(0).random((6, 64))
    net = perceptrons.perceptron(settings, arm, 4)
    apply = jax.jit(partial(net.apply, training=True, mutable=["batch_stats"]))
    logits, _ = apply(values, jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(logits, perceptron_by_hand(values, x, arm), rtol=2e-4, atol=2e-5)


def test_running_statistics_remember_as_many_images_at_every_batch_size() -> None:
    """The weights of past batches, summed over the images in them: memory^-1 per image of the newest batch."""
    settings = settings_of("mlp", "laptop")
    for batch in (4, 128):
        net = perceptrons.perceptron(settings, "batch_norm", batch)
        assert (1 - net.momentum) / batch == pytest.approx(1 / settings.memory)
        assert net.unbiased == (batch == 4)


def test_the_wrong_axis_is_looked_at_in_training_batches() -> None:
    """Its error on images depends on which images come together; the others' does not."""
    settings, data = settings_of("mlp"), loading.load_data_set("digits")
    arrays = [jnp.asarray(data[name]) for name in sequences.IMAGE_PARTS]
    rows = jnp.arange(64)
    for arm in ("layer_norm", "batch_axis"):
        values = perceptrons.initial(settings, arm, 4, jax.random.key(0))
        evaluate = jax.jit(partial(perceptrons.evaluate, settings, arm, 4, values, "test"))
        losses = [
            float(evaluate(order, *arrays)["loss"]) for order in (rows, jax.random.permutation(jax.random.key(1), rows))
        ]
        assert (abs(losses[0] - losses[1]) > 1e-3) == (arm == "batch_axis")
        logits = perceptrons.perceptron(settings, arm, 4).apply(values, perceptrons.as_vectors(arrays[2][:64]), False)
        if arm == "layer_norm":
            p = np.asarray(jax.nn.log_softmax(logits))[np.arange(64), np.asarray(arrays[3][:64])]
            assert losses[0] == pytest.approx(-p.mean(), rel=1e-5)
            wrong = 100 * (np.asarray(logits).argmax(1) != np.asarray(arrays[3][:64])).mean()
            assert float(evaluate(rows, *arrays)["error"]) == pytest.approx(wrong)


def test_both_batch_sizes_see_as_many_images_of_the_same_choice() -> None:
    settings, key = settings_of("mlp"), jax.random.key(0)
    (small, parts), (large, others) = (perceptrons.arranged(settings, batch, key, 360) for batch in (4, 32))
    assert small.size == large.size == settings.seen
    assert len(np.unique(small)) == settings.seen <= settings.examples, "an epoch repeats no image"
    for name in parts:
        np.testing.assert_array_equal(parts[name], others[name])
    assert not set(np.asarray(parts["validation"]).tolist()) & set(np.asarray(small).ravel().tolist())
    assert len(parts["test"]) == 360 and len(parts["train"]) == settings.watched


# --- sequences ------------------------------------------------------------------------------------------------------


def test_windows_are_stretches_of_the_text() -> None:
    settings = settings_of("chars", length=3)
    text = jnp.arange(50, dtype=jnp.uint8)
    assert sequences.windows(settings, text, jnp.array([0, 7])).tolist() == [[0, 1, 2, 3], [7, 8, 9, 10]]
    order, parts = sequences.arranged_text(settings, jax.random.key(0))
    shapes = catalogue.find_data_set("sample_text").array_shapes
    assert order.shape == (settings.steps, settings.batch) and int(order.max()) + 3 < shapes["train_text"][0][0]
    for part, count in (("validation", settings.validation), ("test", settings.test)):
        starts = np.asarray(parts[part])
        assert len(starts) == count and (np.diff(starts) >= 3).all(), "windows overlap"
        assert starts[-1] + 3 < shapes[f"{part}_text"][0][0]


def softmax_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    logits = logits.reshape(-1, logits.shape[-1]).astype(float)
    return float(np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(logits)), labels.ravel()]))


def gru_by_hand(params: Any, x: np.ndarray) -> np.ndarray:
    """Logits after every step (cases, steps, symbols) of the plain GRU."""
    own = jax.tree.map(lambda leaf: np.asarray(leaf, float), params)
    layer, output = own["recurrent"], own["output"]
    width, h, logits = layer["recurrent_kernel"].shape[0], np.zeros((len(x), layer["recurrent_kernel"].shape[0])), []
    for t in range(x.shape[1]):
        into = x[:, t] @ layer["input_kernel"] + layer["bias"]
        back = h @ layer["recurrent_kernel"]
        z, r = np.split(1 / (1 + np.exp(-(into + back)[:, : 2 * width])), 2, axis=1)
        h = (1 - z) * h + z * np.tanh(into[:, 2 * width :] + r * back[:, 2 * width :])
        logits.append(h @ output["kernel"] + output["bias"])
    return np.stack(logits, 1)


def test_a_text_is_read_letter_by_letter_and_its_loss_is_in_bits() -> None:
    settings = settings_of("chars")
    data = loading.load_data_set("sample_text")
    arrays = [jnp.asarray(data[name]) for name in sequences.TEXT_PARTS]
    values = sequences.first_text_values(settings, "plain", jax.random.key(0))
    starts = jnp.array([0, 11, 40])
    codes = np.stack([data["train_text"][s : s + settings.length + 1] for s in (0, 11, 40)])
    logits = gru_by_hand(values["params"], np.eye(len(catalogue.find_data_set("sample_text").classes))[codes[:, :-1]])
    expected = softmax_loss(logits, codes[:, 1:])
    losses = [jax.jit(partial(sequences.text_loss, settings, "plain", shuffled)) for shuffled in (False, True)]
    loss, shuffled = (float(each(values, starts, jax.random.key(0), *arrays)[0]) for each in losses)
    assert loss == pytest.approx(expected, rel=1e-5) and abs(shuffled - expected) > 1e-4
    seen = jax.jit(partial(sequences.evaluate_text, settings, "plain", values, "train"))(starts, *arrays)
    assert float(seen["loss"]) == pytest.approx(expected / np.log(2), rel=1e-5)


def test_images_are_cut_into_pieces_from_the_top() -> None:
    images = jnp.arange(2 * 64, dtype=jnp.uint8).reshape(2, 8, 8)
    rows = sequences.as_pieces(settings_of("rows"), images)
    np.testing.assert_allclose(rows, np.asarray(images, float) / 127.5 - 1, atol=1e-6)
    settings = settings_of("pixels").long
    small = np.asarray(images, float).reshape(2, 4, 2, 4, 2).mean((2, 4)).reshape(2, 8, 2) / 127.5 - 1
    np.testing.assert_allclose(sequences.as_pieces(settings, images), small, atol=1e-6)


def test_empty_margins_do_not_blow_up_the_gradient() -> None:
    settings = settings_of("rows", "laptop", width=16, batch=4)
    values = sequences.first_image_values(settings, "layer_norm", jax.random.key(0))
    images = jnp.zeros((4, 28, 28), jnp.uint8).at[:, 18:22].set(200)
    given = (jnp.arange(4), jax.random.key(0), images, jnp.arange(4))

    def loss(params: Any) -> jax.Array:
        own = {**values, "params": params}
        return sequences.image_loss(settings, "layer_norm", False, own, *given)[0]

    gradient, _ = ravel_pytree(jax.jit(jax.grad(loss))(values["params"]))
    assert 1e-3 < float(jnp.linalg.norm(gradient)) < 1e3


@pytest.mark.parametrize("arm", ["plain", "layer_norm", "batch_norm"])
def test_the_class_of_an_image_follows_from_all_of_its_rows(arm: str) -> None:
    settings = settings_of("rows")
    values = sequences.first_image_values(settings, arm, jax.random.key(0))
    x = jax.random.uniform(jax.random.key(1), (5, 8, 8))
    read = jax.jit(partial(sequences.image_reader(settings, arm).apply, values, training=False))
    for row in range(8):
        logits, other = (np.asarray(read(each)) for each in (x, x.at[:, row].add(1.0)))
        assert logits.shape == (5, 10) and (abs(logits - other).max(1) > 1e-5).all()


def test_the_initial_gain_is_that_of_the_norms() -> None:
    for arm in ("layer_norm", "batch_norm"):
        settings = settings_of("rows", gain=0.1)
        params = sequences.first_image_values(settings, arm, jax.random.key(0))["params"]["recurrent"]
        gains = [value for name, value in params.items() if name in ("input_gain", "recurrent_gain", "cell_gain")]
        assert len(gains) == 3 and all((gain == np.float32(0.1)).all() for gain in gains)


def test_gradients_through_time_are_those_of_the_inputs() -> None:
    """By finite differences along the gradient's own direction at two steps; the last one is the unit."""
    settings, data = settings_of("rows", batch=4), loading.load_data_set("digits")
    arrays = [jnp.asarray(data[name]) for name in ("train_images", "train_labels")]
    norms = np.asarray(jax.jit(partial(sequences.gradient_norms, settings, "plain"))(jax.random.key(0), *arrays))
    assert norms.shape == (8,) and norms[-1] == 1 and (norms > 0).all()
    keys_ = jax.random.split(jax.random.key(0))
    values = sequences.first_image_values(settings, "plain", keys_[0])
    rows = jax.random.choice(keys_[1], len(arrays[0]), (4,), replace=False)
    x = np.array(jax.random.uniform(keys_[1], (4, 8, 8), minval=-1.0))
    read = jax.jit(partial(sequences.image_reader(settings, "plain").apply, values, training=False))

    def loss(x: np.ndarray) -> float:
        logits = np.asarray(read(jnp.asarray(x)))
        return softmax_loss(logits, np.asarray(arrays[1][rows]))

    found = []
    for t in (2, 7):
        slopes = np.zeros((4, 8))
        for case in range(4):
            for pixel in range(8):
                up, down = x.copy(), x.copy()
                up[case, t, pixel] += 0.05
                down[case, t, pixel] -= 0.05
                slopes[case, pixel] = (loss(up) - loss(down)) / 0.1
        found.append(np.linalg.norm(slopes, axis=1).mean())
    assert norms[2] == pytest.approx(found[0] / found[1], rel=0.05)


# --- DRAW -----------------------------------------------------------------------------------------------------------


def draw_by_hand(settings: Any, norm: bool, params: Any, x: np.ndarray, key: jax.Array) -> np.ndarray:
    """The bound in NumPy, with the same latent noise."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, float), params)

    def sigmoid(a: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-a))

    def cell(player: str, summed: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        f, i, o, g = np.split(summed + p[f"{player}_bias"], 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        own = p[f"{player}_norm"]
        normal = (c - c.mean(1, keepdims=True)) / np.sqrt(c.var(1, keepdims=True) + 1e-5)
        return sigmoid(o) * np.tanh(own["gain"] * normal + own["bias"] if norm else c), c

    nothing = np.zeros((len(x), settings.width))
    h_enc = c_enc = h_dec = c_dec = nothing
    canvas, divergence = np.zeros(x.shape) + p["first_canvas"], 0.0
    for k in jax.random.split(key, settings.glimpses):
        seen = np.concatenate([x, x - sigmoid(canvas)], 1) @ p["encoder_image"]
        h_enc, c_enc = cell("encoder", seen + np.concatenate([h_enc, h_dec], 1) @ p["encoder_hidden"], c_enc)
        mean, log_sd = np.split(h_enc @ p["posterior"], 2, axis=1)
        z = mean + np.exp(log_sd) * np.asarray(jax.random.normal(k, mean.shape))
        h_dec, c_dec = cell("decoder", z @ p["decoder_input"] + h_dec @ p["decoder_hidden"], c_dec)
        canvas = canvas + h_dec @ p["write"]
        divergence = divergence + 0.5 * (mean**2 + np.exp(2 * log_sd) - 2 * log_sd - 1).sum(1)
    probability = sigmoid(canvas)
    return divergence - (x * np.log(probability) + (1 - x) * np.log(1 - probability)).sum(1)


@pytest.mark.parametrize("norm", [False, True])
def test_the_bound_of_draw_is_that_of_its_equations(norm: bool) -> None:
    settings = settings_of("draw", glimpses=3)
    params = drawing.initial(settings, jax.random.key(0))["params"]
    flat, rebuild = ravel_pytree(params)
    params = rebuild(flat + 0.1 * jax.random.normal(jax.random.key(1), flat.shape))
    x = np.random.default_rng(0).integers(0, 2, (5, 64)).astype(np.float32)
    found = jax.jit(partial(drawing.bound, settings, norm))(params, jnp.asarray(x), jax.random.key(2))
    np.testing.assert_allclose(found, draw_by_hand(settings, norm, params, x, jax.random.key(2)), rtol=2e-4)


def test_pixels_are_binarised_once_with_their_grey_value_as_probability() -> None:
    images = jnp.full((400, 8, 8), 51, jnp.uint8)
    bits = np.asarray(drawing.binarised(images, jnp.arange(400), 0))
    assert set(np.unique(bits)) == {0.0, 1.0} and bits.mean() == pytest.approx(0.2, abs=0.01)
    np.testing.assert_array_equal(drawing.binarised(images, jnp.array([7, 3]), 0), bits[[7, 3]])
    assert (drawing.binarised(images, jnp.arange(400), 1) != bits).any(), "training and test share their draws"
    assert len(np.unique(bits, axis=0)) > 390, "images share their draws"


# --- what the arms of a study share ---------------------------------------------------------------------------------


class Spy(Lab):
    """A lab that remembers what every training began with, and trains nothing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.began: dict[str, tuple] = {}

    def iterate(self, name: str, step: Any, keys: Any, state: Any, **options: Any) -> Any:
        order, parts = options["each"]
        self.began[name] = (state.values["params"], np.asarray(order), jax.tree.map(np.asarray, parts))
        options = {**options, "steps": 1, "evaluate_every": 1}
        return super().iterate(name, lambda state, *_: state, keys, state, **options)


def test_arms_share_first_weights_and_order_and_the_control_shares_neither(tmp_path: Path) -> None:
    lab = Spy(
        range(2),
        [tmp_path / "0", tmp_path / "1"],
        tmp_path / "checkpoints",
        loading.load_data_set,
        ReplicateAxis.choose(2),
    )
    experiment.chars_trial(settings_of("chars"), keys.replicate_keys("layer_norm", "chars", [0, 1]), lab)
    assert set(lab.began) == {"plain", "layer_norm", "plain_again", "shuffled"}
    plain, layer, again, shuffled = (lab.began[n] for n in ("plain", "layer_norm", "plain_again", "shuffled"))
    for name in ("input_kernel", "recurrent_kernel"):
        np.testing.assert_array_equal(plain[0]["recurrent"][name], layer[0]["recurrent"][name])
        assert (plain[0]["recurrent"][name] != again[0]["recurrent"][name]).all()
    jax.tree.map(np.testing.assert_array_equal, layer[0], shuffled[0])
    for other in (layer, shuffled):
        np.testing.assert_array_equal(plain[1], other[1])
    assert (plain[1] != again[1]).mean() > 0.9 and (plain[1][0] != plain[1][1]).mean() > 0.9
    for other in (layer, shuffled, again):
        jax.tree.map(np.testing.assert_array_equal, plain[2], other[2])


# --- settings -------------------------------------------------------------------------------------------------------

CONTRADICTIONS = [
    ("mlp", {"examples": 1400}, "are more than 1437 images"),
    ("mlp", {"batches": (65, 4)}, "must not exceed every"),
    ("chars", {"test": 60}, "do not fit into 434 letters"),
    ("rows", {"pixels": 5}, "do not cut 8 x 8 pixels evenly"),
    ("rows", {"shrink": 3}, "do not cut 8 x 8 pixels evenly"),
    ("rows", {"examples": 1430}, "do not fit 1437 images"),
    ("draw", {"test": 361}, "361 test images are asked for"),
    ("gain", {"gains": (1.0,)}, "two gains or more"),
]


@pytest.mark.parametrize(("study", "changes", "words"), CONTRADICTIONS)
def test_contradictory_settings_are_refused(study: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words) as refused:
        settings_of(study, **changes)
    assert "\n" not in str(refused.value)


def test_an_arm_without_a_learning_rate_is_refused() -> None:
    with pytest.raises(BadInput, match="learning rate of the arm batch_norm is missing"):
        experiment.RateSettings(plain=0.1, layer_norm=0.2).of("batch_norm")
