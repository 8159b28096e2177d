"""Generating whole pieces with a trained composer: notes, then lines, drums and dynamics, as a Score."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.composer import conditions as conditions_lib
from vae_jax.composer import lines as lines_lib
from vae_jax.composer import notes as notes_lib
from vae_jax.composer import sampling
from vae_jax.composer.lines import LineNet, NoteRow
from vae_jax.composer.notes import (
    MAX_GAP,
    MIN_PITCH,
    NUM_DURATIONS,
    NUM_PITCHES,
    NUM_ROLES,
    STEPS_PER_BEAT,
    STYLE_SIZE,
    NotePiece,
)
from vae_jax.composer.requests import Request
from vae_jax.composer.sampling import Frame, Music, Sampled, Temperatures
from vae_jax.composer.stage import TrainedComposer
from vae_jax.models.base import Variables
from vae_jax.music import instruments
from vae_jax.music import key as key_lib
from vae_jax.music import score as score_lib
from vae_jax.music.key import Tonic
from vae_jax.music.score import DRUM_CHANNEL, KeySignature, Meter, Score, Tempo
from vae_jax.representations.pianoroll.durations import DURATION_STEPS, duration_classes

_TICKS_PER_BEAT = 480
_MAX_NOTES_PER_BEAT = 16
_MIN_TEMPERATURE = 1e-3
_ROUND_STEPS = 768  # Lengths of batches are multiples, so that few programs are compiled.
_CHANNELS = [channel for channel in range(16) if channel != DRUM_CHANNEL]


def compose(composer: TrainedComposer, num: int, seed: int, temperature: float = 1.0) -> list[Score]:
    """Generates pieces with conditions sampled from the training pieces; the same arguments give the same pieces."""
    requests = [composer.sample_request(np.random.default_rng([seed, n])) for n in range(num)]
    return generate_pieces(composer, requests, seed, temperature)


def generate_pieces(
    composer: TrainedComposer, requests: Sequence[Request], seed: int, temperature: float = 1.0
) -> list[Score]:
    """Generates pieces in one batch.

    Args:
      composer: the trained composer.
      requests: the pieces.
      seed: of all that is drawn.
      temperature: scales the temperatures of the config; near 0 the likeliest is chosen throughout.
    """
    config, params = composer.stage.config, composer.variables["params"]
    scale = max(temperature, _MIN_TEMPERATURE)
    at = lambda value: jnp.float32(max(value * scale, _MIN_TEMPERATURE))  # noqa: E731
    temperatures = Temperatures(
        at(config.time_temperature), at(config.pitch_temperature), at(config.duration_temperature)
    )
    note_key, line_key, latent_key = jax.random.split(jax.random.key(seed), 3)
    frame = make_frame(requests, np.asarray(_draw_latents(latent_key, requests, config.latent_dim)))
    most = -(-int((frame.end - frame.start).max()) // STEPS_PER_BEAT) * _MAX_NOTES_PER_BEAT
    sampled = jax.device_get(
        sampling.sample_pieces(composer.stage.decoder, params["decoder"], frame, temperatures, note_key, most)
    )
    sampled = sampled._replace(step=sampled.step - np.asarray(frame.start)[:, None])
    plays = sample_tracks(params["lines"], requests, sampled, line_key, float(at(config.line_temperature)))
    rngs = [np.random.default_rng([seed, n]) for n in range(len(requests))]
    return [make_score(request, sampled, plays, n, rngs[n]) for n, request in enumerate(requests)]


def _draw_latents(key: jax.Array, requests: Sequence[Request], latent_dim: int) -> jax.Array:
    most = max(request.num_phrases for request in requests) + 1
    return jax.random.normal(key, (len(requests), most, latent_dim))


def make_frame(requests: Sequence[Request], prior: np.ndarray) -> Frame:
    """Lays out what is known before a note is written.

    `prior` [B, >= U, L] holds latents of phrases for requests that have none.
    """
    starts = [0 if request.source is None else request.source.end for request in requests]
    longest = max(start + request.num_steps for start, request in zip(starts, requests, strict=True))
    length = -(-longest // _ROUND_STEPS) * _ROUND_STEPS + MAX_GAP + 1
    columns = [
        _lay_out(request, start, length, prior[n]) for n, (request, start) in enumerate(zip(requests, starts, strict=True))
    ]
    stacked = {name: np.stack([column[name] for column in columns]) for name in columns[0]}
    music = Music(**{name: stacked.pop(name) for name in Music._fields})
    most = max(1, *(len(column) for column in (_opening(request) for request in requests)))
    given = np.full((len(requests), most, 5), -1, np.int32)
    for n, request in enumerate(requests):
        opening = _opening(request)
        given[n, : len(opening)] = opening + np.array([starts[n], 0, 0, 0, 0])
    num_given = np.array([len(_opening(request)) for request in requests], np.int32)
    earliest = np.array([start + one.opening_steps for start, one in zip(starts, requests, strict=True)], np.int32)
    return Frame(**stacked, given=given, num_given=num_given, earliest=earliest, music=music)


def _lay_out(request: Request, start: int, length: int, prior: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of a request in `Frame` and `Music`, without a batch dimension."""
    piece, steps = request.piece(), np.arange(length)
    own = np.clip(steps - start, 0, piece.end)
    position, bar, _, hyper = notes_lib.place_at(own, piece)
    lags = notes_lib.lags_at(own, piece.bar, piece.form)
    lags = np.where(lags <= own[:, None], lags, 0)
    has_plan = lags[:, -1] > 0
    if request.source is not None:
        lags[:, -1] = start
        has_plan = np.ones(length, bool)
    latents = prior if request.latents is None else request.latents
    phrase = np.clip((own - piece.form.start) // piece.form.phrase, 0, len(latents) - 1)
    roll = np.zeros((length, NUM_PITCHES), bool)
    roles = np.full((length, NUM_ROLES), NUM_PITCHES, np.uint8)
    lengths = np.full((length, NUM_PITCHES), NUM_DURATIONS, np.uint8)
    if (source := request.source) is not None:
        role = np.minimum(notes_lib.in_order(source.step, source.pitch)[1], NUM_ROLES - 1)
        roll[source.step, source.pitch] = True
        roles[source.step, role] = source.pitch
        lengths[source.step, source.pitch] = duration_classes(source.duration)
    return {
        "start": np.int32(start),
        "end": np.int32(start + piece.end),
        "position": position.astype(np.int32),
        "bar": bar.astype(np.int32),
        "hyper": hyper.astype(np.int32),
        "lags": lags.astype(np.int32),
        "plan": notes_lib.plan_features(piece.form.similarity_at(own), has_plan).astype(np.float32),
        "condition": np.array([*request.conditions.style, request.conditions.minor], np.float32),
        "latents": np.concatenate([latents[phrase], np.ones((length, 1))], axis=-1).astype(np.float32),
        "roll": roll,
        "roles": roles,
        "lengths": lengths,
    }


def _opening(request: Request) -> np.ndarray:
    """The notes that a piece begins with, int64 [M, 5] as in `Frame.given`."""
    if (piece := request.opening) is None:
        return np.zeros((0, 5), np.int64)
    kept = piece.step < request.opening_steps
    step, pitch = piece.step[kept], piece.pitch[kept]
    longest = request.num_steps - step
    role = notes_lib.in_order(step, pitch)[1]
    chords = np.append(np.unique(step), -1)
    following = chords[np.searchsorted(chords[:-1], step, side="right")]
    gap = np.where(following >= 0, following - step, -1)
    return np.stack([step, pitch, duration_classes(np.minimum(piece.duration[kept], longest)), role, gap], axis=1)


@functools.partial(jax.jit)
def _sample_lines(params: Variables, rows: NoteRow, lines: jax.Array, key: jax.Array, temperature: jax.Array):
    return lines_lib.sample_lines(LineNet(), params, rows, lines, key, temperature)


def sample_tracks(
    params: Variables, requests: Sequence[Request], sampled: Sampled, key: jax.Array, temperature: float
) -> np.ndarray:
    """Samples which lines play each note, bool [B, N, MAX_TRACKS] (the key is consumed)."""
    count = -(-max(int(sampled.count.max()), 1) // _ROUND_STEPS) * _ROUND_STEPS
    step, pitch, duration = (np.asarray(x)[:, :count] for x in sampled[:3])
    role, size = np.zeros_like(step), np.ones_like(step)
    for b in range(len(step)):
        n = int(sampled.count[b])
        first, end = (np.searchsorted(step[b, :n], step[b, :n], side=side) for side in ("left", "right"))
        role[b, :n], size[b, :n] = np.minimum(np.arange(n) - first, NUM_ROLES - 1), end - first
    columns = (step, pitch, step + DURATION_STEPS[duration], role, size)
    rows = NoteRow(*(jnp.asarray(column, jnp.int32) for column in columns))
    lines = jnp.asarray(np.stack([lines_lib.line_table(request.conditions.lines) for request in requests]))
    return np.asarray(_sample_lines(params, rows, lines, key, jnp.float32(temperature)))


def make_score(request: Request, sampled: Sampled, plays: np.ndarray, b: int, rng: np.random.Generator) -> Score:
    """Makes the score of the b-th sampled piece."""
    conditions, n = request.conditions, int(sampled.count[b])
    step, pitch, duration = (np.asarray(x)[b, :n].astype(np.int64) for x in sampled[:3])
    end = np.minimum(step + DURATION_STEPS[duration], request.num_steps)
    note, line = np.nonzero(plays[b, :n])
    tonic = Tonic(conditions.pitch_class, conditions.minor, 1.0)
    end = _without_overlaps(step[note], end[note], pitch[note], line)
    scale = _TICKS_PER_BEAT // STEPS_PER_BEAT
    used, order = np.unique(line, return_inverse=True)
    lines = conditions.lines
    notes = score_lib.make_notes(
        step[note] * scale,
        (end - step[note]) * scale,
        np.clip(pitch[note] + MIN_PITCH - key_lib.semitones_to(tonic), 0, 127),
        track=order,
        channel=np.array(_CHANNELS)[order % len(_CHANNELS)],
        velocity=_velocities(request, step[note], line, rng),
        program=np.array([one.program for one in lines])[line],
    )
    tempo = 60e6 / conditions.beats_per_minute
    tempos = [Tempo(0, round(tempo))]
    bar = bar_of(request)
    for k, ratio in enumerate(conditions.slowing):
        at = request.num_steps - (len(conditions.slowing) - k) * bar
        if at > 0:
            tempos.append(Tempo(at * scale, round(tempo / ratio)))
    meters = [Meter(0, *conditions.meter)]
    if pickup := request.form.start:
        meters = [Meter(0, *conditions_lib.meter_of(pickup)), Meter(pickup * scale, *conditions.meter)]
    return score_lib.make_score(
        _TICKS_PER_BEAT,
        notes,
        track_names=[instruments.track_label(lines[k].part, "") for k in used],
        tempos=tempos,
        meters=meters,
        keys=[KeySignature(0, key_lib.fifths(tonic), tonic.minor)],
    )


def bar_of(request: Request) -> int:
    """Steps of a bar of a request."""
    return request.piece().bar


def _velocities(request: Request, step: np.ndarray, line: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    del step, rng
    return np.array([one.velocity for one in request.conditions.lines], np.int64)[line]


def _without_overlaps(step: np.ndarray, end: np.ndarray, pitch: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Ends every note at the latest where its line starts the same pitch again."""
    order = np.lexsort((step, pitch, line))
    same = (line[order][1:] == line[order][:-1]) & (pitch[order][1:] == pitch[order][:-1])
    shortened = np.where(same, np.minimum(end[order][:-1], step[order][1:]), end[order][:-1])
    end = end.copy()
    end[order[:-1]] = shortened
    return end
