"""What a corpus costs that grows: ingest, disk, memory, examples a second, for 1,000, 10,000 and 100,000 pieces.

    python -m benchmarks.scale [--sizes=1000,10000,100000] [--bars=16] [--workers=2] [--folder=/tmp/scale]

prints the machine, then a table with a column a size, and for each row whether it is flat or linear. A generated file
is the first bars of one of 64 pieces of the synthetic corpus, its pitches moved at random by up to two semitones note
for note, so that no two files hold the same tune. The representation is the flagship's with crops every eight beats.
Seconds of the processor stand beside those of the clock, because a machine that others use too slows the clock's alone.
What is made in the folder is deleted.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import app, flags, logging

from benchmarks import machine
from vae_jax.data import synthetic
from vae_jax.music.score import Score

if TYPE_CHECKING:
    from vae_jax.data.dataset import Batch
    from vae_jax.training.step import TrainStep

_SIZES = flags.DEFINE_list("sizes", ["1000", "10000", "100000"], "Numbers of pieces.")
_BARS = flags.DEFINE_integer("bars", 16, "Bars of 4/4 of a piece.")
_WORKERS = flags.DEFINE_integer("workers", 2, "Processes that ingest.")
_FOLDER = flags.DEFINE_string("folder", "", "Where the files go meanwhile; a temporary folder by default.")
_SHARDS = flags.DEFINE_string("shards", "", "Measure reading these shards, and print that as JSON.")
_NUM_BASES = 64
_FILES_PER_FOLDER = 1000
_READ_BATCH, _READ_BATCHES, _STEPS = 256, 200, 20
_HOP = "--config.representation.training_hop_beats=8"
_SMALL = {"latent_dim": 4, "num_onset_cells": 100, "num_drum_cells": 10, "num_durations": 50, "num_iterations": 2}
# How far the costs of a piece may lie apart for a row to count as linear, and totals as flat.
_LINEAR = 1.5


@dataclasses.dataclass(frozen=True, eq=False)
class Base:
    """The notes of a piece as MIDI events, ready to be written again at other pitches.

    Attributes:
      deltas: of each track the bytes of its delta times, [E, 2] uint8, and which of them count.
      events: of each track [E, 3] uint8: status, pitch, velocity.
      note: of each track the number of the note of each event, [E].
      is_drum: [N], whose pitches stay.
    """

    ticks_per_beat: int
    deltas: Sequence[tuple[np.ndarray, np.ndarray]]
    events: Sequence[np.ndarray]
    note: Sequence[np.ndarray]
    is_drum: np.ndarray


def prepare(score: Score, num_bars: int) -> Base:
    """Takes the notes of a piece that start in its first bars of 4/4."""
    notes = score.notes
    kept = notes.onset_ticks < num_bars * 4 * score.ticks_per_beat
    number = np.cumsum(kept) - 1
    deltas, events, numbers = [], [], []
    for track in np.unique(notes.track[kept]):
        mine = np.flatnonzero(kept & (notes.track == track))
        ticks = np.concatenate([notes.onset_ticks[mine], notes.onset_ticks[mine] + notes.duration_ticks[mine]])
        is_on = np.repeat([True, False], len(mine))
        order = np.lexsort((is_on, ticks))
        who = np.tile(mine, 2)[order]
        delta = np.minimum(np.diff(ticks[order], prepend=0), 2**14 - 1)
        deltas.append((np.stack([delta >> 7 | 128, delta & 127], axis=1).astype(np.uint8), delta >= 128))
        status = np.where(is_on[order], 0x90, 0x80) + notes.channel[who]
        events.append(np.stack([status, notes.pitch[who], notes.velocity[who]], axis=1).astype(np.uint8))
        numbers.append(number[who])
    return Base(score.ticks_per_beat, deltas, events, numbers, notes.is_drum[kept])


def vary(base: Base, rng: np.random.Generator) -> bytes:
    """Writes a piece with its pitched notes moved at random by up to two semitones each."""
    moved = np.where(base.is_drum, 0, rng.integers(-2, 3, len(base.is_drum)))
    chunks = [b"MThd" + bytes([0, 0, 0, 6, 0, 1]) + _two(len(base.events)) + _two(base.ticks_per_beat)]
    for (delta, is_long), events, note in zip(base.deltas, base.events, base.note, strict=True):
        rows = np.concatenate([delta, events], axis=1)
        rows[:, 3] = np.clip(rows[:, 3] + moved[note], 0, 127)
        written = np.ones(rows.shape, dtype=bool)
        written[:, 0] = is_long
        data = rows[written].tobytes() + b"\x00\xff\x2f\x00"
        chunks.append(b"MTrk" + len(data).to_bytes(4, "big") + data)
    return b"".join(chunks)


def _two(value: int) -> bytes:
    return value.to_bytes(2, "big")


def generate(folder: pathlib.Path, num_files: int, num_bars: int) -> int:
    """Writes so many files in folders of a thousand; returns their bytes."""
    bases = [prepare(synthetic.make_score(0, n), num_bars) for n in range(min(_NUM_BASES, num_files))]
    total = 0
    for n in range(num_files):
        place = folder / f"{n // _FILES_PER_FOLDER:04d}"
        if n % _FILES_PER_FOLDER == 0:
            place.mkdir(parents=True)
        data = vary(bases[n % len(bases)], np.random.default_rng([1, n]))
        (place / f"piece_{n:06d}.mid").write_bytes(data)
        total += len(data)
    return total


def measure_ingest(files: pathlib.Path, shards: pathlib.Path, num_workers: int) -> dict[str, float]:
    """Runs the command; returns seconds and the peak memory of the process and of the largest worker, in MB."""
    command = [
        *(sys.executable, "-m", "vae_jax.ingest", f"--path={files}", f"--shards={shards}"),
        *("--config=configs/anthems.py", _HOP, f"--workers={num_workers}"),
    ]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peaks: dict[int, float] = {}
    while True:
        for pid in [process.pid, *_children(process.pid)]:
            peaks[pid] = max(peaks.get(pid, 0.0), machine.memory_mb(pid, peak=True))
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        time.sleep(0.2)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return {
        "ingest, s": time.perf_counter() - started,
        "ingest, CPU s": usage.ru_utime + usage.ru_stime,
        "memory of the ingest, MB": peaks.pop(process.pid),
        "memory of a worker, MB": max(peaks.values(), default=0.0),
    }


def measure_reading(shards: str) -> dict[str, float]:
    """Opens shards, reads batches alone, then trains on them; returns seconds, examples a second and memory."""
    import jax

    from configs import anthems
    from vae_jax.data.shards import corpus_view
    from vae_jax.runtime import sharding
    from vae_jax.training import experiment, step

    config = anthems.get_config().to_dict()
    config["representation"]["training_hop_beats"] = 8
    started = time.process_time()
    source, split = corpus_view.find_split(config["data"] | {"shards": shards}, config["representation"])
    measured = {"opening, CPU s": time.process_time() - started}
    examples = experiment.build_experiment(config).make_dataset(source, split).train
    measured["training examples"] = len(examples)

    def run(steps: range, batch_size: int, consume: Callable[[Batch[Any]], object]) -> tuple[float, float]:
        """Returns the examples a second of the clock and of the processor, the first batch left out."""
        batches = examples.batches(steps, batch_size=batch_size, seed=0)
        consume(next(batches))
        clock, processor, count = time.perf_counter(), time.process_time(), 0
        for batch in batches:
            consume(batch)
            count += int(batch.size)
        return count / (time.perf_counter() - clock), count / (time.process_time() - processor)

    fast = run(range(_READ_BATCHES), _READ_BATCH, jax.block_until_ready)
    measured |= {"examples read a s": fast[0], "examples read a CPU s": fast[1]}
    measured["memory of reading, MB"] = machine.memory_mb(os.getpid(), peak=True)
    for name, changes in (("a small model", _SMALL), ("the flagship", {})):
        built = experiment.build_experiment(config | {"model": config["model"] | changes})
        optimizer, decay = built.trainable.optimizer(1000), built.train.average_decay
        train_step = step.make_train_step(built.trainable, optimizer, built.key(), decay)
        variables = built.trainable.init(built.key(), None)
        state = sharding.replicate(step.init_state(variables, optimizer, decay))

        def train(batch: Batch[Any], train_step: TrainStep = train_step) -> None:
            nonlocal state
            state, metrics = train_step(state, None, batch)
            jax.block_until_ready(metrics)

        measured[f"examples trained on a s, {name}"] = run(range(_STEPS), built.train.batch_size, train)[0]
    measured["memory of training, MB"] = machine.memory_mb(os.getpid(), peak=True)
    return measured


def measure(num_pieces: int, folder: pathlib.Path, num_bars: int, num_workers: int) -> dict[str, float]:
    """Measures one size, and deletes what it made."""
    files, shards = folder / "files", folder / "shards"
    try:
        started = time.process_time()
        num_bytes = generate(files, num_pieces, num_bars)
        print(f"{num_pieces:,} files generated in {time.process_time() - started:.0f} CPU s", flush=True)
        measured: dict[str, float] = {"files, MB": num_bytes / 1e6} | measure_ingest(files, shards, num_workers)
        print(f"ingested: {measured}", flush=True)
        manifest = json.loads((shards / "shards.json").read_text())
        totals = manifest["totals"]
        if totals["loaded"] != num_pieces:
            raise RuntimeError(f"{totals['loaded']} of {num_pieces} files were loaded")
        measured |= {"notes": totals["notes"], "tunes": totals["tunes"], "examples": totals["examples"]}
        for kind in ("examples", "pieces", "tunes"):
            measured[f"{kind} on disk, MB"] = sum(chunk[kind]["bytes"] for chunk in manifest["chunks"]) / 1e6
        measured["all on disk, MB"] = sum(path.stat().st_size for path in shards.iterdir()) / 1e6
        command = [sys.executable, "-m", "benchmarks.scale", f"--shards={shards}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return measured | json.loads(done.stdout.splitlines()[-1])
    finally:
        shutil.rmtree(files, ignore_errors=True)
        shutil.rmtree(shards, ignore_errors=True)


def render(sizes: Sequence[int], measured: Sequence[dict[str, float]]) -> str:
    """Shows a row a measure: its values, and how the last two relate."""
    lines = [f"{'pieces':<44}" + "".join(f"{size:>12,}" for size in sizes)]
    for name in measured[0]:
        values = [one[name] for one in measured]
        shown = "".join(f"{value:>12,.0f}" if value >= 100 else f"{value:>12.2f}" for value in values)
        lines.append(f"{name:<44}{shown}  {_growth(sizes, values)}")
    return "\n".join(lines)


def _growth(sizes: Sequence[int], values: Sequence[float]) -> str:
    if len(sizes) < 2 or not values[-2]:
        return ""
    ratio, growth = values[-1] / values[-2], sizes[-1] / sizes[-2]
    if 1 / _LINEAR <= ratio <= _LINEAR:
        return f"x {ratio:.2f}: flat"
    if ratio <= growth * _LINEAR:
        return f"x {ratio:.2f}: linear or less"
    return f"x {ratio:.2f}: MORE THAN LINEAR"


def _children(pid: int) -> list[int]:
    try:
        text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


def main(_: Sequence[str]) -> None:
    """Measures every size and prints the table."""
    logging.set_verbosity(logging.WARNING)
    if _SHARDS.value:
        print(json.dumps(measure_reading(_SHARDS.value)))
        return
    sizes = [int(size) for size in _SIZES.value]
    print(f"{machine.describe()}; {_BARS.value} bars a piece, {_WORKERS.value} workers", flush=True)
    measured: list[dict[str, Any]] = []
    if _FOLDER.value:
        pathlib.Path(_FOLDER.value).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_FOLDER.value or None) as folder:
        for size in sizes:
            measured.append(measure(size, pathlib.Path(folder), _BARS.value, _WORKERS.value))
            print(render(sizes[: len(measured)], measured), flush=True)


if __name__ == "__main__":
    app.run(main)
