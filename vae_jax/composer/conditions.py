"""What a new piece takes from one training piece, so that it fits together: meter, length, tempo, key, style, lines."""

import dataclasses
import math

import numpy as np

from vae_jax.composer import drums as drums_lib
from vae_jax.composer import lines as lines_lib
from vae_jax.composer.dynamics import Dynamics, read_dynamics
from vae_jax.composer.lines import Line
from vae_jax.composer.notes import STEPS_PER_BEAT, NotePiece, measure_style
from vae_jax.music import key, quantization
from vae_jax.music.score import Score

_SLOWING_BARS = 2
_HALF_BEAT = STEPS_PER_BEAT // 2


@dataclasses.dataclass(frozen=True)
class PieceConditions:
    """Measured on a piece."""

    meter: tuple[int, int]  # Of the most common bars.
    num_bars: int  # Full bars.
    pickup: int  # Steps before the first full bar.
    pitch_class: int  # Of the tonic.
    minor: bool
    beats_per_minute: float  # Quarter notes a minute, mean over the piece.
    final: int  # Steps from the last chord to the end, in half beats.
    slowing: tuple[float, ...]  # Tempo of each of the last two bars in proportion to the mean, the last one last.
    style: tuple[float, ...]  # See `notes.measure_style`.
    lines: tuple[Line, ...]
    drum_rates: tuple[float, ...]  # How much each drum is used, see `drums.measure_drum_rates`.
    dynamics: Dynamics


def read_conditions(score: Score, piece: NotePiece, drums: np.ndarray) -> PieceConditions:
    """Reads the conditions of a piece; `drums` [D] are MIDI pitches."""
    tonic = key.estimate_tonic(score.notes)
    rates = drums_lib.measure_drum_rates(drums_lib.read_drums(score, piece, drums), piece)
    first = int(quantization.first_downbeat(piece.bars))
    meters = [(one.numerator, one.denominator) for one in score.meters]
    meters = [one for one in meters if 4 * STEPS_PER_BEAT * one[0] == piece.bar * one[1]]
    tempo = score.mean_tempo(0, score.end_tick)
    ticks = score.ticks_per_beat / STEPS_PER_BEAT
    lasts = [
        score.mean_tempo(round((piece.end - n * piece.bar) * ticks), round((piece.end - (n - 1) * piece.bar) * ticks))
        for n in range(_SLOWING_BARS, 0, -1)
        if piece.end > n * piece.bar
    ]
    return PieceConditions(
        meter=meters[0] if meters else meter_of(piece.bar),
        num_bars=max(round((piece.end - first) / piece.bar), 1),
        pickup=first - int(piece.bars[0]),
        pitch_class=tonic.pitch_class,
        minor=tonic.minor,
        beats_per_minute=round(tempo, 1),
        final=max(round((piece.end - piece.last) / _HALF_BEAT), 1) * _HALF_BEAT,
        slowing=tuple(round(float(np.clip(last / tempo, 0.4, 1.5)), 3) for last in lasts),
        style=tuple(measure_style(piece).astype(float).round(4).tolist()),
        lines=lines_lib.read_lines(score, piece, tonic),
        drum_rates=tuple(rates.astype(float).round(4).tolist()),
        dynamics=read_dynamics(score, piece),
    )


def meter_of(bar: int) -> tuple[int, int]:
    """The meter of a bar of so many steps."""
    common = math.gcd(bar, 4 * STEPS_PER_BEAT)
    denominator = 4 * STEPS_PER_BEAT // common
    scale = max(1, 4 // denominator)
    return bar // common * scale, denominator * scale
