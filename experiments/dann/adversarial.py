"""The method: a network with two heads, the gradient reversal layer between them, and one step of its training.

With features f = G_f(x; θ_f), labels G_y(f; θ_y) and domains G_d(f; θ_d), a saddle point is sought of

    E(θ_f, θ_y, θ_d) = L_y - λ L_d,    minimal in θ_f and θ_y, maximal in θ_d      (equations 9 to 12)

where L_y is the mean loss of labels on the source and L_d the sum of the mean losses of domains on source and target.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from core.models.convolution import ValidConv
from core.models.images import dense_layer, max_pool_2x2
from core.models.linear import principal_directions

Tree = Any
EVALUATED_AT_ONCE = 500


@jax.custom_vjp
def reverse_gradient(x: jax.Array, weight: jax.Array | float) -> jax.Array:
    """R(x) = x, whose derivative is taken to be -weight · I (equations 16 and 17); `weight` may be traced."""
    return x


def _forward(x: jax.Array, weight: jax.Array | float) -> tuple[jax.Array, jax.Array | float]:
    return x, weight


def _backward(weight: jax.Array | float, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    return -weight * gradient, jnp.zeros_like(weight)


reverse_gradient.defvjp(_forward, _backward)


class Outputs(NamedTuple):
    """What the network makes of a batch: logits of labels (n, classes), logits (n,) of belonging to the target."""

    labels: jax.Array
    domains: jax.Array
    features: jax.Array  # G_f(x), where the domain head branches off
    hidden: jax.Array  # the last hidden layer of the label head


class Network(nn.Module):
    """Features, a label head, and behind the gradient reversal layer a domain head.

    `channels` convolutions of 5 x 5, each pooled (figure 4a), and no `width`; or no convolutions and one sigmoid layer
    of `width` units (section 4.1). `hidden` and `domain_hidden` are the ReLU layers of the two heads.
    """

    channels: tuple[int, ...]
    width: int
    hidden: tuple[int, ...]
    domain_hidden: tuple[int, ...]
    classes: int

    @nn.compact
    def __call__(self, x: jax.Array, reversal: jax.Array | float = 0.0) -> Outputs:
        """Everything of a batch; `reversal` is the weight λ of the domain head's gradients in the features."""
        for number, width in enumerate(self.channels):
            x = nn.relu(max_pool_2x2(ValidConv(width, name=f"features_{number}")(x)))
        f = x.reshape(len(x), -1)
        if self.width:
            f = nn.sigmoid(dense_layer(f, self.width, "features"))
        h, d = f, reverse_gradient(f, reversal)
        for number, width in enumerate(self.hidden):
            h = nn.relu(dense_layer(h, width, f"label_{number}"))
        for number, width in enumerate(self.domain_hidden):
            d = nn.relu(dense_layer(d, width, f"domain_{number}"))
        return Outputs(dense_layer(h, self.classes, "label"), dense_layer(d, 1, "domain")[:, 0], f, h)


@dataclass(frozen=True)
class Training:
    """How a network is trained: everything that arms have in common."""

    network: Network
    steps: int
    learning_rate: float
    momentum: float
    decay: float  # α of the learning rate; 0: constant
    gain: float  # γ of the reversal; 0: constant

    def rate(self, step: Any) -> jax.Array:
        """The learning rate at progress p, the share of the training that is done."""
        # μ_p = μ_0 / (1 + α p)^0.75
        return self.learning_rate / (1 + self.decay * step / self.steps) ** 0.75

    def reversal(self, step: Any) -> jax.Array | float:
        """The weight of the reversed gradient at progress p."""
        # λ_p = 2 / (1 + exp(-γ p)) - 1
        return 2 / (1 + jnp.exp(-self.gain * step / self.steps)) - 1 if self.gain else 1.0

    def optimizer(self) -> optax.GradientTransformation:
        """Stochastic gradient descent with momentum."""
        return optax.sgd(self.rate, momentum=self.momentum or None)


class Arm(NamedTuple):
    """What arms differ in, each a scalar per replicate: one program serves them all.

    A reversal of 0 is the network without adaptation, one of -1 helps to tell the domains apart. `domain` weighs the
    loss of domains for both players. `shuffle` deals the domain labels of every batch out at random.
    """

    reversal: Any
    domain: Any
    shuffle: Any


def arm(shape: Sequence[int], reversal: float, domain: float = 1.0, shuffle: bool = False) -> Arm:
    """The same for every replicate."""
    return Arm(jnp.full(shape, reversal), jnp.full(shape, domain), jnp.full(shape, shuffle))


def as_input(x: jax.Array, mean: jax.Array) -> jax.Array:
    """Bytes as numbers in [0, 1], other numbers as they are, less the mean, whose shape (1, …) says the channels."""
    return (x.astype(jnp.float32) / 255 if x.dtype == jnp.uint8 and x.ndim == 4 else x.astype(jnp.float32)) - mean


def objective(
    params: Tree,
    network: Network,
    source: jax.Array,
    labels: jax.Array,
    target: jax.Array,
    domains: jax.Array,
    reversal: jax.Array | float,
    weight: jax.Array | float,
) -> jax.Array:
    """The pseudo-objective whose gradient descent is the search for the saddle point (equation 18).

    Both streams pass through the network together; `domains` (2, n) says of each image whether it counts as target.
    """
    out = network.apply({"params": params}, jnp.concatenate([source, target]), reversal)
    assert isinstance(out, Outputs)
    # L_y = -1/n Σ_source log softmax(G_y(f))[y]
    label_loss = optax.softmax_cross_entropy_with_integer_labels(out.labels[: len(source)], labels).mean()
    # L_d = -1/n Σ_source log(1 - G_d(R(f))) - 1/n' Σ_target log G_d(R(f))
    domain_loss = optax.sigmoid_binary_cross_entropy(out.domains.reshape(2, -1), domains).mean(1).sum()
    return label_loss + weight * domain_loss


class State(NamedTuple):
    """A network in training."""

    params: Tree
    moments: Tree


def begin(training: Training, params: Tree) -> State:
    """Before the first step."""
    return State(params, training.optimizer().init(params))


def initial(training: Training, shape: Sequence[int], key: jax.Array) -> State:
    """Glorot weights and zero biases for inputs of `shape` (without the batch)."""
    return begin(training, training.network.init(key, jnp.zeros((1, *shape)))["params"])


def step(training: Training, state: State, key: jax.Array, i: jax.Array, *given: Tree) -> State:
    """One update on as many source as target examples; `given` is an arm, the orders of both streams, and the data."""
    chosen, orders, data, *_ = given
    rows, others = orders["source"][i], orders["target"][i]
    domains = jnp.stack([jnp.zeros(len(rows)), jnp.ones(len(others))])
    dealt = jax.random.permutation(key, domains.ravel()).reshape(domains.shape)
    gradient = jax.grad(objective)(
        state.params,
        training.network,
        as_input(data["source"][rows], data["mean"]),
        data["labels"][rows],
        as_input(data["target"][others], data["mean"]),
        jnp.where(chosen.shuffle, dealt, domains),
        chosen.reversal * training.reversal(i),
        chosen.domain,
    )
    updates, moments = training.optimizer().update(gradient, state.moments)
    return State(optax.apply_updates(state.params, updates), moments)


def outputs(training: Training, params: Tree, x: jax.Array, mean: jax.Array) -> Outputs:
    """What the network makes of any number of examples, some at a time to bound memory."""

    def some(x: jax.Array) -> Outputs:
        out = training.network.apply({"params": params}, as_input(x[None], mean))
        assert isinstance(out, Outputs)
        return jax.tree.map(lambda leaf: leaf[0], out)

    return jax.lax.map(some, x, batch_size=min(EVALUATED_AT_ONCE, len(x)))


def accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Share of right labels, in percent."""
    return 100 * (logits.argmax(-1) == labels).mean()


def plane(source: jax.Array, target: jax.Array) -> jax.Array:
    """Features of both domains, (n + m, 2), in the plane of their two largest principal directions."""
    both = jnp.concatenate([source, target])
    mean, directions = principal_directions(both)
    return (both - mean[None]) @ directions[:, :2]
