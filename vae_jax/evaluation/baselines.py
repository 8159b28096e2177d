"""References that a model has to beat, scored on the same pieces: the mean, PCA, the bar before, the nearest window."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from vae_jax.evaluation.note_matching import count_instrument_matches, count_matches, total_f1
from vae_jax.models.inference import Reconstruction
from vae_jax.models.losses import DISTORTIONS
from vae_jax.music.match_counts import MatchCounts, f1_score
from vae_jax.representations import arrays
from vae_jax.representations.base import AnyGrid, B
from vae_jax.representations.pianoroll.decoding import best_threshold
from vae_jax.training.experiment import Experiment

# Scores a subset of the pieces: (its pieces, its name) to figures by their names in `metrics.json`.
ScoreBaselines = Callable[[Sequence[Reconstruction], str], dict[str, float]]

_PCA_EXAMPLES, _PCA_CELLS = 768, 8192
_THRESHOLDS = np.linspace(0.05, 0.95, 91)


def fit_constant(experiment: Experiment, examples: B) -> ScoreBaselines:
    """Returns the constant that minimises the post's loss as a reconstruction: its note F1 and its loss.

    It is the mean over the training examples of log(1 + value), turned back. Nothing is scored where the model's config
    names no distortion: outputs and inputs are not alike then.
    """
    representation = experiment.representation
    distortion = getattr(experiment.model.config, "distortion", None)
    if distortion is None:
        return lambda pieces, subset: {}
    constant = jax.tree.map(  # One row.
        lambda rows: np.expm1(np.mean(np.log1p(rows.astype(np.float64)), axis=0, keepdims=True)), examples
    )

    def rasterize(rows: B) -> jax.Array:
        return representation.rasterize(jax.tree.map(lambda column: jnp.asarray(column, jnp.float32), rows))

    def score_constant(pieces: Sequence[Reconstruction], subset: str) -> dict[str, float]:
        pairs = []
        for one in pieces:
            repeated = arrays.take(constant, np.zeros(arrays.num_examples(one.encoded.examples), np.int64))
            pairs.append((one.original, representation.decode(dataclasses.replace(one.encoded, examples=repeated))))
        x = rasterize(arrays.concatenate([one.encoded.examples for one in pieces]))
        loss = jnp.mean(DISTORTIONS[distortion](jnp.broadcast_to(rasterize(constant), x.shape), x))
        return total_f1(pairs, "baseline_mean_") | {"baseline_mean_loss": float(loss)}

    return score_constant


def fit_grid_baselines(
    experiment: Experiment, grid: AnyGrid, training: Sequence[Reconstruction], examples: B
) -> ScoreBaselines:
    """Fits PCA, with as many components as the model has latents, to training examples from any beat.

    The nearest window is searched for among those of the training pieces. Nothing is scored where they are drums alone.
    """
    sample = arrays.subsample(examples, _PCA_EXAMPLES)
    if not grid.cells(sample, by_part=False).nnz:
        return lambda pieces, subset: {}
    size, seed = experiment.model.latent_dim * grid.examples_per_row, experiment.seed
    pca, pca_by_part = (_Pca(grid.cells(sample, by_part=by_part), size, seed) for by_part in (False, True))
    library = _stack_cells(grid, training, by_part=False)

    def score(pieces: Sequence[Reconstruction], subset: str) -> dict[str, float]:
        merged = _stack_cells(grid, pieces, by_part=False)
        by_note, by_instrument = MatchCounts(), MatchCounts()
        for one in pieces:
            cells = pca_by_part.reconstruct_cells(grid.cells(one.encoded.examples, by_part=True))
            decoded = grid.from_cells(one.encoded.examples, cells)
            estimate = experiment.representation.decode(dataclasses.replace(one.encoded, examples=decoded))
            by_note += count_matches(one.original, estimate)
            by_instrument += count_instrument_matches(one.original, estimate)
        previous = sum((grid.count_previous_bar(one.encoded) for one in pieces), MatchCounts())
        scores = {
            "baseline_pca_note_f1_grid": pca.count_matches(merged).f1,
            "baseline_pca_note_f1_grid_part": pca_by_part.count_matches(_stack_cells(grid, pieces, by_part=True)).f1,
            "baseline_pca_note_f1_50ms": by_note.f1,
            "baseline_pca_note_f1_instrument": by_instrument.f1,
            "baseline_previous_bar_note_f1_grid": previous.f1,
        }
        if subset != "training":  # A training window is its own nearest.
            scores["baseline_nearest_window_note_f1_grid"] = _count_nearest(merged, library, grid.num_pitches).f1
        return scores

    return score


def _stack_cells(grid: AnyGrid, pieces: Sequence[Reconstruction], *, by_part: bool) -> scipy.sparse.csr_matrix:
    return scipy.sparse.vstack([grid.cells(one.encoded.examples, by_part=by_part) for one in pieces], format="csr")


class _Pca:
    """PCA of the cells played most often, with the threshold that is best in training."""

    def __init__(self, rolls: scipy.sparse.csr_matrix, size: int, seed: int):
        import sklearn.decomposition

        counts = np.asarray(rolls.sum(axis=0)).ravel()
        self._cells = np.argsort(-counts, kind="stable")[: min(_PCA_CELLS, np.count_nonzero(counts))]
        dense = self._dense(rolls)
        rank = max(1, min(size, len(dense) - 1, dense.shape[1]))
        with np.errstate(invalid="ignore"):  # Windows that are all alike have no variance to explain.
            self._pca = sklearn.decomposition.PCA(rank, svd_solver="randomized", random_state=seed).fit(dense)
        self._threshold = best_threshold(self._reconstruct(dense), dense > 0, _THRESHOLDS)

    def reconstruct_cells(self, rolls: scipy.sparse.csr_matrix) -> list[np.ndarray]:
        """Returns for every window the cells of the reconstruction, ascending."""
        return [np.sort(self._cells[row]) for row in self._reconstruct(self._dense(rolls)) > self._threshold]

    def count_matches(self, rolls: scipy.sparse.csr_matrix) -> MatchCounts:
        """Counts equal cells over all windows."""
        dense = self._dense(rolls)
        played = self._reconstruct(dense) > self._threshold
        return MatchCounts(int(np.count_nonzero(played & (dense > 0))), int(rolls.sum()), int(np.count_nonzero(played)))

    def _dense(self, rolls: scipy.sparse.csr_matrix) -> np.ndarray:
        return rolls[:, self._cells].toarray().astype(np.float32)

    def _reconstruct(self, dense: np.ndarray) -> np.ndarray:
        return self._pca.inverse_transform(self._pca.transform(dense))


def _count_nearest(windows: scipy.sparse.csr_matrix, library: scipy.sparse.csr_matrix, num_pitches: int) -> MatchCounts:
    """Every window replaced by the training window, in any of twelve keys, that has the best F1 with it."""
    size = np.asarray(windows.sum(axis=1)).ravel()
    rows, best = np.arange(len(size)), np.zeros(len(size))
    best_counts = np.zeros((len(size), 2), dtype=np.int64)
    entries = library.tocoo()
    for semitones in range(-6, 6):
        pitch = entries.col % num_pitches + semitones
        inside = (pitch >= 0) & (pitch < num_pitches)
        places = (entries.row[inside], entries.col[inside] + semitones)
        moved = scipy.sparse.csr_matrix((entries.data[inside], places), shape=library.shape)
        moved_size = np.asarray(moved.sum(axis=1)).ravel()
        shared = (windows @ moved.T).toarray()
        f1 = f1_score(shared, size[:, None], moved_size)
        nearest = f1.argmax(axis=1)
        better = f1[rows, nearest] > best
        best = np.where(better, f1[rows, nearest], best)
        best_counts[better] = np.stack([shared[rows, nearest], moved_size[nearest]], axis=1)[better]
    return MatchCounts(int(best_counts[:, 0].sum()), int(size.sum()), int(best_counts[:, 1].sum()))
