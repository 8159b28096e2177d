"""Densities over latents and interpolation between them."""

from __future__ import annotations

import numpy as np

from vae_jax.models import latents


def test_slerp_keeps_the_length_and_meets_both_ends():
    rng = np.random.default_rng(0)
    start, end = rng.normal(size=(2, 5, 8))
    start, end = (rows / np.linalg.norm(rows, axis=-1, keepdims=True) for rows in (start, end))
    np.testing.assert_allclose(latents.slerp(start, end, 0.0), start, atol=1e-12)
    np.testing.assert_allclose(latents.slerp(start, end, 1.0), end, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(latents.slerp(start, end, 0.3), axis=-1), 1.0)
    half = latents.slerp(np.array([[2.0, 0.0]]), np.array([[0.0, 2.0]]), 0.5)
    np.testing.assert_allclose(half, [[np.sqrt(2), np.sqrt(2)]])


def test_slerp_of_equal_and_of_empty_vectors_is_finite():
    vector = np.array([[1.0, 2.0]])
    np.testing.assert_allclose(latents.slerp(vector, vector, 0.4), vector)
    np.testing.assert_allclose(latents.slerp(np.zeros((1, 2)), vector, 0.5), vector / 2)


def test_density_has_the_moments_of_its_data():
    rng = np.random.default_rng(1)
    covariance = np.array([[2.0, 0.8], [0.8, 1.0]])
    means = rng.multivariate_normal([1.0, -2.0], covariance, size=20_000)
    density = latents.fit_density(means)
    drawn = density.sample(rng.normal(size=(50_000, 2)), temperature=1.0)
    np.testing.assert_allclose(drawn.mean(axis=0), [1.0, -2.0], atol=0.05)
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.08)
    np.testing.assert_array_equal(density.sample(np.ones((3, 2)), temperature=0.0), np.tile(density.mean, (3, 1)))


def test_the_density_of_one_example_is_that_example():
    density = latents.fit_density(np.array([[1.0, 2.0, 3.0]]))
    np.testing.assert_allclose(density.sample(np.ones((1, 3)), 1.0), [[1.0, 2.0, 3.0]], atol=0.002)
