"""Windows: a roll cut into windows of equal length, as padded note lists, and stitched together again.

No note is cut: it belongs to the window that holds its onset and keeps its full duration.
"""

from typing import NamedTuple

import jax
import numpy as np

from vae_jax.music import quantization
from vae_jax.representations.pianoroll.config import DURATION, PART, PITCH, STEP


class NoteLists(NamedTuple):
    """Windows as padded lists of notes: the compact examples of the piano roll.

    On the host arrays are NumPy's, inside a jitted step JAX's.

    Attributes:
      notes: [W, N, 4] integers: step from the window's start, part, pitch index, duration in steps; padding is zero.
    """

    notes: np.ndarray | jax.Array
    mask: np.ndarray | jax.Array  # [W, N] bool, whether a row is a note.


def window_starts(bars: np.ndarray, window_steps: int) -> np.ndarray:
    """Divides a piece into consecutive windows, which together hold every step once.

    A pick-up stands at the end of a window of its own, so that the next one starts on the first downbeat.

    Args:
      bars: [num_bars + 1] steps at which bars start, and the end of the last one.
      window_steps: T, the length of a window.

    Returns:
      [W] int64, the step at which each window starts; below zero for one that ends with a pick-up.
    """
    downbeat = quantization.first_downbeat(bars)
    # Backwards from the downbeat, for a pick-up bar that is itself longer than a window.
    before = downbeat - window_steps * np.arange(-(-downbeat // window_steps), 0, -1)
    return np.concatenate([before, np.arange(downbeat, bars[-1], window_steps)]).astype(np.int64)


def cut(notes: np.ndarray, starts: np.ndarray, window_steps: int, max_notes: int) -> tuple[NoteLists, int]:
    """Cuts windows out of a piece.

    Args:
      notes: [M, 4] roll notes of the piece, ordered by step.
      starts: [W] steps at which windows start, below zero and past the end of the piece too.
      window_steps: T, the length of a window.
      max_notes: N, the size of a window's list.

    Returns:
      The lists, int16, and the number of notes that exceed the size of their list.
    """
    lists = NoteLists(np.zeros((len(starts), max_notes, 4), np.int16), np.zeros((len(starts), max_notes), bool))
    num_overflow = 0
    bounds = np.searchsorted(notes[:, STEP], np.stack([starts, starts + window_steps]))
    for window, (low, high) in enumerate(bounds.T.tolist()):
        inside = notes[low : min(high, low + max_notes)].copy()
        num_overflow += max(0, high - low - max_notes)
        inside[:, STEP] -= starts[window]
        lists.notes[window, : len(inside)] = inside
        lists.mask[window, : len(inside)] = True
    return lists, num_overflow


def stitch(lists: NoteLists, starts: np.ndarray, num_steps: int) -> np.ndarray:
    """Joins the notes of consecutive windows that start at `starts` [W], the inverse of `cut`. Returns [M, 4] int32
    notes of the piece, ordered by step, part, pitch. Onsets outside the piece are dropped; of notes that share step,
    part and pitch the longest is kept."""
    joined = np.asarray(lists.notes).astype(np.int32)
    joined[..., STEP] += starts[:, None].astype(np.int32)
    joined = joined[np.asarray(lists.mask) & (joined[..., STEP] >= 0) & (joined[..., STEP] < num_steps)]
    joined = joined[np.lexsort((-joined[:, DURATION], joined[:, PITCH], joined[:, PART], joined[:, STEP]))]
    is_first = np.ones(len(joined), dtype=bool)
    is_first[1:] = np.any(joined[1:, :DURATION] != joined[:-1, :DURATION], axis=1)
    return joined[is_first]
