"""The second stage: the composer of a run, built from its config, trained by the same loop, loaded again."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vae_jax.composer import conditions as conditions_lib
from vae_jax.composer import form as form_lib
from vae_jax.composer import lines as lines_lib
from vae_jax.composer import notes as notes_lib
from vae_jax.composer.conditions import PieceConditions
from vae_jax.composer.form import FormModel
from vae_jax.composer.lines import LineNet, NoteRow
from vae_jax.composer.network import Decoder
from vae_jax.composer.notes import DURATION_STEPS, MAX_TRACKS, NUM_DURATIONS, NUM_LAGS, NUM_PITCHES, Crops
from vae_jax.data.corpus import Corpus
from vae_jax.data.dataset import ArrayExamples, Dataset
from vae_jax.data.splits import Split
from vae_jax.models.base import Variables
from vae_jax.music import key as key_lib
from vae_jax.music.score import Score
from vae_jax.representations import arrays as arrays_lib
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
    """The config's `composer` section, without its `optimizer` and `train` sections."""

    channels: int = config.number(at_least=1)  # Of the network.
    dropout: float = config.number(at_least=0, at_most=1)  # Rate of dropout.
    crop_notes: int = config.number(at_least=2)  # Notes of a training example, and how far apart examples start.
    crop_hop: int = config.number(at_least=1)
    dropped_lines_copies: int = config.number(at_least=0)  # Copies of every training piece without some of its lines.
    forget_form: float = config.number(at_least=0, at_most=1)  # How often in training the form is not given,
    forget_style: float = config.number(at_least=0, at_most=1)  # and the style.
    ending_weight: float = config.number(at_least=0)  # Of the notes of the last two bars, others have 1.
    gap_temperature: float = config.number(at_least=0)
    pitch_temperature: float = config.number(at_least=0)
    duration_temperature: float = config.number(at_least=0)
    line_temperature: float = config.number(at_least=0)
    num_scored: int = config.number(at_least=0)  # Pieces composed for the scores.


@dataclasses.dataclass(frozen=True)
class ComposerStage(Trainable[Crops]):
    """The composer that a config describes."""

    config: ComposerConfig
    optimizer_config: OptimizerConfig
    train: TrainConfig

    @property
    def net(self) -> Decoder:
        """The network of the notes."""
        return Decoder(self.config.channels, self.config.dropout)

    @property
    def line_net(self) -> LineNet:
        """The network of the lines."""
        return LineNet()

    def init(self, key: jax.Array, dataset: Dataset[Crops] | None) -> Variables:
        """Draws the parameters (the key is consumed)."""
        del dataset
        crops = jax.tree.map(jnp.asarray, _empty_crops())

        def draw(key: jax.Array) -> Variables:
            note_key, line_key = jax.random.split(key)
            lines = self.line_net.init(line_key, *_line_features(crops)[0])["params"]
            return {"params": {"notes": self.net.init(note_key, crops)["params"], "lines": lines}}

        return step.draw_variables(draw, key)

    def loss(self, variables: Variables, batch: Crops, key: jax.Array, train: bool) -> tuple[jax.Array, Metrics]:
        """Nats a note of crops, [B], and its terms; form and style are forgotten at random in training only."""
        rngs, scale = {}, 0.0
        if train:
            form_key, style_key, rngs["dropout"] = jax.random.split(key, 3)
            shape = batch.pitch.shape[:1]
            batch = forget(
                batch,
                jax.random.bernoulli(form_key, self.config.forget_form, shape),
                jax.random.bernoulli(style_key, self.config.forget_style, shape),
            )
            scale = self.config.ending_weight - 1
        params = variables["params"]
        nats = self.net.apply({"params": params["notes"]}, batch, not train, rngs=rngs)
        nats |= {"lines": self.line_nats(params["lines"], batch)}
        weight = 1 + scale * batch.ending[:, 1:].astype(jnp.float32)
        total = (weight * batch.weight[:, 1:].astype(jnp.float32)).sum(axis=1)
        # Shares of the crop's notes: crops count by their notes.
        size = batch.pitch.shape[1] - 1
        del total
        terms = {name: values.sum(axis=1) / size for name, values in nats.items()}
        return sum((weight * values).sum(axis=1) for values in nats.values()) / size, terms

    def line_nats(self, params: Variables, batch: Crops) -> jax.Array:
        """Nats of which lines play each note, [B, N - 1]."""
        (features, seen), plays, weight = _line_features(batch)
        logits = self.line_net.apply({"params": params}, features, seen)
        return (optax.sigmoid_binary_cross_entropy(logits, plays.astype(jnp.float32)) * weight).sum(-1)[:, 1:]

    def optimizer(self, num_steps: int) -> optax.GradientTransformation:
        """Returns the config's optimiser."""
        return self.optimizer_config.make(num_steps)


def forget(crops: Crops, no_form: jax.Array, no_style: jax.Array) -> Crops:
    """Returns crops without their form, and without their style, where the masks [B] say so."""
    mask = no_form[:, None]
    aligned = crops.aligned.at[:, :, -1].set(jnp.where(mask[..., None], NUM_PITCHES, crops.aligned[:, :, -1]))
    lengths = crops.aligned_duration.at[:, :, -1]
    return crops._replace(
        plan=jnp.where(mask[..., None], 0, crops.plan),
        aligned=aligned,
        aligned_duration=lengths.set(jnp.where(mask, NUM_DURATIONS, crops.aligned_duration[:, :, -1])),
        onsets=crops.onsets.at[:, :, -1].set(jnp.where(mask[..., None], 0, crops.onsets[:, :, -1])),
        style=jnp.where(no_style[:, None], 0, crops.style),
    )


def _line_features(crops: Crops):
    plays = ((crops.tracks[..., None].astype(jnp.int32) >> jnp.arange(MAX_TRACKS)) & 1) > 0
    end = crops.step + jnp.asarray(DURATION_STEPS)[crops.duration]
    columns = (crops.step, crops.pitch, end, crops.role, crops.size)
    rows = NoteRow(*(jnp.asarray(column, jnp.int32) for column in columns))
    is_target = (crops.weight.astype(jnp.float32) * (crops.pitch < NUM_PITCHES))[..., None]
    weight = is_target * crops.lines[..., 0][:, None] * plays.any(-1, keepdims=True)
    return lines_lib.teacher_features(rows, plays, crops.lines), plays, weight


def make_crops(score: Score, length: int, hop: int, tonic: key_lib.Tonic | None = None) -> Crops | None:
    """Returns the crops of a score; None where it has no pitched note."""
    tonic = tonic or key_lib.estimate_tonic(score.notes)
    piece = notes_lib.read_piece(score, tonic)
    if not len(piece.step):
        return None
    table = lines_lib.line_table(lines_lib.read_lines(score, piece, tonic))
    return notes_lib.crop(notes_lib.make_features(piece), piece, table, length, hop)
