"""Loss terms: pure functions that return one value an example, never reduced over the batch."""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from vae_jax.models.posterior import Posterior

_KERAS_EPSILON = 1e-7


class BinomialCounts(NamedTuple):
    """Features as successes out of trials, float32 [..., M] each; a cell of a roll is one trial."""

    successes: jax.Array
    trials: jax.Array


def gaussian_kl_nats(posterior: Posterior) -> jax.Array:
    """KL divergence of the posterior from a standard normal prior, summed over latents, [...], in nats, of [..., Z].

    Kingma and Welling 2014, appendix B.
    """
    mean, log_var = posterior
    chex.assert_equal_shape([mean, log_var])
    return 0.5 * jnp.sum(jnp.square(mean) + jnp.exp(log_var) - 1 - log_var, axis=-1)


def gaussian_divergence_nats(posterior: Posterior, prior: Posterior) -> jax.Array:
    """KL divergence of one diagonal Gaussian from another, summed over latents, [...], in nats, of [..., Z]."""
    (mean, log_var), (prior_mean, prior_log_var) = posterior, prior
    squares = (jnp.square(mean - prior_mean) + jnp.exp(log_var)) * jnp.exp(-prior_log_var)
    return 0.5 * jnp.sum(squares - 1 - log_var + prior_log_var, axis=-1)


def gaussian_log_density(z: jax.Array, gaussian: Posterior) -> jax.Array:
    """Log density of each latent under a diagonal Gaussian, up to log(2 pi) / 2; the shape of z."""
    mean, log_var = gaussian
    return -0.5 * (jnp.square(z - mean) * jnp.exp(-log_var) + log_var)


def mean_squared_log_error(outputs: jax.Array, x: jax.Array) -> jax.Array:
    """Mean over an example's values of the squared difference of log(1 + value), [B], as Keras defines it.

    Both must have the shape [B, ...]; values below Keras's epsilon count as epsilon.
    """
    chex.assert_equal_shape([outputs, x])
    difference = jnp.log1p(jnp.maximum(outputs, _KERAS_EPSILON)) - jnp.log1p(jnp.maximum(x, _KERAS_EPSILON))
    return _mean_over_example(jnp.square(difference))


def mean_squared_error(outputs: jax.Array, x: jax.Array) -> jax.Array:
    """Mean over an example's values of the squared difference, [B]; both [B, ...]."""
    chex.assert_equal_shape([outputs, x])
    return _mean_over_example(jnp.square(outputs - x))


DISTORTIONS: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "msle": mean_squared_log_error,
    "mse": mean_squared_error,
}


def binomial_nll(logits: jax.Array, counts: BinomialCounts) -> jax.Array:
    """Negative log likelihood of successes out of trials, summed over features, [...], in nats.

    Without the binomial coefficient, which no parameter changes; one trial a feature makes it the Bernoulli's. Computed
    from logits: the logarithm of a sigmoid would overflow.

    Args:
      logits: [..., M].
      counts: successes and trials, [..., M] each.
    """
    chex.assert_equal_shape([logits, counts.successes, counts.trials])
    return jnp.sum(counts.trials * jax.nn.softplus(logits) - counts.successes * logits, axis=-1)


def _mean_over_example(values: jax.Array) -> jax.Array:
    return jnp.mean(values.reshape(values.shape[0], -1), axis=-1)
