"""Examples as a dictionary of arrays that share their first axis."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from vae_jax.representations.base import Arrays


def rows_in_order(num_examples: int, batch_size: int) -> np.ndarray:
    """Returns batches of all examples in their order, [batches, B] int32; the last one is filled up."""
    rows = np.arange(-(-num_examples // batch_size) * batch_size, dtype=np.int32)
    return np.minimum(rows, num_examples - 1).reshape(-1, batch_size)


def concatenate(examples: Sequence[Arrays]) -> dict[str, np.ndarray]:
    """Joins the examples of several pieces along their first axis."""
    return {name: np.concatenate([arrays[name] for arrays in examples]) for name in examples[0]}


def num_examples(arrays: Arrays) -> int:
    """Length of the first axis, which all arrays share."""
    return len(next(iter(arrays.values())))


def take(arrays: dict[str, jax.Array], indices: jax.Array) -> dict[str, jax.Array]:
    """Gathers a batch from the examples on the device; jittable."""
    return {name: array[indices] for name, array in arrays.items()}


def spread(arrays: Arrays, limit: int) -> dict[str, np.ndarray]:
    """Picks at most so many examples, evenly spaced."""
    rows = spread_rows(num_examples(arrays), limit)
    return {name: array[rows] for name, array in arrays.items()}


def spread_rows(count: int, limit: int) -> np.ndarray:
    """Returns at most `limit` of `count` rows, evenly spaced, the first and the last among them; int64, ascending."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).astype(int))
