"""Commands as a user runs them: each in this process, which is quick, or in a process of its own."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import warnings
from unittest import mock

import jax
from absl.testing import flagsaver

REPOSITORY = pathlib.Path(__file__).parents[1]
TIMEOUT_SEC = 600
PNG = b"\x89PNG\r\n\x1a\n"
# Arguments of run.py for a small run of the flagship.
SMALL = [
    "--config=configs/anthems.py",
    "--config.data.num_synthetic=6",
    "--config.data.path=synthetic",
    "--config.data.num_held_out=2",
    "--config.representation.crop_beats=16",
    "--config.representation.training_hop_beats=8",
    "--config.model.latent_dim=4",
    "--config.model.num_onset_cells=200",
    "--config.model.num_drum_cells=20",
    "--config.model.num_durations=60",
    "--config.model.kernel_beats=3",
    "--config.model.num_iterations=2",
    "--config.model.prior_hidden=8",
    "--config.train.num_epochs=2",
    "--config.train.checkpoint_every_epochs=1",
    "--config.train.min_steps=0",
    "--config.sample.num=1",
    "--config.composer.init_from=none",
    "--config.composer.channels=16",
    "--config.composer.latent_dim=2",
    "--config.composer.crop_notes=64",
    "--config.composer.crop_hop=64",
    "--config.composer.dropped_lines_copies=0",
    "--config.composer.num_drums=3",
    "--config.composer.train.num_epochs=1",
    "--config.composer.train.min_steps=0",
    "--config.composer.num_scored=4",
]


def call(command: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs `run.py` or the module `vae_jax.<command>` from the repository's root, in this process."""
    out, err = io.StringIO(), io.StringIO()
    code: object = None
    with contextlib.ExitStack() as stack:
        stack.enter_context(flagsaver.flagsaver())  # Deletes the flags that the command defines.
        stack.enter_context(mock.patch.object(sys, "argv", [command, *map(str, arguments)]))
        stack.enter_context(contextlib.chdir(REPOSITORY))
        stack.enter_context(jax.numpy_dtype_promotion("standard"))  # As users have it.
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", DeprecationWarning)  # As the interpreter does by default.
        for number in (signal.SIGINT, signal.SIGTERM):
            stack.callback(signal.signal, number, signal.getsignal(number))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        try:
            if command == "run.py":
                runpy.run_path(command, run_name="__main__")
            else:
                runpy.run_module(f"vae_jax.{command}", run_name="__main__")
        except SystemExit as ended:
            code = ended.code
    assert isinstance(code, int) or code is None
    return subprocess.CompletedProcess([command, *arguments], code or 0, out.getvalue(), err.getvalue())


def start(*arguments: object) -> subprocess.Popen[str]:
    """Starts the interpreter in the repository's root."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "no_proxy": "127.0.0.1"}
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs the interpreter in the repository's root to its end."""
    process = start(*arguments)
    try:
        out, err = process.communicate(timeout=TIMEOUT_SEC)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def assert_success(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def assert_one_error(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Exit code 1, and beside warnings one line on stderr, which contains the parts."""
    assert "Traceback" not in done.stderr, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if not line.startswith("warning:"))
    assert line.startswith("error:")
    assert [part for part in parts if part not in line] == [], line
    assert done.returncode == 1


def content(folder: pathlib.Path) -> dict[str, str]:
    """Hash of every file of a folder by its path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
