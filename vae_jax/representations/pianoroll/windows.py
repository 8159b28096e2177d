"""Windows: a roll cut into pieces of equal length, as padded note lists, and stitched together again without seams.

No note is cut: it belongs to the window that holds its onset and keeps its full duration. A note that sounds on into a
later window is listed there too, with the step of its onset counted from that window's start, below zero: it makes the
sustain of the dense roll and no onset, and stitching passes it over.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from vae_jax.music import quantization as grid_lib
from vae_jax.representations.pianoroll.encoding import DURATION, STEP, RollPiece

ALIGNMENTS = ("beats", "bars")


@dataclasses.dataclass(frozen=True, eq=False)
class RollWindows:
    """W windows of T steps, each with up to N notes.

    Attributes:
      notes: [W, N, 4] int32: step from the window's start, part, pitch index, duration in steps; notes that sound on
        from an earlier window have a step below zero and stand last; padding is zero.
      mask: [W, N] bool, whether a row is a note.
      starts: [W] int32, the step of the piece at which each window starts; the first lies below zero where a pick-up
        stands at the end of a padded window.
      valid: [W, T] bool, the steps that stand for the piece; each of its steps is valid in exactly one window.
      num_overflow: notes whose onset lies in a window that had no room for them.
      num_sustain_overflow: notes that sound on into a window that had no room for them.
    """

    notes: np.ndarray
    mask: np.ndarray
    starts: np.ndarray
    valid: np.ndarray
    num_overflow: int
    num_sustain_overflow: int


def window_spans(
    bars: np.ndarray, window_steps: int, alignment: str = "beats"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cuts a piece into windows; together they hold every step once.

    A pick-up stands at the end of a window of its own, so that the next one starts on the first downbeat.

    Args:
      bars: [num_bars + 1] steps at which bars start, and the end of the last one.
      window_steps: T, the length of a window.
      alignment: "beats", windows follow one another without a gap; or "bars", each starts on a bar line (and holds as
        many whole bars as it can, so that the downbeat stays in place through changes of meter). A bar longer than a
        window is cut.

    Returns:
      For each window the step at which it starts, the first step that is valid and the step after the last one, [W]
      int64 each.

    Raises:
      ValueError: for another alignment.
    """
    if alignment not in ALIGNMENTS:
        raise ValueError(f"alignment must be one of {', '.join(ALIGNMENTS)}, got {alignment!r}")
    downbeat, end = grid_lib.first_downbeat(bars), int(bars[-1])
    if alignment == "beats":
        firsts = np.arange(downbeat, end, window_steps)
    else:
        firsts = _bar_aligned(bars[bars >= downbeat].tolist(), window_steps)
    lasts = np.append(firsts[1:], end)[: len(firsts)]
    # Backwards from the downbeat, for a pick-up bar that is itself longer than a window.
    before = downbeat - window_steps * np.arange(-(-downbeat // window_steps), 0, -1)
    starts = np.concatenate([before, firsts]).astype(np.int64)
    return starts, np.maximum(starts, 0), np.concatenate([before + window_steps, lasts]).astype(np.int64)


def windows(
    piece: RollPiece,
    *,
    alignment: str = "beats",
    starts: Sequence[int] | np.ndarray | None = None,
    max_notes: int | None = None,
) -> RollWindows:
    """Cuts a piece into windows as padded note lists.

    Args:
      piece: the piece; one without steps gives no window.
      alignment: see `window_spans`.
      starts: where windows start, for windows of a caller's choice (every step inside the piece is then valid);
        overrides `alignment`.
      max_notes: N; the most notes of any window, at least 1, where it is not given.
    """
    length = piece.config.window_steps
    if starts is None:
        begin, first, last = window_spans(piece.bars, length, alignment)
    else:
        begin = np.asarray(starts, dtype=np.int64).reshape(-1)
        first, last = np.maximum(begin, 0), np.minimum(begin + length, piece.num_steps)
    steps = begin[:, None] + np.arange(length)
    valid = (steps >= first[:, None]) & (steps < last[:, None])

    onset, end = piece.notes[:, STEP], piece.notes[:, STEP] + piece.notes[:, DURATION]
    own = [np.arange(*np.searchsorted(onset, [lo, hi])) for lo, hi in zip(first, last, strict=True)]
    carried = [np.flatnonzero((onset < lo) & (end > lo) & (lo < hi)) for lo, hi in zip(first, last, strict=True)]
    if max_notes is None:
        max_notes = max([1, *(len(a) + len(b) for a, b in zip(own, carried, strict=True))])
    notes = np.zeros((len(begin), max_notes, 4), dtype=np.int32)
    mask = np.zeros((len(begin), max_notes), dtype=bool)
    num_overflow = num_sustain_overflow = 0
    for w, (mine, theirs) in enumerate(zip(own, carried, strict=True)):
        rows = np.concatenate([mine, theirs])[:max_notes]
        num_overflow += max(0, len(mine) - max_notes)
        num_sustain_overflow += len(theirs) - max(0, len(rows) - len(mine))
        notes[w, : len(rows)] = piece.notes[rows]
        notes[w, : len(rows), STEP] -= begin[w]
        mask[w, : len(rows)] = True
    return RollWindows(notes, mask, begin.astype(np.int32), valid, num_overflow, num_sustain_overflow)


def with_room(cut: RollWindows, max_notes: int) -> RollWindows:
    """Returns the windows with room for more notes, so that those of several pieces can be joined.

    Raises:
      ValueError: where the windows hold more notes than that already.
    """
    missing = max_notes - cut.notes.shape[1]
    if missing < 0:
        raise ValueError(f"the windows have room for {cut.notes.shape[1]} notes, which cannot shrink to {max_notes}")
    notes = np.pad(cut.notes, ((0, 0), (0, missing), (0, 0)))
    return dataclasses.replace(cut, notes=notes, mask=np.pad(cut.mask, ((0, 0), (0, missing))))


def stitch(notes: np.ndarray, mask: np.ndarray, starts: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Joins the notes of windows, the inverse of `windows`.

    Args:
      notes: [W, N, 4] integers, as in `RollWindows`; those with an onset outside the valid steps are passed over.
      mask: [W, N] bool.
      starts: [W] integers.
      valid: [W, T] bool.

    Returns:
      [M, 4] int32 notes of the piece, ordered by step, part, pitch; of notes alike in these the longest is kept.
    """
    step = notes[..., STEP]
    inside = (step >= 0) & (step < valid.shape[1])
    held = mask & inside & np.take_along_axis(valid, np.where(inside, step, 0), axis=1)
    joined = notes.astype(np.int32)
    joined[..., STEP] += np.asarray(starts, dtype=np.int32)[:, None]
    joined = joined[held]
    joined = joined[np.lexsort((-joined[:, DURATION], joined[:, 2], joined[:, 1], joined[:, 0]))]
    fresh = np.ones(len(joined), dtype=bool)
    fresh[1:] = np.any(joined[1:, :DURATION] != joined[:-1, :DURATION], axis=1)
    return joined[fresh]


def stitched(piece: RollPiece, notes: np.ndarray) -> RollPiece:
    """Returns the piece with other notes, [M, 4], such as those that a model gives for it; its context stays."""
    return dataclasses.replace(piece, notes=np.asarray(notes, dtype=np.int32).reshape(-1, 4))


def _bar_aligned(bars: list[int], window_steps: int) -> np.ndarray:
    """Where windows start that begin on bar lines, or inside a bar that is longer than a window."""
    starts: list[int] = []
    room_until = -1
    for bar, bar_end in itertools.pairwise(bars):
        if bar_end > room_until:
            starts.extend(range(bar, bar_end, window_steps))
            room_until = bar + window_steps  # Behind the end of a bar that was cut: the next one starts afresh.
    return np.array(starts, dtype=np.int64)
