"""The composer's encoder of phrases."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from vae_jax.composer.crops import MAX_PHRASES, NOTE, Crops
from vae_jax.composer.layers import flat, hot, interval_features
from vae_jax.composer.network import NUM_GAPS
from vae_jax.composer.notes import NUM_DURATIONS, NUM_PITCHES, NUM_POSITIONS
from vae_jax.models.posterior import Posterior

_DILATIONS = (1, 2, 4)


class PhraseEncoder(nn.Module):
    """Encodes the phrases of crops: convolutions over the notes, then a mean over those of a phrase."""

    channels: int = 96
    latent_dim: int = 12

    @nn.compact
    def __call__(self, crops: Crops[jax.Array], max_phrases: int = MAX_PHRASES) -> Posterior:
        """Returns the posterior of the latents of each phrase, [B, max_phrases, latent_dim]."""
        c = crops
        position = c.position.astype(jnp.int32)
        x = flat(
            hot(c.pitch, NUM_PITCHES),
            hot(jnp.where(c.pitch < NUM_PITCHES, c.pitch % 12, 12), 12),
            hot(c.duration, NUM_DURATIONS),
            hot(c.gap, NUM_GAPS),
            hot(jnp.minimum(c.role, 2), 3),
            hot(position, NUM_POSITIONS),
            interval_features(c.pitch, c.references),
        )
        is_note = (c.kind == NOTE).astype(jnp.float32)[..., None]
        x = nn.Dense(self.channels)(x) * is_note
        for dilation in _DILATIONS:
            y = nn.Conv(self.channels, (3,), kernel_dilation=dilation)(nn.gelu(nn.LayerNorm()(x)))
            x = (x + y) * is_note
        members = hot(c.phrase, max_phrases) * is_note
        count = members.sum(axis=1)[..., None]
        pooled = jnp.einsum("bnp,bnc->bpc", members, x) / jnp.maximum(count, 1)
        pooled = nn.gelu(nn.Dense(self.channels)(nn.LayerNorm()(pooled)))
        moments = nn.Dense(2 * self.latent_dim)(pooled) * (count > 0).astype(jnp.float32)
        mean, log_var = jnp.split(moments, 2, axis=-1)
        return Posterior(mean, jnp.clip(log_var, -8.0, 2.0))
