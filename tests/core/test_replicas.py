"""The replicate axis: one by one, side by side and spread over eight virtual devices give the same results."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.lab.replicas import Lifter, ReplicateAxis, function_key
from tests.programs import watch_programs


@dataclass(frozen=True)
class Power:
    exponent: int


@dataclass(frozen=True)
class Holder:
    inner: Callable


def draw(key, x, offset, names):
    """Of one replicate, with results of several ranks."""
    noise = jax.random.normal(key, (3,))
    scaled = jnp.tanh(x @ names["w"]) + noise
    return {
        "scalar": scaled.sum() + offset,
        "vector": scaled,
        "matrix": jnp.outer(scaled, x),
        "key": jax.random.split(key)[0],
    }


def lifted(size: int, axis: ReplicateAxis):
    keys = jax.random.split(jax.random.key(0), size)
    xs = jax.random.normal(jax.random.key(1), (size, 4))
    names = {"w": jax.random.normal(jax.random.key(2), (4, 3))}
    lifter = Lifter(axis)
    call = lifter.lift("draw", draw, 2, 2)
    found = lifter.join([call(*group, 0.5, names) for group in lifter.split((keys, xs))])
    one_by_one = [draw(keys[r], xs[r], 0.5, names) for r in range(size)]
    return found, jax.tree.map(lambda *leaves: jnp.stack(leaves), *one_by_one)


@pytest.mark.parametrize("size", [1, 3, 8, 11])
@pytest.mark.parametrize("how", ["loop", "vmap", "pmap"])
def test_all_forms_equal_plain_calls(how, size):
    found, expected = lifted(size, ReplicateAxis.choose(size, how))
    for name in ("scalar", "vector", "matrix"):
        assert found[name].shape == expected[name].shape
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-6, atol=1e-6)
    assert jnp.array_equal(jax.random.key_data(found["key"]), jax.random.key_data(expected["key"]))


@pytest.mark.parametrize("devices", [2, 3, 8])
def test_uneven_counts_are_padded_for_any_number_of_devices(devices):
    found, expected = lifted(7, ReplicateAxis(7, "pmap", devices))
    np.testing.assert_allclose(found["matrix"], expected["matrix"], rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize(("size", "devices"), [(4, 2), (3, 2), (5, 8)])
def test_what_comes_from_one_spread_call_can_go_into_the_next(size, devices):
    """Keys and arrays alike, wherever the first call left them; also as an argument that all replicates share."""
    lifter, keys = Lifter(ReplicateAxis(size, "pmap", devices)), jax.random.split(jax.random.key(0), size)
    folded = lifter.lift("fold", jax.random.fold_in, 1, 1)(keys, np.uint32(3))
    drawn = lifter.lift("draw", lambda key, x: x + jax.random.normal(key, (2,)), 2, 0)(folded, jnp.ones((size, 2)))
    again = lifter.lift("add", jnp.add, 1, 1)(drawn, drawn[0])
    expected = [1.0 + jax.random.normal(jax.random.fold_in(key, 3), (2,)) for key in keys]
    np.testing.assert_allclose(again, jnp.stack(expected) + expected[0][None], rtol=1e-6)


@pytest.mark.parametrize("size", [1, 3])
def test_groups_are_cut_and_joined_to_the_same_bits_without_a_program(size):
    """Arrays of jax and of numpy, keys of two kinds; numbers on their way out of jax are never weakly typed."""
    values = np.arange(size * 6).reshape(size, 3, 2)
    dtypes = (jnp.float32, jnp.bfloat16, jnp.int8, jnp.uint32, jnp.bool_)
    tree = {str(np.dtype(dtype)): jnp.asarray(values, dtype) for dtype in dtypes} | {
        "scalars": jnp.full(size, 2.0),
        "empty": jnp.zeros((size, 0)),
        "host": values.astype(np.float32),
        "keys": jax.random.split(jax.random.key(0), size),
        "other_keys": jax.random.split(jax.random.key(0, impl="rbg"), size),
    }
    expected = [jax.tree.map(lambda leaf, r=r: leaf[r], tree) for r in range(size)]
    lifter = Lifter(ReplicateAxis(size, "loop"))
    jax.clear_caches()
    with watch_programs() as programs:
        groups = lifter.split(tree)
        joined = lifter.join(groups)
    assert programs == []
    for found, right in ((joined, tree), *zip(groups, expected, strict=True)):
        assert found.keys() == right.keys()
        for name in right:
            assert isinstance(found[name], jax.Array) and not getattr(found[name], "weak_type", False)
            assert found[name].dtype == right[name].dtype and found[name].shape == right[name].shape
            assert plain(found[name]).tobytes() == plain(right[name]).tobytes()


def plain(array):
    is_key = jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(array) if is_key else array)


def test_the_choice_of_the_axis(monkeypatch):
    assert jax.local_device_count() == 8
    assert ReplicateAxis.choose(5) == ReplicateAxis(5, "loop")
    assert ReplicateAxis.choose(5, "vmap") == ReplicateAxis(5, "vmap")
    assert ReplicateAxis.choose(5, "pmap") == ReplicateAxis(5, "pmap", 5)
    assert ReplicateAxis.choose(20, "pmap") == ReplicateAxis(20, "pmap", 8)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert ReplicateAxis.choose(5) == ReplicateAxis(5, "pmap", 5)
    assert ReplicateAxis.choose(1) == ReplicateAxis(1, "loop")
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    assert ReplicateAxis.choose(5) == ReplicateAxis(5, "vmap")


def test_a_batch_of_one_keeps_its_switch():
    """Under vmap a switch becomes a selection that computes every branch; alone it must stay a switch."""

    def choose(index, x):
        return jax.lax.switch(index, [jnp.sin, jnp.cos], x)

    call = Lifter(ReplicateAxis.choose(1)).lift("choose", choose, 2, 0)
    assert "cond" in str(jax.make_jaxpr(call)(jnp.int32(1), jnp.ones(2)))


def test_a_function_is_compiled_once_for_equal_partials():
    lifter, traced = Lifter(ReplicateAxis(2, "vmap")), []

    def power(settings, x):
        traced.append(settings)
        return x**settings.exponent

    for _ in range(3):
        function = partial(power, Power(3))
        found = lifter.lift(function_key(function), function, 1, 0)(jnp.array([2.0, 3.0]))
    assert found.tolist() == [8.0, 27.0] and len(traced) == 1
    other = partial(power, Power(2))
    assert lifter.lift(function_key(other), other, 1, 0)(jnp.array([2.0, 3.0])).tolist() == [4.0, 9.0]


def test_equal_functions_have_equal_identities():
    def f(*_, **__):
        pass

    def g(*_):
        pass

    assert function_key(partial(f, Power(1), b=2)) == function_key(partial(f, Power(1), b=2))
    assert function_key(partial(partial(f, 1), 2)) == function_key(partial(f, 1, 2))
    assert function_key(partial(f, partial(g, 1))) == function_key(partial(f, partial(g, 1)))
    for wrap in (Holder, lambda inner: (inner, 2)):
        assert function_key(partial(f, wrap(partial(g, 1)))) == function_key(partial(f, wrap(partial(g, 1))))
        assert function_key(partial(f, wrap(partial(g, 1)))) != function_key(partial(f, wrap(partial(g, 1.0))))
    others = [partial(f, 1), partial(f, 1.0), partial(f, True), partial(g, 1), partial(f, 2), partial(f, x=1), f, g]
    assert len({function_key(function) for function in others}) == len(others)
