"""The studies on Gaussian processes: how near a network comes to the exact posterior, and what its head is worth."""

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from core.amortised import bar_distribution, heads
from core.amortised.encoder import TransformerEncoder
from core.amortised.priors import sample_gaussian_process, sample_hierarchical_gaussian_process
from core.amortised.training import TrainingSpec
from core.bayes.gaussian_process import Hyperparameters, matern52, predict, rbf
from core.bayes.hyperparameters import GammaPrior, HyperparameterPrior
from core.lab.keys import named_keys
from experiments.pfn.networks import Training, borders_of, exact, held_against, recipe_of

if TYPE_CHECKING:
    from core.lab.lab import Lab
    from experiments.pfn.settings import GPSettings, HeadSettings, LawSettings

Tree = Any
GRID = 101  # inputs at which a posterior is drawn
LEVELS = (0.025, 0.975)


# --- C1 and C2: the exact posterior ---------------------------------------------------------------------------------


def rbf_process(key: jax.Array, shape: tuple[int, int, int], lengthscale: jax.Array, noise: jax.Array) -> Any:
    """f ~ GP(0, exp(-‖x - x'‖²/2ℓ²)), y = f(x) + ε, ε ~ N(0, σ²)."""
    return sample_gaussian_process(key, shape, rbf, Hyperparameters(lengthscale, jnp.float32(1), noise))


def prior_of(settings: "GPSettings", lengthscale: float) -> dict[str, jax.Array]:
    """Arguments of the prior."""
    return {"lengthscale": jnp.float32(lengthscale), "noise": jnp.float32(settings.noise)}


def held_out(settings: "GPSettings", recipe: TrainingSpec, key: jax.Array) -> dict[str, jax.Array]:
    """Data sets that no network is trained on, x (S, N, F) and y (S, N)."""
    shape = (settings.sets, settings.points, settings.features)
    x, y = recipe.prior(key, shape, **prior_of(settings, settings.lengthscale))
    return {"x": x, "y": y}


def truth_of(settings: "GPSettings", data: Tree) -> Tree:
    """Their exact posterior predictive distributions."""
    hyper = Hyperparameters(jnp.float32(settings.lengthscale), jnp.float32(1), jnp.float32(settings.noise))
    return exact(rbf, hyper, settings.contexts, data["x"], data["y"])


def gp_trial(settings: "GPSettings", keys: jax.Array, lab: "Lab") -> None:
    """One network at several lengths of training, its repetition, and three that must fail."""
    recipe = recipe_of(settings, rbf_process, settings.bars, sizes=settings.sizes)
    coarse = recipe_of(settings, rbf_process, settings.coarse_bars, sizes=settings.sizes)
    right, wrong = (prior_of(settings, scale) for scale in (settings.lengthscale, settings.wrong_lengthscale))
    drawn = named_keys(lab, keys, "borders")
    borders = lab.map(partial(borders_of, recipe, settings.border_sets), drawn, shared=(right,))
    few = lab.map(partial(borders_of, coarse, settings.border_sets), drawn, shared=(right,))
    train, lengths = Training(lab, keys, settings, borders), settings.lengths
    short, longest = (lengths[0],), lengths[-1]
    networks = dict(zip(lengths, train.run("pfn", recipe, right, lengths), strict=True))
    [again] = train._replace(keys=named_keys(lab, keys, "repeat")).run("repeat", recipe, right, short)
    others = {
        "blind": (recipe, borders, train.run("blind", recipe, right, short, shows_context=0.0)[0], 0.0),
        "wrong_prior": (recipe, borders, train.run("wrong_prior", recipe, wrong, short)[0], 1.0),
        "coarse": (coarse, few, train._replace(borders=few).run("coarse", coarse, right, short)[0], 1.0),
    }
    data = lab.map(partial(held_out, settings, recipe), named_keys(lab, keys, "held out"))
    truth = lab.map(partial(truth_of, settings), data)

    def beside(which: TrainingSpec, params: Tree, edges: Any, shows_context: float) -> Tree:
        function = partial(held_against, which, settings.contexts)
        return lab.map(function, params, edges, data, truth, shared=(jnp.float32(shows_context),))

    along = {"dataset": range(settings.sets), "context": settings.contexts}
    for length, params in networks.items():
        found = beside(recipe, params, borders, 1.0)
        seen = length / lengths[0]
        averages(lab, settings, found, "pfn", seen)
        if length == lengths[0]:
            averages(lab, settings, found, "repeat", seen)
        if length == longest:
            lab.measure(rounded(lab, found), along=along, arm="pfn")
    averages(lab, settings, beside(recipe, again, borders, 1.0), "repeat", longest / lengths[0])
    for arm, (which, edges, params, shows_context) in others.items():
        lab.measure(rounded(lab, beside(which, params, edges, shows_context)), along=along, arm=arm)
    pictures(settings, recipe, networks[longest], borders, data, lab)


def mean_over(axis: int, values: jax.Array) -> jax.Array:
    """The mean over one axis of the values of one replicate."""
    return jnp.mean(values, axis)


def averages(lab: "Lab", settings: "GPSettings", found: Tree, arm: str, seen: float) -> None:
    """The gap of every data set over all context sizes, and of every context size over all data sets."""
    by_set = lab.map(partial(mean_over, 1), found["gap"])
    lab.measure({"mean_gap": by_set}, along={"dataset": range(settings.sets)}, arm=arm, times=seen)
    by_size = lab.map(partial(mean_over, 0), found["gap"])
    lab.measure({"gap_at": by_size}, along={"context": settings.contexts}, arm=arm, times=seen)


def rounded(lab: "Lab", found: Tree) -> Tree:
    """To 1e-4 nats, since there are many rows."""
    return {name: lab.map(to_four_places, values) for name, values in found.items()}


def to_four_places(values: jax.Array) -> jax.Array:
    """The values, in nats, to 1e-4."""
    return jnp.round(values, 4)


def drawn_posteriors(
    settings: "GPSettings", recipe: TrainingSpec, params: Tree, borders: jax.Array, data: Tree
) -> Tree:
    """For the figure: one data set after several numbers of points, by the network and exactly."""
    hyper = Hyperparameters(jnp.float32(settings.lengthscale), jnp.float32(1), jnp.float32(settings.noise))
    grid = jnp.tile(jnp.linspace(0, 1, GRID)[:, None], (1, settings.features))
    x, y, found = data["x"][0], data["y"][0], {}
    for n in settings.shown:
        every = jnp.concatenate([x[:n], grid])[None]
        logits = jnp.asarray(recipe.network.apply({"params": params}, every, jnp.pad(y[:n], (0, GRID))[None], n))[0]
        exactly = predict(rbf, hyper, x[:n], y[:n], grid)
        sides = [bar_distribution.quantile(borders, logits, level) for level in LEVELS]
        reach = 1.959964 * jnp.sqrt(exactly.variance)
        network = jnp.stack([bar_distribution.mean(borders, logits), *sides])
        found[f"posterior_{n}"] = jnp.stack(
            [network, jnp.stack([exactly.mean, exactly.mean - reach, exactly.mean + reach])]
        )
    return found | {"points": jnp.stack([x[:, 0], y])}


def pictures(settings: "GPSettings", recipe: TrainingSpec, params: Tree, borders: Any, data: Tree, lab: "Lab") -> None:
    """Posteriors for the figure, and the network itself, for whoever wants to use it."""
    for name, array in lab.map(partial(drawn_posteriors, settings, recipe), params, borders, data).items():
        lab.keep(name, array)
    lab.keep("weights", lab.map(flattened, params))
    lab.keep("borders", borders)


def flattened(params: Tree) -> jax.Array:
    """All parameters in one row."""
    return ravel_pytree(params)[0]


# --- C6: the head ---------------------------------------------------------------------------------------------------


def hyper_prior(settings: "LawSettings") -> HyperparameterPrior:
    """ℓ, s² and σ² - floor by Gamma laws (shape, rate)."""
    laws = (settings.lengthscale, settings.outputscale, settings.noise)
    lengthscale, outputscale, noise = (GammaPrior(*law) for law in laws)
    return HyperparameterPrior(lengthscale, outputscale, noise, settings.floor)


def matern_process(prior: HyperparameterPrior, key: jax.Array, shape: tuple[int, int, int]) -> Any:
    """y from a Matérn-5/2 process whose hyper-parameters are drawn anew for every data set."""
    return sample_hierarchical_gaussian_process(key, shape, matern52, prior)


def nll(
    recipe: TrainingSpec, contexts: tuple[int, ...], sets: int, params: Tree, borders: jax.Array, key: jax.Array
) -> Tree:
    """Mean negative log density of queries of held-out data sets, and how far another order of the context moves it."""
    x, y = recipe.prior(key, (sets, recipe.points, recipe.network.features))
    losses, moved = [], []
    placed = TransformerEncoder(**{name: getattr(recipe.network, name) for name in SIZES}, positions=True)
    for n in contexts:
        outputs = jnp.asarray(recipe.network.apply({"params": params}, x, y, n))
        losses.append(-jnp.mean(recipe.head(borders, outputs, y[:, n:])))
        order = jnp.arange(recipe.points).at[:n].set(jnp.arange(n)[::-1])
        moved.append([apart(net, params, x, y, order, n) for net in (recipe.network, placed)])
    return {"nll": jnp.mean(jnp.stack(losses)), "moved": jnp.max(jnp.array(moved), 0)}


SIZES = ("features", "width", "layers", "heads", "hidden", "outputs")


def apart(network: TransformerEncoder, params: Tree, x: jax.Array, y: jax.Array, order: jax.Array, n: int) -> jax.Array:
    """The largest difference of a probability of any bar between two orders of the context."""
    orders = ((x, y), (x[:, order], y[:, order]))
    both = [jax.nn.softmax(jnp.asarray(network.apply({"params": params}, a, b, n))) for a, b in orders]
    return jnp.max(jnp.abs(both[0] - both[1]))


def head_trial(settings: "HeadSettings", keys: jax.Array, lab: "Lab") -> None:
    """The same encoder with many bars, with five, and with a Gaussian head."""
    prior = partial(matern_process, hyper_prior(settings))
    for arm, outputs, head in (
        ("bars", settings.bars, heads.bar_log_density),
        ("coarse", settings.coarse_bars, heads.bar_log_density),
        ("gaussian", 2, heads.gaussian_log_density),
    ):
        recipe = recipe_of(settings, prior, outputs, head, sizes=settings.sizes)
        edges = recipe_of(settings, prior, max(outputs, 3), sizes=settings.sizes)
        drawn = named_keys(lab, keys, "borders")
        borders = lab.map(partial(borders_of, edges, settings.border_sets), drawn, shared=({},))
        # the same start, data sets and order for all heads
        training = Training(lab, keys, settings, borders)
        [params] = training.run(arm, recipe, {}, (settings.steps,))
        measured = partial(nll, recipe, settings.contexts, settings.sets)
        found = lab.map(measured, params, borders, named_keys(lab, keys, "held out"))
        lab.measure({"nll": found["nll"]}, arm=arm)
        if arm == "bars":
            for name, column in (("bars", 0), ("positions", 1)):
                lab.measure({"permutation_change": lab.map(partial(entry, column), found["moved"])}, arm=name)


def entry(column: int, values: jax.Array) -> jax.Array:
    """One of several values."""
    return values[column]
