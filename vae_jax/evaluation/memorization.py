"""Memorization: how similar the bars of a composed piece are to bars of the training pieces, in any key.

The same figures of held-out real music stand beside them, because real pieces share bars too.
"""

from collections.abc import Sequence

import numpy as np
import scipy.sparse

from vae_jax.evaluation import bar_grid
from vae_jax.evaluation.bar_grid import NUM_PITCHES, BarGrid, PieceSet
from vae_jax.evaluation.intervals import interval_95
from vae_jax.runtime.files import Json

_MAX_PAIRS = 2**22  # Windows times training windows that are compared at once.
_STATISTICS = {
    "mean": lambda best: float(np.mean(best)),
    "p95": lambda best: float(np.percentile(best, 95)),
    "near_exact": lambda best: float(np.mean(best >= 0.95)),
}


def score_memorization(
    training: PieceSet, held_out: PieceSet, composed: PieceSet, seed: int, num_samples: int = 1000
) -> Json:
    """Compares composed and held-out pieces with the training pieces.

    Returns for each kind of window ("bar", "two_bars") and each of "composed" and "held_out": `windows`, how many were
    compared; over these the `mean` and the 95th percentile `p95` of the best F1, and the share `near_exact` of 0.95 or
    more, with 95% intervals. Then the differences of means and shares, composed less held-out, with intervals, and
    `exceeds_real`: whether one of these intervals lies above zero. A figure without windows is None.
    """
    results: Json = {}
    for name, num_bars in {"bar": 1, "two_bars": 2}.items():
        rng = np.random.default_rng(seed)
        window: Json = {}
        samples = {}
        for subset, pieces in (("composed", composed), ("held_out", held_out)):
            best = best_matches(pieces.grids, training.grids, num_bars)
            joined = np.concatenate([np.zeros(0), *best])
            drawn = samples[subset] = _bootstrap(best, pieces.tunes, rng, num_samples) if len(joined) else {}
            window[subset] = {"windows": len(joined)}
            for figure, statistic in _STATISTICS.items():
                window[subset][figure] = statistic(joined) if drawn else None
                window[subset][f"{figure}_interval"] = interval_95(drawn[figure]) if drawn else None
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
    """Returns for the windows of each piece the best F1 of onset cells with any library window, [W] float64 each.

    A window starts on a bar line and holds `num_bars` bars; those with fewer than four onsets a bar or three steps with
    an onset are left out. It is compared with as many steps from every bar line of every library piece, transposed by
    -11 to +11 semitones; instruments are merged. The F1 is 0 where the library is empty.
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
    """Starts and lengths in steps of the windows with more onsets than, say, a held chord, [W] int64 each."""
    starts = piece.bars[:-num_bars]
    lengths = piece.bars[num_bars:] - starts
    num_onsets, num_steps = (
        np.searchsorted(steps, starts + lengths) - np.searchsorted(steps, starts)
        for steps in (piece.step, np.unique(piece.step))
    )
    kept = (num_onsets >= 4 * num_bars) & (num_steps >= 3)
    return starts[kept], lengths[kept]


def _best_f1(windows: scipy.sparse.csr_matrix, library_cells: scipy.sparse.csr_matrix) -> np.ndarray:
    """Best F1 of each window, a row, with any library window, a column, over all transpositions, [W]."""
    best = np.zeros(windows.shape[0])
    chunk = max(1, _MAX_PAIRS // max(1, library_cells.shape[1]))
    for first in range(0, len(best), chunk):
        rows, found = windows[first : first + chunk], best[first : first + chunk]
        for shift in range(-11, 12):
            # The grid's pitches stay 12 semitones off both ends, so that none crosses into the next step's columns.
            moved = scipy.sparse.csr_matrix((rows.data, rows.indices + shift, rows.indptr), shape=rows.shape)
            f1 = bar_grid.pairwise_f1(moved, library_cells)
            some = np.flatnonzero(np.diff(f1.indptr))
            if len(some):
                found[some] = np.maximum(found[some], np.maximum.reduceat(f1.data, f1.indptr[some]))
    return best


def _bootstrap(
    best: Sequence[np.ndarray], tunes: Sequence[int], rng: np.random.Generator, num_samples: int
) -> dict[str, np.ndarray]:
    """The statistics of `num_samples` resamples of the tunes that have windows."""
    joined, tune_of = np.concatenate(best), np.repeat(tunes, [len(values) for values in best])
    units = [joined[tune_of == tune] for tune in dict.fromkeys(tune_of.tolist())]
    picks = rng.integers(0, len(units), size=(num_samples, len(units)))
    drawn = [np.concatenate([units[n] for n in pick]) for pick in picks]
    return {name: np.array([statistic(values) for values in drawn]) for name, statistic in _STATISTICS.items()}
