"""JAX's persistent compilation cache in the user's cache folder: the next start finds its programs compiled.

JAX's own limit, `jax_compilation_cache_max_size`, is not used: each write reads the times of all entries (a second for
3,000 of them), and a process killed between an entry and its time stops all later writes.
"""

import contextlib
import hashlib
import os
import pathlib
import platform
import sys
import warnings
import zlib

from vae_jax.runtime import cache_dir

MAX_BYTES = 2**30
_ZLIB_START = b"\x78"  # JAX compresses with zstandard where that is installed.


def enable() -> None:
    """Turns the cache on, whether jax is imported already or not.

    Nothing is changed where the user has set these options of JAX, `VAE_JAX_CACHE` is off, or the folder cannot be
    written.
    """
    folder = cache_dir.folder() / "compiled"
    options = {
        "jax_compilation_cache_dir": str(folder / _processor()),
        "jax_persistent_cache_min_compile_time_secs": 0.0,  # A hundred programs of 20 ms each draw the parameters.
    }
    if not cache_dir.is_on() or any(name.upper() in os.environ for name in options):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # What lies there is run.
        (folder / _processor()).mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # Another process deletes, too.
            _delete_old_and_torn(folder)
    except OSError:
        return
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache entry")  # A full disk.
    if "jax" in sys.modules:
        for name, value in options.items():
            sys.modules["jax"].config.update(name, value)
    else:
        os.environ.update({name.upper(): str(value) for name, value in options.items()})


def _processor() -> str:
    """Names this kind of processor: a program compiled for another one with the same home folder may not run here."""
    described = [platform.system(), platform.machine(), platform.processor()]
    with contextlib.suppress(OSError):
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        described += [line for line in lines if line.startswith(("model name", "flags", "Features"))][:2]
    return hashlib.sha256("\n".join(described).encode()).hexdigest()[:16]


def _delete_old_and_torn(folder: pathlib.Path) -> None:
    """Deletes the entries used longest ago beyond the limit, and those whose writer was killed: JAX reads these again
    at every start and never replaces them."""
    stamp, total = folder / ".checked", 0
    checked = stamp.stat().st_mtime if stamp.exists() else 0.0
    stamp.touch()
    entries = [(path, path.stat()) for path in folder.rglob("*-cache")]
    for path, status in sorted(entries, key=lambda entry: -max(entry[1].st_atime, entry[1].st_mtime)):
        total += status.st_size
        if total > MAX_BYTES or (status.st_mtime >= checked and _is_torn(path.read_bytes())):
            path.unlink()


def _is_torn(data: bytes) -> bool:
    try:
        return not data or (data.startswith(_ZLIB_START) and not zlib.decompress(data))
    except zlib.error:
        return True
