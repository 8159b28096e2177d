"""The smallest run there is, for tests of the loop: seven examples, four epochs of three steps.

    python tests/tiny_run.py --folder=FOLDER --num_epochs=4

trains it in a process of its own, with a checkpoint an epoch; --num_train and --batch_size make it larger, and the
flags of several processes are those of run.py.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from vae_jax.data.dataset import ArrayExamples
from vae_jax.runtime import cli, distributed, sharding
from vae_jax.training import loop
from vae_jax.training.experiment import Experiment, build_experiment
from vae_jax.training.run_dir import RunFolder
from vae_jax.training.step import TrainState

NUM_TRAIN, NUM_HELD_OUT = 7, 4
CONFIG: dict[str, Any] = {
    "name": "tiny",
    "seed": 3,
    "representation": {"name": "events", "num_notes": 8, "num_tracks": 2},
    "model": {"name": "post", "filters": 1, "hidden": 8, "latent_dim": 2, "reparameterisation": "standard"},
    "loss": {"reconstruction": "msle", "loss_factor": 1.0, "reg_factor": 0.5},
    "optimizer": {"name": "rmsprop", "learning_rate": 3e-3},
    "train": {
        "batch_size": 3,  # Batches of 3, 3 and 1.
        "num_epochs": 4,
        "eval_every_epochs": 2,
        "checkpoint_every_epochs": 2,
        "keep_checkpoints": 2,
        "average_decay": 0.0,
        "min_steps": 0,
    },
}
STEPS_PER_EPOCH, LAST_STEP = 3, 12


def random_arrays(count: int, seed: int) -> dict[str, np.ndarray]:
    return {"events": np.random.default_rng(seed).uniform(0, 100, (count, 8, 3, 2)).astype(np.float32)}


TRAIN, HELD_OUT = random_arrays(NUM_TRAIN, 0), random_arrays(NUM_HELD_OUT, 1)


@dataclasses.dataclass(frozen=True, eq=False)
class TinyRun:
    """Its parts, compiled once."""

    experiment: Experiment

    @functools.cached_property
    def _initial(self) -> TrainState:
        return jax.device_get(jax.jit(lambda: self.experiment.init_state(LAST_STEP))())

    def initial(self) -> TrainState:
        """Makes the initial state anew each time, because a step donates it."""
        return sharding.replicate(jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), self._initial))

    @property
    def train_step(self) -> loop.TrainStep:
        return self.slower_step(1.0)

    @functools.cache  # noqa: B019 - there is one tiny run.
    def slower_step(self, factor: float) -> loop.TrainStep:
        return self.experiment.train_step(LAST_STEP, factor)

    @functools.cached_property
    def eval_step(self) -> loop.EvalStep:
        return self.experiment.eval_step()

    def fit(
        self,
        path: pathlib.Path,
        step: loop.TrainStep | None = None,
        make_step: Callable[[float], loop.TrainStep] | None = None,
        train: dict[str, np.ndarray] = TRAIN,
        **changes: Any,
    ) -> TrainState:
        path.mkdir(exist_ok=True)
        return loop.fit(
            self.initial,
            self.experiment.abstract_state(),
            make_step or (lambda factor: step or self.train_step),
            self.eval_step,
            examples=ArrayExamples(train),
            held_out_arrays=changes.pop("held_out", HELD_OUT),
            config=CONFIG["train"] | changes,
            seed=CONFIG["seed"],
            folder=RunFolder(path),
        )


def make_tiny_run() -> TinyRun:
    return TinyRun(build_experiment(CONFIG))


def bits(state: TrainState) -> dict[str, bytes]:
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(state))
    return {jax.tree_util.keystr(path): np.asarray(leaf).tobytes() for path, leaf in leaves}


def lines(path: pathlib.Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def main() -> None:
    args = cli.flag_values("folder")
    distributed.join()
    make_tiny_run().fit(
        pathlib.Path(args.folder),
        train=random_arrays(args.num_train, 0),
        num_epochs=args.num_epochs,
        batch_size=args.batch_size,
        checkpoint_every_epochs=1,
    )
    print("finished", flush=True)


if __name__ == "__main__":
    flags.DEFINE_string("folder", "", "The run's folder.")
    flags.DEFINE_integer("num_epochs", 4, "Epochs of three steps.")
    flags.DEFINE_integer("num_train", NUM_TRAIN, "Training examples.")
    flags.DEFINE_integer("batch_size", CONFIG["train"]["batch_size"], "Examples a step.")
    distributed.define_flags()
    cli.run(main)
