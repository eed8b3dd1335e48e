"""The catalogue of data sets and the readers that turn verified files into arrays."""

import gzip
import hashlib
import io
import math
import subprocess
import sys
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from core.data import catalogue, idx
from core.data.loading import load_data_set
from core.data.sets import cifar, mnist
from core.errors import BadInput, DataMissing
from tests.limits import machine_seconds


def test_the_catalogue_answers_without_numpy_or_network_code():
    script = (
        "import sys; from core.data import catalogue; "
        "catalogue.find_data_set('mnist'); catalogue.data_set_checksum('cifar10');"
        "print([m for m in ('numpy', 'jax', 'PIL', 'sklearn', 'urllib.request') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=machine_seconds(60), check=True
    )
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(BadInput, match=r"unknown data set 'minst': did you mean 'mnist'\?"):
        load_data_set("minst")


@pytest.mark.parametrize("name", catalogue.data_set_names())
def test_each_description_is_complete(name):
    data = catalogue.find_data_set(name)
    assert len({file.name for file in data.files}) == len(data.files)
    assert all(len(file.sha256) == 64 and int(file.sha256, 16) and file.bytes > 0 for file in data.files)
    assert set(data.alternatives) <= set(catalogue.data_set_names()) - {name}
    assert data.array_shapes and data.licence and data.title
    for array, (shape, dtype) in data.array_shapes.items():
        if array.endswith(("_labels", "_categorical")):
            assert dtype == "int32" and len(shape) == 1
        elif array.endswith("_text"):
            assert dtype == "uint8" and len(shape) == 1
        else:
            assert dtype == ("float32" if array.endswith("_features") else "uint8") and len(shape) > 1
    if "train_images" in data.array_shapes:
        assert set(data.array_shapes) == {"train_images", "train_labels", "test_images", "test_labels"}
        assert len(data.classes) == 10
    assert data.sources or data.package_folder
    for source in data.sources:
        assert source.unpack or set(source.members) == {file.name for file in data.files}
        assert source.kind not in ("web", "archive") or source.address.startswith("https://")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10_jpeg"])
def test_declared_lengths_agree_with_declared_shapes(name):
    data = catalogue.find_data_set(name)
    lengths = {file.name: file.bytes for file in data.files}
    for array, (shape, _) in data.array_shapes.items():
        assert lengths[idx.FILES[array]] == 4 + 4 * len(shape) + math.prod(shape)


def test_a_checksum_covers_every_declared_file_and_touches_none(monkeypatch, tmp_path):
    monkeypatch.setenv("ENCORE_CACHE", str(tmp_path / "nothing"))
    data = catalogue.find_data_set("mnist")
    before = catalogue.data_set_checksum("mnist")
    assert before == catalogue.data_set_checksum("mnist") and len(before) == 64
    for place, file in enumerate(data.files):
        other = (*data.files[:place], replace(file, sha256="0" * 64), *data.files[place + 1 :])
        monkeypatch.setitem(catalogue.all_data_sets(), "mnist", replace(data, files=other))
        assert catalogue.data_set_checksum("mnist") != before
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    ("name", "forms"),
    [
        ("mnist_5k", "Place mnist_5k.csv.gz in the folder mnist_5k/ below $ENCORE_DATA"),
        ("cifar10", "data_batch_5.bin, test_batch.bin, or cifar-10-binary.tar.gz in the folder cifar10/"),
        ("cifar10_jpeg", f"Place train.npz, test.npz, or {cifar.JPEG_COMMIT}.tar.gz in the folder cifar10_jpeg/"),
    ],
)
def test_the_error_names_the_forms_that_can_be_placed_by_hand(monkeypatch, tmp_path, name, forms):
    monkeypatch.setenv("ENCORE_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(DataMissing) as caught:
        load_data_set(name, notify=lambda line: None)
    assert forms in str(caught.value)


# --------------------------------------------------------------------------------------------------------- readers


def test_digits_are_scikit_learns_rows_split_once_by_class():
    arrays, bunch = load_data_set("digits"), load_digits()
    declared = catalogue.find_data_set("digits").array_shapes
    assert {name: (array.shape, str(array.dtype)) for name, array in arrays.items()} == dict(declared)
    grey = np.floor(bunch.images * 255 / 16 + 0.5).astype(np.uint8)
    rows = {
        image.tobytes(): (place, label) for place, (image, label) in enumerate(zip(grey, bunch.target, strict=True))
    }
    assert len(rows) == 1797
    places = {}
    for split in ("train", "test"):
        found = [rows[image.tobytes()] for image in arrays[f"{split}_images"]]
        places[split] = [place for place, _ in found]
        assert [label for _, label in found] == arrays[f"{split}_labels"].tolist()
        assert places[split] == sorted(places[split])
    assert sorted(places["train"] + places["test"]) == list(range(1797))
    by_class = sorted(range(1797), key=lambda place: (bunch.target[place], place))
    assert places["test"] == sorted(by_class[::5]) and len(places["test"]) == 360


def test_digits_need_no_cache(monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    monkeypatch.setenv("ENCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ENCORE_DATA", raising=False)
    assert len(load_data_set("digits")["train_images"]) == 1437


def test_idx_reads_a_file_written_by_hand():
    content = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 10, 11, 12, 13, 14, 255])
    assert idx.decode_idx(content).tolist() == [[[10, 11, 12]], [[13, 14, 255]]]
    assert idx.encode_idx((2, 1, 3), bytes([10, 11, 12, 13, 14, 255])) == content


@pytest.mark.parametrize(
    "content",
    [
        bytes([0, 0, 8, 1, 0, 0, 0, 3, 1, 2]),  # too short
        bytes([0, 0, 8, 1, 0, 0, 0, 1, 1, 2]),  # too long
        bytes([0, 0, 13, 1, 0, 0, 0, 1, 1]),  # floats
        bytes([1, 0, 8, 1, 0, 0, 0, 1, 1]),
    ],
)
def test_idx_refuses_what_does_not_fit_its_header(content):
    with pytest.raises(ValueError, match="not an idx file"):
        idx.decode_idx(content)


def test_idx_images_are_not_copied_and_labels_are_int32():
    contents = {
        idx.FILES[f"{split}_{kind}"]: idx.encode_idx((4, 2, 2) if kind == "images" else (4,), bytes(range(size)))
        for split in ("train", "test")
        for kind, size in (("images", 16), ("labels", 4))
    }
    arrays = idx.parse_image_set(contents)
    assert arrays["train_images"].shape == (4, 2, 2) and arrays["train_images"].dtype == np.uint8
    source = np.frombuffer(contents[idx.FILES["train_images"]], np.uint8)
    assert np.shares_memory(arrays["train_images"], source)
    assert arrays["test_labels"].dtype == np.int32 and arrays["test_labels"].tolist() == [0, 1, 2, 3]


def test_the_mnist_sample_deals_its_classes_out_in_turn():
    lines = [
        f"{label},{number // 100},{number % 100}," + "0," * 781 + str(label)
        for label in range(10)
        for number in range(500)
    ]
    arrays = mnist.parse_mnist_5k({mnist.SAMPLE_FILE: gzip.compress("\n".join(lines).encode())})
    declared = catalogue.find_data_set("mnist_5k").array_shapes
    assert {name: (array.shape, str(array.dtype)) for name, array in arrays.items()} == dict(declared)
    images = np.concatenate([arrays["train_images"], arrays["test_images"]]).reshape(5000, 784)
    labels = np.concatenate([arrays["train_labels"], arrays["test_labels"]])
    assert labels.tolist() == list(range(10)) * 500
    assert np.array_equal(images[:, 0], labels)
    assert np.array_equal(images[:, 1].astype(int) * 100 + images[:, 2], np.arange(5000) // 10)


def test_cifar_records_become_images_with_colours_last():
    random = np.random.default_rng(0)
    records = {f: random.integers(0, 256, (2, 3073), np.uint8) for f in (*cifar.TRAIN_FILES, cifar.TEST_FILE)}
    arrays = cifar.parse_binary_batches({file: record.tobytes() for file, record in records.items()})
    assert arrays["train_images"].shape == (10, 32, 32, 3) and arrays["test_images"].shape == (2, 32, 32, 3)
    record = records["data_batch_2.bin"][1]
    assert arrays["train_labels"][3] == record[0]
    for row, column, colour in [(0, 0, 0), (5, 31, 1), (31, 7, 2), (16, 16, 0)]:
        assert arrays["train_images"][3, row, column, colour] == record[1 + 1024 * colour + 32 * row + column]


# ---------------------------------------------------------------------------------------------------- CIFAR in JPEG


@pytest.fixture
def jpegs(monkeypatch):
    """A tiny set, two images a class to train and one to test, each of one colour; declared as the real one is."""
    made = {}
    monkeypatch.setattr(cifar, "IMAGES_PER_CLASS", {"train": 2, "test": 1})
    for split, count in cifar.IMAGES_PER_CLASS.items():
        for label, name in enumerate(cifar.CLASSES):
            for number in range(count):
                file = io.BytesIO()
                Image.new("RGB", (32, 32), (20 * label, 100 * number, 100 * count)).save(file, "JPEG", quality=95)
                made[f"{split}/{name}/{number:04d}.jpg"] = file.getvalue()
    sums = {
        split: hashlib.sha256(b"".join(made[name] for name in sorted(made) if name.startswith(split))).hexdigest()
        for split in cifar.IMAGES_PER_CLASS
    }
    monkeypatch.setattr(cifar, "JPEG_SHA256", sums)
    return made


def write_pack(folder, jpegs):
    for split in cifar.IMAGES_PER_CLASS:
        names = sorted(name for name in jpegs if name.startswith(split))
        offsets = np.cumsum([0, *(len(jpegs[name]) for name in names)])
        content = np.frombuffer(b"".join(jpegs[name] for name in names), np.uint8)
        np.savez(folder / f"{split}.npz", names=np.array(names), offsets=offsets, bytes=content)


def test_the_jpeg_pack_is_decoded_with_classes_in_turn(jpegs, tmp_path):
    write_pack(tmp_path, jpegs)
    arrays = idx.parse_image_set(cifar.unpack_npz_bundle(tmp_path))
    assert arrays["train_images"].shape == (20, 32, 32, 3)
    assert arrays["train_labels"].tolist() == list(range(10)) * 2
    for row, (image, label) in enumerate(zip(arrays["train_images"], arrays["train_labels"], strict=True)):
        assert np.abs(image.mean((0, 1)) - [20 * label, 100 * (row // 10), 200]).max() < 4


def test_the_repository_archive_gives_the_same_bytes_as_the_pack(jpegs, tmp_path):
    write_pack(tmp_path, jpegs)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        for name, content in {"README.md": b"hello", **dict(reversed(jpegs.items()))}.items():
            entry = tarfile.TarInfo(f"CIFAR-10-images-d7d0561/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    assert cifar.decode_jpegs_in_archive(tmp_path / "a.tar.gz") == cifar.unpack_npz_bundle(tmp_path)


@pytest.mark.parametrize("change", ["swapped", "altered", "missing"])
def test_jpegs_other_than_the_declared_ones_reach_no_decoder(jpegs, monkeypatch, change):
    first, second = "test/cat/0000.jpg", "test/dog/0000.jpg"
    if change == "swapped":
        jpegs[first], jpegs[second] = jpegs[second], jpegs[first]
    elif change == "altered":
        jpegs[first] = jpegs[first][:-1] + b"\0"
    else:
        del jpegs[first]
    decoded = []
    monkeypatch.setattr(cifar, "_pixels", lambda jpeg: decoded.append(jpeg) or bytes(3072))
    with pytest.raises(ValueError, match="test split are not the declared ones"):
        cifar.decode_jpegs(jpegs)
    assert not set(decoded) & {jpegs.get(first), jpegs[second]}
