"""The contract of a model: an encoder, a decoder, and the likelihood that compares what is decoded with the input."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import flax.struct
import jax
import numpy as np

from vae_jax.models.losses import gaussian_kl_nats
from vae_jax.models.posterior import Posterior

Variables = dict[str, Any]  # Flax collections by name: "params" and the model's constants.
InputBatches = Callable[[], Iterable[np.ndarray]]  # Gives the model's inputs anew at each call, in batches.


@flax.struct.dataclass
class VAEOutput:
    """What a VAE computes of a batch.

    Attributes:
      distortion: the reconstruction term of each example, [B]; nats where the model has a likelihood.
      posterior: of each example, [B, Z].
    """

    distortion: jax.Array
    posterior: Posterior

    @property
    def kl_nats(self) -> jax.Array:
        """KL divergence of the posterior from the standard normal prior, [B]."""
        return gaussian_kl_nats(self.posterior)

    def loss(self, kl_weight: float) -> jax.Array:
        """distortion + kl_weight * KL, [B]; the negative ELBO where the weight is one and the distortion is in nats."""
        return self.distortion + kl_weight * self.kl_nats


class VAE(Protocol):
    """A linen module over inputs x [B, *example_shape]; its methods are called by `apply(..., method=...)`."""

    latent_dim: int

    def init(self, key: jax.Array, x: jax.Array, sample_key: jax.Array) -> Variables:
        """Draws the initial variables."""

    def apply(self, variables: Variables, *args: Any, **kwargs: Any) -> Any:
        """Calls a method with variables."""

    def encode(self, x: jax.Array) -> Posterior:
        """Maps inputs to a posterior over [B, Z]."""

    def decode(self, z: jax.Array) -> Any:
        """Maps latents [B, Z] to outputs that the representation turns into examples."""

    def __call__(self, x: jax.Array, key: jax.Array) -> VAEOutput:
        """Encodes, samples one latent an example (the key is consumed), decodes and compares with the input."""

    def init_from_data(self, variables: Variables, inputs: InputBatches, seed: int) -> Variables:
        """Returns initial variables that depend on the training inputs; those given where none do."""
