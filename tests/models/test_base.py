"""The ELBO against bounds and integrals that are computed without the code of the models."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from vae_jax.models.pianoroll_vae import RollVAE, RollVAEConfig
from vae_jax.models.posterior import Posterior
from vae_jax.representations.pianoroll.rasterize import DURATION_EDGES, Rolls

SHAPE = (4, 6, 3)  # Steps, pitches, parts.
# Two beats with a latent each, which share a convolution and an autoregressive prior.
MODEL = RollVAE(SHAPE, RollVAEConfig(1, 24, 24, 10, kernel_beats=3, num_iterations=3, prior_weight=1.0))


@functools.cache
def applied(method: str) -> Callable[..., Any]:
    return jax.jit(functools.partial(MODEL.apply, method=method))


@pytest.fixture(scope="module")
def rolls() -> Rolls:
    rng = np.random.default_rng(0)
    onsets = (rng.random((4, 2, *SHAPE)) < 0.2).astype(np.uint8)
    played = onsets[..., :2].sum(axis=(-3, -2))[:, :, None, None, :, None]
    played = np.broadcast_to(played, (*played.shape[:2], 2, -(-SHAPE[1] // 6), 2, 1))
    outlasting = played // (1 + np.arange(len(DURATION_EDGES) + 1))
    return Rolls(onsets, outlasting.astype(np.uint8), np.ones((4, 2), np.float32))


@pytest.fixture(scope="module")
def variables(rolls: Rolls) -> dict[str, Any]:
    """A random decoder with steps of Newton's method as its encoder: q is near the posterior, not at it."""
    rng = np.random.default_rng(1)
    drawn = jax.jit(MODEL.init)(jax.random.key(0), rolls, jax.random.key(1))
    kernel, bias = rng.normal(0, 0.4, (3, MODEL.num_features)), rng.normal(-1, 0.5, MODEL.num_features)
    probs = scipy.special.expit(bias)
    variance = 1 / (np.sum(kernel**2 * probs * (1 - probs)) + 1)
    params = {
        "kernel": kernel,
        "bias": bias,
        "preconditioner": np.tile([[0.0], [0.7 * variance], [0.0]], (MODEL.config.num_iterations, 1, 1)),
        "scaled_log_var": 0.1 * (np.log([variance]) + 1.0),  # Wider than the posterior.
        "prior_out": drawn["params"]["prior_out"] | {"bias": np.array([0.3, -0.4])},
        "prior_skip": {"kernel": np.concatenate([[[0.8, 0.2]], np.zeros((7, 2))])},  # Of the beat before.
    }
    made = jax.tree.map(lambda values: jnp.asarray(values, jnp.float32), params)
    return dict(drawn) | {"params": drawn["params"] | made}


def log_joint(variables: dict[str, Any], x: Rolls, z: np.ndarray) -> np.ndarray:
    """log p(x, z) in nats without the binomial coefficient, [S, B], for latents [S, B, 2] or [S, 1, 2]; float64."""
    counts = applied("counts")(variables, x)
    successes, trials = (np.asarray(values, np.float64) for values in counts)
    before, same, after = np.asarray(variables["params"]["kernel"], np.float64)
    first, second = z[..., :1], z[..., 1:]
    logits = np.stack([first * same + second * after, first * before + second * same], axis=-2)
    logits += np.asarray(variables["params"]["bias"], np.float64)
    log_likelihood = np.sum(successes * logits - trials * np.logaddexp(0, logits), axis=(-2, -1))
    log_prior = scipy.stats.norm.logpdf(z[..., 0], 0.3, np.exp(-0.2))
    log_prior += scipy.stats.norm.logpdf(z[..., 1], 0.3 + 0.8 * z[..., 0], np.exp(-0.2 + 0.1 * z[..., 0]))
    return log_likelihood + log_prior


def importance_weighted_bound(
    variables: dict[str, Any], x: Rolls, num_samples: int, num_repeats: int
) -> tuple[np.ndarray, np.ndarray]:
    """L_k of Burda, Grosse and Salakhutdinov (2016), equation 8: the mean over repeats and its standard error, [B]."""
    posterior: Posterior = applied("encode")(variables, x)
    mean, log_var = (np.asarray(values, np.float64)[..., 0] for values in posterior)
    rng = np.random.default_rng(num_samples)
    z = mean + np.exp(log_var / 2) * rng.normal(size=(num_repeats * num_samples, *mean.shape))
    log_weight = log_joint(variables, x, z) - np.sum(scipy.stats.norm.logpdf(z, mean, np.exp(log_var / 2)), axis=-1)
    log_weight = log_weight.reshape(num_repeats, num_samples, -1)
    bound = scipy.special.logsumexp(log_weight, axis=1) - np.log(num_samples)
    return bound.mean(axis=0), bound.std(axis=0) / np.sqrt(num_repeats)


def log_evidence(variables: dict[str, Any], x: Rolls) -> np.ndarray:
    """log p(x), [B], by summing over a fine grid of the two latents."""
    axis = np.linspace(-7, 7, 281)
    z = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 1, 2)
    return scipy.special.logsumexp(log_joint(variables, x, z), axis=0) + 2 * np.log(axis[1] - axis[0])


def test_the_elbo_is_not_above_an_importance_weighted_bound_nor_this_above_the_evidence(
    rolls: Rolls, variables: dict[str, Any]
):
    x = rolls
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
