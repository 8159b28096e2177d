"""Windows: a roll cut into windows of equal length, as padded note lists, and stitched together again.

No note is cut: it belongs to the window that holds its onset and keeps its full duration.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import numpy as np

from vae_jax.music import quantization
from vae_jax.representations.pianoroll.config import DURATION, STEP


class NoteLists(NamedTuple):
    """Windows as padded lists of notes: the compact examples of the piano roll.

    On the host arrays are NumPy's, inside a jitted step JAX's.

    Attributes:
      notes: [W, N, 4] integers: step from the window's start, part, pitch index, duration in steps; padding is zero.
      mask: [W, N] bool, whether a row is a note.
    """

    notes: np.ndarray | jax.Array
    mask: np.ndarray | jax.Array


@dataclasses.dataclass(frozen=True, eq=False)
class WindowSpans:
    """Where W windows lie in a piece, int64 [W] each.

    Attributes:
      starts: the step at which each window starts; the first lies below zero where a pick-up stands at its end.
      first, last: the first step of each window that stands for the piece, and the step after the last one.
    """

    starts: np.ndarray
    first: np.ndarray
    last: np.ndarray


def window_spans(bars: np.ndarray, window_steps: int) -> WindowSpans:
    """Divides a piece into consecutive windows, which together hold every step once.

    A pick-up stands at the end of a window of its own, so that the next one starts on the first downbeat.

    Args:
      bars: [num_bars + 1] steps at which bars start, and the end of the last one.
      window_steps: T, the length of a window.
    """
    downbeat, end = quantization.first_downbeat(bars), int(bars[-1])
    after = np.arange(downbeat, end, window_steps)
    # Backwards from the downbeat, for a pick-up bar that is itself longer than a window.
    before = downbeat - window_steps * np.arange(-(-downbeat // window_steps), 0, -1)
    starts = np.concatenate([before, after]).astype(np.int64)
    return WindowSpans(starts, np.maximum(starts, 0), np.minimum(starts + window_steps, end))


def spans_at(starts: np.ndarray, num_steps: int, window_steps: int) -> WindowSpans:
    """Returns the spans of windows at any starts, below zero and past the end of a piece of `num_steps` too."""
    starts = np.asarray(starts, dtype=np.int64).reshape(-1)
    return WindowSpans(starts, np.maximum(starts, 0), np.minimum(starts + window_steps, num_steps))


def cut(notes: np.ndarray, spans: WindowSpans, max_notes: int) -> tuple[NoteLists, int]:
    """Cuts a piece into windows.

    Args:
      notes: [M, 4] roll notes of the piece, ordered by step.
      spans: of the windows.
      max_notes: N, the size of a window's list.

    Returns:
      The lists, int16, and the number of notes that found no place in theirs.
    """
    num_windows = len(spans.starts)
    lists = NoteLists(np.zeros((num_windows, max_notes, 4), np.int16), np.zeros((num_windows, max_notes), bool))
    num_overflow = 0
    bounds = np.searchsorted(notes[:, STEP], np.stack([spans.first, spans.last]))
    for window, (low, high) in enumerate(bounds.T.tolist()):
        mine = notes[low : min(high, low + max_notes)].copy()
        num_overflow += max(0, high - low - max_notes)
        mine[:, STEP] -= spans.starts[window]
        lists.notes[window, : len(mine)] = mine
        lists.mask[window, : len(mine)] = True
    return lists, num_overflow


def stitch(lists: NoteLists, spans: WindowSpans) -> np.ndarray:
    """Joins the notes of windows, the inverse of `cut`; onsets outside a window's span are dropped.

    Returns:
      [M, 4] int32 notes of the piece, ordered by step, part, pitch; of notes alike in these the longest is kept.
    """
    joined = np.asarray(lists.notes).astype(np.int32)
    step = joined[..., STEP] + spans.starts[:, None]
    joined[..., STEP] = step
    joined = joined[np.asarray(lists.mask) & (step >= spans.first[:, None]) & (step < spans.last[:, None])]
    joined = joined[np.lexsort((-joined[:, DURATION], joined[:, 2], joined[:, 1], joined[:, 0]))]
    fresh = np.ones(len(joined), dtype=bool)
    fresh[1:] = np.any(joined[1:, :DURATION] != joined[:-1, :DURATION], axis=1)
    return joined[fresh]
