"""The training examples of shards: every batch is read shortly before its step."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

import jax
import numpy as np

from vae_jax.data import batching
from vae_jax.data.dataset import Batch, Feed
from vae_jax.data.shards import format
from vae_jax.data.shards.reader import Shards
from vae_jax.representations import arrays as arrays_lib
from vae_jax.runtime import sharding

_MAX_THREADS = 8
_BATCHES_AHEAD = 16


class ShardExamples:
    """`Examples` of some pieces of shards, in the order of the pieces.

    The batch of a step equals that of `ArrayExamples` of the same examples. Every process reads its own rows only.

    Args:
      shards: the shards.
      pieces: indices of the training pieces, ascending.
    """

    def __init__(self, shards: Shards, pieces: Sequence[int]):
        counts = np.array([row.examples for row in shards.rows], dtype=np.int64)
        self._records = shards.examples
        self._layout = format.layout_from_json(shards.manifest["layout"])
        self._ends = np.cumsum(counts[list(pieces)])  # [K], number of examples up to the end of each piece.
        self._shift = np.cumsum(counts)[list(pieces)] - self._ends  # From the number of an example to its record.

    def __len__(self) -> int:
        return int(self._ends[-1])

    def resident(self) -> dict[str, jax.Array]:
        """Returns {}."""
        return {}

    def feed(self, steps: range, *, batch_size: int, seed: int) -> Feed:
        """Reads the batches ahead, in threads.

        Raises:
          UserError: if a shard is missing or damaged; names it.
        """
        grain = format.import_optional("grain")

        def read(step: int) -> tuple[dict[str, np.ndarray], int, int]:
            rows, size = batching.batch_indices(int(step), num_examples=len(self), batch_size=batch_size, seed=seed)
            return self._read(rows[sharding.my_rows(len(rows))]), len(rows), size

        num_threads = min(_MAX_THREADS, os.cpu_count() or 1)
        options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=_BATCHES_AHEAD)
        read_ahead = grain.MapDataset.range(steps.start, steps.stop, steps.step).map(read).to_iter_dataset(options)
        with contextlib.closing(iter(read_ahead)) as iterator:
            for arrays, num_rows, size in iterator:
                yield Batch.place(arrays, num_rows, size)

    def sample(self, limit: int) -> dict[str, np.ndarray]:
        """Reads examples."""
        return self._read(arrays_lib.spread_rows(len(self), limit))

    def _read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Reads training examples by their numbers, each array [n, ...]."""
        records = self._records.read(rows + self._shift[np.searchsorted(self._ends, rows, side="right")])
        return format.unpack_examples(records, self._layout)
