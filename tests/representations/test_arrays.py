"""Examples as pytrees of arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vae_jax.representations import arrays


class Pair(NamedTuple):
    one: np.ndarray
    two: np.ndarray


def pair(*rows: int) -> Pair:
    return Pair(np.array(rows), np.array(rows)[:, None] * 10)


def test_rows_are_taken_and_joined_in_all_arrays_alike():
    joined = arrays.concatenate([pair(1, 2), pair(3)])
    assert arrays.num_examples(joined) == 3
    taken = arrays.take(joined, np.array([2, 0, 0]))
    assert isinstance(taken, Pair)
    assert taken.one.tolist() == [3, 1, 1]
    assert taken.two.tolist() == [[30], [10], [10]]


def test_subsamples_are_evenly_spaced_with_both_ends():
    assert arrays.subsample_rows(7, 3).tolist() == [0, 3, 6]
    assert arrays.subsample_rows(3, 10).tolist() == [0, 1, 2]
    assert arrays.subsample(pair(5, 6, 7, 8, 9), 2).one.tolist() == [5, 9]


def test_batches_in_order_fill_the_last_one_up_with_the_last_example():
    assert arrays.rows_in_order(5, 2).tolist() == [[0, 1], [2, 3], [4, 4]]
    assert arrays.rows_in_order(4, 2).tolist() == [[0, 1], [2, 3]]
    assert arrays.rows_in_order(0, 2).shape == (0, 2)
