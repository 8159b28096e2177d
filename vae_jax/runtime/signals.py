"""Signals that ask a command to stop: in training they wait until the state is saved, elsewhere they end it at once."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator

GRACE_SEC = 8.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A signal has ended the work; the message says what is left and how to go on.

    Like KeyboardInterrupt it is no Exception: nobody on the way may swallow it.

    Attributes:
      exit_code: what the command ends with: 128 + the signal's number, as shells have it.
    """

    def __init__(self, number: int, message: str = "the same command goes on from what is saved"):
        super().__init__(f"stopped by {signal.Signals(number).name}: {message}")
        self.exit_code = 128 + number


class _Waiting:
    """The signal that waits to be looked at (0 for none), and whether it may wait."""

    number = 0
    may_wait = False


def handle_signals() -> None:
    """Lets Ctrl-C and SIGTERM raise Interrupted, or wait inside `deferred`; to be called once, by a command.

    A second signal, or `GRACE_SEC` seconds without an end, end the process where it stands: a compilation, during which
    Python hears nothing, takes longer than whoever sent the signal will wait.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # As a shell starts a job in the background.
            signal.signal(number, on_signal)
    signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader,), daemon=True).start()


def on_signal(number: int, _: object) -> None:
    """The handler: raises Interrupted, or leaves a note for whoever is inside `deferred`."""
    if not _Waiting.may_wait:
        raise Interrupted(number)
    _Waiting.number = number
    # print() may itself be what was interrupted.
    os.write(2, b"\nstopping after this step; once more to stop at once\n")


@contextlib.contextmanager
def deferred() -> Iterator[Callable[[], int]]:
    """Lets a signal wait; gives a function that returns its number, 0 while there is none.

    Raises:
      Interrupted: at the end, where a signal came and nobody looked at it.
    """
    _Waiting.may_wait = True
    try:
        yield lambda: _Waiting.number
        if _Waiting.number:
            raise Interrupted(_Waiting.number)
    except Interrupted:
        _Waiting.number = 0
        raise
    finally:
        _Waiting.may_wait = False


def _watch(reader: socket.socket) -> None:
    number = reader.recv(1)[0]
    again, _, _ = select.select([reader], [], [], GRACE_SEC)
    reason = "at once" if again else f"after {GRACE_SEC:.0f} s, in the middle of a step"
    name = signal.Signals(number).name
    os.write(2, f"\nstopped by {name} {reason}: the same command goes on from the last checkpoint\n".encode())
    os._exit(128 + number)
