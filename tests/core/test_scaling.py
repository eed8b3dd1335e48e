"""Gradients in parts, in low precision, rematerialised and over eight virtual devices: those of the whole batch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from core.data import loading
from core.errors import BadInput
from core.lab.keys import replicate_keys
from core.lab.lab import Lab
from core.lab.replicas import ReplicateAxis
from core.papers.config import load_config
from core.papers.contract import load_study
from core.scaling.gradients import apply_in_precision, average_over_micro_batches, batch_value_and_grad
from core.scaling.settings import ScalingSettings
from tests.net import build_net

BATCH, WIDTH = 48, 32


def loss(params: list[jax.Array], batch: Any, scale: float = 1.0) -> tuple[jax.Array, dict]:
    x, y = batch
    for kernel in params:
        x = nn.gelu(x @ kernel)
    return scale * ((x - y) ** 2).mean(), {"mean": x.mean()}


@pytest.fixture(scope="module")
def problem() -> tuple[list[jax.Array], tuple[jax.Array, jax.Array]]:
    keys = jax.random.split(jax.random.key(0), 8)
    params = [jax.random.normal(key, (WIDTH, WIDTH)) / WIDTH**0.5 for key in keys[2:]]
    return params, (jax.random.normal(keys[0], (BATCH, WIDTH)), jax.random.normal(keys[1], (BATCH, WIDTH)))


def assert_same(found: Any, expected: Any, rtol: float = 1e-4, atol: float = 1e-7) -> None:
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol, atol)


def test_the_defaults_are_the_plain_gradient_to_the_bit(problem):
    params, batch = problem
    found = jax.jit(batch_value_and_grad(loss, ScalingSettings()))(params, batch, 2.0)
    plain = jax.jit(jax.value_and_grad(loss, has_aux=True))(params, batch, 2.0)
    assert all(jnp.array_equal(a, b) for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(plain), strict=True))


@pytest.mark.parametrize(
    "scaling",
    [
        {"micro_batches": 4},
        {"micro_batches": BATCH},
        {"rematerialise": True},
        {"spread": True},
        {"spread": True, "micro_batches": 3, "rematerialise": True},
    ],
    ids=str,
)
def test_every_way_gives_the_gradient_of_the_whole_batch(problem, scaling):
    params, batch = problem
    assert jax.device_count() == 8
    found = jax.jit(batch_value_and_grad(loss, ScalingSettings(**scaling)))(params, batch, 2.0)
    assert_same(found, jax.value_and_grad(loss, has_aux=True)(params, batch, 2.0))


def test_micro_batches_step_as_those_of_optax_do(problem):
    """optax.MultiSteps sees one part after the other, and steps once at the end."""
    params, (x, y) = problem
    several = optax.MultiSteps(optax.adam(1e-2), every_k_schedule=4)
    state, there = several.init(params), params
    for k in range(4):
        part = slice(12 * k, 12 * k + 12)
        gradient = jax.grad(lambda p, b: loss(p, b)[0])(params, (x[part], y[part]))
        updates, state = several.update(gradient, state, there)
        there = optax.apply_updates(there, updates)
    (_, _), gradient = average_over_micro_batches(jax.value_and_grad(loss, has_aux=True), 4)(params, (x, y))
    updates, _ = optax.adam(1e-2).update(gradient, optax.adam(1e-2).init(params))
    assert_same(optax.apply_updates(params, updates), there, atol=1e-5)


def temporary_bytes(params: Any, batch: Any, **scaling: Any) -> int:
    compiled = jax.jit(batch_value_and_grad(loss, ScalingSettings(**scaling))).lower(params, batch).compile()
    memory = compiled.memory_analysis()
    assert memory is not None
    return memory.temp_size_in_bytes


def test_parts_and_rematerialisation_need_less_memory(problem):
    params, (x, y) = problem
    batch = (jnp.tile(x, (16, 1)), jnp.tile(y, (16, 1)))
    plain = temporary_bytes(params, batch)
    assert temporary_bytes(params, batch, micro_batches=8) < 0.5 * plain
    assert temporary_bytes(params, batch, rematerialise=True) < 0.9 * plain


class Small(nn.Module):
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = nn.Dense(WIDTH, dtype=self.dtype)(x)
        x = nn.BatchNorm(use_running_average=not train, dtype=self.dtype)(x)
        return nn.Dense(3, dtype=self.dtype)(nn.relu(x))


def test_low_precision_is_that_of_the_dtype_of_flax_modules(problem):
    _, (x, _) = problem
    variables = Small().init(jax.random.key(1), x)
    low = apply_in_precision(Small().apply, ScalingSettings(precision="bfloat16"))
    found, updated = low(variables, x, train=True, mutable=["batch_stats"])
    own, own_updated = Small(jnp.bfloat16).apply(variables, x, train=True, mutable=["batch_stats"])
    assert found.dtype == jnp.float32 and own.dtype == jnp.bfloat16
    assert jnp.array_equal(found, own.astype(jnp.float32))
    assert_same(updated, own_updated)
    full = Small().apply(variables, x, train=True, mutable=["batch_stats"])[0]
    assert 1e-4 < float(jnp.abs(found - full).max()) < 0.1
    assert apply_in_precision(Small.apply, ScalingSettings()) is Small.apply


def test_gradients_in_low_precision_are_float32_and_close(problem):
    _, (x, _) = problem
    params = Small().init(jax.random.key(1), x)

    def squares(scaling: ScalingSettings) -> Callable:
        apply = apply_in_precision(Small().apply, scaling)
        return lambda values: (apply({**params, "params": values}, x) ** 2).mean()

    exact = jax.grad(squares(ScalingSettings()))(params["params"])
    found = jax.grad(squares(ScalingSettings(precision="bfloat16")))(params["params"])
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(exact), strict=True):
        assert a.dtype == jnp.float32
        assert float(jnp.linalg.norm(a - b)) < 0.1 * float(jnp.linalg.norm(b))


# Bad input


@pytest.mark.parametrize(
    ("size", "scaling", "message"),
    [
        (10, {"micro_batches": 4}, "a batch of 10 cannot be cut into 4 micro-batches of equal size"),
        (44, {"spread": True}, "a batch of 44 cannot be spread over 8 devices: 48 can"),
        (3, {"spread": True}, "a batch of 3 cannot be spread over 8 devices: 8 can"),
        (48, {"spread": True, "micro_batches": 4}, "a batch of 6 cannot be cut into 4 micro-batches"),
    ],
)
def test_what_cannot_be_divided_is_one_line(size, scaling, message):
    batch = (jnp.ones((size, WIDTH)), jnp.ones((size, WIDTH)))
    with pytest.raises(BadInput, match=message):
        batch_value_and_grad(loss, ScalingSettings(**scaling))([jnp.eye(WIDTH)], batch)


# A paper that uses all of it


@pytest.fixture
def net_root(toy_root: Path) -> Path:
    return build_net(toy_root)


def trained(folder: Path, axis: ReplicateAxis, **scaling: Any) -> np.ndarray:
    """The biases of the last layer of some replicates of the paper `net`."""
    study, config = load_study("net", "net"), load_config("net").studies["net"]
    values = config.values("laptop")
    settings = config.build({**values, "scaling": {**values["scaling"], **scaling}})
    assert settings.scaling == ScalingSettings(**scaling)
    numbers = range(axis.size)
    lab = Lab(numbers, [folder / str(n) for n in numbers], folder / "checkpoints", loading.load_data_set, axis)
    study.trial(settings, replicate_keys("net", "net", numbers), lab)
    return lab.kept["bias"]


def test_an_experiment_gives_the_same_results_by_every_way(net_root, tmp_path):
    plain = trained(tmp_path / "plain", ReplicateAxis(3, "vmap"))
    for name, axis, scaling in (
        ("parts", ReplicateAxis(1, "loop"), {"micro_batches": 4, "rematerialise": True}),
        ("spread", ReplicateAxis(1, "loop"), {"spread": True}),
        ("devices", ReplicateAxis(3, "pmap", 2), {"micro_batches": 2}),
    ):
        found = trained(tmp_path / name, axis, **scaling)
        np.testing.assert_allclose(found, plain[: axis.size], atol=2e-4, err_msg=name)
    low = trained(tmp_path / "low", ReplicateAxis(1, "loop"), precision="bfloat16")
    assert 1e-6 < np.abs(low - plain[:1]).max() < 0.05


def test_devices_are_spread_over_replicates_or_over_batches(net_root, tmp_path):
    with pytest.raises(BadInput, match="add axis=loop to spread batches instead"):
        trained(tmp_path, ReplicateAxis(2, "pmap", 2), spread=True)
