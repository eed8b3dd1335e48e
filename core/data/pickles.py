"""Pickles of plain data: lists, dictionaries, numbers and torch tensors, read without torch and without running code.

Only the names below are ever resolved, and each of them stands for a function of this module that builds arrays.
"""

import io
import pickle
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

STORAGE_DTYPES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "LongStorage": "<i8", "IntStorage": "<i4"}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def load_plain_pickle(content: bytes) -> Any:
    """The object of a pickle, tensors as numpy arrays.

    Raises:
      ValueError: where it names anything but tensors, ordered dictionaries and numpy scalars.
    """
    return _Plain(io.BytesIO(content)).load()


class _Plain(pickle.Unpickler):
    """Resolves a handful of names and refuses all others."""

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch.storage", "_load_from_bytes"): _storage,
            ("numpy.core.multiarray", "scalar"): _scalar,
            ("numpy", "dtype"): _dtype,
        }
        if (module, name) in known:
            return known[module, name]
        if module == "torch" and name in STORAGE_DTYPES:
            return STORAGE_DTYPES[name]
        raise ValueError(f"a pickle that names {module}.{name} is not plain data")

    def persistent_load(self, identity: Any) -> Any:
        """("storage", dtype, key, device, length, …) of a torch storage: what is needed to read its values."""
        return identity[1], identity[2]


class _Kind:
    """A numpy dtype as a pickle builds it: made from a name, then given its byte order."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]


def _dtype(name: str, *_flags: Any) -> _Kind:
    return _Kind(name)


def _scalar(kind: _Kind, content: bytes) -> Any:
    import numpy as np

    return np.frombuffer(content, np.dtype(kind.name))[0]


def _storage(content: bytes) -> "np.ndarray":
    """All values of a storage in torch's legacy format: five pickles, then each storage's length and its values."""
    import numpy as np

    stream = io.BytesIO(content)
    magic, _protocol, _system, (dtype, key), keys = [_Plain(stream).load() for _ in range(5)]
    if magic != LEGACY_MAGIC or keys != [key]:
        raise ValueError("not a torch storage in the legacy format")
    (length,) = np.frombuffer(stream.read(8), "<i8")
    values = np.frombuffer(stream.read(), dtype)
    if len(values) != length:
        raise ValueError(f"a torch storage has {len(values)} values instead of {length}")
    return values


def _tensor(storage: Any, offset: int, size: tuple, stride: tuple, *_rest: Any) -> "np.ndarray":
    import numpy as np

    values = storage[offset:]
    reach = 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if min(size, default=1) and (reach > len(values) or min(stride, default=0) < 0):
        raise ValueError("a torch tensor reaches beyond its storage")
    strides = tuple(step * values.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(values, size, strides, writeable=False)
