"""Small pieces and their statistics, for tests."""

from __future__ import annotations

from beat_scores import score_of

from vae_jax.evaluation.bar_grid import make_bar_grid
from vae_jax.evaluation.musicology import statistics
from vae_jax.evaluation.musicology.voices import Voices, make_voices
from vae_jax.music.score import Score


def voices_of(score: Score) -> Voices:
    return make_voices(score, make_bar_grid(score))


def describe(score: Score) -> dict[str, dict[str, float]]:
    """The statistics by view and name."""
    return statistics.describe(voices_of(score))


def melody_of(*pitches: int) -> Score:
    """Quarter notes."""
    return score_of(*((beat, 1, pitch) for beat, pitch in enumerate(pitches)))


def chords_of(*chords: tuple[int, ...], length: float = 1, **columns) -> Score:
    """Chords one after another, of so many beats each."""
    return score_of(*((length * n, length, pitch) for n, chord in enumerate(chords) for pitch in chord), **columns)
