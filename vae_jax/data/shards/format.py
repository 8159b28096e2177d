"""What lies in a folder of shards: names, the bytes of a record, and files of records."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import mido
import numpy as np

from vae_jax.runtime import files
from vae_jax.runtime.errors import UserError

FORMAT = 2
Arrays = Mapping[str, np.ndarray]
MANIFEST, PLAN, GROUPS, REPORT = "shards.json", "plan.json", "groups.npy", "ingest.json"
# One record a chunk of the file: a read at random unpacks nothing else.
_WRITER_OPTIONS = "group_size:1"
_READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"
_READER_BUFFER_BYTES = 32_768


def chunk_names(number: int) -> dict[str, str]:
    """Names of the files of a chunk."""
    return {
        "chunk": f"chunk-{number:05d}.json",
        "examples": f"examples-{number:05d}.array_record",
        "pieces": f"pieces-{number:05d}.array_record",
        "tunes": f"tunes-{number:05d}.npy",
    }


@functools.cache
def encoder_version() -> str:
    """Hash of the source of all that turns bytes into examples, and of the versions that it rests on."""
    root = pathlib.Path(__file__).parents[2]
    sources = [root / "data" / "parsing.py", root / "data" / "deduplication.py"]
    sources += sorted([*(root / "music").glob("*.py"), *(root / "representations").rglob("*.py")])
    digest = hashlib.sha256(repr((FORMAT, mido.version_info, sys.version_info[:2])).encode())
    for path in sources:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class RecordLayout:
    """How the arrays of one example lie in a record: one after the other, little-endian.

    Attributes:
      fields: name, dtype (as NumPy writes it) and shape of each.
    """

    fields: tuple[tuple[str, str, tuple[int, ...]], ...]

    @classmethod
    def of(cls, arrays: Arrays) -> RecordLayout:
        """The layout of examples, each array [W, ...]."""
        return cls(
            tuple((name, rows.dtype.newbyteorder("<").str, tuple(rows.shape[1:])) for name, rows in arrays.items())
        )

    @classmethod
    def unpack_json(cls, packed: Any) -> RecordLayout:
        """Reads what `pack_json` made."""
        return cls(tuple((field["name"], field["dtype"], tuple(field["shape"])) for field in packed))

    def pack_json(self) -> list[dict[str, Any]]:
        """What the manifest holds."""
        return [{"name": name, "dtype": dtype, "shape": list(shape)} for name, dtype, shape in self.fields]

    @functools.cached_property
    def dtype(self) -> np.dtype:
        """One example as a structured type."""
        return np.dtype(list(self.fields))

    def pack(self, arrays: Arrays) -> list[bytes]:
        """Turns examples into records.

        Raises:
          ValueError: where their arrays have another layout.
        """
        if RecordLayout.of(arrays) != self:
            raise ValueError(f"examples of {RecordLayout.of(arrays).fields} instead of {self.fields}")
        rows = np.zeros(len(next(iter(arrays.values()))), dtype=self.dtype)
        for name, array in arrays.items():
            rows[name] = array
        return [row.tobytes() for row in rows.view(np.uint8).reshape(len(rows), self.dtype.itemsize)]

    def unpack(self, records: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Turns records into examples, each array [B, ...].

        Raises:
          ValueError: where a record has another size.
        """
        if any(len(record) != self.dtype.itemsize for record in records):
            raise ValueError(f"a record of another size than {self.dtype.itemsize} bytes")
        rows = np.frombuffer(b"".join(records), dtype=self.dtype)
        return {
            name: np.ascontiguousarray(rows[name], dtype=np.dtype(dtype).newbyteorder("="))
            for name, dtype, _ in self.fields
        }


@contextlib.contextmanager
def record_writer(path: pathlib.Path) -> Iterator[Callable[[bytes], None]]:
    """Gives a function that appends a record to a file, which appears when all are written.

    Raises:
      UserError: where it cannot be written, or the format is not installed.
    """
    with files.replacing(path) as temporary:
        try:
            writer = _array_record().ArrayRecordWriter(str(temporary), _WRITER_OPTIONS)
            try:
                yield writer.write
            finally:
                writer.close()
        except RuntimeError as error:  # The format's own word for whatever the disk says.
            raise UserError(f"{path}: cannot be written ({_brief(error)})") from error


def open_records(path: pathlib.Path) -> Any:
    """Opens a file of records for reads at random: `num_records()`, `read([n])`, `close()`.

    Raises:
      UserError: where it cannot be opened.
    """
    try:
        return _array_record().ArrayRecordReader(
            str(path), _READER_OPTIONS, file_reader_buffer_size=_READER_BUFFER_BYTES
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise damaged(path, error) from error


def damaged(path: pathlib.Path, why: object) -> UserError:
    """The one line on a shard that cannot be read."""
    return UserError(
        f"{path}: a damaged shard ({_brief(why)}); delete it and write it again with the command that made it, "
        f"python -m vae_jax.ingest --shards={path.parent}"
    )


def describe_file(path: pathlib.Path) -> dict[str, Any]:
    """Size and hash of a file.

    Raises:
      UserError: where it cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while part := file.read(2**20):
                digest.update(part)
                size += len(part)
    except OSError as error:
        raise damaged(path, error.strerror or error) from error
    return {"bytes": size, "sha256": digest.hexdigest()}


def write_json(path: pathlib.Path, value: Mapping[str, Any]) -> None:
    """Writes compact JSON in ASCII: a path may hold bytes that are no text, and has to come back as it was."""
    files.write_bytes(path, (json.dumps(value, separators=(",", ":"), allow_nan=False) + "\n").encode())


def _array_record() -> Any:
    try:
        from array_record.python import array_record_module
    except ImportError as error:
        raise missing_package(error) from error
    return array_record_module


def missing_package(error: ImportError) -> UserError:
    """The one line where the optional packages are not installed."""
    return UserError(
        f"shards need grain and array_record, which Linux and macOS have ({error}): pip install grain array_record"
    )


def _brief(why: object) -> str:
    text = " ".join(str(why).split())
    return text if len(text) <= 120 else text[:117] + "..."
