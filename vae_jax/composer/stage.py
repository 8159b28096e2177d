"""The second stage: the composer of a run, built from its config, trained by the same loop, loaded again."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vae_jax.composer import conditions as conditions_lib
from vae_jax.composer import crops as crops_lib
from vae_jax.composer import drums as drums_lib
from vae_jax.composer import form as form_lib
from vae_jax.composer import harmony as harmony_lib
from vae_jax.composer import hiding
from vae_jax.composer import lines as lines_lib
from vae_jax.composer import notes as notes_lib
from vae_jax.composer.conditions import PieceConditions
from vae_jax.composer.crops import MAX_PHRASES, NOTE, Crops
from vae_jax.composer.drums import DrumCrops, DrumNet
from vae_jax.composer.encoder import PhraseEncoder
from vae_jax.composer.form import FormModel
from vae_jax.composer.harmony import HarmonyModel
from vae_jax.composer.lines import Line, LineNet, NoteRow
from vae_jax.composer.network import Decoder
from vae_jax.composer.notes import MAX_TRACKS, NotePiece
from vae_jax.data.corpus import Corpus
from vae_jax.data.dataset import ArrayExamples, Dataset
from vae_jax.data.splits import Split
from vae_jax.models.base import Variables
from vae_jax.models.losses import gaussian_kl_nats
from vae_jax.models.posterior import Posterior, reparameterize
from vae_jax.music import key as key_lib
from vae_jax.music.score import EMPTY, Score
from vae_jax.representations import arrays as arrays_lib
from vae_jax.representations.pianoroll.durations import DURATION_STEPS
from vae_jax.runtime import config, files, sharding
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.files import Json
from vae_jax.runtime.json_dataclass import from_json, to_json
from vae_jax.training import loop, step
from vae_jax.training.config import OptimizerConfig, TrainConfig
from vae_jax.training.experiment import Experiment, TrainedRun, restore
from vae_jax.training.run_dir import RunFolder
from vae_jax.training.trainable import Metrics, Trainable

A = TypeVar("A", np.ndarray, jax.Array)

_KEY_STREAM = 2  # Folded into the seed's key, so that the keys differ from those of the first stage.


@dataclasses.dataclass(frozen=True)
class ComposerConfig(config.Section):
    """The config's `composer` section, without its `optimizer` and `train` sections."""

    channels: int = config.number(at_least=1)  # Of the decoder.
    dropout: float = config.number(at_least=0, at_most=1)  # Rate of dropout.
    latent_dim: int = config.number(at_least=1)  # Of a phrase.
    kl_weight: float = config.number(at_least=0)
    free_nats: float = config.number(at_least=0)  # Of the latents of a phrase, which the loss does not count.
    crop_notes: int = config.number(at_least=2)  # Tokens of a training example, and how far apart examples start.
    crop_hop: int = config.number(at_least=1)
    dropped_lines_copies: int = config.number(at_least=0)  # Copies of every training piece without some of its lines.
    forget_form: float = config.number(at_least=0, at_most=1)  # How often in training the form is not given,
    forget_style: float = config.number(at_least=0, at_most=1)  # the style,
    forget_harmony: float = config.number(at_least=0, at_most=1)  # the chords,
    forget_latents: float = config.number(at_least=0, at_most=1)  # and the latents.
    confuse_memories: float = config.number(at_least=0, at_most=0.5)  # How often tokens have the memory of others.
    ending_weight: float = config.number(at_least=0)  # Of the notes of the last two bars, others have 1.
    time_temperature: float = config.number(at_least=0)  # Of sampling.
    pitch_temperature: float = config.number(at_least=0)
    duration_temperature: float = config.number(at_least=0)
    line_temperature: float = config.number(at_least=0)
    ending_temperature: float = config.number(above=0)  # Of pitches in the last two bars, in proportion.
    ending_chords: float = config.number(at_least=0)  # Weight of the planned chords there; elsewhere it is 1.
    return_temperature: float = config.number(above=0)  # Of phrases that are to return nearly equal, in proportion.
    least_time: float = config.number(at_least=0, at_most=1)  # Least probabilities in proportion to the likeliest,
    least_pitch: float = config.number(at_least=0, at_most=1)  # of times and durations, and of pitches.
    drum_temperature: float = config.number(at_least=0)
    num_drums: int = config.number(at_least=1)  # Drum pitches, the most common of the corpus.
    num_scored: int = config.number(at_least=2)  # Pieces composed for the scores.
    init_from: str = "none"  # The run that it starts from, as config.init_from.


class ComposerExamples(NamedTuple, Generic[A]):
    """Examples of the composer: crops of notes, and as many crops of drums, which need not be of the same pieces."""

    notes: Crops[A]
    drums: DrumCrops

    @staticmethod
    def of(
        scores: Sequence[Score], drums: np.ndarray, config: ComposerConfig, seed: Sequence[int], copies: int = 0
    ) -> "ComposerExamples":
        """Cuts scores, the `copies` of them without some of their lines too."""
        notes, hits = [], []
        for n, score in enumerate(scores):
            rng = np.random.default_rng([*seed, n])
            tonic = key_lib.estimate_tonic(score.notes)
            piece = notes_lib.read_piece(score, tonic)
            lines = lines_lib.read_lines(score, piece, tonic)
            notes.append(make_crops(piece, lines, config.crop_notes, config.crop_hop))
            rows = drums_lib.read_drums(score, piece, drums)
            if rows.any():
                hits.append(drums_lib.crop_drums(drums_lib.thin_drums(drums_lib.make_drum_features(rows, piece), rng)))
            for _ in range(copies if len(lines) > 1 else 0):
                keep = np.sort(rng.choice(len(lines), rng.integers(1, len(lines)), replace=False))
                fewer = notes_lib.keep_lines(piece, keep)
                if len(fewer.step):
                    some = tuple(lines[k] for k in keep)
                    notes.append(make_crops(fewer, some, config.crop_notes, config.crop_hop))
        crops = arrays_lib.concatenate(notes)
        none = _no_drums(len(drums))
        beaten = arrays_lib.concatenate(hits) if hits else jax.tree.map(lambda x: x[None], none)
        rows = np.arange(arrays_lib.num_examples(crops)) % arrays_lib.num_examples(beaten)
        return ComposerExamples(crops, arrays_lib.take(beaten, rows))


@dataclasses.dataclass(frozen=True)
class ComposerStage(Trainable[ComposerExamples]):
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

    @property
    def drum_net(self) -> DrumNet:
        """The network of the drums."""
        return DrumNet(self.config.num_drums)

    def init(self, key: jax.Array, dataset: Dataset[ComposerExamples] | None) -> Variables:
        """Draws the parameters (the key is consumed)."""
        del dataset
        piece = notes_lib.read_piece(EMPTY)
        crops = jax.tree.map(jnp.asarray, make_crops(piece, (), 4, 1))
        drums = jax.tree.map(lambda x: jnp.asarray(x[None]), _no_drums(self.config.num_drums))

        def draw(key: jax.Array) -> Variables:
            keys = jax.random.split(key, 4)
            latents = jnp.zeros((*crops.pitch.shape, self.config.latent_dim + 1))
            return {
                "params": {
                    "decoder": self.decoder.init(keys[0], crops, latents)["params"],
                    "encoder": self.encoder.init(keys[1], crops)["params"],
                    "lines": LineNet().init(keys[2], *line_inputs(crops))["params"],
                    "drums": self.drum_net.init(keys[3], *drums_lib.net_inputs(drums))["params"],
                }
            }

        return step.draw_variables(draw, key)

    def loss(
        self, variables: Variables, batch: ComposerExamples[jax.Array], key: jax.Array, train: bool
    ) -> tuple[jax.Array, Metrics]:
        """Nats a token of crops, [B], and its terms; what is given is forgotten at random in training only."""
        keys = jax.random.split(key, 8)
        form_key, style_key, harmony_key, latent_key, memory_key, noise_key, dropout_key, drum_key = keys
        crops, drums = batch
        shape, scale = crops.pitch.shape[:1], 0.0
        has_latents = jnp.ones(shape, bool)
        if train:
            rates = (
                (form_key, self.config.forget_form),
                (style_key, self.config.forget_style),
                (harmony_key, self.config.forget_harmony),
                (latent_key, self.config.forget_latents),
            )
            *masks, no_latents = (jax.random.bernoulli(key, rate, shape) for key, rate in rates)
            crops, has_latents = hiding.forget(crops, *masks), ~no_latents
            crops = hiding.confuse_memories(crops, self.config.confuse_memories, memory_key)
            scale = self.config.ending_weight - 1
        params = variables["params"]
        posterior = self.encode(params, crops)
        z = reparameterize(noise_key, posterior)
        kl = gaussian_kl_nats(posterior) * has_latents[:, None].astype(jnp.float32)
        nats = self.note_nats(params, crops, of_tokens(z, crops, has_latents), dropout_key if train else None)
        weight = 1 + scale * crops.ending[:, 1:].astype(jnp.float32)
        size = crops.pitch.shape[1] - 1  # Crops count by their tokens.
        terms = {name: values.sum(axis=1) / size for name, values in nats.items()} | {"kl": kl.sum(axis=1) / size}
        total = jnp.stack([(weight * values).sum(axis=1) for values in nats.values()]).sum(axis=0)
        beaten = drums_lib.drum_nats(self.drum_net, params["drums"], drums, drum_key if train else None).sum(axis=1)
        beyond = jnp.maximum(kl - self.config.free_nats, 0.0).sum(axis=1)
        return (total + beaten + self.config.kl_weight * beyond) / size, terms | {"drums": beaten / size}

    def encode(self, params: Variables, crops: Crops[jax.Array], max_phrases: int = MAX_PHRASES) -> Posterior:
        """Returns the posterior of the latents of phrases, [B, max_phrases, L]."""
        found: Any = self.encoder.apply({"params": params["encoder"]}, crops, max_phrases)
        return found

    def note_nats(
        self, params: Variables, crops: Crops[jax.Array], latents: jax.Array, key: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Nats of crops by term, [B, N - 1] each, those of `lines` too; a key switches dropout on."""
        rngs = None if key is None else {"dropout": key}
        nats: Any = self.decoder.apply({"params": params["decoder"]}, crops, latents, key is None, rngs=rngs)
        return nats | {"lines": self._line_nats(params["lines"], crops)}

    def _line_nats(self, params: Variables, crops: Crops[jax.Array]) -> jax.Array:
        """Nats of which lines play each note, [B, N - 1]."""
        rows, plays, lines = line_inputs(crops)
        logits: Any = LineNet().apply({"params": params}, rows, plays, lines)
        counts = (crops.kind == NOTE)[..., None] & (lines[:, None, :, 0] > 0) & plays.any(-1, keepdims=True)
        nats = optax.sigmoid_binary_cross_entropy(logits, plays.astype(jnp.float32))
        return jnp.where(counts, nats, 0.0).sum(-1)[:, 1:]

    def optimizer(self, num_steps: int) -> optax.GradientTransformation:
        """Returns the config's optimiser."""
        return self.optimizer_config.make(num_steps)


def of_tokens(z: jax.Array, crops: Crops[jax.Array], has_latents: jax.Array) -> jax.Array:
    """Latents of each token's phrase and that they are given, [B, N, L + 1]; zeros where `has_latents` [B] is false.

    `z` [B, MAX_PHRASES, L] are the latents of phrases.
    """
    by_token = jnp.einsum("bnp,bpl->bnl", jax.nn.one_hot(crops.phrase, z.shape[1]), z)
    given = has_latents.astype(jnp.float32)[:, None, None]
    return jnp.concatenate([by_token * given, jnp.broadcast_to(given, (*by_token.shape[:2], 1))], axis=-1)


def line_inputs(crops: Crops[jax.Array]) -> tuple[NoteRow, jax.Array, jax.Array]:
    """The notes of crops [B, N], who plays them, bool [B, N, MAX_TRACKS], and the lines."""
    plays = ((crops.tracks[..., None].astype(jnp.int32) >> jnp.arange(MAX_TRACKS)) & 1) > 0
    end = crops.step + jnp.asarray(DURATION_STEPS)[crops.duration]
    columns = (crops.step, crops.pitch, end, crops.role, crops.size)
    return NoteRow(*(jnp.asarray(column, jnp.int32) for column in columns)), plays, jnp.asarray(crops.lines)


def make_crops(piece: NotePiece, lines: tuple[Line, ...], length: int, hop: int) -> Crops[np.ndarray]:
    """Returns the crops of a piece and its lines."""
    return crops_lib.crop(crops_lib.make_features(piece), piece, lines_lib.line_table(lines), length, hop)


def _no_drums(num_drums: int) -> DrumCrops:
    """A crop of drums that counts nothing."""
    piece = notes_lib.read_piece(EMPTY)
    features = drums_lib.make_drum_features(np.zeros((piece.end, num_drums), bool), piece)
    crops = drums_lib.crop_drums(features._replace(weight=np.zeros_like(features.weight)))
    return jax.tree.map(lambda x: x[0], crops)


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedComposer:
    """A composer that is ready to generate."""

    stage: ComposerStage
    variables: Variables
    forms: FormModel  # Of the training pieces, as are
    harmonies: HarmonyModel
    conditions: Sequence[PieceConditions]
    drums: np.ndarray  # [D], MIDI pitches.
    num_updates: int  # With which it was trained.

    def pack_known(self) -> Json:
        """What is known of the training pieces, for JSON."""
        conditions = [to_json(one) for one in self.conditions]
        models = {"forms": to_json(self.forms), "harmonies": to_json(self.harmonies)}
        return models | {"conditions": conditions, "drums": self.drums.tolist()}


def build_stage(experiment: Experiment) -> ComposerStage:
    """Builds the second stage that a config describes. Raises UserError where the config has none."""
    raw = experiment.raw.get("composer")
    if raw is None:
        raise UserError(f"config {experiment.name} has no composer section: this run cannot compose")
    own = {name: value for name, value in raw.items() if name not in ("optimizer", "train")}
    return ComposerStage(
        config=config.make_section(ComposerConfig, own, "config.composer"),
        optimizer_config=config.make_section(OptimizerConfig, raw["optimizer"], "config.composer.optimizer"),
        train=config.make_section(TrainConfig, raw["train"], "config.composer.train"),
    )


def _key(experiment: Experiment) -> jax.Array:
    return jax.random.fold_in(jax.random.key(experiment.seed), _KEY_STREAM)


def train_composer(
    experiment: Experiment, corpus: Corpus, split: Split, folder: RunFolder, start: TrainedComposer | None = None
) -> TrainedComposer:
    """Trains the second stage of a run, or goes on with it, in the run's `composer` folder, from the parameters of
    another composer where one is given.

    Raises UserError where no training piece has pitched notes.
    """
    stage = build_stage(experiment)
    training, held_out = ([corpus.pieces[n].score for n in index] for index in (split.train, split.held_out))
    training = [score for score in training if not score.notes.is_drum.all()]
    if not training:
        raise UserError("the composer needs training pieces with pitched notes")
    drums = drums_lib.choose_drums(training, stage.config.num_drums)
    if start is not None and any(any(one.drum_rates[:-1]) for one in start.conditions):
        drums = start.drums  # It has learnt these.
    pieces = [notes_lib.read_piece(score) for score in training]
    composer = TrainedComposer(
        stage,
        {},
        form_lib.fit_forms([piece.form for piece in pieces]),
        harmony_lib.fit_harmony(
            [(notes_lib.beats_of(one, one.last), one.harmony, notes_lib.sounding_melody(one)) for one in pieces],
            None if start is None else start.harmonies,
        ),
        [conditions_lib.read_conditions(score, piece, drums) for score, piece in zip(training, pieces, strict=True)],
        drums,
        0,
    )
    if sharding.is_main_process():
        files.write_json(folder.composer.pieces, composer.pack_known())
    seed, copies = experiment.seed, stage.config.dropped_lines_copies
    examples = ComposerExamples.of(training, drums, stage.config, [seed, 0], copies)
    tests = ComposerExamples.of(held_out, drums, stage.config, [seed, 1]) if held_out else None
    state = loop.fit(
        stage,
        Dataset(ArrayExamples(examples), tests),
        stage.train,
        folder.composer,
        key=_key(experiment),
        order_seed=seed,
        start=None if start is None else lambda: start.variables,
    )
    return dataclasses.replace(composer, variables=state.trained_variables, num_updates=int(state.step))


def load_composer(run: TrainedRun) -> TrainedComposer:
    """Loads the composer of a trained run. Raises UserError where the run has none, or it is not trained yet."""
    stage = build_stage(run.experiment)
    variables, num_updates = restore(run.folder, "composer", stage, stage.train, _key(run.experiment))
    path = run.folder.composer.pieces
    known = files.read_json(path)
    try:
        forms, harmonies = from_json(FormModel, known["forms"]), from_json(HarmonyModel, known["harmonies"])
        conditions = [from_json(PieceConditions, packed) for packed in known["conditions"]]
        drums = np.array(known["drums"], np.int64).reshape(stage.config.num_drums)
        if not conditions:
            raise ValueError("no pieces")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error}); start run.py again to write it anew") from error
    return TrainedComposer(stage, variables, forms, harmonies, conditions, drums, num_updates)


def load_start(start: TrainedRun, experiment: Experiment) -> TrainedComposer:
    """Loads the composer that the config's composer starts from. Raises UserError where there is none, or it is not of
    the same shape."""
    composer = load_composer(start)
    there, here = composer.stage.config, build_stage(experiment).config
    for name in ("channels", "latent_dim", "num_drums"):
        if getattr(there, name) != getattr(here, name):
            raise UserError(
                f"config.composer.init_from: its composer.{name} is {getattr(there, name)}, the config's "
                f"{getattr(here, name)}"
            )
    return composer


def encode_phrases(composer: TrainedComposer, piece: NotePiece) -> np.ndarray:
    """Returns the posterior means of the latents of a piece's phrases, float32 [U, L]."""
    crop = jax.tree.map(jnp.asarray, crops_lib.whole(piece, lines_lib.line_table(())))
    return np.asarray(composer.stage.encode(composer.variables["params"], crop, piece.num_phrases).mean[0])
