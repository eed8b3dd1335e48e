"""The shallow network on reviews of products: pairs of domains, weights chosen by reverse validation (section 5.1)."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from core.lab.keys import key_for, named_keys
from core.models.linear import append_bias_column, fit_svm_path, proxy_a_distance, stacked_denoising_features
from core.supervised.batches import epoch_batches
from experiments.dann.adversarial import Network, State, Training, accuracy, arm, begin, initial, outputs, step

if TYPE_CHECKING:
    from core.lab.lab import Lab
    from experiments.dann.settings import ReviewSettings

Tree = Any


class Kept(NamedTuple):
    """A network in training, and what it was when it did best on the held-out documents of its labelled domain."""

    now: State
    best: Tree
    accuracy: jax.Array


def training_of(settings: "ReviewSettings") -> Training:
    """One sigmoid layer and linear heads (algorithm 1), on batches."""
    return Training(
        Network((), settings.width, (), (), 2), settings.steps, settings.learning_rate, settings.momentum, 0.0, 0.0
    )


# --- data ---------------------------------------------------------------------------------------------------------


def split(settings: "ReviewSettings", key: jax.Array, source: Tree, target: Tree) -> Tree:
    """Nine tenths of both domains to train on, a tenth held out, in random order; no label of the target is taken."""
    found = {}
    for name, (documents, labels) in (("source", source), ("target", target)):
        rows = jax.random.permutation(key_for(key, name), len(documents))
        held = len(documents) // 10
        found |= {name: documents[rows[held:]], f"{name}_held": documents[rows[:held]]}
        if name == "source":
            found |= {"labels": labels[rows[held:]], "held_labels": labels[rows[:held]]}
    return found


def represented(layers: int, data: Tree, test: jax.Array) -> Tree:
    """Counts as numbers; with layers, the marginalised stacked denoising representation learnt from both domains."""
    data = data | {"test": test}
    if not layers:
        return data
    names = ("source", "target", "source_held", "target_held", "test")
    learnt = stacked_denoising_features([data[name] for name in names], layers, training_sets=2)
    return data | dict(zip(names, learnt, strict=True))


def streams(data: Tree) -> Tree:
    """What the step of a training is given."""
    width = data["source"].shape[-1]
    return data | {"mean": jnp.zeros((1, width))}


def backwards(data: Tree, guessed: jax.Array, guessed_held: jax.Array) -> Tree:
    """The reverse problem: the target with the labels that a classifier gave it, towards the source without labels."""
    return data | {
        "source": data["target"],
        "labels": guessed,
        "target": data["source"],
        "source_held": data["target_held"],
        "held_labels": guessed_held,
    }


def ordered(settings: "ReviewSettings", counts: tuple[int, int], key: jax.Array) -> dict[str, jax.Array]:
    """The two streams, each in an order of its own."""
    sizes = zip(("source", "target"), jax.random.split(key), counts, strict=True)
    return {name: epoch_batches(k, count, settings.batch, settings.steps) for name, k, count in sizes}


# --- networks -----------------------------------------------------------------------------------------------------


def keep_best(training: Training, state: Kept, i: jax.Array, *given: Tree) -> tuple[Kept, dict[str, jax.Array]]:
    """Early stopping without a stop: remember the parameters that do best on held-out documents."""
    data = given[2]
    logits = outputs(training, state.now.params, data["source_held"], data["mean"]).labels
    here = accuracy(logits, data["held_labels"])
    better = here >= state.accuracy
    best = jax.tree.map(partial(jnp.where, better), state.now.params, state.best)
    return Kept(state.now, best, jnp.where(better, here, state.accuracy)), {"held_out_accuracy": here}


def advance(training: Training, state: Kept, key: jax.Array, i: jax.Array, *given: Tree) -> Kept:
    """One update."""
    return state._replace(now=step(training, state.now, key, i, *given))


def started(training: Training, params: Tree) -> Kept:
    """Before the first step."""
    return Kept(begin(training, params), params, jnp.float32(-1))


def guesses(training: Training, params: Tree, documents: jax.Array) -> jax.Array:
    """The labels that a network gives to documents, int32 (n,)."""
    mean = jnp.zeros((1, documents.shape[-1]))
    return outputs(training, params, documents, mean).labels.argmax(-1).astype(jnp.int32)


def features(training: Training, params: Tree, documents: jax.Array) -> jax.Array:
    """Hidden layer of documents, (n, width)."""
    return outputs(training, params, documents, jnp.zeros((1, documents.shape[-1]))).features


def finish(state: Kept, *given: Tree) -> Tree:
    """The parameters kept."""
    return state.best


def share_right(guessed: jax.Array, labels: jax.Array) -> jax.Array:
    """In percent."""
    return 100 * (guessed == labels).mean()


class Pair(NamedTuple):
    """One pair of domains at work: its name, the data of every replicate, and what trains on it."""

    name: str
    data: Tree
    lab: "Lab"
    settings: "ReviewSettings"
    keys: jax.Array

    def train(self, name: str, params: Tree, data: Tree, reversal: float, weight: float) -> Tree:
        """The parameters of a network trained on `data`."""
        training, lab = training_of(self.settings), self.lab
        counts = (data["source"].shape[1], data["target"].shape[1])
        given = {name: value for name, value in data.items() if name not in ("test", "true", "target_held")}
        return lab.iterate(
            f"{self.name}/{name}",
            partial(advance, training),
            self.keys,
            lab.map(partial(started, training), params),
            steps=self.settings.steps,
            each=(
                arm(self.keys.shape, reversal, weight),
                lab.map(partial(ordered, self.settings, counts), named_keys(lab, self.keys, f"{self.name} order")),
                given,
            ),
            evaluate_every=self.settings.evaluate_every,
            evaluate=partial(keep_best, training),
            finish=finish,
        ).result

    def reverse_accuracy(self, name: str, params: Tree, weight: float) -> jax.Array:
        """Accuracy, in percent, on held-out source documents of the classifier learnt back from self-given labels."""
        training, lab, data = training_of(self.settings), self.lab, self.data
        guess = partial(guesses, training)
        guessed = [lab.map(guess, params, data[part]) for part in ("target", "target_held")]
        back = self.train(f"{name}/back", params, lab.map(backwards, data, *guessed), 1.0, weight)
        return lab.map(share_right, lab.map(guess, back, data["source_held"]), data["held_labels"])


def chosen(scores: Sequence[jax.Array], candidates: Sequence[Tree]) -> Tree:
    """Of one replicate: the candidate with the highest score, the first of equal ones."""
    best = jnp.argmax(jnp.stack(scores))
    return jax.tree.map(lambda *leaves: jnp.stack(leaves)[best], *candidates)


# --- support vector machine and distance ----------------------------------------------------------------------------


def chosen_svm(costs: tuple[float, ...], data: Tree) -> jax.Array:
    """Weights of a linear support vector machine of the source whose C is chosen by reverse validation."""

    def signs(labels: jax.Array) -> jax.Array:
        return 2.0 * labels - 1

    source, target, held = (data[name].astype(jnp.float32) for name in ("source", "target", "source_held"))
    weights = fit_svm_path(source, signs(data["labels"]), costs)
    guessed = jnp.where(append_bias_column(target) @ weights.T > 0, 1.0, -1.0)
    back = jax.lax.map(lambda one: fit_svm_path(target, one[0], one[1][None])[0], (guessed.T, jnp.array(costs)))
    right = (append_bias_column(held) @ back.T > 0) == (data["held_labels"][:, None] > 0)
    return weights[jnp.argmax(right.mean(0))]


def svm_guesses(weights: jax.Array, documents: jax.Array) -> jax.Array:
    """The labels that it gives to documents, int32 (n,)."""
    return (append_bias_column(documents.astype(jnp.float32)) @ weights > 0).astype(jnp.int32)


def distance(costs: tuple[float, ...], source: jax.Array, target: jax.Array) -> jax.Array:
    """Proxy A-distance of two sets of documents or of their features."""
    return proxy_a_distance(source.astype(jnp.float32), target.astype(jnp.float32), costs)


# --- the experiment -------------------------------------------------------------------------------------------------


def trial(settings: "ReviewSettings", keys: jax.Array, lab: "Lab") -> None:
    """Every pair of domains."""
    arrays = lab.data(settings.dataset)
    for pair in settings.pairs:
        source, target = pair.split("_to_")
        parts = [(arrays[f"{domain}_train"], arrays[f"{domain}_train_labels"]) for domain in (source, target)]
        data = lab.map(partial(split, settings), named_keys(lab, keys, pair), shared=parts)
        data = lab.map(partial(represented, settings.denoising_layers), data, shared=(arrays[f"{target}_test"],))
        data = lab.map(with_truth, lab.map(streams, data), shared=(arrays[f"{target}_test_labels"],))
        compare(Pair(pair, data, lab, settings, named_keys(lab, keys, f"{pair} training")))


def with_truth(data: Tree, true: jax.Array) -> Tree:
    """The same with the labels of the target's test documents."""
    return data | {"true": true}


def compare(pair: Pair) -> None:
    """The support vector machine, the plain network, its adversarial training, and that with its sign flipped."""
    settings, lab, data = pair.settings, pair.lab, pair.data
    training = training_of(settings)
    shape = data["source"].shape[2:]
    start = lab.map(partial(first_params, training, shape), named_keys(lab, pair.keys, "init"))
    networks = {"plain": pair.train("plain", start, data, 0.0, settings.shown_weight)}
    grid = [pair.train(f"dann/{k}", start, data, 1.0, weight) for k, weight in enumerate(settings.weights)]
    back = [pair.reverse_accuracy(f"dann/{k}", grid[k], weight) for k, weight in enumerate(settings.weights)]
    networks["dann"] = lab.map(chosen, back, grid)
    networks["flipped"] = pair.train("flipped", start, data, -1.0, settings.shown_weight)
    seen = {name: data[name] for name in ("source", "labels", "target", "source_held", "held_labels")}
    guessed = lab.map(svm_guesses, lab.map(partial(chosen_svm, settings.costs), seen), data["test"])
    lab.measure({"test_accuracy": lab.map(share_right, guessed, data["true"])}, arm="svm", pair=pair.name)
    for name, params in networks.items():
        right = lab.map(share_right, lab.map(partial(guesses, training), params, data["test"]), data["true"])
        lab.measure({"test_accuracy": right}, arm=name, pair=pair.name)
    for weight, score in zip(settings.weights, back, strict=True):
        lab.measure({"reverse_accuracy": score}, arm="dann", pair=pair.name, weight=weight)
    distances(pair, networks | {"dann": grid[settings.weights.index(settings.shown_weight)]})


def first_params(training: Training, shape: tuple[int, ...], key: jax.Array) -> Tree:
    """Initial parameters."""
    return initial(training, shape, key).params


def distances(pair: Pair, networks: dict[str, Tree]) -> None:
    """The proxy A-distance of the documents and of every network's hidden layer at one weight (figure 3)."""
    settings, lab, data = pair.settings, pair.lab, pair.data
    measured = partial(distance, settings.costs)
    lab.measure({"proxy_distance": lab.map(measured, data["source"], data["target"])}, arm="raw", pair=pair.name)
    for name, params in networks.items():
        hidden = partial(features, training_of(settings))
        parts = [lab.map(hidden, params, data[part]) for part in ("source", "target")]
        lab.measure({"proxy_distance": lab.map(measured, *parts)}, arm=name, pair=pair.name)
