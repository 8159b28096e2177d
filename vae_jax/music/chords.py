"""The chord of each beat, by templates (Pardo and Birmingham 2002, "Algorithms for chordal analysis")."""

import dataclasses

import numpy as np

# Semitones above the root; the six kinds of the source.
_KINDS = ((0, 4, 7), (0, 3, 7), (0, 4, 7, 10), (0, 3, 6, 10), (0, 3, 6), (0, 3, 6, 9))
# What else is a chord: minor and major sevenths, the augmented triad.
_MORE_KINDS = ((0, 3, 7, 10), (0, 4, 7, 11), (0, 4, 8))


def _templates(kinds: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """Every kind on every root, the roots of a kind together, [12 * kinds, 12] bool."""
    rows = np.zeros((len(kinds), 12, 12), dtype=bool)
    for kind, intervals in enumerate(kinds):
        for root in range(12):
            rows[kind, root, (np.array(intervals) + root) % 12] = True
    return rows.reshape(-1, 12)


_TEMPLATES, _ALL_TEMPLATES = _templates(_KINDS), _templates(_KINDS + _MORE_KINDS)


@dataclasses.dataclass(frozen=True, eq=False)
class Chords:
    """The chords of B beats."""

    root: np.ndarray  # [B] int64, a pitch class; -1 where nothing sounds.
    members: np.ndarray  # [B, 12] bool, the pitch classes of the chord.


def estimate_chords(weights: np.ndarray) -> Chords:
    """Finds the chord that fits best for the pitch classes that sound in each beat, [B, 12], how many notes on average.

    The score of a chord is the weight of its pitch classes less that of all others, less one for each that is missing;
    the weight of the root decides between equals.
    """
    sounding = (weights > 0).astype(np.float64)
    inside = weights @ _TEMPLATES.T
    missing = _TEMPLATES.sum(axis=1) - sounding @ _TEMPLATES.T
    root = np.tile(np.arange(12), len(_KINDS))
    score = 2 * inside - weights.sum(axis=1, keepdims=True) - missing + 1e-3 * weights[:, root]
    best = np.argmax(score, axis=1)
    return Chords(np.where(sounding.any(axis=1), root[best], -1), _TEMPLATES[best])


def is_chord(pitch_classes: np.ndarray) -> np.ndarray:
    """Returns which sets of pitch classes [S, 12] bool lie in a triad or a seventh chord, [S] bool."""
    outside = pitch_classes.astype(np.int64) @ ~_ALL_TEMPLATES.T
    return np.any(outside == 0, axis=1)
