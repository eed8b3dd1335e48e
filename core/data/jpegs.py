"""Photographs of one size, kept as one idx file: decoding, turning, cropping; bundles of JPEG files."""

import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from core.data import idx

if TYPE_CHECKING:
    import numpy as np


def read_npz_bundle(path: Path) -> dict[str, bytes]:
    """Files of an .npz bundle with `names`, `offsets` and `bytes`: file i is bytes[offsets[i]:offsets[i + 1]]."""
    import numpy as np

    with np.load(path, allow_pickle=False) as bundle:
        content, ends = bundle["bytes"].tobytes(), bundle["offsets"].tolist()
        names = bundle["names"].tolist()
    return {name: content[start:end] for name, start, end in zip(names, ends, ends[1:], strict=False)}


def read_jpegs_from_tar(path: Path, folder: str) -> dict[str, bytes]:
    """JPEG files below `folder` of a tar archive with one root, by their path below it, read in one pass."""
    found = {}
    with tarfile.open(path, "r|*") as entries:
        for entry in entries:
            _, inside, name = entry.name.partition(f"/{folder}/")
            if inside and entry.isfile() and name.endswith(".jpg"):
                content = entries.extractfile(entry)
                found[name] = content.read() if content else b""
    return found


def decode_photograph(photograph: bytes, height: int, width: int) -> "np.ndarray":
    """A JPEG or PNG as uint8 (height, width, 3): turned by a quarter where it stands upright, cropped in its middle."""
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(photograph), formats=["JPEG", "PNG"]) as image:
        pixels = np.asarray(image.convert("RGB"))
    if pixels.shape[0] > pixels.shape[1] and height < width:
        pixels = np.rot90(pixels)
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    if min(top, left) < 0:
        raise ValueError(f"a photograph of {pixels.shape[:2]} is smaller than {height} x {width}")
    return pixels[top : top + height, left : left + width]


def encode_photographs_as_idx(photographs: Iterable[bytes], height: int, width: int) -> bytes:
    """The photographs, decoded, as one idx file (n, height, width, 3)."""
    images = [decode_photograph(photograph, height, width).tobytes() for photograph in photographs]
    return idx.encode_idx((len(images), height, width, 3), b"".join(images))


def photographs_of_split(photographs: Mapping[str, bytes], split: str) -> list[bytes]:
    """The photographs whose name starts with `<split>/`, in order of their names."""
    return [photographs[name] for name in sorted(photographs) if name.startswith(f"{split}/")]
