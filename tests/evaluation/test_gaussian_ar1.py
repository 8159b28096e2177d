"""The Gaussian autoregression over a piece's latents, against one that is known."""

from __future__ import annotations

import hypothesis
import hypothesis.extra.numpy
import numpy as np
import pytest
from hypothesis import strategies as st

from vae_jax.evaluation.composer import GaussianAR1, fit_gaussian_ar1

AXES = np.array([[0.6, 0.8], [0.8, -0.6]])
VARIANCES = np.array([4.0, 1.0])
CORRELATIONS = np.array([0.8, -0.3])
MEANS = np.array([[3.0, 0.0], [0.0, 1.0], [-2.0, -1.0]])
COVARIANCE = (AXES * VARIANCES) @ AXES.T
TRANSITION = (AXES * CORRELATIONS) @ AXES.T


@pytest.fixture(scope="module")
def known() -> GaussianAR1:
    noise = COVARIANCE - TRANSITION @ COVARIANCE @ TRANSITION.T
    return GaussianAR1(MEANS, np.linalg.cholesky(COVARIANCE), TRANSITION, np.linalg.cholesky(noise))


def draw(model: GaussianAR1, num_pieces: int, num_windows: int, seed: int = 0) -> list[np.ndarray]:
    noise = np.random.default_rng(seed).normal(size=(num_pieces, num_windows, model.means.shape[1]))
    return [model.sample(one, temperature=1.0) for one in noise]


def test_a_known_model_is_recovered_from_its_samples(known: GaussianAR1):
    fitted = fit_gaussian_ar1(draw(known, 4000, 8))
    np.testing.assert_allclose(fitted.means, MEANS, atol=0.1)
    np.testing.assert_allclose(fitted.factor @ fitted.factor.T, COVARIANCE, atol=0.1)
    np.testing.assert_allclose(fitted.transition, TRANSITION, atol=0.03)


def test_samples_have_its_moments_at_both_ends(known: GaussianAR1):
    """The covariance stays C from the first window to the last, and between neighbours it is A C."""
    pieces = np.stack(draw(known, 40_000, 4, seed=1)) - MEANS[[0, 1, 1, 2]]
    for t in (0, 3):
        np.testing.assert_allclose(np.cov(pieces[:, t].T), COVARIANCE, atol=0.08)
    between = pieces[:, 3].T @ pieces[:, 2] / len(pieces)
    np.testing.assert_allclose(between, TRANSITION @ COVARIANCE, atol=0.08)


def test_no_temperature_gives_the_means_of_the_positions(known: GaussianAR1):
    noise = np.ones((4, 2))
    np.testing.assert_array_equal(known.sample(noise, temperature=0.0), MEANS[[0, 1, 1, 2]])
    np.testing.assert_array_equal(known.sample(noise[:2], temperature=0.0), MEANS[[0, 2]])
    np.testing.assert_array_equal(known.sample(noise[:1], temperature=0.0), MEANS[:1])
    assert known.sample(noise[:0], temperature=1.0).shape == (0, 2)


def test_pieces_of_one_window_make_independent_windows():
    """As those of the post's model; the means of the positions that no window has are the mean of all."""
    rng = np.random.default_rng(3)
    pieces = list(rng.multivariate_normal([1.0, 2.0], [[1.0, 0.5], [0.5, 2.0]], size=(4000, 1)))
    model = fit_gaussian_ar1(pieces)
    np.testing.assert_allclose(model.means, np.tile(np.mean(pieces, axis=(0, 1)), (3, 1)))
    np.testing.assert_array_equal(model.transition, np.zeros((2, 2)))
    np.testing.assert_allclose(model.factor @ model.factor.T, [[1.0, 0.5], [0.5, 2.0]], atol=0.15)
    np.testing.assert_allclose(model.noise_factor, model.factor)


@pytest.mark.parametrize(
    "pieces",
    [
        [np.zeros((1, 2))],
        [np.zeros((1, 2))] * 5,
        [np.zeros((9, 2))] * 3,
        [np.full((4, 2), 7.0, np.float32)],
        [np.random.default_rng(0).normal(size=(6, 20))],
        [np.zeros((0, 2)), np.ones((2, 2))],
    ],
    ids=[
        "one window",
        "collapsed singles",
        "collapsed pieces",
        "constant",
        "fewer windows than latents",
        "an empty one",
    ],
)
def test_little_to_learn_from_is_enough(pieces: list[np.ndarray]):
    model = fit_gaussian_ar1(pieces)
    drawn = model.sample(np.ones((5, pieces[0].shape[1])), temperature=1.0)
    assert np.all(np.isfinite(drawn))


@hypothesis.given(hypothesis.extra.numpy.arrays(np.float64, (3, 5, 3), elements=st.floats(-10, 10)), st.integers(1, 5))
def test_every_fit_is_stationary(pieces: np.ndarray, length: int):
    """C = A C A^T + S but for the jitter, and no direction grows."""
    model = fit_gaussian_ar1([piece[:length] for piece in pieces])
    covariance, noise = (factor @ factor.T for factor in (model.factor, model.noise_factor))
    next_covariance = model.transition @ covariance @ model.transition.T + noise
    np.testing.assert_allclose(next_covariance, covariance, atol=2e-6 + 1e-9 * covariance.max())
    assert np.abs(np.linalg.eigvals(model.transition)).max() <= 1 + 1e-9
    np.testing.assert_allclose(model.means[0], pieces[:, 0].mean(axis=0), atol=1e-9)
