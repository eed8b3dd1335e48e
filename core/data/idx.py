"""The idx format of MNIST: a header of big-endian sizes, then bytes in C order."""

import math
import struct
from typing import TYPE_CHECKING

from core.data.dataset import FileContents

if TYPE_CHECKING:
    import numpy as np

UNSIGNED_BYTE = 0x08
FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


def decode_idx(content: bytes) -> "np.ndarray":
    """A read-only uint8 array on the bytes themselves (no copy); ValueError where header and length disagree."""
    import numpy as np  # here and not above: the catalogue is imported by commands that answer at once

    zeros, kind, rank = struct.unpack_from(">HBB", content)
    shape = struct.unpack_from(f">{rank}I", content, 4)
    if zeros or kind != UNSIGNED_BYTE or len(content) != 4 + 4 * rank + math.prod(shape):
        raise ValueError(f"not an idx file of unsigned bytes: {content[:16].hex()}")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def encode_idx(shape: tuple[int, ...], body: bytes) -> bytes:
    """Bytes in C order as an idx file of that shape."""
    return struct.pack(f">HBB{len(shape)}I", 0, UNSIGNED_BYTE, len(shape), *shape) + body


def parse_image_set(contents: FileContents) -> dict[str, "np.ndarray"]:
    """The four files of an image set (images of any rank): images uint8 as they lie in memory, labels int32."""
    arrays = {name: decode_idx(contents[file]) for name, file in FILES.items()}
    return {name: array.astype("int32") if name.endswith("labels") else array for name, array in arrays.items()}
