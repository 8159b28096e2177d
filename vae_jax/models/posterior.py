"""The posterior over latents and the reparameterization, with an explicit key."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

STANDARD, POST = "standard", "post"


class Posterior(NamedTuple):
    """A diagonal Gaussian over latents for each example."""

    mean: chex.Array  # [B, Z]; a JAX array inside the model, a NumPy array once it is fetched.
    log_var: chex.Array  # Logarithm of the variance, [..., Z].


def reparameterize(key: jax.Array, posterior: Posterior, form: str = STANDARD) -> jax.Array:
    """Samples one latent for each example so that gradients reach the mean and the variance.

    Args:
      key: consumed.
      posterior: mean and log variance, [..., Z].
      form: "standard" is mean + exp(log_var / 2) * epsilon (Kingma and Welling 2014, section 2.4). "post" is the line
        of the 2019 post, mean + exp(log_var) * epsilon, with one epsilon an example that all its latents share: it
        takes the log variance for a log standard deviation and moves along one diagonal only.

    Returns:
      Latents, [..., Z].
    """
    chex.assert_equal_shape([posterior.mean, posterior.log_var])
    if form == POST:
        epsilon = jax.random.normal(key, (*posterior.mean.shape[:-1], 1), posterior.mean.dtype)
        return posterior.mean + jnp.exp(posterior.log_var) * epsilon
    if form != STANDARD:
        raise ValueError(f"form must be {STANDARD!r} or {POST!r}, got {form!r}")
    epsilon = jax.random.normal(key, posterior.mean.shape, posterior.mean.dtype)
    return posterior.mean + jnp.exp(posterior.log_var / 2) * epsilon
