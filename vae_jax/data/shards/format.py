"""The files in a folder of shards: their names, their records, and how they are checked."""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import pathlib
import sys
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping, Sequence

import mido
import numpy as np

from vae_jax.representations.factory import make_representation
from vae_jax.runtime import files
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.files import Json

FORMAT = 3
Arrays = Mapping[str, np.ndarray]
MANIFEST, PLAN = "shards.json", "plan.json"
KINDS = ("examples", "pieces", "tunes")
_WRITER_OPTIONS = "group_size:1"  # A random read decompresses no other record.


def chunk_path(folder: pathlib.Path, number: int, kind: str) -> pathlib.Path:
    """The path of one of a chunk's files: of a kind of records, or the "chunk" itself."""
    return folder / f"{kind}-{number:05d}.{'json' if kind == 'chunk' else 'array_record'}"


@functools.cache
def encoder_version() -> str:
    """Hash of the source code that turns bytes into examples, and of the versions of what it uses."""
    root = pathlib.Path(__file__).parents[2]
    sources = [root / "data" / "parsing.py", root / "data" / "deduplication.py"]
    sources += sorted([*(root / "music").glob("*.py"), *(root / "representations").rglob("*.py")])
    versions = repr((FORMAT, mido.version_info, importlib.metadata.version("music21"), sys.version_info[:2])).encode()
    return hashlib.sha256(b"".join([versions, *(path.read_bytes() for path in sources)])).hexdigest()


def describe_representation(config: Json) -> Json:
    """Returns a config's `representation` section with its defaults."""
    made = make_representation(config)
    fields = {field.name: getattr(made, field.name) for field in dataclasses.fields(made)}  # type: ignore[arg-type]
    return json.loads(json.dumps({"name": config["name"]} | fields))


def check_representation(folder: pathlib.Path, there: Json, config: Json) -> None:
    """Raises UserError with the fields in which a config's representation differs from that of shards."""
    here = describe_representation(config)
    differing = "; ".join(
        f"config.representation.{name} is {there.get(name)!r} there and {here.get(name)!r} here"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name)
    )
    if differing:
        raise UserError(f"{folder} holds shards of another representation ({differing}); write them anew or change it")


def layout_of(arrays: Arrays) -> np.dtype:
    """The layout of an example's record: its arrays one after the other, little-endian, as a structured type."""
    return np.dtype([(name, rows.dtype.newbyteorder("<"), rows.shape[1:]) for name, rows in arrays.items()])


def pack_examples(arrays: Arrays, layout: np.dtype) -> list[bytes]:
    """Turns examples, each array [W, ...], into W records. Raises ValueError if they have another layout."""
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


@contextlib.contextmanager
def record_writer(path: pathlib.Path) -> Iterator[Callable[[bytes], None]]:
    """Gives a function that appends a record to a file, which appears when it is complete; raises UserError if it
    cannot be written."""
    module = import_optional("array_record.python.array_record_module")
    with files.replacing(path) as temporary:
        try:
            with contextlib.closing(module.ArrayRecordWriter(str(temporary), _WRITER_OPTIONS)) as writer:
                yield writer.write
        except RuntimeError as error:
            if type(error) is not RuntimeError:  # Itself it is the format's type for every error of the disk.
                raise
            raise UserError(f"{path}: cannot be written ({textwrap.shorten(str(error), 120)})") from error


def write_json(path: pathlib.Path, content: Json) -> None:
    """Writes a plan, chunk or manifest with the format's number and a hash of the content."""
    files.write_json(path, {"format": FORMAT, "sha256": files.hash_json(content), **content})


def read_json(path: pathlib.Path) -> Json:
    """Reads what `write_json` wrote; raises UserError if it is missing, damaged or of another format."""
    content = files.read_json(path)
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise UserError(f"{path.parent}: shards of another version of this program; write them again in another folder")
    if content.pop("sha256", None) != files.hash_json(content):
        raise damaged(path, "its hash differs")
    return content


def describe_file(path: pathlib.Path) -> dict[str, int | str]:
    """Size and hash of a file."""
    return {"bytes": path.stat().st_size, "sha256": files.hash_file(path)}


def check_file(path: pathlib.Path, known: Json, *, by_hash: bool) -> None:
    """Raises UserError if a file is missing or its size, or its hash, is not that of `describe_file` before."""
    try:
        if (size := path.stat().st_size) != known["bytes"]:
            raise damaged(path, f"{size} bytes instead of {known['bytes']}")
        if by_hash and files.hash_file(path) != known["sha256"]:
            raise damaged(path, "its hash differs")
    except OSError as error:
        raise damaged(path, error.strerror or error) from error


def damaged(path: pathlib.Path, why: object) -> UserError:
    """The error of a shard that cannot be read, in one line."""
    return UserError(
        f"{path}: a damaged shard ({textwrap.shorten(str(why), 120)}); delete it and write it again with the "
        f"command that made it, python -m vae_jax.ingest --shards={path.parent}"
    )


def import_optional(name: str) -> types.ModuleType:
    """Imports a module of the packages that only shards need; raises UserError if they are not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"shards need grain and array_record, which Linux and macOS have ({error}): pip install grain array_record"
        ) from error
