"""The posterior and its reparameterization."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax.models.posterior import Posterior, reparameterize

NUM_DRAWS = 50_000


def draws(form: str, mean: list[float], log_var: list[float]) -> np.ndarray:
    rows = [jnp.broadcast_to(jnp.array(values), (NUM_DRAWS, len(values))) for values in (mean, log_var)]
    return np.asarray(reparameterize(jax.random.key(3), Posterior(*rows), form))


@pytest.mark.parametrize(("form", "log_std_per_log_var"), [("standard", 0.5), ("post", 1.0)])
def test_moments_of_the_draws(form: str, log_std_per_log_var: float):
    mean, log_var = [1.0, -2.0], [0.8, -1.2]
    z = draws(form, mean, log_var)
    std = np.exp(np.array(log_var) * log_std_per_log_var)
    error = 5 / math.sqrt(NUM_DRAWS)  # Five standard errors.
    np.testing.assert_allclose(z.mean(axis=0), mean, atol=error * std.max())
    np.testing.assert_allclose(z.std(axis=0), std, rtol=error)


def test_latents_of_the_correct_form_are_independent():
    z = draws("standard", [0.0, 0.0], [0.0, 0.0])
    assert abs(np.corrcoef(z.T)[0, 1]) < 5 / math.sqrt(NUM_DRAWS)


def test_latents_of_the_posts_form_move_along_one_diagonal():
    mean, log_var = np.array([1.0, -2.0, 0.0]), np.array([0.8, -1.2, 0.0])
    epsilon = (draws("post", mean.tolist(), log_var.tolist()) - mean) / np.exp(log_var)
    np.testing.assert_allclose(epsilon, np.broadcast_to(epsilon[:, :1], epsilon.shape), rtol=1e-3, atol=1e-5)
    assert epsilon[:, 0].std() == pytest.approx(1, rel=0.02)  # Another epsilon for each example.


@pytest.mark.parametrize("form", ["standard", "post"])
def test_the_same_key_draws_the_same_and_another_key_draws_otherwise(form: str):
    posterior = Posterior(jnp.zeros((5, 2)), jnp.zeros((5, 2)))
    first, again, other = (reparameterize(jax.random.key(seed), posterior, form) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.all(np.asarray(first) != np.asarray(other))


@pytest.mark.parametrize(("form", "slope"), [("standard", 0.5), ("post", 1.0)])
def test_gradients_reach_the_mean_and_the_variance(form: str, slope: float):
    posterior = Posterior(jnp.array([[0.3, -0.4]]), jnp.array([[0.2, -0.6]]))
    grads = jax.grad(lambda p: reparameterize(jax.random.key(0), p, form).sum())(posterior)
    np.testing.assert_allclose(grads.mean, 1.0)
    # z = mean + exp(slope * log_var) * epsilon: its derivative by log_var is slope * (z - mean).
    z = reparameterize(jax.random.key(0), posterior, form)
    np.testing.assert_allclose(grads.log_var, slope * (z - posterior.mean), rtol=1e-4)
    assert np.all(np.asarray(grads.log_var) != 0)


def test_tests_refuse_a_key_used_twice():
    key = jax.random.key(0)
    posterior = Posterior(jnp.zeros((1, 2)), jnp.zeros((1, 2)))
    reparameterize(key, posterior)
    with pytest.raises(jax.errors.KeyReuseError):
        reparameterize(key, posterior)


def test_a_form_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="form must be"):
        reparameterize(jax.random.key(0), Posterior(jnp.zeros((1, 2)), jnp.zeros((1, 2))), "keras")
    with pytest.raises(AssertionError):
        reparameterize(jax.random.key(0), Posterior(jnp.zeros((1, 2)), jnp.zeros((1, 3))))
