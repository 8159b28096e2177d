"""Returning freed memory to the system while a job runs."""

import contextlib
import ctypes

import jax

_COMPILED = "/jax/core/compile/backend_compile_duration"
_LONG_SEC = 0.5


def trim_after_compiling() -> None:
    """Returns free memory to the system after every long compilation from now on.

    glibc keeps what LLVM has freed, nearly a gigabyte for the largest program, in an arena of each thread.
    """
    jax.monitoring.register_event_duration_secs_listener(_trim_after)


def _trim_after(event: str, duration_secs: float, **_: str | int) -> None:
    if event == _COMPILED and duration_secs > _LONG_SEC:
        _trim()


def _trim() -> None:
    with contextlib.suppress(OSError, AttributeError, TypeError):  # Only glibc needs it and has it.
        ctypes.CDLL(None).malloc_trim(0)
