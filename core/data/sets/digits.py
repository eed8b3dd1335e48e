"""The 8x8 digits that scikit-learn brings along: real data for smoke runs, without any download."""

from typing import TYPE_CHECKING

from core.data.dataset import DataFile, DataSet, FileContents, image_shapes

if TYPE_CHECKING:
    import numpy as np

TEST_STRIDE = 5  # every fifth row


def parse_digits(contents: FileContents) -> dict[str, "np.ndarray"]:
    """1,437 images to train and 360 to test; the file's ink counts 0..16 become grey values 0..255, rounded.

    The test split is every fifth row of the rows sorted by class (stable), so each class has its fifth in it; within
    both splits the file's order is kept.
    """
    import numpy as np

    rows = np.loadtxt(contents["digits.csv"].decode().splitlines(), np.int32, delimiter=",")
    images = np.rint(rows[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    labels = rows[:, -1]
    in_test = np.zeros(len(rows), bool)
    in_test[np.argsort(labels, kind="stable")[::TEST_STRIDE]] = True
    return {
        "train_images": images[~in_test],
        "train_labels": labels[~in_test],
        "test_images": images[in_test],
        "test_labels": labels[in_test],
    }


DIGITS = DataSet(
    name="digits",
    title="Optical digits: 1,797 images of 8x8, split 1,437 + 360",
    licence="CC BY 4.0; copy: BSD-3-Clause (scikit-learn)",
    shareable=True,
    classes=tuple("0123456789"),
    array_shapes=image_shapes(1437, 360, 8, 8),
    files=(DataFile("digits.csv", "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8", 264_712),),
    parse=parse_digits,
    package_folder="sklearn:datasets/data",
)

DATA_SETS = (DIGITS,)
