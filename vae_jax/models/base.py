"""The contract of a model: an encoder, a decoder, and the distortion between the decoded and the input."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import chex
import flax.linen as nn
import flax.struct
import jax

from vae_jax.models.losses import gaussian_kl_nats
from vae_jax.models.posterior import Posterior
from vae_jax.runtime import config

Variables = dict[str, Any]  # Flax collections by name: "params" and the model's constants.
InputBatches = Callable[[], Iterable[chex.ArrayTree]]  # Gives the model's inputs anew at each call, in batches.


@flax.struct.dataclass
class VAEOutput:
    """What a VAE computes of a batch."""

    distortion: jax.Array  # The reconstruction term of each example, [B]; nats where the model has a likelihood.
    kl_nats: jax.Array  # KL divergence of the posterior from the prior, [B]; summed over a sequence.

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

    def encode(self, x: Any) -> Posterior:
        """Maps inputs [B, *example_shape] to a posterior over [B, Z]."""
        raise NotImplementedError

    def decode(self, z: jax.Array) -> Any:
        """Maps latents [B, Z] to outputs that the representation's `from_outputs` turns into examples."""
        raise NotImplementedError

    def kl_nats(self, posterior: Posterior, z: jax.Array) -> jax.Array:
        """KL divergence of a posterior from the prior, [...], in nats, of [..., Z]; z is a sample of the posterior, on
        which the prior may depend."""
        del z
        return gaussian_kl_nats(posterior)

    def sample_prior(self, key: jax.Array, num: int, num_examples: int, temperature: float = 1.0) -> jax.Array:
        """Samples latents of `num` pieces of so many examples from the prior, [num, num_examples, Z] (the key is
        consumed); temperature scales the standard deviations."""
        return temperature * jax.random.normal(key, (num, num_examples, self.latent_dim))

    def __call__(self, x: Any, key: jax.Array) -> VAEOutput:
        """Encodes, samples one latent an example (the key is consumed), decodes and compares with the input."""
        raise NotImplementedError

    def init_from_data(self, variables: Variables, inputs: InputBatches, seed: int) -> Variables:
        """Returns initial variables that depend on the training inputs; those given where none do."""
        del inputs, seed
        return variables

    def adapt(self, variables: Variables, inputs: InputBatches, known: Variables) -> Variables:
        """Returns initial variables from those of another model of the same kind, fitted to the training inputs."""
        del variables, inputs
        return known
