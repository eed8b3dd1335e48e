"""Nested dictionaries of arrays as a safetensors file, which holds text beside them and runs no code when read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError
from safetensors.numpy import load, save

from core.errors import BadInput

Tree = Any
HEADER = "encore"  # the entry of a file's header that says, as JSON, what the arrays are


def pack_tensors(tree: Tree, about: Mapping[str, Any]) -> bytes:
    """The content of a file; names of arrays are their paths, joined by "/"."""
    # contiguous, as the format takes the bytes as they lie
    tensors = {name: np.ascontiguousarray(leaf) for name, leaf in flatten_dict(tree, sep="/").items()}
    return save(tensors, {HEADER: json.dumps(about, sort_keys=True)})


def read_tensors(path: Path) -> tuple[Tree, dict[str, Any]]:
    """The arrays of a file and what it says of them; BadInput when it is absent, damaged or something else."""
    try:
        content = path.read_bytes()
        found = load(content)
        length = int.from_bytes(content[:8], "little")  # of the header, which is JSON
        about = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][HEADER])
    except OSError as error:
        raise BadInput(f"no weights at {path}: {error.strerror}") from None
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} does not hold a trained network: {error}") from None
    return unflatten_dict(found, sep="/"), about
