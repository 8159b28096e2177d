"""The flagship's training against the same model in PyTorch: seconds a step, and seconds to each held-out note F1.

python -m benchmarks.flagship_step [--path=NationalAnthems.zip] [--measure=step,f1] [--num_rounds=7] [--only=PyTorch]

The model and its training are those of configs/anthems.py; without a path, on the synthetic corpus. Every competitor
has a process of its own. All start from one set of parameters, which PCA gave; first the losses of some steps are
compared, augmentation and noise included, with the same draws for all, and the run stops where they differ.

"step" prints a table: seconds a step (median and quartiles over rounds), how many times ours that is (of the ratios
within rounds: above 1, ours is faster), examples a second, and the share that the step's matrix products, counted by
hand, have of the rate at which this machine multiplies large matrices, measured in the same rounds.

"f1" trains in turns, each competitor with draws of its own, and prints the seconds of training, compilation included,
to the first evaluation at or above each score; 0 where the start from PCA is there already. The scores are two of
docs/results.md, `note_f1_grid` and `note_f1_grid_part`: onsets of pitched parts equal in step and pitch, with the parts
merged or each by itself, summed over the held-out pieces' windows; decoded from the posterior mean with the moving
average of the parameters, and with thresholds tuned on training windows at every evaluation. One evaluator, in JAX,
scores all, and its time is not counted. It ends when all have reached the last score of both, or with the run's steps.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags

from benchmarks import interleaved, machine
from benchmarks.flagship_contestants import Start, step_flops
from benchmarks.interleaved import Competitor, Worker
from vae_jax.runtime import cli
from vae_jax.runtime.errors import UserError

# What imports JAX is imported in functions: PyTorch's processes import this module, too.

_PATH = flags.DEFINE_string("path", "", "A MIDI file, a folder or a zip; the synthetic corpus by default.")
_MEASURE = flags.DEFINE_list("measure", ["step", "f1"], "Which tables to print.")
_NUM_ROUNDS = flags.DEFINE_integer("num_rounds", 7, "Turns that every competitor has at the step.", lower_bound=1)
_ONLY = flags.DEFINE_list("only", [], "Names of the competitors to run beside ours; all by default.")
_NUM_STEPS = flags.DEFINE_integer("num_steps", None, "Steps of the run; as many as the config says.", lower_bound=2)
_EVAL_EVERY = flags.DEFINE_integer("eval_every", 25, "Steps between two evaluations.", lower_bound=2)
_SCORES = (0.7, 0.8, 0.85, 0.9)
_KINDS = {"parts merged": False, "within parts": True}
_NUM_CHECKED = 12
_TOLERANCE = 1e-4  # Relative, of the losses.
_AVERAGE_TOLERANCE = 0.02  # Of the distance that the moving average of the parameters has gone.
_MATMUL_SIZE = 3072
_TURN_SEC = 1.5
_EVAL_BATCH, _CALIBRATION_EXAMPLES = 64, 512  # As in `inference`.
_OURS = "vae_jax"
_MODULE = "benchmarks.flagship_contestants"
# Compilation is measured: nothing may be left over from an earlier run.
_NO_CACHE = {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1", "JAX_ENABLE_COMPILATION_CACHE": "false"}
_FACTORIES: dict[str, tuple[str, dict[str, Any]]] = {
    _OURS: (f"{_MODULE}:Ours", {}),
    "PyTorch": (f"{_MODULE}:Torch", {"compiled": False}),
    "torch.compile": (f"{_MODULE}:Torch", {"compiled": True}),
}
_PACKAGES = ("jax", "flax", "torch", "numpy")


def main() -> None:
    """Prints the tables."""
    for flag, known in ((_MEASURE, {"step", "f1"}), (_ONLY, set(_FACTORIES))):
        if unknown := set(flag.value) - known:
            raise UserError(f"--{flag.name} knows {', '.join(sorted(known))}, not {', '.join(sorted(unknown))}")
    print(machine.describe(_PACKAGES))
    start, evaluator = _prepare()
    chosen = [
        Competitor(name, factory, {"start": start} | arguments, _NO_CACHE)
        for name, (factory, arguments) in _FACTORIES.items()
        if name == _OURS or not _ONLY.value or name in _ONLY.value
    ]
    if "step" in _MEASURE.value:
        with interleaved.workers(chosen) as players:
            _check_equal(players, start)
            _print_step_table(players, start)
    if "f1" in _MEASURE.value:
        with interleaved.workers(chosen) as players:  # Anew: what is compiled must be compiled again.
            _print_f1_tables(players, start, evaluator)


class Evaluator:
    """Scores parameters by both kinds of held-out note F1 on the grid.

    Args:
      setup: the experiment.
      constants: the model's variables beside its parameters.
      tuning: compact arrays of the training examples on which the thresholds are tuned.
      held_out: the encoded held-out pieces.
    """

    def __init__(self, setup: Any, constants: Mapping[str, Any], tuning: Any, held_out: Sequence[Any]):
        import jax

        from vae_jax.representations import arrays as arrays_lib

        model, self._representation = setup.model, setup.representation
        self._constants, self._held_out = constants, held_out
        rasterise = jax.jit(self._representation.rasterise)
        self._tuning = np.asarray(rasterise(tuning))
        self._rolls = np.asarray(rasterise(arrays_lib.concatenate([piece.arrays for piece in held_out])))
        self._reconstruct = jax.jit(
            lambda variables, x: model.apply(
                variables, model.apply(variables, x, method="encode").mean, method="decode"
            )
        )

    def f1(self, params: Mapping[str, np.ndarray]) -> dict[str, float]:
        """The scores of the model's parameters, 0 to 1, by kind."""
        from vae_jax.music.match_counts import MatchCounts

        variables = {"params": dict(params), **self._constants}
        calibration = self._representation.calibrate(self._outputs(variables, self._tuning), self._tuning)
        decoded = self._representation.from_outputs(self._outputs(variables, self._rolls), calibration)
        counts, first = dict.fromkeys(_KINDS, MatchCounts()), 0
        for piece in self._held_out:
            rows = slice(first, first + len(piece.arrays["mask"]))
            mine = {name: array[rows] for name, array in decoded.items()}
            for kind, by_part in _KINDS.items():
                counts[kind] += self._representation.grid_matches(piece, mine, by_part=by_part)
            first = rows.stop
        return {kind: total.f1 for kind, total in counts.items()}

    def _outputs(self, variables: Mapping[str, Any], x: np.ndarray) -> Any:
        import jax

        firsts = range(0, len(x), _EVAL_BATCH)
        parts = [jax.device_get(self._reconstruct(variables, x[n : n + _EVAL_BATCH])) for n in firsts]
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def _prepare() -> tuple[Start, Evaluator]:
    """Encodes the corpus and starts the model from PCA, whose time it prints."""
    import jax

    from configs import anthems
    from vae_jax.data import sources
    from vae_jax.data.shards import corpus_view
    from vae_jax.training import experiment

    config = anthems.get_config().to_dict()
    config["data"]["path"] = _PATH.value or sources.SYNTHETIC_NAME
    setup = experiment.build_experiment(config)
    source, split = corpus_view.find_split(config["data"], config["representation"])
    if not split.held_out:
        raise UserError(f"{source.name}: too few pieces to hold some out")
    examples, _ = experiment.encode_split(setup, source, split)
    num_steps = _NUM_STEPS.value or setup.num_steps(len(examples))
    began = time.perf_counter()
    state = jax.block_until_ready(setup.init_state(num_steps, examples))
    print(
        f"{source.name}: {len(examples):,} training windows, {len(split.held_out)} held-out pieces; "
        f"the start from PCA, which all share, took {time.perf_counter() - began:.1f} s"
    )
    constants = jax.device_get(state.constants)
    held_out = [setup.representation.encode(source.pieces[n].score) for n in split.held_out]
    evaluator = Evaluator(setup, constants, examples.sample(_CALIBRATION_EXAMPLES), held_out)
    variables = {"params": jax.device_get(state.params), **constants}
    return Start(config, num_steps, variables, examples.sample(len(examples))), evaluator


def _batches(start: Start) -> Iterator[np.ndarray]:
    """The batches of the run in their order, each int32 [B] indices; the last of an epoch may be smaller."""
    from vae_jax.data import batching

    count, size, seed = len(start.arrays["mask"]), start.config["train"]["batch_size"], start.config["seed"]
    for step in itertools.count():
        rows, num_counted = batching.batch_indices(step, num_examples=count, batch_size=size, seed=seed)
        yield rows[:num_counted]


def _full_batches(start: Start, count: int) -> list[np.ndarray]:
    """The first batches that are full."""
    size = min(start.config["train"]["batch_size"], len(start.arrays["mask"]))
    return list(itertools.islice((batch for batch in _batches(start) if len(batch) == size), count))


def _check_equal(players: Sequence[Worker], start: Start) -> None:
    """Checks that all do the same work; this also compiles what is compiled."""
    ours, checked = players[0], _full_batches(start, _NUM_CHECKED)
    size = ours.ask("num_parameters")[1]
    draws = ours.ask("draws", len(checked[0]), len(checked))[1]
    expected, average = ours.ask("losses", checked, draws)[1], ours.ask("parameters")[1]
    print(f"{size:,} parameters; losses of the first steps", " ".join(f"{loss:.3f}" for loss in expected))
    went = _distance(average, start.variables["params"])
    for player in players[1:]:
        theirs, losses = player.ask("num_parameters")[1], player.ask("losses", checked, draws)[1]
        difference = float(np.max(np.abs(np.array(losses) / expected - 1)))
        apart = _distance(player.ask("parameters")[1], average) / went
        if theirs != size or not difference < _TOLERANCE or not apart < _AVERAGE_TOLERANCE:
            raise UserError(
                f"{player.name} does other work: {theirs:,} parameters, losses apart by {difference:.1e} and averages "
                f"of the parameters by {apart:.1e} of their way"
            )
        print(f"{player.name}: equal losses to {difference:.0e}, average parameters to {apart:.0e} of their way")


def _distance(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> float:
    return float(np.sqrt(sum(np.sum(np.square(one[name] - other[name])) for name in other)))


def _print_step_table(players: Sequence[Worker], start: Start) -> None:
    batch_size = len(_full_batches(start, 1)[0])
    chunks = {}
    for player in players:
        seconds, _ = player.ask("train", _full_batches(start, 3))
        chunks[player.name] = _full_batches(start, max(1, round(3 * _TURN_SEC / seconds)))
    rates: list[float] = []
    taken: dict[str, list[float]] = {player.name: [] for player in players}
    for n in range(_NUM_ROUNDS.value):
        rates.append(max(_matmul_rate(player) for player in players[:2]))
        for player in interleaved.turn_order(players, n):
            seconds, _ = player.ask("train", chunks[player.name])
            taken[player.name].append(seconds / len(chunks[player.name]))
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    flops, peak, ours = _step_flops(start, batch_size), np.array(rates), np.array(taken[_OURS])
    rows = []
    for name, values in taken.items():
        took = np.array(values)
        ratio = "1" if name == _OURS else interleaved.spread(took / ours)
        share = interleaved.quartiles(100 * flops / took / peak)[1]
        speed = batch_size / interleaved.quartiles(took)[1]
        rows.append([name, interleaved.spread(took, 4), ratio, f"{speed:.0f}", f"{share:.0f}%"])
    header = [f"batch {batch_size}", "seconds a step", "times ours", "examples a second", "share of the rate"]
    print(interleaved.table(header, rows))
    print(
        f"matrix products: {flops / 1e9:.2f} GFLOP a step; the machine's rate, {_MATMUL_SIZE} cubed: "
        f"{interleaved.spread(peak / 1e9, 0)} GFLOP/s, best {peak.max() / 1e9:.0f}"
    )
    _, counted = players[0].ask("counted", batch_size)
    print(f"XLA counts {counted['flops'] / 1e9:.2f} GFLOP and {counted['bytes'] / 1e9:.2f} GB in our step")


def _step_flops(start: Start, batch_size: int) -> int:
    latent_dim, num_features = start.variables["params"]["kernel"].shape
    return step_flops(batch_size, latent_dim, num_features, start.config["model"]["num_iterations"])


def _matmul_rate(player: Worker) -> float:
    return 2 * _MATMUL_SIZE**3 / player.ask("matmul", _MATMUL_SIZE)[1]


class _Course:
    """How far a competitor has come: its seconds of training, and at which of them each score was reached."""

    def __init__(self, player: Worker, first: Mapping[str, float]):
        self.player = player
        self.seconds = 0.0
        self.scores: Mapping[str, float] = {}
        self._reached: dict[tuple[str, float], tuple[float, int]] = {}
        self.note(first, 0)

    def train(self, batches: Sequence[np.ndarray]) -> None:
        """Trains on, and counts the seconds."""
        self.seconds += self.player.ask("train", batches)[0]

    def note(self, scores: Mapping[str, float], step: int) -> None:
        """Notes which scores are reached for the first time."""
        self.scores = scores
        for kind, score in itertools.product(_KINDS, _SCORES):
            if scores[kind] >= score:
                self._reached.setdefault((kind, score), (self.seconds, step))

    def is_done(self) -> bool:
        """Whether all scores are reached."""
        return len(self._reached) == len(_KINDS) * len(_SCORES)

    def cells(self, kind: str, score: float, ours: _Course) -> tuple[str, str]:
        """What the table says of a score: seconds with the step, and how many times ours they are."""
        if (kind, score) not in self._reached:
            return "-", "-"
        seconds, step = self._reached[kind, score]
        base = ours._reached.get((kind, score), (0.0, 0))[0]
        return f"{seconds:.1f} (step {step})", f"{seconds / base:.2f}" if base else "-"


def _print_f1_tables(players: Sequence[Worker], start: Start, evaluator: Evaluator) -> None:
    first = evaluator.f1(start.variables["params"])
    print(f"\nheld-out note F1 on the grid at the start: {_shown(first)}")
    courses = [_Course(player, first) for player in players]
    _train_all(courses, start, evaluator)
    ours, *others = courses
    header = [f"{_OURS}, seconds"]
    for course in others:
        header += [f"{course.player.name}, seconds", "times ours"]
    for kind in _KINDS:
        rows = []
        for score in _SCORES:
            row = [str(score), ours.cells(kind, score, ours)[0]]
            for course in others:
                row += course.cells(kind, score, ours)
            rows.append(row)
        print(interleaved.table([f"F1, {kind}", *header], rows))


def _train_all(courses: Sequence[_Course], start: Start, evaluator: Evaluator) -> None:
    """Trains in turns until all have reached every score, or to the end of the run."""
    order, by_player, every = _batches(start), {course.player: course for course in courses}, _EVAL_EVERY.value
    step = 0
    while step < start.num_steps and not all(course.is_done() for course in courses):
        length = min(every - step % every, start.num_steps - step) if step else 1  # The first one compiles.
        chunk = list(itertools.islice(order, length))
        for player in interleaved.turn_order(list(by_player), -(-step // every)):
            by_player[player].train(chunk)
        step += length
        if step == 1:
            first = ", ".join(f"{course.player.name} {course.seconds:.1f} s" for course in courses)
            print(f"the first step, with compilation: {first}")
            continue
        for course in courses:
            course.note(evaluator.f1(course.player.ask("parameters")[1]), step)
            print(
                f"step {step}, {course.player.name}, {course.seconds:.1f} s: {_shown(course.scores)}", file=sys.stderr
            )


def _shown(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{kind} {score:.3f}" for kind, score in scores.items())


if __name__ == "__main__":
    cli.run(main)
