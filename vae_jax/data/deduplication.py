"""Which files hold the same tune: a transposition-invariant comparison of their melodies.

Each pitched track gives a top line (its highest note at each onset); every run of seven intervals of that line is a
shingle. Two files that share enough shingles hold the same tune, in any key, tempo and arrangement. The
thresholds were set on the 135 national anthems, where they find China / Hong Kong, Cyprus / Greece, South Africa /
Tanzania / Zambia, Estonia / Finland, Moldova / Romania, and the two files in which another country's anthem is quoted,
and nothing else.
"""

from collections.abc import Sequence

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph

from vae_jax.music.score import Score

_SHINGLE_INTERVALS = 7
_MIN_DISTINCT_INTERVALS = 3  # Repeated notes and trills are in every piece.
_CHORD_BEATS = 1 / 8  # Onsets nearer than this are one chord.
_MIN_SHARED, _MIN_SHARED_FRACTION = 15, 0.07
_MIN_SHARED_SHORT, _MIN_SHARED_FRACTION_SHORT = 3, 0.6
_MAX_FILES_PER_SHINGLE = 50  # A shingle that more files hold is a scale, and comparing all pairs would be quadratic.
_SHIFTS = np.arange(0, 8 * _SHINGLE_INTERVALS, 8, dtype=np.uint64)
_BLOCK = 256
_ZERO = 128  # Intervals lie in -127..127.


def pack_shingles(score: Score) -> np.ndarray:
    """Returns the runs of seven intervals in the top lines of the score's pitched tracks.

    Returns:
      uint64 [S], ascending: interval n of a run, in semitones plus 128, is byte n from the lowest.
    """
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


def group_tunes(shingles: Sequence[np.ndarray], hashes: Sequence[str]) -> list[int]:
    """Groups pieces by tune. Memory grows with the number of shingles, about 30 bytes for each.

    Args:
      shingles: of N pieces what `pack_shingles` returns.
      hashes: N content hashes; equal ones are one tune whatever their notes.

    Returns:
      N group numbers: the index of the first piece of the same tune.
    """
    count = len(hashes)
    sizes = np.array([len(mine) for mine in shingles], dtype=np.int64)
    run, holder = _index(shingles, sizes)
    holds = scipy.sparse.csr_array((np.ones(len(run), np.int32), (holder, run)), (count, int(run.max(initial=0)) + 1))
    _, first_of_hash, hash_number = np.unique(hashes, return_index=True, return_inverse=True)
    first, second = [first_of_hash[hash_number]], [np.arange(count)]
    held_by = holds.T.tocsr()
    for start in range(0, count, _BLOCK):  # The whole product would not fit in memory.
        product = (holds[start : start + _BLOCK] @ held_by).tocoo()
        rows, columns, shared = product.row + start, product.col, product.data
        fraction = shared / np.minimum(sizes[rows], sizes[columns])
        same = (shared >= _MIN_SHARED) & (fraction >= _MIN_SHARED_FRACTION)
        same |= (shared >= _MIN_SHARED_SHORT) & (fraction >= _MIN_SHARED_FRACTION_SHORT)
        first.append(rows[same])
        second.append(columns[same])
    edges = np.concatenate(first), np.concatenate(second)
    graph = scipy.sparse.coo_array((np.ones(len(edges[0]), np.int8), edges), (count, count))
    _, group = scipy.sparse.csgraph.connected_components(graph, directed=False)
    _, first_member = np.unique(group, return_index=True)
    return first_member[group].tolist()


def _index(shingles: Sequence[np.ndarray], sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverted index of the runs that several pieces hold, but not too many: run numbers and pieces, int32 [M] each."""
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
