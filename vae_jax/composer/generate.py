"""Generating whole pieces with a trained composer."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.composer import lines as lines_lib
from vae_jax.composer import notes as notes_lib
from vae_jax.composer import sampling
from vae_jax.composer.conditions import PieceConditions
from vae_jax.composer.form import PHRASE_BARS, Form
from vae_jax.composer.lines import NoteRow
from vae_jax.composer.notes import MAX_GAP, MIN_PITCH, STEPS_PER_BEAT, NotePiece
from vae_jax.composer.sampling import Frame, Sampled, Temperatures
from vae_jax.music import instruments, key as key_lib
from vae_jax.music import score as score_lib
from vae_jax.music.key import Tonic
from vae_jax.music.score import DRUM_CHANNEL, KeySignature, Meter, Score, Tempo

_TICKS_PER_BEAT = 480
_MAX_NOTES_PER_BEAT = 16
_MIN_TEMPERATURE = 1e-3
_CHANNELS = [channel for channel in range(16) if channel != DRUM_CHANNEL]
_ACCENT = 6  # Velocity of a strong beat above that of a weak one.


@dataclasses.dataclass(frozen=True, eq=False)
class Request:
    """A piece to generate."""

    conditions: PieceConditions
    back: np.ndarray  # int64 [U], the form: see `form.Form`.
    similarity: np.ndarray
    given: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 3), np.int64))  # First notes.
    with_style: bool = True

    @property
    def bar(self) -> int:
        """Steps of a bar."""
        numerator, denominator = self.conditions.meter
        return 4 * STEPS_PER_BEAT * numerator // denominator

    @property
    def bars(self) -> np.ndarray:
        """Steps at which bars start, and the end."""
        pickup = self.conditions.pickup
        full = pickup + np.arange(self.conditions.num_bars + 1) * self.bar
        return full if pickup == 0 else np.concatenate([[0], full])

    def piece(self) -> NotePiece:
        """Returns the piece without notes."""
        none = np.zeros(0, np.int64)
        form = Form(self.conditions.pickup, PHRASE_BARS * self.bar, self.back, self.similarity)
        return NotePiece(none, none, none, none, self.bars, self.bar, self.conditions.minor, form)


def make_frame(requests: Sequence[Request]) -> Frame:
    """Lays out what is known before a note is written."""
    pieces = [request.piece() for request in requests]
    length = -(-max(piece.end for piece in pieces) // 192) * 192 + MAX_GAP + 1
    steps = np.arange(length)
    columns = []
    for piece, request in zip(pieces, requests, strict=True):
        position, bar, _, hyper = notes_lib.place_at(np.minimum(steps, piece.end), piece)
        plan = notes_lib.plan_features(piece.form.similarity_at(steps), piece.form.lag_at(steps) > 0)
        style = np.array(request.conditions.style, np.float32) * request.with_style
        condition = np.concatenate([style, [float(request.conditions.minor)]])
        lags = notes_lib.lags_at(steps, piece.bar, piece.form)
        columns.append((position, bar, hyper, lags, plan, piece.end, condition))
    position, bar, hyper, lags, plan, end, condition = (np.stack(column) for column in zip(*columns, strict=True))
    most = max(1, max(len(request.given) for request in requests))
    given = np.zeros((len(requests), most, 3), np.int32)
    for n, request in enumerate(requests):
        given[n, : len(request.given)] = request.given
    ints = [np.asarray(x, np.int32) for x in (position, bar, hyper, lags)]
    return Frame(
        *ints,
        np.asarray(plan, np.float32),
        np.asarray(end, np.int32),
        np.asarray(condition, np.float32),
        given,
        np.array([len(request.given) for request in requests], np.int32),
    )


def sample_notes(net, params, requests: Sequence[Request], key: jax.Array, temperatures: Sequence[float]) -> Sampled:
    """Samples the notes of pieces (the key is consumed); temperatures of gap, pitch and duration."""
    frame = make_frame(requests)
    most = -(-int(frame.end.max()) // STEPS_PER_BEAT) * _MAX_NOTES_PER_BEAT
    rows = [np.full(len(requests), max(value, _MIN_TEMPERATURE), np.float32) for value in temperatures]
    return jax.device_get(sampling.sample_pieces(net, params, frame, Temperatures(*rows), key, most))


@functools.partial(jax.jit, static_argnames="net")
def _sample_lines(net, params, rows, lines, key, temperature):
    return lines_lib.sample_lines(net, params, rows, lines, key, temperature)


def sample_tracks(net, params, requests, sampled: Sampled, key: jax.Array, temperature: float) -> np.ndarray:
    """Samples which lines play each note, bool [B, N, MAX_TRACKS]."""
    count = max(int(sampled.count.max()), 1)
    step, pitch, duration = (np.asarray(x)[:, :count] for x in sampled[:3])
    role, size = np.zeros_like(step), np.ones_like(step)
    for b in range(len(step)):
        n = int(sampled.count[b])
        first = np.searchsorted(step[b, :n], step[b, :n])
        role[b, :n] = np.arange(n) - first
        size[b, :n] = np.searchsorted(step[b, :n], step[b, :n], side="right") - first
    rows = NoteRow(step, pitch, step + DURATION_STEPS[duration], role, size)
    rows = jax.tree.map(lambda x: jnp.asarray(x, jnp.int32), rows)
    lines = jnp.asarray(np.stack([lines_lib.line_table(request.conditions.lines) for request in requests]))
    return np.asarray(_sample_lines(net, params, rows, lines, key, temperature))


def make_score(request: Request, sampled: Sampled, plays: np.ndarray | None, b: int, rng: np.random.Generator) -> Score:
    """Makes a score of the b-th sampled piece."""
    conditions = request.conditions
    n = int(sampled.count[b])
    step, pitch, duration = (np.asarray(x)[b, :n].astype(np.int64) for x in sampled[:3])
    end = np.minimum(step + DURATION_STEPS[duration], request.bars[-1])
    if plays is None:
        note, line = np.arange(n), np.zeros(n, np.int64)
    else:
        note, line = np.nonzero(plays[b, :n])
    tonic = Tonic(conditions.pitch_class, conditions.minor, 1.0)
    sounding = pitch + MIN_PITCH - key_lib.semitones_to(tonic)
    end = _without_overlaps(step[note], end[note], pitch[note], line)
    velocity = _velocities(request, step[note], line, rng)
    scale = _TICKS_PER_BEAT // STEPS_PER_BEAT
    used = np.unique(line)
    lines = conditions.lines
    order = np.searchsorted(used, line)
    notes = score_lib.make_notes(
        step[note] * scale,
        (end - step[note]) * scale,
        sounding[note],
        track=order,
        channel=np.array(_CHANNELS)[order % len(_CHANNELS)],
        velocity=velocity,
        program=np.array([line.program for line in lines])[line],
    )
    tempo = 60e6 / conditions.beats_per_minute
    tempos = [Tempo(0, round(tempo))]
    for k, ratio in enumerate(conditions.slowing):
        at = int(request.bars[-1]) - (len(conditions.slowing) - k) * request.bar
        if at > 0:
            tempos.append(Tempo(at * scale, round(tempo / ratio)))
    meters = [Meter(0, *conditions.meter)]
    if conditions.pickup:
        short = notes_meter(conditions.pickup)
        meters = [Meter(0, *short), Meter(conditions.pickup * scale, *conditions.meter)]
    return score_lib.make_score(
        _TICKS_PER_BEAT,
        notes,
        track_names=[instruments.track_label(lines[k].part, "") for k in used],
        tempos=tempos,
        meters=meters,
        keys=[KeySignature(0, key_lib.fifths(tonic), tonic.minor)],
    )


def notes_meter(bar: int) -> tuple[int, int]:
    from vae_jax.composer.conditions import _meter_of

    return _meter_of(bar)


def _velocities(request: Request, step: np.ndarray, line: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Velocities: the line's mean, an accent on the beats of the bar, and a slow common wave."""
    mean = np.array([one.velocity for one in request.conditions.lines])[line]
    since = (step - request.conditions.pickup) % request.bar
    accent = np.where(since == 0, 1.0, np.where(since % STEPS_PER_BEAT == 0, 0.3, -0.6)) * _ACCENT / 2
    num = request.conditions.num_bars + 2
    wave = np.zeros(num)
    for n in range(1, num):
        wave[n] = 0.8 * wave[n - 1] + rng.normal(0, 2.5)
    bar = np.clip((step - request.conditions.pickup) // request.bar + 1, 0, num - 1)
    return np.clip(np.round(mean + accent + wave[bar] + rng.normal(0, 1.5, len(step))), 1, 127).astype(np.int64)


def _without_overlaps(step: np.ndarray, end: np.ndarray, pitch: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Ends every note at the latest where its line starts the same pitch again."""
    order = np.lexsort((step, pitch, line))
    same = (line[order][1:] == line[order][:-1]) & (pitch[order][1:] == pitch[order][:-1])
    shortened = np.where(same, np.minimum(end[order][:-1], step[order][1:]), end[order][:-1])
    end = end.copy()
    end[order[:-1]] = shortened
    return end
