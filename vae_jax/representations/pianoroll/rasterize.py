"""Dense rolls, made from note lists on the device."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from vae_jax.representations.pianoroll.encoding import PART, PITCH, STEP
from vae_jax.representations.pianoroll.windows import NoteLists


def rasterize(
    lists: NoteLists, *, num_steps: int, num_pitches: int, num_parts: int, dtype: DTypeLike = jnp.float32
) -> jax.Array:
    """Turns note lists into dense rolls of onsets; pure and jittable.

    Args:
      lists: B windows; a note outside the roll's steps, parts and pitches leaves no trace.
      num_steps, num_pitches, num_parts: T, P and C.
      dtype: of the rolls.

    Returns:
      [B, T, P, C], 1 in the step in which a note starts, else 0.
    """
    notes = jnp.asarray(lists.notes, jnp.int32)
    batch = jnp.arange(notes.shape[0], dtype=notes.dtype)[:, None]
    step, part, pitch = (notes[..., column] for column in (STEP, PART, PITCH))
    inside = lists.mask & (part >= 0) & (part < num_parts) & (pitch >= 0) & (pitch < num_pitches) & (step >= 0)
    # An index past the last step drops the write; a negative one would wrap around.
    index = jnp.where(inside, step, num_steps)
    rolls = jnp.zeros((notes.shape[0], num_steps, num_pitches, num_parts), dtype)
    return rolls.at[batch, index, pitch, part].set(jnp.ones((), dtype), mode="drop")
