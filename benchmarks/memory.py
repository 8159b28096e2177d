"""Memory: the peak of the main job by stage, for a corpus and for one twice as large.

    python -m benchmarks.memory [--config=configs/anthems.py] [--path=NationalAnthems.zip] [--num=135]

prints the machine, then a table: for every stage of `run.py` the peak of the process (MB of resident memory, looked at
twenty times a second), with the bytes of the training examples below it. The larger corpus is the path's files and each
of them once more, three semitones lower; without a path, so many and twice so many pieces of the synthetic corpus.
Every stage runs whole but for the trainings, which end after three updates: their memory does not grow after that.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile

from absl import app, flags

from benchmarks import machine
from vae_jax.data import corpus
from vae_jax.music import midi
from vae_jax.music.score import transpose
from vae_jax.runtime import cache_dir

_CONFIG = flags.DEFINE_string("config", "configs/anthems.py", "The config of the job.")
_PATH = flags.DEFINE_string("path", "", "A zip or folder; empty for the synthetic corpus.")
_NUM = flags.DEFINE_integer("num", 135, "Pieces of the synthetic corpus.")
_JOB = """
import json, pathlib, runpy, sys, threading, time
from vae_jax import loop, train

train.epoch_steps = lambda *_: 3
peaks, examples = {}, {}
main_thread = threading.main_thread().ident

def resident():
    text = pathlib.Path("/proc/self/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) * 1024

def stage():
    frame, names = sys._current_frames()[main_thread], []
    while frame is not None:
        file = frame.f_code.co_filename
        if "vae_jax" in file or file.endswith("run.py"):
            names.append(pathlib.Path(file).stem + "." + frame.f_code.co_name)
        frame = frame.f_back
    names = names[::-1]
    below = names[names.index("run.main") + 1 :] if "run.main" in names else []
    return " > ".join(below[: 2 if below[:1] == ["composing.train_composer"] else 1]) or "imports"

def watch():
    while True:
        name = stage()
        peaks[name] = max(peaks.get(name, 0), resident())
        time.sleep(0.05)

fit = loop.fit
def measured_fit(*arguments, **options):
    arrays = options["examples"].arrays
    examples[stage()] = sum(array.nbytes for array in arrays.values())
    return fit(*arguments, **options)

loop.fit = measured_fit
threading.Thread(target=watch, daemon=True).start()
output, sys.argv = sys.argv[1], ["run.py", *sys.argv[2:]]
try:
    runpy.run_path("run.py", run_name="__main__")
finally:
    pathlib.Path(output).write_text(json.dumps({"peaks": peaks, "examples": examples}))
"""


def main(_: list[str]) -> None:
    """Prints the table."""
    print(machine.describe())
    with tempfile.TemporaryDirectory() as scratch:
        once, twice = (measure(pathlib.Path(scratch), times) for times in (1, 2))
    print(f"{'MB':<56} {'once':>7} {'twice':>7} {'more':>7}")
    rows = [(name, once["peaks"].get(name, 0), twice["peaks"].get(name, 0)) for name in once["peaks"]]
    rows = [row for row in rows if max(row[1:]) > 0.5 * max(once["peaks"].values())]
    rows.append(("peak", max(once["peaks"].values()), max(twice["peaks"].values())))
    rows += [(f"examples of {name}", size, twice["examples"][name]) for name, size in once["examples"].items()]
    for name, first, second in rows:
        print(f"{name:<56} {first / 1e6:7.0f} {second / 1e6:7.0f} {(second - first) / 1e6:+7.0f}")


def measure(scratch: pathlib.Path, times: int) -> dict[str, dict[str, int]]:
    """Runs the job on the corpus so many times over; returns bytes by stage."""
    arguments = [f"--config={_CONFIG.value}", f"--workdir={scratch / f'run_{times}'}"]
    for section in ("train", "composer.train"):
        arguments += [f"--config.{section}.num_epochs=1", f"--config.{section}.min_steps=0"]
    if _PATH.value:
        arguments.append(f"--config.data.path={write_songs(scratch / f'songs_{times}', times)}")
    else:
        arguments += ["--config.data.path=synthetic", f"--config.data.num_synthetic={times * _NUM.value}"]
    output = scratch / f"{times}.json"
    environment = os.environ | {cache_dir.VARIABLE: "off", "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", _JOB, str(output), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(output.read_text(encoding="utf-8"))


def write_songs(folder: pathlib.Path, times: int) -> pathlib.Path:
    """Writes the pieces of the corpus, and the second time each of them lower."""
    folder.mkdir()
    for n, piece in enumerate(corpus.load_corpus(_PATH.value).pieces):
        for copy in range(times):
            (folder / f"{n:05d}_{copy}.mid").write_bytes(midi.write_midi(transpose(piece.score, -3 * copy)))
    return folder


if __name__ == "__main__":
    app.run(main)
