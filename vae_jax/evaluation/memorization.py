"""Memorization: how similar composed pieces are to the training pieces, in any key, by bars and by melody.

The same figures of held-out real music stand beside them, because real pieces share bars and turns of melody too.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import scipy.sparse

from vae_jax.evaluation.bar_grid import NUM_PITCHES, BarGrid
from vae_jax.evaluation.intervals import interval_95
from vae_jax.evaluation.musicology.voices import Voices
from vae_jax.evaluation.pieces import PieceSet
from vae_jax.music.match_counts import f1_score
from vae_jax.runtime.files import Json

_MAX_PAIRS = 2**22  # Windows times training windows that are compared at once.
_MAX_SHIFT = 24  # Semitones.
_NUM_SAMPLES = 1000  # Of the bootstrap.
_Statistics = Mapping[str, Callable[[np.ndarray], float]]
_WINDOW_STATISTICS: _Statistics = {
    "mean": lambda best: float(np.mean(best)),
    "p95": lambda best: float(np.percentile(best, 95)),
    "near_exact": lambda best: float(np.mean(best >= 0.95)),
}
_MELODY_STATISTICS: _Statistics = {
    "mean": _WINDOW_STATISTICS["mean"],
    "p95": _WINDOW_STATISTICS["p95"],
    "longest": lambda notes: float(np.max(notes)),
}
_COMPARED = ("mean", "near_exact")


def score_memorization(training: PieceSet, held_out: PieceSet, composed: PieceSet, seed: int) -> Json:
    """Compares composed and held-out pieces with the training pieces.

    Returns for "bar", "two_bars" and "melody" and each of "composed" and "held_out" how many `windows` or `pieces` were
    compared, and over these the `mean` and the 95th percentile `p95` with 95% intervals: of the best F1 of a window,
    beside the share `near_exact` of 0.95 or more; of the notes in the longest run of melody that any training piece
    has, beside the `longest` of all. Then the differences of means and shares, composed less held-out, with intervals,
    and `exceeds_real`: whether one of these intervals lies above zero. A figure without windows or pieces is None.
    """
    subsets = {"composed": composed, "held_out": held_out}
    results: Json = {}
    for name, num_bars in {"bar": 1, "two_bars": 2}.items():
        best = {subset: best_matches(pieces.grids, training.grids, num_bars) for subset, pieces in subsets.items()}
        results[name] = _compare(best, subsets, "windows", _WINDOW_STATISTICS, seed)
    runs = {subset: longest_shared_runs(pieces.voices, training.voices) for subset, pieces in subsets.items()}
    results["melody"] = _compare(runs, subsets, "pieces", _MELODY_STATISTICS, seed)
    return results


def longest_shared_runs(pieces: Sequence[Voices], library: Sequence[Voices]) -> list[np.ndarray]:
    """Returns the number of notes in the longest run of each melody that a library melody has too, in any key: equal
    intervals, and equal times between starts in sixteenths. [1] float64 a piece; [0] for a melody of one note or none,
    1.0 where no interval is shared."""
    separator = np.zeros(1, dtype=np.int64)  # A melody never has two notes that start together.
    others = np.concatenate([separator, *(np.append(_moves(one), separator) for one in library)])
    found = []
    for piece in pieces:
        moves, longest = _moves(piece), 0
        run = np.zeros(len(others), dtype=np.int64)  # That ends at each place of the library.
        for move in moves:
            run[1:] = np.where(others[1:] == move, run[:-1] + 1, 0)
            longest = max(longest, int(run.max()))
        found.append(np.full(min(len(moves), 1), longest + 1.0))
    return found


def _moves(voices: Voices) -> np.ndarray:
    """The interval and the time between neighbouring notes of the melody as one number, not 0, int64."""
    start, pitch = voices.melody
    return np.diff(start) * 2 * NUM_PITCHES + np.diff(pitch)


def _compare(
    values: Mapping[str, Sequence[np.ndarray]],
    subsets: Mapping[str, PieceSet],
    unit: str,
    statistics: _Statistics,
    seed: int,
) -> Json:
    """The statistics of the values of every piece, by subset, and their differences."""
    rng = np.random.default_rng(seed)
    found: Json = {}
    samples = {}
    for subset, pieces in subsets.items():
        joined = np.concatenate([np.zeros(0), *values[subset]])
        drawn = _bootstrap(values[subset], pieces.tunes, statistics, rng) if len(joined) else {}
        samples[subset], found[subset] = drawn, {unit: len(joined)}
        for figure, statistic in statistics.items():
            found[subset][figure] = statistic(joined) if drawn else None
            found[subset][f"{figure}_interval"] = interval_95(drawn[figure]) if drawn else None
    known = all(samples.values())
    found["exceeds_real"] = False if known else None
    for figure in (name for name in _COMPARED if name in statistics):
        difference = interval = None
        if known:
            difference = found["composed"][figure] - found["held_out"][figure]
            interval = interval_95(samples["composed"][figure] - samples["held_out"][figure])
            found["exceeds_real"] |= interval[0] > 0
        found |= {f"{figure}_difference": difference, f"{figure}_difference_interval": interval}
    return found


def best_matches(pieces: Sequence[BarGrid], library: Sequence[BarGrid], num_bars: int) -> list[np.ndarray]:
    """Returns for the windows of each piece the best F1 of onset cells with any library window, [W] float64 each.

    A window starts on a bar line and holds `num_bars` bars; those with fewer than four onsets a bar or three steps with
    an onset are left out. It is compared with as many steps from every bar line of every library piece, transposed by
    up to two octaves; instruments are merged. The F1 is 0 where the library is empty.
    """
    windows = [_informative_windows(piece, num_bars) for piece in pieces]
    best = [np.zeros(len(starts)) for starts, _ in windows]
    for length in sorted({int(length) for _, lengths in windows for length in lengths}):
        theirs = [_cells(piece, piece.bars[:-1], np.full(piece.num_bars, length), length) for piece in library]
        mine = [lengths == length for _, lengths in windows]
        ours = [
            _cells(piece, starts[chosen], lengths[chosen], length)
            for piece, (starts, lengths), chosen in zip(pieces, windows, mine, strict=True)
        ]
        found = _best_f1(scipy.sparse.vstack(ours, format="csr"), theirs)
        for values, chosen in zip(best, mine, strict=True):
            values[chosen], found = found[: chosen.sum()], found[chosen.sum() :]
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


def _cells(piece: BarGrid, starts: np.ndarray, lengths: np.ndarray, width: int) -> scipy.sparse.csr_matrix:
    """The onset cells of windows, with a step to spare for pitches that a transposition moves out of the last one."""
    return piece.onset_cells(starts, lengths, width + 1)


def _best_f1(windows: scipy.sparse.csr_matrix, library: Sequence[scipy.sparse.csr_matrix]) -> np.ndarray:
    """Best F1 of each window, a row, with any library window, also a row, over all transpositions, [W]."""
    best = np.zeros(windows.shape[0])
    if not sum(cells.shape[0] for cells in library):
        return best
    library_cells = scipy.sparse.vstack(library, format="csr").T.tocsr()
    library_size = library_cells.getnnz(axis=0)
    chunk = max(1, _MAX_PAIRS // len(library_size))
    for first in range(0, len(best), chunk):
        rows = windows[first : first + chunk]
        shared = np.zeros((rows.shape[0], len(library_size)), dtype=np.float32)
        for shift in range(-_MAX_SHIFT, _MAX_SHIFT + 1):
            # The grid's pitches are 24 to 107: a pitch that leaves its step reaches one below 24 in the next.
            moved = scipy.sparse.csr_matrix((rows.data, rows.indices + shift, rows.indptr), shape=rows.shape)
            np.maximum(shared, (moved @ library_cells).toarray(), out=shared)
        best[first : first + chunk] = f1_score(shared, np.diff(rows.indptr)[:, None], library_size).max(axis=1)
    return best


def _bootstrap(
    values: Sequence[np.ndarray], tunes: Sequence[int], statistics: _Statistics, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """The statistics of the resamples of the tunes that have values."""
    joined, tune_of = np.concatenate(values), np.repeat(tunes, [len(mine) for mine in values])
    units = [joined[tune_of == tune] for tune in dict.fromkeys(tune_of.tolist())]
    picks = rng.integers(0, len(units), size=(_NUM_SAMPLES, len(units)))
    drawn = [np.concatenate([units[n] for n in pick]) for pick in picks]
    return {name: np.array([statistic(mine) for mine in drawn]) for name, statistic in statistics.items()}
