"""Ensembles: what a piece is played by and how, taken whole from a training piece so that it fits together."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from vae_jax.composer.dataset import Style, describe_style
from vae_jax.music import instruments, quantization
from vae_jax.music import key as key_lib
from vae_jax.music.score import Score
from vae_jax.representations.pianoroll.context import DEFAULT_PROGRAMS, DEFAULT_VELOCITY
from vae_jax.representations.pianoroll.encoding import RollPiece

_MIN_BEATS_PER_MINUTE, _MAX_BEATS_PER_MINUTE = 40.0, 200.0


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """The players of a piece.

    Attributes:
      style: see `continuations.Style`.
      pitch_class: of the tonic, 0 is C.
      beats_per_minute: quarter notes a minute, over the whole piece.
      programs, velocities: one for each part: its first instrument, and its mean velocity.
      num_bars: full bars of the piece, its usual ones.
      meter: of these bars, numerator and denominator.
    """

    style: Style
    pitch_class: int
    beats_per_minute: float
    programs: tuple[int, ...]
    velocities: tuple[int, ...]
    num_bars: int
    meter: tuple[int, int]


def read_ensemble(score: Score, piece: RollPiece) -> Ensemble:
    """Reads the ensemble of a piece from its score and its roll."""
    key = key_lib.estimate_tonic(score.notes)
    minutes = max(score.duration_sec, 1e-3) / 60
    tempo = score.end_tick / score.ticks_per_beat / minutes
    tracks = piece.context.tracks
    programs = tuple(
        tracks[part][0].program if tracks[part] else DEFAULT_PROGRAMS[part] for part in range(instruments.NUM_PARTS)
    )
    part_of_note = instruments.assign_parts(score)
    counts = np.bincount(part_of_note, minlength=instruments.NUM_PARTS)
    totals = np.bincount(part_of_note, score.notes.velocity, minlength=instruments.NUM_PARTS)
    means = np.where(counts > 0, totals / np.maximum(counts, 1), DEFAULT_VELOCITY)
    meter, num_bars = _usual_bars(score, piece)
    return Ensemble(
        describe_style(piece, key.minor),
        key.pitch_class,
        round(float(np.clip(tempo, _MIN_BEATS_PER_MINUTE, _MAX_BEATS_PER_MINUTE)), 1),
        programs,
        tuple(int(velocity) for velocity in np.clip(np.round(means), 1, 127)),
        num_bars,
        meter,
    )


def _usual_bars(score: Score, piece: RollPiece) -> tuple[tuple[int, int], int]:
    """The meter of a piece's most common bars, and how many such bars it lasts; 4/4 where no meter has such bars."""
    first = quantization.first_downbeat(piece.bars)
    lengths = np.diff(piece.bars[piece.bars >= first])
    steps_per_beat = piece.config.steps_per_beat
    usual = int(np.bincount(lengths).argmax()) if len(lengths) else 4 * steps_per_beat
    fitting = [
        (meter.numerator, meter.denominator)
        for meter in score.meters
        if 4 * steps_per_beat * meter.numerator == usual * meter.denominator
    ]
    return (fitting[0] if fitting else (4, 4)), max(round((int(piece.bars[-1]) - first) / usual), 1)


def pack(ensemble: Ensemble) -> dict[str, Any]:
    """Turns an ensemble into what JSON can hold."""
    return dataclasses.asdict(ensemble)


def unpack(packed: dict[str, Any]) -> Ensemble:
    """Turns it back."""
    style = packed["style"]
    return Ensemble(
        Style(**(style | {"shares": tuple(style["shares"])})),
        packed["pitch_class"],
        packed["beats_per_minute"],
        tuple(packed["programs"]),
        tuple(packed["velocities"]),
        packed["num_bars"],
        tuple(packed["meter"]),
    )
