"""The method: a network with two heads, the gradient reversal layer between them, and its training on two streams.

With features f = G_f(x; θ_f), labels G_y(f; θ_y) and domains G_d(f; θ_d), a saddle point is sought of

    E(θ_f, θ_y, θ_d) = L_y - λ L_d,    minimal in θ_f and θ_y, maximal in θ_d      (equations 9 to 12)

where L_y is the mean loss of labels on the source and L_d the sum of the mean losses of domains on source and target.
"""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from core.lab.keys import named_keys
from core.models.convolution import Conv
from core.models.images import dense_layer, glorot_init, max_pool_2x2
from core.supervised.batches import cyclic_batches, epoch_batches, stream_split, uniform_batches
from core.supervised.comparison import Comparison
from core.supervised.tasks import Task, classification_metrics, cross_entropies
from core.supervised.training import Examples

if TYPE_CHECKING:
    from core.lab.lab import Lab
    from experiments.dann.settings import AdversarialSettings

Tree = Any
ARM = ("reversal", "domain", "shuffle")  # what arms differ in, scalars of a replicate
AT_ONCE = 500  # examples that pass through a network together after the training
glorot_uniform = nn.initializers.glorot_uniform()


@jax.custom_vjp
def reverse_gradient(x: jax.Array, weight: jax.Array | float) -> jax.Array:
    """R(x) = x, whose derivative is taken to be -weight · I (equations 16 and 17); `weight` may be traced."""
    return x


reverse_gradient.defvjp(lambda x, weight: (x, weight), lambda weight, g: (-weight * g, jnp.zeros_like(weight)))


class Outputs(NamedTuple):
    """What the network makes of a batch: logits of labels (n, classes), logits (n,) of belonging to the target."""

    labels: jax.Array
    domains: jax.Array
    features: jax.Array  # G_f(x), where the domain head branches off
    hidden: jax.Array  # the last hidden layer of the label head


class Network(nn.Module):
    """Features, a label head, and behind the gradient reversal layer a domain head.

    Either `channels` convolutions of 5 x 5, each pooled, and ReLU layers of widths `hidden` and `domain_hidden` in the
    heads (figure 4a); or one sigmoid layer of `width` units, all weights uniform as in the authors' program.
    """

    channels: tuple[int, ...]
    width: int
    hidden: tuple[int, ...]
    domain_hidden: tuple[int, ...]
    classes: int

    @nn.compact
    def __call__(self, x: jax.Array, reversal: jax.Array | float = 0.0) -> Outputs:
        """Everything of a batch; `reversal` is the weight of the domain head's reversed gradients in the features."""
        init = glorot_uniform if self.width else glorot_init
        for number, width in enumerate(self.channels):
            x = nn.relu(max_pool_2x2(Conv(width, 5, padding="VALID", name=f"features_{number}")(x)))
        f = x.reshape(len(x), -1)
        if self.width:
            f = nn.sigmoid(dense_layer(f, self.width, "features", init))
        h, d = f, reverse_gradient(f, reversal)
        for number, width in enumerate(self.hidden):
            h = nn.relu(dense_layer(h, width, f"label_{number}"))
        for number, width in enumerate(self.domain_hidden):
            d = nn.relu(dense_layer(d, width, f"domain_{number}"))
        return Outputs(dense_layer(h, self.classes, "label", init), dense_layer(d, 1, "domain", init)[:, 0], f, h)


def shallow_network(width: int, classes: int = 2) -> Network:
    """One sigmoid layer and linear heads (section 4.1)."""
    return Network((), width, (), (), classes)


def zero_domain_head(variables: Tree) -> Tree:
    """u, d ← 0, as algorithm 1 begins."""
    params = variables["params"]
    return {"params": {**params, "domain": jax.tree.map(jnp.zeros_like, params["domain"])}}


def objective(
    params: Tree, network: Network, batch: Tree, domains: jax.Array, reversal: jax.Array | float, weight: Any
) -> jax.Array:
    """The pseudo-objective whose gradient descent is the search for the saddle point.

    Both streams pass through the network together; `domains` (2, n) says of each example whether it counts as target.
    With reversal 1 and weight λ descent performs the equations 13 to 15; with λ and 1 those of section 5.2.2.
    """
    out = network.apply({"params": params}, jnp.concatenate([batch["source"], batch["target"]]), reversal)
    assert isinstance(out, Outputs)
    # L_y = -1/n Σ_source log softmax(G_y(f))[y]
    label_loss = cross_entropies(out.labels[: len(batch["source"])], batch["labels"]).mean()
    # L_d = -1/n Σ_source log(1 - G_d(R(f))) - 1/n' Σ_target log G_d(R(f))
    domain_loss = optax.sigmoid_binary_cross_entropy(out.domains.reshape(2, -1), domains).mean(1).sum()
    return label_loss + weight * domain_loss


def as_input(x: jax.Array, mean: jax.Array) -> jax.Array:
    """Images of bytes as numbers in [0, 1], other numbers as they are, less the mean (1, …, channels)."""
    return (x.astype(jnp.float32) / 255 if x.dtype == jnp.uint8 and x.ndim == 4 else x.astype(jnp.float32)) - mean


def adversarial_task(network: Network, shape: tuple[int, ...], iterations: int, gain: float | None = None) -> Task:
    """Adversarial training of a network on inputs of `shape`; with a `gain` γ the reversal grows over the training."""
    return Task(
        partial(_initial, network, shape), partial(_loss, network, iterations, gain), partial(_metrics, network), gather
    )


def gather(examples: Mapping[str, jax.Array], rows: Any) -> dict[str, jax.Array]:
    """A batch of both streams, where `rows` has an order for each; or examples to be evaluated."""
    if not isinstance(rows, Mapping):
        return {"x": as_input(examples["x"][rows], examples["mean"]), "y": examples["y"][rows]}
    streams = {name: as_input(examples[name][rows[name]], examples["mean"]) for name in ("source", "target")}
    return streams | {"labels": examples["labels"][rows["source"]]} | {name: examples[name] for name in ARM}


def _initial(network: Network, shape: tuple[int, ...], key: jax.Array) -> Tree:
    return dict(network.init(key, jnp.zeros((1, *shape))))


def reversal_weight(gain: float | None, iterations: int, i: Any) -> Any:
    """The weight of the reversed gradient at progress p, the share of the training that is done."""
    # λ_p = 2 / (1 + exp(-γ p)) - 1
    return 1.0 if gain is None else 2 / (1 + jnp.exp(-gain * i / iterations)) - 1


def _loss(
    network: Network, iterations: int, gain: float | None, variables: Tree, batch: Any, key: jax.Array, i: Any
) -> tuple[jax.Array, Tree]:
    n = len(batch["source"])
    domains = jnp.stack([jnp.zeros(n), jnp.ones(n)])
    dealt = jax.random.permutation(key, domains.ravel()).reshape(domains.shape)
    reversal = batch["reversal"] * reversal_weight(gain, iterations, i)
    told = jnp.where(batch["shuffle"], dealt, domains)
    return objective(variables["params"], network, batch, told, reversal, batch["domain"]), {}


def _metrics(network: Network, variables: Tree, batch: Any) -> dict[str, jax.Array]:
    out = network.apply(variables, batch["x"])
    assert isinstance(out, Outputs)
    found = classification_metrics(out.labels, batch["y"])
    return found | {"error": 100 - found["accuracy"]}


def arm_examples(data: Tree, keys: jax.Array, reversal: float, domain: float = 1.0, shuffle: bool = False) -> Examples:
    """What an arm trains on, is evaluated on (held-out examples of the labelled domain) and is tested on.

    A `reversal` of 0 is the network without adaptation; `domain` weighs the loss of domains for both players;
    `shuffle` deals the domain labels of every batch out at random. One program serves all arms.
    """
    arm = {name: jnp.full(keys.shape, value) for name, value in zip(ARM, (reversal, domain, shuffle), strict=True)}
    train = {name: data[name] for name in ("source", "labels", "target", "mean")} | arm
    test = {"x": data["test"], "y": data["true"], "mean": data["mean"]}
    return Examples(train, test, {"x": data["held"], "y": data["held_labels"], "mean": data["mean"]})


# Algorithm 1: "for i from 1 to n", and "j ← uniform_integer(1, …, n')".
SHALLOW = {"source": cyclic_batches, "target": uniform_batches}
DEEP = {"source": epoch_batches, "target": epoch_batches}


def compare_on_domains(
    settings: "AdversarialSettings", keys: jax.Array, lab: "Lab", draws: dict, task: Task, data: Tree, **options: Any
) -> Comparison:
    """Arms that see the streams of `data` in the same orders."""
    counts = {name: data[name].shape[1] for name in ("source", "target", "held", "test")}
    length, rest = settings.training, (counts["held"], counts["test"])
    draw = partial(stream_split, draws, counts, rest, length.batch, length.iterations)
    split, examples = lab.map(draw, named_keys(lab, keys, "order")), arm_examples(data, keys, 0.0)
    return Comparison(
        lab, keys, task, examples, split, length.iterations, length.evaluate_every, settings.optimizer,
        own_examples=True, **options,
    )  # fmt: skip


def outputs(network: Network, variables: Tree, x: jax.Array, mean: jax.Array) -> Outputs:
    """What the network makes of any number of examples, some at a time to bound memory."""

    def one(x: jax.Array) -> Outputs:
        return jax.tree.map(lambda leaf: leaf[0], network.apply(variables, as_input(x[None], mean)))

    return jax.lax.map(one, x, batch_size=min(AT_ONCE, len(x)))


def domain_accuracy(source: Outputs, target: Outputs) -> jax.Array:
    """How often the domain head is right on both domains, in percent."""
    return 50 * ((source.domains < 0).mean() + (target.domains >= 0).mean())
