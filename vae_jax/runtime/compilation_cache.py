"""Compiled programs kept in the user's cache folder by JAX's persistent compilation cache, for the next start."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import platform
import sys
import warnings
import zlib
from collections.abc import Iterator

from vae_jax.runtime import cache_dir

MAX_BYTES = 2**30
_MIN_COMPILE_SEC = 0.0  # Parameters are drawn by more than a hundred programs of 20 ms each.
_STAMP = ".checked"
_ZLIB_START = b"\x78"  # Where the zstandard package is installed, JAX packs with that.


def keep() -> None:
    """Lets JAX keep what it compiles and find what earlier processes compiled, whether it is imported already or not.

    Nothing is changed where the user has set JAX's own options for it, switched the cache off (`user_cache`), or the
    folder cannot be written.
    """
    options = {
        "jax_compilation_cache_dir": "",
        "jax_persistent_cache_min_compile_time_secs": _MIN_COMPILE_SEC,
    }
    if not cache_dir.is_on() or any(name.upper() in os.environ for name in options):
        return
    folder = cache_dir.folder() / "compiled"
    mine = folder / _machine()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # What lies there is run.
        mine.mkdir(exist_ok=True)
        _make_room(folder)
        _remove_torn(mine)
        if not os.access(mine, os.W_OK):
            return
    except OSError:
        return
    # A disk that is full by now costs the next start some seconds, and this one nothing.
    warnings.filterwarnings("ignore", "Error writing persistent compilation cache entry")
    options["jax_compilation_cache_dir"] = str(mine)
    if "jax" in sys.modules:
        for name, value in options.items():
            sys.modules["jax"].config.update(name, value)
    else:
        os.environ.update({name.upper(): str(value) for name, value in options.items()})


def _machine() -> str:
    """Names this kind of processor: a program for another one, whose home folder is the same, may not run here."""
    described = [platform.system(), platform.machine(), platform.processor()]
    with contextlib.suppress(OSError):
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        described += [line for line in lines if line.startswith(("model name", "flags", "Features"))][:2]
    return hashlib.sha256("\n".join(described).encode()).hexdigest()[:16]


def _entries(folder: pathlib.Path) -> Iterator[tuple[pathlib.Path, os.stat_result]]:
    for path in folder.rglob("*-cache"):
        with contextlib.suppress(OSError):  # Another process makes room, too.
            yield path, path.stat()


def _make_room(folder: pathlib.Path) -> None:
    """Deletes the programs that were used longest ago where all of them take more than the limit."""
    entries = sorted(_entries(folder), key=lambda entry: max(entry[1].st_atime, entry[1].st_mtime))
    total = sum(status.st_size for _, status in entries)
    for path, status in entries:
        if total <= MAX_BYTES:
            break
        with contextlib.suppress(OSError):
            path.unlink()
        total -= status.st_size


def _remove_torn(folder: pathlib.Path) -> None:
    """Deletes those of the new entries whose writer was killed: JAX would complain of them at every start."""
    stamp = folder / _STAMP
    checked = stamp.stat().st_mtime if stamp.exists() else 0.0
    new = [path for path, status in _entries(folder) if status.st_mtime >= checked]
    for path in new:
        with contextlib.suppress(OSError):
            if _is_torn(path.read_bytes()):
                path.unlink()
    if new or not stamp.exists():
        stamp.touch()


def _is_torn(data: bytes) -> bool:
    if data and not data.startswith(_ZLIB_START):
        return False
    try:
        zlib.decompress(data)
    except zlib.error:
        return True
    return False
