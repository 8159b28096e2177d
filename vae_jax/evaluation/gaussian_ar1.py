"""First-order Gaussian autoregression over the latents of a piece, the baseline of the composer.

The mean of a window depends on its position (first, in between, last), and deviations from it follow those of the
window before: z_t - m_t = A (z_{t-1} - m_{t-1}) + noise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class GaussianAR1:
    """A stationary Gaussian autoregression of order one around the means of three positions."""

    means: np.ndarray  # [3, Z], of first, inner and last windows.
    factor: np.ndarray  # [Z, Z], a lower triangle L with C = L L^T the covariance of any window around its mean.
    transition: np.ndarray  # [Z, Z], A.
    noise_factor: np.ndarray  # [Z, Z], a lower triangle with S = C - A C A^T the covariance of the noise.

    def sample(self, noise: np.ndarray, temperature: float) -> np.ndarray:
        """Turns standard normal noise [num_windows, Z] into the latents of one piece, of the same shape.

        The temperature scales the standard deviations; 0 gives the means.
        """
        deviations = np.zeros(np.shape(noise))
        for t, fresh in enumerate(noise):
            following = self.transition @ deviations[t - 1] + self.noise_factor @ fresh
            deviations[t] = following if t else self.factor @ fresh
        return self.means[_positions(len(deviations))] + temperature * deviations


def fit_gaussian_ar1(sequences: Sequence[np.ndarray]) -> GaussianAR1:
    """Fits the autoregression to the posterior means of whole pieces, [W_i, Z] each, at least one window in all.

    C is the covariance of Ledoit and Wolf (2004) over all windows, around the means of their positions. Along each of
    its principal axes v the correlation of neighbouring windows is r = sum_t (v x_t)(v x_{t-1}) / sum_t ((v x_t)^2 +
    (v x_{t-1})^2) / 2, at most 1 in size: so A = V R V^T keeps C for any number of steps. A free transition, Z^2
    numbers, predicts held-out anthems worse than none at all. A position that no window has takes the mean of all
    windows; where nothing varies, the covariance is 1e-6 in every direction.
    """
    import sklearn.covariance

    pieces = [np.asarray(piece, dtype=np.float64) for piece in sequences if len(piece)]
    windows, positions = np.concatenate(pieces), np.concatenate([_positions(len(piece)) for piece in pieces])
    means = np.stack([windows[positions == n if np.any(positions == n) else ...].mean(axis=0) for n in range(3)])
    deviations = [piece - means[_positions(len(piece))] for piece in pieces]
    covariance = np.zeros((windows.shape[1], windows.shape[1]))
    if len(windows) > 1:
        covariance = sklearn.covariance.LedoitWolf(assume_centered=True).fit(np.concatenate(deviations)).covariance_
    variances, axes = np.linalg.eigh(covariance)
    before = np.concatenate([piece[:-1] for piece in deviations]) @ axes
    after = np.concatenate([piece[1:] for piece in deviations]) @ axes
    size = (before**2 + after**2).sum(axis=0) / 2
    correlations = (before * after).sum(axis=0) / np.where(size > 0, size, 1.0)
    return GaussianAR1(
        means=means,
        factor=_factor((axes * variances) @ axes.T),
        transition=(axes * correlations) @ axes.T,
        noise_factor=_factor((axes * (variances * (1 - correlations**2))) @ axes.T),
    )


def _positions(num_windows: int) -> np.ndarray:
    """Whether each window of a piece is the first (0), an inner (1) or the last one (2), [num_windows]."""
    positions = np.full(num_windows, 1)
    positions[-1:] = 2
    positions[:1] = 0
    return positions


def _factor(covariance: np.ndarray) -> np.ndarray:
    return np.linalg.cholesky(covariance + 1e-6 * np.eye(len(covariance)))  # Positive for a collapsed posterior too.
