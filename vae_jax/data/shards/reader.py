"""Reading shards: their files are checked when they are opened, pieces and examples are read at random."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable, Generator, Sequence
from typing import Generic

import numpy as np

from vae_jax.data import batching
from vae_jax.data.dataset import Batch
from vae_jax.data.parsing import FileRow, ParsedFile
from vae_jax.data.shards import format
from vae_jax.music import serialization
from vae_jax.representations import arrays as arrays_lib
from vae_jax.representations.base import B
from vae_jax.runtime import files, sharding
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.files import Json

_READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"
_READER_BUFFER_BYTES = 32_768
_MAX_THREADS = 8
_BATCHES_AHEAD = 16


class Records:
    """The records of several files, given the number of records of each, as one sequence; threads may read at once."""

    def __init__(self, paths: Sequence[pathlib.Path], counts: Sequence[int]):
        self._paths, self._counts = paths, np.array(counts, dtype=np.int64)
        self._ends = np.cumsum(self._counts)
        self._readers: dict[int, Callable[[list[int]], list[bytes]]] = {}

    def read(self, index: Sequence[int] | np.ndarray) -> list[bytes]:
        """Reads records by their numbers; raises UserError with the name of a file that is missing or damaged."""
        files = np.searchsorted(self._ends, index, side="right")
        places = np.asarray(index) - self._ends[files] + self._counts[files]
        records = []
        for file, place in zip(files.tolist(), places.tolist(), strict=True):
            try:
                records += (self._readers.get(file) or self._open(file))([place])
            except (OSError, RuntimeError, ValueError, IndexError) as error:
                raise format.damaged(self._paths[file], error) from error
        return records

    def _open(self, file: int) -> Callable[[list[int]], list[bytes]]:
        module = format.import_optional("array_record.python.array_record_module")
        options = {"file_reader_buffer_size": _READER_BUFFER_BYTES}
        reader = module.ArrayRecordReader(str(self._paths[file]), _READER_OPTIONS, **options)
        if (count := reader.num_records()) != self._counts[file]:  # An unreadable index looks the same.
            raise ValueError(f"{count} records instead of {self._counts[file]}")
        return self._readers.setdefault(file, reader.read)


@dataclasses.dataclass(frozen=True, eq=False)
class Shards:
    """A finished folder of shards."""

    manifest: Json  # The content of `shards.json`.
    rows: Sequence[FileRow]  # The loaded pieces, in order of their paths.
    examples: Records  # The examples of all pieces, in order.
    pieces: Records  # The packed scores.

    def load(self, index: Sequence[int]) -> tuple[ParsedFile, ...]:
        """Reads pieces with their scores."""
        rows = [self.rows[n] for n in index]
        scores = map(serialization.unpack_score, self.pieces.read(index))
        return tuple(
            ParsedFile(row.path, row.sha256, score, tuple(row.reasons), tuple(row.remarks))
            for row, score in zip(rows, scores, strict=True)
        )


class ShardExamples(Generic[B]):
    """`Examples` of some pieces of shards, given their indices in ascending order and the NamedTuple of an example.

    The batch of a step equals that of `ArrayExamples` of the same examples. Every process reads its own rows only.
    """

    def __init__(self, shards: Shards, pieces: Sequence[int], example_type: type[B]):
        self._example_type = example_type
        is_training = np.isin(np.arange(len(shards.rows)), pieces)
        is_training = np.repeat(is_training, [row.examples for row in shards.rows])
        self._index = np.flatnonzero(is_training).astype(np.uint32)  # The record of each training example.
        self._records = shards.examples
        layout = shards.manifest["layout"]
        self._layout = np.dtype([(name, dtype, *map(tuple, shape)) for name, dtype, *shape in layout])

    def __len__(self) -> int:
        return len(self._index)

    def resident(self) -> None:
        """No example stays on the devices."""

    def batches(self, steps: range, *, batch_size: int, seed: int) -> Generator[Batch[B], None, None]:
        """Reads the batches in threads, some steps ahead; raises UserError if a shard is damaged."""
        grain = format.import_optional("grain")

        def read(step: int) -> tuple[B, int, int]:
            rows, size = batching.batch_indices(int(step), num_examples=len(self), batch_size=batch_size, seed=seed)
            return self._read(rows[sharding.process_rows(len(rows))]), len(rows), size

        num_threads = min(_MAX_THREADS, os.cpu_count() or 1)
        options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=_BATCHES_AHEAD)
        read_ahead = grain.MapDataset.range(steps.start, steps.stop, steps.step).map(read).to_iter_dataset(options)
        with contextlib.closing(iter(read_ahead)) as iterator:
            for arrays, num_rows, size in iterator:
                yield Batch.place(arrays, num_rows, size)

    def sample(self, limit: int) -> B:
        """Reads examples."""
        return self._read(arrays_lib.subsample_rows(len(self), limit))

    def _read(self, rows: np.ndarray) -> B:
        return self._example_type(**format.unpack_examples(self._records.read(self._index[rows]), self._layout))


def is_shards(folder: str) -> bool:
    """Whether there is a finished folder of shards."""
    return (files.expand_home(folder) / format.MANIFEST).is_file()


def open_shards(folder: str, *, by_hash: bool = False) -> Shards:
    """Opens shards and checks that every file has its size, or its hash; raises UserError for the first that has not,
    or if the shards are not finished."""
    root = files.expand_home(folder)
    if not is_shards(folder):
        command = f"python -m vae_jax.ingest --shards={root}"
        if (root / format.PLAN).exists():
            raise UserError(f"{root}: these shards are not finished; resume with {command}")
        raise UserError(f"{root}: no shards here (no {format.MANIFEST}); write them with {command}")
    manifest = format.read_json(root / format.MANIFEST)
    records = {}
    for kind in format.KINDS:
        paths = [format.chunk_path(root, number, kind) for number in range(len(manifest["chunks"]))]
        for path, chunk in zip(paths, manifest["chunks"], strict=True):
            format.check_file(path, chunk[kind], by_hash=by_hash)
        records[kind] = Records(paths, [chunk[kind]["records"] for chunk in manifest["chunks"]])
    rows = [FileRow(**row) for row in manifest["files"] if row["status"] != "refused"]
    return Shards(manifest, rows, records["examples"], records["pieces"])
