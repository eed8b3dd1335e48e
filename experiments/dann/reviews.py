"""The shallow network on reviews of products: pairs of domains, weights chosen by reverse validation (section 5.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from core.lab.keys import key_for, named_keys
from core.models.linear import (
    append_bias_column,
    fit_svm_by_reverse_validation,
    proxy_a_distance,
    stacked_denoising_features,
)
from core.supervised.comparison import Trained
from core.supervised.training import Examples
from core.tabular.comparison import probability_better, probability_on_most
from experiments.dann import adversarial

if TYPE_CHECKING:
    from core.lab.lab import Lab
    from experiments.dann.settings import ReviewSettings

Tree = Any
# Of every arm the reversal, and whether domain labels are dealt out at random.
ARMS = {"plain": (0.0, False), "dann": (1.0, False), "shuffled": (1.0, True), "glorot": (1.0, False)}
COMPARED = (("dann", "plain"), ("dann", "svm"), ("shuffled", "plain"), ("shuffled", "svm"))


def split(key: jax.Array, source: Tree, target: Tree) -> Tree:
    """Nine tenths of both domains to train on, a tenth held out, in random order; no label of the target is taken."""
    found = {}
    for name, held, (documents, _) in (("source", "held", source), ("target", "target_held", target)):
        rows = jax.random.permutation(key_for(key, name), len(documents))
        tenth = len(rows) // 10
        found |= {name: documents[rows[tenth:]], held: documents[rows[:tenth]]}
        if name == "source":
            found |= {"labels": source[1][rows[tenth:]], "held_labels": source[1][rows[:tenth]]}
    return found


def represent(layers: int, data: Tree, test: jax.Array, true: jax.Array) -> Tree:
    """The same with the target's test documents; with layers, in the marginalised stacked denoising representation
    that is learnt from both domains."""
    data = data | {"test": test, "true": true, "mean": jnp.zeros((1, test.shape[-1]))}
    if not layers:
        return data
    names = ("source", "target", "held", "target_held", "test")
    learnt = stacked_denoising_features([data[name] for name in names], layers, training_sets=2)
    return data | dict(zip(names, learnt, strict=True)) | {"mean": jnp.zeros((1, learnt[0].shape[-1]))}


def reverse(data: Tree, labels: jax.Array, held_labels: jax.Array) -> Tree:
    """The reverse problem (section 5.1.2): from the target, with the labels that a classifier gave it, back to the
    source, whose held-out documents are the test."""
    back = {"source": data["target"], "labels": labels, "held": data["target_held"], "held_labels": held_labels}
    return data | back | {"target": data["source"], "test": data["held"], "true": data["held_labels"]}


def guess(network: adversarial.Network, variables: Tree, x: jax.Array, mean: jax.Array) -> jax.Array:
    """The labels that a network gives to documents, int32 (n,)."""
    return adversarial.outputs(network, variables, x, mean).labels.argmax(-1).astype(jnp.int32)


def label_documents(network: adversarial.Network, variables: Tree, examples: Examples) -> Tree:
    """A network, the labels that it gives to the unlabelled domain, its error in percent on held-out documents of the
    labelled one, and which test documents it gets right."""
    of, held = partial(guess, network, variables, mean=examples.train["mean"]), examples.validation
    assert held is not None
    return {
        "variables": variables,
        "target_labels": of(examples.train["target"]),
        "held_error": 100 * (of(held["x"]) != held["y"]).mean(),
        "right": of(examples.test["x"]) == examples.test["y"],
    }


@dataclass(frozen=True)
class Pair:
    """One pair of domains at work; `data` and `keys` have a replicate axis."""

    settings: "ReviewSettings"
    keys: jax.Array
    lab: "Lab"
    data: Tree

    def train(self, arm: str, width: int, weight: float) -> Trained:
        """The network of an arm at λ; its domain head begins with u, d ← 0 (algorithm 1), but for the arm glorot."""
        return self._train(self.data, "forward", arm, width, weight, None)

    def reverse_accuracy(self, arm: str, width: int, weight: float, found: Trained) -> jax.Array:
        """Accuracy in percent, on held-out source documents, of the classifier that is learnt back from the labels
        that a network gave; it begins with that network (section 5.1.2)."""
        variables, mean = found.also["variables"], self.data["mean"]
        held = self.lab.map(
            partial(guess, adversarial.shallow_network(width)), variables, self.data["target_held"], mean
        )
        data = self.lab.map(reverse, self.data, found.also["target_labels"], held)
        return self._train(data, "back", arm, width, weight, variables).metrics["test_accuracy"]

    def _train(self, data: Tree, direction: str, arm: str, width: int, weight: float, start: Tree | None) -> Trained:
        """The network that does best on held-out documents of the labelled domain, which ends a training early."""
        network, lab = adversarial.shallow_network(width), self.lab
        task = adversarial.adversarial_task(network, data["source"].shape[2:], self.settings.training.iterations)
        keys = named_keys(lab, self.keys, direction)
        early_stop = {"keep_best": True, "monitor": "validation_error"}
        comparison = adversarial.compare_on_domains(
            self.settings, keys, lab, adversarial.SHALLOW, task, data, **early_stop
        )
        if start is None:
            start = comparison.initial("init")
            start = start if arm == "glorot" else lab.map(adversarial.zero_domain_head, start)
        reversal, shuffle = ARMS[arm]
        return comparison.train(
            arm,
            start,
            stage=f"/{width}/{weight:g}/{direction}",
            examples=adversarial.arm_examples(data, keys, reversal, weight, shuffle),
            also=partial(label_documents, network),
            width=width,
            weight=weight,
            direction=direction,
        )


def choose(scores: Sequence[jax.Array], candidates: Sequence[jax.Array]) -> jax.Array:
    """Of one replicate: the candidate with the highest score, the first of equal ones."""
    return jnp.stack(candidates)[jnp.argmax(jnp.stack(scores))]


def svm_right(costs: tuple[float, ...], data: Tree) -> jax.Array:
    """Which test documents a linear support vector machine of the source gets right, bool (n,)."""
    source, target, held, test = (data[name].astype(jnp.float32) for name in ("source", "target", "held", "test"))
    labelled = ((source, data["labels"]), (held, data["held_labels"]))
    weights = fit_svm_by_reverse_validation(labelled[0], target, labelled[1], costs, tolerance=1e-2)  # as LIBLINEAR
    return (append_bias_column(test) @ weights > 0) == (data["true"] > 0)


def trial(settings: "ReviewSettings", keys: jax.Array, lab: "Lab") -> None:
    """Every pair of domains, and the test over all of them."""
    arrays, better, errors = lab.data(settings.dataset), {}, []
    for pair in settings.pairs:
        source, target = pair.split("_to_")
        parts = [(arrays[f"{domain}_train"], arrays[f"{domain}_train_labels"]) for domain in (source, target)]
        test = (arrays[f"{target}_test"], arrays[f"{target}_test_labels"])
        own = named_keys(lab, keys, pair)
        data = lab.map(partial(represent, settings.denoising_layers), lab.map(split, own, shared=parts), shared=test)
        with lab.scope(f"{pair}/", {"pair": pair}):
            right, error = compare(Pair(settings, own, lab, data))
        errors.append(error)
        for arm, rival in COMPARED:
            found = lab.map(probability_better, right[arm], right[rival])
            better.setdefault((arm, rival), []).append(found)
    for (arm, rival), found in better.items():
        lab.measure({"probability_better": lab.map(probability_on_most, found)}, arm=arm, rival=rival)
    lab.measure({"held_out_error": lab.map(mean_of, errors)}, arm="plain")


def mean_of(values: Sequence[jax.Array]) -> jax.Array:
    """The mean of some numbers."""
    return jnp.stack(values).mean()


def compare(pair: Pair) -> tuple[dict[str, jax.Array], jax.Array]:
    """Which test documents every method gets right, its hyper-parameters chosen by reverse validation; and the error of
    the network without adaptation on held-out source documents. Distances are measured."""
    settings, lab, data = pair.settings, pair.lab, pair.data
    right, networks, shown = {}, {}, (settings.widths[-1], settings.shown_weight)
    for arm in ("plain", "dann", "shuffled"):
        weights = (settings.shown_weight,) if arm == "plain" else settings.weights
        found = {place: pair.train(arm, *place) for place in product(settings.widths, weights)}
        hits = [each.also["right"] for each in found.values()]
        if len(found) > 1:
            scores = [pair.reverse_accuracy(arm, *place, each) for place, each in found.items()]
            hits = [lab.map(choose, scores, hits)]
        right[arm], networks[arm] = hits[0], found[shown]
    networks["glorot"] = pair.train("glorot", *shown)
    seen = {name: data[name] for name in ("source", "labels", "target", "held", "held_labels", "test", "true")}
    right["svm"] = lab.map(partial(svm_right, settings.costs), seen)
    for arm, hits in right.items():
        lab.measure({"chosen_accuracy": lab.map(percentage, hits)}, arm=arm)
    measure_distances(pair, networks)
    return right, networks["plain"].also["held_error"]


def percentage(right: jax.Array) -> jax.Array:
    """Share of what is right, in percent."""
    return 100 * right.mean()


def distance(network: adversarial.Network | None, costs: tuple[float, ...], data: Tree, variables: Tree) -> jax.Array:
    """Proxy A-distance of the documents of both domains, or of a network's hidden layer of them."""
    source, target = (data[name].astype(jnp.float32) for name in ("source", "target"))
    if network is not None:
        source, target = (adversarial.outputs(network, variables, x, data["mean"]).features for x in (source, target))
    return proxy_a_distance(source, target, costs)


def measure_distances(pair: Pair, networks: dict[str, Trained]) -> None:
    """The proxy A-distance of the documents, and of the hidden layers of networks of one width and λ (figure 3b)."""
    settings, lab, data = pair.settings, pair.lab, pair.data
    both = {name: data[name] for name in ("source", "target", "mean")}
    lab.measure({"proxy_distance": lab.map(partial(distance, None, settings.distance_costs), both, {})}, arm="raw")
    measured = partial(distance, adversarial.shallow_network(settings.widths[-1]), settings.distance_costs)
    for arm, trained in networks.items():
        lab.measure({"proxy_distance": lab.map(measured, both, trained.also["variables"])}, arm=arm)
