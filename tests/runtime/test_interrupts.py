"""Signals: a checkpoint in the middle of an epoch, and an end in time; and one run at a time in a folder."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from command_line import REPOSITORY
from tiny_run import LAST_STEP, TinyRun, bits, lines

from vae_jax.runtime import lock, signals
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.signals import Interrupted
from vae_jax.training import checkpointing


@pytest.fixture
def handlers() -> Iterator[None]:
    """Ours in place of Python's, without the thread that ends the process."""
    previous = {number: signal.signal(number, signals.on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    # A command that another test ran in this process may have started the thread: it must not hear of these signals.
    wakeup = signal.set_wakeup_fd(-1)
    yield
    signal.set_wakeup_fd(wakeup)
    for number, handler in previous.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("moments", [[0], [3], [7], [10], [1, 4, 5, 8], [LAST_STEP - 1]])
def test_a_run_stopped_by_signals_ends_as_the_uninterrupted_one(
    tiny_run: TinyRun, tmp_path: pathlib.Path, handlers: None, number: int, moments: list[int]
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
        assert caught.value.exit_code == 128 + number
        assert checkpointing.steps(tmp_path / "stopped" / "checkpoints")[-1] == moment + 1
    state = tiny_run.fit(tmp_path / "stopped", stopped)
    assert bits(state) == bits(expected)
    assert lines(tmp_path / "stopped") == lines(tmp_path / "whole")


def test_outside_training_a_signal_ends_the_work_at_once(handlers: None):
    with pytest.raises(Interrupted, match="stopped by SIGTERM") as caught:
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.exit_code == 143
    assert not isinstance(caught.value, Exception)


def test_a_signal_that_nobody_looked_at_is_not_lost(handlers: None):
    seen = []

    def look() -> None:
        with signals.deferred() as number:
            os.kill(os.getpid(), signal.SIGINT)
            seen.append(number())

    with pytest.raises(Interrupted):
        look()
    with signals.deferred() as number:
        assert [*seen, number()] == [signal.SIGINT, 0]


COMMAND = """
import ctypes, signal, sys, time
from absl import flags
from vae_jax import cli, interrupts

interrupts.GRACE_SEC = 1.0
signal.signal(signal.SIGINT, signal.default_int_handler)  # A test run in the background has it ignored.

def main():
    if {deferred}:
        with interrupts.deferred():
            print("started", flush=True)
            ctypes.CDLL(None).sleep(30), ctypes.CDLL(None).sleep(30)  # As in a compilation, Python hears nothing.
    else:
        print("started", flush=True)
        time.sleep(60)

cli.run(main)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("kind", ["idle", "busy", "busy, twice"])
def test_a_command_ends_in_time_with_a_line(kind: str, number: int):
    text = COMMAND.format(deferred=kind != "idle")
    arguments = [sys.executable, "-c", text]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, cwd=REPOSITORY, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        started = time.monotonic()
        for _ in range(2 if kind == "busy, twice" else 1):
            process.send_signal(number)
            time.sleep(0.2)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert time.monotonic() - started < 10
    assert "Traceback" not in err
    expected = {"idle": "the same command goes on", "busy": "after 1 s", "busy, twice": "at once"}[kind]
    assert f"stopped by {signal.Signals(number).name}" in err
    assert expected in err


# One run at a time.

HOLDER = """
import pathlib, sys, time
from vae_jax import lock
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
    lock.hold(folder)  # The holder itself may come again.
    arguments[2] = HOLDER
    refused = subprocess.run(arguments, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert "another run is going on" in refused.stderr
    assert [path.name for path in folder.iterdir()] == [".lock"]
