"""Scores of a reconstruction against its original, computed from notes: MIDI in, MIDI out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph

from vae_jax.music import instruments
from vae_jax.music.match_counts import MatchCounts
from vae_jax.music.score import Notes, Score

ONSET_TOLERANCE_SEC = 0.05
OFFSET_RATIO, OFFSET_MIN_TOLERANCE_SEC = 0.2, 0.05
ACTIVE_UNIT_VARIANCE = 0.01  # Burda, Grosse and Salakhutdinov 2016, section 5.2.
_DISTANCE_DECIMALS = 4  # mir_eval rounds distances to a tenth of a millisecond before it compares them.


def count_matches(reference: Score, estimate: Score, *, drums: bool = False, offsets: bool = False) -> MatchCounts:
    """MatchCounts matching notes by mir_eval's transcription convention (Raffel et al. 2014).

    A note matches where its pitch is equal and its onset within 50 ms of the original's, in seconds by each score's own
    tempo map; each note is used once, and as many as possible are matched.

    Args:
      reference: the original.
      estimate: the reconstruction.
      drums: whether to score the percussion channel instead of the pitched tracks, which are merged.
      offsets: whether the end must lie within the larger of 50 ms and 20% of the original's duration as well.
    """
    reference_notes = reference.notes.select(reference.notes.is_drum == drums)
    estimate_notes = estimate.notes.select(estimate.notes.is_drum == drums)
    pairs = _candidate_pairs(
        _intervals_sec(reference, reference_notes),
        reference_notes,
        _intervals_sec(estimate, estimate_notes),
        estimate_notes,
        offsets,
    )
    matched = 0
    if len(pairs):
        shape = (len(reference_notes), len(estimate_notes))
        graph = scipy.sparse.csr_matrix((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=shape)
        matched = int(np.sum(scipy.sparse.csgraph.maximum_bipartite_matching(graph) >= 0))
    return MatchCounts(matched, len(reference_notes), len(estimate_notes))


def without_doublings(score: Score) -> Score:
    """Returns the score with every unison once: of notes of one pitch, drums apart, within 50 ms the first is kept."""
    notes = score.notes
    onset_sec = score.seconds(notes.onset_ticks)
    pitch = notes.pitch + 128 * notes.is_drum
    order = np.lexsort((onset_sec, pitch))
    kept: list[int] = []
    for n in order.tolist():
        if not kept or pitch[kept[-1]] != pitch[n] or onset_sec[n] - onset_sec[kept[-1]] > ONSET_TOLERANCE_SEC:
            kept.append(n)
    return dataclasses.replace(score, notes=notes.select(np.sort(np.array(kept, dtype=np.int64))))


def count_instrument_matches(reference: Score, estimate: Score) -> MatchCounts:
    """MatchCounts matching notes within each part (instrument group), drums left out: see `count_matches`.

    A note in a part that the original does not have counts as wrong.
    """
    reference_parts, estimate_parts = instruments.assign_parts(reference), instruments.assign_parts(estimate)
    total = MatchCounts()
    for part in range(instruments.NUM_PARTS):
        if part != instruments.DRUMS:
            mine = dataclasses.replace(reference, notes=reference.notes.select(reference_parts == part))
            theirs = dataclasses.replace(estimate, notes=estimate.notes.select(estimate_parts == part))
            total += count_matches(mine, theirs)
    return total


def bootstrap_f1(
    counts: Sequence[MatchCounts], groups: Sequence[int], *, seed: int = 0, num_samples: int = 1000
) -> tuple[float, float]:
    """Returns a 95% interval of F1 by resampling tunes (percentile bootstrap; Efron 1979).

    Args:
      counts: one for each piece.
      groups: the tune of each piece; pieces of a tune are drawn together.
      seed: seed of the resampling.
      num_samples: number of resamples.
    """
    if not counts:
        return 0.0, 0.0
    tunes = sorted(set(groups))
    totals = np.zeros((len(tunes), 3))
    for count, group in zip(counts, groups, strict=True):
        totals[tunes.index(group)] += (count.matched, count.reference, count.estimate)
    picks = np.random.default_rng(seed).integers(0, len(tunes), size=(num_samples, len(tunes)))
    matched, reference, estimate = totals[picks].sum(axis=1).T
    f1 = 2 * matched / np.maximum(reference + estimate, 1)
    low, high = np.percentile(f1, [2.5, 97.5])
    return float(low), float(high)


def count_active_units(means: np.ndarray) -> int:
    """MatchCounts the latents whose posterior mean, [N, Z], varies over the data by more than 0.01."""
    return int(np.sum(np.var(means, axis=0) > ACTIVE_UNIT_VARIANCE))


def _intervals_sec(score: Score, notes: Notes) -> np.ndarray:
    """Onset and end of each note in seconds, [N, 2]."""
    return np.stack([score.seconds(notes.onset_ticks), score.seconds(notes.end_ticks)], axis=1)


def _candidate_pairs(
    reference_sec: np.ndarray, reference_notes: Notes, estimate_sec: np.ndarray, estimate_notes: Notes, offsets: bool
) -> np.ndarray:
    """Returns every (reference, estimate) pair that may match, [M, 2]."""
    pairs = [np.zeros((0, 2), dtype=np.int64)]
    slack = 10.0**-_DISTANCE_DECIMALS
    for pitch in np.intersect1d(reference_notes.pitch, estimate_notes.pitch):
        mine = np.flatnonzero(reference_notes.pitch == pitch)
        theirs = np.flatnonzero(estimate_notes.pitch == pitch)
        theirs = theirs[np.argsort(estimate_sec[theirs, 0], kind="stable")]
        onsets = estimate_sec[theirs, 0]
        first = np.searchsorted(onsets, reference_sec[mine, 0] - ONSET_TOLERANCE_SEC - slack)
        last = np.searchsorted(onsets, reference_sec[mine, 0] + ONSET_TOLERANCE_SEC + slack, side="right")
        count = last - first
        offset = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        pairs.append(np.stack([np.repeat(mine, count), theirs[np.repeat(first, count) + offset]], axis=1))
    found = np.concatenate(pairs)
    distance = np.round(np.abs(reference_sec[found[:, 0]] - estimate_sec[found[:, 1]]), _DISTANCE_DECIMALS)
    keep = distance[:, 0] <= ONSET_TOLERANCE_SEC
    if offsets:
        duration = reference_sec[found[:, 0], 1] - reference_sec[found[:, 0], 0]
        keep &= distance[:, 1] <= np.maximum(OFFSET_MIN_TOLERANCE_SEC, OFFSET_RATIO * duration)
    return found[keep]
