"""The files in a folder of shards: their names, their records, and how they are checked."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib
import json
import pathlib
import struct
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import mido
import numpy as np

from vae_jax.data import deduplication
from vae_jax.music import serialization
from vae_jax.music.score import Score
from vae_jax.representations.base import Arrays
from vae_jax.representations.factory import make_representation
from vae_jax.runtime import files
from vae_jax.runtime.errors import UserError

FORMAT = 2
MANIFEST, PLAN = "shards.json", "plan.json"
KINDS = ("examples", "pieces")
# One record a chunk of the file, so that a random read decompresses nothing else.
_WRITER_OPTIONS = "group_size:1"
_READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"
_READER_BUFFER_BYTES = 32_768
_NUM_SHINGLES = struct.Struct("<I")


def chunk_path(folder: pathlib.Path, number: int, kind: str) -> pathlib.Path:
    """The path of one of a chunk's files: its "examples", its "pieces", or the "chunk" itself."""
    return folder / f"{kind}-{number:05d}.{'json' if kind == 'chunk' else 'array_record'}"


@functools.cache
def encoder_version() -> str:
    """Hash of the source code that turns bytes into examples, and of the versions of what it uses."""
    root = pathlib.Path(__file__).parents[2]
    sources = [root / "data" / "parsing.py", root / "data" / "deduplication.py"]
    sources += sorted([*(root / "music").glob("*.py"), *(root / "representations").rglob("*.py")])
    digest = hashlib.sha256(repr((FORMAT, mido.version_info, sys.version_info[:2])).encode())
    for path in sources:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def describe_representation(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config's `representation` section with the fields that it leaves to their defaults."""
    made: Any = make_representation(config)
    fields = {field.name: getattr(made, field.name) for field in dataclasses.fields(made)}
    return json.loads(json.dumps({"name": config["name"]} | fields))


def check_representation(folder: pathlib.Path, there: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Compares the described representation of shards with a config's.

    Raises:
      UserError: with the fields that differ.
    """
    here = describe_representation(config)
    differing = "; ".join(
        f"config.representation.{name} is {there.get(name)!r} there and {here.get(name)!r} here"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name)
    )
    if differing:
        raise UserError(f"{folder} holds shards of another representation ({differing}); write them anew or change it")


# Records.


def layout_of(arrays: Arrays) -> np.dtype:
    """The layout of an example's record: its arrays one after the other, little-endian, as a structured type."""
    return np.dtype([(name, rows.dtype.newbyteorder("<"), rows.shape[1:]) for name, rows in arrays.items()])


def layout_from_json(described: Any) -> np.dtype:
    """Turns a layout's `descr` back into the layout after it was JSON."""
    return np.dtype([(name, dtype, *map(tuple, shape)) for name, dtype, *shape in described])


def pack_examples(arrays: Arrays, layout: np.dtype) -> list[bytes]:
    """Turns examples, each array [W, ...], into W records.

    Raises:
      ValueError: if the arrays have another layout.
    """
    if layout_of(arrays) != layout:
        raise ValueError(f"examples of {layout_of(arrays)} instead of {layout}")
    rows = np.empty(len(next(iter(arrays.values()))), dtype=layout)
    for name, array in arrays.items():
        rows[name] = array
    return [row.tobytes() for row in rows]


def unpack_examples(records: Sequence[bytes], layout: np.dtype) -> dict[str, np.ndarray]:
    """Turns B records into examples, each array [B, ...]."""
    rows = np.frombuffer(b"".join(records), dtype=layout)
    return {name: rows[name].astype(rows[name].dtype.newbyteorder("="), order="C") for name in layout.fields or ()}


def pack_piece(score: Score) -> bytes:
    """The record of a piece: the number of its shingles, the shingles, its packed score."""
    shingles = deduplication.pack_shingles(score).astype("<u8")
    return _NUM_SHINGLES.pack(len(shingles)) + shingles.tobytes() + serialization.pack_score(score)


def unpack_shingles(record: bytes) -> np.ndarray:
    """Returns the shingles in the record of a piece, uint64 [S]."""
    return np.frombuffer(record, "<u8", _NUM_SHINGLES.unpack_from(record)[0], _NUM_SHINGLES.size)


def unpack_score(record: bytes) -> Score:
    """Returns the score in the record of a piece."""
    return serialization.unpack_score(record[_NUM_SHINGLES.size + unpack_shingles(record).nbytes :])


# Files.


@contextlib.contextmanager
def record_writer(path: pathlib.Path) -> Iterator[Callable[[bytes], None]]:
    """Gives a function that appends a record to a file, which appears when all are written.

    Raises:
      UserError: if it cannot be written, or the format is not installed.
    """
    module = import_optional("array_record.python.array_record_module")
    with files.replacing(path) as temporary:
        try:
            writer = module.ArrayRecordWriter(str(temporary), _WRITER_OPTIONS)
            try:
                yield writer.write
            finally:
                writer.close()
        except RuntimeError as error:  # The format's type for every error of the disk.
            raise UserError(f"{path}: cannot be written ({_brief(error)})") from error


def open_records(path: pathlib.Path) -> Any:
    """Opens a file of records for random reads: `num_records()`, `read([n])`, `close()`.

    Raises:
      UserError: if it cannot be opened.
    """
    module = import_optional("array_record.python.array_record_module")
    try:
        return module.ArrayRecordReader(str(path), _READER_OPTIONS, file_reader_buffer_size=_READER_BUFFER_BYTES)
    except (OSError, RuntimeError, ValueError) as error:
        raise damaged(path, error) from error


def write_json(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Writes a plan, chunk or manifest with the format's number and a hash of the content."""
    files.write_json(path, {"format": FORMAT, "sha256": hash_json(content), **content})


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Reads what `write_json` wrote.

    Raises:
      UserError: if it is missing, damaged or of another format.
    """
    content = files.read_json(path)
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise UserError(f"{path.parent}: shards of another version of this program; write them again in another folder")
    if content.pop("sha256", None) != hash_json(content):
        raise damaged(path, "its hash differs")
    return content


def hash_json(content: Mapping[str, Any]) -> str:
    """Hash of a value that JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def describe_file(path: pathlib.Path) -> dict[str, Any]:
    """Size and hash of a file."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def check_file(path: pathlib.Path, known: Mapping[str, Any], *, by_hash: bool) -> None:
    """Compares a file with `describe_file` of when it was written, or with its size alone.

    Raises:
      UserError: if it is missing or differs.
    """
    try:
        if (size := path.stat().st_size) != known["bytes"]:
            raise damaged(path, f"{size} bytes instead of {known['bytes']}")
        if by_hash and describe_file(path)["sha256"] != known["sha256"]:
            raise damaged(path, "its hash differs")
    except OSError as error:
        raise damaged(path, error.strerror or error) from error


def damaged(path: pathlib.Path, why: object) -> UserError:
    """The error of a shard that cannot be read, in one line."""
    return UserError(
        f"{path}: a damaged shard ({_brief(why)}); delete it and write it again with the command that made it, "
        f"python -m vae_jax.ingest --shards={path.parent}"
    )


def import_optional(name: str) -> Any:
    """Imports a module of the packages that only shards need.

    Raises:
      UserError: if they are not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"shards need grain and array_record, which Linux and macOS have ({error}): pip install grain array_record"
        ) from error


def _brief(why: object) -> str:
    text = " ".join(str(why).split())
    return text if len(text) <= 120 else text[:117] + "..."
