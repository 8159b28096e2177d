"""The composer's likelihood: whole pieces, note after note; with latents, the evidence lower bound."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.composer import crops as crops_lib
from vae_jax.composer import drums as drums_lib
from vae_jax.composer import hiding
from vae_jax.composer import lines as lines_lib
from vae_jax.composer import notes as notes_lib
from vae_jax.composer import stage as stage_lib
from vae_jax.composer.crops import NOTE, Crops
from vae_jax.composer.drums import DrumCrops, DrumNet
from vae_jax.composer.notes import MAX_GAP, MIN_PITCH, NUM_PITCHES, STEPS_PER_BEAT, NotePiece
from vae_jax.composer.stage import ComposerStage, TrainedComposer
from vae_jax.evaluation.likelihood.frequencies import Frequencies
from vae_jax.evaluation.likelihood.target import GridPiece, LikelihoodModel, PieceNats
from vae_jax.models.base import Variables
from vae_jax.models.losses import gaussian_kl_nats
from vae_jax.models.posterior import reparameterize
from vae_jax.music import key as key_lib
from vae_jax.representations import arrays
from vae_jax.representations.pianoroll.durations import DURATION_STEPS

GRID = {"steps_per_beat": STEPS_PER_BEAT, "min_pitch": MIN_PITCH, "num_pitches": NUM_PITCHES, "normalize_tonic": True}
_ROUND, _ROUND_PHRASES = 1024, 32  # Lengths of pieces are multiples, so that few programs are compiled.
_LINES = "the tracks: instrument, register and activity of each"
_FORM = "which phrase of two bars repeats which earlier one, and how closely"


class ComposerLikelihood(LikelihoodModel):
    """The composer with nothing or the form given, or with its latents.

    Its parts are tracks, which are more than parts, so that theirs is an upper bound.
    """

    remarks = (
        "parts: which tracks play each note, an upper bound for the parts",
        "the step of the last chord is planned: it costs as much as any step of the piece",
        "drums that are not among the composer's have their training frequencies",
    )

    def __init__(
        self,
        composer: TrainedComposer,
        frequencies: Frequencies,
        *,
        with_form: bool = False,
        latent_key: jax.Array | None = None,
    ):
        """Takes the composer, the frequencies of what it leaves out, and where it is to use latents a key for them."""
        self.given: tuple[str, ...] = (_LINES, _FORM) if with_form else (_LINES,)
        self._composer, self._frequencies, self._with_form = composer, frequencies, with_form
        self._has_latents, self._key = latent_key is not None, jax.random.key(0) if latent_key is None else latent_key

    def nats(self, pieces: Sequence[GridPiece]) -> list[PieceNats]:
        """Returns what each piece costs."""
        return [self._piece_nats(piece, n) for n, piece in enumerate(pieces)]

    def _piece_nats(self, piece: GridPiece, n: int) -> PieceNats:
        tonic = key_lib.estimate_tonic(piece.score.notes)
        notes = _with_durations(notes_lib.read_piece(piece.score, tonic), piece)
        lines = lines_lib.line_table(lines_lib.read_lines(piece.score, notes, tonic))
        crop = crops_lib.whole(notes, lines, round_to=_ROUND)
        key, num_phrases = jax.random.fold_in(self._key, n), -(-notes.num_phrases // _ROUND_PHRASES) * _ROUND_PHRASES
        stage, params = self._composer.stage, self._composer.variables["params"]
        found = _whole_nats(stage, params, crop, self._with_form, self._has_latents, key, num_phrases)
        total = {name: float(value) for name, value in jax.device_get(found).items()}
        return PieceNats(
            onsets=total["more"] + total["gap"] + total["pitch"] + total["rests"] + math.log(piece.num_steps),
            durations=total["duration"],
            parts=total["lines"],
            drums=self._drum_nats(piece, notes),
            kl=total["kl"] if self._has_latents else None,
        )

    def _drum_nats(self, piece: GridPiece, notes: NotePiece) -> float:
        """What the drums cost, the rates of drums not known."""
        composer = self._composer
        rows = drums_lib.read_drums(piece.score, notes, composer.drums)
        crops = drums_lib.crop_drums(drums_lib.make_drum_features(rows, notes))
        crops = crops._replace(context=crops.context._replace(drum_rates=np.zeros_like(crops.context.drum_rates)))
        params = composer.variables["params"]["drums"]
        one_by_one = [arrays.take(crops, slice(n, n + 1)) for n in range(len(crops.rows))]
        known = sum(float(_crop_nats(composer.stage.drum_net, params, crop)) for crop in one_by_one)
        others = ~np.isin(np.arange(NUM_PITCHES) + MIN_PITCH, composer.drums)
        drums = np.repeat(others[None], piece.num_steps, axis=0)
        left_out = self._frequencies.mask_nats(piece, np.zeros_like(drums), drums).drums
        return known + (left_out or 0.0)


@functools.partial(jax.jit, static_argnames=("stage", "num_phrases"))
def _whole_nats(
    stage: ComposerStage,
    params: Variables,
    crop: Crops[jax.Array],
    with_form: jax.Array,
    has_latents: jax.Array,
    key: jax.Array,
    num_phrases: int,
) -> dict[str, jax.Array]:
    """What the notes of one piece cost by term, float32 scalars; one program whatever is given.

    Args:
      stage, params: the composer.
      crop: the whole piece, a batch of one.
      with_form, has_latents: bool, what is given; the key of the latents is consumed.
      num_phrases: of the latents, at least as many as the piece has.
    """
    everything = jnp.ones(1, bool)
    crop = hiding.forget(crop, everything & ~with_form, everything, everything)
    posterior = stage.encode(params, crop, num_phrases)
    latents = stage_lib.of_tokens(reparameterize(key, posterior), crop, everything & has_latents)
    nats = stage.note_nats(params, crop, latents)
    # A time of MAX_GAP stands for any longer one: all that are left are alike.
    is_rest = (crop.role == 0) & (crop.kind <= NOTE) & (crop.gap == MAX_GAP)
    left = jnp.maximum(crop.left.astype(jnp.float32) - (MAX_GAP - 1), 1.0)
    nats["rests"] = jnp.where(is_rest, jnp.log(left), 0.0)
    return {name: values.sum() for name, values in nats.items()} | {"kl": gaussian_kl_nats(posterior).sum()}


@functools.partial(jax.jit, static_argnames="net")
def _crop_nats(net: DrumNet, params: Variables, crops: DrumCrops) -> jax.Array:
    return drums_lib.drum_nats(net, params, crops).sum()


def _with_durations(notes: NotePiece, piece: GridPiece) -> NotePiece:
    """Returns the same notes with the durations of the target, where notes of one part and pitch do not overlap."""
    mine, theirs = (one.step * NUM_PITCHES + NUM_PITCHES - 1 - one.pitch for one in (notes, piece))
    return dataclasses.replace(notes, duration=DURATION_STEPS[piece.duration[np.searchsorted(theirs, mine)]])
