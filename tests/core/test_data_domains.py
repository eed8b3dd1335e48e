"""The readers of data sets for domain adaptation: photographs, reviews, house numbers."""

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from sklearn.datasets import load_digits

from core.data import catalogue
from core.data.jpegs import decode_photograph
from core.data.loading import load_data_set
from core.data.sets import photographs, reviews, svhn


def picture(height: int, width: int, kind: str = "PNG") -> bytes:
    """Red grows downwards and green to the right."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(height)[:, None], np.arange(width)[None]
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def test_photographs_are_cropped_in_their_middle_and_upright_ones_turned() -> None:
    flat = decode_photograph(picture(20, 30), 10, 16)
    assert flat.shape == (10, 16, 3) and flat[0, 0].tolist() == [5, 7, 0] and flat[-1, -1].tolist() == [14, 22, 0]
    turned = decode_photograph(picture(30, 20), 20, 30)
    assert turned[-1, 0].tolist() == [0, 0, 0] and turned[0, 0].tolist() == [0, 19, 0], "turned counter-clockwise"
    assert decode_photograph(picture(20, 20), 20, 20)[0, 19].tolist() == [0, 19, 0]
    with pytest.raises(ValueError, match="smaller than"):
        decode_photograph(picture(20, 30), 21, 30)


@pytest.fixture
def jpegs(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A tiny set, declared as the real one is."""
    monkeypatch.setattr(photographs, "BSDS_HEIGHT", 8)
    monkeypatch.setattr(photographs, "BSDS_WIDTH", 12)
    made = {f"{split}/{n}.jpg": picture(8 + 4 * n, 12 - 4 * n, "JPEG") for split in ("train", "test") for n in (0, 1)}
    made["val/0.jpg"] = b"never decoded"
    sums = {
        split: hashlib.sha256(made[f"{split}/0.jpg"] + made[f"{split}/1.jpg"]).hexdigest()
        for split in photographs.SPLITS
    }
    monkeypatch.setattr(photographs, "BSDS_JPEG_SHA256", sums)
    return made


def test_bundle_and_archive_of_photographs_give_the_same_bytes(jpegs: dict[str, bytes], tmp_path: Path) -> None:
    ends = np.cumsum([0, *map(len, jpegs.values())])
    content = np.frombuffer(b"".join(jpegs.values()), np.uint8)
    np.savez(tmp_path / "bsds500.npz", names=np.array(list(jpegs)), offsets=ends, bytes=content)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        for name, content in jpegs.items():
            entry = tarfile.TarInfo(f"BSDS500-a04b7c6/BSDS500/data/images/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    found = photographs.unpack_npz_bundle(tmp_path)
    assert found == photographs.decode_jpegs_in_archive(tmp_path / "a.tar.gz")
    arrays = photographs.parse_photographs(found)
    assert arrays["train_photographs"].shape == arrays["test_photographs"].shape == (2, 8, 12, 3)


def test_other_photographs_than_the_declared_reach_no_decoder(
    jpegs: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photographs, "encode_photographs_as_idx", None)
    jpegs["test/1.jpg"] = jpegs["test/0.jpg"]
    with pytest.raises(ValueError, match="test split are not the declared ones"):
        photographs.decode_jpegs(jpegs)


@pytest.mark.parametrize("name", ["sample_photographs", "ink_counts"])
def test_bundled_sets_have_the_declared_shapes(name: str) -> None:
    arrays = load_data_set(name)
    declared = catalogue.find_data_set(name).array_shapes
    assert {key: (array.shape, str(array.dtype)) for key, array in arrays.items()} == dict(declared)


def test_ink_counts_are_the_digits_pair_by_pair() -> None:
    arrays, bunch = load_data_set("ink_counts"), load_digits()
    for number, domain in enumerate(reviews.DOMAINS):
        rows = {image.tobytes(): label for image, label in zip(bunch.data.astype(np.uint8), bunch.target, strict=True)}
        for split in ("train", "test"):
            digits = [rows[document.tobytes()] for document in arrays[f"{domain}_{split}"]]
            assert {int(digit) for digit in digits} == {2 * number, 2 * number + 1}
            assert [digit % 2 for digit in digits] == arrays[f"{domain}_{split}_labels"].tolist()


def test_reviews_are_read_from_their_sparse_lines() -> None:
    counts, labels = reviews.parse_svmlight(b"1 0:6 3:2 4999:1\n-1 7:1\n")
    assert counts.shape == (2, 5000) and counts.dtype == np.uint8 and labels.tolist() == [1, 0]
    assert counts[0, [0, 3, 4999]].tolist() == [6, 2, 1] and counts[0].sum() == 9
    assert counts[1].nonzero()[0].tolist() == [7]


def test_house_numbers_have_images_first_and_the_digit_0() -> None:
    images = np.arange(32 * 32 * 3 * 2, dtype=np.uint32).astype(np.uint8).reshape(32, 32, 3, 2)
    contents = {}
    for file in svhn.FILES.values():
        packed = io.BytesIO()
        savemat(packed, {"X": images, "y": np.array([[10], [3]], np.uint8)})
        contents[file] = packed.getvalue()
    arrays = svhn.parse_svhn(contents)
    np.testing.assert_array_equal(arrays["train_images"][1], images[..., 1])
    assert arrays["test_labels"].tolist() == [0, 3] and arrays["test_labels"].dtype == np.int32
