"""Giving memory back to the system while a job runs."""

from __future__ import annotations

import contextlib
import ctypes
import gc

import jax

_COMPILED = "/jax/core/compile/backend_compile_duration"
_LONG_SEC = 0.5


def release() -> None:
    """Drops the compiled programs, of which most are never run again, and gives free memory back to the system.

    A program that is run again is compiled again, or found among those that are kept (`compiled`); results stay the
    same.
    """
    jax.clear_caches()
    gc.collect()
    trim()


def trim_after_compiling() -> None:
    """Gives free memory back after every long compilation from now on.

    LLVM leaves what it has freed, nearly a gigabyte for the largest program, in the heaps of its threads, of which
    running the program uses little.
    """
    jax.monitoring.register_event_duration_secs_listener(_trim_after)


def trim() -> None:
    """Gives free memory back."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # glibc has it, others need no asking.
        ctypes.CDLL(None).malloc_trim(0)


def _trim_after(event: str, duration_secs: float, **_: str | int) -> None:
    if event == _COMPILED and duration_secs > _LONG_SEC:
        trim()
