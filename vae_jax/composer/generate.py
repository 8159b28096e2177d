"""Generating whole pieces with a trained composer: notes, then lines, drums and dynamics, as a Score."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.composer import conditions as conditions_lib
from vae_jax.composer import drums as drums_lib
from vae_jax.composer import lines as lines_lib
from vae_jax.composer import notes as notes_lib
from vae_jax.composer import sampling
from vae_jax.composer.dynamics import sample_velocities
from vae_jax.composer.form import PHRASE_BARS
from vae_jax.composer.lines import LineNet, NoteRow
from vae_jax.composer.memory import Music, Sampled
from vae_jax.composer.notes import (
    MAX_GAP,
    MAX_TRACKS,
    MIN_PITCH,
    NUM_DURATIONS,
    NUM_PITCHES,
    NUM_ROLES,
    STEPS_PER_BEAT,
    NotePiece,
)
from vae_jax.composer.requests import Request, sample_request
from vae_jax.composer.sampling import Frame, Melody, Temperatures
from vae_jax.composer.stage import TrainedComposer
from vae_jax.music import instruments
from vae_jax.music import key as key_lib
from vae_jax.music import score as score_lib
from vae_jax.music.key import Tonic
from vae_jax.music.score import DRUM_CHANNEL, PITCHED_CHANNELS, KeySignature, Meter, Score, Tempo
from vae_jax.representations.pianoroll.durations import DURATION_STEPS, duration_classes

_TICKS_PER_STEP = 40
_DRUM_STEPS = 2
_MAX_NOTES_PER_BEAT = 16
_MIN_TEMPERATURE = 1e-3
_NOTES, _TRACKS, _DRUMS, _LATENTS = 1, 2, 3, 4  # Streams of random numbers, that of conditions and dynamics is none.
# Lengths, notes that are given, and pieces of batches are multiples of these, so that few programs are compiled.
_ROUND_STEPS, _ROUND_GIVEN, _ROUND_PIECES = 3072, 256, 4
_MAX_PIECES = 64  # Of a batch.


def compose(composer: TrainedComposer, num: int, seed: int, temperature: float = 1.0) -> list[Score]:
    """Generates pieces with conditions sampled from the training pieces; the n-th depends on n and the seed alone."""
    requests = [sample_request(composer, np.random.default_rng([seed, n])) for n in range(num)]
    return generate_pieces(composer, requests, seed, temperature)


def generate_pieces(
    composer: TrainedComposer, requests: Sequence[Request], seed: int, temperature: float = 1.0
) -> list[Score]:
    """Generates pieces, in batches of equal size.

    Args:
      composer: the trained composer.
      requests: the pieces.
      seed: of all that is drawn; what is drawn for a piece depends on it and the piece's number.
      temperature: scales the temperatures of the config; near 0 the likeliest is chosen throughout.
    """
    requests = [dataclasses.replace(one, number=n) for one, n in zip(requests, _numbers(requests), strict=True)]
    size, scores = min(_round_up(len(requests), _ROUND_PIECES), _MAX_PIECES), list[Score]()
    while len(scores) < len(requests):
        batch = requests[len(scores) : len(scores) + size]
        filled = batch + [min(batch, key=lambda request: request.num_steps)] * (size - len(batch))
        pieces = generate_notes(composer, filled, seed, temperature)
        scores += arrange(composer, filled, pieces, seed, temperature)[: len(batch)]
    return scores


def _numbers(requests: Sequence[Request]) -> list[int]:
    """The numbers of pieces, which decide what is drawn for them."""
    return [n if request.number is None else request.number for n, request in enumerate(requests)]


def _scale(value: float, temperature: float) -> jax.Array:
    return jnp.float32(max(value * temperature, _MIN_TEMPERATURE))


def _keys(requests: Sequence[Request], seed: int, stream: int) -> jax.Array:
    """The keys of pieces [B], for their notes, their tracks or their drums."""
    return _fold_numbers(jax.random.fold_in(jax.random.key(seed), stream), np.array(_numbers(requests)))


@jax.jit
def _fold_numbers(key: jax.Array, numbers: jax.Array) -> jax.Array:
    return jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers)


def generate_notes(
    composer: TrainedComposer, requests: Sequence[Request], seed: int, temperature: float = 1.0
) -> list[NotePiece]:
    """Generates the notes of pieces, of which no track plays any yet."""
    config = composer.stage.config
    most = max(request.piece().num_phrases for request in requests)
    rngs = [np.random.default_rng([seed, n, _LATENTS]) for n in _numbers(requests)]
    prior = np.stack([rng.standard_normal((most, config.latent_dim)) for rng in rngs])
    frame = make_frame(requests, prior)
    temperatures = Temperatures(
        _scale(config.time_temperature, temperature),
        _scale(config.pitch_temperature, temperature),
        _scale(config.duration_temperature, temperature),
        jnp.float32(config.ending_temperature),
        jnp.float32(config.ending_chords),
        jnp.float32(config.return_temperature),
        jnp.float32(config.least_time),
        jnp.float32(config.least_pitch),
    )
    beats = _round_up(max(request.num_steps for request in requests), _ROUND_STEPS) // STEPS_PER_BEAT
    most = beats * _MAX_NOTES_PER_BEAT
    params = composer.variables["params"]["decoder"]
    sampled = jax.device_get(
        sampling.sample_pieces(composer.stage.decoder, params, frame, temperatures, _keys(requests, seed, _NOTES), most)
    )
    return [_read_sampled(request, int(frame.start[n]), sampled, n) for n, request in enumerate(requests)]


def arrange(
    composer: TrainedComposer,
    requests: Sequence[Request],
    pieces: Sequence[NotePiece],
    seed: int,
    temperature: float = 1.0,
) -> list[Score]:
    """Gives the notes of pieces to the tracks that are asked for, with drums and dynamics."""
    plays = assign_tracks(composer, requests, pieces, seed, temperature)
    heat = _scale(composer.stage.config.drum_temperature, temperature)
    hits = _sample_drums(composer, requests, pieces, seed, heat)
    rngs = [np.random.default_rng([seed, n]) for n in _numbers(requests)]
    rows = zip(requests, pieces, plays, hits, rngs, strict=True)
    return [
        _make_score(request, piece, mine, beaten, composer.drums, rng) for request, piece, mine, beaten, rng in rows
    ]


def _read_sampled(request: Request, start: int, sampled: Sampled[np.ndarray], n: int) -> NotePiece:
    """The n-th sampled piece."""
    count = int(sampled.num_notes[n])
    step, pitch, duration = (np.asarray(x)[n, :count].astype(np.int64) for x in sampled[:3])
    step = step - start
    duration = np.minimum(DURATION_STEPS[duration], request.num_steps - step)
    return dataclasses.replace(request.piece(), step=step, pitch=pitch, duration=duration, tracks=np.zeros_like(step))


def _round_up(number: int, unit: int) -> int:
    """The next multiple of a unit, at least one unit."""
    return max(-(-number // unit), 1) * unit


def make_frame(requests: Sequence[Request], prior: np.ndarray) -> Frame[np.ndarray]:
    """Lays out what is known before a note is written.

    `prior` [B, >= U, L] holds latents of phrases for requests that have none.
    """
    starts = [0 if request.source is None else request.source.end for request in requests]
    longest = max(start + request.num_steps for start, request in zip(starts, requests, strict=True))
    length = _round_up(longest, _ROUND_STEPS) + MAX_GAP + 1
    columns = [
        _lay_out(request, start, length, prior[n])
        for n, (request, start) in enumerate(zip(requests, starts, strict=True))
    ]
    stacked = {name: np.stack([column[name] for column in columns]) for name in columns[0]}
    music = Music(*(stacked.pop(name) for name in Music._fields))
    openings = [_opening(request) for request in requests]
    num_given = np.array([len(opening) for opening in openings], np.int32)
    given = np.full((len(requests), _round_up(int(num_given.max()), _ROUND_GIVEN), 5), -1, np.int32)
    for n, opening in enumerate(openings):
        given[n, : len(opening)] = opening + np.array([starts[n], 0, 0, 0, 0])
    earliest = np.array([start + one.opening_steps for start, one in zip(starts, requests, strict=True)], np.int32)
    melodies = [_lay_out_melody(request, length) for request in requests]
    melody = Melody(*(np.stack(columns) for columns in zip(*melodies, strict=True)))
    return Frame(**stacked, given=given, num_given=num_given, earliest=earliest, melody=melody, music=music)


def _lay_out_melody(request: Request, length: int) -> Melody[np.ndarray]:
    """The top voice that a request gives."""
    found = Melody.free(length)
    if (melody := request.melody) is None:
        return found
    found.pitch[melody.step] = melody.pitch
    found.duration[melody.step] = duration_classes(melody.duration)
    index = np.searchsorted(melody.step, np.arange(length), side="right")
    more = index < len(melody.step)
    found.following[more] = melody.step[index[more]]
    for step, pitch, duration in zip(melody.step, melody.pitch, melody.duration, strict=True):
        found.ceiling[step + 1 : step + duration] = pitch
    return found


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
    mode = request.conditions.minor if request.mode is None else request.mode
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
        "start": np.array(start, np.int32),
        "last": np.array(start + request.last, np.int32),
        "position": position.astype(np.int32),
        "bar": bar.astype(np.int32),
        "hyper": hyper.astype(np.int32),
        "lags": lags.astype(np.int32),
        "plan": notes_lib.plan_features(piece.form.similarity_at(own), has_plan).astype(np.float32),
        "chords": notes_lib.chords_at(own, piece.harmony).astype(np.int32),
        "condition": np.array([*request.conditions.style, mode], np.float32),
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
    return np.stack([step, role, pitch, duration_classes(np.minimum(piece.duration[kept], longest)), gap], axis=1)


@jax.jit
def _sample_lines(params, rows, num, lines, given, keys, temperature):
    return lines_lib.sample_lines(LineNet(), params, rows, num, lines, given, keys, temperature)


def assign_tracks(
    composer: TrainedComposer,
    requests: Sequence[Request],
    pieces: Sequence[NotePiece],
    seed: int,
    temperature: float = 1.0,
) -> list[np.ndarray]:
    """Samples which of the lines that are asked for play each note of each piece, bool [N, MAX_TRACKS]."""
    keys = _keys(requests, seed, _TRACKS)
    heat = _scale(composer.stage.config.line_temperature, temperature)
    num_notes = max(len(piece.step) for piece in pieces)
    most = _round_up(num_notes, _ROUND_STEPS)
    columns = np.zeros((5, len(pieces), most), np.int32)
    given = np.zeros((len(pieces), most, MAX_TRACKS), bool)
    num_given = np.zeros(len(pieces), np.int32)
    for b, (request, piece) in enumerate(zip(requests, pieces, strict=True)):
        n = len(piece.step)
        first, end = (np.searchsorted(piece.step, piece.step, side=side) for side in ("left", "right"))
        role = np.minimum(np.arange(n) - first, NUM_ROLES - 1)
        columns[:, b, :n] = piece.step, piece.pitch, piece.step + piece.duration, role, end - first
        if request.opening is not None:
            num_given[b] = num = np.count_nonzero(request.opening.step < request.opening_steps)
            given[b, :num] = (request.opening.tracks[:num, None] >> np.arange(MAX_TRACKS)) & 1
    lines = jnp.asarray(np.stack([lines_lib.line_table(request.conditions.lines) for request in requests]))
    params = composer.variables["params"]["lines"]
    plays = np.asarray(_sample_lines(params, NoteRow(*columns), num_notes, lines, (given, num_given), keys, heat))
    return [plays[b, : len(piece.step)] for b, piece in enumerate(pieces)]


def _sample_drums(
    composer: TrainedComposer,
    requests: Sequence[Request],
    pieces: Sequence[NotePiece],
    seed: int,
    temperature: jax.Array,
) -> list[np.ndarray]:
    """Samples which drums start at each step of each piece, bool [T, D]."""
    plays = [any(request.conditions.drum_rates[:-1]) for request in requests]
    if not any(plays):
        return [np.zeros((piece.end, len(composer.drums)), bool) for piece in pieces]
    whole, openings = [], []
    for request, piece in zip(requests, pieces, strict=True):
        opening = np.zeros((0, len(composer.drums)), bool) if request.drums is None else request.drums
        if request.source is not None:
            piece = notes_lib.join(request.source, piece)
        elif request.opening is not None:
            opening = opening[: request.opening_steps]
        whole.append(piece)
        openings.append(opening)
    num_steps = max(piece.end for piece in whole)
    length = _round_up(num_steps, _ROUND_STEPS)
    rates = [np.array(request.conditions.drum_rates, np.float32) for request in requests]
    frames = drums_lib.stack_frames(whole, rates, length)
    start = np.zeros((len(whole), length, len(composer.drums)), bool)
    for n, opening in enumerate(openings):
        start[n, : len(opening)] = opening
    given = start, np.array([len(opening) for opening in openings], np.int32)
    params, keys = composer.variables["params"]["drums"], _keys(requests, seed, _DRUMS)
    rows = drums_lib.sample_drums(composer.stage.drum_net, params, frames, num_steps, keys, temperature, given)
    columns = zip(np.asarray(rows), whole, pieces, plays, strict=True)
    return [found[both.end - piece.end : both.end] & mine for found, both, piece, mine in columns]


def _make_score(
    request: Request,
    piece: NotePiece,
    plays: np.ndarray,
    hits: np.ndarray,
    drums: np.ndarray,
    rng: np.random.Generator,
) -> Score:
    """Makes the score of a piece, of which lines play its notes and of its drums."""
    conditions, lines = request.conditions, request.conditions.lines
    note, line = np.nonzero(plays)
    step = piece.step[note]
    end = _without_overlaps(step, step + piece.duration[note], piece.pitch[note], line)
    tonic = Tonic(conditions.pitch_class, conditions.minor, 1.0)
    pitch = np.clip(piece.pitch[note] + MIN_PITCH - key_lib.semitones_to(tonic), 0, 127)
    hit, drum = np.nonzero(hits)
    used, order = np.unique(line, return_inverse=True)
    columns = {
        "step": np.concatenate([step, hit]),
        "length": np.concatenate([end - step, np.full(len(hit), _DRUM_STEPS)]),
        "pitch": np.concatenate([pitch, drums[drum]]),
        "line": np.concatenate([line, np.full(len(hit), len(lines))]),
    }
    notes = score_lib.make_notes(
        columns["step"] * _TICKS_PER_STEP,
        columns["length"] * _TICKS_PER_STEP,
        columns["pitch"],
        track=np.concatenate([order, np.full(len(hit), len(used))]),
        channel=np.concatenate([PITCHED_CHANNELS[order % len(PITCHED_CHANNELS)], np.full(len(hit), DRUM_CHANNEL)]),
        velocity=sample_velocities(
            conditions.dynamics, piece, lines, (columns["step"], columns["line"], columns["pitch"]), rng
        ),
        program=np.array([*(one.program for one in lines), 0])[columns["line"]],
    )
    names = [instruments.track_label(lines[k].part, "") for k in used]
    return score_lib.make_score(
        _TICKS_PER_STEP * STEPS_PER_BEAT,
        notes,
        track_names=names + [instruments.track_label(instruments.DRUMS, "")] * bool(len(hit)),
        tempos=_tempos(request),
        meters=_meters(request),
        keys=[KeySignature(0, key_lib.fifths(tonic), tonic.minor)],
    )


def _tempos(request: Request) -> list[Tempo]:
    """The tempo, and that of the last bars."""
    tempo, bars = 60e6 / request.conditions.beats_per_minute, request.bars
    slowing = request.conditions.slowing[-max(len(bars) - 2, 0) :] if len(bars) > 2 else ()
    starts = bars[len(bars) - 1 - len(slowing) : -1].tolist()
    lasts = [Tempo(step * _TICKS_PER_STEP, round(tempo / ratio)) for step, ratio in zip(starts, slowing, strict=True)]
    return [Tempo(0, round(tempo)), *lasts]


def _meters(request: Request) -> list[Meter]:
    """The meter of every bar that differs from the one before."""
    lengths = np.diff(request.bars).tolist()
    usual = request.form.phrase // PHRASE_BARS
    of_length = {usual: request.conditions.meter}
    meters: list[Meter] = []
    for step, length in zip(request.bars.tolist(), lengths, strict=False):
        meter = of_length.get(length) or conditions_lib.meter_of(length)
        if not meters or (meters[-1].numerator, meters[-1].denominator) != meter:
            meters.append(Meter(step * _TICKS_PER_STEP, *meter))
    return meters


def _without_overlaps(step: np.ndarray, end: np.ndarray, pitch: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Ends every note at the latest where its line starts the same pitch again."""
    order = np.lexsort((step, pitch, line))
    same = (line[order][1:] == line[order][:-1]) & (pitch[order][1:] == pitch[order][:-1])
    shortened = np.where(same, np.minimum(end[order][:-1], step[order][1:]), end[order][:-1])
    end = end.copy()
    end[order[:-1]] = shortened
    return end
