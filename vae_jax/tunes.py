"""Which files hold the same tune: a transposition-invariant comparison of their melodies.

Each pitched track gives a top line (its highest note at each onset); every run of seven intervals of that line is a
shingle. Two files that share enough shingles hold the same tune, whatever the key, tempo and arrangement. The
thresholds were set on the 135 national anthems, where they find China / Hong Kong, Cyprus / Greece, South Africa /
Tanzania / Zambia, Estonia / Finland, Moldova / Romania, and the two files in which another country's anthem is quoted,
and nothing else.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Sequence

import numpy as np

from vae_jax.score import Score

_SHINGLE_INTERVALS = 7
_MIN_DISTINCT_INTERVALS = 3  # Repeated notes and trills are in every piece.
_CHORD_BEATS = 1 / 8  # Onsets nearer than this are one chord.
_MIN_SHARED, _MIN_SHARED_FRACTION = 15, 0.07
_MIN_SHARED_SHORT, _MIN_SHARED_FRACTION_SHORT = 3, 0.6
_MAX_FILES_PER_SHINGLE = 50  # A shingle that so many files hold is a scale, and pairing them all would cost the square.


def melodic_shingles(score: Score) -> frozenset[tuple[int, ...]]:
    """Returns the runs of seven intervals (in semitones) in the top lines of the score's pitched tracks."""
    shingles = set()
    notes = score.notes
    for track in score.note_bearing_tracks():
        mine = (notes.track == track) & ~notes.is_drum
        intervals = np.diff(_top_line(notes.onset_ticks[mine], notes.pitch[mine], score.ticks_per_beat * _CHORD_BEATS))
        if len(intervals) < _SHINGLE_INTERVALS:
            continue
        for run in np.lib.stride_tricks.sliding_window_view(intervals, _SHINGLE_INTERVALS).tolist():
            if len(set(run)) >= _MIN_DISTINCT_INTERVALS:
                shingles.add(tuple(run))
    return frozenset(shingles)


def group_tunes(scores: Sequence[Score], hashes: Sequence[str]) -> list[int]:
    """Groups pieces by tune.

    Args:
      scores: N scores.
      hashes: N content hashes; equal ones are one tune whatever their notes.

    Returns:
      N group numbers; pieces of one tune have the same number, that of the first of them.
    """
    shingles = [melodic_shingles(score) for score in scores]
    files_of: dict[tuple[int, ...], list[int]] = collections.defaultdict(list)
    for n, runs in enumerate(shingles):
        for run in runs:
            files_of[run].append(n)
    shared: collections.Counter[tuple[int, int]] = collections.Counter()
    for files in files_of.values():
        if len(files) <= _MAX_FILES_PER_SHINGLE:
            shared.update(itertools.combinations(files, 2))

    groups = list(range(len(scores)))

    def join(a: int, b: int) -> None:
        first, second = sorted((groups[a], groups[b]))
        for n, group in enumerate(groups):
            if group == second:
                groups[n] = first

    first_of_hash: dict[str, int] = {}
    for n, digest in enumerate(hashes):
        join(n, first_of_hash.setdefault(digest, n))
    for (a, b), count in shared.items():
        fraction = count / min(len(shingles[a]), len(shingles[b]))
        same = count >= _MIN_SHARED and fraction >= _MIN_SHARED_FRACTION
        same_short = count >= _MIN_SHARED_SHORT and fraction >= _MIN_SHARED_FRACTION_SHORT
        if same or same_short:
            join(a, b)
    return groups


def _top_line(onset_ticks: np.ndarray, pitch: np.ndarray, chord_ticks: float) -> np.ndarray:
    """Returns the highest pitch of each chord in order of time, [M] int64."""
    if not len(onset_ticks):
        return np.zeros(0, dtype=np.int64)
    chord = np.concatenate([[0], np.cumsum(np.diff(onset_ticks) > chord_ticks)])
    top = np.zeros(chord[-1] + 1, dtype=np.int64)
    np.maximum.at(top, chord, pitch)
    return top
