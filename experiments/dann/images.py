"""Images of two domains: how they are made, the arms that are trained on them, and how features are compared."""

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from core.data.catalogue import find_data_set
from core.lab.keys import named_keys
from core.models.images import blend_with_patches, crop_and_resize
from core.models.linear import align_subspaces, fit_linear_svm, predict_class, project_to_plane
from core.supervised.training import Examples
from experiments.dann import adversarial

if TYPE_CHECKING:
    from core.lab.lab import Lab
    from experiments.dann.settings import DomainData, ImageSettings

Tree = Any
SHOWN = 200  # images of each domain in the figure of features
ARMS = {"source_only": (0.0, False), "dann": (1.0, False), "train_on_target": (0.0, False), "shuffled": (1.0, True)}


def draw_images(settings: "DomainData", key: jax.Array, source: Tree, target: Tree) -> Tree:
    """Random images to train and test on of both domains, of one replicate; where both are one set, different ones."""
    keys = jax.random.split(key, 3)
    own = jax.random.permutation(keys[0], len(source["train_labels"]))
    other = jax.random.permutation(keys[1], len(target["train_labels"]))
    other = own[settings.train :] if settings.source == settings.target else other
    found = {}
    for images, labels, data, part, rows in (
        ("source", "labels", source, "train", own[: settings.train]),
        ("target", "target_labels", target, "train", other[: settings.train]),
        ("held", "held_labels", source, "test", jax.random.permutation(keys[2], len(source["test_labels"]))),
        ("test", "true", target, "test", jax.random.permutation(keys[2], len(target["test_labels"]))),
    ):
        rows = rows[: settings.train if part == "train" else settings.test]
        found |= {images: crop_and_resize(data[f"{part}_images"][rows], settings.crop, settings.size)}
        found |= {labels: data[f"{part}_labels"][rows]}
    return found


def blend_target(binary: bool, key: jax.Array, data: Tree, train: jax.Array, test: jax.Array) -> Tree:
    """The same with photographs behind the images of the target, others in its test part."""
    parts = zip(("target", "test"), jax.random.split(key), (train, test), strict=True)
    return data | {name: blend_with_patches(each, data[name], patches, binary) for name, each, patches in parts}


def add_mean(data: Tree) -> Tree:
    """Images with their channels last, and the mean (1, 1, 1, 3) over both domains, which is subtracted."""
    images = {name: x if x.ndim == 4 else x[..., None] for name, x in data.items() if x.ndim > 1}
    means = [images[name].astype(jnp.float32).mean((0, 1, 2)) / 255 for name in ("source", "target")]
    mean = jnp.stack([jnp.broadcast_to(one, (3,)) for one in means]).mean(0)
    return data | images | {"mean": mean[None, None, None]}


def make_domains(settings: "DomainData", keys: jax.Array, lab: "Lab") -> Tree:
    """The data of every replicate, blended on the device."""
    sets = (lab.data(settings.source), lab.data(settings.target))
    data = lab.map(partial(draw_images, settings), named_keys(lab, keys, "images"), shared=sets)
    if settings.backgrounds is not None:
        photographs = lab.data(settings.backgrounds)
        parts = (photographs["train_photographs"], photographs["test_photographs"])
        blended = partial(blend_target, settings.binary)
        data = lab.map(blended, named_keys(lab, keys, "backgrounds"), data, shared=parts)
    return lab.map(add_mean, data)


def extract_features(network: adversarial.Network, compared: int, variables: Tree, examples: Examples) -> Tree:
    """How often the domains are told apart, and last hidden layers of labelled, target and target test images."""
    of = partial(adversarial.outputs, network, variables, mean=examples.train["mean"])
    assert examples.validation is not None
    held, test = of(examples.validation["x"]), of(examples.test["x"])
    labelled, target = of(examples.train["source"][:compared]), of(examples.train["target"][:compared])
    return {
        "domain_accuracy": adversarial.domain_accuracy(held, test),
        "labelled": labelled.hidden,
        "target": target.hidden,
        "tested": test.hidden,
        "plane": project_to_plane(labelled.features[:SHOWN], target.features[:SHOWN]),
    }


def svm_accuracy(
    settings: "ImageSettings", labelled: jax.Array, labels: jax.Array, tested: jax.Array, true: jax.Array
) -> jax.Array:
    """Target test accuracy in percent of a linear support vector machine in place of the last layer (section 5.2.1)."""
    classes = len(find_data_set(settings.data.source).classes)
    scale = jnp.sqrt(jnp.mean(labelled**2))
    weights = fit_linear_svm(labelled / scale, labels[: len(labelled)], classes, settings.svm_cost)
    return 100 * (predict_class(weights, tested / scale) == true).mean()


def align_features(settings: "ImageSettings", features: Tree, labels: jax.Array, true: jax.Array) -> Tree:
    """Subspace alignment of features: accuracy for each number of directions, and the best by the TARGET test labels,
    as in the paper (section 5.2.1)."""

    def one(directions: jax.Array) -> jax.Array:
        source, test = align_subspaces(features["labelled"], features["target"], features["tested"], directions)
        return svm_accuracy(settings, source, labels, test, true)

    found = jax.lax.map(one, jnp.array(settings.directions))
    return {"each": found, "best": found.max()}


def first_shown(labels: jax.Array) -> jax.Array:
    """Those of the images in the figure."""
    return labels[:SHOWN]


def gap_covered(source_only: jax.Array, here: jax.Array, train_on_target: jax.Array) -> jax.Array:
    """Share of the way from source-only to training on the target, in percent (table 2)."""
    return 100 * (here - source_only) / (train_on_target - source_only)


def trial(settings: "ImageSettings", keys: jax.Array, lab: "Lab") -> None:
    """All arms from the same initial weights in the same order of images, and subspace alignment of the first."""
    data, classes = make_domains(settings.data, keys, lab), len(find_data_set(settings.data.source).classes)
    sizes = settings.network
    network = adversarial.Network(sizes.channels, 0, sizes.hidden, sizes.domain_hidden, classes)
    shape = (settings.data.size, settings.data.size, 3)
    task = adversarial.adversarial_task(network, shape, settings.training.iterations, settings.reversal_gain)
    # The labelled stream of train_on_target is the target's, the other one its images again.
    revealed = data | {"source": data["target"], "labels": data["target_labels"]}
    true, features, svm = data["true"], {}, {}
    for name, (reversal, shuffle) in ARMS.items():
        streams = revealed if name == "train_on_target" else data
        comparison = adversarial.compare_on_domains(settings, keys, lab, adversarial.DEEP, task, streams)
        trained = comparison.train(
            name,
            comparison.initial("init"),
            examples=adversarial.arm_examples(streams, keys, reversal, settings.domain_weight, shuffle),
            also=partial(extract_features, network, settings.compared),
        )
        features[name] = found = trained.also
        judge = partial(svm_accuracy, settings)
        svm[name] = lab.map(judge, found["labelled"], streams["labels"], found["tested"], true)
        lab.measure({"domain_accuracy": found["domain_accuracy"], "svm_test_accuracy": svm[name]}, arm=name)
    aligned = lab.map(partial(align_features, settings), features["source_only"], data["labels"], true)
    along, svm["subspace_alignment"] = {"directions": settings.directions}, aligned["best"]
    lab.measure({"aligned_accuracy": aligned["each"]}, along=along, arm="subspace_alignment")
    lab.measure({"svm_test_accuracy": aligned["best"]}, arm="subspace_alignment")
    for name in ("dann", "shuffled", "subspace_alignment"):
        covered = lab.map(gap_covered, svm["source_only"], svm[name], svm["train_on_target"])
        lab.measure({"gap_covered": covered}, arm=name)
    for name in ("source_only", "dann"):
        lab.keep(f"plane_{name}", features[name]["plane"])
    for name in ("labels", "target_labels"):
        lab.keep(f"plane_{name}", lab.map(first_shown, data[name]))
