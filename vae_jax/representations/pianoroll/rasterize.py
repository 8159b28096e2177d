"""The network's input, made from note lists on the device: dense rolls of onsets, and counts of durations."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from vae_jax.music import instruments
from vae_jax.representations.pianoroll.beats import BeatLists
from vae_jax.representations.pianoroll.config import DURATION, PART, PITCH, STEP

DURATION_EDGES = (1, 2, 3, 4, 5, 7, 9, 11, 14, 20, 29, 45)  # Steps; class k ends with edge k, one more is open.
DURATION_REGISTER = 6  # Semitones that share a duration.


class Rolls(NamedTuple):
    """Crops of beats; S steps a beat, P pitches, C parts.

    Attributes:
      onsets: [B, T, S, P, C] uint8, 1 in the step in which a note starts.
      outlasting: [B, T, S, R, K + 1] uint8; of the pitches that start in a step and a register of
        `DURATION_REGISTER` semitones, how many are longer than nothing, and than each of the K edges. Of a unison the
        longest note counts.
      inside: [B, T] float32, 1 for beats of the piece.
    """

    onsets: jax.Array
    outlasting: jax.Array
    inside: jax.Array


def rasterize(lists: BeatLists, *, steps_per_beat: int, num_pitches: int) -> Rolls:
    """Turns note lists [B, T, N, 4] into rolls; jittable. Steps and pitches outside the shape leave no trace."""
    notes = jnp.asarray(lists.notes, jnp.int32)
    step, part, pitch, duration = (notes[..., column] for column in (STEP, PART, PITCH, DURATION))
    crops, beats = notes.shape[:2]
    crop, beat = jnp.arange(crops)[:, None, None], jnp.arange(beats)[:, None]
    is_valid = jnp.asarray(lists.mask) & (pitch >= 0) & (pitch < num_pitches) & (step >= 0)
    # An index past the last step drops the write; a negative one would wrap around.
    index = jnp.where(is_valid, step, steps_per_beat)
    onsets = jnp.zeros((crops, beats, steps_per_beat, num_pitches, instruments.NUM_PARTS), jnp.uint8)
    onsets = onsets.at[crop, beat, index, pitch, part].set(jnp.uint8(1), mode="drop")
    # Of notes of one step and pitch the longest counts, the first of several.
    cell = jnp.where(is_valid & (part != instruments.DRUMS), step * num_pitches + pitch, -1)
    order = jnp.arange(notes.shape[2])
    mine, other = duration[..., :, None], duration[..., None, :]
    longer = (other > mine) | ((other == mine) & (order[None, :] < order[:, None]))
    is_covered = jnp.any((cell[..., None, :] == cell[..., :, None]) & longer, axis=-1)
    index = jnp.where((cell >= 0) & ~is_covered, step, steps_per_beat)
    registers = -(-num_pitches // DURATION_REGISTER)
    outlasting = jnp.zeros((crops, beats, steps_per_beat, registers, len(DURATION_EDGES) + 1), jnp.uint8)
    is_longer = (duration[..., None] > jnp.array((0, *DURATION_EDGES))).astype(jnp.uint8)
    outlasting = outlasting.at[crop, beat, index, pitch // DURATION_REGISTER].add(is_longer, mode="drop")
    return Rolls(onsets, outlasting, jnp.asarray(lists.inside, jnp.float32))
