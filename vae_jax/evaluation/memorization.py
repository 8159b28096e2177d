"""Memorization: how similar the bars of a composed piece are to bars of the training pieces, in any key.

The same figures of held-out real music stand beside them, because real pieces share bars too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse

from vae_jax.evaluation import bar_grid
from vae_jax.evaluation.bar_grid import NUM_PITCHES, BarGrid
from vae_jax.evaluation.intervals import interval_95

WINDOWS = {"bar": 1, "two_bars": 2}  # Bars in each kind of window.
NEAR_EXACT_F1 = 0.95
MIN_ONSETS_PER_BAR, MIN_ONSET_STEPS = 4, 3  # Less, such as a held chord, is common to most pieces.
_TRANSPOSITIONS = range(-11, 12)
_MAX_PAIRS = 2**22  # Windows times training windows that are compared at once.
_STATISTICS = {
    "mean": lambda best: float(np.mean(best)),
    "p95": lambda best: float(np.percentile(best, 95)),
    "near_exact": lambda best: float(np.mean(best >= NEAR_EXACT_F1)),
}


def score_memorization(
    training: Sequence[BarGrid],
    held_out: Sequence[BarGrid],
    composed: Sequence[BarGrid],
    *,
    held_out_tunes: Sequence[int],
    seed: int,
    num_samples: int = 1000,
) -> dict[str, Any]:
    """Compares composed and held-out pieces with the training pieces.

    Returns:
      For each kind of window ("bar", "two_bars") and each of "composed" and "held_out": `windows`, how many were
      compared; and over these windows the `mean` and the 95th percentile `p95` of the best F1, and the share
      `near_exact` of 0.95 or more; each beside its 95% `_interval` by resampling composed pieces or held-out tunes.
      Then `mean_difference` and `near_exact_difference`, composed less held-out, with their intervals, and
      `exceeds_real`: whether one of these intervals lies above zero. A figure without windows is None.
    """
    results: dict[str, Any] = {}
    subsets = {"composed": (composed, range(len(composed))), "held_out": (held_out, held_out_tunes)}
    for name, num_bars in WINDOWS.items():
        rng = np.random.default_rng(seed)
        window: dict[str, Any] = {}
        samples = {}
        for subset, (pieces, groups) in subsets.items():
            best = best_matches(pieces, training, num_bars)
            joined = np.concatenate([np.zeros(0), *best])
            samples[subset] = _bootstrap(best, groups, rng, num_samples) if len(joined) else {}
            window[subset] = {"windows": len(joined)}
            for figure, statistic in _STATISTICS.items():
                window[subset][figure] = statistic(joined) if len(joined) else None
                window[subset][f"{figure}_interval"] = interval_95(samples[subset][figure]) if len(joined) else None
        known = all(samples.values())
        window["exceeds_real"] = False if known else None
        for figure in ("mean", "near_exact"):
            difference = interval = None
            if known:
                difference = window["composed"][figure] - window["held_out"][figure]
                interval = interval_95(samples["composed"][figure] - samples["held_out"][figure])
                window["exceeds_real"] |= interval[0] > 0
            window |= {f"{figure}_difference": difference, f"{figure}_difference_interval": interval}
        results[name] = window
    return results


def best_matches(pieces: Sequence[BarGrid], library: Sequence[BarGrid], num_bars: int) -> list[np.ndarray]:
    """Finds for the windows of each piece the best F1 of onset cells with any window of the library, in any key.

    A window starts on a bar line and holds `num_bars` bars; those with fewer than four onsets a bar or three steps with
    an onset are left out. It is compared with as many steps from every bar line of every library piece, transposed by
    -11 to +11 semitones; instruments are merged.

    Returns:
      For each piece [W] float64, its windows' best F1; 0 where the library is empty.
    """
    windows = [_informative_windows(piece, num_bars) for piece in pieces]
    best = [np.zeros(len(starts)) for starts, _ in windows]
    for length in sorted({int(length) for _, lengths in windows for length in lengths}):
        cells = [piece.onset_cells(piece.bars[:-1], np.full(piece.num_bars, length), length) for piece in library]
        empty = scipy.sparse.csr_matrix((0, length * NUM_PITCHES), dtype=np.float32)
        library_cells = scipy.sparse.vstack([empty, *cells], format="csr").T.tocsr()
        for piece, (starts, lengths), values in zip(pieces, windows, best, strict=True):
            mine = lengths == length
            values[mine] = _best_f1(piece.onset_cells(starts[mine], lengths[mine], length), library_cells)
    return best


def _informative_windows(piece: BarGrid, num_bars: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts and lengths in steps of the windows with enough onsets to be recognized, [W] int64 each."""
    starts = piece.bars[:-num_bars]
    lengths = piece.bars[num_bars:] - starts
    num_onsets, num_steps = (
        np.searchsorted(steps, starts + lengths) - np.searchsorted(steps, starts)
        for steps in (piece.step, np.unique(piece.step))
    )
    kept = (num_onsets >= MIN_ONSETS_PER_BAR * num_bars) & (num_steps >= MIN_ONSET_STEPS)
    return starts[kept], lengths[kept]


def _best_f1(windows: scipy.sparse.csr_matrix, library_cells: scipy.sparse.csr_matrix) -> np.ndarray:
    """Best F1 of each window, a row, with any library window, a column, over all transpositions, [W]."""
    best = np.zeros(windows.shape[0])
    chunk = max(1, _MAX_PAIRS // max(1, library_cells.shape[1]))
    for first in range(0, len(best), chunk):
        rows, found = windows[first : first + chunk], best[first : first + chunk]
        for shift in _TRANSPOSITIONS:
            # The grid's pitches stay 12 semitones off both ends, so that none crosses into the next step's columns.
            moved = scipy.sparse.csr_matrix((rows.data, rows.indices + shift, rows.indptr), shape=rows.shape)
            f1 = bar_grid.pairwise_f1(moved, library_cells)
            some = np.flatnonzero(np.diff(f1.indptr))
            if len(some):
                found[some] = np.maximum(found[some], np.maximum.reduceat(f1.data, f1.indptr[some]))
    return best


def _bootstrap(
    best: Sequence[np.ndarray], groups: Sequence[int], rng: np.random.Generator, num_samples: int
) -> dict[str, np.ndarray]:
    """The statistics of `num_samples` resamples of the groups of pieces that have windows."""
    by_group: dict[int, list[np.ndarray]] = {}
    for values, group in zip(best, groups, strict=True):
        if len(values):
            by_group.setdefault(group, []).append(values)
    units = [np.concatenate(values) for values in by_group.values()]
    picks = rng.integers(0, len(units), size=(num_samples, len(units)))
    drawn = [np.concatenate([units[n] for n in pick]) for pick in picks]
    return {name: np.array([statistic(values) for values in drawn]) for name, statistic in _STATISTICS.items()}
