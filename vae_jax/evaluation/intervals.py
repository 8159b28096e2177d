"""95% intervals: over tunes by the percentile bootstrap (Efron 1979), over folds by Student's t."""

from collections.abc import Iterable, Sequence

import numpy as np
import scipy.stats


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


def fold_interval_95(values: Sequence[float] | np.ndarray, test_share: float) -> list[float]:
    """Returns the interval of the mean of a score over K folds, [K] with K at least 2.

    Folds share most of their training pieces, so that their scores vary less than those of independent runs: the
    variance of the mean is that of the folds times 1 / K + n_test / n_train (Nadeau and Bengio 2003), n_test / n_train
    being `test_share`.
    """
    size = len(values)
    scale = np.std(values, ddof=1) * np.sqrt(1 / size + test_share)
    half = scipy.stats.t.ppf(0.975, size - 1) * scale
    return [float(np.mean(values) - half), float(np.mean(values) + half)]
