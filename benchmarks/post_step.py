"""One training step of the post's model, ours against Keras 3 and PyTorch: a table of ratios from one run.

python -m benchmarks.post_step [--batch_sizes=10,64] [--num_rounds=7]

The model is that of configs/post.py (69,282,557 parameters), float32, with RMSprop. Every competitor has a process of
its own; they start from the same parameters, and the run stops if their numbers of parameters differ or the losses of
the first steps do. Prints, for each batch size, seconds a step (median and quartiles over rounds), how many times ours
that is (median and quartiles of the ratios within rounds: above 1, ours is faster), and the share that the step's
matrix products have of the rate at which this machine multiplies large matrices, measured in the same rounds.

Ours is the program's own step: it also picks the batch from the examples on the device, draws the noise and returns the
gradient's norm. The peers are given their noise.
"""

from __future__ import annotations

import sys

import numpy as np
from absl import flags

from benchmarks import interleaved, machine, post_contestants
from benchmarks.interleaved import Competitor, Worker
from vae_jax.runtime import cli
from vae_jax.runtime.errors import UserError

_BATCH_SIZES = flags.DEFINE_list("batch_sizes", ["10", "64"], "Examples in a step.")
_NUM_ROUNDS = flags.DEFINE_integer("num_rounds", 7, "Turns that every competitor has.", lower_bound=1)
_ONLY = flags.DEFINE_list("only", [], "Names of the competitors to run beside ours; all by default.")
_NUM_CHECKED = 3
# Relative, of the losses. With an epsilon inside the root Keras's second step is a little shorter than it should be.
_TOLERANCE = {"PyTorch": 0.01, "PyTorch, torch.compile": 0.01}
_KERAS_TOLERANCE = 0.05
_MATMUL_SIZE = 3072
_TURN_SEC = 1.5
_OURS = "vae_jax"
_MODULE = "benchmarks.post_contestants"
_PACKAGES = ("jax", "flax", "torch", "keras", "tensorflow-cpu", "tensorflow", "numpy")
_COMPETITORS = (
    Competitor(_OURS, f"{_MODULE}:Ours"),
    Competitor("PyTorch", f"{_MODULE}:Torch", {"compiled": False}),
    Competitor("PyTorch, torch.compile", f"{_MODULE}:Torch", {"compiled": True}),
    Competitor(
        "Keras 3 on TensorFlow", f"{_MODULE}:Keras", {}, {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}
    ),
    Competitor("Keras 3 on PyTorch", f"{_MODULE}:Keras", {}, {"KERAS_BACKEND": "torch"}),
)


def main() -> None:
    """Prints the tables."""
    try:
        batch_sizes = [int(text) for text in _BATCH_SIZES.value]
    except ValueError as error:
        raise UserError(f"--batch_sizes must be numbers, got {','.join(_BATCH_SIZES.value)}") from error
    print(machine.describe(_PACKAGES))
    chosen = [one for one in _COMPETITORS if one.name == _OURS or not _ONLY.value or one.name in _ONLY.value]
    with interleaved.workers(chosen) as players:
        for batch_size in batch_sizes:
            _check_equal(players, batch_size)
            _print_table(players, batch_size)


def _check_equal(players: list[Worker], batch_size: int) -> None:
    """Checks that all do the same work; this also compiles what is compiled."""
    ours = players[0]
    _, noise = ours.ask("noise", batch_size, _NUM_CHECKED)
    _, expected = ours.ask("losses", batch_size, noise)
    print(f"\nbatch {batch_size}: losses of the first steps", " ".join(f"{loss:.4f}" for loss in expected))
    for player in players[1:]:
        _, size = player.ask("num_parameters")
        _, losses = player.ask("losses", batch_size, noise)
        tolerance = _TOLERANCE.get(player.name, _KERAS_TOLERANCE)
        if size != ours.ask("num_parameters")[1] or not np.allclose(losses, expected, rtol=tolerance):
            raise UserError(f"{player.name} does other work: {size} parameters, losses {losses}, expected {expected}")


def _print_table(players: list[Worker], batch_size: int) -> None:
    num_steps: dict[str, int] = {}
    for player in players:
        num_steps[player.name] = max(1, round(_TURN_SEC / player.ask("step", batch_size, 1)[0]))
    flops = _step_flops(batch_size)
    rates: list[float] = []
    seconds_by_name: dict[str, list[float]] = {player.name: [] for player in players}
    for n in range(_NUM_ROUNDS.value):
        rates.append(max(_matmul_rate(player) for player in players if player.name in (_OURS, "PyTorch")))
        for player in interleaved.turn_order(players, n):
            taken, _ = player.ask("step", batch_size, num_steps[player.name])
            seconds_by_name[player.name].append(taken / num_steps[player.name])
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    peak, ours = np.array(rates), np.array(seconds_by_name[_OURS])
    rows = []
    for name, turns in seconds_by_name.items():
        seconds = np.array(turns)
        share = 100 * flops / seconds / peak
        ratio = interleaved.spread(seconds / ours) if name != _OURS else "1"
        rows.append([name, interleaved.spread(seconds, 3), ratio, f"{interleaved.quartiles(share)[1]:.0f}%"])
    print(interleaved.table([f"batch {batch_size}", "seconds a step", "times ours", "share of the rate"], rows))
    print(
        f"matrix products: {flops / 1e9:.1f} GFLOP a step; the machine's rate, {_MATMUL_SIZE} cubed: "
        f"{interleaved.spread(peak / 1e9, 0)} GFLOP/s, best {peak.max() / 1e9:.0f}"
    )
    counted = players[0].ask("counted", batch_size)[1]
    print(f"XLA counts {counted['flops'] / 1e9:.1f} GFLOP and {counted['bytes'] / 1e9:.2f} GB in our step")


def _step_flops(batch_size: int) -> float:
    """Forward, gradient by the inputs, gradient by the kernels; nobody needs the gradient by the examples."""
    first = np.prod(dict(post_contestants.layers())["encoder/conv_0"]) * 2 * np.prod(post_contestants.SHAPE[:2])
    return batch_size * (3.0 * post_contestants.forward_flops() - float(first))


def _matmul_rate(player: Worker) -> float:
    return 2 * _MATMUL_SIZE**3 / player.ask("matmul", _MATMUL_SIZE)[1]


if __name__ == "__main__":
    cli.run(main)
