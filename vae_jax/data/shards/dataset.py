"""The training examples of shards: every batch is read when its step comes near."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Sequence
from typing import Generic

import numpy as np

from vae_jax.data import batching
from vae_jax.data.dataset import Batch
from vae_jax.data.shards import format
from vae_jax.data.shards.reader import Shards
from vae_jax.representations import arrays as arrays_lib
from vae_jax.representations.base import B
from vae_jax.runtime import sharding

_MAX_THREADS = 8
_BATCHES_AHEAD = 16


class ShardExamples(Generic[B]):
    """The examples of some pieces of shards, in their order: `Examples` that stay on disk.

    The batch of a step is the one that `ArrayExamples` of the same examples gives, of which each process reads its own
    rows only.

    Args:
      shards: the shards.
      pieces: indices of the pieces that are trained on, ascending.
      example_type: the NamedTuple of an example's arrays.
    """

    def __init__(self, shards: Shards, pieces: Sequence[int], example_type: type[B]):
        self._example_type = example_type
        index = np.asarray(pieces, dtype=np.int64)
        counts = shards.num_examples[index]
        ends = np.cumsum(shards.num_examples)
        self._shards, self._layout = shards, shards.layout
        self._ends = np.cumsum(counts)  # [K], number of examples up to the end of each piece.
        # What is added to the number of an example to find its record.
        self._shift = ends[index] - self._ends

    def __len__(self) -> int:
        return int(self._ends[-1])

    def resident(self) -> None:
        """Nothing stays on the devices."""

    def batches(self, steps: range, *, batch_size: int, seed: int) -> Generator[Batch[B], None, None]:
        """Reads the batches ahead, in threads.

        Raises:
          UserError: where a shard is missing or damaged; names it.
        """
        grain = _grain()

        def read(step: int) -> tuple[B, int, int]:
            rows, size = batching.batch_indices(int(step), num_examples=len(self), batch_size=batch_size, seed=seed)
            return self._read(rows[sharding.process_rows(len(rows))]), len(rows), size

        options = grain.ReadOptions(
            num_threads=min(_MAX_THREADS, os.cpu_count() or 1), prefetch_buffer_size=_BATCHES_AHEAD
        )
        read_ahead = grain.MapDataset.range(steps.start, steps.stop, steps.step).map(read).to_iter_dataset(options)
        with contextlib.closing(iter(read_ahead)) as iterator:
            for arrays, num_rows, size in iterator:
                yield Batch.place(arrays, num_rows, size)

    def sample(self, limit: int) -> B:
        """Reads them."""
        return self._read(arrays_lib.subsample_rows(len(self), limit))

    def _read(self, rows: np.ndarray) -> B:
        """Reads examples by their numbers among the training examples, each array [n, ...]."""
        records = self._shards.examples.read(rows + self._shift[np.searchsorted(self._ends, rows, side="right")])
        return self._example_type(**self._layout.unpack(records))


def _grain():
    try:
        import grain
    except ImportError as error:
        raise format.missing_package(error) from error
    return grain
