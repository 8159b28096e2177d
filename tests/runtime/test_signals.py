"""Signals: a checkpoint in the middle of an epoch, or an end at once; and one run at a time in a folder."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator

import pytest
from command_line import REPOSITORY
from tiny_run import LAST_STEP, TinyRun, bits, lines

from vae_jax.runtime import lock, signals
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.signals import Interrupted
from vae_jax.training import checkpointing


@pytest.fixture
def handlers() -> Iterator[Callable[[], None]]:
    """Installs our handlers; gives what installs them again after a signal."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    signals.handle_signals()
    yield signals.handle_signals
    for number, handler in previous.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("moments", [[0], [3], [7], [10], [1, 4, 5, 8], [LAST_STEP - 1]])
def test_a_run_stopped_by_signals_ends_as_the_uninterrupted_one(
    tiny_run: TinyRun, tmp_path: pathlib.Path, handlers: Callable[[], None], number: int, moments: list[int]
):
    expected = tiny_run.fit(tmp_path / "whole")

    def stopped(state, arrays, batch):
        if int(state.step) in waiting:
            waiting.remove(int(state.step))
            os.kill(os.getpid(), number)
        return tiny_run.train_step(state, arrays, batch)

    waiting = list(moments)
    for moment in moments:
        saved = f"step {moment + 1} of {LAST_STEP} is saved; the same command resumes"
        with pytest.raises(Interrupted, match=saved) as caught:
            tiny_run.fit(tmp_path / "stopped", stopped)
        handlers()
        assert caught.value.exit_code == 128 + number
        assert checkpointing.steps(tmp_path / "stopped" / "checkpoints")[-1] == moment + 1
    state = tiny_run.fit(tmp_path / "stopped", stopped)
    assert bits(state) == bits(expected)
    assert lines(tmp_path / "stopped") == lines(tmp_path / "whole")


def test_outside_training_a_signal_ends_the_work_at_once(handlers: Callable[[], None]):
    with pytest.raises(Interrupted, match="stopped by SIGTERM") as caught:
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.exit_code == 143
    assert not isinstance(caught.value, Exception)


def test_a_signal_that_nobody_looked_at_is_not_lost(handlers: Callable[[], None]):
    seen = []

    def look() -> None:
        with signals.deferred() as number:
            os.kill(os.getpid(), signal.SIGINT)
            seen.append(number())

    with pytest.raises(Interrupted):
        look()
    with signals.deferred() as number:
        assert [*seen, number()] == [signal.SIGINT, 0]


IDLE = """
print("started", flush=True)
time.sleep(60)
"""
DEFERRED = """
with signals.deferred() as number:
    print("started", flush=True)
    while not number():
        time.sleep(0.01)
    print("the loop has seen", number(), flush=True)
    while True:
        ctypes.CDLL(None).sleep(60)  # Code that does not run Python's handlers, as a compilation.
"""


def start(body: str) -> subprocess.Popen[str]:
    text = f"""
import ctypes, signal, time
from vae_jax.runtime import cli, signals

signal.signal(signal.SIGINT, signal.default_int_handler)  # A test run in the background has it ignored.

def main():
{textwrap.indent(body, "    ")}
cli.run(main)
"""
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", text], cwd=REPOSITORY, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_command_with_a_line(number: int):
    with start(IDLE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert err == f"stopped by {signal.Signals(number).name}: the same command resumes from what is saved\n"


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_kills_a_command_in_the_middle_of_a_step(first: int, second: int):
    with start(DEFERRED) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(first)
        assert process.stdout.readline() == f"the loop has seen {first:d}\n"
        process.send_signal(second)
        _, err = process.communicate(timeout=30)
    assert process.returncode == -second
    assert err == "\nstopping after this step; once more to stop at once\n"


# One run at a time.

HOLDER = """
import pathlib, sys, time
from vae_jax.runtime import lock
lock.hold(pathlib.Path(sys.argv[1]))
print(1, flush=True)
"""


@pytest.mark.skipif(lock.fcntl is None, reason="no locks here")
def test_a_folder_belongs_to_one_process_until_it_is_killed(tmp_path: pathlib.Path):
    folder = tmp_path / "new" / "run"
    arguments = [sys.executable, "-c", HOLDER + "time.sleep(60)", str(folder)]
    with subprocess.Popen(arguments, cwd=REPOSITORY, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        with pytest.raises(UserError, match="another run is going on in this folder"):
            lock.hold(folder)
        process.kill()
    lock.hold(folder)
    lock.hold(folder)  # Its holder may take it again.
    arguments[2] = HOLDER
    refused = subprocess.run(arguments, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert "another run is going on" in refused.stderr
    assert [path.name for path in folder.iterdir()] == [".lock"]
