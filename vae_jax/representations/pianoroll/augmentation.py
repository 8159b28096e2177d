"""Augmentation of rolls on the device: other keys, some of the parts, two tunes at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from vae_jax.music import instruments
from vae_jax.representations.pianoroll.encoding import PART, PITCH

_NEAR_KEYS = (-12, -7, -5, 5, 7, 12)  # Octaves, fourths and fifths: a piece in one tonic still fits its scale.


@dataclasses.dataclass(frozen=True)
class RollAugmentation:
    """How often what is done to a training window.

    Attributes:
      transpose_probability: moved by an octave, a fifth or a fourth; notes that leave the range are left out.
      thin_probability: each of its parts is left out with even odds.
      mix_probability: laid over another window of the batch.
    """

    transpose_probability: float = 0.0
    thin_probability: float = 0.0
    mix_probability: float = 0.0

    def make_input(
        self, rasterise: Callable[[Mapping[str, jax.Array]], jax.Array]
    ) -> Callable[[jax.Array, dict[str, jax.Array]], jax.Array]:
        """Returns `(key, arrays) -> rolls [B, T, P, C]`, which augments a batch of note lists; the key is consumed."""

        def augmented(key: jax.Array, arrays: dict[str, jax.Array]) -> jax.Array:
            notes, mask = jnp.asarray(arrays["notes"]), jnp.asarray(arrays["mask"])
            batch = len(notes)
            shift_key, moved_key, keep_key, thin_key, mix_key = jax.random.split(key, 5)
            shift = jax.random.choice(shift_key, jnp.asarray(_NEAR_KEYS, notes.dtype), (batch,))
            moved = jax.random.bernoulli(moved_key, self.transpose_probability, (batch,))
            shift = jnp.where(moved, shift, jnp.zeros((), notes.dtype))[:, None]
            pitched = notes[..., PART] != instruments.DRUMS
            notes = notes.at[..., PITCH].add(jnp.where(pitched, shift, jnp.zeros((), notes.dtype)))
            thinned = jax.random.bernoulli(thin_key, self.thin_probability, (batch, 1))
            keep = jax.random.bernoulli(keep_key, 0.5, (batch, instruments.NUM_PARTS)) | ~thinned
            mask = mask & jnp.take_along_axis(keep, notes[..., PART].astype(jnp.int32), axis=1)
            mixed = jax.random.bernoulli(mix_key, self.mix_probability, (batch, 1))
            # Lists are laid over each other at a hundredth of the cost of rolls.
            notes = jnp.concatenate([notes, jnp.roll(notes, 1, axis=0)], axis=1)
            mask = jnp.concatenate([mask, jnp.roll(mask, 1, axis=0) & mixed], axis=1)
            return rasterise({"notes": notes, "mask": mask})

        return augmented
