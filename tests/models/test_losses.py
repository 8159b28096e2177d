"""Losses: hand-computed values, Monte Carlo, SciPy, and the post's own formula."""

from __future__ import annotations

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vae_jax.models.base import VAEOutput
from vae_jax.models.losses import (
    BinomialCounts,
    binomial_nll,
    gaussian_divergence_nats,
    gaussian_kl_nats,
    mean_squared_error,
    mean_squared_log_error,
)
from vae_jax.models.posterior import Posterior

BATCH = 3


def random_posterior(num_latents: int = 2) -> Posterior:
    mean_key, log_var_key = jax.random.split(jax.random.key(0))
    shape = (BATCH, num_latents)
    return Posterior(jax.random.normal(mean_key, shape), jax.random.normal(log_var_key, shape))


def test_kl_of_hand_computed_posteriors():
    mean = jnp.array([[0.0, 0.0], [1.0, -2.0], [0.0, 0.0]])
    log_var = jnp.array([[0.0, 0.0], [0.0, 0.0], [math.log(4.0), math.log(0.25)]])
    # 0.5 * (1 + 4); then 0.5 * (4 - 1 - log 4) + 0.5 * (1/4 - 1 + log 4) = 0.5 * (3 - 0.75).
    np.testing.assert_allclose(gaussian_kl_nats(Posterior(mean, log_var)), [0, 2.5, 1.125], rtol=1e-6)


def test_kl_is_the_mean_log_ratio_of_the_densities():
    posterior = random_posterior(num_latents=3)
    std = jnp.exp(posterior.log_var / 2)
    epsilon = jax.random.normal(jax.random.key(1), (200_000, BATCH, 3))
    z = posterior.mean + std * epsilon
    log_ratio = jax.scipy.stats.norm.logpdf(z, posterior.mean, std) - jax.scipy.stats.norm.logpdf(z)
    estimate = np.asarray(log_ratio.sum(axis=-1), dtype=np.float64)
    standard_error = estimate.std(axis=0) / math.sqrt(len(estimate))
    error = np.abs(estimate.mean(axis=0) - np.asarray(gaussian_kl_nats(posterior)))
    assert np.all(error < 5 * standard_error + 1e-4)


def test_kl_and_its_gradient_are_zero_at_the_prior():
    prior = Posterior(jnp.zeros((BATCH, 2)), jnp.zeros((BATCH, 2)))
    np.testing.assert_array_equal(gaussian_kl_nats(prior), 0)
    grads = jax.grad(lambda p: gaussian_kl_nats(p).sum())(prior)
    chex.assert_trees_all_equal(grads, prior)
    away = jax.grad(lambda p: gaussian_kl_nats(p).sum())(random_posterior())
    assert all(np.all(np.asarray(leaf) != 0) for leaf in away)


def test_msle_of_hand_computed_values():
    outputs = jnp.array([[[0.0, math.e - 1]], [[3.0, 3.0]]])
    x = jnp.array([[[math.e**2 - 1, math.e - 1]], [[3.0, 1.0]]])
    np.testing.assert_allclose(mean_squared_log_error(outputs, x), [2.0, math.log(2) ** 2 / 2], rtol=1e-5)


def test_msle_takes_values_below_zero_for_zero():
    outputs, x = jnp.array([[-5.0, -0.5]]), jnp.array([[0.0, 0.0]])
    np.testing.assert_allclose(mean_squared_log_error(outputs, x), 0, atol=1e-12)


def test_mse_of_hand_computed_values():
    outputs = jnp.array([[[1.0, 2.0]], [[0.0, -3.0]]])
    x = jnp.array([[[1.0, 4.0]], [[1.0, 1.0]]])
    np.testing.assert_allclose(mean_squared_error(outputs, x), [2.0, 8.5], rtol=1e-6)


@pytest.mark.parametrize("term", [mean_squared_error, mean_squared_log_error])
def test_shapes_that_differ_are_refused(term):
    with pytest.raises(AssertionError):
        term(jnp.zeros((2, 3)), jnp.zeros((2, 1)))
    with pytest.raises(AssertionError):
        gaussian_kl_nats(Posterior(jnp.zeros((2, 3)), jnp.zeros((2, 1))))


def test_the_divergence_of_two_gaussians_against_quadrature():
    (mean, log_var), (prior_mean, prior_log_var) = posterior, prior = random_posterior(3), random_posterior(3)[::-1]
    found = gaussian_divergence_nats(posterior, Posterior(*prior))
    expected = np.zeros(mean.shape)
    for index in np.ndindex(*mean.shape):
        q = scipy.stats.norm(mean[index], np.exp(log_var[index] / 2))
        p = scipy.stats.norm(prior_mean[index], np.exp(prior_log_var[index] / 2))
        expected[index] = q.expect(lambda z, q=q, p=p: q.logpdf(z) - p.logpdf(z))
    np.testing.assert_allclose(found, expected.sum(axis=-1), rtol=1e-4)
    standard = Posterior(jnp.zeros_like(mean), jnp.zeros_like(mean))
    np.testing.assert_allclose(gaussian_divergence_nats(posterior, standard), gaussian_kl_nats(posterior), rtol=1e-6)
    np.testing.assert_allclose(gaussian_divergence_nats(posterior, posterior), 0, atol=1e-6)


def test_the_loss_of_two_latents_is_the_posts_line():
    rng = np.random.default_rng(0)
    x, outputs = rng.uniform(0, 100, size=(2, BATCH, 6)).astype(np.float32)
    posterior = random_posterior(num_latents=2)
    mean, log_var = (np.asarray(values, dtype=np.float64) for values in posterior)
    # The post, in R: -Reg_factor * k_mean(1 + z_log_var - k_square(z_mean) - k_exp(z_log_var), axis = -1L)
    kl_loss = -0.5 * np.mean(1 + log_var - mean**2 - np.exp(log_var), axis=-1)
    xent_loss = np.mean((np.log(x + 1) - np.log(outputs + 1)) ** 2, axis=-1)
    output = VAEOutput(mean_squared_log_error(jnp.asarray(outputs), jnp.asarray(x)), gaussian_kl_nats(posterior))
    np.testing.assert_allclose(output.loss(0.5), xent_loss + kl_loss, rtol=1e-5)


def test_binomial_nll_against_scipy():
    rng = np.random.default_rng(0)
    trials = rng.integers(0, 6, (4, 7))
    successes = rng.integers(0, trials + 1)
    logits = rng.normal(size=(4, 7))
    probs = 1 / (1 + np.exp(-logits))
    coefficient = scipy.stats.binom.logpmf(successes, trials, 0.5) - trials * np.log(0.5)
    expected = -(scipy.stats.binom.logpmf(successes, trials, probs) - coefficient).sum(axis=-1)
    counted = BinomialCounts(jnp.asarray(successes, jnp.float32), jnp.asarray(trials, jnp.float32))
    found = binomial_nll(jnp.asarray(logits, jnp.float32), counted)
    assert found.shape == (4,)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_binomial_nll_is_finite_at_large_logits():
    counted = BinomialCounts(jnp.array([[1.0, 0.0]]), jnp.ones((1, 2)))
    assert binomial_nll(jnp.array([[500.0, -500.0]]), counted)[0] == 0
    assert binomial_nll(jnp.array([[-500.0, 500.0]]), counted)[0] == 1000
