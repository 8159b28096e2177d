"""A training step of several contestants: checked to be the same work, then timed in turns.

The table has, for every contestant, seconds a step (median and quartiles over rounds), how many times ours that is (of
the ratios within rounds: above 1, ours is faster), examples a second, and the share that the step's matrix products,
counted by hand, have of the rate at which this machine multiplies large matrices, measured in the same rounds.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

from benchmarks import interleaved
from benchmarks.contestants import Start
from benchmarks.interleaved import Contestant, Worker
from vae_jax.runtime.errors import UserError

if TYPE_CHECKING:
    from vae_jax.data.dataset import Dataset
    from vae_jax.music.score import Score
    from vae_jax.training.experiment import Experiment

# What imports JAX is imported in functions: the contestants' processes import this module, too.

OURS, PYTORCH = "vae_jax", "PyTorch"
_MULTIPLIERS = (OURS, PYTORCH)  # The faster one has the machine's rate.


@dataclasses.dataclass(frozen=True, eq=False)
class Setup:
    """What a config describes, ready to be trained.

    Attributes:
      experiment: the parts of the config.
      dataset: the encoded corpus.
      held_out: the held-out pieces.
      start: what the contestants start from.
    """

    experiment: Experiment
    dataset: Dataset[Any]
    held_out: Sequence[Score]
    start: Start


def define_flags() -> None:
    """Defines the flags that the functions below read."""
    flags.DEFINE_string("path", "", "A MIDI file, a folder or a zip; that of the config by default.")
    flags.DEFINE_integer("num_rounds", 7, "Turns that every contestant has.", lower_bound=1)
    flags.DEFINE_float("turn_sec", 1.5, "Seconds of a turn, about.", lower_bound=0)
    flags.DEFINE_integer("matmul_size", 3072, "Size of the matrices that are multiplied.", lower_bound=1)
    flags.DEFINE_list("only", [], "Names of the contestants to run beside ours; all by default.")


def prepare(config: Mapping[str, Any], num_steps: int | None = None) -> Setup:
    """Encodes the corpus and draws the model, whose time it prints; on the synthetic corpus where no path is given."""
    import jax

    from vae_jax.data import sources
    from vae_jax.data.shards import corpus_view
    from vae_jax.training import experiment

    path = flags.FLAGS.path or config["data"]["path"] or sources.SYNTHETIC_NAME
    built = experiment.build_experiment(config)
    pieces, split = corpus_view.find_split(dict(config["data"]), dict(config["representation"]), path)
    dataset = built.make_dataset(pieces, split)
    began = time.perf_counter()
    variables = jax.device_get(built.trainable.init(built.key(), dataset))
    count = len(dataset.train)
    print(
        f"{pieces.name}: {count:,} training examples, {len(split.held_out)} held-out pieces; "
        f"the initial parameters, which all share, took {time.perf_counter() - began:.1f} s"
    )
    examples = dataset.train.sample(count)._asdict()
    start = Start(config, num_steps or built.train.num_steps(count), variables, examples)
    return Setup(built, dataset, [pieces.pieces[n].score for n in split.held_out], start)


def choose(contestants: Sequence[Contestant]) -> list[Contestant]:
    """Returns ours and those that --only names.

    Raises:
      UserError: where it names another.
    """
    known = [one.name for one in contestants]
    if unknown := sorted(set(flags.FLAGS.only) - set(known)):
        raise UserError(f"--only knows {', '.join(known)}, not {', '.join(unknown)}")
    return [one for one in contestants if one.name == OURS or not flags.FLAGS.only or one.name in flags.FLAGS.only]


def batches(start: Start) -> Iterator[np.ndarray]:
    """The batches of the run in their order, each int32 [B] indices; the last of an epoch may be smaller."""
    from vae_jax.data import batching

    for step in itertools.count():
        rows, num_counted = batching.batch_indices(
            step, num_examples=start.num_examples, batch_size=start.batch_size, seed=start.config["seed"]
        )
        yield rows[:num_counted]


def full_batches(start: Start, count: int) -> list[np.ndarray]:
    """The first batches that are full."""
    return list(itertools.islice((batch for batch in batches(start) if len(batch) == start.batch_size), count))


def check_equal(workers: Sequence[Worker], start: Start, num_steps: int, tolerances: Mapping[str, float]) -> None:
    """Checks that all do the same work; this also compiles what is compiled.

    Args:
      workers: the contestants, ours first.
      start: what they start from.
      num_steps: how many steps' losses are compared.
      tolerances: of the losses by name of the contestant, relative.

    Raises:
      UserError: where the numbers of parameters or the losses differ.
    """
    ours, checked = workers[0], full_batches(start, num_steps)
    _, num_parameters = ours.ask("num_parameters")
    _, draws = ours.ask("draws", start.batch_size, num_steps)
    _, expected = ours.ask("losses", checked, draws)
    print(f"{num_parameters:,} parameters; losses of the first steps", " ".join(f"{loss:.4f}" for loss in expected))
    for worker in workers[1:]:
        _, theirs = worker.ask("num_parameters")
        _, losses = worker.ask("losses", checked, draws)
        difference = float(np.max(np.abs(np.array(losses) / expected - 1)))
        if theirs != num_parameters or not difference < tolerances[worker.name]:
            raise UserError(f"{worker.name} does other work: {theirs:,} parameters, losses differ by {difference:.1e}")
        print(f"{worker.name}: equal losses to {difference:.0e}")


def print_step_table(workers: Sequence[Worker], start: Start, flops: float) -> None:
    """Times training steps of full batches in turns and prints the table.

    Args:
      workers: the contestants, ours first.
      start: what they start from.
      flops: floating-point operations of a step's matrix products.
    """
    turns = {}
    for worker in workers:
        seconds, _ = worker.ask("train", full_batches(start, 3))
        turns[worker.name] = full_batches(start, max(1, round(3 * flags.FLAGS.turn_sec / seconds)))
    rates: list[float] = []
    taken: dict[str, list[float]] = {worker.name: [] for worker in workers}
    for n in range(flags.FLAGS.num_rounds):
        rates.append(max(_matmul_rate(worker) for worker in workers if worker.name in _MULTIPLIERS))
        for worker in interleaved.turn_order(workers, n):
            seconds, _ = worker.ask("train", turns[worker.name])
            taken[worker.name].append(seconds / len(turns[worker.name]))
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    peak, ours = np.array(rates), np.array(taken[OURS])
    rows = []
    for name, values in taken.items():
        took = np.array(values)
        ratio = "1" if name == OURS else interleaved.spread(took / ours)
        speed = start.batch_size / np.median(took)
        rows.append(
            [name, interleaved.spread(took, 4), ratio, f"{speed:.0f}", f"{100 * np.median(flops / took / peak):.0f}%"]
        )
    header = [f"batch {start.batch_size}", "seconds a step", "times ours", "examples a second", "share of the rate"]
    print(interleaved.table(header, rows))
    print(
        f"matrix products: {flops / 1e9:.2f} GFLOP a step; the machine's rate, {flags.FLAGS.matmul_size} cubed: "
        f"{interleaved.spread(peak / 1e9, 0)} GFLOP/s, best {peak.max() / 1e9:.0f}"
    )
    _, cost = workers[0].ask("count_costs")
    print(f"XLA counts {cost['flops'] / 1e9:.2f} GFLOP and {cost['bytes'] / 1e9:.2f} GB in our step")


def _matmul_rate(worker: Worker) -> float:
    return 2 * flags.FLAGS.matmul_size**3 / worker.ask("matmul", flags.FLAGS.matmul_size)[1]
