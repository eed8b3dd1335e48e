"""Networks for others: the one trained adversarially, whose features tell domains apart as little as they can."""

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from core.data.catalogue import find_data_set
from core.papers.contract import Network
from experiments.dann import adversarial
from experiments.dann.images import make_domains
from experiments.dann.settings import ImageSettings

if TYPE_CHECKING:
    from core.weights.replicate import FinishedReplicate

Tree = Any
MEASURED = ("test_accuracy", "svm_test_accuracy", "domain_accuracy")


def collect(settings: ImageSettings, left: "FinishedReplicate") -> Tree:
    """Parameters, and the mean over both domains (1, 1, 1, 3), which is subtracted from images."""
    with left.lab() as (key, lab):
        mean = make_domains(settings.data, key, lab)["mean"][0]
    return {"params": left.stage("dann")["result"]["variables"]["params"], "mean": np.asarray(mean)}


def extractor(settings: ImageSettings, arrays: Tree) -> Any:
    """Everything that the network makes of images: logits of labels and of the domain, and both layers of features."""
    return jax.jit(partial(_outputs, settings, arrays))


def _outputs(settings: ImageSettings, arrays: Tree, images: jax.Array) -> adversarial.Outputs:
    sizes, classes = settings.network, len(find_data_set(settings.data.source).classes)
    network = adversarial.Network(sizes.channels, 0, sizes.hidden, sizes.domain_hidden, classes)
    outputs = network.apply({"params": arrays["params"]}, adversarial.as_input(images, arrays["mean"]))
    assert isinstance(outputs, adversarial.Outputs)
    return outputs


NETWORKS = {
    "extractor": Network(
        "clothes",
        "Two convolutions trained by gradient reversal to label clothes, on features in which plain images and images "
        "blended with photographs look alike. `model(images)` takes bytes (n, 20, 20, 3) and gives `features` "
        "(behind the convolutions), `hidden` (the last hidden layer), and the logits `labels` and `domains`.",
        collect,
        extractor,
        lambda settings: [{"metric": metric, "arm": "dann"} for metric in MEASURED],
    )
}
