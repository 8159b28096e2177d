"""Losses: pure functions that return one value an example, never reduced over the batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp

from vae_jax.models.binomial import Trials
from vae_jax.models.posterior import Posterior
from vae_jax.runtime.errors import UserError

_KERAS_EPSILON = 1e-7


def gaussian_kl_nats(posterior: Posterior) -> jax.Array:
    """KL divergence of the posterior from a standard normal prior, summed over latents, [B], in nats.

    Kingma and Welling 2014, appendix B.
    """
    mean, log_var = posterior
    chex.assert_equal_shape([mean, log_var])
    return 0.5 * jnp.sum(jnp.square(mean) + jnp.exp(log_var) - 1 - log_var, axis=-1)


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


def binomial_nats(logits: jax.Array, counted: Trials) -> jax.Array:
    """Negative log likelihood of successes out of trials, summed over features, [B], in nats.

    Without the binomial coefficient, which no parameter changes; one trial a feature makes it the Bernoulli's. Computed
    from logits: the logarithm of a sigmoid would overflow.

    Args:
      logits: [B, M].
      counted: successes and trials, [B, M] each.
    """
    chex.assert_equal_shape([logits, counted.successes, counted.trials])
    return jnp.sum(counted.trials * jax.nn.softplus(logits) - counted.successes * logits, axis=-1)


@dataclasses.dataclass(frozen=True)
class Objective:
    """What training minimises: a reconstruction term times its factor plus the KL times its factor.

    Attributes:
      reconstruction: "msle" or "mse" on values; "binomial_nats" on counts, which makes the loss a negative ELBO where
        both factors are one.
      loss_factor: weight of the reconstruction term.
      reg_factor: weight of the KL in nats. The post writes 0.5 times a mean over its two latents of twice the KL of
        each, which
        is 0.5 times the KL in nats; with another number of latents its line would weigh the KL by 1 / latents.
    """

    reconstruction: str = "msle"
    loss_factor: float = 1.0
    reg_factor: float = 0.5

    def __post_init__(self):
        if self.reconstruction not in _RECONSTRUCTION_TERMS:
            names = ", ".join(_RECONSTRUCTION_TERMS)
            raise UserError(f"config.loss.reconstruction must be one of {names}, got {self.reconstruction!r}")

    def __call__(self, outputs: jax.Array, targets: Any, posterior: Posterior) -> dict[str, jax.Array]:
        """Returns every term, each [B]: "loss", the reconstruction term under its own name, and "kl_nats"."""
        term = _RECONSTRUCTION_TERMS[self.reconstruction](outputs, targets)
        kl_nats = gaussian_kl_nats(posterior)
        chex.assert_equal_shape([term, kl_nats])
        loss = self.loss_factor * term + self.reg_factor * kl_nats
        return {"loss": loss, self.reconstruction: term, "kl_nats": kl_nats}


def make_objective(config: Mapping[str, Any]) -> Objective:
    """Returns the objective that a config's `loss` section describes."""
    return Objective(**dict(config))


def _mean_over_example(values: jax.Array) -> jax.Array:
    return jnp.mean(values.reshape(values.shape[0], -1), axis=-1)


_RECONSTRUCTION_TERMS: dict[str, Callable[[jax.Array, Any], jax.Array]] = {
    "msle": mean_squared_log_error,
    "mse": mean_squared_error,
    "binomial_nats": binomial_nats,
}
