"""The examples that a model is trained on: whole in memory, or read from shards as they are needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping
from typing import Any, Protocol

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.data import batching
from vae_jax.representations import arrays as arrays_lib
from vae_jax.representations.base import Arrays
from vae_jax.runtime import sharding


@flax.struct.dataclass
class Batch:
    """The batch of a step on the devices.

    Attributes:
      rows: which examples of those that stay there, int32 [B], or the examples themselves, compact arrays [B, ...].
      size: how many of the rows count, the first ones, int32 []; the others fill the last batch of an epoch up.
    """

    rows: jax.Array | dict[str, jax.Array]
    size: np.ndarray

    @classmethod
    def place(cls, rows: Any, num_rows: int, size: int) -> Batch:
        """Shards a batch over the devices: this process's rows of `num_rows` (`sharding.process_rows`)."""
        return cls(sharding.shard_batch(rows, num_rows), np.asarray(size, np.int32))


Feed = Generator[Batch, None, None]


class Examples(Protocol):
    """Training examples in a fixed order. The batch of step n is a function of their number, the batch size, the seed
    and n alone, wherever they lie."""

    def __len__(self) -> int:
        """Number of examples of all processes."""

    def resident(self) -> dict[str, jax.Array]:
        """Returns what stays on every device through the training, compact arrays [N, ...]; {} for nothing."""

    def feed(self, steps: range, *, batch_size: int, seed: int) -> Feed:
        """Gives the batch of every step in turn."""

    def sample(self, limit: int) -> dict[str, np.ndarray]:
        """Returns at most so many examples, evenly spaced: compact arrays, each [n, ...]."""


@dataclasses.dataclass(frozen=True, eq=False)
class ArrayExamples:
    """Examples as arrays in memory, each [N, ...]: they are copied to every device once, and batches are indices."""

    arrays: Arrays

    def __len__(self) -> int:
        return arrays_lib.num_examples(self.arrays)

    def resident(self) -> dict[str, jax.Array]:
        """All of them."""
        return sharding.replicate(dict(self.arrays))

    def feed(self, steps: range, *, batch_size: int, seed: int) -> Feed:
        """Gives the batches as indices."""
        for step in steps:
            rows, size = batching.batch_indices(step, num_examples=len(self), batch_size=batch_size, seed=seed)
            yield Batch.place(rows[sharding.process_rows(len(rows))], len(rows), size)

    def sample(self, limit: int) -> dict[str, np.ndarray]:
        """Picks them."""
        return arrays_lib.spread(self.arrays, limit)


def take(resident: Mapping[str, jax.Array], batch: Batch) -> dict[str, jax.Array]:
    """Returns the arrays of a batch, each [B, ...]; jittable."""
    return dict(batch.rows) if isinstance(batch.rows, Mapping) else arrays_lib.take(dict(resident), batch.rows)


def mean(values: jax.Array, batch: Batch) -> jax.Array:
    """Returns the mean of values [B] over the examples that count, []; jittable."""
    return jnp.mean(values, where=jnp.arange(len(values)) < batch.size)
