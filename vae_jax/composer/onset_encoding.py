"""Onset lists: a window as the list of its onsets, each a step and what starts there. What the composer writes.

"steps" uint8 [W, K] is the step of each onset, ascending, T where there is none; "pitches" uint8 [W, K, M] the pitched
cells that start there from high to low, P where there is none; "durations" uint8 [W, K, M] the class of how long each
lasts, see `DURATION_STEPS`; "parts" uint8 [W, K, M] the pitched parts that play each, a bit a part; "drums" uint16
[W, K] the drums, a bit for each of the D pitches of the kit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from vae_jax.music import instruments as parts_lib
from vae_jax.representations.pianoroll.decoding import UNKNOWN_DURATION
from vae_jax.representations.pianoroll.encoding import DURATION, PART, PITCH, STEP

NUM_PITCHED_PARTS = parts_lib.NUM_PARTS - 1
MAX_DRUMS = 16  # Bits of "drums".
# Steps that a note of each class lasts, at twelve to the beat: up to a beat every step, then ever coarser.
DURATION_STEPS = np.array(
    [*range(1, 13), 14, 16, 18, 20, 22, 24, 28, 32, 36, 40, 44, 48, 60, 72, 96, 144], dtype=np.int32
)
_LOWEST_KEPT = 2  # Of a chord with too many notes the lowest stay, and the highest; the middle is dropped.


@dataclasses.dataclass(frozen=True)
class OnsetShape:
    """The shape of onset lists.

    Attributes:
      window_steps: T.
      num_pitches: P.
      max_onsets: K; later onsets of a window are left out.
      max_pitches: M, at least 3.
      num_drums: D, at most 16.
    """

    window_steps: int
    num_pitches: int
    max_onsets: int = 32
    max_pitches: int = 8
    num_drums: int = 12


def choose_kit(notes: np.ndarray, mask: np.ndarray, shape: OnsetShape) -> np.ndarray:
    """Returns the D drum pitches played most often in windows of notes [W, N, 4] with their mask, [D] int32."""
    drums = notes[mask & (notes[..., PART] == parts_lib.DRUMS) & (notes[..., STEP] >= 0)][:, PITCH]
    counts = np.bincount(drums, minlength=shape.num_pitches)
    return np.argsort(-counts, kind="stable")[: shape.num_drums].astype(np.int32)


def from_windows(notes: np.ndarray, mask: np.ndarray, kit: np.ndarray, shape: OnsetShape) -> dict[str, np.ndarray]:
    """Makes onset lists of windows of notes.

    Args:
      notes: [W, N, 4] step, part, pitch index and duration; notes with a step below zero sound on from before.
      mask: [W, N] bool.
      kit: [D] the drum pitches that have a bit; other drums are left out.
      shape: the shape.
    """
    num_windows, length = len(notes), shape.window_steps
    # Drums without a bit make no onset: it would be empty.
    written = (notes[..., PART] != parts_lib.DRUMS) | np.isin(notes[..., PITCH], kit)
    window, row = np.nonzero(mask & (notes[..., STEP] >= 0) & written)
    step, part, pitch, duration = (
        notes[window, row, column].astype(np.int64) for column in (STEP, PART, PITCH, DURATION)
    )
    is_drum = part == parts_lib.DRUMS

    places, place = np.unique(window * length + step, return_inverse=True)
    place_window = places // length
    first = np.searchsorted(place_window, np.arange(num_windows))
    onset = np.arange(len(places)) - first[place_window]  # Which onset of its window each place is.
    kept = onset < shape.max_onsets
    steps = np.full((num_windows, shape.max_onsets), length, dtype=np.uint8)
    steps[place_window[kept], onset[kept]] = places[kept] % length

    drums = np.zeros((num_windows, shape.max_onsets), dtype=np.uint16)
    bit = np.zeros(shape.num_pitches, dtype=np.int64)
    bit[kit] = np.arange(len(kit))
    struck = is_drum & kept[place]
    np.bitwise_or.at(drums, (window[struck], onset[place[struck]]), (1 << bit[pitch[struck]]).astype(np.uint16))

    pitches = np.full((num_windows, shape.max_onsets, shape.max_pitches), shape.num_pitches, dtype=np.uint8)
    bits, durations = np.zeros(pitches.shape, dtype=np.uint8), np.zeros(pitches.shape, dtype=np.uint8)
    played = ~is_drum & kept[place]
    cells, cell = np.unique(place[played] * shape.num_pitches + pitch[played], return_inverse=True)
    cell_bits = np.zeros(len(cells), dtype=np.uint8)
    np.bitwise_or.at(cell_bits, cell, (1 << part[played]).astype(np.uint8))
    longest = np.ones(len(cells), dtype=np.int64)
    np.maximum.at(longest, cell, duration[played])
    cell_place, cell_pitch = np.divmod(cells, shape.num_pitches)
    slot = _slots(cell_place, shape.max_pitches)
    fits = slot >= 0
    index = (place_window[cell_place[fits]], onset[cell_place[fits]], slot[fits])
    pitches[index], bits[index] = cell_pitch[fits], cell_bits[fits]
    durations[index] = duration_class(longest[fits])
    return {"steps": steps, "pitches": pitches, "durations": durations, "parts": bits, "drums": drums}


def duration_class(steps: np.ndarray) -> np.ndarray:
    """Returns the class whose length is nearest in proportion, uint8; `steps` at least 1."""
    middles = np.sqrt(DURATION_STEPS[1:] * DURATION_STEPS[:-1])
    return np.searchsorted(middles, steps).astype(np.uint8)


def to_notes(arrays: Mapping[str, np.ndarray], kit: np.ndarray, shape: OnsetShape) -> list[np.ndarray]:
    """Makes notes of onset lists: for each window [N, 4] int32 step, part, pitch index and duration.

    How long drums sound is not written: their duration is `UNKNOWN_DURATION`.
    """
    windows = []
    for w in range(len(arrays["steps"])):
        steps = arrays["steps"][w].astype(np.int64)
        part_bits = (arrays["parts"][w][..., None] >> np.arange(NUM_PITCHED_PARTS)) & 1
        sounding = (arrays["pitches"][w] < shape.num_pitches) & (steps < shape.window_steps)[:, None]
        onset, slot, part = np.nonzero(part_bits * sounding[..., None])
        drum_bits = (arrays["drums"][w][:, None] >> np.arange(len(kit))) & 1
        struck, drum = np.nonzero(drum_bits * (steps < shape.window_steps)[:, None])
        notes = np.empty((len(onset) + len(struck), 4), dtype=np.int32)
        notes[:, STEP] = np.concatenate([steps[onset], steps[struck]])
        notes[:, PART] = np.concatenate([part, np.full(len(struck), parts_lib.DRUMS)])
        notes[:, PITCH] = np.concatenate([arrays["pitches"][w][onset, slot], kit[drum]])
        sounds_for = DURATION_STEPS[arrays["durations"][w][onset, slot]]
        notes[:, DURATION] = np.concatenate([sounds_for, np.full(len(struck), UNKNOWN_DURATION)])
        windows.append(notes[np.lexsort((notes[:, PITCH], notes[:, PART], notes[:, STEP]))])
    return windows


def _slots(place: np.ndarray, max_pitches: int) -> np.ndarray:
    """Slot of each cell among those of its place, from high to low, -1 for those dropped; cells ascend in pitch."""
    counts = np.bincount(place) if len(place) else np.zeros(0, dtype=np.int64)
    ends = np.cumsum(counts)
    from_top = ends[place] - 1 - np.arange(len(place))
    from_bottom = counts[place] - 1 - from_top
    crowded = counts[place] > max_pitches
    highest = max_pitches - _LOWEST_KEPT
    low = np.where(from_bottom < _LOWEST_KEPT, max_pitches - 1 - from_bottom, -1)
    return np.where(crowded, np.where(from_top < highest, from_top, low), from_top)
