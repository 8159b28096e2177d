"""Reading many files on all cores; in order, and with a bounded number of bytes waiting.

The workers are processes of their own that import the reader alone. They are neither forked, which JAX's threads
forbid, nor spawned by `multiprocessing`, which would run the user's script again where it has no `__main__` guard.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import os
import pathlib
import queue
import subprocess
import sys
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence

from vae_jax.data import parsing, read_worker
from vae_jax.data.parsing import Verdict

MAX_WORKERS = 32  # The one process that hands out the files and stores the scores cannot feed more.
MIN_POOL_BYTES = 4 * 2**20  # What one process reads in the time that workers take to start.
_CHUNK_BYTES, _CHUNK_FILES = 16 * 2**20, 1024
_START_SEC = 60.0
_DIED = "the process that read it died, twice: too little memory for it?"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The content hash (sha256, hexadecimal) of a file and the verdict on it."""

    sha256: str
    verdict: Verdict


def read_files(
    found: Iterable[tuple[str, bytes | str]], num_workers: int | None = None
) -> Generator[tuple[str, Outcome | str]]:
    """Reads files, in the order given; to be closed where it is not read to its end.

    Args:
      found: the path of each with its bytes, or with the reason why there are none, which is passed on.
      num_workers: processes to read with where there is enough to read; as many as there are cores by default.
    """
    with contextlib.closing(WorkerPool(num_workers)) as pool:
        waiting: list[_Chunk] = []
        for part in _split(found):
            waiting.append(_Chunk(part, pool))
            if len(waiting) > 1:  # The workers have the next chunk before this one is taken.
                yield from waiting.pop(0).outcomes()
        for chunk in waiting:
            yield from chunk.outcomes()


class WorkerPool:
    """Processes that read files, started when there is enough to read."""

    def __init__(self, num_workers: int | None = None):
        self._size = min(num_cores() if num_workers is None else num_workers, MAX_WORKERS)
        self._executor: concurrent.futures.ThreadPoolExecutor | None = None
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._all: list[_Worker] = []
        self._lock = threading.Lock()
        self._is_closed = self._is_broken = False

    def judge(self, blobs: Sequence[bytes]) -> Iterator[bytes | None]:
        """Returns the packed verdict on each, in order; None for one on which two workers died.

        The workers begin at once; without workers each is read when it is asked for.
        """
        num_bytes = sum(map(len, blobs))
        if self._executor is None and (self._size < 2 or num_bytes < MIN_POOL_BYTES or not _can_start()):
            return map(_judge_here, blobs)
        if self._executor is None:
            self._executor = concurrent.futures.ThreadPoolExecutor(self._size)
        futures = [self._executor.submit(self._judge_there, data) for data in blobs]
        return (future.result() for future in futures)

    def close(self) -> None:
        """Ends the workers at once."""
        with self._lock:
            self._is_closed = True
            for worker in self._all:
                worker.kill()
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
        for worker in self._all:
            worker.wait()

    def _judge_there(self, data: bytes) -> bytes | None:
        for must_be_new in (False, True):  # Whatever ended one worker may have ended those that are idle, too.
            worker = self._start() if must_be_new else self._take()
            if worker is None:
                return _judge_here(data)
            try:
                packed = worker.judge(data)
            except (OSError, EOFError, ValueError):  # ValueError: its pipe was closed.
                worker.kill()
                continue
            self._idle.put(worker)
            return packed
        return None

    def _take(self) -> _Worker | None:
        """Returns an idle worker or a new one; None where none can be started."""
        with contextlib.suppress(queue.Empty):
            return self._idle.get_nowait()
        return self._start()

    def _start(self) -> _Worker | None:
        """Returns a new worker; None where none can be started."""
        if self._is_broken:
            return None
        try:
            with self._lock:
                if self._is_closed:
                    raise concurrent.futures.CancelledError
                worker = _Worker()
                self._all.append(worker)
            worker.wait_until_ready()
        except (OSError, EOFError, ValueError):
            self._is_broken = not self._is_closed
            return None
        return worker


class _Worker:
    """One process that reads."""

    def __init__(self):
        paths = [os.path.abspath(path) for path in [str(pathlib.Path(__file__).parents[2]), *sys.path]]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", read_worker.__name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"},
        )

    def wait_until_ready(self) -> None:
        """Raises EOFError where the process is not the reader."""
        timer = threading.Timer(_START_SEC, self.kill)
        timer.daemon = True
        timer.start()
        try:
            if self._read(len(read_worker.READY)) != read_worker.READY:
                raise EOFError
        finally:
            timer.cancel()

    def judge(self, data: bytes) -> bytes:
        """Returns the packed verdict; raises OSError or EOFError where the process is no more."""
        assert self._process.stdin is not None
        self._process.stdin.write(read_worker.LENGTH.pack(len(data)) + data)
        self._process.stdin.flush()
        (size,) = read_worker.LENGTH.unpack(self._read(read_worker.LENGTH.size))
        return self._read(size)

    def kill(self) -> None:
        """Ends the process at once, in the middle of a file too."""
        self._process.kill()

    def wait(self) -> None:
        """Waits for the end of a killed process and closes its pipes."""
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):  # A request that was not sent.
                pipe.close()

    def _read(self, size: int) -> bytes:
        assert self._process.stdout is not None
        data = self._process.stdout.read(size)
        if len(data) < size:
            raise EOFError
        return data


class _Chunk:
    """Some files on their way."""

    def __init__(self, files: Sequence[tuple[str, bytes | str]], pool: WorkerPool):
        self._files = files
        self._parsed = pool.judge([data for _, data in files if isinstance(data, bytes)])

    def outcomes(self) -> Iterator[tuple[str, Outcome | str]]:
        """Waits for the verdicts and returns them in order."""
        for path, data in self._files:
            if isinstance(data, str):
                yield path, data
            else:
                packed = next(self._parsed)
                verdict = Verdict(None, (_DIED,)) if packed is None else parsing.unpack(packed)
                yield path, Outcome(hashlib.sha256(data).hexdigest(), verdict)


def num_cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _can_start() -> bool:
    """Whether this interpreter can be started once more: not where it is built into another program."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)


def _judge_here(data: bytes) -> bytes:
    return parsing.pack(parsing.judge(data))


def _split(found: Iterable[tuple[str, bytes | str]]) -> Iterator[list[tuple[str, bytes | str]]]:
    """Yields chunks of bounded size; one file may pass it."""
    part: list[tuple[str, bytes | str]] = []
    size = 0
    for path, data in found:
        part.append((path, data))
        size += len(data)
        if size >= _CHUNK_BYTES or len(part) >= _CHUNK_FILES:
            yield part
            part, size = [], 0
    if part:
        yield part
