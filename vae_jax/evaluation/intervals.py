"""95% intervals by the percentile bootstrap (Efron 1979)."""

from collections.abc import Iterable, Sequence

import numpy as np


def interval_95(samples: Sequence[float] | np.ndarray) -> list[float]:
    """Returns the 2.5th and the 97.5th percentile of samples [S], S at least 1."""
    return np.percentile(samples, [2.5, 97.5]).tolist()


def resample_group_sums(
    columns: Iterable[np.ndarray], groups: Sequence[int] | np.ndarray, rng: np.random.Generator, num_samples: int
) -> list[np.ndarray]:
    """Sums each column [N] over as many groups (of pieces of a tune, say) as there are, drawn with replacement.

    Returns for each column [num_samples] float64; `groups`, [N] with N at least 1, says which group a row is of.
    """
    names, index = np.unique(groups, return_inverse=True)
    drawn = rng.integers(0, len(names), size=(num_samples, len(names)))
    return [np.bincount(index, column)[drawn].sum(axis=1) for column in columns]
