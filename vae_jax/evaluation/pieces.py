"""Sets of pieces with everything that scores of generated music compare, computed once a piece."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vae_jax.evaluation import features
from vae_jax.evaluation.bar_grid import BarGrid, make_bar_grid
from vae_jax.evaluation.musicology import statistics
from vae_jax.evaluation.musicology.voices import Voices, make_voices
from vae_jax.music.score import Score, make_notes, make_score

VIEWS = ("melody", "bass", "harmony", "structure", "texture", "performance")


class PieceSet(NamedTuple):
    """N pieces and the tune of each, numbered as `Corpus.tune_groups` does; pieces of a tune are resampled together."""

    grids: Sequence[BarGrid]
    voices: Sequence[Voices]
    tunes: Sequence[int]
    values: np.ndarray  # [N, F] float64, the features named by `feature_index`; NaN where a piece has none.

    def column(self, name: str) -> np.ndarray:
        """Returns the values of a feature, [N]."""
        return self.values[:, feature_index()[name]]

    def select(self, index: Sequence[int] | np.ndarray) -> "PieceSet":
        """Returns some of the pieces."""
        return PieceSet(
            [self.grids[n] for n in index],
            [self.voices[n] for n in index],
            [self.tunes[n] for n in index],
            self.values[np.asarray(index, dtype=np.int64)],
        )

    def join(self, other: "PieceSet") -> "PieceSet":
        """Returns the pieces of two sets whose tunes are numbered together."""
        return PieceSet(
            [*self.grids, *other.grids],
            [*self.voices, *other.voices],
            [*self.tunes, *other.tunes],
            np.concatenate([self.values, other.values]),
        )


def make_piece_set(scores: Sequence[Score], tunes: Sequence[int] | None = None) -> PieceSet:
    """Describes scores; without `tunes`, each is a tune of its own."""
    grids = [make_bar_grid(score) for score in scores]
    voices = [make_voices(score, grid) for score, grid in zip(scores, grids, strict=True)]
    described = [_describe(*piece) for piece in zip(grids, voices, strict=True)]
    rows = [[value for view in VIEWS for value in one[view].values()] for one in described]
    values = np.array(rows, dtype=np.float64).reshape(-1, len(feature_index()))
    return PieceSet(grids, voices, range(len(scores)) if tunes is None else tunes, values)


@functools.cache
def feature_names() -> dict[str, tuple[str, ...]]:
    """Returns the names of the features of each view."""
    score = make_score(480, make_notes([], [], []))
    grid = make_bar_grid(score)
    return {view: tuple(found) for view, found in _describe(grid, make_voices(score, grid)).items()}


@functools.cache
def feature_index() -> dict[str, int]:
    """Returns the column of each feature."""
    return {name: n for n, name in enumerate(name for view in VIEWS for name in feature_names()[view])}


def _describe(grid: BarGrid, voices: Voices) -> dict[str, dict[str, float]]:
    """The features of a piece by view and name."""
    of_voices, of_grid = statistics.describe(voices), features.grid_features(grid)
    return {view: of_voices[view] | of_grid.get(view, {}) for view in VIEWS}
