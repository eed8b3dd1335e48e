"""The data sets there are, without reading any: every module of `core/data/sets/` lists its own in DATA_SETS."""

import functools
import hashlib
import importlib
import pkgutil

from core.data import sets
from core.data.dataset import DataSet
from core.errors import unknown_name


@functools.cache
def all_data_sets() -> dict[str, DataSet]:
    """Every data set by its name."""
    modules = [
        importlib.import_module(f"{sets.__name__}.{entry.name}") for entry in pkgutil.iter_modules(sets.__path__)
    ]
    return {data.name: data for module in modules for data in module.DATA_SETS}


def data_set_names() -> list[str]:
    """Names of all data sets, sorted."""
    return sorted(all_data_sets())


def find_data_set(name: str) -> DataSet:
    """The description of one data set; BadInput with the nearest name when there is none."""
    if name not in all_data_sets():
        raise unknown_name("data set", name, data_set_names())
    return all_data_sets()[name]


def data_set_checksum(name: str) -> str:
    """One sha256 over the declared checksums of a data set's files; no file is touched."""
    declared = "".join(f"{file.name} {file.sha256}\n" for file in find_data_set(name).files)
    return hashlib.sha256(declared.encode()).hexdigest()


def content_hashes(name: str) -> dict[str, str]:
    """Hashes of all that can change a result: the declared files, and what a trial may ask: shapes and classes."""
    data = find_data_set(name)
    asked = repr([sorted(data.array_shapes.items()), data.classes])
    return {**{file.name: file.sha256 for file in data.files}, "shapes": hashlib.sha256(asked.encode()).hexdigest()}
