"""The flagship's training against the same model in PyTorch: seconds a step, and seconds to each held-out note F1.

python -m benchmarks.flagship_step [--path=NationalAnthems.zip] [--measure=step,f1] [--num_rounds=7] [--only=PyTorch]

The model and its training are those of configs/anthems.py; without a path, on the synthetic corpus. Every contestant
has a process of its own. All start from one set of parameters, which PCA gave; first the losses of some steps are
compared, augmentation and noise included, with the same draws for all, and the run stops where they differ.

"step" prints the table of `comparison`.

"f1" trains in turns, each contestant with draws of its own, and prints the seconds of training, compilation included,
to the first evaluation at or above each score; 0 where the start from PCA is there already. The scores are two of
docs/results.md, `note_f1_grid` and `note_f1_grid_part`: onsets of pitched parts equal in step and pitch, with the parts
merged or each by itself, summed over the held-out pieces; decoded from the posterior mean with the moving
average of the parameters, and with thresholds tuned on training crops at every evaluation. One evaluator, in JAX,
scores all, and its time is not counted. It ends when all have reached the last score of both, or with the run's steps.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags
from ml_collections import config_flags

from benchmarks import comparison, interleaved, machine
from benchmarks.comparison import OURS, PYTORCH, Setup
from benchmarks.contestants import Start
from benchmarks.flagship_contestants import flat_params, step_flops
from benchmarks.interleaved import Contestant, Worker
from vae_jax.runtime import cli
from vae_jax.runtime.errors import UserError

# What imports JAX is imported in functions: PyTorch's processes import this module, too.

comparison.define_flags()
config_flags.DEFINE_config_file("config", "configs/anthems.py", "The flagship's config.")
_MEASURE = flags.DEFINE_list("measure", ["step", "f1"], "Which tables to print.")
_NUM_STEPS = flags.DEFINE_integer("num_steps", None, "Steps of the run; as many as the config says.", lower_bound=2)
_EVAL_EVERY = flags.DEFINE_integer("eval_every", 25, "Steps between two evaluations.", lower_bound=2)
_SCORES = (0.7, 0.8, 0.85, 0.9)
_KINDS = {"parts merged": False, "within parts": True}
_NUM_CHECKED = 12
_TOLERANCE = 1e-4  # Relative, of the losses.
_AVERAGE_TOLERANCE = 0.02  # Of the distance from the start to the moving average of the parameters.
# Compilation is measured: nothing may be left over from an earlier run.
_NO_CACHE = {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1", "JAX_ENABLE_COMPILATION_CACHE": "false"}
_MODULE = "benchmarks.flagship_contestants"
_PACKAGES = ("jax", "flax", "torch", "numpy")


def main() -> None:
    """Prints the tables."""
    if unknown := set(_MEASURE.value) - {"step", "f1"}:
        raise UserError(f"--measure knows step and f1, not {', '.join(sorted(unknown))}")
    print(machine.describe(_PACKAGES))
    setup = comparison.prepare(cli.config_value().to_dict(), _NUM_STEPS.value)
    start = setup.start
    contestants = comparison.choose(
        [
            Contestant(OURS, "benchmarks.contestants:Ours", {"start": start}, _NO_CACHE),
            Contestant(PYTORCH, f"{_MODULE}:Torch", {"start": start, "compiled": False}, _NO_CACHE),
            Contestant("torch.compile", f"{_MODULE}:Torch", {"start": start, "compiled": True}, _NO_CACHE),
        ]
    )
    if "step" in _MEASURE.value:
        with interleaved.workers(contestants) as workers:
            tolerances = dict.fromkeys((worker.name for worker in workers), _TOLERANCE)
            comparison.check_equal(workers, start, _NUM_CHECKED, tolerances)
            _check_averages(workers, start)
            comparison.print_step_table(workers, start, step_flops(start))
    if "f1" in _MEASURE.value:
        if not setup.held_out:
            raise UserError("too few pieces to hold some out; --measure=step needs none")
        with interleaved.workers(contestants) as workers:  # Anew: what is compiled must be compiled again.
            _Race(workers, setup).print_tables()


def _check_averages(workers: Sequence[Worker], start: Start) -> None:
    """Checks that the moving averages of the parameters are equal after the same steps."""
    average = flat_params(workers[0].ask("parameters")[1])
    moved = _distance(average, flat_params(start.variables["params"]))
    for worker in workers[1:]:
        apart = _distance(worker.ask("parameters")[1], average) / moved
        if not apart < _AVERAGE_TOLERANCE:
            raise UserError(f"{worker.name} does other work: average parameters differ by {apart:.1e} of their change")
        print(f"{worker.name}: average parameters differ by {apart:.0e} of their change")


def _distance(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> float:
    return float(np.sqrt(sum(np.sum(np.square(one[name] - other[name])) for name in other)))


def held_out_f1(setup: Setup, params: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Scores the parameters of a model by both kinds of note F1 on the grid, 0 to 1."""
    import jax

    from vae_jax.models.inference import CALIBRATION_EXAMPLES, Inference, calibrate
    from vae_jax.music.match_counts import MatchCounts

    model, representation = setup.experiment.model, setup.experiment.representation
    grid = representation.grid
    assert grid is not None
    flat, given = flat_params(params), setup.start.variables
    params = jax.tree.map_with_path(lambda path, _: flat["_".join(one.key for one in path)], given["params"])
    variables = jax.device_put({**given, "params": params})
    calibration = calibrate(model, representation, variables, setup.dataset.train.sample(CALIBRATION_EXAMPLES))
    pieces = Inference(model, representation, variables, calibration).reconstruct(setup.held_out)
    counts = {
        kind: [grid.count_matches(piece.encoded, piece.decoded, by_part=by_part) for piece in pieces]
        for kind, by_part in _KINDS.items()
    }
    return {kind: sum(matches, MatchCounts()).f1 for kind, matches in counts.items()}


class _Race:
    """The contestants' training in turns: seconds so far, and at which of them each score was reached."""

    def __init__(self, workers: Sequence[Worker], setup: Setup):
        self._workers, self._setup = workers, setup
        self._seconds = {worker.name: 0.0 for worker in workers}
        self._reached: dict[tuple[str, str, float], tuple[float, int]] = {}

    def print_tables(self) -> None:
        """Trains until all have reached every score, or to the end of the run, and prints a table a kind."""
        first = held_out_f1(self._setup, self._setup.start.variables["params"])
        print(f"\nheld-out note F1 on the grid at the start: {_format(first)}")
        for worker in self._workers:
            self._note(worker.name, first, 0)
        self._train()
        header = [f"{OURS}, seconds"]
        for worker in self._workers[1:]:
            header += [f"{worker.name}, seconds", "times ours"]
        for kind in _KINDS:
            print(interleaved.table([f"F1, {kind}", *header], [self._row(kind, score) for score in _SCORES]))

    def _train(self) -> None:
        batches, step = comparison.batches(self._setup.start), 0
        num_steps, every = self._setup.start.num_steps, _EVAL_EVERY.value
        while step < num_steps and len(self._reached) < len(self._workers) * len(_KINDS) * len(_SCORES):
            length = min(every - step % every, num_steps - step) if step else 1  # The first one compiles.
            chunk = list(itertools.islice(batches, length))
            for worker in interleaved.turn_order(self._workers, -(-step // every)):
                self._seconds[worker.name] += worker.ask("train", chunk)[0]
            step += length
            if step == 1:
                first = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self._seconds.items())
                print(f"the first step, with compilation: {first}")
                continue
            for worker in self._workers:
                scores = held_out_f1(self._setup, worker.ask("parameters")[1])
                self._note(worker.name, scores, step)
                taken = f"{self._seconds[worker.name]:.1f} s"
                print(f"step {step}, {worker.name}, {taken}: {_format(scores)}", file=sys.stderr)

    def _note(self, name: str, scores: Mapping[str, float], step: int) -> None:
        """Notes which scores are reached for the first time."""
        for kind, score in itertools.product(_KINDS, _SCORES):
            if scores[kind] >= score:
                self._reached.setdefault((name, kind, score), (self._seconds[name], step))

    def _row(self, kind: str, score: float) -> list[str]:
        """What the table says of a score: seconds with the step, and how many times ours they are."""
        row, ours = [str(score)], self._reached.get((OURS, kind, score), (0.0, 0))[0]
        for worker in self._workers:
            seconds, step = self._reached.get((worker.name, kind, score), (None, 0))
            row.append("-" if seconds is None else f"{seconds:.1f} (step {step})")
            if worker.name != OURS:
                row.append("-" if seconds is None or not ours else f"{seconds / ours:.2f}")
        return row


def _format(scores: Mapping[str, Any]) -> str:
    return ", ".join(f"{kind} {score:.3f}" for kind, score in scores.items())


if __name__ == "__main__":
    cli.run(main)
