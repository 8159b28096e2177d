"""Statistics of the melody, the top voice."""

import numpy as np

from vae_jax.evaluation.musicology.shares import entropy_bits, mean, share, spread
from vae_jax.evaluation.musicology.voices import SIXTEENTHS, Voices
from vae_jax.music.theory import MAJOR_SCALE, MAJOR_TRIAD, MINOR_SCALE, MINOR_TRIAD

_STEP, _OCTAVE = 2, 12  # Semitones.
_LEAP = 5  # A fourth.
_LONG = 2 * SIXTEENTHS  # The shortest note that ends a phrase.
_LONGEST = 16 * SIXTEENTHS  # Longer ones count as so long.


def describe_melody(voices: Voices) -> dict[str, float]:
    """Returns the statistics by name; NaN where the melody has too few notes for one.

    melody_steps, melody_thirds, melody_octave_leaps: moves, which are intervals but repeated notes, of up to 2, of 3 or
      4, of more than 12 semitones.
    melody_leap_recovery: leaps of a fourth and more that a step in the other direction follows (von Hippel and Huron
      2000, there for larger skips).
    melody_leading_tone: leading tones, a semitone below the tonic, from which the melody moves to the tonic.
    melody_phrase_ends: phrase ends (`phrase_ends`) on the tonic, the third or the fifth of the key.
    melody_length_entropy: entropy of the times between starts in sixteenths, bits.
    """
    start, pitch = voices.melody
    intervals = np.diff(pitch)
    moves = intervals[intervals != 0]
    size, before, after = np.abs(moves), moves[:-1], moves[1:]
    is_leap = np.abs(before) >= _LEAP
    recovers = (np.abs(after) <= _STEP) & (np.sign(after) != np.sign(before))
    degree = (pitch - voices.tonic.pitch_class) % 12
    moved = np.append(intervals != 0, False)  # Repeated leading tones count once.
    leading = (degree == 11) & moved
    scale = MINOR_SCALE if voices.tonic.minor else MAJOR_SCALE
    lengths = np.minimum(np.diff(start), _LONGEST)
    triad = MINOR_TRIAD if voices.tonic.minor else MAJOR_TRIAD
    return {
        "melody_steps": share(size <= _STEP),
        "melody_thirds": share((size > _STEP) & (size < _LEAP)),
        "melody_octave_leaps": share(size > _OCTAVE),
        "melody_leap_recovery": share(recovers[is_leap]),
        "melody_direction_changes": share(np.sign(before) != np.sign(after)),
        "melody_rising": share(moves > 0),
        "melody_repeated_notes": share(intervals == 0),
        "melody_interval_mean": mean(np.abs(intervals)),
        "melody_range": float(np.ptp(pitch)) if len(pitch) else np.nan,
        "melody_in_scale": share(np.isin(degree, scale)),
        "melody_leading_tone": share(np.append(degree[1:], -1)[leading] == 0),
        "melody_phrase_ends": share(np.isin(degree[phrase_ends(voices)], triad)),
        "melody_length_entropy": entropy_bits(lengths),
        "melody_length_mean": mean(lengths / SIXTEENTHS),
        "melody_length_sd": spread(np.log2(lengths)),
        "melody_length_repeats": share(lengths[1:] == lengths[:-1]),
    }


def phrase_ends(voices: Voices) -> np.ndarray:
    """Returns the notes of the melody that end a phrase, ascending int64: of half a note and more, longer than the note
    before and not shorter than the note after; and the last one."""
    start, _ = voices.melody
    if not len(start):
        return np.zeros(0, dtype=np.int64)
    lengths = np.diff(start)
    is_longest = (lengths > np.append(np.inf, lengths[:-1])) & (lengths >= np.append(lengths[1:], 0))
    return np.append(np.flatnonzero((lengths >= _LONG) & is_longest), len(start) - 1)
