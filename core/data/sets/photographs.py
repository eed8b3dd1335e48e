"""Colour photographs as backgrounds: the Berkeley Segmentation Data Set, and those that image libraries bring along."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from core.data import idx
from core.data.dataset import DataFile, DataSet, DataSource, FileContents
from core.data.jpegs import (
    decode_photograph,
    encode_photographs_as_idx,
    photographs_of_split,
    read_jpegs_from_tar,
    read_npz_bundle,
)

if TYPE_CHECKING:
    import numpy as np

SPLITS = ("train", "test")
BSDS_HEIGHT, BSDS_WIDTH = 321, 481
BSDS_COMMIT = "a04b7c6c3a9f0ace74bf205c72a43d32e1c72722"
# The JPEG files of a split, one after another in order of their names.
BSDS_JPEG_SHA256 = {
    "train": "b626d29a9653bf7a573863ad2470032b8d6e01a04a88d1c1e4b599055eb60e71",
    "test": "93a43b3f3d4612ac0750dc938801bde0cd2ad6fa0e02a22cc1df9bf77eb6cfdf",
}


def photograph_shapes(train: int, test: int, height: int, width: int) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shapes and dtypes of a set of photographs."""
    counts = {"train": train, "test": test}
    return {f"{split}_photographs": ((counts[split], height, width, 3), "uint8") for split in SPLITS}


def parse_photographs(contents: FileContents) -> dict[str, "np.ndarray"]:
    """Photographs (n, height, width, 3) uint8 of both splits, as they lie in memory."""
    return {f"{split}_photographs": idx.decode_idx(contents[f"{split}-photographs-idx4-ubyte"]) for split in SPLITS}


def decode_jpegs(jpegs: Mapping[str, bytes]) -> FileContents:
    """Decode the JPEG files `<split>/<number>.jpg`; ValueError, before any is decoded, where they are not the known."""
    for split in SPLITS:
        if hashlib.sha256(b"".join(photographs_of_split(jpegs, split))).hexdigest() != BSDS_JPEG_SHA256[split]:
            raise ValueError(f"the JPEG files of the {split} split are not the declared ones (sha256)")
    return {
        f"{split}-photographs-idx4-ubyte": encode_photographs_as_idx(
            photographs_of_split(jpegs, split), BSDS_HEIGHT, BSDS_WIDTH
        )
        for split in SPLITS
    }


def unpack_npz_bundle(folder: Path) -> FileContents:
    """Decode the JPEG files in the one-file bundle of a folder."""
    return decode_jpegs(read_npz_bundle(folder / "bsds500.npz"))


def decode_jpegs_in_archive(archive: Path) -> FileContents:
    """Decode the JPEG files in an archive of the repository that has them."""
    return decode_jpegs(read_jpegs_from_tar(archive, "BSDS500/data/images"))


def crop_photographs(names: Mapping[str, tuple[str, ...]], height: int, width: int, contents: FileContents) -> dict:
    """The named photographs of each split, cropped in their middle."""
    import numpy as np

    return {
        f"{split}_photographs": np.stack([decode_photograph(contents[name], height, width) for name in names[split]])
        for split in SPLITS
    }


SAMPLE_FILES = {"train": ("china.jpg",), "test": ("flower.jpg",)}
LIBRARY_FILES = {
    "train": ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "ihc.png", "retina.jpg"),
    "test": ("motorcycle_left.png", "hubble_deep_field.jpg"),
}


def parse_sample_photographs(contents: FileContents) -> dict[str, "np.ndarray"]:
    """One photograph for each split."""
    return crop_photographs(SAMPLE_FILES, 427, 640, contents)


def parse_library_photographs(contents: FileContents) -> dict[str, "np.ndarray"]:
    """Six photographs to train on, two to test on, the middle 300 x 400 of each."""
    return crop_photographs(LIBRARY_FILES, 300, 400, contents)


BSDS500 = DataSet(
    name="bsds500",
    title="Berkeley Segmentation Data Set: its 200 training and 200 test photographs, upright ones turned",
    licence="non-commercial research and education; cite Arbelaez et al. (2011)",
    shareable=False,
    classes=(),
    array_shapes=photograph_shapes(200, 200, BSDS_HEIGHT, BSDS_WIDTH),
    files=(
        DataFile(
            "train-photographs-idx4-ubyte",
            "9a1af0bbdf3fcc402fa9034ea62654cf506a68536a0ab527fae142fe0c5db3e7",
            92_640_620,
        ),
        DataFile(
            "test-photographs-idx4-ubyte",
            "0ff610a4c93d929e58f5bbaff6d9cd44ab552f402b325bd1582ea8786d080e5e",
            92_640_620,
        ),
    ),
    parse=parse_photographs,
    sources=(
        DataSource("placed", "bsds500.npz", unpack=unpack_npz_bundle),
        DataSource(
            "archive",
            f"https://github.com/BIDS/BSDS500/archive/{BSDS_COMMIT}.tar.gz",
            unpack=decode_jpegs_in_archive,
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
    array_shapes=photograph_shapes(6, 2, 300, 400),
    files=(
        DataFile("astronaut.png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5", 791_555),
        DataFile("coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7", 466_706),
        DataFile("chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb", 240_512),
        DataFile("rocket.jpg", "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c", 112_525),
        DataFile("ihc.png", "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef", 477_916),
        DataFile("retina.jpg", "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6", 269_564),
        DataFile("motorcycle_left.png", "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179", 644_701),
        DataFile("hubble_deep_field.jpg", "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4", 527_940),
    ),
    parse=parse_library_photographs,
    sources=(
        DataSource(
            "wheel",
            "scikit-image==0.26.0",
            {name: f"skimage/data/{name}" for split in LIBRARY_FILES.values() for name in split},
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
    array_shapes=photograph_shapes(1, 1, 427, 640),
    files=(
        DataFile("china.jpg", "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29", 196_653),
        DataFile("flower.jpg", "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638", 142_987),
    ),
    parse=parse_sample_photographs,
    package_folder="sklearn:datasets/images",
)

DATA_SETS = (BSDS500, LIBRARY_PHOTOGRAPHS, SAMPLE_PHOTOGRAPHS)
