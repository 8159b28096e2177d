"""Files that are written whole or not at all, and file names made from untrusted names."""

import contextlib
import hashlib
import itertools
import json
import os
import pathlib
import re
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from vae_jax.runtime.errors import UserError

Json = dict[str, Any]  # A JSON object.

OUTPUT_MARK = ".vae_jax_output"  # A folder that holds this file is no part of a corpus in a folder above it.

_MAX_NAME_BYTES = 160


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives an empty temporary file in the same folder, and renames it to `path` where no exception is raised. Raises
    UserError where it cannot be written, a full disk for instance."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error


def mark_output(folder: pathlib.Path) -> None:
    """Marks a folder as written by this package; raises UserError as `replacing` does."""
    write_bytes(folder / OUTPUT_MARK, b"Written by vae_jax: no part of a corpus in a folder above this one.\n")


def make_output(path: str) -> pathlib.Path:
    """Returns the folder for what a command writes; marks it where it is new or empty. Raises UserError as `replacing`
    does."""
    folder = pathlib.Path(path)
    if not folder.is_dir() or not any(folder.iterdir()):
        mark_output(folder)
    return folder


def remove_leftovers(folder: pathlib.Path) -> None:
    """Deletes the temporary files of killed writers, in a folder and those below it."""
    for path in folder.rglob(".*.????????.tmp"):
        with contextlib.suppress(OSError):
            path.unlink()


def expand_home(path: str) -> pathlib.Path:
    """Returns a path with ~ at its start as the user's home folder; of an unknown user's home as it stands."""
    return pathlib.Path(os.path.expanduser(path))  # pathlib's own raises RuntimeError for ~backup.mid.


def write_bytes(path: pathlib.Path, data: bytes) -> None:
    """Writes a file; raises UserError as `replacing` does."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: pathlib.Path, value: object) -> None:
    """Writes a value as indented JSON; raises ValueError for a number that is not finite, UserError as `replacing`."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def read_json(path: pathlib.Path) -> Any:
    """Reads a JSON file. Raises UserError where it cannot be read or is not JSON."""
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error})") from error


def read_text(path: pathlib.Path) -> str:
    """Reads a file of UTF-8. Raises UserError where it cannot be read or is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: damaged ({error})") from error


def hash_json(value: object) -> str:
    """Returns the sha256 of what JSON can hold, whatever the order of its fields."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def hash_file(path: pathlib.Path) -> str:
    """Returns the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def safe_name(name: str) -> str:
    """Turns any text into a file name of letters, digits, dots, dashes and underscores that names no other folder."""
    short = re.sub(r"[^\w.-]+", "_", name).strip("._").encode()[:_MAX_NAME_BYTES].decode(errors="ignore")
    return short or "unnamed"


def safe_names(names: Sequence[str]) -> list[str]:
    """Turns texts into file names that differ, on a disk that ignores case too."""
    taken: set[str] = set()
    result = []
    for name in map(safe_name, names):
        numbered = (f"{name}_{n}" for n in itertools.count(2))
        free = next(one for one in itertools.chain([name], numbered) if one.casefold() not in taken)
        taken.add(free.casefold())
        result.append(free)
    return result


def printable(text: str) -> str:
    """Returns a text that is safe to print: control characters, which steer a terminal, become escapes, and bytes of a
    name that are not UTF-8 (surrogate escapes, PEP 383) the characters that they are in Latin-1."""
    shown = (chr(ord(c) - 0xDC00) if "\udc80" <= c <= "\udcff" else c for c in text)
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in shown)
