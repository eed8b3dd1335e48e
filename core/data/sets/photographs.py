"""Colour photographs as backgrounds: the Berkeley Segmentation Data Set, and those that image libraries bring along."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from core.data import idx
from core.data.dataset import Contents, DataSet, File, Source
from core.data.jpegs import decoded, encoded, from_archive, from_bundle, sorted_part

if TYPE_CHECKING:
    import numpy as np

PARTS = ("train", "test")
BSDS_HEIGHT, BSDS_WIDTH = 321, 481
BSDS_COMMIT = "a04b7c6c3a9f0ace74bf205c72a43d32e1c72722"
# The JPEG files of a part, one after another in order of their names.
BSDS_JPEGS = {
    "train": "b626d29a9653bf7a573863ad2470032b8d6e01a04a88d1c1e4b599055eb60e71",
    "test": "93a43b3f3d4612ac0750dc938801bde0cd2ad6fa0e02a22cc1df9bf77eb6cfdf",
}


def photographs(train: int, test: int, height: int, width: int) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shapes and dtypes of a set of photographs."""
    counts = {"train": train, "test": test}
    return {f"{part}_photographs": ((counts[part], height, width, 3), "uint8") for part in PARTS}


def read_idx(contents: Contents) -> dict[str, "np.ndarray"]:
    """Photographs (n, height, width, 3) uint8 of both parts, as they lie in memory."""
    return {f"{part}_photographs": idx.decode(contents[f"{part}-photographs-idx4-ubyte"]) for part in PARTS}


def from_jpegs(jpegs: Mapping[str, bytes]) -> Contents:
    """Decode the JPEG files `<part>/<number>.jpg`; ValueError, before any is decoded, where they are not the known."""
    for part in PARTS:
        if hashlib.sha256(b"".join(sorted_part(jpegs, part))).hexdigest() != BSDS_JPEGS[part]:
            raise ValueError(f"the JPEG files of the {part} part are not the declared ones (sha256)")
    return {
        f"{part}-photographs-idx4-ubyte": encoded(sorted_part(jpegs, part), BSDS_HEIGHT, BSDS_WIDTH) for part in PARTS
    }


def from_pack(folder: Path) -> Contents:
    """From the one-file bundle of the JPEG files."""
    return from_jpegs(from_bundle(folder / "bsds500.npz"))


def from_repository(archive: Path) -> Contents:
    """From an archive of the repository that has the JPEG files."""
    return from_jpegs(from_archive(archive, "BSDS500/data/images"))


def cropped(names: Mapping[str, tuple[str, ...]], height: int, width: int, contents: Contents) -> dict:
    """The named photographs of each part, cropped in their middle."""
    import numpy as np

    return {
        f"{part}_photographs": np.stack([decoded(contents[name], height, width) for name in names[part]])
        for part in PARTS
    }


SAMPLE = {"train": ("china.jpg",), "test": ("flower.jpg",)}
LIBRARY = {
    "train": ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "ihc.png", "retina.jpg"),
    "test": ("motorcycle_left.png", "hubble_deep_field.jpg"),
}


def read_sample(contents: Contents) -> dict[str, "np.ndarray"]:
    """One photograph for each part."""
    return cropped(SAMPLE, 427, 640, contents)


def read_library(contents: Contents) -> dict[str, "np.ndarray"]:
    """Six photographs to train on, two to test on, the middle 300 x 400 of each."""
    return cropped(LIBRARY, 300, 400, contents)


BSDS500 = DataSet(
    name="bsds500",
    title="Berkeley Segmentation Data Set: its 200 training and 200 test photographs, upright ones turned",
    licence="non-commercial research and education; cite Arbelaez et al. (2011)",
    shareable=False,
    classes=(),
    arrays=photographs(200, 200, BSDS_HEIGHT, BSDS_WIDTH),
    files=(
        File(
            "train-photographs-idx4-ubyte",
            "9a1af0bbdf3fcc402fa9034ea62654cf506a68536a0ab527fae142fe0c5db3e7",
            92_640_620,
        ),
        File(
            "test-photographs-idx4-ubyte",
            "0ff610a4c93d929e58f5bbaff6d9cd44ab552f402b325bd1582ea8786d080e5e",
            92_640_620,
        ),
    ),
    read=read_idx,
    sources=(
        Source("placed", "bsds500.npz", convert=from_pack),
        Source(
            "archive",
            f"https://github.com/BIDS/BSDS500/archive/{BSDS_COMMIT}.tar.gz",
            convert=from_repository,
        ),
    ),
    alternatives=("library_photographs",),
)

LIBRARY_PHOTOGRAPHS = DataSet(
    name="library_photographs",
    title="Eight photographs that scikit-image brings along",
    licence="CC0 and public domain; copies: BSD-3-Clause (scikit-image)",
    shareable=True,
    classes=(),
    arrays=photographs(6, 2, 300, 400),
    files=(
        File("astronaut.png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5", 791_555),
        File("coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7", 466_706),
        File("chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb", 240_512),
        File("rocket.jpg", "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c", 112_525),
        File("ihc.png", "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef", 477_916),
        File("retina.jpg", "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6", 269_564),
        File("motorcycle_left.png", "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179", 644_701),
        File("hubble_deep_field.jpg", "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4", 527_940),
    ),
    read=read_library,
    sources=(
        Source(
            "wheel",
            "scikit-image==0.26.0",
            {name: f"skimage/data/{name}" for part in LIBRARY.values() for name in part},
        ),
    ),
    alternatives=("bsds500",),
)

SAMPLE_PHOTOGRAPHS = DataSet(
    name="sample_photographs",
    title="Two photographs that scikit-learn brings along",
    licence="CC BY 2.0; copies: BSD-3-Clause (scikit-learn)",
    shareable=True,
    classes=(),
    arrays=photographs(1, 1, 427, 640),
    files=(
        File("china.jpg", "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29", 196_653),
        File("flower.jpg", "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638", 142_987),
    ),
    read=read_sample,
    bundled="sklearn:datasets/images",
)

DATA_SETS = (BSDS500, LIBRARY_PHOTOGRAPHS, SAMPLE_PHOTOGRAPHS)
