"""Results of stages and checkpoints on disk: one file per replicate and stage, written atomically.

The format is MessagePack of nested dictionaries of arrays (flax.serialization), with the SHA-256 of it at the end;
nothing is ever unpickled.
"""

import hashlib
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
DIGEST_BYTES = hashlib.sha256().digest_size


def check_stage_name(name: str) -> str:
    """A stage name is a relative path of lower-case words, digits, dots and dashes."""
    if not re.fullmatch(r"[a-z0-9_.\-]+(/[a-z0-9_.\-]+)*", name) or ".." in name:
        raise BadInput(f"'{name}' is not a valid stage name")
    return name


def save_tree(path: Path, tree: Tree) -> None:
    """Write a nested dictionary of arrays."""
    content = serialization.msgpack_serialize(jax.tree.map(np.asarray, tree))
    files.write_bytes(path, content + hashlib.sha256(content).digest())


def load_tree(path: Path) -> Tree | None:
    """Read a nested dictionary of arrays; None when the file is absent or damaged: its content is computed again."""
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        return None
    content, digest = found[:-DIGEST_BYTES], found[-DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        path.unlink(missing_ok=True)
        return None
    return serialization.msgpack_restore(content)


class StageStore:
    """Stage results of a batch of replicates, kept per replicate so that another batch can use them."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = list(folders)

    def load(self, name: str) -> Tree | None:
        """The batched result of a stage, or None unless every replicate has it."""
        found = [load_tree(self._path(folder, name)) for folder in self.folders]
        if any(tree is None for tree in found):
            return None
        return jax.tree.map(lambda *leaves: np.stack(leaves), *found)

    def save(self, name: str, tree: Tree) -> None:
        """Keep the result of every replicate; `tree` has a leading replicate axis on every leaf."""
        _check_tree(name, tree, len(self.folders))
        host = jax.tree.map(np.asarray, tree)
        for replicate, folder in enumerate(self.folders):
            save_tree(self._path(folder, name), jax.tree.map(lambda leaf, r=replicate: leaf[r], host))

    def _path(self, folder: Path, name: str) -> Path:
        return folder / "stages" / (check_stage_name(name) + SUFFIX)


def _check_tree(name: str, tree: Tree, size: int) -> None:
    if not isinstance(tree, dict):
        raise BadInput(f"stage '{name}' must return a dictionary of arrays, not {type(tree).__name__}")
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not all(isinstance(step, jax.tree_util.DictKey) and isinstance(step.key, str) for step in path):
            raise BadInput(f"stage '{name}' must return nested dictionaries of arrays only, with words as keys")
        if np.ndim(leaf) < 1 or np.shape(leaf)[0] != size:
            raise BadInput(f"stage '{name}': {jax.tree_util.keystr(path)} lacks the leading axis of {size} replicates")


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _key_data(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _restored(leaf: np.ndarray, template: Any) -> Any:
    """A typed key where the template is one, else a copy, which can be written to."""
    if _is_key(template):
        return jax.random.wrap_key_data(jax.numpy.asarray(leaf), impl=jax.random.key_impl(template))
    return np.array(leaf)


class Checkpoint:
    """The newest state inside an unfinished stage, as the flat list of its leaves and how many steps are done."""

    def __init__(self, path: Path, replicates: Sequence[int]) -> None:
        self.path = path
        self.replicates = list(replicates)

    def save(self, done: int, state: Tree) -> None:
        """Replace the checkpoint."""
        leaves = {f"{i:04d}": _key_data(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
        save_tree(self.path, {"done": np.int64(done), "replicates": np.array(self.replicates), "leaves": leaves})

    def load(self, like: Tree) -> tuple[int, Tree] | None:
        """Steps done and state, when there is a checkpoint of these replicates with the shapes of `like`."""
        found = load_tree(self.path)
        if found is None or found["replicates"].tolist() != self.replicates:
            return None
        leaves = [found["leaves"][name] for name in sorted(found["leaves"])]
        templates, structure = jax.tree.flatten(like)
        if [np.shape(leaf) for leaf in leaves] != [np.shape(_key_data(template)) for template in templates]:
            return None
        return int(found["done"]), jax.tree.unflatten(structure, map(_restored, leaves, templates))

    def remove(self) -> None:
        """Forget the checkpoint; the stage has its result."""
        self.path.unlink(missing_ok=True)
