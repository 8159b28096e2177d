"""Scores written down in beats, for tests."""

from __future__ import annotations

import numpy as np

from vae_jax.music.score import Meter, Score, make_notes, make_score

TICKS_PER_BEAT = 480


def score_of(*notes: tuple[float, float, int], meters: tuple[Meter, ...] = (), **columns) -> Score:
    """Notes as (onset in beats, duration in beats, pitch)."""
    onset, duration, pitch = np.array(notes, dtype=float).reshape(-1, 3).T
    table = make_notes(
        np.round(onset * TICKS_PER_BEAT), np.round(duration * TICKS_PER_BEAT), pitch.astype(int), **columns
    )
    return make_score(TICKS_PER_BEAT, table, meters=meters)


def meter(beat: float, numerator: int, denominator: int = 4) -> Meter:
    """A meter from a beat on."""
    return Meter(round(beat * TICKS_PER_BEAT), numerator, denominator)
