"""A command of the project as a process of its own, watched from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence

from vae_jax.training.run_dir import RunFolder

_HELP_EXIT_CODE = 1  # absl's.


def run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    look: Callable[[int], bool] | None = None,
    interval_sec: float = 0.01,
) -> float:
    """Runs Python with some arguments in the current folder; returns the seconds that it took.

    Args:
      arguments: of the interpreter.
      environment: variables that are set beside this process's.
      look: is called every interval with the process's number; the process is killed once it returns True.
      interval_sec: the interval.

    Raises:
      RuntimeError: where the command fails, with what it has printed.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        started = time.perf_counter()
        environment = {**os.environ, "PYTHONPATH": os.getcwd(), **environment}
        process = subprocess.Popen([sys.executable, *arguments], env=environment, stdout=output, stderr=output)
        try:
            while look is not None and process.poll() is None:
                if look(process.pid):
                    return time.perf_counter() - started
                time.sleep(interval_sec)
            code = process.wait()
            seconds = time.perf_counter() - started
        finally:
            process.kill()
            process.wait()
        if code and not (code == _HELP_EXIT_CODE and "--help" in arguments):
            output.seek(0)
            raise RuntimeError(output.read())
        return seconds


def config_arguments(default: str) -> list[str]:
    """Returns the flags of this command that name a config and change its fields, for `run.py`."""
    given = [argument for argument in sys.argv[1:] if argument.startswith("--config")]
    return given if any(argument.startswith("--config=") for argument in given) else [f"--config={default}", *given]


def is_logged(folder: RunFolder) -> bool:
    """Whether the first epoch of a training has ended."""
    return folder.metrics_lines.exists() and folder.metrics_lines.stat().st_size > 0


def stage(folder: RunFolder) -> str:
    """Names the stage of a run by the last file that it has written."""
    evaluation = "reconstruction and evaluation"
    reached = (
        (folder.timing.exists(), "the page"),
        (folder.metrics.exists(), "pictures, music and composed pieces"),
        (is_logged(folder.composer), evaluation),
        (folder.composer.metrics_lines.exists(), "training, second stage"),
        (folder.calibration.exists() and folder.composer.path.exists(), "examples of the second stage"),
        (folder.calibration.exists(), evaluation),
        (folder.metrics_lines.exists(), "training, first stage"),
    )
    return next((name for is_reached, name in reached if is_reached), "reading and encoding")
