"""English texts for language models, a code for each character: Jane Austen's novels, and a small bundled text."""

import struct
import zlib
from typing import TYPE_CHECKING

from core.data.dataset import Contents, DataSet, File, Source

if TYPE_CHECKING:
    import numpy as np

PARTS = ("train", "validation", "test")
STRINGS, STRING, MISSING = 16, 9, -1  # R's types of vectors and of their entries, and the length of a missing entry
AUSTEN_SYMBOLS = tuple("\n !\"&'()*,-.0123456789:;?ABCDEFGHIJKLMNOPQRSTUVWXYZ[]_abcdefghijklmnopqrstuvwxyz")
NOTES_SYMBOLS = tuple(map(chr, (10, *range(32, 127))))
NOVELS = "Rdata.rdb"
NOTES = ("breast_cancer.rst", "kddcup99.rst")


def read_novels(contents: Contents) -> dict[str, "np.ndarray"]:
    """The novels one after the other; of each the last twentieth is test, the twentieth before it validation."""
    # The one pound sign, two bytes, becomes an L.
    texts = [b"\n".join(lines).replace("£".encode(), b"L") + b"\n" for lines in lines_of_novels(contents[NOVELS])]
    return parts(texts, AUSTEN_SYMBOLS)


def read_notes(contents: Contents) -> dict[str, "np.ndarray"]:
    """Notes on two data sets, of each the last twentieth test and the one before it validation."""
    return parts([contents[name] for name in NOTES], NOTES_SYMBOLS)


def parts(texts: list[bytes], symbols: tuple[str, ...]) -> dict[str, "np.ndarray"]:
    """Codes uint8 (n,) of train, validation and test: positions of the characters in `symbols`."""
    import numpy as np

    code = np.full(256, len(symbols), np.uint8)
    code[[ord(symbol) for symbol in symbols]] = np.arange(len(symbols))
    cut: dict[str, list[np.ndarray]] = {part: [] for part in PARTS}
    for text in texts:
        codes, held_out = code[np.frombuffer(text, np.uint8)], len(text) // 20
        if codes.max() == len(symbols):
            raise ValueError("the text has characters that are not declared")
        for part, piece in zip(PARTS, np.split(codes, [-2 * held_out, -held_out]), strict=True):
            cut[part].append(piece)
    return {f"{part}_text": np.concatenate(pieces) for part, pieces in cut.items()}


def lines_of_novels(content: bytes) -> list[list[bytes]]:
    """The character vectors of an R lazy-load data base: chunks of a big-endian length and a zlib stream each."""
    found = []
    while content:
        chunk = zlib.decompressobj()
        found.append(strings(chunk.decompress(content[4:])))
        content = chunk.unused_data
    return found


def strings(content: bytes) -> list[bytes]:
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


def text_arrays(train: int, validation: int, test: int) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shapes and dtypes of a text in three parts."""
    return {f"{part}_text": ((n,), "uint8") for part, n in zip(PARTS, (train, validation, test), strict=True)}


AUSTEN = DataSet(
    name="austen",
    title="Jane Austen's six novels: 4.0 million characters, of each novel the last two twentieths held out",
    licence="public domain; package: MIT",
    shareable=True,
    classes=AUSTEN_SYMBOLS,
    arrays=text_arrays(3_622_532, 201_248, 201_248),
    files=(File(NOVELS, "8fb5198960d0da724b1562f96e4221e5c1b41ff455000280b02c55980c3d8f21", 1_601_335),),
    read=read_novels,
    sources=(Source("debian", "r-cran-janeaustenr", {NOVELS: f"./usr/lib/R/site-library/janeaustenr/data/{NOVELS}"}),),
    alternatives=("sample_text",),
)

SAMPLE_TEXT = DataSet(
    name="sample_text",
    title="Notes of scikit-learn on two data sets, 8,713 characters",
    licence="BSD-3-Clause (scikit-learn)",
    shareable=True,
    classes=NOTES_SYMBOLS,
    arrays=text_arrays(7_845, 434, 434),
    files=(
        File(NOTES[0], "3c5855182a44d12c91f1fb27388741fb70b4b92ba40fb742dca9b5e404c68f19", 4_794),
        File(NOTES[1], "a91cf65fc5e6521f0864a8f34f538025de6c8fdd5b068d31a5d715e6b4b6264a", 3_919),
    ),
    read=read_notes,
    bundled="sklearn:datasets/descr",
)

DATA_SETS = (AUSTEN, SAMPLE_TEXT)
