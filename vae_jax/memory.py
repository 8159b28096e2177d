"""Giving memory back between the stages of a job."""

from __future__ import annotations

import contextlib
import ctypes
import gc

import jax


def release() -> None:
    """Drops the compiled programs, of which most are never run again, and gives free memory back to the system.

    A program that is run again is compiled again, or found among those that are kept (`compiled`); results stay the
    same.
    """
    jax.clear_caches()
    gc.collect()
    with contextlib.suppress(OSError, AttributeError, TypeError):  # glibc has it, others need no asking.
        ctypes.CDLL(None).malloc_trim(0)
