"""How a long job gets memory from the system, and returns it."""

import contextlib
import ctypes
import os
import platform
import sys

_COMPILED = "/jax/core/compile/backend_compile_duration"
_LONG_SEC = 0.5
_TUNABLES, _HUGE_PAGES = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"


def use_huge_pages() -> None:
    """Starts this command again, as the same process, with huge pages for large allocations, where glibc offers them.

    XLA allocates and frees hundreds of megabytes in every update; by pages of 4 kB that takes a quarter of its time
    (docs/performance.md). glibc reads the option when a process starts. Returns where the user has set it, or where
    the command is called by another program.
    """
    given = os.environ.get(_TUNABLES, "")
    if _HUGE_PAGES in given or platform.libc_ver()[0] != "glibc" or sys.argv[0] not in sys.orig_argv:
        return
    environment = os.environ | {_TUNABLES: ":".join(filter(None, [given, f"{_HUGE_PAGES}=1"]))}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def trim_after_compiling() -> None:
    """Returns free memory to the system after every long compilation from now on.

    glibc keeps what LLVM has freed, nearly a gigabyte for the largest program, in an arena of each thread.
    """
    import jax  # Here, as `use_huge_pages` is to take no time.

    jax.monitoring.register_event_duration_secs_listener(_trim_after)


def _trim_after(event: str, duration_secs: float, **_: str | int) -> None:
    if event == _COMPILED and duration_secs > _LONG_SEC:
        _trim()


def _trim() -> None:
    with contextlib.suppress(OSError, AttributeError, TypeError):  # Only glibc needs it and has it.
        ctypes.CDLL(None).malloc_trim(0)
