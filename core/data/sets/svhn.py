"""Street View House Numbers: 32x32 colour crops of digits in photographs of house fronts."""

import io
from typing import TYPE_CHECKING

from core.data.dataset import DataFile, DataSet, DataSource, FileContents, image_shapes

if TYPE_CHECKING:
    import numpy as np

FILES = {"train": "train_32x32.mat", "test": "test_32x32.mat"}


def parse_svhn(contents: FileContents) -> dict[str, "np.ndarray"]:
    """Images (n, 32, 32, 3) and labels; the files hold images in their last axis and the digit 0 as 10."""
    import numpy as np
    from scipy.io import loadmat

    arrays = {}
    for split, file in FILES.items():
        found = loadmat(io.BytesIO(contents[file]), variable_names=("X", "y"))
        arrays[f"{split}_images"] = np.ascontiguousarray(found["X"].transpose(3, 0, 1, 2))
        arrays[f"{split}_labels"] = (found["y"].ravel() % 10).astype(np.int32)
    return arrays


SVHN = DataSet(
    name="svhn",
    title="Street View House Numbers, cropped digits: 73,257 + 26,032 colour images",
    licence="non-commercial use; cite Netzer et al. (2011)",
    shareable=False,
    classes=tuple("0123456789"),
    array_shapes=image_shapes(73_257, 26_032, 32, 32, 3),
    files=(
        DataFile(FILES["train"], "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8", 182_040_794),
        DataFile(FILES["test"], "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b", 64_275_384),
    ),
    parse=parse_svhn,
    sources=(DataSource("web", "https://ufldl.stanford.edu/housenumbers", {file: file for file in FILES.values()}),),
)

DATA_SETS = (SVHN,)
