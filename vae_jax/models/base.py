"""The contract of a model: an encoder, a decoder, and the distortion between the decoded and the input."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from vae_jax.models.losses import gaussian_kl_nats
from vae_jax.models.posterior import Posterior
from vae_jax.runtime import config

Variables = dict[str, Any]  # Flax collections by name: "params" and the model's constants.
InputBatches = Callable[[], Iterable[Any]]  # Gives the model's inputs anew at each call, in batches.


@flax.struct.dataclass
class VAEOutput:
    """What a VAE computes of a batch."""

    distortion: jax.Array  # The reconstruction term of each example, [B]; nats where the model has a likelihood.
    posterior: Posterior  # Of each example, [B, Z], or [B, T, Z] of sequences.

    @property
    def kl_nats(self) -> jax.Array:
        """KL divergence of the posterior from the standard normal prior, [B]; summed over a sequence."""
        kl = gaussian_kl_nats(self.posterior)
        return kl if kl.ndim == 1 else jnp.sum(kl, axis=1)

    def loss(self, kl_weight: float) -> jax.Array:
        """distortion + kl_weight * KL, [B]; the negative ELBO where the weight is one and the distortion is in nats."""
        return self.distortion + kl_weight * self.kl_nats


@dataclasses.dataclass(frozen=True)
class VAEConfig(config.Section):
    """The fields that every model's config section has."""

    latent_dim: int = config.number(at_least=1, default=2)  # Size of the latent space, Z.


class VAE(nn.Module):
    """Base of the models; `encode`, `decode` and the call need variables: `model.apply(variables, x, method=...)`."""

    example_shape: tuple[int, ...]  # Shape of the input of one example, by the representation.
    config: VAEConfig  # The config's `model` section.

    if TYPE_CHECKING:  # Linen's own type is a union with what is returned of mutable collections.

        def apply(self, *args: Any, **kwargs: Any) -> Any:
            """Calls a method with variables."""

    @property
    def context(self) -> int | None:
        """How many neighbours on either side the latents of an example depend on at most, and the decoded example no
        more; inputs are then sequences, [B, T, ...]. None for a model of single examples."""
        return None

    @property
    def latent_dim(self) -> int:
        """Size of the latent space, Z."""
        return self.config.latent_dim

    def encode(self, x: jax.Array) -> Posterior:
        """Maps inputs [B, *example_shape] to a posterior over [B, Z]."""
        raise NotImplementedError

    def decode(self, z: jax.Array) -> Any:
        """Maps latents [B, Z] to outputs that the representation's `from_outputs` turns into examples."""
        raise NotImplementedError

    def __call__(self, x: jax.Array, key: jax.Array) -> VAEOutput:
        """Encodes, samples one latent an example (the key is consumed), decodes and compares with the input."""
        raise NotImplementedError

    def init_from_data(self, variables: Variables, inputs: InputBatches, seed: int) -> Variables:
        """Returns initial variables that depend on the training inputs; those given where none do."""
        del inputs, seed
        return variables
