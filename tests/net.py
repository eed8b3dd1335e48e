"""A second toy paper, `net`: a small flax network on the digits, whose gradients go by its group `scaling`.

`build_net(root)` writes it beside the toy of `tests/toy.py`: `encore run paper=net settings.scaling.micro_batches=4`.
"""

from pathlib import Path

from tests.toy import write_paper

CONFIG = """\
# @package _global_
paper: {title: A net, authors: [Nobody], year: 2002, fields: [toys], idea: A net learns digits. It takes some steps.}
metrics: {loss: nats}
studies:
  net:
    says: A perceptron on digits.
    replicates: {laptop: 4, paper: 16}
    settings: {dataset: digits, widths: [16], batch: 64, steps: 8, every: 4, scaling: {precision: float32}}
    scales:
      smoke: {steps: 4, every: 2}
      paper: {widths: [512, 512], steps: 3000, every: 500}
    arms: {start: initial values, trained: after some steps, start_again: other initial values}
claims:
  C1:
    says: Training lowers the loss.
    printed: {value: 1.0, unit: nats, where: nowhere}
    study: net
    all:
      - metric: loss
        number: [{minus: {arm: [start, trained]}}]
        over: replicate
        in: [0, .inf]
        matters: 0.01
    control: {name: no training, swap: {trained: start_again}}
notes: A toy.
"""

SETTINGS = '''\
"""Settings of the net."""

from core.papers.settings import DataSetName, PositiveInt, Settings, setting
from core.scaling.settings import ScalingSettings


class NetSettings(Settings):
    """A net."""

    dataset: DataSetName = setting("data set")
    widths: tuple[PositiveInt, ...] = setting("of the layers")
    batch: PositiveInt = setting("batch size")
    steps: PositiveInt = setting("length")
    every: PositiveInt = setting("between two evaluations")
    scaling: ScalingSettings = setting("how gradients are computed")


SETTINGS = {"net": NetSettings}
'''

EXPERIMENT = '''\
"""A perceptron on digits, trained by Adam; its gradients are computed as `settings.scaling` says."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from core.papers.contract import Study
from core.lab.keys import named_keys
from core.scaling.gradients import apply_in_precision, batch_value_and_grad, remat_module
from experiments.net.settings import NetSettings


class Layer(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x):
        return nn.gelu(nn.Dense(self.width)(x))


class Net(nn.Module):
    settings: NetSettings

    @nn.compact
    def __call__(self, x):
        block = remat_module(Layer, self.settings.scaling)
        for number, width in enumerate(self.settings.widths):
            x = block(width, name=f"layer_{number}")(x)
        return nn.Dense(10)(x)


def initial(settings, key):
    params = Net(settings).init(key, jnp.zeros((1, 64)))["params"]
    return {"params": params, "moments": optax.adam(1e-2).init(params)}


def loss(settings, params, batch):
    x, labels = batch
    logits = apply_in_precision(Net(settings).apply, settings.scaling)({"params": params}, x)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), {}


def as_batch(images, labels):
    return images.reshape(len(images), -1).astype(jnp.float32) / 16, labels


def step(settings, state, key, i, images, labels):
    rows = jax.random.randint(key, (settings.batch,), 0, len(images))
    batch = as_batch(images[rows], labels[rows])
    _, gradient = batch_value_and_grad(partial(loss, settings), settings.scaling)(state["params"], batch)
    updates, moments = optax.adam(1e-2).update(gradient, state["moments"])
    return {"params": optax.apply_updates(state["params"], updates), "moments": moments}


def measured(settings, state, images, labels):
    return loss(settings, state["params"], as_batch(images, labels))[0]


def evaluate(settings, state, i, images, labels):
    return state, {"loss_curve": measured(settings, state, images, labels)}


def finish(settings, state, images, labels):
    return {"loss": measured(settings, state, images, labels), **state["params"]["Dense_0"]}


def trial(settings, keys, lab):
    digits = lab.data(settings.dataset)
    data = (digits["train_images"], digits["train_labels"])
    for arm in ("start", "start_again"):
        state = lab.map(partial(initial, settings), named_keys(lab, keys, arm))
        lab.measure({"loss": lab.map(partial(measured, settings), state, shared=data)}, arm=arm)
    state = lab.map(partial(initial, settings), named_keys(lab, keys, "start"))
    length = {"steps": settings.steps, "evaluate_every": settings.every}
    functions = {"evaluate": partial(evaluate, settings), "finish": partial(finish, settings)}
    run = lab.iterate("net", partial(step, settings), keys, state, shared=data, **length, **functions)
    lab.measure({"loss": run.result["loss"]}, arm="trained")
    lab.measure(run.curves, along={"step": run.steps}, arm="trained")
    lab.keep("bias", run.result["bias"])


STUDIES = {"net": Study(trial)}
'''


def build_net(root: Path) -> Path:
    """Write the paper below a root that `tests.toy.build_toy` made, and return the root."""
    write_paper(root, "net", CONFIG, SETTINGS, EXPERIMENT)
    return root
