"""The network's input, made from note lists on the device: dense rolls of onsets, and counts of durations."""

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.music import instruments
from vae_jax.representations.pianoroll.beats import BeatLists
from vae_jax.representations.pianoroll.config import DURATION, PART, PITCH, STEP

A = TypeVar("A", np.ndarray, jax.Array)

DURATION_EDGES = (1, 2, 3, 4, 5, 7, 9, 11, 14, 20, 29, 45)  # Steps; class k ends with edge k, one more is open.
DURATION_REGISTER = 6  # Notes of a part within so many semitones and half a beat share a duration.
DURATION_SPANS = 2  # Halves of a beat.


class Rolls(NamedTuple):
    """Crops of beats; S steps a beat, P pitches, C parts.

    Attributes:
      onsets: [B, T, S, P, C] uint8, 1 in the step in which a note starts.
      outlasting: [B, T, 2, R, C - 1, K + 1] uint8; of the notes of a pitched part that start in a half of the beat and
        a register of `DURATION_REGISTER` semitones, how many are longer than nothing, and than each of the K edges.
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
    index = jnp.where(
        (part != instruments.DRUMS) & (index < steps_per_beat), duration_span(step, steps_per_beat), DURATION_SPANS
    )
    registers = -(-num_pitches // DURATION_REGISTER)
    outlasting = jnp.zeros(
        (crops, beats, DURATION_SPANS, registers, instruments.NUM_PARTS - 1, len(DURATION_EDGES) + 1), jnp.uint8
    )
    is_longer = (duration[..., None] > jnp.array((0, *DURATION_EDGES))).astype(jnp.uint8)
    outlasting = outlasting.at[crop, beat, index, pitch // DURATION_REGISTER, part].add(is_longer, mode="drop")
    return Rolls(onsets, outlasting, jnp.asarray(lists.inside, jnp.float32))


def duration_span(step: A, steps_per_beat: int) -> A:
    """Returns the half of the beat in which each step lies."""
    return step * DURATION_SPANS // steps_per_beat
