"""Training prior-data fitted networks, ours against pfns, and predicting with them.

Both sides train a fresh network end to end: draw Gaussian processes from the prior, forward, backward, clip, Adam.
Sizes, context sizes of every update, borders of the bars, learning rate and the law of the data sets are equal; numbers
of parameters, and by how much the losses on the same held-out data sets exceed the exact posterior's, are compared.
What remains different: a query of ours attends to itself too, our layers have biases and scales, and pfns gets a fresh
model and data loader by its own `train`, which takes it milliseconds.
"""

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.harness import Comparison, Outcome
from benchmarks.peers import Inputs, Peer, Work, ready
from benchmarks.timing import ratios

LENGTHSCALE, OUTPUTSCALE, NOISE, RATE = 0.3, 1.0, 0.01, 1e-3
LUCK = 0.05  # nats by which a network may seem better than the exact posterior on a few data sets


def count_gflop(size: SimpleNamespace, n: int) -> float:
    """Of the matrix products of one update with n points of context, multiplications and additions.

    Forward once and backward twice: queries, keys and values 3d², output d², two maps of d h for every point; q·k and
    the mixture of values 2 n d for every point; the decoder 2d² + 2 d B for every query. Rows of the last layer that
    are no queries, which ours leaves out, count as done.
    """
    d = size.width
    maps = size.layers * (4 * d**2 + 2 * d * size.hidden) * size.points
    decoder = (2 * d**2 + 2 * d * size.bars) * (size.points - n)
    return 6e-9 * size.batch * (maps + size.layers * 2 * n * d * size.points + decoder)


def compare_trained(loss: float, parameters: int, inputs: Inputs) -> dict[str, float]:
    """What is compared of trained networks; none predicts better than the exact posterior but by luck."""
    exact = float(inputs["exact"])
    if loss < exact - LUCK:
        raise SystemExit(f"a loss of {loss:.3f} is better than the exact posterior's, {exact:.3f}")
    return {"loss above the exact": loss - exact, "parameters": parameters}


def draw(size: SimpleNamespace) -> Inputs:
    """Contexts of every update as our steps draw them, borders, and data sets with their exact loss."""
    import jax
    import jax.numpy as jnp

    from core.amortised.bar_distribution import borders_from_samples
    from core.amortised.training import context_size_probabilities
    from core.bayes.gaussian_process import normal_log_density, predict, rbf

    recipe, _ = prepare_training(size, np.linspace(-3, 3, size.bars + 1, dtype=np.float32))
    keys = [jax.random.split(jax.random.fold_in(jax.random.key(0), i))[0] for i in range(size.steps)]
    law = jnp.asarray(context_size_probabilities(size.points))
    contexts = [int(jax.random.choice(key, size.points, p=law)) for key in keys]
    drawn = recipe.prior(jax.random.key(1), (4 * size.sets, size.points, size.features))
    x, y = recipe.prior(jax.random.key(2), (size.sets, size.points, size.features))
    n = size.seen
    density = jax.vmap(lambda x, y: normal_log_density(predict(rbf, hyper_parameters(), x[:n], y[:n], x[n:]), y[n:]))
    arrays = {"x": x, "y": y, "borders": borders_from_samples(drawn.y, size.bars), "contexts": contexts}
    return {name: np.asarray(array) for name, array in {**arrays, "exact": -density(x, y).mean()}.items()}


def hyper_parameters() -> Any:
    """Of the Gaussian processes."""
    import jax.numpy as jnp

    from core.bayes.gaussian_process import Hyperparameters

    return Hyperparameters(jnp.float32(LENGTHSCALE), jnp.float32(OUTPUTSCALE), jnp.float32(NOISE))


def prepare_training(size: SimpleNamespace, borders: np.ndarray) -> tuple[Any, Callable]:
    """The recipe, and `train(key) -> parameters`: one compiled scan of updates, the prior within."""
    import jax
    import jax.numpy as jnp

    from core.amortised import bar_distribution
    from core.amortised.encoder import TransformerEncoder
    from core.amortised.priors import sample_gaussian_process
    from core.amortised.training import TrainingSpec, init_state, learning_rate_plan, training_step
    from core.bayes.gaussian_process import rbf

    def prior(key: jax.Array, shape: tuple[int, int, int]) -> Any:
        return sample_gaussian_process(key, shape, rbf, hyper_parameters())

    network = TransformerEncoder(size.features, size.width, size.layers, size.heads, size.hidden, size.bars)
    recipe = TrainingSpec(network, prior, bar_distribution.log_density, size.points, size.batch, tuple(size.contexts))
    about = {"plan": learning_rate_plan(0, size.steps, 1, RATE, False), "prior": {}}

    @jax.jit
    def train(key: jax.Array) -> Any:
        def one(state: Any, i: jax.Array) -> tuple[Any, None]:
            return training_step(recipe, state, jax.random.fold_in(key, i), i, jnp.asarray(borders), about), None

        return jax.lax.scan(one, init_state(recipe, key), jnp.arange(size.steps))[0]["params"]

    return recipe, train


def add_predictions(work: Work, x: Any, y: Any, predict: Callable[[Any, Any], Any]) -> None:
    """Of data sets one by one, and of a batch at once."""
    ones, batch = [(x[i : i + 1], y[i : i + 1]) for i in range(work.sizes.alone)], work.sizes.batch
    work.add("predict one by one", lambda: [predict(*one) for one in ones], len(ones), "predictions")
    work.add("predict a batch", lambda: predict(x[:batch], y[:batch]), batch, "predictions")


def build_encore(work: Work, inputs: Inputs) -> None:
    """The kit of `core.amortised`."""
    import jax
    import jax.numpy as jnp

    size, x, y, key = work.sizes, jnp.asarray(inputs["x"]), jnp.asarray(inputs["y"]), jax.random.key(0)
    recipe, train = prepare_training(size, inputs["borders"])
    outputs = jax.jit(lambda params, x, y: recipe.network.apply({"params": params}, x, y, size.seen))

    def compare(params: Any) -> dict[str, float]:
        densities = recipe.head(jnp.asarray(inputs["borders"]), outputs(params, x, y), y[:, size.seen :])
        parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
        return compare_trained(-float(jnp.mean(densities)), parameters, inputs)

    work.add("train", ready(train, key), size.steps * size.batch, result=compare)
    gflop = sum(count_gflop(size, int(n)) for n in inputs["contexts"]) / (size.steps * size.batch)
    work.facts |= {"exact loss": float(inputs["exact"]), "GFLOP a data set": gflop}
    params = train(key)
    add_predictions(work, x, y, lambda x, y: jax.block_until_ready(outputs(params, x, y)))
    left, product = jnp.ones((size.product, size.product)), jax.jit(lambda a, b: a @ b)
    work.add("large product", ready(product, left, left), 2e-9 * size.product**3, "GFLOP")


def build_pfns(work: Work, inputs: Inputs) -> None:
    """pfns by its own `train`, with its own Gaussian processes (gpytorch), drawn as it trains or by a worker."""
    import torch

    torch.set_num_threads(work.threads)
    size, x, y, models = work.sizes, torch.from_numpy(inputs["x"]), torch.from_numpy(inputs["y"]), []

    def predict(x: Any, y: Any) -> Any:
        with torch.no_grad():
            return models[-1](x=x, y=y[:, : size.seen], only_return_standard_out=True)

    def compare(model: Any) -> dict[str, float]:
        models.append(model.eval())
        loss = float(model.criterion(predict(x, y), y[:, size.seen :]).mean())
        return compare_trained(loss, sum(p.numel() for p in model.parameters()), inputs)

    for workers, form in enumerate(("", "prior in a worker")):
        train = prepare_pfns_training(size, inputs, workers)
        work.add("train", train, size.steps * size.batch, form=form, result=compare)
    add_predictions(work, x, y, predict)
    left = torch.ones(size.product, size.product)
    work.add("large product", lambda: left @ left, 2e-9 * size.product**3, "GFLOP")


def prepare_pfns_training(size: SimpleNamespace, inputs: Inputs, workers: int) -> Callable[[], Any]:
    """A fresh model and a run of updates in float32, by the library's own loop; returns the model."""
    import torch
    from pfns.batch_shape_sampler import BatchShape, BatchShapeSamplerConfig
    from pfns.model.bar_distribution import BarDistributionConfig
    from pfns.model.transformer_config import TransformerConfig
    from pfns.optimizer import OptimizerConfig
    from pfns.priors.prior import AdhocPriorConfig
    from pfns.train import MainConfig, train

    @dataclasses.dataclass(frozen=True)
    class Given(BatchShapeSamplerConfig):
        """The context sizes of our updates, in their order."""

        contexts: tuple[int, ...] = ()

        def sample_batch_shape(self, epoch: int, training_step: int) -> BatchShape:
            return BatchShape(size.batch, size.points, size.features, self.contexts[training_step])

    hyper = {"noise": NOISE, "outputscale": OUTPUTSCALE, "lengthscale": LENGTHSCALE, "sampling": "uniform"}
    hyper["fast_computations"] = (False, False, False)  # Cholesky: for so few points faster than Lanczos
    config: Any = MainConfig(
        priors=[AdhocPriorConfig(prior_names=["fast_gp"], prior_kwargs={"hyperparameters": hyper})],
        optimizer=OptimizerConfig("adam", RATE),
        model=TransformerConfig(
            criterion=BarDistributionConfig(borders=inputs["borders"].tolist(), full_support=True),
            emsize=size.width,
            nhid=size.hidden,
            nlayers=size.layers,
            nhead=size.heads,
            features_per_group=size.features,
            attention_between_features=False,
        ),
        batch_shape_sampler=Given(contexts=tuple(inputs["contexts"].tolist())),
        epochs=1,
        steps_per_epoch=size.steps,
        train_mixed_precision=False,
        scheduler="constant",
        verbose=False,
        num_workers=workers,
    )

    def run() -> Any:
        torch.manual_seed(0)
        return train(config, device="cpu", reusable_config=False)["model"]

    return run


def share_of_peak(outcome: Outcome) -> dict[str, dict[str, list[float]]]:
    """GFLOP/s of trainings over the core's, by the side whose large product is faster in that round."""
    products = [values for label, values in outcome.rates.items() if label.case == "large product"]
    peaks, each = [max(values) for values in zip(*products, strict=True)], outcome.facts["encore"]["GFLOP a data set"]
    trainings = {label: values for label, values in outcome.rates.items() if label.case == "train"}
    shares = {str(label): ratios([each * value for value in values], peaks) for label, values in trainings.items()}
    return {"share of the peak": shares}


def pfn_comparison(name: str, about: str, sizes: dict[str, Any]) -> Comparison:
    """One size of network and data sets."""
    return Comparison(
        name=name,
        question=f"How fast are training and prediction of {about} prior-data fitted networks, beside pfns?",
        work="width {width}, {layers} layers; Gaussian processes, {points} points, {features} features, batch {batch}",
        sizes={"heads": 4, "bars": 100, "sets": 512, "alone": 50, "product": 2048, **sizes},
        quick={
            "width": 32, "layers": 1, "hidden": 64, "points": 5, "batch": 2, "steps": 2, "contexts": [4], "seen": 2,
            "sets": 64, "alone": 1, "product": 8,
        },
        unit="data sets",
        peers=(Peer("encore", build_encore), Peer("pfns", build_pfns, ("pfns", "torch"), foreign=True)),
        draw=draw,
        tolerance={"loss": 0.2, "parameters": 0.1},  # initial values and draws differ, and see above
        layouts=("one core",),
        derive=share_of_peak,
    )  # fmt: skip


LAPTOP = {"width": 64, "layers": 3, "hidden": 128, "features": 1, "points": 32, "batch": 64, "steps": 100, "seen": 16}
WIDE = {"width": 256, "layers": 4, "hidden": 512, "features": 5, "points": 100, "batch": 16, "steps": 15, "seen": 50}
BENCHMARKS = (
    pfn_comparison("pfn_laptop", "small", {**LAPTOP, "contexts": [7, 15, 21, 25, 28, 30, 31]}),
    pfn_comparison("pfn_wide", "wide", {**WIDE, "contexts": [24, 49, 74, 99]}),
)
