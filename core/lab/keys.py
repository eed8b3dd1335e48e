"""Random keys by name, so that adding a draw never shifts the others."""

import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np


def _word(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def key_for(key: jax.Array, name: str) -> jax.Array:
    """The key of the draw called `name` under `key` (a scalar typed key)."""
    return jax.random.fold_in(key, _word(name))


def replicate_keys(slug: str, study: str, replicates: Sequence[int]) -> jax.Array:
    """One typed key per replicate, shape (replicates,): a function of paper, study and replicate number only."""
    root = jax.random.key(_word(f"{slug}/{study}"))
    return jax.vmap(lambda number: jax.random.fold_in(root, number))(jax.numpy.asarray(replicates, "uint32"))


def preparation_key(slug: str, study: str) -> jax.Array:
    """The key of the work that all replicates of a study share, shape (1,)."""
    return replicate_keys(slug, f"{study}/prepared", [0])


def named_keys(lab: Any, keys: jax.Array, name: str) -> jax.Array:
    """The keys of the draw called `name` for a batch of replicates (one program for all names)."""
    return lab.map(jax.random.fold_in, keys, shared=(np.uint32(_word(name)),))
