"""The readers of texts: R's data base of strings, and the splits that are held out."""

import struct
import zlib

import numpy as np
import pytest

from core.data import catalogue
from core.data.loading import load_data_set
from core.data.sets import texts


def serialised(*lines: bytes, kind: int = 16, version: int = 3) -> bytes:
    """A character vector as R writes it."""
    head = b"X\n" + struct.pack(">4i", version, 262657, 197888, 5) + b"UTF-8" + struct.pack(">2i", kind, len(lines))
    return head + b"".join(struct.pack(">2i", 262153, len(line)) + line for line in lines)


def chunk(content: bytes) -> bytes:
    return struct.pack(">i", len(content)) + zlib.compress(content)


def test_strings_of_a_data_base_are_read_chunk_by_chunk() -> None:
    base = chunk(serialised(b"EMMA", b"", b"By Jane")) + chunk(serialised(b"PERSUASION"))
    assert texts.parse_r_database(base) == [[b"EMMA", b"", b"By Jane"], [b"PERSUASION"]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"A\n" + serialised(b"x")[2:], "version 3"),
        (serialised(b"x", version=2), "version 3"),
        (serialised(b"x", kind=13), "vector"),
        (serialised(b"x")[:-9] + struct.pack(">2i", 9, -1), "not a string"),
    ],
)
def test_other_objects_than_strings_are_refused(content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        texts.parse_r_strings(content)


def test_every_text_has_its_own_held_out_splits() -> None:
    made = texts.encode_and_split([b"a" * 36 + b"bb" + b"cc", b"c" * 18 + b"b" + b"a"], ("a", "b", "c"))
    assert made["train_text"].tolist() == [0] * 36 + [2] * 18
    assert made["validation_text"].tolist() == [1, 1, 1] and made["test_text"].tolist() == [2, 2, 0]
    with pytest.raises(ValueError, match="not declared"):
        texts.encode_and_split([b"abcd" * 10], ("a", "b", "c"))


def test_novels_are_joined_line_by_line() -> None:
    novel = serialised(*[b"an \xc2\xa3"] * 10)
    found = texts.parse_novels({texts.NOVELS_FILE: chunk(novel) * 2})
    letters = {name: "".join(texts.AUSTEN_SYMBOLS[code] for code in codes) for name, codes in found.items()}
    whole = "an L\n" * 10
    assert letters == {"train_text": whole[:-4] * 2, "validation_text": whole[-4:-2] * 2, "test_text": "L\n" * 2}


def test_the_bundled_text_has_its_declared_shapes_and_can_be_read_back() -> None:
    arrays, data = load_data_set("sample_text"), catalogue.find_data_set("sample_text")
    assert {key: (array.shape, str(array.dtype)) for key, array in arrays.items()} == dict(data.array_shapes)
    assert "".join(data.classes[code] for code in arrays["train_text"][:300]).count("breast_cancer") > 0
    assert max(np.max(array) for array in arrays.values()) < len(data.classes)
