"""What a config describes, built: representation, model, objective, optimiser, keys; and the same from a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
import optax

from vae_jax.data.corpus import Corpus, Split
from vae_jax.data.dataset import ArrayExamples, Examples
from vae_jax.data.shards import corpus_view
from vae_jax.data.shards.corpus_view import ShownCorpus
from vae_jax.models import losses
from vae_jax.models.factory import make_model
from vae_jax.models.inference import Inference
from vae_jax.models.losses import Objective
from vae_jax.representations import arrays as arrays_lib
from vae_jax.representations.base import Arrays, Representation
from vae_jax.representations.factory import make_representation
from vae_jax.representations.pianoroll.augmentation import RollAugmentation
from vae_jax.runtime import files, sharding
from vae_jax.runtime.errors import UserError
from vae_jax.training import checkpointing, run_dir
from vae_jax.training import step as step_lib
from vae_jax.training.run_dir import RunFolder
from vae_jax.training.step import TrainState

# Fields that have to be above zero, and those that may be zero but not below it.
_POSITIVE = (
    "representation.num_notes",
    "representation.num_tracks",
    "model.filters",
    "model.hidden",
    "model.latent_dim",
    "model.num_onset_cells",
    "model.num_drum_cells",
    "model.register_semitones",
    "model.num_iterations",
    "model.prior_weight",
    "optimizer.learning_rate",
    "train.batch_size",
    "train.num_epochs",
    "train.eval_every_epochs",
    "train.checkpoint_every_epochs",
    "train.keep_checkpoints",
    "data.num_builtin",
    "data.num_shown",
)
_RASTER_BATCH = 256
_TOO_LARGE = 2**32
_WARM_START_EXAMPLES = 3072  # Evenly spaced, as many as PCA needs.
_NOT_NEGATIVE = ("seed", "data.split_seed", "data.builtin_seed", "data.num_held_out", "sample.num", "sample.seed")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The parts that a config describes, and the keys that its seed gives.

    Attributes:
      config: the resolved config.
      representation: Score to arrays and back.
      model: a linen module.
      objective: the loss.
    """

    config: Mapping[str, Any]
    representation: Representation
    model: Any
    objective: Objective

    def keys(self) -> dict[str, jax.Array]:
        """One key each for the initial parameters, training and evaluation, derived from the seed."""
        names = ("init", "train", "eval")
        return dict(zip(names, jax.random.split(jax.random.key(self.config["seed"]), len(names)), strict=True))

    def num_steps(self, num_examples: int) -> int:
        """Number of updates in a run on so many examples."""
        return self.config["train"]["num_epochs"] * step_lib.epoch_steps(self.config["train"], num_examples)

    def optimizer(self, num_steps: int, rate_factor: float = 1.0) -> optax.GradientTransformation:
        """The gradient transformation of a run of so many updates, its learning rate times a factor."""
        return step_lib.make_optimizer(self.config["optimizer"], num_steps, rate_factor)

    def init_state(self, num_steps: int, examples: Examples | None = None) -> TrainState:
        """Returns the state before the first step; a model that starts from its data needs the training examples."""
        variables = step_lib.init_variables(self.keys()["init"], self.model, self.representation.example_shape)
        if examples is not None and hasattr(self.model, "warm_start"):
            rolls = self._rasterised(examples.sample(_WARM_START_EXAMPLES))
            variables = self.model.warm_start(variables, rolls, self.config["seed"])
        return step_lib.init_state(variables, self.optimizer(num_steps), self.config["train"]["average_decay"])

    def abstract_state(self) -> TrainState:
        """Shapes and dtypes of the training state; they do not depend on the length of the run."""
        return jax.eval_shape(lambda: self.init_state(1))

    def train_step(self, num_steps: int, rate_factor: float = 1.0):
        """Returns the jitted train step of a run of so many updates, its learning rate times a factor."""
        return step_lib.make_train_step(
            step_lib.augmented_loss(self.model, self.objective, self._make_input()),
            self.optimizer(num_steps, rate_factor),
            self.keys()["train"],
            self.config["train"]["average_decay"],
        )

    def eval_step(self):
        """Returns the jitted evaluation of the loss."""
        loss_terms = step_lib.plain_loss(self.model, self.objective, self.representation)
        return step_lib.make_eval_step(loss_terms, self.keys()["eval"])

    def _make_input(self) -> step_lib.MakeInput:
        augment = dict(self.config.get("augment", {}))
        if any(augment.values()):
            return RollAugmentation(**augment).make_input(self.representation.rasterise)
        return lambda key, arrays: self.representation.rasterise(arrays)

    def _rasterised(self, arrays: Arrays) -> Callable[[], Iterable[np.ndarray]]:
        rasterise = jax.jit(self.representation.rasterise)
        count = arrays_lib.num_examples(arrays)

        def parts() -> Iterable[np.ndarray]:
            for start in range(0, count, _RASTER_BATCH):
                yield np.asarray(
                    rasterise({name: rows[start : start + _RASTER_BATCH] for name, rows in arrays.items()})
                )

        return parts


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A run's folder with what is in it: the experiment, its description and the model of a checkpoint."""

    folder: RunFolder
    experiment: Experiment
    description: Mapping[str, Any]
    variables: Any
    calibration: Mapping[str, float]
    step: int

    def inference(self) -> Inference:
        """The trained model as functions of scores and latents."""
        return Inference(self.experiment.model, self.experiment.representation, self.variables, self.calibration)


def build_experiment(config: Mapping[str, Any]) -> Experiment:
    """Builds the parts that a config describes.

    Raises:
      UserError: where a field has a value that does not exist.
    """
    _check_ranges(config)
    try:
        representation = make_representation(config["representation"])
        model = make_model(config["model"], config["representation"]["name"], representation.example_shape)
        objective = losses.make_objective(config["loss"])
        experiment = Experiment(config=config, representation=representation, model=model, objective=objective)
        experiment.optimizer(1)
        experiment._make_input()
        return experiment
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"the config lacks a field, has one too many or a value that does not fit: {error}") from error


def encode_split(experiment: Experiment, source: Corpus, split: Split) -> tuple[Examples, Arrays | None]:
    """Encodes both parts of a split: the examples to train on, those of shards where the corpus lies in shards, and the
    held-out ones where there are any."""
    if not split.train:
        raise UserError("the corpus leaves nothing to train on")
    representation, pieces = experiment.representation, source.pieces
    examples: Examples
    if isinstance(source, ShownCorpus):
        examples = source.training_examples()
    else:
        training = [representation.encode_training(pieces[n].score) for n in split.train]
        examples = ArrayExamples(arrays_lib.concatenate(training))
    if not split.held_out:
        return examples, None
    return examples, arrays_lib.concatenate([representation.encode(pieces[n].score).arrays for n in split.held_out])


def load_experiment(workdir: str) -> TrainedRun:
    """Builds the experiment of a run's folder and restores its newest whole checkpoint.

    Raises:
      UserError: where there is no run, or no checkpoint yet.
    """
    folder, config, description = run_dir.load_run(workdir)
    experiment = build_experiment(config)
    restored = checkpointing.restore(folder.checkpoints, experiment.abstract_state())
    if restored is None:
        raise UserError(f"{workdir}: the run has no checkpoint yet; train it with run.py first")
    state, step = sharding.local(restored[0]), restored[1]
    calibration = experiment.representation.default_calibration()
    if folder.calibration.exists():
        calibration = files.read_json(folder.calibration)
    return TrainedRun(folder, experiment, description, state.trained_variables, calibration, step)


def load_corpus_of_run(run: TrainedRun, path: str = "") -> tuple[Corpus, Split]:
    """Loads the corpus of a run, from another path where one is given, and its split.

    Raises:
      UserError: where there is no corpus, or it is not the one of the run.
    """
    config, known = run.experiment.config, run.description["corpus"]
    source, split = corpus_view.find_split(config["data"], config["representation"], path)
    if source.fingerprint != known["fingerprint"]:
        raise UserError(
            f"the run was made on another corpus ({known['name']}, {known['pieces']} pieces) than the one found "
            f"({source.name}, {source.num_pieces} pieces); give it by --path"
        )
    return source, split


def _check_numbers(config: Mapping[str, Any], prefix: str = "config") -> None:
    """Refuses numbers that nothing can be counted or computed with."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            _check_numbers(value, f"{prefix}.{name}")
        elif isinstance(value, (int, float)) and not abs(value) < _TOO_LARGE:  # A NaN is not below it either.
            raise UserError(f"{prefix}.{name} must be a number below 2**32, got {value}")


def _check_ranges(config: Mapping[str, Any]) -> None:
    _check_numbers(config)
    for section in ("train", "composer"):
        chosen = config.get(section, {})
        chosen = chosen if section == "train" else chosen.get("train", {})
        if chosen.get("on_nan", "stop") not in ("stop", "restore"):
            raise UserError(f"config.train.on_nan must be 'stop' or 'restore', got {chosen['on_nan']!r}")
    for name in (*_POSITIVE, *_NOT_NEGATIVE):
        section, _, field = name.rpartition(".")
        value = (config.get(section, {}) if section else config).get(field)
        if value is not None and (value < 0 or (value == 0 and name in _POSITIVE) or value != value):
            raise UserError(
                f"config.{name} must {'be above zero' if name in _POSITIVE else 'not be negative'}, got {value}"
            )
