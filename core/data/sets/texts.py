"""English texts for language models, a code for each character: Jane Austen's novels, and a small bundled text."""

import struct
import zlib
from typing import TYPE_CHECKING

from core.data.dataset import DataFile, DataSet, DataSource, FileContents

if TYPE_CHECKING:
    import numpy as np

SPLITS = ("train", "validation", "test")
STRINGS, STRING, MISSING = 16, 9, -1  # R's types of vectors and of their entries, and the length of a missing entry
AUSTEN_SYMBOLS = tuple("\n !\"&'()*,-.0123456789:;?ABCDEFGHIJKLMNOPQRSTUVWXYZ[]_abcdefghijklmnopqrstuvwxyz")
NOTES_SYMBOLS = tuple(map(chr, (10, *range(32, 127))))
NOVELS_FILE = "Rdata.rdb"
NOTES_FILES = ("breast_cancer.rst", "kddcup99.rst")


def parse_novels(contents: FileContents) -> dict[str, "np.ndarray"]:
    """The novels one after the other; of each the last twentieth is test, the twentieth before it validation."""
    # The one pound sign, two bytes, becomes an L.
    texts = [b"\n".join(lines).replace("£".encode(), b"L") + b"\n" for lines in parse_r_database(contents[NOVELS_FILE])]
    return encode_and_split(texts, AUSTEN_SYMBOLS)


def parse_notes(contents: FileContents) -> dict[str, "np.ndarray"]:
    """Notes on two data sets, of each the last twentieth test and the one before it validation."""
    return encode_and_split([contents[name] for name in NOTES_FILES], NOTES_SYMBOLS)


def encode_and_split(texts: list[bytes], symbols: tuple[str, ...]) -> dict[str, "np.ndarray"]:
    """Codes uint8 (n,) of train, validation and test: positions of the characters in `symbols`."""
    import numpy as np

    code = np.full(256, len(symbols), np.uint8)
    code[[ord(symbol) for symbol in symbols]] = np.arange(len(symbols))
    cut: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
    for text in texts:
        codes, held_out = code[np.frombuffer(text, np.uint8)], len(text) // 20
        if codes.max() == len(symbols):
            raise ValueError("the text has characters that are not declared")
        for split, piece in zip(SPLITS, np.split(codes, [-2 * held_out, -held_out]), strict=True):
            cut[split].append(piece)
    return {f"{split}_text": np.concatenate(pieces) for split, pieces in cut.items()}


def parse_r_database(content: bytes) -> list[list[bytes]]:
    """The character vectors of an R lazy-load data base: chunks of a big-endian length and a zlib stream each."""
    found = []
    while content:
        chunk = zlib.decompressobj()
        found.append(parse_r_strings(chunk.decompress(content[4:])))
        content = chunk.unused_data
    return found


def parse_r_strings(content: bytes) -> list[bytes]:
    """One character vector in R's binary serialisation (XDR, version 3); ValueError for anything else."""
    if content[:2] != b"X\n" or struct.unpack_from(">i", content, 2)[0] != 3:
        raise ValueError("not an R object of version 3")
    at = 18 + struct.unpack_from(">i", content, 14)[0]  # versions, then the name of the encoding
    kind, count = struct.unpack_from(">2i", content, at)
    if kind & 0xFF != STRINGS:
        raise ValueError("not a vector of strings")
    at, entries = at + 8, []
    for _ in range(count):
        kind, length = struct.unpack_from(">2i", content, at)
        if kind & 0xFF != STRING or length == MISSING:
            raise ValueError("not a string")
        entries.append(content[at + 8 : at + 8 + length])
        at += 8 + length
    return entries


def text_shapes(train: int, validation: int, test: int) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shapes and dtypes of a text in three splits."""
    return {f"{split}_text": ((n,), "uint8") for split, n in zip(SPLITS, (train, validation, test), strict=True)}


AUSTEN = DataSet(
    name="austen",
    title="Jane Austen's six novels: 4.0 million characters, of each novel the last two twentieths held out",
    licence="public domain; package: MIT",
    shareable=True,
    classes=AUSTEN_SYMBOLS,
    array_shapes=text_shapes(3_622_532, 201_248, 201_248),
    files=(DataFile(NOVELS_FILE, "8fb5198960d0da724b1562f96e4221e5c1b41ff455000280b02c55980c3d8f21", 1_601_335),),
    parse=parse_novels,
    sources=(
        DataSource(
            "debian", "r-cran-janeaustenr", {NOVELS_FILE: f"./usr/lib/R/site-library/janeaustenr/data/{NOVELS_FILE}"}
        ),
    ),
    alternatives=("sample_text",),
)

SAMPLE_TEXT = DataSet(
    name="sample_text",
    title="Notes of scikit-learn on two data sets, 8,713 characters",
    licence="BSD-3-Clause (scikit-learn)",
    shareable=True,
    classes=NOTES_SYMBOLS,
    array_shapes=text_shapes(7_845, 434, 434),
    files=(
        DataFile(NOTES_FILES[0], "3c5855182a44d12c91f1fb27388741fb70b4b92ba40fb742dca9b5e404c68f19", 4_794),
        DataFile(NOTES_FILES[1], "a91cf65fc5e6521f0864a8f34f538025de6c8fdd5b068d31a5d715e6b4b6264a", 3_919),
    ),
    parse=parse_notes,
    package_folder="sklearn:datasets/descr",
)

DATA_SETS = (AUSTEN, SAMPLE_TEXT)
