"""Onset lists, the composer's output: a window as a list of steps, each with the notes that start there."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

import jax
import numpy as np

from vae_jax.composer.windows import UNKNOWN_DURATION, NoteLists
from vae_jax.music.instruments import DRUMS, NUM_PARTS
from vae_jax.representations.pianoroll.config import PART, PITCH, STEP
from vae_jax.representations.pianoroll.encoding import RollPiece

A = TypeVar("A", np.ndarray, jax.Array)

NUM_PITCHED_PARTS = NUM_PARTS - 1
# Length of each duration class in steps, twelve to the beat: every length up to a beat, then ever coarser.
DURATION_STEPS = np.array(
    [*range(1, 13), 14, 16, 18, 20, 22, 24, 28, 32, 36, 40, 44, 48, 60, 72, 96, 144], dtype=np.int32
)
_LOWEST_KEPT = 2  # A chord with too many notes keeps its two lowest and its highest.


@dataclasses.dataclass(frozen=True)
class OnsetShape:
    """The shape of onset lists."""

    window_steps: int  # T.
    num_pitches: int  # P.
    max_onsets: int = 32  # K; later onsets of a window are left out.
    max_pitches: int = 8  # M, at least 3.
    num_drums: int = 12  # D, at most 16.


class OnsetLists(NamedTuple, Generic[A]):
    """W windows as lists of K onsets, uint8 but for the drums; int32 where the composer samples them."""

    steps: A  # [W, K], ascending; T where there is no onset.
    pitches: A  # [W, K, M], pitch indices of the pitched notes, from high to low; P where there is no note.
    durations: A  # [W, K, M], index into `DURATION_STEPS`.
    parts: A  # [W, K, M], the pitched parts that play the note, one bit each.
    drums: A  # uint16 [W, K], the drum pitches that are struck, one bit each.

    @staticmethod
    def empty(num_windows: int, shape: OnsetShape) -> OnsetLists[np.ndarray]:
        """Returns windows without onsets."""
        onsets, notes = (num_windows, shape.max_onsets), (num_windows, shape.max_onsets, shape.max_pitches)
        return OnsetLists(
            steps=np.full(onsets, shape.window_steps, np.uint8),
            pitches=np.full(notes, shape.num_pitches, np.uint8),
            durations=np.zeros(notes, np.uint8),
            parts=np.zeros(notes, np.uint8),
            drums=np.zeros(onsets, np.uint16),
        )


def choose_drum_pitches(pieces: Sequence[RollPiece], shape: OnsetShape) -> np.ndarray:
    """Returns the D most frequent drum pitches of pieces, [D] int32."""
    notes = np.concatenate([piece.notes for piece in pieces])
    counts = np.bincount(notes[notes[:, PART] == DRUMS, PITCH], minlength=shape.num_pitches)
    return np.argsort(-counts, kind="stable")[: shape.num_drums].astype(np.int32)


def from_windows(windows: NoteLists, drum_pitches: np.ndarray, shape: OnsetShape) -> OnsetLists[np.ndarray]:
    """Makes onset lists of windows; drums that are not among `drum_pitches` [D] are left out."""
    notes, num_pitches = np.asarray(windows.notes), shape.num_pitches
    lists = OnsetLists.empty(len(notes), shape)
    is_encoded = (notes[..., PART] != DRUMS) | np.isin(notes[..., PITCH], drum_pitches)
    window, row = np.nonzero(np.asarray(windows.mask) & is_encoded)
    step, part, pitch, duration = notes[window, row].astype(np.int64).T

    # Onsets are numbered through all windows; `window` and `slot` say where each goes.
    onsets, onset = np.unique(window * shape.window_steps + step, return_inverse=True)
    window = onsets // shape.window_steps
    slot = _rank_in_group(window)
    kept = slot < shape.max_onsets
    lists.steps[window[kept], slot[kept]] = onsets[kept] % shape.window_steps

    drum = (part == DRUMS) & kept[onset]
    bit = np.argsort(drum_pitches)[np.searchsorted(np.sort(drum_pitches), pitch[drum])]
    np.bitwise_or.at(lists.drums, (window[onset[drum]], slot[onset[drum]]), (1 << bit).astype(np.uint16))

    # Notes in unison are one, which lasts as long as the longest of them.
    pitched = (part != DRUMS) & kept[onset]
    keys = onset[pitched] * num_pitches + num_pitches - 1 - pitch[pitched]
    chords, note = np.unique(keys, return_inverse=True)
    parts, longest = np.zeros(len(chords), np.uint8), np.ones(len(chords), np.int64)
    np.bitwise_or.at(parts, note, (1 << part[pitched]).astype(np.uint8))
    np.maximum.at(longest, note, duration[pitched])
    onset, pitch = chords // num_pitches, num_pitches - 1 - chords % num_pitches
    rank, highest = _rank_in_group(onset), shape.max_pitches - _LOWEST_KEPT
    surplus = np.maximum(np.bincount(onset)[onset] - shape.max_pitches, 0)
    kept = (rank < highest) | (rank >= highest + surplus)
    rank = np.where(rank < highest, rank, rank - surplus)
    index = window[onset][kept], slot[onset][kept], rank[kept]
    lists.pitches[index], lists.parts[index] = pitch[kept], parts[kept]
    lists.durations[index] = duration_classes(longest[kept])
    return lists


def duration_classes(steps: np.ndarray) -> np.ndarray:
    """Returns the duration class whose length is nearest in proportion, int64, for lengths in steps."""
    return np.searchsorted(np.sqrt(DURATION_STEPS[1:] * DURATION_STEPS[:-1]), steps)


def to_notes(lists: OnsetLists[np.ndarray], drum_pitches: np.ndarray, shape: OnsetShape) -> list[np.ndarray]:
    """Makes notes of onset lists: for each window [N, 4] int32 step, part, pitch index and duration.

    Drums have no duration class: theirs is `UNKNOWN_DURATION`.
    """
    is_onset = (lists.steps < shape.window_steps)[..., None]
    is_note = is_onset & (lists.pitches < shape.num_pitches)
    part_bits = unpack_bits(lists.parts, NUM_PITCHED_PARTS) * is_note[..., None]
    drum_bits = unpack_bits(lists.drums, len(drum_pitches)) * is_onset
    windows = []
    for steps, pitches, durations, parts, drums in zip(*lists[:3], part_bits, drum_bits, strict=True):
        onset, slot, part = np.nonzero(parts)
        struck, drum = np.nonzero(drums)
        pitched = [steps[onset], part, pitches[onset, slot], DURATION_STEPS[durations[onset, slot]]]
        unpitched = [steps[struck], np.full_like(drum, DRUMS), drum_pitches[drum], np.full_like(drum, UNKNOWN_DURATION)]
        notes = np.concatenate([np.stack(pitched, axis=1), np.stack(unpitched, axis=1)]).astype(np.int32)
        windows.append(sort_notes(notes))
    return windows


def sort_notes(notes: np.ndarray) -> np.ndarray:
    """Orders notes [N, 4] by step, part and pitch."""
    return notes[np.lexsort((notes[:, PITCH], notes[:, PART], notes[:, STEP]))]


def unpack_bits(packed: A, count: int) -> A:
    """Returns the lowest bits of integers [...], int32 [..., count]."""
    return (packed.astype(np.int32)[..., None] >> np.arange(count, dtype=np.int32)) & 1


def _rank_in_group(groups: np.ndarray) -> np.ndarray:
    """Returns the position of each element within its run of equal values, for ascending values [N]."""
    return np.arange(len(groups)) - np.searchsorted(groups, groups)
