"""Standard features of a piece, by which generated music is compared with real music, and the overlap of two samples.

Sources: MusPy (Dong et al. 2020, "MusPy: a toolkit for symbolic music generation"), MuseGAN (Dong et al. 2018), Jazz
Transformer (Wu and Yang 2020). All are computed on the bar grid: drums are left out, and a pitch that several
instruments start together is one note. A feature without a value for a piece is 0, but `empty_bar_rate` is then 1.
"""

from __future__ import annotations

import numpy as np

from vae_jax.evaluation.bar_grid import STEPS_PER_BEAT, BarGrid
from vae_jax.music.theory import MAJOR_SCALE

FEATURES = (
    "pitch_class_entropy",
    "scale_consistency",
    "groove_consistency",
    "polyphony",
    "note_density",
    "empty_bar_rate",
    "qualified_note_rate",
    "bar_self_similarity",
)


def piece_features(grid: BarGrid) -> dict[str, float]:
    """Returns the features named in `FEATURES`, in that order; all are finite.

    pitch_class_entropy: -sum p log2 p of the pitch classes' shares of the notes, in bits (Wu and Yang 2020); 0..3.58.
    scale_consistency: the largest share of the notes that lies in one of the twelve diatonic scales (MusPy; a natural
      minor scale holds the notes of its relative major).
    groove_consistency: the mean over pairs of bars of one meter and length of the share of their steps at which both or
      neither has an onset (Wu and Yang 2020, equation 3, with twelve steps to the beat in place of 64 to the bar).
    polyphony: the mean number of pitches that sound, over the steps at which any does (MusPy).
    note_density: notes per beat (quarter note), from the first bar line to the last; unisons count once.
    empty_bar_rate: the share of the bars in which no pitched note sounds (MuseGAN, with the tracks merged).
    qualified_note_rate: the share of the notes that last a 32nd note or longer (MuseGAN).
    bar_self_similarity: the mean over bars of the best F1 of onset cells (step in the bar and pitch) with an earlier,
      not adjacent bar of the same meter and length. Bars without onsets and bars with nothing to compare with do not
      count.
    """
    if not len(grid.step):
        return dict.fromkeys(FEATURES, 0.0) | {"empty_bar_rate": 1.0}
    pitch_classes = np.bincount(grid.pitch % 12, minlength=12)
    events, sounding = grid.sounding()
    num_sounding, length = sounding.sum(axis=1), np.diff(events)
    started_by_end = np.searchsorted(grid.step, grid.bars[1:])
    ended_by_start = np.searchsorted(np.sort(grid.end), grid.bars[:-1], side="right")
    values = (
        entropy_bits(pitch_classes / len(grid.pitch)),
        max(pitch_classes[(np.array(MAJOR_SCALE) + root) % 12].sum() for root in range(12)) / len(grid.pitch),
        _groove_consistency(grid),
        (num_sounding * length).sum() / length[num_sounding > 0].sum(),
        len(grid.step) / (grid.bars[-1] / STEPS_PER_BEAT),
        np.mean(started_by_end == ended_by_start),
        np.mean(grid.duration >= STEPS_PER_BEAT / 8),
        _bar_self_similarity(grid),
    )
    return {name: float(value) for name, value in zip(FEATURES, values, strict=True)}


def entropy_bits(shares: np.ndarray) -> float:
    """Returns the entropy in bits of shares that sum to 1."""
    positive = shares[shares > 0]
    return float(np.maximum(-np.sum(positive * np.log2(positive)), 0.0))


def overlapping_area(a: np.ndarray, b: np.ndarray) -> float | None:
    """Returns the area under the lower of the densities of two samples [N] and [M], from 0 (disjoint) to 1 (equal).

    Source: Yang and Lerch 2020, but of the feature itself, not of distances between pieces. Both densities are Gaussian
    kernel estimates on one grid, with one bandwidth: Scott's rule for the smaller sample and the mean of the two
    variances. With separate bandwidths, a sample of equal values would have no overlap with a sample most of which has
    that value. None where a sample has fewer than two values.
    """
    if min(len(a), len(b)) < 2:
        return None
    low, high = min(a.min(), b.min()), max(a.max(), b.max())
    if low == high:
        return 1.0
    scott = np.sqrt((np.var(a, ddof=1) + np.var(b, ddof=1)) / 2) * min(len(a), len(b)) ** -0.2
    bandwidth = max(scott, 1e-2 * (high - low))  # Wide enough for the grid's points.
    points = np.linspace(low - 4.0 * bandwidth, high + 4.0 * bandwidth, 512)
    densities = (
        np.exp(-0.5 * ((points[:, None] - values) / bandwidth) ** 2).sum(axis=1)
        / (len(values) * bandwidth * np.sqrt(2 * np.pi))
        for values in (a, b)
    )
    return float(min(np.trapezoid(np.minimum(*densities), points), 1.0))


def _groove_consistency(grid: BarGrid) -> float:
    rhythms, lengths = grid.bar_rhythms(), np.diff(grid.bars)
    agreement, num_pairs = 0.0, 0.0
    for kind in np.unique(grid.bar_kind):
        mine = grid.bar_kind == kind
        count, num_bars = rhythms[mine].sum(axis=0), mine.sum()
        pairs = num_bars * (num_bars - 1) / 2
        # At each step, every bar with an onset differs from every bar without one.
        agreement += pairs - np.sum(count * (num_bars - count)) / lengths[mine][0]
        num_pairs += pairs
    return agreement / num_pairs if num_pairs else 0.0


def _bar_self_similarity(grid: BarGrid) -> float:
    similar = grid.bar_similarity().tocoo()
    earlier = similar.col <= similar.row - 2
    best = np.zeros(grid.num_bars)
    np.maximum.at(best, similar.row[earlier], similar.data[earlier])
    filled = np.flatnonzero(grid.onsets_per_bar)
    filled = filled[np.argsort(grid.bar_kind[filled], kind="stable")]
    _, first, of_bar = np.unique(grid.bar_kind[filled], return_index=True, return_inverse=True)
    bars = filled[filled >= filled[first][of_bar] + 2]
    return best[bars].mean() if len(bars) else 0.0
