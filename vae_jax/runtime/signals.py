"""Signals that ask a command to stop: in training they wait until the state is saved, elsewhere they end it at once."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A signal has ended the work; the message says what is saved and how to resume.

    Like KeyboardInterrupt it is no Exception, so that no handler of errors catches it.

    Attributes:
      exit_code: what the command ends with: 128 + the signal's number, as in shells.
    """

    def __init__(self, number: int, message: str = "the same command resumes from what is saved"):
        super().__init__(f"stopped by {signal.Signals(number).name}: {message}")
        self.exit_code = 128 + number


class _Deferred:
    """The signal that came inside `deferred` (0 for none), and whether one is inside it."""

    number = 0
    active = False


def handle_signals() -> None:
    """Makes SIGINT (Ctrl-C) and SIGTERM raise Interrupted or, inside `deferred`, wait. The next one kills the process.

    Python handles a signal when the C++ code that is running returns: the first one takes effect only after a
    compilation, which may take a minute.
    """
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # A shell's jobs in the background ignore SIGINT.
            signal.signal(number, _handle)


@contextlib.contextmanager
def deferred() -> Iterator[Callable[[], int]]:
    """Makes a signal wait; gives a function that returns its number, 0 while there is none. Raises Interrupted at the
    end, where a signal came."""
    _Deferred.number, _Deferred.active = 0, True
    try:
        yield lambda: _Deferred.number
    finally:
        _Deferred.active = False
    if _Deferred.number:
        raise Interrupted(_Deferred.number)


def _handle(number: int, _: object) -> None:
    for one in _SIGNALS:
        if signal.getsignal(one) is _handle:
            signal.signal(one, signal.SIG_DFL)  # This ends the process even while C++ code is running.
    if not _Deferred.active:
        raise Interrupted(number)
    _Deferred.number = number
    os.write(2, b"\nstopping after this step; once more to stop at once\n")  # It may be print() that is interrupted.
