"""Writing files so that nobody ever finds half of one, and file names made from other people's names."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pathlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from vae_jax.runtime.errors import UserError

_MAX_NAME_BYTES = 160
_TEMPORARY_NAME = r"\..+\.\w{8}\.tmp"  # What `tempfile` makes of prefix and suffix.


def write_bytes(path: pathlib.Path, data: bytes) -> None:
    """Writes a file under a temporary name beside it and moves it into place.

    Raises:
      UserError: where it cannot be written, a full disk for instance.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives the name of an empty temporary file beside a file, and moves it into place where all went well.

    Raises:
      UserError: where it cannot be written, a full disk for instance.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = pathlib.Path(name)
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def remove_leftovers(folder: pathlib.Path) -> None:
    """Deletes the temporary files of writers that were killed, in a folder and those below it."""
    for directory, _, names in os.walk(folder):
        for name in names:
            if re.fullmatch(_TEMPORARY_NAME, name):
                with contextlib.suppress(OSError):
                    pathlib.Path(directory, name).unlink()


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a value as indented JSON; a number that is not finite is refused rather than written as invalid JSON."""
    write_bytes(
        path,
        (json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"),
    )


def read_json(path: pathlib.Path) -> Any:
    """Reads a JSON file.

    Raises:
      UserError: where it cannot be read or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error})") from error


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
    """Returns a text that is safe to print: control characters, which steer a terminal, become escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
