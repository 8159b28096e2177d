"""Shards opened: what is in them without reading it all, pieces and examples read at random."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import json
import pathlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vae_jax.data.corpus import IngestedFile
from vae_jax.data.shards import format
from vae_jax.data.shards.format import RecordLayout
from vae_jax.music import serialization
from vae_jax.runtime import files
from vae_jax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Shards:
    """A finished folder of shards.

    Attributes:
      folder: where they lie.
      manifest: what `shards.json` says.
      files: of every loaded piece, in order of the paths, all but its music.
      num_examples: [P] int64, of every piece.
      tune_groups: of every piece the index of the first with the same tune.
    """

    folder: pathlib.Path
    manifest: Mapping[str, Any]
    files: tuple[PieceRow, ...]
    num_examples: np.ndarray
    tune_groups: tuple[int, ...]

    @property
    def fingerprint(self) -> str:
        """That of the corpus."""
        return self.manifest["fingerprint"]

    @functools.cached_property
    def examples(self) -> Records:
        """All examples of all pieces, in order."""
        return self._records("examples", "examples")

    @functools.cached_property
    def pieces(self) -> Records:
        """The packed scores, in order."""
        return self._records("pieces", "pieces")

    @property
    def layout(self) -> RecordLayout:
        """How an example lies in a record."""
        return RecordLayout.unpack_json(self.manifest["layout"])

    def load(self, index: Sequence[int]) -> tuple[IngestedFile, ...]:
        """Reads pieces with their music.

        Raises:
          UserError: where a shard is damaged.
        """
        loaded = []
        for n in index:
            row, record = self.files[n], self.pieces.read([n])[0]
            try:
                score = serialization.unpack_score(record)
            except ValueError as error:
                raise format.damaged(self.pieces.path_of(n), error) from error
            loaded.append(IngestedFile(row.path, row.sha256, score, row.reasons))
        return tuple(loaded)

    def _records(self, kind: str, count: str) -> Records:
        names = [format.chunk_names(number)[kind] for number in range(len(self.manifest["chunks"]))]
        counts = [chunk[count] for chunk in self.manifest["chunks"]]
        return Records(self.folder, tuple(names), np.cumsum(counts, dtype=np.int64))


@dataclasses.dataclass(frozen=True, slots=True)
class PieceRow:
    """A loaded piece: see `IngestedFile`."""

    path: str
    sha256: str
    reasons: tuple[str, ...]


class Records:
    """The records of several files as one sequence; threads may read at once.

    Args:
      folder: where the files lie.
      names: of the files.
      ends: [F] int64, number of records up to the end of each.
    """

    def __init__(self, folder: pathlib.Path, names: tuple[str, ...], ends: np.ndarray):
        self._folder, self._names, self._ends = folder, names, ends
        self._starts = ends - np.diff(ends, prepend=0)
        self._readers: list[Any] = [None] * len(names)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return int(self._ends[-1])

    def path_of(self, n: int) -> pathlib.Path:
        """The file that holds record n."""
        return self._folder / self._names[int(np.searchsorted(self._ends, n, side="right"))]

    def read(self, index: Sequence[int] | np.ndarray) -> list[bytes]:
        """Reads records by their numbers.

        Raises:
          UserError: where a file is missing, of another length or damaged; names it.
        """
        which = np.searchsorted(self._ends, index, side="right")
        places = np.asarray(index) - self._starts[which]
        records = []
        for number, place in zip(which.tolist(), places.tolist(), strict=True):
            reader = self._readers[number] or self._open(number)
            try:
                records.append(reader.read([place])[0])
            except (RuntimeError, ValueError, IndexError) as error:
                raise format.damaged(self._folder / self._names[number], error) from error
        return records

    def close(self) -> None:
        """Closes the files."""
        with self._lock:
            for reader in filter(None, self._readers):
                reader.close()
            self._readers = [None] * len(self._names)

    def _open(self, number: int) -> Any:
        with self._lock:
            if self._readers[number] is None:
                path = self._folder / self._names[number]
                reader = format.open_records(path)
                count = int(self._ends[number] - self._starts[number])
                if reader.num_records() != count:  # What an unreadable index looks like, too.
                    raise format.damaged(path, f"{reader.num_records()} records instead of {count}")
                self._readers[number] = reader
            return self._readers[number]


def is_shards(folder: str) -> bool:
    """Whether there is a finished folder of shards."""
    return (pathlib.Path(folder).expanduser() / format.MANIFEST).is_file()


def open_shards(folder: str) -> Shards:
    """Opens shards: reads what was written about them and checks that every file is there in its size.

    Raises:
      UserError: where there are none, not all yet, or a file is missing or damaged.
    """
    root = pathlib.Path(folder).expanduser()
    manifest = _read_manifest(root)
    rows: list[PieceRow] = []
    counts: list[int] = []
    try:
        for number, chunk in enumerate(manifest["chunks"]):
            names, written = format.chunk_names(number), chunk["written"]
            for kind in ("examples", "pieces"):
                _check_size(root / names[kind], written[kind]["bytes"])
            for row in _read_checked(root / names["chunk"], written["chunk"])["files"]:
                if row["status"] != "refused":
                    rows.append(PieceRow(row["path"], row["sha256"], tuple(row["reasons"])))
                    counts.append(row["examples"])
        groups = np.load(io.BytesIO(_checked(root / format.GROUPS, manifest["groups"])), allow_pickle=False)
        if len(rows) != manifest["totals"]["loaded"] or len(groups) != len(rows):
            raise ValueError("its counts are not those of the chunks")
    except (KeyError, TypeError, ValueError) as error:
        raise format.damaged(root / format.MANIFEST, error) from error
    return Shards(root, manifest, tuple(rows), np.array(counts, dtype=np.int64), tuple(groups.tolist()))


def verify(folder: pathlib.Path) -> None:
    """Compares every file of finished shards with its hash.

    Raises:
      UserError: for the first that differs.
    """
    manifest = _read_manifest(folder)
    expected = {format.GROUPS: manifest["groups"]}
    for number, chunk in enumerate(manifest["chunks"]):
        expected |= {name: chunk["written"][kind] for kind, name in format.chunk_names(number).items()}
    for name, known in expected.items():
        if format.describe_file(folder / name) != known:
            raise format.damaged(folder / name, "its hash is another")


def _read_manifest(root: pathlib.Path) -> dict[str, Any]:
    path = root / format.MANIFEST
    if not path.is_file():
        if (root / format.PLAN).exists():
            raise UserError(
                f"{root}: these shards are not finished; go on with python -m vae_jax.ingest --shards={root}"
            )
        raise UserError(
            f"{root}: no shards here (no {format.MANIFEST}); write them with python -m vae_jax.ingest --shards={root}"
        )
    manifest = files.read_json(path)
    if not isinstance(manifest, dict) or manifest.get("format") != format.FORMAT:
        raise UserError(f"{root}: shards of another version of this program; write them again in another folder")
    return manifest


def _check_size(path: pathlib.Path, size: int) -> None:
    try:
        there = path.stat().st_size
    except OSError as error:
        raise format.damaged(path, error.strerror or error) from error
    if there != size:
        raise format.damaged(path, f"{there} bytes instead of {size}")


def _checked(path: pathlib.Path, known: Mapping[str, Any]) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise format.damaged(path, error.strerror or error) from error
    if hashlib.sha256(data).hexdigest() != known["sha256"]:
        raise format.damaged(path, "its hash is another")
    return data


def _read_checked(path: pathlib.Path, known: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(_checked(path, known))
