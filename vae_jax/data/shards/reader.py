"""Reading shards: their files are checked when they are opened, pieces and examples are read at random."""

from __future__ import annotations

import dataclasses
import pathlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vae_jax.data.parsing import FileRow, ParsedFile
from vae_jax.data.shards import format
from vae_jax.runtime.errors import UserError


class Records:
    """The records of all chunks as one sequence; threads may read at once.

    Args:
      paths: the files, one a chunk.
      counts: number of records of each.
    """

    def __init__(self, paths: Sequence[pathlib.Path], counts: Sequence[int]):
        self._paths, self._counts = paths, counts
        self._ends = np.cumsum(counts, dtype=np.int64)
        self._readers: list[Any] = [None] * len(paths)
        self._lock = threading.Lock()

    def read(self, index: Sequence[int] | np.ndarray) -> list[bytes]:
        """Reads records by their numbers.

        Raises:
          UserError: if a file is missing, of another length or damaged; names it.
        """
        chunks = np.searchsorted(self._ends, index, side="right").tolist()
        records = []
        for chunk, n in zip(chunks, np.asarray(index).tolist(), strict=True):
            reader = self._readers[chunk] or self._open(chunk)
            try:
                records += reader.read([n - int(self._ends[chunk]) + self._counts[chunk]])
            except (RuntimeError, ValueError, IndexError) as error:
                raise format.damaged(self._paths[chunk], error) from error
        return records

    def _open(self, chunk: int) -> Any:
        with self._lock:
            if self._readers[chunk] is None:
                reader = format.open_records(self._paths[chunk])
                if reader.num_records() != self._counts[chunk]:  # An unreadable index looks the same.
                    why = f"{reader.num_records()} records instead of {self._counts[chunk]}"
                    raise format.damaged(self._paths[chunk], why)
                self._readers[chunk] = reader
            return self._readers[chunk]


@dataclasses.dataclass(frozen=True, eq=False)
class Shards:
    """A finished folder of shards.

    Attributes:
      manifest: the content of `shards.json`.
      rows: the loaded pieces, in order of their paths.
      examples: the examples of all pieces, in order.
      pieces: the pieces.
    """

    manifest: Mapping[str, Any]
    rows: Sequence[FileRow]
    examples: Records
    pieces: Records

    @property
    def tune_groups(self) -> list[int]:
        """For each piece the index of the first piece with the same tune."""
        return [row.tune for row in self.rows]

    def load(self, index: Sequence[int]) -> tuple[ParsedFile, ...]:
        """Reads pieces with their scores.

        Raises:
          UserError: if a shard is damaged.
        """
        rows = [self.rows[n] for n in index]
        scores = map(format.unpack_score, self.pieces.read(index))
        return tuple(
            ParsedFile(row.path, row.sha256, score, tuple(row.reasons)) for row, score in zip(rows, scores, strict=True)
        )


def is_shards(folder: str) -> bool:
    """Whether there is a finished folder of shards."""
    return (pathlib.Path(folder).expanduser() / format.MANIFEST).is_file()


def open_shards(folder: str, *, by_hash: bool = False) -> Shards:
    """Opens shards and checks that every file has its size, or its hash.

    Raises:
      UserError: if there are none, or they are not finished, or a file is missing or damaged.
    """
    root = pathlib.Path(folder).expanduser()
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
    return Shards(manifest, rows, **records)
