"""The convolutional VAE of the 2019 post, layer by layer; 69,282,557 parameters at its own sizes."""

import dataclasses

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from vae_jax.models.base import VAE, VAEConfig, VAEOutput
from vae_jax.models.layers import SameConv, WideDense
from vae_jax.models.losses import DISTORTIONS
from vae_jax.models.posterior import POST, STANDARD, Posterior, reparameterize
from vae_jax.runtime import config

_GLOROT = nn.initializers.xavier_uniform()  # Keras's default for dense and convolution kernels.
_WIDTHS = (1, 2, 4, 8)  # Channels of the four convolutions, in multiples of `filters`.
_KERNELS = ((5, 1), (5, 1), (5, 3), (5, 3))  # (notes, features)


class PostEncoder(nn.Module):
    """Four convolutions over [notes, features] with the tracks as channels, then three sigmoid layers."""

    filters: int
    hidden: int
    latent_dim: int

    @nn.compact
    def __call__(self, x: jax.Array) -> Posterior:
        """Maps [B, notes, 3, tracks] to a posterior over [B, Z]."""
        for n, (width, kernel) in enumerate(zip(_WIDTHS, _KERNELS, strict=True)):
            x = nn.relu(SameConv(self.filters * width, kernel, _GLOROT, name=f"conv_{n}")(x))
        x = x.reshape(x.shape[0], -1)
        for n, width in enumerate((self.hidden, self.hidden // 2, self.hidden // 4)):
            x = nn.sigmoid(nn.Dense(width, kernel_init=_GLOROT, name=f"dense_{n}")(x))
        mean = nn.Dense(self.latent_dim, kernel_init=_GLOROT, name="mean")(x)
        return Posterior(mean, nn.Dense(self.latent_dim, kernel_init=_GLOROT, name="log_var")(x))


class PostDecoder(nn.Module):
    """The encoder mirrored: sigmoid layers, then transposed convolutions, each with ReLU, the last one too."""

    filters: int
    hidden: int
    example_shape: tuple[int, ...]

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        """Maps latents [B, Z] to values [B, notes, 3, tracks], none below zero."""
        num_notes, num_features, num_tracks = self.example_shape
        for n, width in enumerate((self.hidden // 4, self.hidden // 2, self.hidden)):
            z = nn.sigmoid(nn.Dense(width, kernel_init=_GLOROT, name=f"dense_{n}")(z))
        widest = self.filters * _WIDTHS[-1]
        x = nn.relu(WideDense(num_notes * num_features * widest, _GLOROT, name="dense_3")(z))
        x = x.reshape(-1, num_notes, num_features, widest)
        widths = (*(self.filters * width for width in _WIDTHS[:0:-1]), num_tracks)
        for n, (width, kernel) in enumerate(zip(widths, _KERNELS[::-1], strict=True)):
            x = nn.relu(SameConv(width, kernel, _GLOROT, name=f"conv_{n}")(x))  # Transposed, of stride one: the same.
        return x


@dataclasses.dataclass(frozen=True)
class ConvVAEConfig(VAEConfig):
    """The model's config section.

    Attributes:
      reparameterization: "standard", or "post" for the post's own line.
    """

    filters: int = config.number(at_least=1, default=36)  # Channels of the first convolution.
    hidden: int = config.number(at_least=4, default=256)  # Units of the first dense layer.
    reparameterization: str = config.choice((STANDARD, POST), default=STANDARD)
    distortion: str = config.choice(DISTORTIONS, default="msle")  # A name in `losses.DISTORTIONS`.


class ConvVAE(VAE):
    """The post's VAE; example_shape is (notes, 3, tracks)."""

    config: ConvVAEConfig

    def setup(self) -> None:
        """Makes the two halves."""
        self.encoder = PostEncoder(self.config.filters, self.config.hidden, self.latent_dim)
        self.decoder = PostDecoder(self.config.filters, self.config.hidden, self.example_shape)

    def encode(self, x: jax.Array) -> Posterior:
        """Maps examples [B, notes, 3, tracks] to a posterior over [B, Z]."""
        chex.assert_shape(x, (None, *self.example_shape))
        return self.encoder(x)

    def decode(self, z: jax.Array) -> jax.Array:
        """Maps latents [B, Z] to values [B, notes, 3, tracks]."""
        chex.assert_shape(z, (None, self.latent_dim))
        return self.decoder(z)

    def __call__(self, x: jax.Array, key: jax.Array) -> VAEOutput:
        """Encodes, samples one latent an example (the key is consumed), decodes and compares."""
        posterior = self.encode(jnp.asarray(x))
        z = reparameterize(key, posterior, self.config.reparameterization)
        return VAEOutput(DISTORTIONS[self.config.distortion](self.decode(z), x), self.kl_nats(posterior, z))
