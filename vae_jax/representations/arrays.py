"""Examples as pytrees of arrays that share their first axis."""

from collections.abc import Sequence
from typing import TypeVar

import jax
import numpy as np

B = TypeVar("B")


def num_examples(examples: object) -> int:
    """Length of the first axis, which all arrays share."""
    return len(jax.tree.leaves(examples)[0])


def take(examples: B, rows: np.ndarray | jax.Array | slice) -> B:
    """Picks rows of the first axis; jittable."""
    return jax.tree.map(lambda array: array[rows], examples)


def concatenate(examples: Sequence[B]) -> B:
    """Joins examples on the host along their first axis."""
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *examples)


def subsample(examples: B, limit: int) -> B:
    """Picks at most so many examples, evenly spaced."""
    return take(examples, subsample_rows(num_examples(examples), limit))


def subsample_rows(count: int, limit: int) -> np.ndarray:
    """Returns at most `limit` of `count` rows, evenly spaced, the first and the last among them; int64, ascending."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).astype(int))


def rows_in_order(count: int, batch_size: int) -> np.ndarray:
    """Returns batches of all examples in their order, [batches, B] int32; the last row fills the last batch up."""
    rows = np.arange(-(-count // batch_size) * batch_size, dtype=np.int32)
    return np.minimum(rows, count - 1).reshape(-1, batch_size)
