"""Images of two domains: how they are made, the arms that are trained on them, and how features are compared."""

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from core.data.catalogue import find_data_set
from core.lab.keys import named_keys
from core.models.linear import align_subspaces, fit_linear_svm, predict_class
from core.supervised.batches import epoch_batches
from experiments.dann.adversarial import Network, State, Training, accuracy, arm, initial, outputs, plane, step

if TYPE_CHECKING:
    from core.lab.lab import Lab
    from experiments.dann.settings import BlendedSettings, ImageSettings

Tree = Any
SHOWN = 200  # images of each domain in the figure of features
ARMS = {"source_only": (0.0, False), "dann": (1.0, False), "train_on_target": (0.0, False)}
CONTROLS = {"flipped": (-1.0, False), "shuffled": (1.0, True)}


# --- data ---------------------------------------------------------------------------------------------------------


def blended(key: jax.Array, digits: jax.Array, photographs: jax.Array) -> jax.Array:
    """MNIST-M (section 5.2.4): |patch - digit| of a random patch of a random photograph, uint8 (n, h, w, 3).

    Args:
      key: of the patches.
      digits: uint8 (n, h, w), taken for ink wherever above 0.
      photographs: uint8 (m, height, width, 3).
    """
    count, high, wide, _ = photographs.shape
    n, h, w = digits.shape
    limits = jnp.array([count, high - h + 1, wide - w + 1])
    corners = jax.random.randint(key, (n, 3), 0, limits[None])

    def one(digit: jax.Array, corner: jax.Array) -> jax.Array:
        patch = jax.lax.dynamic_slice(photographs, (*corner, 0), (1, h, w, 3))[0]
        # Wider than bytes, in which a difference below 0 would wrap around.
        return jnp.abs(patch.astype(jnp.int16) - jnp.where(digit > 0, 255, 0)[..., None].astype(jnp.int16))

    return jax.vmap(one)(digits, corners).astype(jnp.uint8)


def resized(images: jax.Array, crop: int, size: int) -> jax.Array:
    """The middle of bytes (n, h, w[, 3]), at most `crop` pixels a side, at `size` x `size`: bilinear, rounded."""
    for axis in (1, 2):
        kept = min(crop, images.shape[axis])
        first = (images.shape[axis] - kept) // 2
        images = jax.lax.slice_in_dim(images, first, first + kept, axis=axis)
    if images.shape[1:3] == (size, size):
        return images
    shape = (len(images), size, size, *images.shape[3:])
    return jnp.round(jax.image.resize(images.astype(jnp.float32), shape, "bilinear")).astype(jnp.uint8)


def with_channels(images: jax.Array) -> jax.Array:
    """Images (n, h, w, channels), grey ones with a single channel."""
    return images if images.ndim == 4 else images[..., None]


def drawn(settings: "ImageSettings", key: jax.Array, source: Tree, target: Tree) -> Tree:
    """Random images to train and test on of both domains, of one replicate; where both are one set, different ones."""
    keys = jax.random.split(key, 3)
    own = jax.random.permutation(keys[0], len(source["train_labels"]))
    other = own[settings.train :] if settings.source == settings.target else None
    if other is None:
        other = jax.random.permutation(keys[1], len(target["train_labels"]))
    found = {}
    for name, data, part, rows in (
        ("source", source, "train", own[: settings.train]),
        ("target", target, "train", other[: settings.train]),
        ("source_test", source, "test", jax.random.permutation(keys[2], len(source["test_labels"]))[: settings.test]),
        ("target_test", target, "test", jax.random.permutation(keys[2], len(target["test_labels"]))[: settings.test]),
    ):
        found[name] = resized(data[f"{part}_images"][rows], settings.crop, settings.size)
        found[f"{name}_labels"] = data[f"{part}_labels"][rows]
    return found


def blend_target(key: jax.Array, data: Tree, train: jax.Array, test: jax.Array) -> Tree:
    """The same with photographs behind the digits of the target, others in its test part."""
    keys = jax.random.split(key)
    return data | {
        "target": blended(keys[0], data["target"], train),
        "target_test": blended(keys[1], data["target_test"], test),
    }


def finished(data: Tree) -> Tree:
    """Images with their channels last, and the mean (1, 1, 1, 3) over both domains that is subtracted."""
    images = {name: with_channels(x) for name, x in data.items() if not name.endswith("labels")}
    means = [images[name].astype(jnp.float32).mean((0, 1, 2)) / 255 for name in ("source", "target")]
    mean = jnp.stack([jnp.broadcast_to(one, (3,)) for one in means]).mean(0)
    return data | images | {"labels": data["source_labels"], "mean": mean[None, None, None]}


def domains(settings: "ImageSettings", keys: jax.Array, lab: "Lab") -> Tree:
    """The data of every replicate, blended on the device."""
    source, target = lab.data(settings.source), lab.data(settings.target)
    data = lab.map(partial(drawn, settings), named_keys(lab, keys, "images"), shared=(source, target))
    backgrounds = getattr(settings, "backgrounds", None)
    if backgrounds is not None:
        photographs = lab.data(backgrounds)
        parts = (photographs["train_photographs"], photographs["test_photographs"])
        data = lab.map(blend_target, named_keys(lab, keys, "backgrounds"), data, shared=parts)
    return lab.map(finished, data)


# --- training and what is made of the features ----------------------------------------------------------------------


def training_of(settings: "ImageSettings") -> Training:
    """The network of figure 4 and its schedules."""
    classes = len(find_data_set(settings.source).classes)
    network = Network(settings.channels, 0, settings.hidden, settings.domain_hidden, classes)
    return Training(
        network, settings.steps, settings.learning_rate, settings.momentum, settings.decay, settings.reversal_gain
    )


def ordered(settings: "ImageSettings", counts: tuple[int, int], key: jax.Array) -> dict[str, jax.Array]:
    """The two streams: every batch takes as many images of the source as of the target, each in its own order."""
    keys = jax.random.split(key)
    sizes = zip(("source", "target"), keys, counts, strict=True)
    return {name: epoch_batches(k, count, settings.batch, settings.steps) for name, k, count in sizes}


def finish(training: Training, compared: int, state: State, *given: Tree) -> Tree:
    """Accuracies in percent, and the features of some labelled, some target, and all target test images."""
    data = given[2]

    def of(images: jax.Array) -> Any:
        return outputs(training, state.params, images, data["mean"])

    tests = {name: of(data[f"{name}_test"]) for name in ("source", "target")}
    shown = min(SHOWN, compared)
    told = {"source": tests["source"].domains < 0, "target": tests["target"].domains >= 0}
    labelled, target = of(data["source"][:compared]), of(data["target"][:compared])
    return {
        "source_accuracy": accuracy(tests["source"].labels, data["source_test_labels"]),
        "test_accuracy": accuracy(tests["target"].labels, data["target_test_labels"]),
        "domain_accuracy": 50 * (told["source"].mean() + told["target"].mean()),
        "labelled": labelled.hidden,
        "target": target.hidden,
        "tested": tests["target"].hidden,
        "plane": plane(labelled.features[:shown], target.features[:shown]),
        "plane_labels": jnp.concatenate([data["labels"][:shown], data["target_labels"][:shown]]),
    }


def svm_accuracy(
    settings: "ImageSettings", labelled: jax.Array, labels: jax.Array, tested: jax.Array, true: jax.Array
) -> jax.Array:
    """Target test accuracy in percent of a linear support vector machine in place of the last layer (section 5.2.3)."""
    classes = len(find_data_set(settings.source).classes)
    scale = jnp.sqrt(jnp.mean(labelled**2))
    weights = fit_linear_svm(labelled / scale, labels[: len(labelled)], classes, settings.svm_cost)
    return 100 * (predict_class(weights, tested / scale) == true).mean()


def alignment(settings: "ImageSettings", result: Tree, labels: jax.Array, true: jax.Array) -> Tree:
    """Subspace alignment of the features: accuracy for each number of directions, and the best by the TARGET labels."""

    def one(directions: jax.Array) -> jax.Array:
        source, test = align_subspaces(result["labelled"], result["target"], result["tested"], directions)
        return svm_accuracy(settings, source, labels, test, true)

    found = jax.lax.map(one, jnp.array(settings.directions))
    return {"each": found, "best": found.max()}


def gap_covered(source_only: jax.Array, here: jax.Array, train_on_target: jax.Array) -> jax.Array:
    """Share of the way from source-only to training on the target, in percent (table 2)."""
    return 100 * (here - source_only) / (train_on_target - source_only)


# --- the experiment -------------------------------------------------------------------------------------------------


def compare(settings: "ImageSettings | BlendedSettings", keys: jax.Array, lab: "Lab") -> None:
    """All arms from the same initial weights in the same order of images."""
    data, training = domains(settings, keys, lab), training_of(settings)
    start = lab.map(partial(initial, training, (settings.size, settings.size, 3)), named_keys(lab, keys, "init"))
    svm, results = {}, {}
    for name, (reversal, shuffle) in (ARMS | {name: CONTROLS[name] for name in settings.controls}).items():
        streams = data
        if name == "train_on_target":  # the labelled stream is the target's, the other one its images again
            streams = data | {"source": data["target"], "labels": data["target_labels"]}
        counts = (streams["source"].shape[1], data["target"].shape[1])
        orders = lab.map(partial(ordered, settings, counts), named_keys(lab, keys, "order"))
        result = lab.iterate(
            name,
            partial(step, training),
            named_keys(lab, keys, "steps"),
            start,
            steps=settings.steps,
            each=(arm(keys.shape, reversal, settings.domain_weight, shuffle), orders, streams),
            finish=partial(finish, training, settings.compared),
        ).result
        results[name] = result
        true = data["target_test_labels"]
        svm[name] = lab.map(
            partial(svm_accuracy, settings), result["labelled"], streams["labels"], result["tested"], true
        )
        kinds = ("source_accuracy", "test_accuracy", "domain_accuracy")
        lab.measure({**{kind: result[kind] for kind in kinds}, "svm_test_accuracy": svm[name]}, arm=name)
    summarise(settings, lab, data, svm, results)


def summarise(settings: "ImageSettings", lab: "Lab", data: Tree, svm: Tree, results: Tree) -> None:
    """Subspace alignment on the features of the source-only network, the gap covered, and planes for the figure."""
    found = lab.map(partial(alignment, settings), results["source_only"], data["labels"], data["target_test_labels"])
    lab.measure(
        {"aligned_accuracy": found["each"]}, along={"directions": settings.directions}, arm="subspace_alignment"
    )
    svm = svm | {"subspace_alignment": found["best"]}
    lab.measure({"svm_test_accuracy": found["best"]}, arm="subspace_alignment")
    for name in (name for name in svm if name not in ("source_only", "train_on_target")):
        covered = lab.map(gap_covered, svm["source_only"], svm[name], svm["train_on_target"])
        lab.measure({"gap_covered": covered}, arm=name)
    for name in ("source_only", "dann"):
        lab.keep(f"plane_{name}", results[name]["plane"])
    lab.keep("plane_labels", results["dann"]["plane_labels"])
