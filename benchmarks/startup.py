"""Start-up: seconds until a command shows its help, until the first epoch of a training, until samples are written.

    python -m benchmarks.startup [--rounds=3] [--config=configs/smoke.py] [--workdir=RUN] [--only=help]

prints the machine, then a table: for every command the median over the rounds with an empty cache folder ("first") and
with what the start before it left there ("next"), and their ratio. The rounds are interleaved, every start is a process
of its own, and the time is that from its start to its end, or until the first epoch is logged: of configs/smoke.py
these are three updates of some milliseconds, without an evaluation. With --workdir, the folder of a finished run that
has a composer, `sample` and `compose` are measured as well.
"""

from __future__ import annotations

import pathlib
import statistics
import tempfile
import time

from absl import flags
from ml_collections import config_flags

from benchmarks import machine, process
from vae_jax.runtime import cache_dir, cli
from vae_jax.training.run_dir import RunFolder

_DEFAULT = "configs/smoke.py"
_ROUNDS = flags.DEFINE_integer("rounds", 3, "How often everything is started with an empty cache and with a full one.")
config_flags.DEFINE_config_file("config", _DEFAULT, "The config whose first epoch is waited for.")
_WORKDIR = flags.DEFINE_string("workdir", "", "A finished run with a composer.")
_ONLY = flags.DEFINE_list("only", [], "Parts of the names of the commands to measure; all by default.")
_HELPS = ("ingest", "sample", "compose", "reconstruct", "interpolate", "evaluate", "render", "report")
_FIRST_EPOCH = "the first epoch of"


def main() -> None:
    """Prints the table."""
    print(f"{machine.describe()}; medians of {_ROUNDS.value} interleaved rounds")
    seconds: dict[tuple[str, str], list[float]] = {}
    for _ in range(_ROUNDS.value):
        with tempfile.TemporaryDirectory() as scratch:
            for name, arguments in make_commands().items():
                if not _ONLY.value or any(part in name for part in _ONLY.value):
                    for when in ("first", "next"):
                        seconds.setdefault((name, when), []).append(run(name, arguments, pathlib.Path(scratch, name)))
    print(f"{'seconds':<44} {'first':>7} {'next':>7} {'first / next':>13}")
    for name in dict.fromkeys(name for name, _ in seconds):
        first, following = (statistics.median(seconds[name, when]) for when in ("first", "next"))
        print(f"{name:<44} {first:7.2f} {following:7.2f} {first / following:12.2f}x")


def make_commands() -> dict[str, list[str]]:
    """The arguments of the interpreter by what is measured; `{}` is a new path at every start."""
    commands = {"run.py --help": ["run.py", "--help"]}
    commands |= {f"{name} --help": ["-m", f"vae_jax.{name}", "--help"] for name in _HELPS}
    training = ["run.py", *process.config_arguments(_DEFAULT), "--config.train.eval_every_epochs=1000000"]
    commands[f"{_FIRST_EPOCH} {cli.config_value().name}"] = [*training, "--workdir={}"]
    commands["the whole of smoke"] = ["run.py", f"--config={_DEFAULT}", "--workdir={}"]
    if _WORKDIR.value:
        for name in ("sample", "compose"):
            options = [f"--workdir={_WORKDIR.value}", "--num=2", "--output={}"]
            commands[f"{name} --num=2"] = ["-m", f"vae_jax.{name}", *options]
    return commands


def run(name: str, arguments: list[str], scratch: pathlib.Path) -> float:
    """Returns the seconds that a command took, or a training to the end of its first epoch."""
    output = scratch / str(time.time_ns())
    numbered = [argument.replace("{}", str(output)) for argument in arguments]
    is_training = name.startswith(_FIRST_EPOCH)
    look = (lambda _: process.is_logged(RunFolder(output))) if is_training else None
    return process.run(numbered, {cache_dir.VARIABLE: str(scratch / "cache")}, look)


if __name__ == "__main__":
    cli.run(main)
