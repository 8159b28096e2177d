"""The ELBO against bounds and integrals that are computed without the code of the models."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from vae_jax.models.pianoroll_vae import RollVAE, RollVAEConfig
from vae_jax.models.posterior import Posterior

SHAPE = (8, 6, 3)  # Steps, pitches, parts.
MODEL = RollVAE(SHAPE, RollVAEConfig(2, 48, 48, window_beats=2, num_iterations=3, prior_weight=1.0))


@pytest.fixture(scope="module")
def rolls() -> np.ndarray:
    return (np.random.default_rng(0).random((4, *SHAPE)) < 0.2).astype(np.float32)


@pytest.fixture(scope="module")
def variables(rolls: np.ndarray) -> dict[str, Any]:
    """A random decoder with steps of Newton's method as its encoder: q is near the posterior, not at it."""
    rng = np.random.default_rng(1)
    drawn = jax.jit(MODEL.init)(jax.random.key(0), rolls[:1], jax.random.key(1))
    kernel, bias = rng.normal(0, 0.3, (2, MODEL.num_features)), rng.normal(-1, 0.5, MODEL.num_features)
    probs = scipy.special.expit(bias)
    covariance = np.linalg.inv((kernel * probs * (1 - probs)) @ kernel.T + np.eye(2))
    params = {
        "kernel": kernel,
        "bias": bias,
        "preconditioner": np.tile(0.7 * covariance, (MODEL.config.num_iterations, 1, 1)),
        "scaled_log_var": 0.1 * (np.log(np.diag(covariance)) + 1.0),  # Wider than the posterior.
    }
    made = {name: jnp.asarray(values, jnp.float32) for name, values in params.items()}
    return dict(drawn) | {"params": drawn["params"] | made}


def log_likelihood(variables: dict[str, Any], x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """log p(x | z) in nats without the binomial coefficient, [S, B], for latents [S, B, Z] or [S, 1, Z]; float64."""
    counts = MODEL.apply(variables, jnp.asarray(x), method="counts")
    successes, trials = (np.asarray(values, np.float64) for values in counts)
    logits = z @ np.asarray(variables["params"]["kernel"], np.float64) + np.asarray(variables["params"]["bias"])
    return np.sum(successes * logits - trials * np.logaddexp(0, logits), axis=-1)


def importance_weighted_bound(
    variables: dict[str, Any], x: np.ndarray, num_samples: int, num_repeats: int
) -> tuple[np.ndarray, np.ndarray]:
    """L_k of Burda, Grosse and Salakhutdinov (2016), equation 8: the mean over repeats and its standard error, [B]."""
    posterior: Posterior = MODEL.apply(variables, jnp.asarray(x), method="encode")
    mean, std = np.asarray(posterior.mean, np.float64), np.exp(0.5 * np.asarray(posterior.log_var, np.float64))
    rng = np.random.default_rng(num_samples)
    z = mean + std * rng.normal(size=(num_repeats * num_samples, *mean.shape))
    log_weight = log_likelihood(variables, x, z)
    log_weight += np.sum(scipy.stats.norm.logpdf(z) - scipy.stats.norm.logpdf(z, mean, std), axis=-1)
    log_weight = log_weight.reshape(num_repeats, num_samples, -1)
    bound = scipy.special.logsumexp(log_weight, axis=1) - np.log(num_samples)
    return bound.mean(axis=0), bound.std(axis=0) / np.sqrt(num_repeats)


def log_evidence(variables: dict[str, Any], x: np.ndarray) -> np.ndarray:
    """log p(x), [B], by summing over a fine grid of the two latents."""
    axis = np.linspace(-7, 7, 281)
    z = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 1, 2)
    log_joint = log_likelihood(variables, x, z) + np.sum(scipy.stats.norm.logpdf(z), axis=-1)
    return scipy.special.logsumexp(log_joint, axis=0) + 2 * np.log(axis[1] - axis[0])


def test_the_elbo_is_not_above_an_importance_weighted_bound_nor_this_above_the_evidence(
    rolls: np.ndarray, variables: dict[str, Any]
):
    x = jnp.asarray(rolls)
    keys = jax.random.split(jax.random.key(2), 4000)
    losses = np.asarray(jax.jit(jax.vmap(lambda key: MODEL.apply(variables, x, key).loss(1.0)))(keys), np.float64)
    elbo, elbo_error = -losses.mean(axis=0), losses.std(axis=0) / np.sqrt(len(keys))

    single, single_error = importance_weighted_bound(variables, x, 1, 4000)
    several, several_error = importance_weighted_bound(variables, x, 20, 400)
    many, many_error = importance_weighted_bound(variables, x, 2000, 10)
    evidence = log_evidence(variables, x)

    # One sample makes the bound the ELBO, whose KL is sampled here and exact in the model.
    assert np.all(np.abs(elbo - single) < 5 * (elbo_error + single_error))
    assert np.all(several > elbo + 5 * (elbo_error + several_error))
    assert np.all(many >= several - 5 * (several_error + many_error))
    assert np.all(many < evidence + 5 * many_error + 1e-3)
    np.testing.assert_allclose(many, evidence, atol=0.02)
    assert np.all(evidence - elbo > 0.5)
