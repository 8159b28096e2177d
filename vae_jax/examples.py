"""The examples that a model is trained on: whole in memory, or read from shards as they are needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping
from typing import Protocol

import jax
import numpy as np

from vae_jax import batches, devices
from vae_jax.representations import Arrays

# The batch of a step on the devices: which examples of those that stay there, int32 [B], or the examples themselves.
Picked = jax.Array | dict[str, jax.Array]
Feed = Generator[tuple[int, Picked], None, None]


class Examples(Protocol):
    """Training examples in a fixed order. The batch of step n is a function of their number, the batch size, the seed
    and n alone, wherever they lie."""

    def __len__(self) -> int:
        """Number of examples of all processes."""

    def resident(self) -> dict[str, jax.Array]:
        """Returns what stays on every device through the training, compact arrays [N, ...]; {} for nothing."""

    def feed(self, steps: range, *, batch_size: int, seed: int) -> Feed:
        """Gives the number of examples and the batch of every step in turn."""

    def sample(self, limit: int) -> dict[str, np.ndarray]:
        """Returns at most so many examples, evenly spaced: compact arrays, each [n, ...]."""


@dataclasses.dataclass(frozen=True, eq=False)
class ArrayExamples:
    """Examples as arrays in memory, each [N, ...]: they are copied to every device once, and batches are indices."""

    arrays: Arrays

    def __len__(self) -> int:
        return batches.num_examples(self.arrays)

    def resident(self) -> dict[str, jax.Array]:
        """All of them."""
        return devices.place_everywhere(dict(self.arrays))

    def feed(self, steps: range, *, batch_size: int, seed: int) -> Feed:
        """Gives the batches as indices."""
        for step in steps:
            indices = batches.batch_indices(step, num_examples=len(self), batch_size=batch_size, seed=seed)
            yield len(indices), devices.place_batch(indices[devices.my_rows(len(indices))], len(indices))

    def sample(self, limit: int) -> dict[str, np.ndarray]:
        """Picks them."""
        return batches.spread(self.arrays, limit)


def take(resident: Mapping[str, jax.Array], picked: Picked) -> dict[str, jax.Array]:
    """Returns the arrays of a batch, each [B, ...]; jittable."""
    return dict(picked) if isinstance(picked, Mapping) else batches.take(dict(resident), picked)
