"""The key of a piece from its pitch classes, and the transposition that brings it to a common tonic."""

import dataclasses
import re

import numpy as np

from vae_jax.music import theory
from vae_jax.music.score import Notes

# Probe-tone profiles of Krumhansl and Kessler, as printed in C. L. Krumhansl, Cognitive Foundations of Musical Pitch,
# Oxford University Press 1990, p. 30: how well each pitch class, counted from the tonic, fits a major and a minor key.
MAJOR_PROFILE = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR_PROFILE = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)

_KEY = re.compile(r"([A-Ga-g][#b]?)(m?)")


@dataclasses.dataclass(frozen=True)
class Tonic:
    """A key and how well a piece fits it."""

    pitch_class: int  # Of the tonic, 0 (C) to 11.
    minor: bool  # Whether the mode is minor.
    correlation: float  # Pearson correlation of the piece's pitch classes with the key's profile, -1..1.


def estimate_tonic(notes: Notes) -> Tonic:
    """Finds the key whose profile correlates best with the durations of the pitch classes (Krumhansl 1990, p. 81).

    Drums are left out. Where all pitch classes weigh the same the key is C major, with correlation 0.
    """
    pitched = notes.select(~notes.is_drum)
    weights = np.bincount(pitched.pitch % 12, pitched.duration_ticks, minlength=12)
    if np.ptp(weights) == 0:
        return Tonic(0, False, 0.0)
    keys = [np.roll(profile, tonic) for profile in (MAJOR_PROFILE, MINOR_PROFILE) for tonic in range(12)]
    correlations = np.corrcoef(np.stack([weights, *keys]))[0, 1:]
    best = int(np.argmax(correlations))
    return Tonic(best % 12, best >= 12, float(correlations[best]))


def semitones_to(tonic: Tonic, common_pitch_class: int = 0) -> int:
    """Returns the transposition, -6..+5 semitones, that brings the tonic to a common pitch class."""
    return (common_pitch_class - tonic.pitch_class + 6) % 12 - 6


def fifths(tonic: Tonic) -> int:
    """Returns the key signature of a key: sharps above zero, flats below; -5 (five flats) to 6 (six sharps)."""
    relative_major = tonic.pitch_class + 3 if tonic.minor else tonic.pitch_class
    return (7 * relative_major + 5) % 12 - 5


def parse_key(text: str) -> Tonic:
    """Reads a key such as C, F#, Bb or Am. Raises ValueError for anything else."""
    match = _KEY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a key such as C, F#, Bb or Am")
    name, minor = match.groups()
    return Tonic(theory.pitch_class(name.capitalize()), bool(minor), 1.0)
