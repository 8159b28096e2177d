"""Augmentation of note lists on the device: transposition, random subsets of the parts, mixtures of two crops."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vae_jax.music import instruments
from vae_jax.representations.pianoroll.beats import BeatLists
from vae_jax.representations.pianoroll.config import PART, PITCH
from vae_jax.runtime import config

_NEAR_KEYS = (-12, -7, -5, 5, 7, 12)  # Octaves, fourths and fifths: a piece in one tonic still fits its scale.


class Draws(NamedTuple):
    """What is done to each crop of a batch."""

    shift: jax.Array  # Semitones by which its pitched notes are moved, int16 [B, 1].
    keep: jax.Array  # Which of its parts are kept, bool [B, parts].
    mixed: jax.Array  # Whether the crop before it in the batch is laid over it, bool [B, 1].


@dataclasses.dataclass(frozen=True)
class RollAugmentation(config.Section):
    """How often what is done to a training crop.

    Attributes:
      transpose_probability: transposed by an octave, a fifth or a fourth; notes that leave the range are left out.
      drop_parts_probability: each of its parts is left out with even odds.
    """

    transpose_probability: float = config.number(at_least=0, at_most=1, default=0.0)
    drop_parts_probability: float = config.number(at_least=0, at_most=1, default=0.0)
    mix_probability: float = config.number(at_least=0, at_most=1, default=0.0)  # Laid over another crop of the batch.

    def draw(self, key: jax.Array, batch_size: int) -> Draws:
        """Draws what is done to each crop of a batch; the key is consumed."""
        shift_key, moved_key, keep_key, drop_key, mix_key = jax.random.split(key, 5)
        shift = jax.random.choice(shift_key, jnp.array(_NEAR_KEYS, jnp.int16), (batch_size,))
        moved = jax.random.bernoulli(moved_key, self.transpose_probability, (batch_size,))
        dropped = jax.random.bernoulli(drop_key, self.drop_parts_probability, (batch_size, 1))
        keep = jax.random.bernoulli(keep_key, 0.5, (batch_size, instruments.NUM_PARTS)) | ~dropped
        mixed = jax.random.bernoulli(mix_key, self.mix_probability, (batch_size, 1))
        return Draws(jnp.where(moved, shift, jnp.zeros((), shift.dtype))[:, None], keep, mixed)

    def __call__(self, key: jax.Array, lists: BeatLists) -> BeatLists:
        """Augments B crops of beats with room for N notes; returns crops with room for 2 N; the key is consumed."""
        return augment(lists, self.draw(key, len(lists.mask)))


def augment(lists: BeatLists, draws: Draws) -> BeatLists:
    """Augments B crops of beats with room for N notes each by what was drawn; returns crops with room for 2 N."""
    notes, mask = jnp.asarray(lists.notes), jnp.asarray(lists.mask)
    pitched = notes[..., PART] != instruments.DRUMS
    shift = draws.shift.astype(notes.dtype)[:, None]
    notes = notes.at[..., PITCH].add(jnp.where(pitched, shift, jnp.zeros((), notes.dtype)))
    kept = jnp.take_along_axis(draws.keep[:, None], notes[..., PART].astype(jnp.int32), axis=2)
    mask = mask & kept
    # Lists are laid over each other at a hundredth of the cost of rolls.
    notes = jnp.concatenate([notes, jnp.roll(notes, 1, axis=0)], axis=2)
    mixed = jnp.roll(mask, 1, axis=0) & draws.mixed[:, None] & jnp.asarray(lists.inside)[..., None]
    return BeatLists(notes, jnp.concatenate([mask, mixed], axis=2), lists.inside)
