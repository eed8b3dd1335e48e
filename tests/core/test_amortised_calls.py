"""Methods that go over data sets in two styles: the same answers, and none left out."""

import jax
import jax.numpy as jnp
import numpy as np

from core.amortised import calls, encoder, heads, training


def test_answers_do_not_depend_on_how_many_data_sets_are_asked_at_once() -> None:
    """Of a method and of the network; those about other data sets are others."""
    x, y = jax.random.uniform(jax.random.key(0), (1, 2, 6, 1)), jax.random.normal(jax.random.key(1), (1, 2, 6))
    data = calls.DataSets(4, x, y, jax.random.split(jax.random.key(2), (1, 2)))
    styles = calls.both_styles({"map": lambda x, y, key: y[4:] * x[4:, 0] + jax.random.normal(key, (2,))}, data, 2)
    network = encoder.TransformerEncoder(1, 8, 1, 2, 8, 6)
    spec = training.TrainingSpec(network, lambda key, shape: None, heads.bar_log_density, 6, 2, (5,))
    flat = encoder.flatten_params(encoder.init_params(network, jax.random.key(3)))
    params = encoder.unflatten_params(network, flat + 0.3 * jax.random.normal(jax.random.key(4), flat.shape))
    trained = jax.tree.map(lambda leaf: leaf[None], (params, jnp.linspace(-5, 5, 7)))
    styles |= calls.network_styles(("pfn",), spec, trained, data, 2)
    found = {name: calls.answers(each) for name, each in styles.items()}
    assert found["batch:pfn"].shape == (2, 2)
    for arm in ("map", "pfn"):
        alone, batch = found[f"alone:{arm}"], found[f"batch:{arm}"]
        assert np.abs(alone - batch).max() < 1e-5 < 1e-3 < np.abs(alone - alone[::-1]).max()


def test_timed_calls_go_over_the_same_data_sets_and_leave_none_out() -> None:
    """In both styles; what is infinitely dense would be noticed, what is no number is another matter."""
    data = calls.DataSets(0, np.arange(10.0).reshape(1, 5, 2), np.ones((1, 5)), jnp.zeros((1, 5)))
    seen: list[list[float]] = []

    def one(x: jax.Array, y: jax.Array, key: jax.Array) -> jax.Array:
        jax.debug.callback(lambda x: seen.append(x.tolist()), x, ordered=False)
        return jnp.array([x[0] * y, jnp.nan])

    styles = calls.both_styles({"svi.8": one}, data, 3)
    assert list(styles) == ["alone:svi.8", "batch:svi.8"]
    for each in styles.values():
        seen.clear()
        assert calls.timed_call(each)() == 1
        jax.effects_barrier()
        assert sorted(seen) == [[0, 1], [2, 3], [4, 5]]
    assert calls.timed_call(calls.Calls(lambda x: x / 0, lambda: [(jnp.ones(2),)]))() == 0
