"""The smallest run there is, for tests of the loop: a linear VAE, seven examples, four epochs of three steps.

    python tests/tiny_run.py --folder=FOLDER --num_epochs=4

trains it in a process of its own, with a checkpoint an epoch; --num_train and --batch_size make it larger, and the
flags of several processes are those of run.py.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags
from linear_models import LinearVAE

from vae_jax.data.dataset import ArrayExamples, Dataset
from vae_jax.models.base import Variables
from vae_jax.representations.note_matrix import NoteMatrix
from vae_jax.runtime import cli, distributed, sharding
from vae_jax.training import loop
from vae_jax.training import step as step_lib
from vae_jax.training.config import OptimizerConfig, TrainConfig
from vae_jax.training.experiment import Experiment, build_experiment
from vae_jax.training.run_dir import RunFolder
from vae_jax.training.step import EvalStep, TrainState, TrainStep
from vae_jax.training.trainable import Metrics, Trainable

NUM_TRAIN, NUM_HELD_OUT = 7, 4
CONFIG: dict[str, Any] = {
    "name": "tiny",
    "seed": 3,
    "representation": {"name": "note_matrix", "num_notes": 8, "num_tracks": 2},
    "model": {"name": "conv_vae", "filters": 1, "hidden": 8, "latent_dim": 2, "distortion": "msle"},
    "loss": {"kl_weight": 0.5},
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
    "sample": {"num": 1, "seed": 0},
}
STEPS_PER_EPOCH, LAST_STEP = 3, 12
MODEL = LinearVAE(8 * 3 * 2, 2, OptimizerConfig("rmsprop", 1e-2), scale=0.01)  # Compiled in a fraction of a second.


def random_examples(count: int, seed: int) -> NoteMatrix:
    return NoteMatrix(np.random.default_rng(seed).uniform(0, 100, (count, 8, 3, 2)).astype(np.float32))


TRAIN, HELD_OUT = random_examples(NUM_TRAIN, 0), random_examples(NUM_HELD_OUT, 1)


@dataclasses.dataclass(frozen=True)
class FixedInit(Trainable[NoteMatrix]):
    """A Trainable whose initial variables are drawn once."""

    trainable: Trainable[NoteMatrix]
    variables: Variables

    def init(self, key: jax.Array, dataset: Dataset[NoteMatrix] | None) -> Variables:
        return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), self.variables)  # A step donates its state.

    def loss(self, variables: Variables, batch: NoteMatrix, key: jax.Array, train: bool) -> tuple[jax.Array, Metrics]:
        return self.trainable.loss(variables, batch, key, train)

    def optimizer(self, num_steps: int) -> optax.GradientTransformation:
        return self.trainable.optimizer(num_steps)


@dataclasses.dataclass(frozen=True, eq=False)
class TinyRun:
    """Its parts, compiled once.

    `experiment` gives the representation and the keys; the model that is trained is the linear one.
    """

    experiment: Experiment

    @functools.cached_property
    def keys(self) -> dict[str, jax.Array]:
        return dict(zip(("init", "train", "eval"), jax.random.split(self.experiment.key(), 3), strict=True))

    @functools.cached_property
    def trainable(self) -> FixedInit:
        return FixedInit(MODEL, jax.device_get(MODEL.init(self.keys["init"], None)))

    @functools.cached_property
    def train_step(self) -> TrainStep:
        return self.fresh_step()

    def fresh_step(self) -> TrainStep:
        """A step that was not traced yet, for batches of another shape."""
        return step_lib.make_train_step(self.trainable, self.trainable.optimizer(LAST_STEP), self.keys["train"])

    @functools.cached_property
    def eval_step(self) -> EvalStep:
        return step_lib.make_eval_step(self.trainable, self.keys["eval"])

    def initial(self) -> TrainState:
        """Makes the initial state anew each time, because a step donates it."""
        variables = self.trainable.init(self.keys["init"], None)
        return sharding.replicate(step_lib.init_state(variables, self.trainable.optimizer(LAST_STEP), 0.0))

    def abstract(self) -> TrainState:
        return step_lib.abstract_state(self.trainable, 0.0, self.keys["init"])

    def fit(
        self,
        path: pathlib.Path,
        train_step: TrainStep | None = None,
        train: NoteMatrix = TRAIN,
        held_out: NoteMatrix | None = HELD_OUT,
        **changes: Any,
    ) -> TrainState:
        """Calls `loop.fit` with the compiled steps, or a train step that stands for the compiled one."""
        path.mkdir(exist_ok=True)
        with (
            mock.patch.object(step_lib, "make_train_step", return_value=train_step or self.train_step),
            mock.patch.object(step_lib, "make_eval_step", return_value=self.eval_step),
        ):
            return loop.fit(
                self.trainable,
                Dataset(ArrayExamples(train), held_out),
                TrainConfig(**CONFIG["train"] | changes),
                RunFolder(path),
                key=self.experiment.key(),
                order_seed=CONFIG["seed"],
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
        train=random_examples(args.num_train, 0),
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
