"""References on the beat grid, scored on the same examples as the model: PCA, the bar before, the nearest window."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.sparse

from vae_jax.evaluation.baselines import ScoreBaselines
from vae_jax.evaluation.note_matching import count_instrument_matches, count_matches
from vae_jax.models.inference import Reconstruction
from vae_jax.music.match_counts import MatchCounts
from vae_jax.representations import arrays
from vae_jax.representations.base import AnyGrid, AnyRepresentation, B
from vae_jax.representations.pianoroll.decoding import best_threshold
from vae_jax.training.experiment import Experiment

_PCA_WINDOWS, _PCA_CELLS = 3072, 8192
_THRESHOLDS = np.linspace(0.05, 0.95, 91)
_TRANSPOSITIONS = range(-6, 6)


def fit_baselines(
    experiment: Experiment, grid: AnyGrid, training: Sequence[Reconstruction], examples: B
) -> ScoreBaselines:
    """Fits the baselines on training examples.

    Args:
      experiment: names the number of latents, which PCA gets too, and the seed of the randomised PCA.
      grid: of the representation.
      training: the training pieces, whose windows the nearest one is looked for in.
      examples: training examples to fit on, from any beat.
    """
    sample = arrays.subsample(examples, _PCA_WINDOWS)
    pca = {
        by_part: _Pca(grid.cells(sample, by_part=by_part), experiment.model.latent_dim, experiment.seed)
        for by_part in (False, True)
    }
    library = grid.cells(arrays.concatenate([one.encoded.examples for one in training]), by_part=False)

    def score(pieces: Sequence[Reconstruction], subset: str) -> dict[str, float]:
        windows = arrays.concatenate([one.encoded.examples for one in pieces])
        merged = grid.cells(windows, by_part=False)
        scores = {
            "baseline_pca_note_f1_grid": pca[False].count_matches(merged).f1,
            "baseline_pca_note_f1_grid_part": pca[True].count_matches(grid.cells(windows, by_part=True)).f1,
        }
        scores |= _pca_midi_scores(experiment.representation, grid, pca[True], pieces)
        previous = sum((grid.count_previous_bar(one.encoded) for one in pieces), MatchCounts())
        scores["baseline_previous_bar_note_f1_grid"] = previous.f1
        if subset != "training":  # A training window is its own nearest.
            scores["baseline_nearest_window_note_f1_grid"] = _count_nearest(merged, library, grid.num_pitches).f1
        return scores

    return score


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

    def reconstruct_cells(self, rolls: scipy.sparse.csr_matrix) -> list[np.ndarray]:
        """Returns for every window the cells of the reconstruction, ascending."""
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
    representation: AnyRepresentation, grid: AnyGrid, pca: _Pca, pieces: Sequence[Reconstruction]
) -> dict[str, float]:
    """PCA's reconstructions as whole pieces, scored at 50 ms as the model's are."""
    merged, by_instrument = MatchCounts(), MatchCounts()
    for one in pieces:
        lists = one.encoded.examples
        decoded = grid.from_cells(lists, pca.reconstruct_cells(grid.cells(lists, by_part=True)))
        score = representation.decode(dataclasses.replace(one.encoded, examples=decoded))
        merged += count_matches(one.original, score)
        by_instrument += count_instrument_matches(one.original, score)
    return {"baseline_pca_note_f1_50ms": merged.f1, "baseline_pca_note_f1_instrument": by_instrument.f1}


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
