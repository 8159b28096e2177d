"""Which files hold the same tune: a transposition-invariant comparison of their melodies.

Each pitched track gives a top line (its highest note at each onset); every run of seven intervals of that line is a
shingle. Two files that share enough shingles hold the same tune, whatever the key, tempo and arrangement. The
thresholds were set on the 135 national anthems, where they find China / Hong Kong, Cyprus / Greece, South Africa /
Tanzania / Zambia, Estonia / Finland, Moldova / Romania, and the two files in which another country's anthem is quoted,
and nothing else.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from vae_jax.music.score import Score

_SHINGLE_INTERVALS = 7
_MIN_DISTINCT_INTERVALS = 3  # Repeated notes and trills are in every piece.
_CHORD_BEATS = 1 / 8  # Onsets nearer than this are one chord.
_MIN_SHARED, _MIN_SHARED_FRACTION = 15, 0.07
_MIN_SHARED_SHORT, _MIN_SHARED_FRACTION_SHORT = 3, 0.6
_MAX_FILES_PER_SHINGLE = 50  # A shingle that so many files hold is a scale, and pairing them all would cost the square.
_SHIFTS = np.arange(0, 8 * _SHINGLE_INTERVALS, 8, dtype=np.uint64)
_BYTE, _ZERO = np.uint64(255), 128  # Intervals lie in -127..127.


def melodic_shingles(score: Score) -> frozenset[tuple[int, ...]]:
    """Returns the runs of seven intervals (in semitones) in the top lines of the score's pitched tracks."""
    packed = pack_shingles(score)[:, None] >> _SHIFTS
    return frozenset(map(tuple, ((packed & _BYTE).astype(np.int64) - _ZERO).tolist()))


def pack_shingles(score: Score) -> np.ndarray:
    """Returns the same as uint64 [S], ascending, an interval a byte: seven intervals need no hash."""
    found = [np.zeros(0, dtype=np.uint64)]
    notes = score.notes
    for track in score.note_bearing_tracks():
        mine = (notes.track == track) & ~notes.is_drum
        intervals = np.diff(_top_line(notes.onset_ticks[mine], notes.pitch[mine], score.ticks_per_beat * _CHORD_BEATS))
        if len(intervals) < _SHINGLE_INTERVALS:
            continue
        runs = np.lib.stride_tricks.sliding_window_view(intervals, _SHINGLE_INTERVALS)
        ordered = np.sort(runs, axis=1)
        distinct = 1 + np.count_nonzero(ordered[:, 1:] != ordered[:, :-1], axis=1)
        kept = (runs[distinct >= _MIN_DISTINCT_INTERVALS] + _ZERO).astype(np.uint64)
        found.append(np.bitwise_or.reduce(kept << _SHIFTS, axis=1))
    return np.unique(np.concatenate(found))


def group_tunes(scores: Sequence[Score], hashes: Sequence[str]) -> list[int]:
    """Groups pieces by tune.

    Args:
      scores: N scores.
      hashes: N content hashes; equal ones are one tune whatever their notes.

    Returns:
      N group numbers; pieces of one tune have the same number, that of the first of them.
    """
    return group_shingles([pack_shingles(score) for score in scores], hashes)


def group_shingles(shingles: Sequence[np.ndarray], hashes: Sequence[str]) -> list[int]:
    """Groups pieces by tune from what `pack_shingles` gives for each; see `group_tunes`.

    Time and memory grow with the number of shingles, about 30 bytes for each.
    """
    sizes = np.array([len(mine) for mine in shingles], dtype=np.int64)
    parents = list(range(len(sizes)))

    def first_of(n: int) -> int:
        while parents[n] != n:
            parents[n] = n = parents[parents[n]]  # Half of the way is saved for the next.
        return n

    first_of_hash: dict[str, int] = {}
    copies = [(first_of_hash.setdefault(digest, n), n) for n, digest in enumerate(hashes)]
    for pair in itertools.chain(copies, _similar_pairs(shingles, sizes).tolist()):
        first, second = sorted(map(first_of, pair))
        parents[second] = first
    return [first_of(n) for n in range(len(sizes))]


def _similar_pairs(shingles: Sequence[np.ndarray], sizes: np.ndarray) -> np.ndarray:
    """Returns the pairs of pieces that share enough shingles, int64 [K, 2]."""
    run, holder = _index(shingles, sizes)  # The pieces that hold a run lie side by side, in ascending order.
    first = np.flatnonzero(np.diff(run, prepend=-1))
    last = np.append(first[1:], len(run))  # One past it.
    # Of each piece: where in `holder` its own entries stand.
    by_piece = np.argsort(holder, kind="stable")
    ends = np.cumsum(np.bincount(holder, minlength=len(sizes)))
    pairs = [np.zeros((0, 2), dtype=np.int64)]
    for n, (start, end) in enumerate(zip(ends - np.diff(ends, prepend=0), ends, strict=True)):
        mine = by_piece[start:end]
        # The later pieces with each of its runs: what stands after its own entry.
        counts = last[run[mine]] - mine - 1
        offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        others, shared = np.unique(holder[np.repeat(mine + 1, counts) + offsets], return_counts=True)
        fraction = shared / np.minimum(sizes[n], sizes[others])
        same = (shared >= _MIN_SHARED) & (fraction >= _MIN_SHARED_FRACTION)
        same_short = (shared >= _MIN_SHARED_SHORT) & (fraction >= _MIN_SHARED_FRACTION_SHORT)
        others = others[same | same_short]
        pairs.append(np.stack([np.full(len(others), n), others], axis=1))
    return np.concatenate(pairs)


def _index(shingles: Sequence[np.ndarray], sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lists who holds each run that several pieces hold, but not too many: run numbers and pieces, int32 [M] each."""
    keys = np.concatenate([np.zeros(0, dtype=np.uint64), *shingles])
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    is_first = np.ones(len(keys), dtype=bool)
    is_first[1:] = keys[1:] != keys[:-1]
    del keys
    num_holders = np.diff(np.flatnonzero(is_first), append=len(order))
    useful = (num_holders > 1) & (num_holders <= _MAX_FILES_PER_SHINGLE)
    kept = np.repeat(useful, num_holders)
    holder = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)[order[kept]]
    return np.repeat(np.arange(np.count_nonzero(useful), dtype=np.int32), num_holders[useful]), holder


def _top_line(onset_ticks: np.ndarray, pitch: np.ndarray, chord_ticks: float) -> np.ndarray:
    """Returns the highest pitch of each chord in order of time, [M] int64."""
    if not len(onset_ticks):
        return np.zeros(0, dtype=np.int64)
    chord = np.concatenate([[0], np.cumsum(np.diff(onset_ticks) > chord_ticks)])
    top = np.zeros(chord[-1] + 1, dtype=np.int64)
    np.maximum.at(top, chord, pitch)
    return top
