"""Scores of a reconstruction against its original, computed from notes, by their names in `metrics.json`."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph

from vae_jax.evaluation.intervals import interval_95, resample_group_sums
from vae_jax.music import instruments
from vae_jax.music.match_counts import MatchCounts, f1_score
from vae_jax.music.score import Score

ONSET_TOLERANCE_SEC = 0.05
_NUM_SAMPLES = 1000  # Of the bootstrap.


def count_matches(reference: Score, estimate: Score, *, drums: bool = False, offsets: bool = False) -> MatchCounts:
    """Counts matching notes by mir_eval's transcription convention (Raffel et al. 2014).

    A note matches where its pitch is equal and its onset within 50 ms of the reference's, in seconds by the tempo map
    of each score; with `offsets`, its end must lie within the larger of 50 ms and 20% of the reference's duration as
    well. Each note is used once, and as many as possible are matched. Pitched tracks are merged; with `drums`, the
    percussion channel is scored instead.
    """
    reference, estimate = (_select(score, score.notes.is_drum == drums) for score in (reference, estimate))
    shape = (len(reference.notes), len(estimate.notes))
    pairs = _candidate_pairs(reference, estimate, offsets)
    graph = scipy.sparse.csr_matrix((np.ones(pairs.shape[1], dtype=bool), pairs), shape=shape)
    return MatchCounts(int(np.sum(scipy.sparse.csgraph.maximum_bipartite_matching(graph) >= 0)), *shape)


def count_instrument_matches(reference: Score, estimate: Score) -> MatchCounts:
    """Counts matching notes within each instrument group, drums left out: see `count_matches`.

    A note in a group that the reference does not have counts as wrong.
    """
    reference_groups, estimate_groups = instruments.assign_parts(reference), instruments.assign_parts(estimate)
    counts = [
        count_matches(_select(reference, reference_groups == group), _select(estimate, estimate_groups == group))
        for group in range(instruments.NUM_PARTS)
        if group != instruments.DRUMS
    ]
    return sum(counts, MatchCounts())


SCORES: dict[str, Callable[[Score, Score], MatchCounts]] = {  # See docs/metrics.md.
    "note_f1_50ms": count_matches,
    "note_f1_50ms_offset": functools.partial(count_matches, offsets=True),
    "note_f1_50ms_unison": lambda original, score: count_matches(*map(without_doublings, (original, score))),
    "note_f1_instrument": count_instrument_matches,
    "drum_f1_50ms": functools.partial(count_matches, drums=True),
}


def total_f1(pairs: Sequence[tuple[Score, Score]], prefix: str) -> dict[str, float]:
    """Returns every score of (original, estimate) pairs, from the counts summed over them, by its prefixed name."""
    return {prefix + name: sum((count(*pair) for pair in pairs), MatchCounts()).f1 for name, count in SCORES.items()}


def without_doublings(score: Score) -> Score:
    """Returns the score with every unison once: of notes of one pitch, drums apart, within 50 ms the first is kept."""
    onset_sec = score.seconds(score.notes.onset_ticks)
    pitch = score.notes.pitch + 128 * score.notes.is_drum
    kept: list[int] = []
    for n in np.lexsort((onset_sec, pitch)).tolist():
        if not kept or pitch[kept[-1]] != pitch[n] or onset_sec[n] - onset_sec[kept[-1]] > ONSET_TOLERANCE_SEC:
            kept.append(n)
    return _select(score, np.sort(np.array(kept, dtype=np.int64)))


def bootstrap_f1(counts: Sequence[MatchCounts], tunes: Sequence[int], *, seed: int = 0) -> list[float]:
    """Returns the 95% interval of the F1 of summed counts, one for each piece, by resampling tunes."""
    if not counts:
        return [0.0, 0.0]
    columns = np.array([dataclasses.astuple(count) for count in counts]).T
    return interval_95(f1_score(*resample_group_sums(columns, tunes, np.random.default_rng(seed), _NUM_SAMPLES)))


def _select(score: Score, index: np.ndarray) -> Score:
    return dataclasses.replace(score, notes=score.notes.select(index))


def _candidate_pairs(reference: Score, estimate: Score, offsets: bool) -> np.ndarray:
    """Returns every pair of indices of a reference and an estimated note that may match, [2, M]."""
    times, others = (
        np.stack([score.seconds(score.notes.onset_ticks), score.seconds(score.notes.end_ticks)], axis=1)
        for score in (reference, estimate)
    )
    # Each pitch has a range of keys for itself: one search finds the notes of the same pitch that are near in time.
    span = 1 + max(times.max(initial=0), others.max(initial=0))
    keys, other_keys = reference.notes.pitch * span + times[:, 0], estimate.notes.pitch * span + others[:, 0]
    order = np.argsort(other_keys)
    first, last = (np.searchsorted(other_keys[order], keys + shift) for shift in (-0.051, 0.051))
    count = last - first
    mine = np.repeat(np.arange(len(count)), count)
    theirs = order[np.arange(len(mine)) + np.repeat(last - np.cumsum(count), count)]
    # mir_eval rounds distances to a tenth of a millisecond before it compares them.
    distance = np.round(np.abs(times[mine] - others[theirs]), 4)
    keep = distance[:, 0] <= ONSET_TOLERANCE_SEC
    if offsets:
        duration = times[mine, 1] - times[mine, 0]
        keep &= distance[:, 1] <= np.maximum(0.05, 0.2 * duration)
    return np.stack([mine[keep], theirs[keep]])
