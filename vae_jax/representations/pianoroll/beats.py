"""A roll as rows of beats, each a padded list of the notes that start in it; the inverse; and crops for training.

A note belongs to the beat that holds its onset and keeps its full duration, so nothing is cut and nothing has to be
joined at seams. Beats are quarter notes from tick 0 on, whatever the meter; a pick-up needs no rule of its own.
"""

from typing import NamedTuple

import jax
import numpy as np

from vae_jax.representations.pianoroll.config import DURATION, PART, PITCH, STEP


class BeatLists(NamedTuple):
    """Beats as padded lists of notes: the compact examples of the piano roll.

    A row is a beat: [W, ...] for the beats of a piece, [B, T, ...] for B crops. On the host arrays are NumPy's, inside
    a jitted step JAX's.

    Attributes:
      notes: [..., N, 4] integers: step from the beat's start, part, pitch index, duration in steps; padding is zero.
      mask: [..., N] bool, whether an entry is a note.
      inside: [...] bool, whether the beat belongs to the piece; False for rows that only fill a batch up.
    """

    notes: np.ndarray | jax.Array
    mask: np.ndarray | jax.Array
    inside: np.ndarray | jax.Array


def split(notes: np.ndarray, num_beats: int, steps_per_beat: int, max_notes: int) -> tuple[BeatLists, int]:
    """Splits a piece into beats.

    Args:
      notes: [M, 4] roll notes of the piece, ordered by beat; those that start past the last beat are left out.
      num_beats: W.
      steps_per_beat: steps in a beat.
      max_notes: N, the size of a beat's list.

    Returns:
      The lists [W, N, 4], int16, and the number of notes that exceed the size of their list.
    """
    notes = notes[notes[:, STEP] < num_beats * steps_per_beat]
    beat, step = np.divmod(notes[:, STEP], steps_per_beat)
    place = np.arange(len(notes)) - np.searchsorted(beat, beat)
    fits = place < max_notes
    lists = empty(num_beats, max_notes)
    lists.notes[beat[fits], place[fits]] = np.column_stack([step, notes[:, 1:]])[fits]
    lists.mask[beat[fits], place[fits]] = True
    lists.inside[:] = True
    return lists, int(np.count_nonzero(~fits))


def empty(num_beats: int, max_notes: int) -> BeatLists:
    """Returns rows outside of any piece, on the host."""
    notes = np.zeros((num_beats, max_notes, 4), np.int16)
    return BeatLists(notes, np.zeros((num_beats, max_notes), bool), np.zeros(num_beats, bool))


def join(lists: BeatLists, steps_per_beat: int) -> np.ndarray:
    """Joins the beats [W, ...] of a piece, the inverse of `split`. Returns [M, 4] int32 notes, ordered by step, part
    and pitch; of notes that share these the longest is kept."""
    beat, place = np.nonzero(np.asarray(lists.mask))
    notes = np.asarray(lists.notes)[beat, place].astype(np.int32)
    notes[:, STEP] += (beat * steps_per_beat).astype(np.int32)
    notes = notes[np.lexsort((-notes[:, DURATION], notes[:, PITCH], notes[:, PART], notes[:, STEP]))]
    is_first = np.ones(len(notes), dtype=bool)
    is_first[1:] = np.any(notes[1:, :DURATION] != notes[:-1, :DURATION], axis=1)
    return notes[is_first]


def crop(lists: BeatLists, length: int, hop: int) -> BeatLists:
    """Cuts crops of `length` beats out of a piece's beats [W, ...], one every `hop` beats and one at the end.

    Crops without a note are left out, but for the first.

    Returns [C, length, ...]; a piece shorter than a crop gives one that is padded.
    """
    num_beats = len(lists.mask)
    padding = empty(max(length - num_beats, 0), lists.mask.shape[1])
    padded = BeatLists(*(np.concatenate(pair) for pair in zip(lists, padding, strict=True)))
    last = len(padded.mask) - length
    starts = np.unique(np.append(np.arange(0, last + 1, hop), last))
    notes = np.append(0, np.cumsum(padded.mask.any(axis=1)))
    starts = starts[(notes[starts + length] > notes[starts]) | (starts == 0)]
    return BeatLists(*(array[starts[:, None] + np.arange(length)] for array in padded))
