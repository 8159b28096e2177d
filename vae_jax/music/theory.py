"""Scales, triads and key names."""

from __future__ import annotations

# Semitones above the tonic (scales) or the root (triads).
MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)
NATURAL_MINOR_SCALE = (0, 2, 3, 5, 7, 8, 10)
HARMONIC_MINOR_SCALE = (0, 2, 3, 5, 7, 8, 11)
MAJOR_TRIAD = (0, 4, 7)
MINOR_TRIAD = (0, 3, 7)

# Names of the tonics by key signature, from seven flats to seven sharps.
_MAJOR_TONICS = ("Cb", "Gb", "Db", "Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E", "B", "F#", "C#")
_MINOR_TONICS = ("Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E", "B", "F#", "C#", "G#", "D#", "A#")


def tonic_name(fifths: int, minor: bool) -> str:
    """Names the tonic of a key signature, such as "Bb".

    Args:
      fifths: sharps (above zero) or flats (below), -7 to 7.
      minor: whether the mode is minor.
    """
    return (_MINOR_TONICS if minor else _MAJOR_TONICS)[fifths + 7]


def tonic_pitch_class(fifths: int, minor: bool) -> int:
    """Returns the pitch class (0 is C) of the tonic of a key signature."""
    return (7 * fifths + (9 if minor else 0)) % 12
