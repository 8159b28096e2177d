"""Memorisation: how near the bars of a composed piece come to bars of the training pieces, in any key.

The same figure for held-out real music stands beside it: real pieces share bars too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse

from vae_jax.evaluation import bar_grid
from vae_jax.evaluation.bar_grid import NUM_PITCHES, BarredPiece
from vae_jax.music.score import Score

WINDOWS = {"bar": 1, "two_bars": 2}  # Bars in each kind of window.
NEAR_EXACT_F1 = 0.95
MIN_ONSETS_PER_BAR, MIN_ONSET_STEPS = 4, 3  # A held chord is in every piece: it says nothing.
_TRANSPOSITIONS = range(-11, 12)
_MAX_PAIRS = 2**22  # Windows times training windows that are compared at once.


def score_memorisation(
    training: Sequence[Score],
    held_out: Sequence[Score],
    composed: Sequence[Score],
    *,
    held_out_tunes: Sequence[int],
    seed: int,
    num_samples: int = 1000,
) -> dict[str, Any]:
    """Compares composed and held-out pieces with the training pieces.

    Returns:
      For each kind of window ("bar", "two_bars") and each of "composed" and "held_out": `windows`, how many were
      compared; and over these windows the `mean` and the 95th percentile `p95` of the best F1, and the share
      `near_exact` that comes to 0.95 or more; each beside its 95% `_interval` by resampling pieces (tunes for the
      held-out ones; percentile bootstrap, Efron 1979). Then `mean_difference` and `near_exact_difference`, composed
      less held-out, with their intervals, and `exceeds_real`: whether one of these intervals lies above zero. A figure
      without windows to compute it from is None.
    """
    library = [bar_grid.lay_out(score) for score in training]
    results: dict[str, Any] = {}
    for name, num_bars in WINDOWS.items():
        rng = np.random.default_rng(seed)
        best = {
            "composed": best_matches(composed, library, num_bars),
            "held_out": best_matches(held_out, library, num_bars),
        }
        groups = {"composed": list(range(len(composed))), "held_out": list(held_out_tunes)}
        samples = {part: _bootstrap(best[part], groups[part], rng, num_samples) for part in best}
        results[name] = {part: _described(best[part], samples[part]) for part in best}
        results[name] |= _differences(results[name], samples)
    return results


def best_matches(scores: Sequence[Score], library: Sequence[BarredPiece], num_bars: int) -> list[np.ndarray]:
    """Finds for the windows of each piece the best F1 of onset cells with any window of the library, in any key.

    A window starts on a bar line and holds `num_bars` bars; those with fewer than four onsets a bar or three places
    with an onset are left out. It is compared with as many steps from every bar line of every library piece, moved by
    -11 to +11 semitones; all pitched parts are merged.

    Args:
      scores: the pieces whose windows are looked up.
      library: the pieces to look in, laid out.
      num_bars: bars in a window.

    Returns:
      For each piece [W] float64, its windows' best F1; 0 where the library is empty.
    """
    pieces = [bar_grid.lay_out(score) for score in scores]
    windows = [_informative_windows(piece, num_bars) for piece in pieces]
    best = [np.zeros(len(starts)) for starts, _ in windows]
    for length in np.unique(np.concatenate([np.zeros(0, np.int64), *(lengths for _, lengths in windows)])):
        rows = [
            bar_grid.onset_cells(piece, starts[lengths == length], lengths[lengths == length], length)
            for piece, (starts, lengths) in zip(pieces, windows, strict=True)
        ]
        found = _best_f1(scipy.sparse.vstack(rows, format="csr"), _library_cells(library, int(length)))
        splits = np.cumsum([row.shape[0] for row in rows])[:-1]
        for values, part, (_, lengths) in zip(best, np.split(found, splits), windows, strict=True):
            values[lengths == length] = part
    return best


def _informative_windows(piece: BarredPiece, num_bars: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts and lengths in steps of the windows that hold enough to be recognised, [W] int64 each."""
    starts = piece.bars[:-num_bars]
    lengths = piece.bars[num_bars:] - starts
    onsets = np.unique(piece.step)

    def inside(steps: np.ndarray) -> np.ndarray:
        return np.searchsorted(steps, starts + lengths) - np.searchsorted(steps, starts)

    kept = (inside(piece.step) >= MIN_ONSETS_PER_BAR * num_bars) & (inside(onsets) >= MIN_ONSET_STEPS)
    return starts[kept], lengths[kept]


def _library_cells(library: Sequence[BarredPiece], length: int) -> scipy.sparse.csr_matrix:
    """Windows of one length from every bar line of every piece as sparse rows; those without onsets are left out."""
    empty = scipy.sparse.csr_matrix((0, length * NUM_PITCHES), dtype=np.float32)
    rows = [bar_grid.onset_cells(piece, piece.bars[:-1], np.full(piece.num_bars, length), length) for piece in library]
    cells = scipy.sparse.vstack([empty, *rows], format="csr")
    return cells[np.diff(cells.indptr) > 0]


def _best_f1(windows: scipy.sparse.csr_matrix, library: scipy.sparse.csr_matrix) -> np.ndarray:
    """Best F1 of each window with any library window over all transpositions, [W]."""
    best = np.zeros(windows.shape[0])
    library_size = np.diff(library.indptr)
    by_cell = library.T.tocsr()
    chunk = max(1, _MAX_PAIRS // max(1, library.shape[0]))
    for first in range(0, windows.shape[0], chunk):
        rows = windows[first : first + chunk]
        size = np.diff(rows.indptr)
        for shift in _TRANSPOSITIONS:
            # The grid's pitches stay 12 semitones off both ends, so that none crosses into the next step's columns.
            moved = scipy.sparse.csr_matrix((rows.data, rows.indices + shift, rows.indptr), shape=rows.shape)
            shared = moved @ by_cell
            matches = np.diff(shared.indptr)
            f1 = 2 * shared.data / (np.repeat(size, matches) + library_size[shared.indices])
            some = np.flatnonzero(matches)
            if len(some):
                found = first + some
                best[found] = np.maximum(best[found], np.maximum.reduceat(f1, shared.indptr[some]))
    return best


_FIGURES = {
    "mean": lambda best: float(np.mean(best)),
    "p95": lambda best: float(np.percentile(best, 95)),
    "near_exact": lambda best: float(np.mean(best >= NEAR_EXACT_F1)),
}


def _bootstrap(
    best: Sequence[np.ndarray], groups: Sequence[int], rng: np.random.Generator, num_samples: int
) -> dict[str, np.ndarray]:
    """The figures of `num_samples` resamples, drawing groups of pieces; nothing where no piece has a window."""
    by_group: dict[int, list[np.ndarray]] = {}
    for values, group in zip(best, groups, strict=True):
        if len(values):
            by_group.setdefault(group, []).append(values)
    units = [np.concatenate(values) for values in by_group.values()]
    if not units:
        return {}
    picks = rng.integers(0, len(units), size=(num_samples, len(units)))
    drawn = [np.concatenate([units[n] for n in pick]) for pick in picks]
    return {name: np.array([figure(values) for values in drawn]) for name, figure in _FIGURES.items()}


def _described(best: Sequence[np.ndarray], samples: dict[str, np.ndarray]) -> dict[str, Any]:
    joined = np.concatenate([np.zeros(0), *best])
    described: dict[str, Any] = {"windows": len(joined)}
    for name, figure in _FIGURES.items():
        described[name] = figure(joined) if len(joined) else None
        described[f"{name}_interval"] = _interval(samples[name]) if samples else None
    return described


def _differences(described: dict[str, Any], samples: dict[str, dict[str, np.ndarray]]) -> dict[str, Any]:
    """Composed less held-out, with intervals."""
    known = bool(samples["composed"] and samples["held_out"])
    differences: dict[str, Any] = {"exceeds_real": False if known else None}
    for name in ("mean", "near_exact"):
        differences |= {f"{name}_difference": None, f"{name}_difference_interval": None}
        if known:
            interval = _interval(samples["composed"][name] - samples["held_out"][name])
            differences[f"{name}_difference"] = described["composed"][name] - described["held_out"][name]
            differences[f"{name}_difference_interval"] = interval
            differences["exceeds_real"] |= interval[0] > 0
    return differences


def _interval(samples: np.ndarray) -> list[float]:
    return [float(value) for value in np.percentile(samples, [2.5, 97.5])]
