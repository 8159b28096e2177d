"""Which files hold the same tune: a transposition-invariant comparison of their melodies.

Each pitched track gives a top line (its highest note at each onset); every run of six intervals of that line is a
shingle. Two files match where two of their lines share enough shingles, in any key, tempo and arrangement. Matching
files become one group only where every two files of the group agree at least roughly, so that no chain of chance
resemblances grows. docs/experiments.md has the figures on which the thresholds rest.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import scipy.sparse

from vae_jax.music.score import Score

_SHINGLE_INTERVALS = 6
_MIN_DISTINCT_INTERVALS = 3  # Repeated notes and trills are in every piece.
_CHORD_BEATS = 1 / 8  # Onsets nearer than this are one chord.
# How many shingles two lines share, and which fraction of those in the longest line of a piece, the lower of the two.
_MATCH = ((7, 0.4), (10, 0.3), (13, 0.24), (18, 0.2), (24, 0.12))
_AGREEMENT = ((5, 0.1),)
_MAX_LINES_PER_SHINGLE = 100  # A shingle that more lines hold is a figure, and comparing all pairs would be quadratic.
_SHIFTS = np.arange(0, 8 * _SHINGLE_INTERVALS, 8, dtype=np.uint64)
_LINE_SHIFT, _MAX_LINES = np.uint64(8 * _SHINGLE_INTERVALS), 256
_BLOCK = 256
_ZERO = 128  # Intervals lie in -127..127.


def pack_shingles(score: Score) -> np.ndarray:
    """Returns the runs of six intervals in the top lines of the score's pitched tracks.

    Returns:
      uint64 [S], ascending: interval n of a run, in semitones plus 128, is byte n from the lowest; byte 6 is the number
      of the line. A line with the runs of an earlier one is left out, and so are those beyond 256.
    """
    notes, lines = score.notes, dict[bytes, np.ndarray]()
    for track in score.note_bearing_tracks():
        mine = (notes.track == track) & ~notes.is_drum
        intervals = np.diff(_top_line(notes.onset_ticks[mine], notes.pitch[mine], score.ticks_per_beat * _CHORD_BEATS))
        if len(intervals) < _SHINGLE_INTERVALS:
            continue
        runs = np.lib.stride_tricks.sliding_window_view(intervals, _SHINGLE_INTERVALS)
        ordered = np.sort(runs, axis=1)
        distinct = 1 + np.count_nonzero(ordered[:, 1:] != ordered[:, :-1], axis=1)
        kept = (runs[distinct >= _MIN_DISTINCT_INTERVALS] + _ZERO).astype(np.uint64)
        if len(kept):
            packed = np.unique(np.bitwise_or.reduce(kept << _SHIFTS, axis=1))
            lines.setdefault(packed.tobytes(), packed)
    numbered = [line | np.uint64(n) << _LINE_SHIFT for n, line in enumerate(list(lines.values())[:_MAX_LINES])]
    return np.concatenate([np.zeros(0, dtype=np.uint64), *numbered])


def group_tunes(shingles: Sequence[np.ndarray], hashes: Sequence[str]) -> list[int]:
    """Groups pieces by tune. Time and memory grow with the number of shingles, memory by about 50 bytes for each.

    Args:
      shingles: of N pieces what `pack_shingles` returns.
      hashes: N content hashes; pieces with equal ones, or with equal shingles, are one tune.

    Returns:
      N group numbers: the index of the first piece of the same tune.
    """
    first: dict[str, int] = {}
    for n, (mine, content) in enumerate(zip(shingles, hashes, strict=True)):
        first.setdefault(_name(mine, content), n)
    distinct = list(first.values())
    group = _join(len(distinct), *_compare([shingles[n] for n in distinct]))
    number = {n: distinct[place] for n, place in zip(distinct, group, strict=True)}
    return [number[first[_name(mine, content)]] for mine, content in zip(shingles, hashes, strict=True)]


def _name(shingles: np.ndarray, content: str) -> str:
    """Equal for pieces whose content or lines are the same."""
    return hashlib.sha256(shingles.tobytes()).hexdigest() if len(shingles) >= _MATCH[0][0] else content


def _compare(shingles: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Compares every line with those that share a shingle with it.

    Returns:
      The pairs of different pieces that match, [M, 2], the most similar first, and those that agree, [A, 2].
    """
    runs = np.concatenate([np.zeros(0, dtype=np.uint64), *shingles])
    piece = np.repeat(np.arange(len(shingles), dtype=np.int32), [len(mine) for mine in shingles])
    is_first = np.ones(len(runs), dtype=bool)
    is_first[1:] = (piece[1:] != piece[:-1]) | (runs[1:] >> _LINE_SHIFT != runs[:-1] >> _LINE_SHIFT)
    line = np.cumsum(is_first, dtype=np.int32) - 1
    owner, longest = piece[is_first], np.zeros(len(shingles), dtype=np.int64)
    np.maximum.at(longest, owner, np.bincount(line))
    run, holder = _index(runs & ((np.uint64(1) << _LINE_SHIFT) - np.uint64(1)), line)
    del runs, piece, line
    shape = (len(owner), int(run.max(initial=0)) + 1)
    holds = scipy.sparse.csr_array((np.ones(len(run), np.int32), (holder, run)), shape)
    held_by = holds.T.tocsr()
    found = [np.zeros((0, 3))]
    for start in range(0, len(owner), _BLOCK):  # The whole product would not fit in memory.
        product = (holds[start : start + _BLOCK] @ held_by).tocoo()
        one, other, shared = owner[product.row + start], owner[product.col], product.data
        fraction = shared / np.minimum(longest[one], longest[other])
        matches = _reach(shared, fraction, _MATCH)
        kept = (one < other) & (matches | _reach(shared, fraction, _AGREEMENT))
        found.append(np.stack([one, other, np.where(matches, fraction, 0)], axis=1)[kept])
    rows = np.concatenate(found)
    order = np.lexsort((rows[:, 1], rows[:, 0], -rows[:, 2]))
    pairs, is_match = rows[order, :2].astype(np.int64), rows[order, 2] > 0
    return pairs[is_match], pairs


def _reach(shared: np.ndarray, fraction: np.ndarray, limits: Sequence[tuple[int, float]]) -> np.ndarray:
    return np.any([(shared >= least) & (fraction >= share) for least, share in limits], axis=0)


def _join(count: int, matching: np.ndarray, agreeing: np.ndarray) -> list[int]:
    """Joins the groups of matching pieces, the best match first, where every piece of one agrees with every piece of
    the other. Returns the first piece of each one's group."""
    known: list[set[int]] = [set() for _ in range(count)]
    for one, other in agreeing.tolist():
        known[one].add(other)
        known[other].add(one)
    group = [[n] for n in range(count)]
    for one, other in matching.tolist():
        if group[one] is not group[other] and all(known[n].issuperset(group[other]) for n in group[one]):
            joined = group[one] + group[other]
            for n in joined:
                group[n] = joined
    return [min(mine) for mine in group]


def _index(keys: np.ndarray, line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverted index of the runs that several lines hold, but not too many: run numbers and lines, int32 [M] each."""
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    is_first = np.ones(len(keys), dtype=bool)
    is_first[1:] = keys[1:] != keys[:-1]
    num_holders = np.diff(np.flatnonzero(is_first), append=len(order))
    useful = (num_holders > 1) & (num_holders <= _MAX_LINES_PER_SHINGLE)
    kept = np.repeat(useful, num_holders)
    return np.repeat(np.arange(np.count_nonzero(useful), dtype=np.int32), num_holders[useful]), line[order[kept]]


def _top_line(onset_ticks: np.ndarray, pitch: np.ndarray, chord_ticks: float) -> np.ndarray:
    """Returns the highest pitch of each chord in order of time, [M] int64."""
    if not len(onset_ticks):
        return np.zeros(0, dtype=np.int64)
    chord = np.concatenate([[0], np.cumsum(np.diff(onset_ticks) > chord_ticks)])
    top = np.zeros(chord[-1] + 1, dtype=np.int64)
    np.maximum.at(top, chord, pitch)
    return top
