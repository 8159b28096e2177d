"""What a config describes, built: representation, model, objective, optimiser, keys; and the same from a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import optax

from vae_jax import batches, checkpoint, losses, models, representations, runs, train
from vae_jax.corpus import Split
from vae_jax.errors import UserError
from vae_jax.losses import Objective
from vae_jax.representations import Arrays, Representation
from vae_jax.runs import RunFolder
from vae_jax.score import Score
from vae_jax.train import TrainState

# Fields that have to be above zero, and those that may be zero but not below it.
_POSITIVE = (
    "representation.num_notes",
    "representation.num_tracks",
    "model.filters",
    "model.hidden",
    "model.latent_dim",
    "optimizer.learning_rate",
    "train.batch_size",
    "train.num_epochs",
    "train.eval_every_epochs",
    "train.checkpoint_every_epochs",
    "train.keep_checkpoints",
    "data.num_builtin",
)
_NOT_NEGATIVE = ("seed", "data.split_seed", "data.builtin_seed", "data.num_held_out", "sample.num", "sample.seed")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The parts that a config describes, and the keys that its seed gives.

    Attributes:
      config: the resolved config.
      representation: Score to arrays and back.
      model: a linen module.
      objective: the loss.
      optimizer: the gradient transformation.
    """

    config: Mapping[str, Any]
    representation: Representation
    model: nn.Module
    objective: Objective
    optimizer: optax.GradientTransformation

    def keys(self) -> dict[str, jax.Array]:
        """One key each for the initial parameters, training and evaluation, derived from the seed."""
        names = ("init", "train", "eval")
        return dict(zip(names, jax.random.split(jax.random.key(self.config["seed"]), len(names)), strict=True))

    def init_state(self) -> TrainState:
        """Returns the state before the first step."""
        return train.init_state(self.keys()["init"], self.model, self.optimizer, self.representation.example_shape)


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A run's folder with what is in it: the experiment, its description and the parameters of a checkpoint."""

    folder: RunFolder
    experiment: Experiment
    description: Mapping[str, Any]
    params: Any
    step: int


def build_experiment(config: Mapping[str, Any]) -> Experiment:
    """Builds the parts that a config describes.

    Raises:
      UserError: where a field has a value that does not exist.
    """
    _check_ranges(config)
    try:
        representation = representations.make_representation(config["representation"])
        model = models.make_model(config["model"], representation.example_shape)
        return Experiment(
            config=config,
            representation=representation,
            model=model,
            objective=losses.make_objective(config["loss"]),
            optimizer=train.make_optimizer(config["optimizer"]),
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"the config lacks a field or has one too many: {error}") from error


def encode_split(experiment: Experiment, scores: Sequence[Score], split: Split) -> tuple[Arrays, Arrays | None]:
    """Encodes the pieces of both parts of a split: all training examples, and all held-out ones where there are any."""
    encode = experiment.representation.encode
    train_arrays, held_out_arrays = (
        batches.concatenate([encode(scores[n]).arrays for n in part]) if part else None
        for part in (split.train, split.held_out)
    )
    if train_arrays is None:
        raise UserError("the corpus leaves nothing to train on")
    return train_arrays, held_out_arrays


def load_experiment(workdir: str) -> TrainedRun:
    """Builds the experiment of a run's folder and restores its newest whole checkpoint.

    Raises:
      UserError: where there is no run, or no checkpoint yet.
    """
    folder, config, description = runs.load_run(workdir)
    experiment = build_experiment(config)
    restored = checkpoint.restore(folder.checkpoints, jax.eval_shape(experiment.init_state))
    if restored is None:
        raise UserError(f"{workdir}: the run has no checkpoint yet; train it with run.py first")
    state, step = restored
    return TrainedRun(folder, experiment, description, state.params, step)


def _check_ranges(config: Mapping[str, Any]) -> None:
    for name in (*_POSITIVE, *_NOT_NEGATIVE):
        section, _, field = name.rpartition(".")
        value = (config.get(section, {}) if section else config).get(field)
        if value is not None and (value < 0 or (value == 0 and name in _POSITIVE) or value != value):
            raise UserError(
                f"config.{name} must {'be above zero' if name in _POSITIVE else 'not be negative'}, got {value}"
            )
