"""The second stage: the composer of a run, built from its config, trained by the first stage's loop, loaded again."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.composer import conditioning, dataset, onset_encoding, structure
from vae_jax.composer.conditioning import PieceConditions
from vae_jax.composer.heads import DecodedWindow
from vae_jax.composer.network import STYLE_SIZE, Composer, WindowConditions
from vae_jax.composer.onset_encoding import OnsetLists, OnsetShape
from vae_jax.composer.structure import FormModel
from vae_jax.data.corpus import Corpus, Split
from vae_jax.data.dataset import ArrayExamples
from vae_jax.models.inference import Inference
from vae_jax.representations import arrays as arrays_lib
from vae_jax.representations.base import Arrays
from vae_jax.representations.pianoroll import encoding
from vae_jax.representations.pianoroll.representation import RollRepresentation
from vae_jax.runtime import files, memory, sharding
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.json_dataclass import from_json, to_json
from vae_jax.training import checkpointing, loop, step
from vae_jax.training.experiment import Experiment, TrainedRun
from vae_jax.training.run_dir import RunFolder
from vae_jax.training.step import LossTerms, TrainState, Variables


@dataclasses.dataclass(frozen=True)
class ComposerStage:
    """The composer that a config describes, on top of the first stage.

    Attributes:
      experiment: the first stage.
      representation: the first stage's.
      config: the config's `composer` section.
      net: the network.
    """

    experiment: Experiment
    representation: RollRepresentation
    config: Mapping[str, Any]
    net: Composer

    @property
    def shape(self) -> OnsetShape:
        """The shape of onset lists."""
        return self.net.shape

    def keys(self) -> dict[str, jax.Array]:
        """One key each for the initial parameters, training and evaluation, derived from the seed."""
        names = ("init", "train", "eval")
        # The first stage's keys are folded from the same seed: these have to differ.
        keys = jax.random.split(jax.random.fold_in(jax.random.key(self.experiment.config["seed"]), 2), len(names))
        return dict(zip(names, keys, strict=True))

    def init_state(self, num_steps: int, vae_variables: Any, drum_pitches: jax.Array) -> TrainState:
        """Returns the state before the first step; its constants are the first stage's variables and the drums."""
        empty = jax.tree.map(jnp.asarray, OnsetLists.empty(1, self.shape))

        def conditions() -> WindowConditions:
            window = self.decode_window(vae_variables, drum_pitches, jnp.zeros((1, self.experiment.model.latent_dim)))
            return WindowConditions(
                window, window, jnp.zeros(1), place=jnp.zeros((1, 4), jnp.int32), style=jnp.zeros((1, STYLE_SIZE))
            )

        # The shapes are enough: only the parameters are computed, as they would be with the inputs.
        shapes = jax.eval_shape(lambda: (empty, conditions()))
        params = step.draw(lambda key: self.net.lazy_init(key, *shapes)["params"], self.keys()["init"])
        # A copy: a train step donates the state, and the first stage goes on using its variables.
        first_stage = jax.tree.map(jnp.copy, {"variables": vae_variables, "drum_pitches": drum_pitches})
        variables = {"params": dict(params), "first_stage": first_stage}
        return step.init_state(variables, self._optimizer(num_steps), self.config["train"]["average_decay"])

    def abstract_state(self) -> TrainState:
        """Shapes and dtypes of the training state."""
        first = self.experiment.abstract_state().trained_variables
        drums = jax.ShapeDtypeStruct((self.shape.num_drums,), jnp.int32)
        return jax.eval_shape(lambda variables, drums: self.init_state(1, variables, drums), first, drums)

    def train_step(self, num_steps: int, rate_factor: float = 1.0):
        """Returns the jitted train step of a run of so many updates, its learning rate times a factor."""
        return step.make_train_step(
            self._training_loss(),
            self._optimizer(num_steps, rate_factor),
            self.keys()["train"],
            self.config["train"]["average_decay"],
        )

    def eval_step(self):
        """Returns the jitted evaluation of the loss."""
        return step.make_eval_step(self._loss(), self.keys()["eval"])

    def decode_window(self, vae_variables: Any, drum_pitches: jax.Array, latents: jax.Array) -> DecodedWindow:
        """Decodes latents [B, Z] for the composer."""
        logits = self.experiment.model.apply(vae_variables, latents, method="decode")
        return DecodedWindow(latents, logits.onset, logits.drum[:, :, drum_pitches], logits.share)

    def conditions(self, variables: Variables, arrays: Mapping[str, jax.Array]) -> WindowConditions:
        """Decodes the "previous" and "link" latents; the other conditions are as in `dataset.make_examples`."""
        first = variables["first_stage"]
        previous, link = (
            self.decode_window(first["variables"], first["drum_pitches"], arrays[name].astype(jnp.float32))
            for name in ("previous", "link")
        )
        return WindowConditions(previous, link, arrays["similarity"], arrays["place"], arrays["style"])

    def _loss(self) -> LossTerms:
        def loss_terms(variables: Variables, arrays: dict[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
            del key  # Nothing is drawn.
            lists = OnsetLists(*(arrays[name] for name in OnsetLists._fields))
            terms: Any = self.net.apply({"params": variables["params"]}, lists, self.conditions(variables, arrays))
            return terms

        return loss_terms

    def _training_loss(self) -> LossTerms:
        noise, forget = self.config["latent_noise"], self.config["forget_link"]

        def loss_terms(variables: Variables, arrays: dict[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
            previous_key, link_key, forget_key, dropout_key = jax.random.split(key, 4)
            blurred = dict(arrays)
            # The latents of generated music are less distinct than those of training pieces.
            for name, noise_key in (("previous", previous_key), ("link", link_key)):
                latents = arrays[name].astype(jnp.float32)
                blurred[name] = latents + noise * jax.random.normal(noise_key, latents.shape)
            forgotten = jax.random.bernoulli(forget_key, forget, arrays["similarity"].shape)
            blurred["similarity"] = jnp.where(forgotten, -1.0, arrays["similarity"])
            lists = OnsetLists(*(arrays[name] for name in OnsetLists._fields))
            conditions = self.conditions(variables, blurred)
            params = {"params": variables["params"]}
            terms: Any = self.net.apply(params, lists, conditions, rngs={"dropout": dropout_key})
            return terms

        return loss_terms

    def _optimizer(self, num_steps: int, rate_factor: float = 1.0):
        return step.make_optimizer(self.config["optimizer"], num_steps, rate_factor)


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedComposer:
    """A composer that is ready to generate.

    Attributes:
      stage: the second stage.
      inference: the first stage.
      variables: of the second stage.
      drum_pitches: [D].
      form_model: forms of the training pieces.
      piece_conditions: of the training pieces.
    """

    stage: ComposerStage
    inference: Inference
    variables: Variables
    drum_pitches: np.ndarray
    form_model: FormModel
    piece_conditions: Sequence[PieceConditions]


def build_stage(experiment: Experiment) -> ComposerStage:
    """Builds the second stage that a config describes.

    Raises:
      UserError: where the config has none, or one that does not fit its representation.
    """
    config = experiment.config.get("composer")
    if config is None:
        raise UserError(f"config {experiment.config['name']} has no composer section: this run cannot compose")
    representation = experiment.representation
    if not isinstance(representation, RollRepresentation) or not getattr(experiment.model, "with_parts", False):
        raise UserError("config.composer needs config.representation.name=roll and config.model.with_parts=true")
    if not representation.normalise_tonic:  # Pieces are written in C and transposed to their key.
        raise UserError("config.composer needs config.representation.normalise_tonic=true")
    shape = OnsetShape(
        window_steps=representation.config.window_steps,
        num_pitches=representation.num_pitches,
        max_onsets=config["max_onsets"],
        max_pitches=config["max_pitches"],
        num_drums=config["num_drums"],
    )
    net = Composer(shape, representation.window_beats, config["hidden"], config["dropout"])
    return ComposerStage(experiment, representation, config, net)


def train_composer(
    experiment: Experiment, inference: Inference, vae_variables: Any, corpus: Corpus, split: Split, folder: RunFolder
) -> TrainedComposer:
    """Trains the second stage of a run, or goes on with it, in the run's `composer` folder."""
    stage = build_stage(experiment)
    pieces = [encoding.encode(piece.score, stage.representation.config) for piece in corpus.pieces]
    piece_conditions = [
        conditioning.read_conditions(piece.score, roll) for piece, roll in zip(corpus.pieces, pieces, strict=True)
    ]
    training = [n for n in split.train if len(pieces[n].notes)]
    form_model = structure.fit_forms([structure.read_form(pieces[n]) for n in training])
    known = {"forms": to_json(form_model), "piece_conditions": [to_json(piece_conditions[n]) for n in training]}
    if sharding.is_main_process():
        files.write_json(folder.composer.path / "forms.json", known)

    windows = arrays_lib.concatenate([stage.representation.encode(corpus.pieces[n].score).arrays for n in training])
    drum_pitches = onset_encoding.choose_drum_pitches(windows["notes"], windows["mask"], stage.shape)

    def examples(index: Sequence[int], copies: int) -> Arrays:
        chosen = [pieces[n] for n in index]
        for copy in range(copies):
            rngs = [np.random.default_rng([experiment.config["seed"], n, copy]) for n in index]
            chosen += [dataset.drop_parts(pieces[n], rng) for n, rng in zip(index, rngs, strict=True)]
        styles = [
            conditioning.measure_style(piece, piece_conditions[n].style.minor)
            for piece, n in zip(chosen, list(index) * (copies + 1), strict=True)
        ]
        return dataset.make_examples(
            chosen,
            styles,
            stage.representation,
            lambda arrays: inference.encode(arrays).mean,
            drum_pitches,
            stage.shape,
        )

    to_train_on = ArrayExamples(examples(training, stage.config["thinned_copies"]))
    held_out = [n for n in split.held_out if len(pieces[n].notes)]
    num_steps = stage.config["train"]["num_epochs"] * step.epoch_steps(stage.config["train"], len(to_train_on))
    held_out_arrays = examples(held_out, 0) if held_out else None

    def first_state() -> TrainState:
        state = stage.init_state(num_steps, vae_variables, jnp.asarray(drum_pitches))
        memory.release()  # What drew it, before the largest program is compiled.
        return state

    memory.release()  # What the first stage compiled.
    state = loop.fit(
        first_state,
        stage.abstract_state(),
        functools.partial(stage.train_step, num_steps),
        stage.eval_step(),
        examples=to_train_on,
        held_out_arrays=held_out_arrays,
        config=stage.config["train"],
        seed=experiment.config["seed"],
        folder=folder.composer,
    )
    memory.release()
    known_conditions = [piece_conditions[n] for n in training]
    return TrainedComposer(stage, inference, state.trained_variables, drum_pitches, form_model, known_conditions)


def load_composer(run: TrainedRun) -> TrainedComposer:
    """Loads the composer of a trained run.

    Raises:
      UserError: where the run has none, or it is not trained yet.
    """
    stage = build_stage(run.experiment)
    folder = run.folder.composer
    restored = checkpointing.restore(folder.checkpoints, stage.abstract_state())
    if restored is None:
        raise UserError(f"{run.folder.path}: the composer has no checkpoint yet; let run.py finish")
    variables = sharding.local(restored[0]).trained_variables
    known = files.read_json(folder.path / "forms.json")
    return TrainedComposer(
        stage,
        run.inference(),
        variables,
        np.asarray(variables["first_stage"]["drum_pitches"]),
        from_json(FormModel, known["forms"]),
        [from_json(PieceConditions, packed) for packed in known["piece_conditions"]],
    )
