"""Contestants timed in turn: one process each, of which one works at a time, so that all meet the same machine.

A table of ratios is only as good as the conditions that its rows share. Every round gives each contestant one turn, the
order moves on by one a round, and a ratio is taken within a round; medians and quartiles are over rounds. Whatever else
the machine does then hits all alike. No thread count is set: each library uses as many as it finds right, on all cores.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

_PAUSE_SEC = 0.05  # Thread pools of the one before may still spin for some milliseconds.
_MISSING, _FAILED, _DONE = "missing", "failed", "done"


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One row of a table.

    Attributes:
      name: as the table shows it.
      factory: "module:function", called in the contestant's own process; returns an object whose methods `ask` calls.
      arguments: of the factory.
      environment: variables of the process, set before anything is imported.
    """

    name: str
    factory: str
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Worker:
    """A contestant's process, asleep until it is asked."""

    def __init__(self, contestant: Contestant):
        self.name = contestant.name
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(contestant, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def is_ready(self) -> bool:
        """Waits until the process has built its contestant; prints which package it lacks, and returns False, where it
        cannot."""
        status, value = self._receive()
        if status == _MISSING:
            print(f"{self.name}: left out, {value}; pip install -r benchmarks/requirements.txt", file=sys.stderr)
        elif status == _FAILED:
            raise RuntimeError(f"{self.name}: {value}")
        return status == _DONE

    def ask(self, method: str, *arguments: Any) -> tuple[float, Any]:
        """Calls a method of the contestant; returns the seconds that it took there and what it returned.

        Raises:
          RuntimeError: with the traceback, where it raised or its process ended.
        """
        self._connection.send((method, arguments))
        status, value = self._receive()
        if status == _FAILED:
            raise RuntimeError(f"{self.name}: {value}")
        return value

    def close(self) -> None:
        """Ends the process."""
        self._process.terminate()
        self._process.join()

    def _receive(self) -> tuple[str, Any]:
        try:
            return self._connection.recv()
        except EOFError:
            return _FAILED, "its process ended"


@contextlib.contextmanager
def workers(contestants: Sequence[Contestant]) -> Iterator[list[Worker]]:
    """Starts the contestants one after the other, so that each is built undisturbed; yields those that could be."""
    started: list[Worker] = []
    try:
        ready = []
        for contestant in contestants:
            started.append(Worker(contestant))
            if started[-1].is_ready():
                ready.append(started[-1])
        yield ready
    finally:
        for worker in started:
            worker.close()


def turn_order(workers: Sequence[Worker], turn: int) -> Iterator[Worker]:
    """Yields every worker once, beginning with another one in every round, after a pause each."""
    first = turn % len(workers)
    for worker in (*workers[first:], *workers[:first]):
        time.sleep(_PAUSE_SEC)
        yield worker


def spread(values: np.ndarray, digits: int = 2) -> str:
    """A median with its quartiles, as a table shows it."""
    low, median, high = np.percentile(values, (25, 50, 75))
    return f"{median:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns aligned."""
    widths = [max(len(row[n]) for row in (header, *rows)) for n in range(len(header))]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in (header, *rows)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _timed(function: Any, *arguments: Any) -> tuple[float, Any]:
    started = time.perf_counter()
    value = function(*arguments)
    return time.perf_counter() - started, value


def _serve(contestant: Contestant, connection: Connection) -> None:
    """What a contestant's process does."""
    os.environ.update(contestant.environment)
    module, _, function = contestant.factory.partition(":")
    try:
        built = getattr(importlib.import_module(module), function)(**contestant.arguments)
    except ModuleNotFoundError as error:
        connection.send((_MISSING, str(error)))
        return
    except Exception:
        connection.send((_FAILED, traceback.format_exc()))
        return
    connection.send((_DONE, None))
    while True:
        method, arguments = connection.recv()
        try:
            connection.send((_DONE, _timed(getattr(built, method), *arguments)))
        except Exception:
            connection.send((_FAILED, traceback.format_exc()))
