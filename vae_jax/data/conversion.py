"""Scores in other notations than MIDI, converted once: music21 takes a second for what is read back in a millisecond.

A conversion is kept in the user's cache folder under the hash of the file's bytes and of all that turns them into a
score. `VAE_JAX_CACHE=off` keeps none.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import pathlib
import signal
import threading
from collections.abc import Iterator

try:
    import resource
except ImportError:  # Windows.
    resource = None  # type: ignore[assignment]

from vae_jax.music import notation, serialization
from vae_jax.music.midi import Reading
from vae_jax.music.notation import NotationError
from vae_jax.runtime import cache_dir, files
from vae_jax.runtime.errors import UserError

MIN_CPU_SEC, BYTES_A_CPU_SEC = 20.0, 20_000  # music21 is ten times as fast, even where a byte holds 20 of MusicXML.
MAX_MEMORY_BYTES = 2 * 2**30  # Of one conversion: several times what music21 needs for the largest score.
_HASH_BYTES = 32
_MEMORY = pathlib.Path("/proc/self/statm")


class _ExpiredError(BaseException):
    """Raised by the timer; not an Exception, so that no handler of music21 catches it."""


def read(data: bytes, suffix: str) -> Reading:
    """Reads a file as `notation.read_notation` does, or what is kept of it. Raises NotationError as that does, and
    where it takes too long."""
    path = _path(data, suffix)
    kept = _load(path)
    if kept is None:
        kept = _convert(data, suffix)
        if cache_dir.is_on():
            with contextlib.suppress(UserError):  # A full disk, or a folder that is not ours.
                files.write_bytes(path, _pack(kept))
    if isinstance(kept, str):
        raise NotationError(kept)
    return kept


def is_kept(data: bytes, suffix: str) -> bool:
    """Whether a file has been converted before."""
    return cache_dir.is_on() and _path(data, suffix).is_file()


def _convert(data: bytes, suffix: str) -> Reading | str:
    """Returns the score, or why there is none."""
    seconds = MIN_CPU_SEC + len(data) / BYTES_A_CPU_SEC
    try:
        with _limited_time(seconds), _limited_memory(MAX_MEMORY_BYTES):
            return notation.read_notation(data, suffix)
    except NotationError as error:
        return str(error)
    except _ExpiredError as error:
        raise NotationError(f"not read within {seconds:.1f} s of processor time") from error
    except MemoryError as error:
        raise NotationError(f"not read within {MAX_MEMORY_BYTES / 2**30:g} GiB of memory") from error


@contextlib.contextmanager
def _limited_time(seconds: float) -> Iterator[None]:
    """Raises _ExpiredError in the block after so much processor time; where there is no such timer, on Windows and in
    other threads than the first, never."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def expire(*_: object) -> None:
        raise _ExpiredError

    previous = signal.signal(signal.SIGVTALRM, expire)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, 1.0)  # Once more a second later, should it be swallowed.
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)


@contextlib.contextmanager
def _limited_memory(num_bytes: int) -> Iterator[None]:
    """Raises MemoryError in the block where the process grows by so much; on Linux only."""
    if resource is None or not _MEMORY.exists():
        yield
        return
    previous = resource.getrlimit(resource.RLIMIT_AS)
    used = int(_MEMORY.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    limits = [limit for limit in (used + num_bytes, *previous) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), previous[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, previous)


def _path(data: bytes, suffix: str) -> pathlib.Path:
    name = hashlib.sha256(f"{suffix} {_version()} ".encode() + data).hexdigest()
    return cache_dir.folder() / "scores" / name[:2] / name[2:]


@functools.cache
def _version() -> str:
    """Hash of the code that converts, music21's version included."""
    folder, names = pathlib.Path(notation.__file__).parent, ("notation*", "repeats", "score", "serialization")
    code = b"".join(path.read_bytes() for name in names for path in sorted(folder.glob(f"{name}.py")))
    return hashlib.sha256(code + importlib.metadata.version("music21").encode()).hexdigest()


def _pack(kept: Reading | str) -> bytes:
    """A hash, a line of JSON (why it was refused, or the warnings and remarks), and the packed score."""
    line = json.dumps(kept if isinstance(kept, str) else [kept.warnings, kept.remarks]).encode() + b"\n"
    body = line if isinstance(kept, str) else line + serialization.pack_score(kept.score)
    return hashlib.sha256(body).digest() + body


def _load(path: pathlib.Path) -> Reading | str | None:
    """Returns what is kept in a file; None where there is none, or it is damaged."""
    try:
        content = path.read_bytes() if cache_dir.is_on() else b""
    except OSError:
        return None
    body = content[_HASH_BYTES:]
    if hashlib.sha256(body).digest() != content[:_HASH_BYTES]:
        return None
    line, _, packed = body.partition(b"\n")
    said = json.loads(line)
    return said if isinstance(said, str) else Reading(serialization.unpack_score(packed), *map(tuple, said))
