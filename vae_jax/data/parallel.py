"""A function applied to many tasks by worker processes.

They are spawned, because JAX's threads forbid a fork, and do not import the user's script, as spawned processes
otherwise do: a script without a `__main__` guard runs once.
"""

import collections
import concurrent.futures
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from multiprocessing.connection import Connection
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

_MAX_WORKERS = 32
_GRACE_SEC = 5.0
_is_closing = threading.Event()  # Set in workers when their results are no longer needed.


def num_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_ordered(
    function: Callable[[Task], Result], tasks: Sequence[Task], num_workers: int
) -> Generator[Result, None, None]:
    """Yields `function(task)` of every task, in order; to be closed if it is not exhausted.

    The tasks are computed in this process if there is one worker or one task, if this is itself a worker, or if the
    interpreter is built into another program. If a worker dies, the remaining tasks are, after a warning.

    Args:
      function: of an importable module; it calls `raise_if_closing` about once a second.
      tasks: picklable.
      num_workers: number of processes.
    """
    num_done = 0
    num_workers = min(num_workers, len(tasks), _MAX_WORKERS)
    is_embedded = not sys.executable or hasattr(sys, "frozen")
    if num_workers > 1 and multiprocessing.parent_process() is None and not is_embedded:
        try:
            with _open_pool(num_workers) as executor:
                main, sys.modules["__main__"] = sys.modules["__main__"], types.ModuleType("__main__")
                try:
                    # Spawns the workers; where none can start, no task is added while the executor fails those there.
                    executor.submit(raise_if_closing).result()
                    # executor.map would cancel futures while the executor fails them.
                    futures = collections.deque(executor.submit(function, task) for task in tasks)
                finally:
                    sys.modules["__main__"] = main
                while futures:
                    yield futures.popleft().result()
                    num_done += 1
        except (BrokenProcessPool, OSError) as error:
            print(f"warning: worker processes failed ({error}); continuing in one process", file=sys.stderr)
    yield from map(function, tasks[num_done:])


def raise_if_closing() -> None:
    """Raises CancelledError in a worker whose results are no longer needed."""
    if _is_closing.is_set():
        raise concurrent.futures.CancelledError


@contextlib.contextmanager
def _open_pool(num_workers: int) -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("spawn")
    closed, closing = context.Pipe(duplex=False)  # Never written to: the workers wait for its end.
    with closed, ProcessPoolExecutor(num_workers, context, _start_worker, (closed,)) as executor:
        try:
            yield executor
        finally:
            closing.close()
            executor.shutdown(cancel_futures=True)


def _start_worker(closed: Connection) -> None:
    """Leaves Ctrl-C to the parent and the accelerators alone, and watches for the end of the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ |= {"JAX_PLATFORMS": "cpu", "OPENBLAS_NUM_THREADS": "1"}
    threading.Thread(target=_watch_parent, args=(closed,), daemon=True).start()


def _watch_parent(closed: Connection) -> None:
    """Waits until the parent closes the pipe, or dies; a worker that is still busy some time later is ended."""
    multiprocessing.connection.wait([closed])
    _is_closing.set()
    parent = multiprocessing.parent_process()
    multiprocessing.connection.wait([parent.sentinel] if parent else [], _GRACE_SEC)
    os._exit(1)
