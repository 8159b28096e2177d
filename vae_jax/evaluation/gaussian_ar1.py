"""The Gaussian chain over the latents of a piece: what is known of music window by window, and no more.

Each window has the mean of its place in the piece (first, in the middle, last), and what is left over follows that of
the window before: z_t - m_t = A (z_{t-1} - m_{t-1}) + noise. It is the simplest model of a whole piece in latent space,
and so the one that a composer has to beat.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.linalg

_FIRST, _MIDDLE, _LAST = range(3)
_JITTER = 1e-6  # Of a collapsed posterior nothing else is left.


@dataclasses.dataclass(frozen=True, eq=False)
class LatentChain:
    """A stationary Gaussian chain of order one around the means of three places.

    Attributes:
      means: [3, Z], the mean of first, middle and last windows.
      factor: [Z, Z], a lower triangle L with C = L L^T the covariance of any window around its mean.
      transition: [Z, Z], A: what a window's deviation from its mean takes from that of the window before.
      noise_factor: [Z, Z], a lower triangle with S = C - A C A^T the covariance of what is new in a window.
    """

    means: np.ndarray
    factor: np.ndarray
    transition: np.ndarray
    noise_factor: np.ndarray

    def sample(self, noise: np.ndarray, temperature: float) -> np.ndarray:
        """Turns standard normal noise into the latents of one piece.

        Args:
          noise: [num_windows, Z], one row a window.
          temperature: scales the standard deviations; 0 gives the means.

        Returns:
          [num_windows, Z].
        """
        deviations = np.zeros(np.shape(noise))
        for t, fresh in enumerate(noise):
            before = self.transition @ deviations[t - 1] + self.noise_factor @ fresh
            deviations[t] = before if t else self.factor @ fresh
        return self.means[_places(len(deviations))] + temperature * deviations

    def log_density(self, sequence: np.ndarray) -> float:
        """Returns the log density of a piece's latents [W, Z] in nats a window, W at least 1."""
        deviations = sequence - self.means[_places(len(sequence))]
        fresh = deviations[1:] - deviations[:-1] @ self.transition.T
        total = _log_normal(deviations[:1], self.factor) + _log_normal(fresh, self.noise_factor)
        return total / len(sequence)


def fit_chain(sequences: Sequence[np.ndarray]) -> LatentChain:
    """Fits the chain to the posterior means of whole pieces.

    C is the covariance of Ledoit and Wolf (2004) over all windows, around the means of their places. Along each of its
    principal axes v a window follows the one before with a correlation of its own,
    r = sum_t (v x_t)(v x_{t-1}) / sum_t ((v x_t)^2 + (v x_{t-1})^2) / 2, which never passes 1 in size: so A = V R V^T
    keeps C for any number of steps, and the chain neither grows nor dies out. A free transition, Z^2 numbers, predicts
    held-out anthems worse than none at all.

    A piece of a single window counts as a first window. A place that no window has takes the mean of all windows. Where
    no piece has two windows, the windows of a piece are independent of each other; where nothing differs (a single
    window, a collapsed posterior), the covariance is 1e-6 in every direction.

    Args:
      sequences: the windows of each piece in order, [W_i, Z] with one Z for all; empty ones are passed over.

    Raises:
      ValueError: where there is no window at all.
    """
    pieces = [np.asarray(piece, dtype=np.float64) for piece in sequences if len(piece)]
    if not pieces:
        raise ValueError("a chain needs at least one window")
    windows, places = np.concatenate(pieces), np.concatenate([_places(len(piece)) for piece in pieces])
    means = np.stack([windows[places == n if np.any(places == n) else ...].mean(axis=0) for n in range(3)])
    deviations = [piece - means[_places(len(piece))] for piece in pieces]
    variances, axes = np.linalg.eigh(_shrunk_covariance(np.concatenate(deviations)))
    before = np.concatenate([piece[:-1] for piece in deviations]) @ axes
    after = np.concatenate([piece[1:] for piece in deviations]) @ axes
    size = (before**2 + after**2).sum(axis=0) / 2
    correlations = (before * after).sum(axis=0) / np.where(size > 0, size, 1.0)
    return LatentChain(
        means=means,
        factor=_factor((axes * variances) @ axes.T),
        transition=(axes * correlations) @ axes.T,
        noise_factor=_factor((axes * (variances * (1 - correlations**2))) @ axes.T),
    )


def _places(num_windows: int) -> np.ndarray:
    """The place of each window of a piece, [num_windows]."""
    places = np.full(num_windows, _MIDDLE)
    places[-1:] = _LAST
    places[:1] = _FIRST
    return places


def _shrunk_covariance(deviations: np.ndarray) -> np.ndarray:
    """Covariance of rows around zero, shrunk by the rule of Ledoit and Wolf; zero for a single row."""
    import sklearn.covariance

    if len(deviations) < 2:
        return np.zeros((deviations.shape[1], deviations.shape[1]))
    return sklearn.covariance.LedoitWolf(assume_centered=True).fit(deviations).covariance_


def _factor(covariance: np.ndarray) -> np.ndarray:
    return np.linalg.cholesky(covariance + _JITTER * np.eye(len(covariance)))


def _log_normal(deviations: np.ndarray, factor: np.ndarray) -> float:
    """Log density in nats of rows around zero whose covariance is factor factor^T, summed over the rows."""
    white = scipy.linalg.solve_triangular(factor, deviations.T, lower=True)
    log_volume = np.log(np.diag(factor)).sum() + len(factor) / 2 * np.log(2 * np.pi)
    return float(-np.sum(white**2) / 2 - len(deviations) * log_volume)
