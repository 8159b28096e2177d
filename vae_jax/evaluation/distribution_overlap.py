"""Overlapping area of two samples of a feature (Yang and Lerch 2020)."""

from __future__ import annotations

import numpy as np

_NUM_POINTS = 512
_MARGIN_BANDWIDTHS = 4.0
_MIN_BANDWIDTH_OF_SPAN = 1e-2  # Wide enough for the grid's points.


def overlapping_area(a: np.ndarray, b: np.ndarray) -> float | None:
    """Returns the area under the lower of the densities of two samples [N] and [M], from 0 (disjoint) to 1 (equal).

    Both are Gaussian kernel density estimates on one grid that spans both samples, with one bandwidth: Scott's rule for
    the smaller sample and the mean of the two variances. With separate bandwidths, a sample of equal values would have
    no overlap with a sample most of which has that value. Unlike in the paper, the densities are of the feature itself,
    not of distances between pieces. None where a sample has fewer than two values.
    """
    if min(len(a), len(b)) < 2:
        return None
    low, high = min(a.min(), b.min()), max(a.max(), b.max())
    if low == high:
        return 1.0
    variance = (np.var(a, ddof=1) + np.var(b, ddof=1)) / 2
    scott = np.sqrt(variance) * min(len(a), len(b)) ** -0.2
    bandwidth = max(scott, _MIN_BANDWIDTH_OF_SPAN * (high - low))
    margin = _MARGIN_BANDWIDTHS * bandwidth
    points = np.linspace(low - margin, high + margin, _NUM_POINTS)
    lower = np.minimum(_density(a, bandwidth, points), _density(b, bandwidth, points))
    return float(min(np.trapezoid(lower, points), 1.0))


def _density(values: np.ndarray, bandwidth: float, points: np.ndarray) -> np.ndarray:
    deviates = (points[:, None] - values) / bandwidth
    return np.exp(-0.5 * deviates**2).sum(axis=1) / (len(values) * bandwidth * np.sqrt(2 * np.pi))
