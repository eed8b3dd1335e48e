"""The maths of the studies on prior-data fitted networks, against NumPy by hand and exact posteriors."""

from itertools import pairwise

from core import pages

PAGE = pages.load_page("pfn")


def size(features: int, width: int, layers: int, hidden: int, outputs: int) -> int:
    """Weights and biases of an encoder: tokens of x and y, layers with two normalisations, and the decoder."""
    layer = sum(after * (before + 1) for before, after in ((width, 3 * width), (width, width)))
    layer += sum(after * (before + 1) for before, after in pairwise((width, hidden, width))) + 4 * width
    tokens = width * (features + 1) + width * 2
    return tokens + layers * layer + sum(b * (a + 1) for a, b in pairwise((width, 2 * width, outputs)))


def state(*sizes: int) -> int:
    """With both moments of Adam and its count."""
    return 3 * size(*sizes) + 1


PARAMETERS = {
    "gp": {"laptop": state(1, 64, 3, 128, 100), "paper": state(5, 512, 6, 1024, 1000)},
    "tables": {"laptop": state(60, 64, 3, 128, 1), "paper": state(60, 512, 5, 1024, 1)},
    "head": {"laptop": state(1, 32, 2, 64, 100), "paper": state(5, 512, 6, 1024, 1000)},
    "hyper": {"laptop": state(1, 64, 3, 128, 100), "paper": state(5, 512, 6, 1024, 1000)},
    "bnn": {"laptop": state(3, 64, 3, 128, 1), "paper": state(3, 256, 5, 512, 1)},
}
