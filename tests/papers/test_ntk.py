"""The maths of the tangent kernel against independent oracles: NumPy by hand, finite differences, brute force."""

from functools import partial
from itertools import combinations_with_replacement, pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from core.errors import BadInput
from core.kernels.dynamics import GradientFlow
from core.papers.config import load_config
from experiments.ntk import components, experiment, networks

CONFIG = load_config("ntk")


def size(*widths: int) -> int:
    """Weights and biases of dense layers between these widths."""
    return sum(after * (before + 1) for before, after in pairwise(widths))


# Values in the state of the largest loop: a network, with the linear equation on 64 + 64 points and a row of the kernel
# where the two are compared; the outputs of an ensemble on the circle; no loop at all for kernels alone.
PARAMETERS = {
    "sphere": {"laptop": 0, "paper": 0},
    "initial": {"laptop": 0, "paper": 0},
    "training": {
        "laptop": size(2, 2048, 2048, 2048, 1) + 128 + 64,
        "paper": size(2, 10_000, 10_000, 10_000, 1) + 128 + 64,
    },
    "law": {"laptop": 100 * 64, "paper": 100 * 64},
    "components": {
        "laptop": size(64, 2000, 2000, 2000, 1),
        "paper": size(64, 10_000, 10_000, 10_000, 1),
    },
    "mnist": {
        "laptop": size(784, 1000, 1000, 1000, 1000, 1),
        "paper": size(784, 10_000, 10_000, 10_000, 10_000, 1),
    },
}


def settings_of(study: str, scale: str = "smoke", **changes: Any) -> Any:
    """The config's settings of a study, with some changed."""
    return CONFIG.studies[study].build(CONFIG.studies[study].values(scale)).replace(**changes)


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


# --- networks and kernels -----------------------------------------------------------------------------------------


def by_hand(params: Any, x: np.ndarray, depth: int, bias: float) -> np.ndarray:
    """f(x) in NumPy, from the definition in the paper's section 2."""
    layers = [*(f"dense_{number}" for number in range(depth - 1)), "output"]
    a = np.asarray(x, float)
    for layer in layers:
        w, b = (np.asarray(params["params"][layer][part], float) for part in ("kernel", "bias"))
        a = a @ w.T / np.sqrt(w.shape[1]) + bias * b
        a = a if layer == "output" else np.maximum(a, 0)
    return a[:, 0]


@pytest.mark.parametrize("depth", [1, 3])
def test_networks_are_those_of_the_paper_and_start_at_random(depth: int) -> None:
    settings, x = settings_of("initial", depth=depth, bias=0.3), normal(0, 5, 2)
    net = networks.network(settings, 7)
    params = net.init(jax.random.key(1), x)
    np.testing.assert_allclose(networks.value(net, params, x), by_hand(params, x, depth, 0.3), rtol=1e-5, atol=1e-6)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == size(2, *[7] * (depth - 1), 1)
    standard = networks.standard_network(settings, 7)
    scaled = {
        layer: {"kernel": p["kernel"] / np.sqrt(p["kernel"].shape[1]), "bias": 0.3 * p["bias"]}
        for layer, p in params["params"].items()
    }
    np.testing.assert_allclose(
        networks.value(standard, {"params": scaled}, x), networks.value(net, params, x), rtol=1e-4, atol=1e-5
    )
    assert jax.tree.map(jnp.shape, standard.init(jax.random.key(1), x)) == jax.tree.map(jnp.shape, params)


def test_descent_follows_the_gradient_of_half_the_mean_square() -> None:
    settings, x, y = settings_of("training", depth=2), normal(0, 6, 2), normal(1, 6)
    net = networks.network(settings, 3)
    params = net.init(jax.random.key(2), x)
    flat, rebuild = ravel_pytree(params)

    def loss(values: np.ndarray) -> float:
        return float(((by_hand(rebuild(jnp.asarray(values)), x, 2, 0.1) - np.asarray(y)) ** 2).mean() / 2)

    steps = 1e-2 * np.eye(flat.size)
    slopes = np.array([(loss(flat + step) - loss(flat - step)) / 2e-2 for step in steps])
    moved, _ = ravel_pytree(networks.descend(net, 0.5, params, x, y))
    np.testing.assert_allclose(moved, flat - 0.5 * slopes, atol=2e-4)


def test_kernels_of_wide_networks_come_to_the_limit_of_their_own_depth() -> None:
    settings = settings_of("initial", depth=3, draws=8, grid=6)
    found = {w: experiment.initial_kernels(settings, w, jax.random.key(3)) for w in (64, 1024)}
    for width, kernels in found.items():
        assert kernels["limit"].shape == kernels["other_depth"].shape == (8,)
        assert kernels["limit"].mean() < 4 / np.sqrt(width)
        assert kernels["spread"] == pytest.approx(kernels["limit"].mean(), rel=0.5)
    assert found[64]["limit"].mean() > 2 * found[1024]["limit"].mean()
    assert found[1024]["other_depth"].min() > 0.1, "the limit of another depth is as near"


@pytest.mark.parametrize(("dimension", "points", "bound"), [(3, 40, 25), (4, 70, 55)])
def test_polynomials_on_the_sphere_span_the_dimensions_that_are_said(dimension: int, points: int, bound: int) -> None:
    """The rank of all monomials up to degree 4, by brute force."""
    x = np.random.default_rng(0).normal(size=(points, dimension))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    columns = [
        x[:, list(powers)].prod(1) for m in range(5) for powers in combinations_with_replacement(range(dimension), m)
    ]
    assert np.linalg.matrix_rank(np.stack(columns, 1)) == bound
    with jax.enable_x64(True):
        settings = settings_of("sphere", depth=3)
        square, relu = (
            jax.tree.map(float, experiment.sphere_spectrum(settings, arm, dimension, points, jax.random.key(1)))
            for arm in ("square", "relu")
        )
    assert square["rank_beyond_bound"] == 0 and abs(square["smallest_eigenvalue"]) < 1e-14
    assert relu["rank_beyond_bound"] == points - bound and relu["smallest_eigenvalue"] > 1e-5


# --- training and its linear equation -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained() -> dict[str, Any]:
    """A small network after twenty steps at rate 0.5, with everything it began with."""
    settings = settings_of("training", depth=3, points=6, grid=8, steps=20, kernel_after=20)
    data = experiment.task(settings, jax.random.key(0))
    net, x, y = networks.network(settings, 16), data["x"], data["y"]
    state, before = jax.jit(partial(experiment.begin, settings, net))(jax.random.key(1), x)
    step, states = jax.jit(partial(experiment.train, net, 0.5)), [state]
    for i in range(20):
        states.append(step(states[-1], jax.random.key(i), jnp.int32(i), x, y, before))
    evaluate = jax.jit(partial(experiment.evaluate, settings, net))
    return {"settings": settings, "net": net, "x": x, "y": y, "before": before, "states": states, "evaluate": evaluate}


def test_the_task_is_the_product_of_the_coordinates() -> None:
    data = experiment.task(settings_of("training", points=50), jax.random.key(0))
    np.testing.assert_allclose(data["y"], np.asarray(data["x"]).prod(1), rtol=1e-6)
    assert data["limit"].shape == (50, 50) and abs(np.asarray(data["x"]).std() - 1) < 0.2


def test_the_linear_equation_is_solved_step_by_step(trained: dict[str, Any]) -> None:
    """f_0(·) + Θ(·,X) Θ⁻¹ (I - (I - ηΘ/N)^k) (y - f_0(X)) in double precision; the flow where η is small."""
    kernel, start = (np.asarray(trained["before"][name], float) for name in ("kernel", "start"))
    y, inner = np.asarray(trained["y"], float), kernel[:6, :6]
    for k in (1, 7, 20):
        power = np.linalg.matrix_power(np.eye(6) - 0.5 / 6 * inner, k)
        expected = start + kernel[:, :6] @ np.linalg.solve(inner, (np.eye(6) - power) @ (y - start[:6]))
        np.testing.assert_allclose(trained["states"][k]["linear"], expected, atol=2e-5)
    state = trained["states"][0]
    for _ in range(200):
        state = {**state, "linear": euler(state["linear"], kernel, y, 0.01)}
    flow = GradientFlow.from_kernel(inner).predict_test(2.0, y, start[:6], kernel[6:, :6], start[6:])
    np.testing.assert_allclose(state["linear"][6:], flow, atol=2e-3)
    assert abs(flow - start[6:]).max() > 0.02, "nothing moves"


def euler(f: Any, kernel: np.ndarray, y: np.ndarray, rate: float) -> np.ndarray:
    return np.asarray(f) - rate / len(y) * kernel[:, : len(y)] @ (np.asarray(f)[: len(y)] - y)


def test_one_small_step_of_a_network_is_one_of_its_linear_equation(trained: dict[str, Any]) -> None:
    """Whatever the width: the two part at second order in the rate."""
    net, x, y, before, state = (trained[name] for name in ("net", "x", "y", "before", "states"))
    apart = []
    for rate in (0.1, 0.05):
        after = experiment.train(net, rate, state[0], jax.random.key(0), jnp.int32(0), x, y, before)
        grid = networks.circle(8)
        apart.append(float(jnp.abs(networks.value(net, after["params"], grid) - after["linear"][6:]).max()))
        moved = float(jnp.abs(after["linear"] - before["start"]).max())
        assert apart[-1] < 0.2 * moved
    assert apart[1] < 0.4 * apart[0]


def test_an_evaluation_measures_the_kernel_and_the_distance(trained: dict[str, Any]) -> None:
    x, y, before, net = (trained[name] for name in ("x", "y", "before", "net"))
    _, seen = trained["evaluate"](trained["states"][0], jnp.int32(0), x, y, before)
    assert all(abs(float(v)) < 1e-5 for v in seen.values())
    state, seen = trained["evaluate"](trained["states"][20], jnp.int32(20), x, y, before)
    grid, old = networks.circle(8), np.asarray(before["kernel"], float)[6:, 6:]
    params = trained["states"][20]["params"]
    jacobian = jax.vmap(lambda one: jax.grad(lambda p: networks.value(net, p, one[None])[0])(params))(grid)
    rows = np.concatenate([np.asarray(leaf, float).reshape(8, -1) for leaf in jax.tree.leaves(jacobian)], 1)
    new = rows @ rows.T
    assert seen["kernel_change"] == pytest.approx(np.linalg.norm(new - old) / np.linalg.norm(old), rel=1e-3)
    assert seen["change_at_x0"] == pytest.approx(np.linalg.norm((new - old)[0]) / np.linalg.norm(old[0]), rel=1e-3)
    assert seen["inflation"] == pytest.approx((new - old).mean() / old.mean(), rel=1e-3)
    np.testing.assert_allclose(experiment.rows(state, x, y, before)["rows"], [old[0], new[0]], rtol=1e-4)
    error = by_hand(params, grid, 3, 0.1) - np.asarray(trained["states"][20]["linear"])[6:]
    to_learn = np.asarray(before["start"])[6:] - np.asarray(grid).prod(1)
    assert seen["linear_error"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-3)
    assert seen["linear_error_share"] == pytest.approx(np.linalg.norm(error) / np.linalg.norm(to_learn), rel=1e-3)
    kept, _ = trained["evaluate"](trained["states"][20], jnp.int32(19), x, y, before)
    np.testing.assert_array_equal(kept["row"], trained["states"][20]["row"])


# --- the law ------------------------------------------------------------------------------------------------------


def test_the_law_is_that_of_gaussian_starts_that_follow_the_linear_equation() -> None:
    """By chance: functions drawn from N(0, S) and moved by f_∞ = f_0 + Θ(·,X) Θ⁻¹ (y - f_0(X))."""
    settings = settings_of("law", depth=3, grid=6)
    mean, sd = experiment.law(settings, 0.4)
    x, grid = networks.circle(6), experiment.training_points(settings)
    points = np.concatenate([grid, x]).astype(float)
    q = (points**2).mean(1) + 0.16
    s = points @ points.T / 2 + 0.16
    theta = s.copy()
    for _ in range(2):
        t = np.arccos(np.clip(s / np.sqrt(q[:, None] * q[None]), -1, 1))
        s = np.sqrt(q[:, None] * q[None]) / (2 * np.pi) * (np.sin(t) + (np.pi - t) * np.cos(t)) + 0.16
        theta, q = theta * (np.pi - t) / (2 * np.pi) + s, s.diagonal()
    y = points[:4].prod(1)
    start = np.random.default_rng(0).multivariate_normal(np.zeros(10), s, 40_000)
    ends = start[:, 4:] + (y[None] - start[:, :4]) @ np.linalg.solve(theta[:4, :4], theta[:4, 4:])
    np.testing.assert_allclose(mean, ends.mean(0), atol=0.01)
    np.testing.assert_allclose(sd, ends.std(0), rtol=0.03)


def test_an_ensemble_is_held_against_a_law_without_the_share_of_chance() -> None:
    mean, sd = np.array([0.0, 1.0, -1.0], np.float32), np.array([1.0, 0.5, 2.0], np.float32)
    drawn = mean + sd * np.asarray(normal(0, 400, 25, 3))
    gaps = np.array([float(experiment.against(outputs, mean, sd)["mean_gap"]) for outputs in drawn])
    assert abs(gaps.mean()) < 3 * gaps.std() / 20 and gaps.std() > 0.01
    everything = drawn.reshape(-1, 3)
    assert experiment.against(everything, mean, sd)["sd_ratio"] == pytest.approx(1, abs=0.02)
    shifted = experiment.against(everything + 0.3 * np.sqrt((sd**2).mean()), mean, sd)
    assert shifted["mean_gap"] == pytest.approx(0.09, abs=0.01)
    assert experiment.against(mean + 1.5 * (everything - mean), mean, sd)["sd_ratio"] == pytest.approx(1.5, abs=0.03)


def test_every_network_of_an_ensemble_is_trained_from_a_start_of_its_own() -> None:
    settings = settings_of("law", depth=2, steps=5, grid=4)
    net, x = networks.network(settings, 3), experiment.training_points(settings)
    state = {"outputs": jnp.zeros((2, 4))}
    for i in range(2):
        state = experiment.add_network(settings, net, state, jax.random.key(i), jnp.int32(i))
    for i in range(2):
        params = net.init(jax.random.key(i), x)
        for _ in range(5):
            params = networks.descend(net, settings.learning_rate, params, x, networks.product(x))
        np.testing.assert_allclose(state["outputs"][i], by_hand(params, networks.circle(4), 2, 0.1), atol=1e-5)
    assert jnp.abs(state["outputs"][0] - state["outputs"][1]).max() > 1e-3


# --- components ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def batch() -> tuple[Any, dict[str, jax.Array]]:
    settings = settings_of("components", images=12)
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8)).astype(np.uint8)
    data = components.batch(settings, jax.random.key(0), jnp.asarray(images))
    found = components.principal(settings.largest(), data["limit"][None], data["other_limit"][None])
    shapes = {name: (array.shape[1:], array.dtype) for name, array in found.items()}
    said = components.principal_shapes(settings)
    assert shapes == {name: (shape.shape, shape.dtype) for name, shape in said.items()}
    return settings, data | {name: jnp.asarray(array[0]) for name, array in found.items()}


def test_components_are_eigenfunctions_of_unit_mean_square(batch: tuple) -> None:
    settings, data = batch
    kernel, f = np.asarray(data["limit"], float), np.asarray(data["components"], float)
    assert f.shape == (12, 5) and data["x"].shape == (12, 64) and 0 <= data["x"].min() <= data["x"].max() <= 1
    np.testing.assert_allclose(kernel @ f / 12, f * np.asarray(data["eigenvalues"])[None], atol=1e-6)
    np.testing.assert_allclose(f.T @ f / 12, np.eye(5), atol=1e-5)
    np.testing.assert_allclose(data["eigenvalues"], np.linalg.eigvalsh(kernel / 12)[::-1][:5], rtol=1e-4)
    other = np.asarray(networks.limit(settings, data["x"], depth=settings.other_depth), float)
    np.testing.assert_allclose(data["other_eigenvalues"], np.linalg.eigvalsh(other / 12)[::-1][:5], rtol=1e-4)
    assert sorted(data["order"].tolist()) == list(range(12))
    straight, shuffled = (components.directions((2, 5), s, data["components"], data["order"]) for s in (False, True))
    np.testing.assert_array_equal(straight, data["components"][:, [1, 4]])
    np.testing.assert_array_equal(np.sort(shuffled, 0), np.sort(straight, 0))
    assert (np.asarray(shuffled) != np.asarray(straight)).mean() > 0.5


def test_what_is_left_is_split_along_and_across(batch: tuple) -> None:
    settings, data = batch
    net, along = networks.network(settings, 4), data["components"][:, 1:3]
    state, target = components.begin_along(net, 0.5, jax.random.key(1), data["x"], along)
    _, seen = components.evaluate_along(net, state, jnp.int32(0), data["x"], target, along)
    assert seen["g0"] == pytest.approx(0.5, rel=1e-4) == seen["g1"] and seen["h"] < 1e-5
    state = components.train_along(settings, net, state, jax.random.key(0), jnp.int32(0), data["x"], target, along)
    _, seen = components.evaluate_along(net, state, jnp.int32(1), data["x"], target, along)
    left = np.asarray(target) - np.asarray(networks.value(net, state["params"], data["x"]))
    assert (left**2).mean() == pytest.approx(float(seen["g0"] ** 2 + seen["g1"] ** 2 + seen["h"] ** 2), rel=1e-4)
    assert seen["h"] > 1e-4


MARKS = tuple(range(5, 405, 5))


def decaying(rates: list[float]) -> jax.Array:
    """0.5 (1 - r)^k at the marks."""
    return 0.5 * (1 - jnp.array(rates, jnp.float32)[:, None]) ** jnp.array(MARKS, jnp.float32)[None]


def test_the_rate_of_a_line_and_the_deviation_from_it() -> None:
    settings = settings_of("components", learning_rate=2.0, amplitude=0.5, component=2)
    eigenvalues, h = jnp.array([0.1, 0.01, 0.001]), jnp.linspace(0, 0.2, len(MARKS))
    found = components.line(settings, MARKS, decaying([0.02])[0], h, eigenvalues)
    assert found["rate_ratio"] == pytest.approx(1, abs=1e-4) and found["rate_gap"] < 1e-4
    assert found["off_line"] == pytest.approx(0.4)
    faster = components.line(settings, MARKS, decaying([0.04])[0], h, eigenvalues)
    assert faster["rate_ratio"] == pytest.approx(np.log(0.96) / np.log(0.98), rel=1e-3)
    assert faster["rate_gap"] == pytest.approx(float(faster["rate_ratio"]) - 1)


def test_half_times_are_read_off_or_foretold() -> None:
    """The last component has not halved at the end; its course foretells when it will."""
    settings = settings_of("components", learning_rate=2.0, together_amplitude=0.5, components=(1, 2, 3))
    rates = [0.1, 0.02, 0.001]
    eigenvalues = jnp.array(rates) / 2
    found = components.halving(settings, MARKS, tuple(decaying(rates)), eigenvalues)
    exact = 2 * np.log(2) / -np.log1p(-np.array(rates))
    np.testing.assert_allclose(found["half_time"], exact, rtol=1e-3)
    assert found["half_time_slope"] == pytest.approx(np.polyfit(np.log(rates), np.log(exact), 1)[0], abs=1e-3)
    assert found["least_slowdown"] == pytest.approx(np.log(exact[1] / exact[0]), abs=1e-3)
    reversed_order = components.halving(settings, MARKS, tuple(decaying(rates[::-1])), eigenvalues)
    assert reversed_order["half_time_slope"] > 0.9 and reversed_order["least_slowdown"] < -1


# --- settings -----------------------------------------------------------------------------------------------------

CONTRADICTIONS = [
    ("sphere", {"points": (9, 9)}, "equal lengths"),
    ("training", {"kernel_after": 3}, "is no evaluation"),
    ("training", {"kernel_after": 10}, "is no evaluation"),
    ("components", {"images": 1500}, "more than the 1437 images"),
    ("components", {"images": 4}, "component 5 asks for"),
    ("components", {"components": (5, 2)}, "must grow"),
]


@pytest.mark.parametrize(("study", "changes", "words"), CONTRADICTIONS)
def test_contradictory_settings_are_refused(study: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words) as refused:
        settings_of(study, **changes)
    assert "\n" not in str(refused.value)


def test_a_learning_rate_beyond_stability_is_refused() -> None:
    kernel = jnp.diag(jnp.array([6.0, 1.0, 1.0]))[None]
    networks.check_rate(settings_of("training", learning_rate=0.9), kernel)  # 2 / λ_max(Θ/N) is 1
    with pytest.raises(BadInput, match=r"learning rate 1\.1 is outside \(0, 1\)"):
        networks.check_rate(settings_of("training", learning_rate=1.1), kernel)
    networks.check_rate(settings_of("training", learning_rate=1.1), jax.eval_shape(lambda: kernel))


def test_points_that_coincide_have_no_law() -> None:
    with pytest.raises(BadInput, match="points 0 and 2 coincide"):
        experiment.law(settings_of("law", angles=(0.1, 1.0, 0.1)), 0.1)
