"""The work that `benchmarks.pfn_speed` times, in a process for each side: training end to end, and predicting.

    python -m benchmarks.pfn_work encore|pfns FOLDER SIZE[,SIZE]

A run of training is a fresh network and STEPS updates; every update draws its data sets from the prior, as both
libraries do it themselves. The context sizes of the updates, the borders of the bars and the data sets to predict come
from FOLDER, so that both sides have the same.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.served import serve

Run = Callable[[], Any]
LENGTHSCALE, OUTPUTSCALE, NOISE, RATE = 0.3, 1.0, 0.01, 1e-3
GEMM = 2048


@dataclass(frozen=True)
class Size:
    """One comparison: architecture, data sets, updates in a run, compiled context sizes of ours."""

    name: str
    width: int
    layers: int
    heads: int
    hidden: int
    bars: int
    features: int
    points: int
    batch: int
    steps: int
    sizes: tuple[int, ...]

    @property
    def flops(self) -> Callable[[int], float]:
        """Multiplications and additions of the matrix products of one update with n points of context.

        Forward once and backward twice: queries, keys and values 3d², output d², two maps of d h for every point;
        q·k and the mixture of values 2 n d for every point; the decoder 2d² + 2 d B for every query. Rows of the last
        layer that are no queries, which ours leaves out, count as done.
        """
        d, points = self.width, self.points
        maps = self.layers * (4 * d**2 + 2 * d * self.hidden) * points
        decoder = 2 * d**2 + 2 * d * self.bars

        def of(n: int) -> float:
            return 3 * 2.0 * self.batch * (maps + self.layers * 2 * n * d * points + decoder * (points - n))

        return of


SIZES = (
    Size("laptop", 64, 3, 4, 128, 100, 1, 32, 64, 100, (7, 15, 21, 25, 28, 30, 31)),
    Size("wide", 256, 4, 4, 512, 100, 5, 100, 16, 15, (24, 49, 74, 99)),
)
SETS = 512  # data sets on which losses are compared
SEEN = {"laptop": 16, "wide": 50}  # points of context when predicting
ALONE = 50  # data sets predicted one by one in a run


def named(names: str) -> list[Size]:
    """The sizes of a list of names."""
    return [size for size in SIZES if size.name in names.split(",")]


def given(folder: Path, size: Size) -> dict[str, np.ndarray]:
    """What both sides share."""
    with np.load(folder / f"{size.name}.npz") as arrays:
        return dict(arrays)


# ------------------------------------------------------------------------------------------------ ours


def work_encore(folder: Path, sizes: list[Size]) -> None:
    """The kit of `core.amortised`: one compiled scan of updates, the prior within."""
    import jax
    import jax.numpy as jnp

    runs: dict[str, Run] = {}
    facts: dict[str, Any] = {"version": jax.__version__, "losses": {}, "parameters": {}}
    for size in sizes:
        shared = given(folder, size)
        recipe, train = training_of(size, shared)
        params = jax.block_until_ready(train(jax.random.key(0)))
        runs[f"{size.name}: train"] = lambda train=train: jax.block_until_ready(train(jax.random.key(0)))
        facts["parameters"][size.name] = sum(leaf.size for leaf in jax.tree.leaves(params))
        x, y = jnp.asarray(shared["x"]), jnp.asarray(shared["y"])
        n, borders = SEEN[size.name], jnp.asarray(shared["borders"])

        @jax.jit
        def outputs(params: Any, x: jax.Array, y: jax.Array, n: int = n, recipe: Any = recipe) -> jax.Array:
            return jnp.asarray(recipe.network.apply({"params": params}, x, y, n))

        logits = outputs(params, x, y)
        facts["losses"][size.name] = float(-jnp.mean(recipe.head(borders, logits, y[:, n:])))
        ones = [(x[i : i + 1], y[i : i + 1]) for i in range(ALONE)]
        together = (x[: size.batch], y[: size.batch])
        runs[f"{size.name}: predict one by one"] = lambda o=outputs, p=params, ones=ones: [
            jax.block_until_ready(o(p, *one)) for one in ones
        ]
        runs[f"{size.name}: predict a batch"] = lambda o=outputs, p=params, t=together: jax.block_until_ready(o(p, *t))
    left = jnp.ones((GEMM, GEMM)) / GEMM
    product = jax.jit(lambda a, b: a @ b)
    runs["gemm"] = lambda: jax.block_until_ready(product(left, left))
    for run in runs.values():
        run()
    serve(runs, facts)


def training_of(size: Size, shared: dict[str, np.ndarray]) -> tuple[Any, Callable]:
    """The recipe, and `train(key) -> parameters` of a whole run."""
    import jax
    import jax.numpy as jnp

    from core.amortised import heads
    from core.amortised.encoder import TransformerEncoder
    from core.amortised.priors import sample_gaussian_process
    from core.amortised.training import TrainingSpec, init_state, learning_rate_plan, training_step
    from core.bayes.gaussian_process import Hyperparameters, rbf

    def prior(key: jax.Array, shape: tuple[int, int, int]) -> Any:
        hyper = Hyperparameters(jnp.float32(LENGTHSCALE), jnp.float32(OUTPUTSCALE), jnp.float32(NOISE))
        return sample_gaussian_process(key, shape, rbf, hyper)

    network = TransformerEncoder(size.features, size.width, size.layers, size.heads, size.hidden, size.bars)
    recipe = TrainingSpec(network, prior, heads.bar_log_density, size.points, size.batch, size.sizes)
    about = {"plan": learning_rate_plan(0, size.steps, 1, RATE, False), "prior": {}, "shows_context": jnp.float32(1)}
    borders = jnp.asarray(shared["borders"])

    @jax.jit
    def train(key: jax.Array) -> Any:
        def one(state: Any, i: jax.Array) -> tuple[Any, None]:
            return training_step(recipe, state, jax.random.fold_in(key, i), i, borders, about), None

        return jax.lax.scan(one, init_state(recipe, key), jnp.arange(size.steps))[0]["params"]

    return recipe, train


def write_shared(folder: Path, sizes: list[Size]) -> None:
    """Contexts of every update as our steps draw them, borders, and data sets with their exact loss."""
    import jax
    import jax.numpy as jnp

    from core.amortised.bar_distribution import borders_from_samples
    from core.amortised.training import context_size_probabilities
    from core.bayes.gaussian_process import Hyperparameters, normal_log_density, predict, rbf

    for size in sizes:
        blank = {"borders": np.linspace(-3, 3, size.bars + 1, dtype=np.float32)}
        recipe, _ = training_of(size, blank)
        keys = [jax.random.split(jax.random.fold_in(jax.random.key(0), i))[0] for i in range(size.steps)]
        law = jnp.asarray(context_size_probabilities(size.points))
        contexts = [int(jax.random.choice(key, size.points, p=law)) for key in keys]
        drawn = recipe.prior(jax.random.key(1), (2000, size.points, size.features))
        x, y = recipe.prior(jax.random.key(2), (SETS, size.points, size.features))
        n, hyper = (
            SEEN[size.name],
            Hyperparameters(jnp.float32(LENGTHSCALE), jnp.float32(OUTPUTSCALE), jnp.float32(NOISE)),
        )
        exact = jax.vmap(lambda a, b, n=n, h=hyper: normal_log_density(predict(rbf, h, a[:n], b[:n], a[n:]), b[n:]))(
            x, y
        )
        arrays = {
            "borders": borders_from_samples(drawn.y, size.bars),
            "contexts": contexts,
            "exact": -float(exact.mean()),
        }
        np.savez(
            folder / f"{size.name}.npz",
            x=x,
            y=y,
            allow_pickle=False,
            **{name: np.asarray(value) for name, value in arrays.items()},
        )


# ------------------------------------------------------------------------------------------------ pfns


def work_pfns(folder: Path, sizes: list[Size]) -> None:
    """pfns by its own `train`, with its own Gaussian processes (gpytorch), drawn in its process or by a worker."""
    import torch

    runs: dict[str, Run] = {}
    facts: dict[str, Any] = {"version": torch.__version__, "losses": {}, "parameters": {}}
    for size in sizes:
        shared = given(folder, size)
        model = pfns_training(size, shared, 0)()
        model.eval()
        facts["parameters"][size.name] = sum(p.numel() for p in model.parameters())
        for workers in (0, 1):
            label = f"{size.name}: train" + (", prior in a worker" if workers else "")
            runs[label] = pfns_training(size, shared, workers)
        x, y = torch.from_numpy(shared["x"]), torch.from_numpy(shared["y"])
        n = SEEN[size.name]

        def outputs(x: Any, y: Any, model: Any = model, n: int = n) -> Any:
            with torch.no_grad():
                return model(x=x, y=y[:, :n], only_return_standard_out=True)

        facts["losses"][size.name] = float(model.criterion(outputs(x, y), y[:, n:]).mean())
        ones = [(x[i : i + 1], y[i : i + 1]) for i in range(ALONE)]
        together = (x[: size.batch], y[: size.batch])
        runs[f"{size.name}: predict one by one"] = lambda o=outputs, ones=ones: [o(*one) for one in ones]
        runs[f"{size.name}: predict a batch"] = lambda o=outputs, t=together: o(*t)
    left = torch.ones(GEMM, GEMM) / GEMM
    runs["gemm"] = lambda: left @ left
    for name, run in runs.items():
        if not name.endswith(": train"):  # that one has been run
            run()
    serve(runs, facts)


def pfns_training(size: Size, shared: dict[str, np.ndarray], workers: int) -> Callable[[], Any]:
    """A fresh model and a run of updates in float32, by the library's own loop; returns the model."""
    import contextlib
    import io

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
            return BatchShape(size.batch, size.points, size.features, self.contexts[step])

    contexts = tuple(int(n) for n in shared["contexts"])
    hyper = {"noise": NOISE, "outputscale": OUTPUTSCALE, "lengthscale": LENGTHSCALE, "sampling": "uniform"}
    hyper["fast_computations"] = (False, False, False)  # Cholesky: for so few points faster than Lanczos
    borders = [float(value) for value in shared["borders"]]
    config: Any = MainConfig(
        priors=[AdhocPriorConfig(prior_names=["fast_gp"], prior_kwargs={"hyperparameters": hyper})],
        optimizer=OptimizerConfig("adam", RATE),
        model=TransformerConfig(
            criterion=BarDistributionConfig(borders=borders, full_support=True),
            emsize=size.width,
            nhid=size.hidden,
            nlayers=size.layers,
            nhead=size.heads,
            features_per_group=size.features,
            attention_between_features=False,
        ),
        batch_shape_sampler=Given(contexts=contexts),
        epochs=1,
        steps_per_epoch=size.steps,
        train_mixed_precision=False,
        scheduler="constant",
        verbose=False,
        num_workers=workers,
    )

    def run() -> Any:
        torch.manual_seed(0)
        with contextlib.redirect_stdout(io.StringIO()):
            return train(config, device="cpu", reusable_config=False)["model"]

    return run


def main() -> None:
    """One side."""
    side, folder, sizes = sys.argv[1], Path(sys.argv[2]), named(sys.argv[3])
    {"encore": work_encore, "pfns": work_pfns}[side](folder, sizes)


if __name__ == "__main__":
    main()
