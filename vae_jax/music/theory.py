"""Scales, triads and the names of keys."""

# Semitones above the tonic (scales) or the root (triads).
MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)
NATURAL_MINOR_SCALE = (0, 2, 3, 5, 7, 8, 10)
HARMONIC_MINOR_SCALE = (0, 2, 3, 5, 7, 8, 11)
MINOR_SCALE = (0, 2, 3, 5, 7, 8, 10, 11)  # Both.
MAJOR_TRIAD, MINOR_TRIAD = (0, 4, 7), (0, 3, 7)

_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
# Names of the tonics by key signature, from seven flats to seven sharps.
_MAJOR_TONICS = ("Cb", "Gb", "Db", "Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E", "B", "F#", "C#")
_MINOR_TONICS = ("Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E", "B", "F#", "C#", "G#", "D#", "A#")


def tonic_name(fifths: int, minor: bool) -> str:
    """Names the tonic of a key signature of -7 (flats) to 7 (sharps), such as "Bb"."""
    return (_MINOR_TONICS if minor else _MAJOR_TONICS)[fifths + 7]


def key_name(fifths: int, minor: bool) -> str:
    """Names a key, such as "Bb major"."""
    return f"{tonic_name(fifths, minor)} {'minor' if minor else 'major'}"


def tonic_pitch_class(fifths: int, minor: bool) -> int:
    """Returns the pitch class (0 is C) of the tonic of a key signature."""
    return (7 * fifths + (9 if minor else 0)) % 12


def pitch_class(name: str) -> int:
    """Returns the pitch class of a letter with an optional accidental: C is 0, F# is 6, Bb is 10."""
    letter, accidental = name[0], name[1:]
    return (_LETTERS[letter] + {"": 0, "#": 1, "b": -1}[accidental]) % 12
