"""Scores of a reconstruction against its original, computed from notes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph

from vae_jax.evaluation.intervals import interval_95, resample_group_sums
from vae_jax.music import instruments
from vae_jax.music.match_counts import MatchCounts, f1_score
from vae_jax.music.score import Score

ONSET_TOLERANCE_SEC = 0.05
OFFSET_RATIO, OFFSET_MIN_TOLERANCE_SEC = 0.2, 0.05
ACTIVE_UNIT_VARIANCE = 0.01  # Burda, Grosse and Salakhutdinov 2016, section 5.2.
_SEARCH_SEC = 0.051  # Candidates; the tolerance decides.
_DISTANCE_DECIMALS = 4  # mir_eval rounds distances to a tenth of a millisecond before it compares them.


def count_matches(reference: Score, estimate: Score, *, drums: bool = False, offsets: bool = False) -> MatchCounts:
    """Counts matching notes by mir_eval's transcription convention (Raffel et al. 2014).

    A note matches where its pitch is equal and its onset within 50 ms of the reference's, in seconds by the tempo map
    of each score; each note is used once, and as many as possible are matched.

    Args:
      reference, estimate: the original and its reconstruction.
      drums: whether to score the percussion channel instead of the pitched tracks, which are merged.
      offsets: whether the end must lie within the larger of 50 ms and 20% of the reference's duration as well.
    """
    reference = _select(reference, reference.notes.is_drum == drums)
    estimate = _select(estimate, estimate.notes.is_drum == drums)
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


def without_doublings(score: Score) -> Score:
    """Returns the score with every unison once: of notes of one pitch, drums apart, within 50 ms the first is kept."""
    onset_sec = score.seconds(score.notes.onset_ticks)
    pitch = score.notes.pitch + 128 * score.notes.is_drum
    kept: list[int] = []
    for n in np.lexsort((onset_sec, pitch)).tolist():
        if not kept or pitch[kept[-1]] != pitch[n] or onset_sec[n] - onset_sec[kept[-1]] > ONSET_TOLERANCE_SEC:
            kept.append(n)
    return _select(score, np.sort(np.array(kept, dtype=np.int64)))


def bootstrap_f1(
    counts: Sequence[MatchCounts], tunes: Sequence[int], *, seed: int = 0, num_samples: int = 1000
) -> list[float]:
    """Returns the 95% interval of the F1 of summed counts, one for each piece, by resampling tunes."""
    if not counts:
        return [0.0, 0.0]
    columns = np.array([dataclasses.astuple(count) for count in counts]).T
    return interval_95(f1_score(*resample_group_sums(columns, tunes, np.random.default_rng(seed), num_samples)))


def count_active_units(means: np.ndarray) -> int:
    """Counts the latents whose posterior mean, [N, Z], varies over the data by more than 0.01."""
    return int(np.sum(np.var(means, axis=0) > ACTIVE_UNIT_VARIANCE))


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
    first, last = (np.searchsorted(other_keys[order], keys + shift) for shift in (-_SEARCH_SEC, _SEARCH_SEC))
    count = last - first
    mine = np.repeat(np.arange(len(count)), count)
    theirs = order[np.arange(len(mine)) + np.repeat(last - np.cumsum(count), count)]
    distance = np.round(np.abs(times[mine] - others[theirs]), _DISTANCE_DECIMALS)
    keep = distance[:, 0] <= ONSET_TOLERANCE_SEC
    if offsets:
        duration = times[mine, 1] - times[mine, 0]
        keep &= distance[:, 1] <= np.maximum(OFFSET_MIN_TOLERANCE_SEC, OFFSET_RATIO * duration)
    return np.stack([mine[keep], theirs[keep]])
