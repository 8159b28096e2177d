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
from vae_jax.composer.network import Decoder, PhraseEncoder
from vae_jax.composer.notes import MAX_TRACKS, NOTE, NUM_DURATIONS, NUM_PITCHES, Crops
from vae_jax.data.corpus import Corpus
from vae_jax.data.dataset import ArrayExamples, Dataset
from vae_jax.data.splits import Split
from vae_jax.models.base import Variables
from vae_jax.music import key as key_lib
from vae_jax.music.score import EMPTY, Score
from vae_jax.representations import arrays as arrays_lib
from vae_jax.representations.pianoroll.durations import DURATION_STEPS
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

    channels: int = config.number(at_least=1)  # Of the decoder.
    dropout: float = config.number(at_least=0, at_most=1)  # Rate of dropout.
    latent_dim: int = config.number(at_least=1)  # Of a phrase.
    kl_weight: float = config.number(at_least=0)
    crop_notes: int = config.number(at_least=2)  # Tokens of a training example, and how far apart examples start.
    crop_hop: int = config.number(at_least=1)
    dropped_lines_copies: int = config.number(at_least=0)  # Copies of every training piece without some of its lines.
    forget_form: float = config.number(at_least=0, at_most=1)  # How often in training the form is not given,
    forget_style: float = config.number(at_least=0, at_most=1)  # the style,
    forget_latents: float = config.number(at_least=0, at_most=1)  # and the latents.
    ending_weight: float = config.number(at_least=0)  # Of the notes of the last two bars, others have 1.
    time_temperature: float = config.number(at_least=0)  # Of sampling.
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
    def decoder(self) -> Decoder:
        """The network of the notes."""
        return Decoder(self.config.channels, self.config.dropout)

    @property
    def encoder(self) -> PhraseEncoder:
        """The network of the latents."""
        return PhraseEncoder(self.config.channels // 2, self.config.latent_dim)

    def init(self, key: jax.Array, dataset: Dataset[Crops] | None) -> Variables:
        """Draws the parameters (the key is consumed)."""
        del dataset
        crops = jax.tree.map(lambda x: jnp.asarray(x[None]), _empty_crop())

        def draw(key: jax.Array) -> Variables:
            keys = jax.random.split(key, 3)
            rows, plays, lines = line_inputs(crops)
            state = lines_lib.states_before(rows, plays, lines)
            features = lines_lib.describe(state, rows, lines[:, None]), lines_lib.others(state, plays, lines[:, None, :, 0])
            latents = jnp.zeros((*crops.pitch.shape, self.config.latent_dim + 1))
            return {
                "params": {
                    "decoder": self.decoder.init(keys[0], crops, latents)["params"],
                    "encoder": self.encoder.init(keys[1], crops)["params"],
                    "lines": LineNet().init(keys[2], *features)["params"],
                }
            }

        return step.draw_variables(draw, key)

    def loss(self, variables: Variables, batch: Crops, key: jax.Array, train: bool) -> tuple[jax.Array, Metrics]:
        """Nats a token of crops, [B], and its terms; what is given is forgotten at random in training only."""
        form_key, style_key, latent_key, noise_key, dropout_key = jax.random.split(key, 5)
        shape, scale = batch.pitch.shape[:1], 0.0
        has_latents = jnp.ones(shape, bool)
        if train:
            rates = self.config.forget_form, self.config.forget_style, self.config.forget_latents
            masks = [
                jax.random.bernoulli(key, rate, shape)
                for key, rate in zip((form_key, style_key, latent_key), rates, strict=True)
            ]
            batch, has_latents = forget(batch, *masks[:2]), ~masks[2]
            scale = self.config.ending_weight - 1
        params = variables["params"]
        mean, log_variance = self.encoder.apply({"params": params["encoder"]}, batch)
        z = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(noise_key, mean.shape)
        kl = 0.5 * (mean**2 + jnp.exp(log_variance) - 1 - log_variance).sum(axis=(1, 2)) * has_latents
        latents = of_tokens(z, batch, has_latents)
        nats = self.decoder.apply(
            {"params": params["decoder"]}, batch, latents, not train, rngs={"dropout": dropout_key} if train else None
        )
        nats |= {"lines": self.line_nats(params["lines"], batch)}
        weight = 1 + scale * batch.ending[:, 1:].astype(jnp.float32)
        size = batch.pitch.shape[1] - 1  # Crops count by their tokens.
        terms = {name: values.sum(axis=1) / size for name, values in nats.items()} | {"kl": kl / size}
        total = sum((weight * values).sum(axis=1) for values in nats.values())
        return (total + self.config.kl_weight * kl) / size, terms

    def line_nats(self, params: Variables, batch: Crops) -> jax.Array:
        """Nats of which lines play each note, [B, N - 1]."""
        rows, plays, lines = line_inputs(batch)
        logits = lines_lib.line_logits(LineNet(), params, rows, plays, lines)
        counts = (batch.kind == NOTE)[..., None] * lines[:, None, :, 0] * plays.any(-1, keepdims=True)
        return (optax.sigmoid_binary_cross_entropy(logits, plays.astype(jnp.float32)) * counts).sum(-1)[:, 1:]

    def optimizer(self, num_steps: int) -> optax.GradientTransformation:
        """Returns the config's optimiser."""
        return self.optimizer_config.make(num_steps)


def of_tokens(z: jax.Array, crops: Crops, has_latents: jax.Array) -> jax.Array:
    """Latents of each token's phrase and that they are given, [B, N, L + 1]; zeros where `has_latents` [B] is false.

    `z` [B, MAX_PHRASES, L] are the latents of phrases.
    """
    by_token = jnp.einsum("bnp,bpl->bnl", jax.nn.one_hot(crops.phrase, z.shape[1]), z)
    given = has_latents.astype(jnp.float32)[:, None, None]
    return jnp.concatenate([by_token * given, jnp.broadcast_to(given, (*by_token.shape[:2], 1))], axis=-1)


def forget(crops: Crops, no_form: jax.Array, no_style: jax.Array) -> Crops:
    """Returns crops without their form, and without their style, where the masks [B] say so."""
    mask = no_form[:, None]

    def without(values: jax.Array, nothing: int) -> jax.Array:
        last = values[:, :, -1]
        return values.at[:, :, -1].set(jnp.where(mask.reshape(-1, *[1] * (last.ndim - 1)), jnp.asarray(nothing, last.dtype), last))

    return crops._replace(
        plan=jnp.where(mask[..., None], 0, crops.plan),
        aligned=without(crops.aligned, 0),
        aligned_role=without(crops.aligned_role, NUM_PITCHES),
        aligned_duration=without(crops.aligned_duration, NUM_DURATIONS),
        aligned_size=without(crops.aligned_size, 0),
        onsets=without(crops.onsets, 0),
        style=jnp.where(no_style[:, None], 0, crops.style),
    )


def line_inputs(crops: Crops) -> tuple[NoteRow, jax.Array, jax.Array]:
    """The notes of crops [B, N], who plays them, bool [B, N, MAX_TRACKS], and the lines."""
    plays = ((crops.tracks[..., None].astype(jnp.int32) >> jnp.arange(MAX_TRACKS)) & 1) > 0
    end = crops.step + jnp.asarray(DURATION_STEPS)[crops.duration]
    columns = (crops.step, crops.pitch, end, crops.role, crops.size)
    return NoteRow(*(jnp.asarray(column, jnp.int32) for column in columns)), plays, jnp.asarray(crops.lines)


def make_crops(score: Score, length: int, hop: int, keep: np.ndarray | None = None) -> Crops | None:
    """Returns the crops of a score; None where it has no pitched note. Only the lines `keep` of it where given."""
    tonic = key_lib.estimate_tonic(score.notes)
    piece = notes_lib.read_piece(score, tonic)
    lines = lines_lib.read_lines(score, piece, tonic)
    if keep is not None:
        piece, lines = notes_lib.keep_lines(piece, keep), tuple(lines[n] for n in keep)
    if not len(piece.step):
        return None
    return notes_lib.crop(notes_lib.make_features(piece), piece, lines_lib.line_table(lines), length, hop)


def _empty_crop() -> Crops:
    piece = notes_lib.read_piece(EMPTY)
    lines = lines_lib.line_table(())
    return arrays_lib.take(notes_lib.crop(notes_lib.make_features(piece), piece, lines, 4, 1), 0)


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedComposer:
    """A composer that is ready to generate."""

    stage: ComposerStage
    variables: Variables
    form_model: FormModel  # Forms of the training pieces.
    piece_conditions: Sequence[PieceConditions]  # Of the training pieces.
