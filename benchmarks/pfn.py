"""Training prior-data fitted networks, ours against pfns, and predicting with them.

Both sides train a fresh network end to end: draw Gaussian processes from the prior, forward, backward, clip, Adam.
Sizes, context sizes of every update, borders of the bars, learning rate and the law of the data sets are equal; numbers
of parameters, and by how much the losses on the same held-out data sets exceed the exact posterior's, are compared.
What remains different: a query of ours attends to itself too, our layers have biases and scales, and pfns gets a fresh
model and data loader by its own `train`, which takes it milliseconds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.harness import Comparison, Outcome
from benchmarks.peers import Inputs, Peer, Work, ready
from benchmarks.timing import ratios

LENGTHSCALE, OUTPUTSCALE, NOISE, RATE = 0.3, 1.0, 0.01, 1e-3
LUCK = 0.05  # nats by which a network may seem better than the exact posterior on a few data sets


def count_gflop(size: Mapping[str, Any], n: int) -> float:
    """Of the matrix products of one update with n points of context, multiplications and additions.

    Forward once and backward twice: queries, keys and values 3d², output d², two maps of d h for every point; q·k and
    the mixture of values 2 n d for every point; the decoder 2d² + 2 d B for every query. Rows of the last layer that
    are no queries, which ours leaves out, count as done.
    """
    d, points, layers = size["width"], size["points"], size["layers"]
    maps = layers * (4 * d**2 + 2 * d * size["hidden"]) * points
    decoder = (2 * d**2 + 2 * d * size["bars"]) * (points - n)
    return 6e-9 * size["batch"] * (maps + layers * 2 * n * d * points + decoder)


def excess_loss(loss: float, exact: float) -> float:
    """Over the exact posterior's; no network predicts better but by luck."""
    if loss < exact - LUCK:
        raise SystemExit(f"a loss of {loss:.3f} is better than the exact posterior's, {exact:.3f}")
    return loss - exact


def draw(sizes: SimpleNamespace) -> Inputs:
    """Contexts of every update as our steps draw them, borders, and data sets with their exact loss, for every size."""
    import jax
    import jax.numpy as jnp

    from core.amortised.bars import borders_of
    from core.amortised.training import context_law
    from core.bayes.gaussian_process import Hyper, log_density, predictive, rbf

    inputs: Inputs = {}
    hyper = Hyper(jnp.float32(LENGTHSCALE), jnp.float32(OUTPUTSCALE), jnp.float32(NOISE))
    for name, size in sizes.networks.items():
        recipe, _ = prepare_training(size, np.linspace(-3, 3, size["bars"] + 1, dtype=np.float32))
        keys = [jax.random.split(jax.random.fold_in(jax.random.key(0), i))[0] for i in range(size["steps"])]
        law = jnp.asarray(context_law(size["points"]))
        contexts = [int(jax.random.choice(key, size["points"], p=law)) for key in keys]
        drawn = recipe.prior(jax.random.key(1), (4 * sizes.sets, size["points"], size["features"]))
        x, y = recipe.prior(jax.random.key(2), (sizes.sets, size["points"], size["features"]))

        def density(x: jax.Array, y: jax.Array, n: int = size["seen"]) -> jax.Array:
            return log_density(predictive(rbf, hyper, x[:n], y[:n], x[n:]), y[n:])

        arrays = {"x": x, "y": y, "borders": borders_of(drawn.y, size["bars"]), "contexts": contexts}
        arrays["exact"] = -jax.vmap(density)(x, y).mean()
        inputs |= {f"{name} {key}": np.asarray(array) for key, array in arrays.items()}
    return inputs


def prepare_training(size: Mapping[str, Any], borders: np.ndarray) -> tuple[Any, Callable]:
    """The recipe, and `train(key) -> parameters`: one compiled scan of updates, the prior within."""
    import jax
    import jax.numpy as jnp

    from core.amortised import heads
    from core.amortised.encoder import Encoder
    from core.amortised.priors import process
    from core.amortised.training import Recipe, begin, schedule, step
    from core.bayes.gaussian_process import Hyper, rbf

    def prior(key: jax.Array, shape: tuple[int, int, int]) -> Any:
        return process(key, shape, rbf, Hyper(jnp.float32(LENGTHSCALE), jnp.float32(OUTPUTSCALE), jnp.float32(NOISE)))

    network = Encoder(*(size[part] for part in ("features", "width", "layers", "heads", "hidden", "bars")))
    recipe = Recipe(network, prior, heads.bars, size["points"], size["batch"], tuple(size["contexts"]))
    about = {"plan": schedule(0, size["steps"], 1, RATE, False), "prior": {}, "sees": jnp.float32(1)}

    @jax.jit
    def train(key: jax.Array) -> Any:
        def one(state: Any, i: jax.Array) -> tuple[Any, None]:
            return step(recipe, state, jax.random.fold_in(key, i), i, jnp.asarray(borders), about), None

        return jax.lax.scan(one, begin(recipe, key), jnp.arange(size["steps"]))[0]["params"]

    return recipe, train


def add_predictions(work: Work, name: str, batch: int, x: Any, y: Any, predict: Callable[[Any, Any], Any]) -> None:
    """Of data sets one by one, and of a batch at once."""
    ones = [(x[i : i + 1], y[i : i + 1]) for i in range(work.sizes.alone)]
    work.add(f"{name}, predict one by one", lambda: [predict(*one) for one in ones], len(ones), "predictions")
    work.add(f"{name}, predict a batch", lambda: predict(x[:batch], y[:batch]), batch, "predictions")


def build_encore(work: Work, inputs: Inputs) -> None:
    """The kit of `core.amortised`."""
    import jax
    import jax.numpy as jnp

    for name, size in work.sizes.networks.items():
        own = {key: inputs[f"{name} {key}"] for key in ("x", "y", "borders", "contexts", "exact")}
        recipe, train = prepare_training(size, own["borders"])
        x, y, n = jnp.asarray(own["x"]), jnp.asarray(own["y"]), size["seen"]
        outputs = jax.jit(lambda params, x, y, n=n, net=recipe.network: net.apply({"params": params}, x, y, n))
        params = jax.block_until_ready(train(jax.random.key(0)))

        def compare(params: Any, own: Inputs = own, recipe: Any = recipe, outputs: Any = outputs, n: int = n) -> Any:
            logits = outputs(params, own["x"], own["y"])
            loss = -jnp.mean(recipe.head(jnp.asarray(own["borders"]), logits, own["y"][:, n:]))
            parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
            return {"excess loss": excess_loss(float(loss), float(own["exact"])), "parameters": parameters}

        work.add(
            f"{name}, train", ready(train, jax.random.key(0)),
            size["steps"] * size["batch"], result=compare,
        )  # fmt: skip
        work.facts[f"{name}, exact loss"] = float(own["exact"])
        work.facts[f"{name}, GFLOP a data set"] = sum(count_gflop(size, int(n)) for n in own["contexts"]) / (
            size["steps"] * size["batch"]
        )
        add_predictions(
            work, name, size["batch"], x, y, lambda x, y, o=outputs, p=params: jax.block_until_ready(o(p, x, y))
        )
    left = jnp.ones((work.sizes.product,) * 2) / work.sizes.product
    product = jax.jit(lambda a, b: a @ b)
    work.add("large product", ready(product, left, left), 2e-9 * len(left) ** 3, "GFLOP")


def build_pfns(work: Work, inputs: Inputs) -> None:
    """pfns by its own `train`, with its own Gaussian processes (gpytorch), drawn in its process or by a worker."""
    import torch

    torch.set_num_threads(work.threads)
    for name, size in work.sizes.networks.items():
        own = {key: inputs[f"{name} {key}"] for key in ("x", "y", "borders", "contexts", "exact")}
        x, y, n = torch.from_numpy(own["x"]), torch.from_numpy(own["y"]), size["seen"]
        models = []

        def predict(x: Any, y: Any, models: list = models, n: int = n) -> Any:
            with torch.no_grad():
                return models[0](x=x, y=y[:, :n], only_return_standard_out=True)

        def compare(
            model: Any,
            predict: Any = predict,
            models: list = models,
            x: Any = x,
            y: Any = y,
            n: int = n,
            own: Inputs = own,
        ) -> Any:
            models[:] = [model.eval()]
            loss = float(model.criterion(predict(x, y), y[:, n:]).mean())
            parameters = sum(p.numel() for p in model.parameters())
            return {"excess loss": excess_loss(loss, float(own["exact"])), "parameters": parameters}

        for workers, form in enumerate(("", "prior in a worker")):
            train = pfns_training(size, own, workers)
            work.add(f"{name}, train", train, size["steps"] * size["batch"], form=form, result=compare)
        add_predictions(work, name, size["batch"], x, y, predict)
    left = torch.ones(work.sizes.product, work.sizes.product) / work.sizes.product
    work.add("large product", lambda: left @ left, 2e-9 * len(left) ** 3, "GFLOP")


def pfns_training(size: Mapping[str, Any], own: Inputs, workers: int) -> Callable[[], Any]:
    """A fresh model and a run of updates in float32, by the library's own loop; returns the model."""
    import torch
    from pfns.batch_shape_sampler import BatchShape, BatchShapeSamplerConfig
    from pfns.model.bar_distribution import BarDistributionConfig
    from pfns.model.transformer_config import TransformerConfig
    from pfns.optimizer import OptimizerConfig
    from pfns.priors.prior import AdhocPriorConfig
    from pfns.train import MainConfig, train

    @dataclass(frozen=True)
    class Given(BatchShapeSamplerConfig):
        """The context sizes of our updates, in their order."""

        contexts: tuple[int, ...] = ()

        def sample_batch_shape(self, epoch: int, step: int) -> BatchShape:
            return BatchShape(size["batch"], size["points"], size["features"], self.contexts[step])

    hyper = {"noise": NOISE, "outputscale": OUTPUTSCALE, "lengthscale": LENGTHSCALE, "sampling": "uniform"}
    hyper["fast_computations"] = (False, False, False)  # Cholesky: for so few points faster than Lanczos
    config: Any = MainConfig(
        priors=[AdhocPriorConfig(prior_names=["fast_gp"], prior_kwargs={"hyperparameters": hyper})],
        optimizer=OptimizerConfig("adam", RATE),
        model=TransformerConfig(
            criterion=BarDistributionConfig(borders=own["borders"].tolist(), full_support=True),
            emsize=size["width"],
            nhid=size["hidden"],
            nlayers=size["layers"],
            nhead=size["heads"],
            features_per_group=size["features"],
            attention_between_features=False,
        ),
        batch_shape_sampler=Given(contexts=tuple(own["contexts"].tolist())),
        epochs=1,
        steps_per_epoch=size["steps"],
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
    peaks, found = [max(values) for values in zip(*products, strict=True)], {}
    for label, values in outcome.rates.items():
        name, _, what = label.case.partition(", ")
        if what == "train":
            each = outcome.facts["encore"][f"{name}, GFLOP a data set"]
            found[str(label)] = ratios([each * value for value in values], peaks)
    return {"share of the peak": found}


BENCHMARKS = (
    Comparison(
        name="pfn_speed",
        question="How fast are training of prior-data fitted networks and prediction with them, beside pfns?",
        work="Gaussian processes, one thread on one core; losses on {sets} data sets",
        sizes={
            "sets": 512, "alone": 50, "product": 2048,
            "networks": {
                "laptop": {
                    "width": 64, "layers": 3, "heads": 4, "hidden": 128, "bars": 100, "features": 1, "points": 32,
                    "batch": 64, "steps": 100, "contexts": [7, 15, 21, 25, 28, 30, 31], "seen": 16,
                },
                "wide": {
                    "width": 256, "layers": 4, "heads": 4, "hidden": 512, "bars": 100, "features": 5, "points": 100,
                    "batch": 16, "steps": 15, "contexts": [24, 49, 74, 99], "seen": 50,
                },
            },
        },
        quick={
            "sets": 8, "alone": 1, "product": 8,
            "networks": {
                "tiny": {
                    "width": 4, "layers": 1, "heads": 1, "hidden": 4, "bars": 4, "features": 1, "points": 5,
                    "batch": 2, "steps": 2, "contexts": [2, 4], "seen": 2,
                },
            },
        },
        unit="data sets",
        peers=(
            Peer("encore", build_encore),
            Peer("pfns", build_pfns, ("pfns", "torch"), foreign=True),
        ),
        draw=draw,
        tolerance={"excess loss": 0.2, "parameters": 0.1},  # initial values and draws differ, and see above
        layouts=("one core",),
        derive=share_of_peak,
    ),
)  # fmt: skip
