"""Random keys by name, so that adding a draw never shifts the others."""

import functools
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
    word = np.uint32(_word(f"{slug}/{study}"))
    implementation = jax.config.jax_default_prng_impl  # ty: ignore[missing-attribute]
    return _fold_each(word, np.asarray(replicates, np.uint32), implementation)


@functools.partial(jax.jit, static_argnames="implementation")
def _fold_each(word: jax.Array, numbers: jax.Array, implementation: str) -> jax.Array:
    root = jax.random.key(word, impl=implementation)
    return jax.vmap(lambda number: jax.random.fold_in(root, number))(numbers)


def preparation_key(slug: str, study: str) -> jax.Array:
    """The key of the work that all replicates of a study share, shape (1,)."""
    return replicate_keys(slug, f"{study}/prepared", [0])


def named_keys(lab: Any, keys: jax.Array, name: str) -> jax.Array:
    """The keys of the draw called `name` for a batch of replicates (one program for all names)."""
    return lab.map(jax.random.fold_in, keys, shared=(np.uint32(_word(name)),))
