"""Dense rolls: made from padded note lists on the device, and read back into notes on the host."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from vae_jax.representations.pianoroll.encoding import DURATION, PART, PITCH, STEP


def rasterise(
    notes: jax.Array | np.ndarray,
    mask: jax.Array | np.ndarray,
    *,
    num_steps: int,
    num_pitches: int,
    num_parts: int,
    dtype: DTypeLike = jnp.float32,
) -> tuple[jax.Array, jax.Array]:
    """Turns padded note lists into dense rolls; pure and jittable.

    Args:
      notes: [B, N, 4] integers: step, part, pitch index, duration. A step below zero is that of a note which sounds on
        from before the window. A note outside the roll's parts and pitches leaves no trace.
      mask: [B, N] bool, whether a row is a note.
      num_steps: T.
      num_pitches: P.
      num_parts: C.
      dtype: of the rolls.

    Returns:
      Onsets and sustains, [B, T, P, C] each, 0 or 1: the step in which a note starts; the steps in which it sounds, its
      first among them.
    """
    batch = jnp.arange(notes.shape[0], dtype=notes.dtype)[:, None]
    step, part, pitch, duration = (notes[..., column] for column in (STEP, PART, PITCH, DURATION))
    inside = mask & (part >= 0) & (part < num_parts) & (pitch >= 0) & (pitch < num_pitches)
    start, end = jnp.maximum(step, 0), jnp.minimum(step + duration, num_steps)
    # An index past the last step drops the write; a negative one would wrap around.
    onset_index = jnp.where(inside & (step >= 0), step, num_steps)
    start_index = jnp.where(inside & (end > start), start, num_steps + 1)
    end_index = jnp.where(inside & (end > start), end, num_steps + 1)
    shape = (notes.shape[0], num_steps, num_pitches, num_parts)
    onsets = jnp.zeros(shape, dtype).at[batch, onset_index, pitch, part].set(jnp.ones((), dtype), mode="drop")
    changes = jnp.zeros((shape[0], num_steps + 1, *shape[2:]), jnp.int16)
    changes = changes.at[batch, start_index, pitch, part].add(1, mode="drop")
    changes = changes.at[batch, end_index, pitch, part].add(-1, mode="drop")
    # Faster than cumsum: three times on a CPU core.
    sounding = jax.lax.associative_scan(jnp.add, changes[:, :num_steps], axis=1)
    return onsets, (sounding > 0).astype(dtype)


def notes_from_rolls(onsets: np.ndarray, sustains: np.ndarray, starts: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Reads notes from the dense rolls of a piece's windows; a note sounds on across the windows' edges.

    A note lasts from its onset for as long as its pitch sounds in its part, to the next onset there at the latest.
    Sustain without an onset before it is no note.

    Args:
      onsets: [W, T, P, C] bool.
      sustains: [W, T, P, C] bool; a step with an onset counts as sounding in any case.
      starts: [W] integers, the step of the piece at which each window starts.
      valid: [W, T] bool, the steps that stand for the piece, each in one window only.

    Returns:
      [M, 4] int32 notes of the piece, ordered by step, part, pitch.
    """
    num_pitches = onsets.shape[2]
    window, step, pitch, part = np.nonzero((onsets | sustains) & valid[:, :, None, None])
    is_onset = onsets[window, step, pitch, part]
    piece_step = step + np.asarray(starts, dtype=np.int64)[window]
    span = int(piece_step.max(initial=0)) + 2  # One step of silence between two columns.
    cell = (part * num_pitches + pitch) * span + piece_step
    order = np.argsort(cell)
    cell, is_onset = cell[order], is_onset[order]
    begins = is_onset | (np.diff(cell, prepend=-2) > 1)
    first = np.flatnonzero(begins)
    durations = np.diff(np.append(first, len(cell)))
    starts_note = is_onset[first]
    column, note_step = np.divmod(cell[first][starts_note], span)
    note_part, note_pitch = np.divmod(column, num_pitches)
    notes = np.stack([note_step, note_part, note_pitch, durations[starts_note]], axis=1).astype(np.int32)
    return notes[np.lexsort((note_pitch, note_part, note_step))]
