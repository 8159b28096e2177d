"""References for rolls, scored on the same windows as the model: PCA, the bar before, the nearest window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.sparse

from vae_jax.evaluation.note_matching import count_instrument_matches, count_matches
from vae_jax.music import instruments
from vae_jax.music.match_counts import MatchCounts
from vae_jax.music.score import Score
from vae_jax.representations import arrays as arrays_lib
from vae_jax.representations.base import Arrays, Encoded
from vae_jax.representations.pianoroll.encoding import DURATION, PART, PITCH, STEP
from vae_jax.representations.pianoroll.representation import UNKNOWN_DURATION, RollRepresentation, best_threshold

_PCA_WINDOWS, _PCA_CELLS = 3072, 8192
_THRESHOLDS = np.linspace(0.05, 0.95, 91)
_TRANSPOSITIONS = range(-6, 6)


def score_baselines(
    representation: RollRepresentation,
    training_arrays: Arrays,
    training: Sequence[Encoded],
    pieces: Mapping[str, Sequence[Encoded]],
    originals: Mapping[str, Sequence[Score]],
    *,
    latent_dim: int,
    seed: int,
) -> dict[str, dict[str, float]]:
    """Scores every baseline on the grid, for each part of the split.

    Args:
      representation: the roll's shape.
      training_arrays: training windows to fit on, from any beat.
      training: the encoded training pieces.
      pieces: the encoded pieces to score, by the name of their part of the split.
      originals: the pieces themselves, in the same order.
      latent_dim: components of the PCA, the same number as the model has latents.
      seed: seed of the randomised PCA.
    """
    scores: dict[str, dict[str, float]] = {part: {} for part in pieces}
    for name, by_part in (("note_f1_grid", False), ("note_f1_grid_part", True)):
        fitted = arrays_lib.spread(training_arrays, _PCA_WINDOWS)
        pca = _Pca(_cells(representation, fitted, by_part), latent_dim, seed)
        for part, encoded in pieces.items():
            windows = arrays_lib.concatenate([piece.arrays for piece in encoded])
            scores[part][f"baseline_pca_{name}"] = pca.count_matches(_cells(representation, windows, by_part)).f1
            if by_part:
                scores[part] |= _pca_midi_scores(representation, pca, encoded, originals[part])
    library = _cells(representation, arrays_lib.concatenate([piece.arrays for piece in training]), by_part=False)
    for part, encoded in pieces.items():
        previous = sum((_count_previous_bar(piece) for piece in encoded), MatchCounts())
        scores[part]["baseline_previous_bar_note_f1_grid"] = previous.f1
        if part != "training":  # A training window is its own nearest.
            windows = _cells(representation, arrays_lib.concatenate([piece.arrays for piece in encoded]), by_part=False)
            nearest = _count_nearest(windows, library, representation.num_pitches)
            scores[part]["baseline_nearest_window_note_f1_grid"] = nearest.f1
    return scores


class _Pca:
    """PCA of the cells played most often, with the threshold that is best in training."""

    def __init__(self, rolls: scipy.sparse.csr_matrix, size: int, seed: int):
        import sklearn.decomposition

        counts = np.asarray(rolls.sum(axis=0)).ravel()
        self._cells = np.argsort(-counts, kind="stable")[: min(_PCA_CELLS, np.count_nonzero(counts))]
        dense = self._dense(rolls)
        rank = max(1, min(size, len(dense) - 1, dense.shape[1]))
        self._pca = sklearn.decomposition.PCA(rank, svd_solver="randomized", random_state=seed).fit(dense)
        self._threshold = best_threshold(self._reconstruct(dense), dense > 0, _THRESHOLDS)

    def play(self, rolls: scipy.sparse.csr_matrix) -> list[np.ndarray]:
        """Returns for every window the cells that the reconstruction plays, ascending."""
        played = self._reconstruct(self._dense(rolls)) > self._threshold
        return [np.sort(self._cells[row]) for row in played]

    def count_matches(self, rolls: scipy.sparse.csr_matrix) -> MatchCounts:
        """MatchCounts equal cells over all windows."""
        dense = self._dense(rolls)
        played = self._reconstruct(dense) > self._threshold
        return MatchCounts(int(np.count_nonzero(played & (dense > 0))), int(rolls.sum()), int(np.count_nonzero(played)))

    def _dense(self, rolls: scipy.sparse.csr_matrix) -> np.ndarray:
        return rolls[:, self._cells].toarray().astype(np.float32)

    def _reconstruct(self, dense: np.ndarray) -> np.ndarray:
        return self._pca.inverse_transform(self._pca.transform(dense))


def _pca_midi_scores(
    representation: RollRepresentation, pca: _Pca, encoded: Sequence[Encoded], originals: Sequence[Score]
) -> dict[str, float]:
    """PCA's reconstructions as whole pieces, scored at 50 ms as the model's are."""
    _, pitches, num_parts = representation.example_shape
    merged, by_instrument = MatchCounts(), MatchCounts()
    for piece, original in zip(encoded, originals, strict=True):
        notes = np.zeros_like(piece.arrays["notes"])
        mask = np.zeros_like(piece.arrays["mask"])
        for window, cells in enumerate(pca.play(_cells(representation, piece.arrays, by_part=True))):
            kept = cells[: mask.shape[1]]
            step, rest = np.divmod(kept, pitches * num_parts)
            pitch, part = np.divmod(rest, num_parts)
            columns = {STEP: step, PART: part, PITCH: pitch, DURATION: np.full(len(kept), UNKNOWN_DURATION)}
            for column, values in columns.items():
                notes[window, : len(kept), column] = values
            mask[window, : len(kept)] = True
        score = representation.decode(Encoded({"notes": notes, "mask": mask}, piece.context, {}))
        merged += count_matches(original, score)
        by_instrument += count_instrument_matches(original, score)
    return {"baseline_pca_note_f1_50ms": merged.f1, "baseline_pca_note_f1_instrument": by_instrument.f1}


def _cells(representation: RollRepresentation, arrays: Arrays, by_part: bool) -> scipy.sparse.csr_matrix:
    """Windows as sparse rows of 0 and 1: [W, T * P] of merged pitched parts, or [W, T * P * C] with the parts apart."""
    steps, pitches, num_parts = representation.example_shape
    notes, mask = np.asarray(arrays["notes"]).astype(np.int64), np.asarray(arrays["mask"])
    window, row = np.nonzero(mask & (notes[..., STEP] >= 0) & (notes[..., PART] != instruments.DRUMS))
    played = notes[window, row]
    cell, width = played[:, STEP] * pitches + played[:, PITCH], steps * pitches
    if by_part:
        cell, width = cell * num_parts + played[:, PART], width * num_parts
    ones = np.ones(len(cell), dtype=np.int32)
    matrix = scipy.sparse.csr_matrix((ones, (window, cell)), shape=(len(mask), width))
    matrix.data[:] = 1  # A sparse matrix adds up what stands in one place.
    return matrix


def _count_previous_bar(encoded: Encoded) -> MatchCounts:
    """Every bar played as the one before it."""
    piece = encoded.context.piece
    notes = piece.notes[piece.notes[:, PART] != instruments.DRUMS].astype(np.int64)
    bars = np.asarray(piece.bars, dtype=np.int64)
    bar = np.clip(np.searchsorted(bars, notes[:, STEP], side="right") - 1, 0, len(bars) - 1)
    following = bar + 1
    inside = following < len(bars) - 1
    step = np.where(inside, bars[np.minimum(following, len(bars) - 1)] + notes[:, STEP] - bars[bar], -1)
    inside &= step < np.where(inside, bars[np.minimum(following + 1, len(bars) - 1)], 0)
    pitches = piece.config.num_pitches
    original = np.unique(notes[:, STEP] * pitches + notes[:, PITCH])
    copied = np.unique((step * pitches + notes[:, PITCH])[inside])
    return MatchCounts(len(np.intersect1d(original, copied)), len(original), len(copied))


def _count_nearest(windows: scipy.sparse.csr_matrix, library: scipy.sparse.csr_matrix, num_pitches: int) -> MatchCounts:
    """Every window replaced by the training window, in any of twelve keys, that has the best F1 with it."""
    size = np.asarray(windows.sum(axis=1)).ravel()
    best = np.zeros(len(size))
    best_counts = np.zeros((len(size), 2), dtype=np.int64)
    for shift in _TRANSPOSITIONS:
        moved = _transposed(library, shift, num_pitches)
        moved_size = np.asarray(moved.sum(axis=1)).ravel()
        shared = (windows @ moved.T).toarray()
        f1 = 2 * shared / np.maximum(size[:, None] + moved_size, 1)
        nearest = f1.argmax(axis=1)
        rows = np.arange(len(size))
        better = f1[rows, nearest] > best
        best = np.where(better, f1[rows, nearest], best)
        best_counts[better] = np.stack([shared[rows, nearest], moved_size[nearest]], axis=1)[better]
    return MatchCounts(int(best_counts[:, 0].sum()), int(size.sum()), int(best_counts[:, 1].sum()))


def _transposed(rolls: scipy.sparse.csr_matrix, semitones: int, num_pitches: int) -> scipy.sparse.csr_matrix:
    entries = rolls.tocoo()
    pitch = entries.col % num_pitches + semitones
    inside = (pitch >= 0) & (pitch < num_pitches)
    places = (entries.row[inside], entries.col[inside] + semitones)
    return scipy.sparse.csr_matrix((entries.data[inside], places), shape=rolls.shape)
