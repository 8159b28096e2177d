"""Augmentation of note lists on the device: transposition, random subsets of the parts, mixtures of two windows."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from vae_jax.music import instruments
from vae_jax.representations.pianoroll.encoding import PART, PITCH
from vae_jax.representations.pianoroll.windows import NoteLists
from vae_jax.runtime import config

_NEAR_KEYS = (-12, -7, -5, 5, 7, 12)  # Octaves, fourths and fifths: a piece in one tonic still fits its scale.


@dataclasses.dataclass(frozen=True)
class RollAugmentation(config.Section):
    """How often what is done to a training window.

    Attributes:
      transpose_probability: transposed by an octave, a fifth or a fourth; notes that leave the range are left out.
      drop_parts_probability: each of its parts is left out with even odds.
      mix_probability: laid over another window of the batch.
    """

    transpose_probability: float = config.number(at_least=0, at_most=1, default=0.0)
    drop_parts_probability: float = config.number(at_least=0, at_most=1, default=0.0)
    mix_probability: float = config.number(at_least=0, at_most=1, default=0.0)

    def __call__(self, key: jax.Array, lists: NoteLists) -> NoteLists:
        """Augments B note lists of room for N notes; returns lists of room for 2 N; the key is consumed."""
        notes, mask = jnp.asarray(lists.notes), jnp.asarray(lists.mask)
        batch = len(notes)
        shift_key, moved_key, keep_key, drop_key, mix_key = jax.random.split(key, 5)
        shift = jax.random.choice(shift_key, jnp.asarray(_NEAR_KEYS, notes.dtype), (batch,))
        moved = jax.random.bernoulli(moved_key, self.transpose_probability, (batch,))
        shift = jnp.where(moved, shift, jnp.zeros((), notes.dtype))[:, None]
        pitched = notes[..., PART] != instruments.DRUMS
        notes = notes.at[..., PITCH].add(jnp.where(pitched, shift, jnp.zeros((), notes.dtype)))
        dropped = jax.random.bernoulli(drop_key, self.drop_parts_probability, (batch, 1))
        keep = jax.random.bernoulli(keep_key, 0.5, (batch, instruments.NUM_PARTS)) | ~dropped
        mask = mask & jnp.take_along_axis(keep, notes[..., PART].astype(jnp.int32), axis=1)
        mixed = jax.random.bernoulli(mix_key, self.mix_probability, (batch, 1))
        # Lists are laid over each other at a hundredth of the cost of rolls.
        notes = jnp.concatenate([notes, jnp.roll(notes, 1, axis=0)], axis=1)
        return NoteLists(notes, jnp.concatenate([mask, jnp.roll(mask, 1, axis=0) & mixed], axis=1))
