"""Memory: the peak of the main job by stage, for a corpus and for one twice as large.

    python -m benchmarks.memory [--config=configs/anthems.py] [--path=NationalAnthems.zip] [--num=135]

prints the machine, then a table: for every stage of `run.py` the peak of the process (MB of resident memory, read
twenty times a second). The stage is known by what is in the run's folder. The larger corpus is the path's files and
each of them once more, three semitones lower; without a path, so many and twice so many pieces of the synthetic corpus.
Every stage runs whole but for the trainings, of one epoch each: their memory does not grow after the first updates.
Fields of the config can be changed as for `run.py`.
"""

from __future__ import annotations

import pathlib
import tempfile

from absl import flags
from ml_collections import config_flags

from benchmarks import machine, process
from vae_jax.data import corpus
from vae_jax.music import midi
from vae_jax.music.score import transpose
from vae_jax.runtime import cache_dir, cli
from vae_jax.training.run_dir import RunFolder

_DEFAULT = "configs/anthems.py"
config_flags.DEFINE_config_file("config", _DEFAULT, "The config of the job.")
_PATH = flags.DEFINE_string("path", "", "A zip or folder; empty for the synthetic corpus.")
_NUM = flags.DEFINE_integer("num", 135, "Pieces of the synthetic corpus.")
_INTERVAL_SEC = 0.05


def main() -> None:
    """Prints the table."""
    print(machine.describe())
    with tempfile.TemporaryDirectory() as scratch:
        once, twice = (measure(pathlib.Path(scratch), times) for times in (1, 2))
    print(f"{'MB':<44} {'once':>7} {'twice':>7} {'more':>7}")
    rows = [(name, once[name], twice.get(name, 0.0)) for name in once]
    for name, first, second in [*rows, ("peak", max(once.values()), max(twice.values()))]:
        print(f"{name:<44} {first:7.0f} {second:7.0f} {second - first:+7.0f}")


def measure(scratch: pathlib.Path, times: int) -> dict[str, float]:
    """Runs the job on the corpus so many times over; returns the peak of every stage, in MB."""
    folder = RunFolder(scratch / f"run_{times}")
    arguments = ["run.py", *process.config_arguments(_DEFAULT), f"--workdir={folder.path}"]
    for section in ("train", "composer.train") if "composer" in cli.config_value() else ("train",):
        arguments += [f"--config.{section}.num_epochs=1", f"--config.{section}.min_steps=0"]
    if _PATH.value:
        arguments.append(f"--config.data.path={write_songs(scratch / f'songs_{times}', times)}")
    else:
        arguments += ["--config.data.path=synthetic", f"--config.data.num_synthetic={times * _NUM.value}"]
    peaks: dict[str, float] = {}

    def look(pid: int) -> bool:
        name = process.stage(folder)
        peaks[name] = max(peaks.get(name, 0.0), machine.memory_mb(pid))
        return False

    process.run(arguments, {cache_dir.VARIABLE: "off"}, look, _INTERVAL_SEC)
    return peaks


def write_songs(folder: pathlib.Path, times: int) -> pathlib.Path:
    """Writes the pieces of the corpus, and the second time each of them lower."""
    folder.mkdir()
    for n, piece in enumerate(corpus.load_corpus(_PATH.value).pieces):
        for copy in range(times):
            (folder / f"{n:05d}_{copy}.mid").write_bytes(midi.write_midi(transpose(piece.score, -3 * copy)))
    return folder


if __name__ == "__main__":
    cli.run(main)
