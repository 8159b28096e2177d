"""The examples that a model is trained on: in memory, or read from shards when they are needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from typing import Any, Generic, Protocol

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.data import batching
from vae_jax.representations import arrays
from vae_jax.representations.base import B
from vae_jax.runtime import sharding


@flax.struct.dataclass
class Batch(Generic[B]):
    """The batch of a step on the devices."""

    rows: Any  # Which of the resident examples, int32 [B]; or the examples themselves, arrays [B, ...].
    size: np.ndarray  # How many rows count, the first ones, int32 []; the others pad the last batch of an epoch.

    @classmethod
    def place(cls, rows: object, num_rows: int, size: int) -> Batch[B]:
        """Shards a batch over the devices: this process's rows of `num_rows` (`sharding.process_rows`)."""
        return cls(sharding.shard_batch(rows, num_rows), np.asarray(size, np.int32))

    def mean(self, values: jax.Array) -> jax.Array:
        """Returns the mean of values [B] over the examples that count, []; jittable."""
        return jnp.mean(values, where=jnp.arange(len(values)) < self.size)


class Examples(Protocol[B]):
    """Training examples in a fixed order. A batch depends on their number, its size, the seed and the step alone."""

    def __len__(self) -> int:
        """Number of examples of all processes."""

    def resident(self) -> B | None:
        """Returns the examples that stay on every device through the training, arrays [N, ...]; None for none."""

    def batches(self, steps: range, *, batch_size: int, seed: int) -> Generator[Batch[B], None, None]:
        """Yields the batch of every step."""

    def sample(self, limit: int) -> B:
        """Returns at most so many examples, evenly spaced, arrays [n, ...]."""


@dataclasses.dataclass(frozen=True, eq=False)
class ArrayExamples(Generic[B]):
    """Examples in memory, arrays [N, ...]: they are copied to every device once, and batches are indices."""

    examples: B

    def __len__(self) -> int:
        return arrays.num_examples(self.examples)

    def resident(self) -> B:
        """Returns all examples."""
        return sharding.replicate(self.examples)

    def batches(self, steps: range, *, batch_size: int, seed: int) -> Generator[Batch[B], None, None]:
        """Yields the batches as indices."""
        for step in steps:
            rows, size = batching.batch_indices(step, num_examples=len(self), batch_size=batch_size, seed=seed)
            yield Batch.place(rows[sharding.process_rows(len(rows))], len(rows), size)

    def sample(self, limit: int) -> B:
        """Selects examples."""
        return arrays.subsample(self.examples, limit)


def take(resident: B | None, batch: Batch[B]) -> B:
    """Returns the examples of a batch, arrays [B, ...]; jittable."""
    return batch.rows if resident is None else arrays.take(resident, batch.rows)


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset(Generic[B]):
    """What a model is trained and evaluated on."""

    train: Examples[B]  # The training examples.
    held_out: B | None  # The held-out examples, arrays [N, ...]; None where nothing is held out.
