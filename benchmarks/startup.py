"""Start-up: seconds until a command shows its help, until the first update of a training, until samples are written.

    python -m benchmarks.startup [--rounds=3] [--config=configs/smoke.py] [--workdir=RUN]

prints the machine, then a table: for every command the median over the rounds with an empty cache folder ("first") and
with what the start before it left there ("next"), and their ratio. The rounds are interleaved, every start is a process
of its own, and the time is that from its start to its end, or to the end of the first update. With --workdir, the
folder of a finished run that has a composer, `sample` and `compose` are measured as well.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

from absl import app, flags

from benchmarks import machine
from vae_jax.runtime import cache_dir

_ROUNDS = flags.DEFINE_integer("rounds", 3, "How often everything is started with an empty cache and with a full one.")
_CONFIG = flags.DEFINE_string("config", "configs/smoke.py", "The config whose first update is waited for.")
_WORKDIR = flags.DEFINE_string("workdir", "", "A finished run with a composer.")
_HELPS = ("run.py", "ingest", "sample", "compose", "reconstruct", "interpolate", "evaluate", "report")
_ONE_STEP = """
import os, runpy, sys
from vae_jax import training_log

def step(_):
    import jax
    jax.block_until_ready(jax.live_arrays())
    os._exit(0)

training_log.Progress.step = step
sys.argv = ["run.py", *sys.argv[1:]]
runpy.run_path("run.py", run_name="__main__")
"""


def main(_: list[str]) -> None:
    """Prints the table."""
    print(f"{machine.describe()}; medians of {_ROUNDS.value} interleaved rounds")
    seconds: dict[tuple[str, str], list[float]] = {}
    for _turn in range(_ROUNDS.value):
        with tempfile.TemporaryDirectory() as scratch:
            for name, arguments in make_commands(scratch).items():
                for when in ("first", "next"):
                    seconds.setdefault((name, when), []).append(run(arguments, f"{scratch}/cache/{name}"))
    print(f"{'seconds':<44} {'first':>7} {'next':>7} {'first / next':>13}")
    for name in dict.fromkeys(name for name, _ in seconds):
        first, following = (statistics.median(seconds[name, when]) for when in ("first", "next"))
        print(f"{name:<44} {first:7.2f} {following:7.2f} {first / following:12.2f}x")


def make_commands(scratch: str) -> dict[str, list[str]]:
    """The arguments of the interpreter by what is measured; `{}` is a new number at every start."""
    commands = {}
    for name in _HELPS:
        commands[f"{name} --help"] = [name, "--help"] if name == "run.py" else ["-m", f"vae_jax.{name}", "--help"]
    training = [f"--config={_CONFIG.value}", f"--workdir={scratch}/run_{{}}"]
    commands[f"first update of {_CONFIG.value}"] = ["-c", _ONE_STEP, *training]
    commands["the whole of configs/smoke.py"] = ["run.py", "--config=configs/smoke.py", f"--workdir={scratch}/all_{{}}"]
    if _WORKDIR.value:
        for name in ("sample", "compose"):
            options = [f"--workdir={_WORKDIR.value}", "--num=2", f"--output={scratch}/{name}_{{}}"]
            commands[f"{name} --num=2"] = ["-m", f"vae_jax.{name}", *options]
    return commands


def run(arguments: list[str], cache: str) -> float:
    """Returns the seconds that a command took."""
    numbered = [one if one == _ONE_STEP else one.replace("{}", str(time.time_ns())) for one in arguments]
    environment = os.environ | {cache_dir.VARIABLE: cache, "PYTHONPATH": os.getcwd()}
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *numbered], env=environment, capture_output=True, text=True, check=False)
    took = time.perf_counter() - started
    if done.returncode and "--help" not in arguments:  # absl ends its help with 1.
        raise RuntimeError(done.stderr)
    return took


if __name__ == "__main__":
    app.run(main)
