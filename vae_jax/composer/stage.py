"""The second stage: the composer of a run, built from its config, trained by the same loop, loaded again."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vae_jax.composer import conditioning, dataset, onset_encoding, structure
from vae_jax.composer.conditioning import PieceConditions
from vae_jax.composer.dataset import ComposerExamples
from vae_jax.composer.heads import DecodedWindow
from vae_jax.composer.network import NO_LINK, STYLE_SIZE, AnyArray, Composer, DecodedConditions, LatentConditions
from vae_jax.composer.onset_encoding import OnsetLists, OnsetShape
from vae_jax.composer.structure import FormModel
from vae_jax.composer.windows import WindowedRoll, WindowInference, decode_logits
from vae_jax.data.corpus import Corpus
from vae_jax.data.dataset import ArrayExamples, Dataset
from vae_jax.data.splits import Split
from vae_jax.models.base import VAE, Variables
from vae_jax.models.inference import Inference
from vae_jax.models.pianoroll_vae import RollVAE
from vae_jax.music.score import EMPTY
from vae_jax.representations.pianoroll import encoding
from vae_jax.representations.pianoroll.representation import RollRepresentation
from vae_jax.runtime import config, files, sharding
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.json_dataclass import from_json, to_json
from vae_jax.training import checkpointing, loop, step
from vae_jax.training.config import OptimizerConfig, TrainConfig
from vae_jax.training.experiment import Experiment, TrainedRun
from vae_jax.training.run_dir import RunFolder
from vae_jax.training.trainable import Metrics, Trainable

_KEY_STREAM = 2  # Folded into the seed's key, so that the keys differ from those of the first stage.


@dataclasses.dataclass(frozen=True)
class ComposerConfig(config.Section):
    """The config's `composer` section, without its `optimizer` and `train` sections.

    Attributes:
      latent_noise: standard deviation of the noise on the latents of the conditioning windows in training.
      forget_link: how often in training the window to return to is not given.
    """

    hidden: int = config.number(at_least=1)  # Units of the recurrent state.
    dropout: float = config.number(at_least=0, at_most=1)  # Rate of dropout.
    max_onsets: int = config.number(at_least=1)  # Onsets in a window and pitches at an onset.
    max_pitches: int = config.number(at_least=1)
    num_drums: int = config.number(at_least=1)  # Drum pitches, the most common of the corpus.
    dropped_parts_copies: int = config.number(at_least=0)  # Copies of every training piece without some of its parts.
    latent_noise: float = config.number(at_least=0)
    forget_link: float = config.number(at_least=0, at_most=1)
    step_temperature: float = config.number(at_least=0)  # Of sampling; the last one of the last phrase.
    note_temperature: float = config.number(at_least=0)
    last_note_temperature: float = config.number(at_least=0)
    num_scored: int = config.number(at_least=0)  # Pieces composed for the scores.


@dataclasses.dataclass(frozen=True)
class ComposerStage(Trainable[ComposerExamples]):
    """The composer that a config describes, on top of the first stage.

    Attributes:
      first_variables, drum_pitches: the first stage's trained variables and drum pitches [D]; None before training.
    """

    first_stage: VAE  # The first stage's model.
    representation: WindowedRoll  # The first stage's, in windows.
    config: ComposerConfig  # The config's `composer` section.
    net: Composer  # The network.
    optimizer_config: OptimizerConfig  # Its optimiser and training loop.
    train: TrainConfig
    first_variables: Variables | None = None
    drum_pitches: np.ndarray | None = None

    @property
    def shape(self) -> OnsetShape:
        """The shape of onset lists."""
        return self.net.shape

    def init(self, key: jax.Array, dataset: Dataset[ComposerExamples] | None) -> Variables:
        """Draws the parameters (the key is consumed); the first stage's variables and the drums become constants."""
        del dataset
        first_stage = dict(zip(("variables", "drum_pitches"), self._constants(), strict=True))
        z = jnp.zeros((1, self.representation.window_beats * self.first_stage.latent_dim))
        conditions = LatentConditions(
            z, z, similarity=jnp.zeros(1), place=jnp.zeros((1, 4), jnp.int32), style=jnp.zeros((1, STYLE_SIZE))
        )
        onsets = jax.tree.map(jnp.asarray, OnsetLists.empty(1, self.shape))
        # The shapes are enough: only the parameters are computed, as they would be with the inputs.
        shapes = jax.eval_shape(lambda: (onsets, self.decode_conditions({"first_stage": first_stage}, conditions)))
        params = step.draw_variables(lambda key: self.net.lazy_init(key, *shapes)["params"], key)
        # A copy: a train step donates the state, and the first stage goes on using its variables.
        return {"params": dict(params), "first_stage": jax.tree.map(jnp.copy, first_stage)}

    def loss(
        self, variables: Variables, batch: ComposerExamples, key: jax.Array, train: bool
    ) -> tuple[jax.Array, Metrics]:
        """Negative log likelihood of windows in nats, [B], and its terms; noise and dropout in training only."""
        conditions, rngs = batch.conditions, {}
        if train:
            previous_key, link_key, forget_key, rngs["dropout"] = jax.random.split(key, 4)
            # The composer's own music is decoded less clearly than the training pieces.
            previous, link = (
                latents.astype(jnp.float32) + self.config.latent_noise * jax.random.normal(noise_key, latents.shape)
                for latents, noise_key in ((conditions.previous, previous_key), (conditions.link, link_key))
            )
            forgotten = jax.random.bernoulli(forget_key, self.config.forget_link, conditions.similarity.shape)
            similarity = jnp.where(forgotten, NO_LINK, conditions.similarity)
            conditions = conditions._replace(previous=previous, link=link, similarity=similarity)
        inputs = batch.onsets, self.decode_conditions(variables, conditions)
        terms: Any = self.net.apply({"params": variables["params"]}, *inputs, rngs=rngs)
        return terms["loss"], {name: values for name, values in terms.items() if name != "loss"}

    def optimizer(self, num_steps: int) -> optax.GradientTransformation:
        """Returns the config's optimiser."""
        return self.optimizer_config.make(num_steps)

    def _constants(self) -> tuple[Variables, jax.Array]:
        """The first stage's variables and the drum pitches; zeros of their shapes where only shapes are asked for."""
        if self.first_variables is not None and self.drum_pitches is not None:
            return self.first_variables, jnp.asarray(self.drum_pitches)
        x = jax.eval_shape(self.representation.rasterize, self.representation.encode_training(EMPTY))
        key = jax.ShapeDtypeStruct((), jax.random.key(0).dtype)
        shapes = jax.eval_shape(self.first_stage.init, key, x, key)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), dict(shapes))
        return zeros, jnp.zeros(self.shape.num_drums, jnp.int32)

    def decode_conditions(self, variables: Variables, conditions: LatentConditions) -> DecodedConditions:
        """Decodes the windows of conditions from their latents."""
        first = variables["first_stage"]

        def decode(latents: AnyArray) -> DecodedWindow:
            z = jnp.asarray(latents, jnp.float32)
            logits = decode_logits(self.first_stage, first["variables"], z, self.representation)
            return DecodedWindow(z, logits.onset, logits.drum[:, :, first["drum_pitches"]], logits.share)

        previous, link, *others = conditions
        return DecodedConditions(decode(previous), decode(link), *others)


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedComposer:
    """A composer that is ready to generate."""

    stage: ComposerStage  # The second stage.
    inference: WindowInference  # The first stage.
    variables: Variables  # Of the second stage.
    drum_pitches: np.ndarray  # [D].
    form_model: FormModel  # Forms of the training pieces.
    piece_conditions: Sequence[PieceConditions]  # Of the training pieces.


def build_stage(experiment: Experiment) -> ComposerStage:
    """Builds the second stage that a config describes. Raises UserError where the config has none, or one that does not
    fit its representation."""
    raw = experiment.raw.get("composer")
    if raw is None:
        raise UserError(f"config {experiment.name} has no composer section: this run cannot compose")
    representation, model = experiment.representation, experiment.model
    if not isinstance(representation, RollRepresentation) or not isinstance(model, RollVAE):
        raise UserError("config.composer needs config.representation.name=pianoroll")
    if not representation.normalize_tonic:  # Pieces are written in C and transposed to their key.
        raise UserError("config.composer needs config.representation.normalize_tonic=true")
    windowed = WindowedRoll.of(representation)
    own = {name: value for name, value in raw.items() if name not in ("optimizer", "train")}
    fields = config.make_section(ComposerConfig, own, "config.composer")
    shape = OnsetShape(
        window_steps=windowed.window_steps,
        num_pitches=representation.num_pitches,
        max_onsets=fields.max_onsets,
        max_pitches=fields.max_pitches,
        num_drums=fields.num_drums,
    )
    return ComposerStage(
        first_stage=experiment.model,
        representation=windowed,
        config=fields,
        net=Composer(shape, windowed.window_beats, fields.hidden, fields.dropout),
        optimizer_config=config.make_section(OptimizerConfig, raw["optimizer"], "config.composer.optimizer"),
        train=config.make_section(TrainConfig, raw["train"], "config.composer.train"),
    )


def _key(experiment: Experiment) -> jax.Array:
    return jax.random.fold_in(jax.random.key(experiment.seed), _KEY_STREAM)


def train_composer(
    experiment: Experiment, inference: Inference, variables: Variables, corpus: Corpus, split: Split, folder: RunFolder
) -> TrainedComposer:
    """Trains the second stage of a run, or goes on with it, in the run's `composer` folder."""
    stage = build_stage(experiment)
    pieces = [encoding.encode(piece.score, stage.representation) for piece in corpus.pieces]
    conditions = [
        conditioning.read_conditions(piece.score, roll) for piece, roll in zip(corpus.pieces, pieces, strict=True)
    ]
    training = [n for n in split.train if len(pieces[n].notes)]
    form_model = structure.fit_forms([structure.read_form(pieces[n], stage.representation) for n in training])
    known = {"forms": to_json(form_model), "conditions": [to_json(conditions[n]) for n in training]}
    if sharding.is_main_process():
        files.write_json(folder.composer.path / "forms.json", known)

    drum_pitches = onset_encoding.choose_drum_pitches([pieces[n] for n in training], stage.shape)
    windowed = WindowInference(inference, stage.representation)
    stage = dataclasses.replace(stage, first_variables=variables, drum_pitches=drum_pitches)

    def examples(index: Sequence[int], copies: int) -> ComposerExamples:
        chosen = [pieces[n] for n in index]
        for copy in range(copies):
            rngs = [np.random.default_rng([experiment.seed, n, copy]) for n in index]
            chosen += [dataset.drop_parts(pieces[n], rng) for n, rng in zip(index, rngs, strict=True)]
        styles = [
            conditioning.measure_style(piece, conditions[n].style.minor)
            for piece, n in zip(chosen, list(index) * (copies + 1), strict=True)
        ]
        return dataset.make_examples(chosen, styles, stage.representation, windowed.encode, drum_pitches, stage.shape)

    held_out = [n for n in split.held_out if len(pieces[n].notes)]
    state = loop.fit(
        stage,
        Dataset(
            ArrayExamples(examples(training, stage.config.dropped_parts_copies)),
            examples(held_out, 0) if held_out else None,
        ),
        stage.train,
        folder.composer,
        key=_key(experiment),
        order_seed=experiment.seed,
    )
    known_conditions = [conditions[n] for n in training]
    return TrainedComposer(stage, windowed, state.trained_variables, drum_pitches, form_model, known_conditions)


def load_composer(run: TrainedRun) -> TrainedComposer:
    """Loads the composer of a trained run. Raises UserError where the run has none, or it is not trained yet."""
    stage = build_stage(run.experiment)
    folder = run.folder.composer
    abstract = step.abstract_state(stage, stage.train.average_decay, _key(run.experiment))
    restored = checkpointing.restore(folder.checkpoints, abstract)
    if restored is None:
        raise UserError(f"{run.folder.path}: the composer has no checkpoint yet; let run.py finish")
    variables = sharding.local(restored[0]).trained_variables
    path = folder.path / "forms.json"
    known = files.read_json(path)
    try:
        forms = from_json(FormModel, known["forms"])
        conditions = [from_json(PieceConditions, packed) for packed in known["conditions"]]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error}); start run.py again to write it anew") from error
    drum_pitches = np.asarray(variables["first_stage"]["drum_pitches"])
    inference = WindowInference(run.inference(), stage.representation)
    return TrainedComposer(stage, inference, variables, drum_pitches, forms, conditions)
