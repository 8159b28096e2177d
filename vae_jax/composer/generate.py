"""Generating whole pieces with a trained composer, phrase after phrase."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from vae_jax.composer import conditioning, onset_encoding
from vae_jax.composer.network import LatentConditions
from vae_jax.composer.requests import Request, sample_request
from vae_jax.composer.sampling import Temperatures, sample_window
from vae_jax.composer.stage import TrainedComposer
from vae_jax.music.key import Tonic
from vae_jax.music.score import Score
from vae_jax.representations.arrays import concatenate
from vae_jax.representations.pianoroll.config import DURATION, PART, PITCH, STEP
from vae_jax.representations.pianoroll.context import default_context
from vae_jax.representations.pianoroll.encoding import RollPiece

_EXTRA_ONSETS = 8  # Beyond the longest training window.
_MIN_TEMPERATURE = 1e-3
_SILENT_SEC = 10  # Then a progress bar is shown.


@dataclasses.dataclass(frozen=True, eq=False)
class Composition:
    """A generated piece."""

    roll: RollPiece
    latents: np.ndarray  # [W, Z], of consecutive windows from the start.
    score: Score


def compose(composer: TrainedComposer, num: int, seed: int, temperature: float = 1.0) -> list[Composition]:
    """Generates pieces with conditions sampled from the training pieces; the same arguments give the same pieces."""
    requests = [sample_request(composer, np.random.default_rng([seed, n])) for n in range(num)]
    return generate_pieces(composer, requests, jax.random.key(seed), temperature)


def generate_pieces(
    composer: TrainedComposer, requests: Sequence[Request], key: jax.Array, temperature: float = 1.0
) -> list[Composition]:
    """Generates pieces in one batch (the key is consumed).

    Args:
      composer: the trained composer.
      requests: the pieces.
      key: consumed.
      temperature: scales the temperatures of the config; near 0 the likeliest is chosen throughout.
    """
    pieces = [_start_piece(composer, request) for request in requests]
    sample = _jitted_sampler(composer)
    num_phrases = max(request.num_phrases for request in requests)
    for n in tqdm.tqdm(range(num_phrases), desc="phrases", leave=False, delay=_SILENT_SEC, disable=None):
        # Complete pieces stay in the batch, at their last phrase.
        phrases = [min(n, request.num_phrases - 1) for request in requests]
        conditions = _conditions(composer, pieces, requests, phrases)
        temperatures = _temperatures(composer, requests, phrases, max(temperature, _MIN_TEMPERATURE))
        lists = jax.device_get(sample(composer.variables, conditions, jax.random.fold_in(key, n), temperatures))
        sampled = onset_encoding.to_notes(lists, composer.drum_pitches, composer.stage.shape)
        for b, (notes, request) in enumerate(zip(sampled, requests, strict=True)):
            if n < request.num_phrases:
                pieces[b] = _add_phrase(pieces[b], notes, request, n)
    return [_finish(composer, piece) for piece in pieces]


@functools.cache
def _jitted_sampler(composer: TrainedComposer):
    stage = composer.stage
    max_onsets = stage.shape.max_onsets + _EXTRA_ONSETS

    def sample(variables, conditions, key, temperatures):
        conditions, params = stage.decode_conditions(variables, conditions), {"params": variables["params"]}
        return stage.net.apply(params, conditions, key, temperatures, max_onsets, method=sample_window)[0]

    return jax.jit(sample)


def _temperatures(
    composer: TrainedComposer, requests: Sequence[Request], phrases: Sequence[int], temperature: float
) -> Temperatures:
    """The temperatures of a phrase of every piece; the notes of the last one have their own."""
    config = composer.stage.config
    is_last = np.array([n == request.num_phrases - 1 for n, request in zip(phrases, requests, strict=True)])
    note = np.where(is_last, config.last_note_temperature, config.note_temperature)
    step = np.full(len(requests), config.step_temperature)
    return Temperatures(jnp.asarray(temperature * step, jnp.float32), jnp.asarray(temperature * note, jnp.float32))


def _start_piece(composer: TrainedComposer, request: Request) -> RollPiece:
    """The piece before anything is generated: its context and its opening."""
    conditions, representation = request.conditions, composer.stage.representation
    context = default_context(
        request.num_steps,
        representation.steps_per_beat,
        beats_per_minute=conditions.beats_per_minute,
        meter=conditions.meter,
        tonic=Tonic(conditions.pitch_class, conditions.style.minor, 1.0),
        programs=conditions.programs,
        velocities=conditions.velocities,
    )
    return dataclasses.replace(representation.empty_piece(context, request.num_steps), notes=request.opening)


def _conditions(
    composer: TrainedComposer, pieces: Sequence[RollPiece], requests: Sequence[Request], phrases: Sequence[int]
) -> LatentConditions:
    """The conditions of a phrase of every piece."""
    representation = composer.stage.representation
    starts, sources, similarities = zip(*(r.phrase(n) for r, n in zip(requests, phrases, strict=True)), strict=True)
    windows = [
        representation.encode_at(piece, np.array([step]))
        for steps in (np.array(starts) - representation.window_steps, sources)
        for piece, step in zip(pieces, steps, strict=True)
    ]
    previous, link = np.split(composer.inference.encode(concatenate(windows)), 2)
    for b, (request, n) in enumerate(zip(requests, phrases, strict=True)):
        if request.references is not None:
            link[b] = request.references[n]
    columns = [(0, r.bar_steps, r.num_steps - start, start) for r, start in zip(requests, starts, strict=True)]
    since_bar, bar_steps, until_end, since_start = np.array(columns).T
    return LatentConditions(
        previous,
        link,
        similarity=np.array(similarities, dtype=np.float32),
        place=conditioning.encode_place(since_bar, bar_steps, until_end, since_start, representation.steps_per_beat),
        style=np.stack([request.conditions.style.vector() for request in requests]),
    )


def _add_phrase(piece: RollPiece, notes: np.ndarray, request: Request, n: int) -> RollPiece:
    """Adds to a piece those notes of a window that belong to phrase n."""
    start, _, _ = request.phrase(n)
    notes = notes[notes[:, STEP] < min(request.phrase_steps, request.num_steps - start)]
    notes = notes + np.array([start, 0, 0, 0], dtype=notes.dtype)
    notes[:, DURATION] = np.minimum(notes[:, DURATION], request.num_steps - notes[:, STEP])
    return dataclasses.replace(piece, notes=onset_encoding.sort_notes(np.concatenate([piece.notes, notes])))


def _finish(composer: TrainedComposer, piece: RollPiece) -> Composition:
    representation = composer.stage.representation
    starts = np.arange(0, piece.num_steps, representation.window_steps)
    latents = composer.inference.encode(representation.encode_at(piece, starts))
    piece = dataclasses.replace(piece, notes=_without_overlaps(piece.notes))
    return Composition(piece, latents, representation.decode_notes(piece))


def _without_overlaps(notes: np.ndarray) -> np.ndarray:
    """Ends every note at the latest where its part starts the same pitch again."""
    order = np.lexsort((notes[:, STEP], notes[:, PITCH], notes[:, PART]))
    by_pitch = notes[order]
    is_repeated = np.all(by_pitch[1:, [PART, PITCH]] == by_pitch[:-1, [PART, PITCH]], axis=1)
    shortened = np.minimum(by_pitch[:-1, DURATION], np.diff(by_pitch[:, STEP]))
    notes = notes.copy()
    notes[order[:-1][is_repeated], DURATION] = shortened[is_repeated]
    return notes
