"""Which examples make the batch of a step."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax.data import batching
from vae_jax.representations import arrays as arrays_lib


def epoch(number: int, *, num_examples: int, batch_size: int, seed: int = 0) -> list[np.ndarray]:
    count = batching.steps_per_epoch(num_examples, batch_size)
    sizes = {"num_examples": num_examples, "batch_size": batch_size}
    made = [batching.batch_indices(number * count + n, seed=seed, **sizes) for n in range(count)]
    assert all(len(rows) == min(batch_size, num_examples) for rows, _ in made)
    assert all((rows[size:] == rows[size - 1]).all() for rows, size in made)
    return [rows[:size] for rows, size in made]


@pytest.mark.parametrize(("num_examples", "batch_size"), [(12, 5), (10, 5), (3, 10), (1, 1), (125, 10)])
def test_every_example_comes_once_an_epoch(num_examples: int, batch_size: int):
    for number in range(3):
        parts = epoch(number, num_examples=num_examples, batch_size=batch_size)
        assert sorted(np.concatenate(parts).tolist()) == list(range(num_examples))
        assert [len(part) for part in parts[:-1]] == [batch_size] * (len(parts) - 1)
        assert len(parts[-1]) == (num_examples % batch_size or batch_size)
        assert all(part.dtype == np.int32 for part in parts)


def test_steps_of_an_epoch():
    assert [batching.steps_per_epoch(n, 5) for n in (1, 5, 6, 12)] == [1, 1, 2, 3]


def test_every_epoch_and_every_seed_has_its_own_order():
    orders = [
        tuple(np.concatenate(epoch(number, num_examples=20, batch_size=6, seed=seed)))
        for number in range(5)
        for seed in range(5)
    ]
    assert len(set(orders)) == 25


def test_a_batch_depends_on_its_arguments_alone():
    arguments = {"num_examples": 12, "batch_size": 5, "seed": 3}
    forwards = [batching.batch_indices(step, **arguments) for step in range(9)]
    np.random.default_rng(0).random(10)
    np.random.seed(1)  # noqa: NPY002
    backwards = [batching.batch_indices(step, **arguments) for step in reversed(range(9))]
    for (rows, size), (others, other_size) in zip(forwards, reversed(backwards), strict=True):
        np.testing.assert_array_equal(rows, others)
        assert size == other_size


def test_examples_are_joined_counted_and_taken():
    joined = arrays_lib.concatenate([{"a": np.arange(4).reshape(2, 2)}, {"a": np.array([[7, 8]])}])
    assert arrays_lib.num_examples(joined) == 3
    taken = arrays_lib.take({"a": jnp.asarray(joined["a"])}, jnp.array([2, 0]))
    np.testing.assert_array_equal(taken["a"], [[7, 8], [0, 1]])
