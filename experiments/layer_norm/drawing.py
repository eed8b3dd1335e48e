"""DRAW on binarised MNIST (section 6.4): encoder and decoder are LSTMs with tanh(LN(c)) or tanh(c) at their output."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from core.data.catalogue import find_data_set
from core.models.norms import layer_norm
from core.models.recurrent import lstm_step
from core.supervised.tasks import Batch, Task
from core.supervised.training import Examples
from experiments.layer_norm.networks import network_of

if TYPE_CHECKING:
    from experiments.layer_norm.settings import DrawSettings

Tree = Any
BINARISATION = 0  # seed of the one binarisation that all replicates and arms share


def binarise(examples: Mapping[str, jax.Array], rows: jax.Array) -> dict[str, jax.Array]:
    """Bits "x" (n, pixels): each pixel is 1 with its grey value as probability, drawn once and for all for an image."""
    keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(BINARISATION)))(rows)
    bits = jax.vmap(jax.random.bernoulli)(keys, examples["images"][rows].astype(jnp.float32) / 255)
    return {"x": bits.reshape(len(rows), -1).astype(jnp.float32), "row": rows}


class Sizes(NamedTuple):
    """What the network depends on, and nothing else: programs are shared by all learning rates."""

    pixels: int
    width: int
    latent: int
    glimpses: int


def sizes_of(settings: "DrawSettings") -> Sizes:
    """Those of a study."""
    pixels = int(np.prod(find_data_set(settings.data.name).array_shapes["train_images"][0][1:]))
    return Sizes(pixels, settings.width, settings.latent, settings.glimpses)


def initial(sizes: Sizes, key: jax.Array) -> dict[str, Tree]:
    """Fresh parameters: kernels of variance 1 / inputs, biases 0 but those of the forget gates 1, gains 1."""
    n, width, latent, _ = sizes
    shapes = {
        "encoder_image": (2 * n, 4 * width),
        "encoder_hidden": (2 * width, 4 * width),
        "decoder_input": (latent, 4 * width),
        "decoder_hidden": (width, 4 * width),
        "posterior": (width, 2 * latent),
        "write": (width, n),
    }
    keys = jax.random.split(key, len(shapes))
    params: dict[str, Any] = {
        name: jax.random.normal(k, shape) / jnp.sqrt(shape[0])
        for k, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
    for player in ("encoder", "decoder"):
        params[f"{player}_bias"] = jnp.zeros(4 * width).at[:width].set(1.0)
        params[f"{player}_norm"] = {"gain": jnp.ones(width), "bias": jnp.zeros(width)}
    params["first_canvas"] = jnp.zeros(n)
    return {"params": params}


def step(
    params: Tree, player: str, norm: bool, carry: tuple[jax.Array, jax.Array], summed: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """One step of the encoder's or the decoder's LSTM from its summed inputs (n, 4 width): h and c, each (n, width)."""
    own = params[f"{player}_norm"]

    def normalise(part: str, a: jax.Array) -> jax.Array:
        # h = σ(o) tanh(LN(c)), and nothing else is normalised
        return layer_norm(a, own["gain"], own["bias"]) if norm and part == "cell" else a

    h, c = lstm_step(normalise, carry, (summed,), (params[f"{player}_bias"][None],))
    return h, c


def bound(sizes: Sizes, norm: bool, params: Tree, x: jax.Array, key: jax.Array) -> jax.Array:
    """The bound on -log p(x) of bits x (n, pixels), with one draw of z, in nats: (n,).

    -log p(x) ≤ E[-log p(x|z)] + Σ_t KL(q(z_t|x, z_<t) ‖ N(0, I))
    """
    n, width, split = len(x), sizes.width, sizes.pixels
    from_image = x @ params["encoder_image"][:split]  # the same at every glimpse

    def glimpse(carried: tuple, key: jax.Array) -> tuple[tuple, jax.Array]:
        canvas, encoder, decoder = carried
        # x̂_t = x - σ(c_{t-1});  h_enc = LSTM(h_enc, [x, x̂, h_dec]);  z ~ N(μ, σ²);  h_dec = LSTM(h_dec, z)
        summed = from_image + (x - jax.nn.sigmoid(canvas)) @ params["encoder_image"][split:]
        summed += jnp.concatenate([encoder[0], decoder[0]], axis=-1) @ params["encoder_hidden"]
        encoder = step(params, "encoder", norm, encoder, summed)
        mean, log_sd = jnp.split(encoder[0] @ params["posterior"], 2, axis=-1)
        z = mean + jnp.exp(log_sd) * jax.random.normal(key, mean.shape)
        decoder = step(
            params, "decoder", norm, decoder, z @ params["decoder_input"] + decoder[0] @ params["decoder_hidden"]
        )
        # c_t = c_{t-1} + W h_dec;  KL = ½ Σ (μ² + σ² - 2 log σ - 1)
        divergence = 0.5 * jnp.sum(mean**2 + jnp.exp(2 * log_sd) - 2 * log_sd - 1, axis=-1)
        return (canvas + decoder[0] @ params["write"], encoder, decoder), divergence

    canvas = jnp.broadcast_to(params["first_canvas"][None], x.shape)
    nothing = (jnp.zeros((n, width)), jnp.zeros((n, width)))
    carried, divergences = jax.lax.scan(glimpse, (canvas, nothing, nothing), jax.random.split(key, sizes.glimpses))
    return optax.sigmoid_binary_cross_entropy(carried[0], x).sum(-1) + divergences.sum(0)


def draw_loss(
    sizes: Sizes, norm: bool, variables: Tree, batch: Batch, key: jax.Array, i: jax.Array
) -> tuple[jax.Array, Tree]:
    """Mean bound of a batch, in nats."""
    return bound(sizes, norm, variables["params"], batch["x"], key).mean(), {}


def draw_metrics(sizes: Sizes, norm: bool, variables: Tree, batch: Batch) -> dict[str, jax.Array]:
    """The bound of every image, in nats, with the same latent noise at every evaluation."""

    def one(x: jax.Array, row: jax.Array) -> jax.Array:
        return bound(sizes, norm, variables["params"], x[None], jax.random.fold_in(jax.random.key(1), row))[0]

    return {"loss": jax.vmap(one)(batch["x"], batch["row"])}


def draw_examples(data: Mapping[str, jax.Array]) -> Examples:
    """Images of both parts, without their labels."""
    train, test = ({"images": data[f"{part}_images"]} for part in ("train", "test"))
    return Examples(train, test)


def draw_task(settings: "DrawSettings", arm: str) -> Task:
    """A model of binarised images, with or without layer norm."""
    sizes, norm = sizes_of(settings), network_of(arm) == "layer_norm"
    loss, metrics = partial(draw_loss, sizes, norm), partial(draw_metrics, sizes, norm)
    return Task(partial(initial, sizes), loss, metrics, gather=binarise, at_once=250)
