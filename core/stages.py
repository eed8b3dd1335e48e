"""Results of stages and checkpoints on disk: one file per replicate and stage, written atomically.

The format is MessagePack of nested dictionaries of arrays (flax.serialization); nothing is ever unpickled.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import serialization

from core import files
from core.errors import BadInput

Tree = Any
SUFFIX = ".msgpack"


def check_name(name: str) -> str:
    """A stage name is a relative path of lower-case words, digits, dots and dashes."""
    if not re.fullmatch(r"[a-z0-9_.\-]+(/[a-z0-9_.\-]+)*", name) or ".." in name:
        raise BadInput(f"'{name}' is not a valid stage name")
    return name


def save(path: Path, tree: Tree) -> None:
    """Write a nested dictionary of arrays."""
    files.write_bytes(path, serialization.msgpack_serialize(jax.tree.map(np.asarray, tree)))


def load(path: Path) -> Tree | None:
    """Read a nested dictionary of arrays; None when the file is absent or cannot be read."""
    try:
        return serialization.msgpack_restore(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):  # a damaged file is as good as none: its content is computed again
        path.unlink(missing_ok=True)
        return None


class ReplicateStore:
    """Stage results of a batch of replicates, kept per replicate so that another batch can use them."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = list(folders)

    def load(self, name: str) -> Tree | None:
        """The batched result of a stage, or None unless every replicate has it."""
        found = [load(self._path(folder, name)) for folder in self.folders]
        if any(tree is None for tree in found):
            return None
        return jax.tree.map(lambda *leaves: np.stack(leaves), *found)

    def save(self, name: str, tree: Tree) -> None:
        """Keep the result of every replicate; `tree` has a leading replicate axis on every leaf."""
        _check_tree(name, tree, len(self.folders))
        host = jax.tree.map(np.asarray, tree)
        for replicate, folder in enumerate(self.folders):
            save(self._path(folder, name), jax.tree.map(lambda leaf, r=replicate: leaf[r], host))

    def _path(self, folder: Path, name: str) -> Path:
        return folder / "stages" / (check_name(name) + SUFFIX)


def _check_tree(name: str, tree: Tree, size: int) -> None:
    if not isinstance(tree, dict):
        raise BadInput(f"stage '{name}' must return a dictionary of arrays, not {type(tree).__name__}")
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not all(isinstance(step, jax.tree_util.DictKey) for step in path):
            raise BadInput(f"stage '{name}' must return nested dictionaries of arrays only")
        if np.ndim(leaf) < 1 or np.shape(leaf)[0] != size:
            raise BadInput(f"stage '{name}': {jax.tree_util.keystr(path)} lacks the leading axis of {size} replicates")


class Checkpoint:
    """The newest state inside an unfinished stage, as the flat list of its leaves and how many steps are done."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, done: int, state: Tree) -> None:
        """Replace the checkpoint."""
        leaves = {f"{i:04d}": leaf for i, leaf in enumerate(jax.tree.leaves(state))}
        save(self.path, {"done": np.int64(done), "leaves": leaves})

    def load(self, like: Tree) -> tuple[int, Tree] | None:
        """Steps done and state, when there is a checkpoint of the same structure and shapes as `like`."""
        found = load(self.path)
        if found is None:
            return None
        leaves = [
            np.array(found["leaves"][name]) for name in sorted(found["leaves"])
        ]  # copies, which can be written to
        templates, structure = jax.tree.flatten(like)
        if [np.shape(leaf) for leaf in leaves] != [np.shape(template) for template in templates]:
            return None
        return int(found["done"]), jax.tree.unflatten(structure, leaves)

    def remove(self) -> None:
        """Forget the checkpoint; the stage has its result."""
        self.path.unlink(missing_ok=True)
