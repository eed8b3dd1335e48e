"""The maths of the tangent kernel against independent oracles: NumPy by hand, finite differences, brute force."""

from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.errors import BadInput
from core.kernels.dynamics import GradientFlow
from core.papers.config import load_config
from experiments.ntk import components, experiment, networks

CONFIG = load_config("ntk")


def size(*widths: int) -> int:
    """Weights and biases of dense layers between these widths."""
    return sum(after * (before + 1) for before, after in pairwise(widths))


# Values in the state of the largest loop: a network, with the linear equation on 64 + 64 points or 512 images; the
# outputs of an ensemble on the circle; no loop at all for kernels alone.
PARAMETERS = {
    "sphere": {"laptop": 0, "paper": 0},
    "initial": {"laptop": 0, "paper": 0},
    "training": {scale: size(2, n, n, n, 1) + 128 for scale, n in (("laptop", 1024), ("paper", 10_000))},
    "law": {"laptop": 64 * 64, "paper": 64 * 64},
    "components": {scale: size(784, n, n, n, n, 1) + 512 for scale, n in (("laptop", 1000), ("paper", 10_000))},
    "wide": {scale: size(784, n, n, n, n, 1) + 512 for scale, n in (("laptop", 4000), ("paper", 10_000))},
}


def settings_of(study: str, scale: str = "smoke", **changes: Any) -> Any:
    """The config's settings of a study, with some changed."""
    return CONFIG.studies[study].build({**CONFIG.studies[study].values(scale), **changes})


def by_hand(params: Any, x: np.ndarray, depth: int, bias: float) -> np.ndarray:
    """f(x) in NumPy, from the definition in the paper's section 2."""
    a = np.asarray(x, float)
    for layer in [*(f"dense_{number}" for number in range(depth - 1)), "output"]:
        w, b = (np.asarray(params["params"][layer][part], float) for part in ("kernel", "bias"))
        a = a @ w.T / np.sqrt(w.shape[1]) + bias * b
        a = a if layer == "output" else np.maximum(a, 0)
    return a[:, 0]


def test_networks_are_those_of_the_paper_and_start_at_random() -> None:
    settings, x = settings_of("initial", depth=3, bias=0.3), jax.random.normal(jax.random.key(0), (5, 2))
    net = networks.network(settings, 7)
    params = net.init(jax.random.key(1), x)
    np.testing.assert_allclose(networks.value(net, params, x), by_hand(params, x, 3, 0.3), rtol=1e-5, atol=1e-6)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == size(2, 7, 7, 1)
    divided = networks.network(settings, 7, networks.MeanFieldNetwork)
    np.testing.assert_allclose(networks.value(divided, params, x) * 7**0.5, networks.value(net, params, x), rtol=1e-5)
    kernel, own = (np.asarray(networks.tangent(each, params, x)) for each in (divided, net))
    np.testing.assert_allclose(7 * kernel, own, rtol=1e-4)


def test_kernels_of_wide_networks_come_to_the_limit_of_their_own_depth() -> None:
    settings = settings_of("initial", depth=3, draws=4, grid=6)
    narrow, wide = (experiment.initial_kernels(settings, width, jax.random.key(3)) for width in (32, 1024))
    assert narrow["limit"].shape == narrow["other_depth"].shape == (4,)
    assert narrow["limit"].mean() > 3 * wide["limit"].mean() and wide["limit"].mean() < 4 / 32
    assert wide["other_depth"].min() > 0.1, "the limit of another depth is as near"


def test_only_the_polynomial_has_a_kernel_of_finite_rank_on_the_sphere() -> None:
    """Polynomials of degree 4 span 25 dimensions on the sphere of R^3: they hold 20 points, and not 40."""
    settings, key = settings_of("sphere"), jax.random.key(1)
    with jax.enable_x64(True):
        found = {
            (arm, n): float(experiment.smallest_eigenvalue(settings, arm, (n, 3), key))
            for arm, n in (("square", 20), ("square", 40), ("relu", 40), ("erf", 40))
        }
    assert abs(found["square", 40]) < 1e-14 < 1e-8 < found["square", 20]
    assert found["relu", 40] > 1e-5 and found["erf", 40] > 1e-9


@pytest.fixture(scope="module")
def trained() -> dict[str, Any]:
    """A small network after twenty steps at rate 0.5, with everything it began with."""
    settings = settings_of("training", depth=3, points=6, grid=8, iterations=20)
    data = experiment.task(settings, jax.random.key(0))
    np.testing.assert_allclose(data["y"], np.asarray(data["x"]).prod(1), rtol=1e-6)
    net, x, y = networks.network(settings, 16), data["x"], data["y"]
    state, kernel = jax.jit(partial(networks.begin, net))(jax.random.key(1), data["points"])
    step, states = jax.jit(partial(networks.train, net, 0.5)), [state]
    for i in range(20):
        states.append(step(states[-1], jax.random.key(i), jnp.int32(i), x, y, kernel))
    return {"settings": settings, "net": net, "x": x, "y": y, "kernel": kernel, "states": states}


def test_the_linear_equation_is_solved_step_by_step(trained: dict[str, Any]) -> None:
    """f_0(·) + Θ(·,X) Θ⁻¹ (I - (I - ηΘ/N)^k) (y - f_0(X)) in double precision, which comes to the flow at small η."""
    kernel, start = np.asarray(trained["kernel"], float), np.asarray(trained["states"][0]["linear"], float)
    y, inner = np.asarray(trained["y"], float), kernel[:6, :6]

    def after(steps: int, rate: float) -> np.ndarray:
        power = np.linalg.matrix_power(np.eye(6) - rate / 6 * inner, steps)
        return start + kernel[:, :6] @ np.linalg.solve(inner, (np.eye(6) - power) @ (y - start[:6]))

    for k in (1, 7, 20):
        np.testing.assert_allclose(trained["states"][k]["linear"], after(k, 0.5), atol=2e-5)
    flow = GradientFlow.from_kernel(inner).predict_test(2.0, y, start[:6], kernel[6:, :6], start[6:])
    np.testing.assert_allclose(after(2000, 0.001)[6:], flow, atol=2e-3)
    assert abs(flow - start[6:]).max() > 0.02, "nothing moves"


def test_one_small_step_of_a_network_is_one_of_its_linear_equation(trained: dict[str, Any]) -> None:
    """Whatever the width: the two part at second order in the rate."""
    net, x, y, kernel, state = (trained[name] for name in ("net", "x", "y", "kernel", "states"))
    apart, grid = [], networks.circle(8)
    for rate in (0.1, 0.05):
        after = networks.train(net, rate, state[0], jax.random.key(0), jnp.int32(0), x, y, kernel)
        apart.append(float(jnp.abs(networks.value(net, after["params"], grid) - after["linear"][6:]).max()))
        assert apart[-1] < 0.2 * float(jnp.abs(after["linear"] - state[0]["linear"]).max())
    assert apart[1] < 0.4 * apart[0]


def test_an_evaluation_measures_the_kernel_and_the_distance(trained: dict[str, Any]) -> None:
    x, y, kernel, net, settings = (trained[name] for name in ("x", "y", "kernel", "net", "settings"))
    first, last = trained["states"][0], trained["states"][20]
    _, seen = experiment.evaluate(settings, net, first, jnp.int32(0), x, y, kernel)
    assert all(abs(float(v)) < 1e-5 for v in seen.values())
    _, seen = experiment.evaluate(settings, net, last, jnp.int32(20), x, y, kernel)
    grid, old, params = networks.circle(8), np.asarray(kernel, float)[6:, 6:], last["params"]
    jacobian = jax.vmap(lambda one: jax.grad(lambda p: networks.value(net, p, one[None])[0])(params))(grid)
    parts = np.concatenate([np.asarray(leaf, float).reshape(8, -1) for leaf in jax.tree.leaves(jacobian)], 1)
    new = parts @ parts.T
    assert seen["kernel_change"] == pytest.approx(np.linalg.norm(new - old) / np.linalg.norm(old), rel=1e-3)
    assert seen["inflation"] == pytest.approx((new - old).mean() / old.mean(), rel=1e-3)
    found = experiment.rows(settings, net, last, x, y, kernel)["rows"]
    np.testing.assert_allclose(found, [old[0], new[0]], rtol=1e-4)
    error = by_hand(params, grid, 3, 0.1) - np.asarray(last["linear"])[6:]
    assert seen["linear_error"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-3)


def test_the_laws_are_those_of_random_starts_that_are_moved_or_conditioned() -> None:
    """By chance: f ~ N(0, S) and f + K(·,X) K(X,X)⁻¹ (y - f(X)) with K = Θ where it is trained, K = S where not."""
    settings = settings_of("law", depth=3, grid=6, bias=0.4)
    points = np.concatenate([networks.circle(settings.angles), networks.circle(6)]).astype(float)
    q, s = (points**2).mean(1) + 0.16, points @ points.T / 2 + 0.16
    theta = s.copy()
    for _ in range(2):
        t = np.arccos(np.clip(s / np.sqrt(q[:, None] * q[None]), -1, 1))
        s = np.sqrt(q[:, None] * q[None]) / (2 * np.pi) * (np.sin(t) + (np.pi - t) * np.cos(t)) + 0.16
        theta, q = theta * (np.pi - t) / (2 * np.pi) + s, s.diagonal()
    start, y = np.random.default_rng(0).multivariate_normal(np.zeros(10), s, 40_000), points[:4].prod(1)
    for arm, k in (("tangent_kernel", theta), ("posterior", s)):
        mean, sd = experiment.laws(settings)[arm]
        ends = start[:, 4:] + (y[None] - start[:, :4]) @ np.linalg.solve(k[:4, :4], k[:4, 4:])
        np.testing.assert_allclose(mean, ends.mean(0), atol=0.01)
        np.testing.assert_allclose(sd, ends.std(0), rtol=0.03)


def test_an_ensemble_is_held_against_a_law_without_the_share_of_chance() -> None:
    mean, sd = np.array([0.0, 1.0, -1.0], np.float32), np.array([1.0, 0.5, 2.0], np.float32)
    drawn = mean + sd * np.random.default_rng(0).normal(size=(400, 25, 3)).astype(np.float32)
    gaps = np.array([float(experiment.against(outputs, mean, sd)["mean_gap"]) for outputs in drawn])
    assert abs(gaps.mean()) < 3 * gaps.std() / 20 and gaps.std() > 0.01
    everything = drawn.reshape(-1, 3)
    found = experiment.against(mean + 1.5 * (everything - mean) + 0.3 * np.sqrt((sd**2).mean()), mean, sd)
    assert found["mean_gap"] == pytest.approx(0.09, abs=0.015) and found["sd_ratio"] == pytest.approx(1.5, abs=0.03)


def test_every_network_of_an_ensemble_is_trained_from_a_start_of_its_own() -> None:
    settings = settings_of("law", depth=2, iterations=5, grid=4)
    net, x = networks.network(settings, 3), networks.circle(settings.angles)
    state = {"outputs": jnp.zeros((2, 4))}
    for i in range(2):
        state = experiment.add_network(settings, net, state, jax.random.key(i), jnp.int32(i))
        params = net.init(jax.random.key(i), x)
        for _ in range(5):
            params = networks.descend(net, settings.learning_rate, params, x, experiment.product(x))
        np.testing.assert_allclose(state["outputs"][i], by_hand(params, networks.circle(4), 2, 0.1), atol=1e-5)


@pytest.fixture(scope="module")
def batch() -> tuple[Any, dict[str, jax.Array]]:
    settings = settings_of("components", images=12)
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8)).astype(np.uint8)
    data = components.batch(settings, jax.random.key(0), jnp.asarray(images))
    found = components.principal(settings.leading, data["limit"][None], data["other_limit"][None])
    said = components.principal_shapes(settings)
    assert all(found[name].shape[1:] == shape.shape for name, shape in said.items())
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
    for arm in ("pair", "mixed"):  # as large, and none themselves
        other = np.asarray(components.directions((2,), arm, data["components"], data["mixture"]))
        assert np.mean(other**2) == pytest.approx(1, rel=1e-4)
        image = kernel @ other / 12
        assert abs(image - other * np.mean(other * image)).max() > 0.1 * abs(image).max()


def test_what_is_left_is_split_along_and_across_for_the_network_and_for_its_frozen_kernel(batch: tuple) -> None:
    settings, data = batch
    net, along, x = networks.network(settings, 4), np.asarray(data["components"][:, 1:3]), data["x"]
    state, kernel = networks.begin(net, jax.random.key(1), x)
    target = components.aim(0.5, state["linear"], along)
    for i in range(3):
        _, seen = components.evaluate_along(net, state, i, x, target, kernel, along)
        power = np.linalg.matrix_power(np.eye(12) - 0.5 / 12 * np.asarray(kernel), i)
        lefts = {"network": target - networks.value(net, state["params"], x), "frozen": power @ (0.5 * along.sum(1))}
        for name, left in ((name, np.asarray(left)) for name, left in lefts.items()):
            g = [np.mean(along[:, k] * left) for k in (0, 1)]
            np.testing.assert_allclose([seen[f"{name}/{k}"] for k in (0, 1)], g, rtol=1e-3)
            assert seen[f"{name}/h"] ** 2 == pytest.approx(float(np.mean(left**2)) - g[0] ** 2 - g[1] ** 2, abs=1e-5)
        state = networks.train(net, 0.5, state, jax.random.key(0), i, x, target, kernel, along)
    assert seen["network/h"] > 1e-3 and seen["network/0"] != pytest.approx(float(seen["frozen/0"]), rel=1e-4)


STEPS = tuple(range(5, 405, 5))


def decaying(rates: list[float], amplitude: float = 0.5) -> jax.Array:
    """a (1 - r)^k at the steps."""
    return amplitude * (1 - jnp.array(rates, jnp.float32)[:, None]) ** jnp.array(STEPS, jnp.float32)[None]


def test_the_rate_of_a_line_and_the_deviations_from_it() -> None:
    settings = settings_of("components")  # component 2 of amplitude 0.5, at learning rate 2
    eigenvalues, h = jnp.array([0.1, 0.01, 0.001]), jnp.linspace(0, 0.2, len(STEPS))
    np.testing.assert_allclose(components.theory(settings, STEPS, eigenvalues), decaying([0.02])[0], rtol=1e-4)
    found = components.line(settings, STEPS, decaying([0.02])[0], h, eigenvalues)
    assert found["rate_ratio"] == pytest.approx(1, abs=1e-4) and found["off_course"] < 1e-4
    assert found["off_line"] == pytest.approx(0.4)
    faster = components.line(settings, STEPS, decaying([0.04])[0], h, eigenvalues)
    assert faster["rate_ratio"] == pytest.approx(np.log(0.96) / np.log(0.98), rel=1e-3)
    k = np.array(STEPS)
    assert faster["off_course"] == pytest.approx((0.98**k - 0.96**k).max(), rel=1e-3)


def test_half_times_are_read_off_or_foretold() -> None:
    """The last component has not halved at the end; its course foretells when it will."""
    settings = settings_of("components")  # components 2, 3 and 5 of amplitude 0.05, at learning rate 2
    rates = [0.1, 0.02, 0.001]
    eigenvalues = jnp.zeros(5).at[jnp.array([1, 2, 4])].set(jnp.array(rates) / 2)
    found = components.halving(settings, STEPS, tuple(decaying(rates, 0.05)), eigenvalues)
    exact = 2 * np.log(2) / -np.log1p(-np.array(rates))
    np.testing.assert_allclose(found["half_time"], exact, rtol=1e-3)
    np.testing.assert_allclose(found["limit_half_time"], 2 * np.log(2) / np.array(rates), rtol=1e-5)
    assert found["least_slowdown"] == pytest.approx(np.log(exact[1] / exact[0]), abs=1e-3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"images": 1500}, "more than the 1437 images"), ({"leading": 4}, "larger"), ({"components": (5, 2)}, "rise")],
)
def test_contradictory_settings_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        settings_of("components", **changes)


def test_a_learning_rate_beyond_stability_is_refused() -> None:
    kernel = jnp.diag(jnp.array([6.0, 1.0, 1.0]))[None]
    networks.check_rate(0.9, kernel)  # 2 / λ_max(Θ/N) is 1
    with pytest.raises(BadInput, match=r"learning rate 1\.1 is outside \(0, 1\)"):
        networks.check_rate(1.1, kernel)
