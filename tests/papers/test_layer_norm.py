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
from core.lab.keys import replicate_keys
from core.lab.lab import Lab
from core.lab.replicas import ReplicateAxis
from core.papers.config import load_config
from experiments.layer_norm import drawing, experiment, invariances, networks

CONFIG = load_config("layer_norm")


def settings_of(study: str, scale: str = "smoke", **changes: Any) -> Any:
    """The config's settings of a study, with some changed."""
    return CONFIG.studies[study].build(CONFIG.studies[study].values(scale)).replace(**changes)


# Parameters, two moments of each and Adam's count, running statistics of the largest network; the best one so far.
SIZES = {
    "mlp": {"laptop": 810_580, "paper": 5_398_084},
    "chars": {"laptop": 368_451, "paper": 72_336_323},
    "rows": {"laptop": 467_155, "paper": 1_305_811},
    "pixels": {"laptop": 89_131, "paper": 2_796_843},
    "draw": {"laptop": 2_033_731, "paper": 11_000_899},
}
PARAMETERS = {"numerics": {"laptop": 0, "paper": 0}, **SIZES, **{f"{name}_tuning": SIZES[name] for name in SIZES}}


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


def test_only_norms_over_the_batch_see_the_other_cases() -> None:
    with jax.enable_x64(True):
        found = {
            arm: jax.tree.map(
                float, jax.jit(partial(invariances.company, settings_of("numerics"), arm))(jax.random.key(0))
            )
            for arm in ("layer_norm", "batch_norm", "batch_axis")
        }
    assert max(found["layer_norm"].values()) < 1e-12
    assert found["batch_norm"]["mates"] > 0.1 < found["batch_norm"]["test"] and "alone" not in found["batch_norm"]
    assert found["batch_axis"]["mates"] > 0.1 < found["batch_axis"]["alone"] and found["batch_axis"]["test"] == 0


def perceptron_by_hand(values: Any, x: np.ndarray, arm: str, unbiased: bool) -> np.ndarray:
    """Logits in training, in NumPy; the variance of batch norm is the unbiased estimate or the other one."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, float), values["params"])

    def normalised(a: np.ndarray, name: str) -> np.ndarray:
        axis = {"layer_norm": 1, "batch_norm": 0, "batch_axis": 0}[arm]
        variance = a.var(axis, keepdims=True, ddof=int(unbiased and arm == "batch_norm"))
        normal = (a - a.mean(axis, keepdims=True)) / np.sqrt(variance + 1e-5)
        return params[name]["gain"] * normal + params[name]["bias"]

    for layer in range(2):
        own = params[f"dense_{layer}"]
        a = x @ own["kernel"] + (own["bias"] if arm == "plain" else 0)
        x = np.maximum(a if arm == "plain" else normalised(a, f"norm_{layer}"), 0)
    a = x @ params["output"]["kernel"]
    return normalised(a, "norm_output") if arm == "batch_norm" else a + params["output"]["bias"]


@pytest.mark.parametrize(("arm", "size"), [("plain", 4), ("batch_norm_again", 8), ("batch_norm", 4), ("layer_norm", 4)])
def test_perceptrons_are_normalised_where_the_paper_says(arm: str, size: int) -> None:
    """Hidden layers alone by layer norm, the output too by batch norm: with unbiased variances in batches of 4."""
    settings, data = settings_of("mlp"), loading.load_data_set("digits")
    task = networks.perceptron_task(settings.replace(training=settings.training.replace(batch=size)), arm)
    variables = perturbed(task.initial(jax.random.key(0)))
    batch = {"x": data["train_images"][:size], "y": data["train_labels"][:size]}
    loss, _ = jax.jit(task.loss)(variables, batch, jax.random.key(0), 0)
    logits = perceptron_by_hand(variables, batch["x"].reshape(size, -1) / 255, networks.network_of(arm), size == 4)
    assert float(loss) == pytest.approx(softmax_loss(logits, batch["y"]), rel=1e-4)


def test_running_statistics_remember_as_many_images_at_every_batch_size() -> None:
    """The weight of the newest batch, by the images in it, is memory^-1; small batches have unbiased variances."""
    settings = settings_of("mlp", "laptop")
    for batch in (4, 128):
        own = settings.replace(training=settings.training.replace(batch=batch))
        net = networks.perceptron_of(own, "batch_norm")
        assert (1 - net.momentum) / batch == pytest.approx(1 / settings.memory)
        assert net.unbiased == (batch == 4)


def perturbed(variables: dict[str, Any]) -> dict[str, Any]:
    """Gains and biases away from 1 and 0."""
    flat, rebuild = ravel_pytree(variables["params"])
    return {**variables, "params": rebuild(flat + 0.1 * jax.random.normal(jax.random.key(1), flat.shape))}


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


def test_a_text_is_read_letter_by_letter_and_its_loss_is_in_nats() -> None:
    settings, data = settings_of("chars"), loading.load_data_set("sample_text")
    task = networks.text_task(settings, "plain")
    batch = task.gather({"text": jnp.asarray(data["train_text"])}, jnp.array([0, 11, 40]))
    variables = task.initial(jax.random.key(0))
    logits = gru_by_hand(variables["params"], np.eye(len(catalogue.find_data_set("sample_text").classes))[batch["x"]])
    expected = softmax_loss(logits, np.asarray(batch["y"]))
    assert float(jax.jit(task.loss)(variables, batch, jax.random.key(0), 0)[0]) == pytest.approx(expected, rel=1e-5)
    losses = jax.jit(task.metrics)(variables, batch)["loss"]
    assert losses.shape == (3,) and float(losses.mean()) == pytest.approx(expected, rel=1e-5)


def test_summed_inputs_have_a_variance_of_one_at_first() -> None:
    """Of one-hot letters and of images in [-1, 1]; Glorot's weights make those of letters ten times smaller."""
    expected = {"plain": 1, "large_inputs": 1, "layer_norm": 0.098, "small_inputs": 0.098}
    for arm, sd in expected.items():
        params = networks.text_task(settings_of("chars", "laptop"), arm).initial(jax.random.key(0))["params"]
        assert float(params["recurrent"]["input_kernel"].std()) == pytest.approx(sd, rel=0.03)
    kernel = networks.image_task(settings_of("rows", "laptop"), "plain").initial(jax.random.key(0))
    x = np.sign(np.random.default_rng(0).normal(size=(50, 29))) @ kernel["params"]["recurrent"]["input_kernel"]
    assert x.var() == pytest.approx(1, rel=0.1)


def test_images_are_cut_into_pieces_from_the_top() -> None:
    images = jnp.arange(2 * 64, dtype=jnp.uint8).reshape(2, 8, 8)
    rows = np.pad(np.asarray(images, float) / 127.5 - 1, ((0, 0), (0, 0), (0, 1)), constant_values=1)
    np.testing.assert_allclose(networks.image_pieces(1, 8, images), rows, atol=1e-6)
    small = np.asarray(images, float).reshape(2, 4, 2, 4, 2).mean((2, 4)).reshape(2, 8, 2) / 127.5 - 1
    np.testing.assert_allclose(networks.image_pieces(2, 2, images)[..., :2], small, atol=1e-6)


def test_the_initial_gain_is_that_of_the_norms() -> None:
    for arm, gain in {"layer_norm": 1.0, "layer_norm_small_gain": 0.1, "batch_norm_small_gain": 0.1}.items():
        params = networks.image_task(settings_of("rows"), arm).initial(jax.random.key(0))["params"]["recurrent"]
        gains = [value for name, value in params.items() if name in ("input_gain", "recurrent_gain", "cell_gain")]
        assert len(gains) == 3 and all((each == np.float32(gain)).all() for each in gains)


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
    params = perturbed(drawing.initial(drawing.sizes_of(settings), jax.random.key(0)))["params"]
    x = np.random.default_rng(0).integers(0, 2, (5, 64)).astype(np.float32)
    found = jax.jit(partial(drawing.bound, drawing.sizes_of(settings), norm))(params, jnp.asarray(x), jax.random.key(2))
    np.testing.assert_allclose(found, draw_by_hand(settings, norm, params, x, jax.random.key(2)), rtol=2e-4)


def test_pixels_are_binarised_once_with_their_grey_value_as_probability() -> None:
    examples = {"images": jnp.full((400, 8, 8), 51, jnp.uint8)}
    bits = np.asarray(drawing.binarise(examples, jnp.arange(400))["x"])
    assert set(np.unique(bits)) == {0.0, 1.0} and bits.mean() == pytest.approx(0.2, abs=0.01)
    np.testing.assert_array_equal(drawing.binarise(examples, jnp.array([7, 3]))["x"], bits[[7, 3]])
    assert len(np.unique(bits, axis=0)) > 390, "images share their draws"


class Spy(Lab):
    """A lab that remembers what every training began with, and trains nothing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.began: dict[str, tuple] = {}

    def iterate(self, name: str, step: Any, keys: Any, state: Any, **options: Any) -> Any:
        [conditions] = options["each"]
        self.began[self._scope.prefix + name] = (state.variables["params"], jax.tree.map(np.asarray, conditions))
        options = {**options, "steps": 1, "evaluate_every": 1}
        return super().iterate(name, lambda state, *_: state, keys, state, **options)


def began(study: str, tmp_path: Path) -> dict[str, tuple]:
    axis = ReplicateAxis.choose(2)
    lab = Spy(range(2), [tmp_path / "0", tmp_path / "1"], tmp_path / "checkpoints", loading.load_data_set, axis)
    experiment.STUDIES[study].trial(settings_of(study), replicate_keys("layer_norm", study, [0, 1]), lab)
    return lab.began


def test_arms_share_first_weights_and_order_and_the_control_shares_neither(tmp_path: Path) -> None:
    found = began("chars", tmp_path)
    arms = ("plain", "layer_norm", "plain_again", "small_inputs")
    (plain, own), (layer, beside), (again, other), (small, _) = (found[arm] for arm in arms)
    for name in ("input_kernel", "recurrent_kernel"):
        np.testing.assert_array_equal(small["recurrent"][name], layer["recurrent"][name])
        assert (plain["recurrent"][name] != again["recurrent"][name]).all()
        assert (plain["recurrent"][name] == small["recurrent"][name]).all() == (name == "recurrent_kernel")
    jax.tree.map(np.testing.assert_array_equal, own.split, beside.split)
    assert (own.split.order != other.split.order).mean() > 0.9
    np.testing.assert_array_equal(own.split.validation, other.split.validation)


def test_both_batch_sizes_see_as_many_images_of_the_same_choice(tmp_path: Path) -> None:
    found = began("mlp", tmp_path)
    for arm in settings_of("mlp").arms:
        large, small = (found[f"{batch}/{arm}"][1].split for batch in (128, 4))
        assert large.order[0].size == small.order[0].size == 256
        jax.tree.map(np.testing.assert_array_equal, large[1:], small[1:])
        assert not set(large.validation[0]) & (set(large.order[0].ravel()) | set(small.order[0].ravel()))


def test_contradictory_settings_are_refused_in_one_line() -> None:
    for study, change in {"mlp": {"small_batch": 5}, "pixels": {"shrink": 3}, "rows": {"pixels": 5}}.items():
        with pytest.raises(BadInput, match=r"does not divide|do not cut 8 x 8 pixels evenly") as refused:
            CONFIG.studies[study].build({**CONFIG.studies[study].values("smoke"), **change})
        assert "\n" not in str(refused.value)
