"""Bars rewritten between their neighbours.

The composer writes forward. What it writes for the bars is one of several candidates, chosen with the probability of
the bars that follow given each of them (sampling importance resampling; Rubin 1988).
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.composer import crops as crops_lib
from vae_jax.composer import generate, lines, requests
from vae_jax.composer.crops import Crops
from vae_jax.composer.notes import MIN_PITCH, STEPS_PER_BEAT, NotePiece, in_order
from vae_jax.composer.requests import Request
from vae_jax.composer.stage import ComposerStage, TrainedComposer
from vae_jax.data.corpus import Piece
from vae_jax.models.base import Variables
from vae_jax.music import key as key_lib
from vae_jax.music.score import NOTE_COLUMNS, Notes, Score, make_notes
from vae_jax.representations.pianoroll import encoding

_NUM_CANDIDATES = 16  # Of each version.
_ROUND = 512  # Lengths of pieces are multiples, so that few programs are compiled.
_FOLLOWING_BARS = 4  # That choose between the candidates.


def infill(
    composer: TrainedComposer,
    piece: Piece,
    bars: tuple[int, int],
    num: int,
    seed: int,
    temperature: float = 1.0,
    num_candidates: int = _NUM_CANDIDATES,
) -> list[Score]:
    """Returns versions of a piece in which the pitched notes that start in some full bars are written anew.

    Args:
      composer: the trained composer.
      piece: the piece.
      bars: the first and the last bar, counted from one.
      num: how many versions.
      seed: of all that is drawn.
      temperature: as in `generate.generate_pieces`.
      num_candidates: of each version; with one, the bars that follow are not scored.

    Raises:
      UserError: where the piece has no pitched notes or not these bars.
    """
    original, request, end = requests.infill_request(composer, piece, *bars)
    found = generate.generate_notes(composer, [request] * (num * num_candidates), seed, temperature)
    spliced = [splice(original, one, request.opening_steps, end) for one in found]
    if num_candidates > 1:
        nats = np.array([nats_after(composer, request, one, end) for one in spliced]).reshape(num, num_candidates)
        noise = np.random.default_rng([seed, 1]).gumbel(size=nats.shape)  # The likelier, the more often.
        chosen = np.argmax(noise - nats, axis=1) + num_candidates * np.arange(num)
        spliced = [spliced[n] for n in chosen]
    plays = generate.assign_tracks(composer, [request] * num, spliced, seed, temperature)
    return [_write(piece.score, request, one, mine, end) for one, mine in zip(spliced, plays, strict=True)]


def splice(original: NotePiece, other: NotePiece, start: int, end: int) -> NotePiece:
    """Returns a piece with the notes of another from one step up to a second one."""
    kept = [(original, original.step < start), (other, (other.step >= start) & (other.step < end))]
    kept.append((original, original.step >= end))
    names = "step", "pitch", "duration", "tracks"
    columns = {name: np.concatenate([getattr(one, name)[mask] for one, mask in kept]) for name in names}
    order = in_order(columns["step"], columns["pitch"])[0]
    return dataclasses.replace(original, **{name: values[order] for name, values in columns.items()})


def nats_after(composer: TrainedComposer, request: Request, piece: NotePiece, end: int) -> float:
    """Returns what the notes of some bars after a step cost, given all before them."""
    crop = crops_lib.whole(piece, lines.line_table(request.conditions.lines), round_to=_ROUND)
    crop = crop._replace(style=np.array(request.conditions.style, np.float32)[None])
    nats = np.asarray(_token_nats(composer.stage, composer.variables["params"], crop))[0]
    step = crop.step[0, 1:]
    return float(nats[(step >= end) & (step < end + _FOLLOWING_BARS * piece.bar)].sum())


@functools.partial(jax.jit, static_argnames="stage")
def _token_nats(stage: ComposerStage, params: Variables, crop: Crops[jax.Array]) -> jax.Array:
    """Nats of the notes of crops without latents and tracks, [B, N - 1]."""
    latents = jnp.zeros((*crop.pitch.shape, stage.config.latent_dim + 1))
    nats = stage.note_nats(params, crop, latents)
    return nats["more"] + nats["gap"] + nats["pitch"] + nats["duration"]


def _write(score: Score, request: Request, piece: NotePiece, plays: np.ndarray, end: int) -> Score:
    """The score with the notes of a piece between the request's opening and a step."""
    notes, ticks = score.notes, score.ticks_per_beat / STEPS_PER_BEAT
    start = request.opening_steps
    steps = encoding.quantize_notes(score, STEPS_PER_BEAT)[1]
    kept = notes.select(notes.is_drum | (steps < start) | (steps >= end))
    rewritten = (piece.step >= start) & (piece.step < end)
    note, line = np.nonzero(plays & rewritten[:, None])
    own = np.unique(notes.line[~notes.is_drum])[line]
    conditions = request.conditions
    transposition = key_lib.semitones_to(key_lib.estimate_tonic(notes))
    onset = np.round(piece.step[note] * ticks)
    new = make_notes(
        onset,
        np.maximum(np.round((piece.step + piece.duration)[note] * ticks) - onset, 1),
        np.clip(piece.pitch[note] + MIN_PITCH - transposition, 0, 127),
        track=own // 16,
        channel=own % 16,
        velocity=np.array([one.velocity for one in conditions.lines])[line],
        program=np.array([one.program for one in conditions.lines])[line],
    )
    return dataclasses.replace(score, notes=merge(kept, new))


def merge(first: Notes, second: Notes) -> Notes:
    """Returns the notes of both, in normal form."""
    columns = {name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in NOTE_COLUMNS}
    onset, duration, pitch = (columns.pop(name) for name in ("onset_ticks", "duration_ticks", "pitch"))
    return make_notes(onset, duration, pitch, **columns)
