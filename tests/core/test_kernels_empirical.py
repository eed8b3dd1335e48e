"""The three ways to an empirical kernel against finite differences, against each other, and in blocks."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from core.errors import BadInput
from core.kernels.empirical import empirical_ntk, estimate_cost
from core.kernels.linearisation import linearise
from core.models.images import ConvNet
from core.models.ntk import NTKNetwork, StandardNetwork

WAYS = ("jacobian", "products", "layers")
X = jax.random.normal(jax.random.key(1), (7, 4))


class Tied(nn.Module):
    """A recurrent use of one layer, with bias-free and (outputs, inputs) layers around it."""

    @nn.compact
    def __call__(self, x):
        x = nn.tanh(nn.Dense(5, use_bias=False)(x))
        shared = nn.Dense(5)
        for _ in range(3):
            x = nn.tanh(shared(x))
        return nn.Einsum((2, 5), "bi,oi->bo")(x)


class Beyond(nn.Module):
    """A dense layer, whose weights are also used outside it, or another parameter, a scale."""

    scaled: bool

    @nn.compact
    def __call__(self, x):
        layer = nn.Dense(4)
        y = nn.tanh(layer(x))
        if self.scaled:
            return y * self.param("scale", nn.initializers.ones, (1, 1))
        return y @ layer.variables["params"]["kernel"].T


class Tokens(nn.Module):
    """A dense layer on an axis of tokens."""

    @nn.compact
    def __call__(self, x):
        return nn.tanh(nn.Dense(3)(x.reshape(len(x), 2, 2))).sum(1)


class Lifted(nn.Module):
    """Dense layers in a lifted transformation."""

    @nn.compact
    def __call__(self, x):
        return nn.tanh(nn.remat(nn.Dense)(3)(x))


def prepared(network, x=X):
    return network.apply, network.init(jax.random.key(0), x)


def by_differences(apply, params, x, y):
    """Θ from central differences of the network by each parameter: (n, m, o, o)."""
    flat, back = ravel_pytree(params)

    def columns(inputs):
        moves = 1e-5 * jnp.eye(flat.size)
        both = [jax.vmap(lambda d, s=s: apply(back(flat + s * d), inputs))(moves) for s in (1, -1)]
        return (both[0] - both[1]) / 2e-5

    return jnp.einsum("pno,pmq->nmoq", columns(x), columns(y))


@pytest.mark.parametrize(
    "network",
    [NTKNetwork((5, 6), 2, nn.tanh, bias_std=0.5), StandardNetwork((5, 6), 2, nn.tanh), Tied()],
    ids=lambda network: type(network).__name__,
)
def test_every_way_is_the_product_of_jacobians(network) -> None:
    with jax.enable_x64(True):
        x, y = jnp.asarray(X[:4], jnp.float64), jnp.asarray(X[4:], jnp.float64)
        apply, params = network.apply, jax.tree.map(jnp.float64, network.init(jax.random.key(0), x))
        symmetric, between = by_differences(apply, params, x, x), by_differences(apply, params, x, y)
        for way in WAYS:
            for second, expected in ((None, symmetric), (y, between)):
                found = [empirical_ntk(apply, params, x, second, method=way, outputs=o) for o in ("all", "trace", 1)]
                assert all(kernel.dtype == jnp.float64 for kernel in found)
                np.testing.assert_allclose(found[0], expected, rtol=1e-7, atol=1e-8)
                np.testing.assert_allclose(found[1], jnp.einsum("nmoo->nm", expected) / 2, rtol=1e-7, atol=1e-8)
                np.testing.assert_allclose(found[2], expected[:, :, 1, 1], rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("way", WAYS)
def test_blocks_give_the_whole(way) -> None:
    apply, params = prepared(NTKNetwork((5, 6), 2))
    for second in (None, X[:5]):
        whole = empirical_ntk(apply, params, X, second, method=way)
        bound = estimate_cost(apply, params, X, second).costs[way].gib
        while (cost := estimate_cost(apply, params, X, second, memory_gib=bound).costs[way]).block > 2:
            bound *= 0.9
        assert not cost.infeasible_reason and cost.block == 2
        found = empirical_ntk(apply, params, X, second, method=way, memory_gib=bound)
        np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("outputs", ["all", "trace", 2])
def test_tiles_of_a_symmetric_kernel_give_the_whole(way, outputs) -> None:
    x = jax.random.normal(jax.random.key(2), (400, 3))
    apply, params = prepared(NTKNetwork((4,), 3), x)
    assert estimate_cost(apply, params, x, outputs=outputs).costs[way].tiles > 1
    found = empirical_ntk(apply, params, x, method=way, outputs=outputs)
    np.testing.assert_allclose(
        found, empirical_ntk(apply, params, x, x, method=way, outputs=outputs), rtol=1e-4, atol=1e-5
    )


def test_convolutions_go_another_way() -> None:
    images = jax.random.normal(jax.random.key(1), (3, 6, 6, 1))
    apply, params = prepared(ConvNet((2, 2), (4,), 3), images)
    found = estimate_cost(apply, params, images)
    assert found.cheapest in ("jacobian", "products")
    assert (
        found.costs["layers"].infeasible_reason == "'params/conv_0/bias' acts outside dense layers on (batch, features)"
    )
    jacobian, products, chosen = (empirical_ntk(apply, params, images, method=m) for m in (*WAYS[:2], "auto"))
    np.testing.assert_allclose(products, jacobian, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(chosen, jacobian, rtol=1e-4, atol=1e-4)
    with pytest.raises(BadInput, match=r"^layers: 'params/conv_0/bias' acts .*; possible: jacobian, products$"):
        empirical_ntk(apply, params, images, method="layers")


@pytest.mark.parametrize(
    ("network", "name"),
    [
        (Beyond(scaled=True), "params/scale"),
        (Beyond(scaled=False), "params/Dense_0/kernel"),
        (Tokens(), "params/Dense_0/bias"),
        (Lifted(), "params/CheckpointDense_0/bias"),
    ],
    ids=["scale", "second use", "tokens", "lifted"],
)
def test_parameters_outside_dense_layers_are_noticed(network, name) -> None:
    apply, params = prepared(network)
    assert estimate_cost(apply, params, X).costs["layers"].infeasible_reason.startswith(f"'{name}' acts outside")
    np.testing.assert_allclose(
        empirical_ntk(apply, params, X), empirical_ntk(apply, params, X, method="jacobian"), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("way", WAYS)
def test_kernels_can_be_compiled_and_mapped_over_networks(way) -> None:
    network = NTKNetwork((5,), 2)
    many = jax.vmap(lambda key: network.init(key, X))(jax.random.split(jax.random.key(3), 3))
    mapped = jax.jit(jax.vmap(lambda params: empirical_ntk(network.apply, params, X, method=way)))(many)
    for number, found in enumerate(mapped):
        params = jax.tree.map(lambda leaf, k=number: leaf[k], many)
        np.testing.assert_allclose(found, empirical_ntk(network.apply, params, X), rtol=1e-4, atol=1e-5)


def test_wide_networks_are_contracted_layer_by_layer() -> None:
    network = NTKNetwork((10_000,) * 3)
    x = jax.ShapeDtypeStruct((64, 784), jnp.float32)
    params = jax.eval_shape(network.init, jax.random.key(0), x)
    found = estimate_cost(network.apply, params, x, memory_gib=2.0)
    assert found.cheapest == "layers" and found.costs["layers"].gib < 1.5
    assert (
        "needs" in found.costs["jacobian"].infeasible_reason
        and "memory_gib=2" in found.costs["jacobian"].infeasible_reason
    )
    assert 0.5 < found.costs["layers"].flops / (64 * 2 * 2 * 2.08e8) < 2  # once forward, once back
    lines = str(found).splitlines()
    assert lines[2].startswith("layers") and lines[2].endswith("(chosen)") and "in blocks of one point" in lines[0]


def test_the_cheapest_way_depends_on_shapes() -> None:
    images = jax.ShapeDtypeStruct((50, 8, 8, 1), jnp.float32)
    choices = []
    for classes in (1, 100):
        network = ConvNet((4, 4), (8,), classes)
        params = jax.eval_shape(network.init, jax.random.key(0), images)
        choices.append(estimate_cost(network.apply, params, images).cheapest)
    assert choices == ["jacobian", "products"]


def test_bad_input_is_refused() -> None:
    apply, params = prepared(NTKNetwork((5,), 2))
    for arguments, line in (
        ({"method": "layer"}, "unknown method 'layer': did you mean 'layers'"),
        ({"outputs": 2}, "the network has outputs 0 to 1, and not 2"),
        ({"outputs": "traces"}, "unknown outputs 'traces': did you mean 'trace'"),
        ({"x2": X[:, :3]}, r"inputs must be alike, not \(7, 4\) and \(7, 3\)"),
        ({"memory_gib": 1e-7}, "jacobian: needs .* more than memory_gib=1e-07; products: needs .*; layers: needs"),
        ({"method": "products", "memory_gib": 1e-7}, "products: needs .* even in blocks of one point"),
    ):
        with pytest.raises(BadInput, match=line):
            empirical_ntk(apply, params, X, **arguments)
    with pytest.raises(BadInput, match=r"a network must give \(n, outputs\), not \(1,\)"):
        empirical_ntk(_flat, params, X)


def _flat(params, x):
    return x[:, 0]


def test_the_linearised_network() -> None:
    apply, params = prepared(NTKNetwork((5, 6), 2, nn.tanh))
    linear = linearise(apply, params)
    change = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(5), leaf.shape), params)

    def moved(by):
        return jax.tree.map(lambda leaf, direction: leaf + by * direction, params, change)

    np.testing.assert_allclose(linear(params, X), apply(params, X), rtol=1e-6)
    # The first-order error falls as the square of the step, the linear model is linear, its kernel does not move.
    near, nearer = (float(abs(linear(moved(by), X) - apply(moved(by), X)).max()) for by in (1e-1, 2.5e-2))
    assert 10 < near / nearer < 25
    np.testing.assert_allclose(linear(moved(2.0), X) + linear(params, X), 2 * linear(moved(1.0), X), atol=1e-5)
    np.testing.assert_allclose(
        empirical_ntk(linear, moved(3.0), X, method="jacobian"), empirical_ntk(apply, params, X), rtol=1e-4, atol=1e-5
    )
