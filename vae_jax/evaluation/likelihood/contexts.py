"""A piece as sequences of symbols with their contexts, for the n-gram model.

Four sequences code the target without loss: whether anything starts at each step; at each onset the pitches from high
to low, closed by an end; the set of parts of each note; its duration class. The percussion has the first two of its
own. A context looks only at what is coded before it: earlier steps for onsets, earlier notes and all onsets for
pitches, all onsets and pitches (the next onset too) for parts and durations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vae_jax.evaluation.likelihood.target import NUM_DURATIONS, GridPiece
from vae_jax.music.instruments import NUM_PITCHED_PARTS

RADIX = 256  # Symbols and the columns of contexts are smaller.
_MANY_STEPS = 96  # Times beyond it are alike.
_NEAR_SEMITONES = 7


class Events(NamedTuple):
    """E symbols; order k of a model knows the first k columns of the context."""

    symbols: np.ndarray  # [E] int64.
    contexts: np.ndarray  # [E, K] int64.
    base: np.ndarray  # [E] float64, probability of each symbol where nothing is known.


def onset_events(piece: GridPiece, step: np.ndarray, other: np.ndarray) -> Events:
    """Whether anything starts at each step of a piece, [num_steps] symbols.

    Args:
      piece: gives length and bars.
      step: [N] ascending steps of notes.
      other: [num_steps], what is known beside, 0 or 1.
    """
    every, steps_per_beat = np.arange(piece.num_steps), piece.roll.config.steps_per_beat
    starts = np.zeros(piece.num_steps, np.int64)
    starts[step] = 1
    onsets = np.concatenate([[-2 * _MANY_STEPS, -_MANY_STEPS], np.flatnonzero(starts)])
    count = np.cumsum(starts) - starts
    last, before = onsets[count + 1], onsets[count]
    columns = [
        piece.step_in_bar % steps_per_beat,
        np.minimum(every - last, _MANY_STEPS),
        *(_at(starts, every - bars * _bar_lengths(piece), 2) for bars in (1, 2, 4)),
        np.minimum(last - before, _MANY_STEPS) * 2 + other,
    ]
    return Events(starts, np.stack(columns, axis=1), np.full(piece.num_steps, 0.5))


def chord_events(piece: GridPiece, step: np.ndarray, pitch: np.ndarray) -> Events:
    """The pitches of every onset from high to low, and its end; notes are ordered like this."""
    end = piece.roll.config.num_pitches
    none, (onsets, of_note) = end + 1, np.unique(step, return_inverse=True)
    order = np.argsort(np.concatenate([of_note, np.arange(len(onsets))]), kind="stable")
    onset = np.concatenate([of_note, np.arange(len(onsets))])[order]
    symbols = np.concatenate([pitch, np.full(len(onsets), end)])[order]
    rank = np.arange(len(onset)) - np.searchsorted(onset, onset)
    last, second = (np.where(rank >= n, np.roll(symbols, n), none) for n in (1, 2))
    keys = np.sort(of_note * RADIX + pitch)

    def below(back: int, limit: np.ndarray | int) -> np.ndarray:
        """The highest pitch under a limit of the chord so many onsets before."""
        chord = onset - back
        key = _at(keys, np.searchsorted(keys, chord * RADIX + limit) - 1, -1)
        return np.where(chord < 0, none, np.where((key >= 0) & (key // RADIX == chord), key % RADIX, end))

    bass = _at(keys, np.searchsorted(keys, (onset - 1) * RADIX), 0) % RADIX
    sixteenth = 4 * piece.step_in_bar[onsets[onset]] // piece.roll.config.steps_per_beat % 8
    columns = [last, below(1, last), second, np.where(onset, bass, none), below(2, last), sixteenth]
    allowed = np.where(last == none, end, last + 1.0)  # Any pitch first; then lower ones or the end.
    return Events(symbols, np.stack(columns, axis=1).reshape(-1, 6), 1 / allowed)


def part_events(piece: GridPiece) -> Events:
    """The set of parts of each note."""
    columns = [
        _at(piece.parts, _last_of_pitch(piece), 0),
        _at(piece.parts, _nearest_before(piece), 0),
        _above(piece, piece.parts, 0),
        piece.pitch // 6,
    ]
    num_sets = 2**NUM_PITCHED_PARTS - 1
    return Events(piece.parts, np.stack(columns, axis=1), np.full(len(piece.parts), 1 / num_sets))


def duration_events(piece: GridPiece) -> Events:
    """The duration class of each note, its parts known."""
    following = np.append(np.unique(piece.step), piece.num_steps)
    gap = following[np.searchsorted(following, piece.step, side="right")] - piece.step
    columns = [
        _until_near(piece),
        _above(piece, piece.duration, NUM_DURATIONS),
        piece.parts,
        np.minimum(gap, _MANY_STEPS),
        _at(piece.duration, _nearest_before(piece), NUM_DURATIONS),
    ]
    return Events(piece.duration, np.stack(columns, axis=1), np.full(len(piece.duration), 1 / NUM_DURATIONS))


def _at(values: np.ndarray, index: np.ndarray, missing: int) -> np.ndarray:
    """Reads values [V] at an index, `missing` for one below zero."""
    padded = np.append(values, missing)
    return np.where(index < 0, missing, padded[np.clip(index, 0, len(values))])


def _bar_lengths(piece: GridPiece) -> np.ndarray:
    """The length of the bar of each step, [num_steps]."""
    return np.diff(piece.roll.bars)[piece.bar_of_step]


def _above(piece: GridPiece, values: np.ndarray, missing: int) -> np.ndarray:
    """The value of the next higher note of the chord."""
    return np.where(np.diff(piece.step, prepend=-1) == 0, np.roll(values, 1), missing)


def _last_of_pitch(piece: GridPiece) -> np.ndarray:
    """The note before each of the same pitch; -1 for none."""
    order = np.argsort(piece.pitch, kind="stable")
    repeats = np.diff(piece.pitch[order], prepend=-1) == 0
    result = np.empty(len(order), np.int64)
    result[order] = np.where(repeats, np.roll(order, 1), -1)
    return result


def _nearest_before(piece: GridPiece) -> np.ndarray:
    """The note of the onset before whose pitch is nearest, the higher on a tie; -1 for none."""
    of_note = np.unique(piece.step, return_inverse=True)[1]
    order = np.lexsort((piece.pitch, of_note))
    keys = (of_note * RADIX + piece.pitch)[order]
    wanted = (of_note - 1) * RADIX + piece.pitch
    place = np.searchsorted(keys, wanted)
    above, below = _at(keys, np.where(place < len(keys), place, -1), -RADIX), _at(keys, place - 1, -RADIX)
    distance = np.stack([np.where(key // RADIX == of_note - 1, abs(key - wanted), RADIX) for key in (above, below)])
    found = np.where(distance[0] <= distance[1], place, place - 1)
    return np.where(distance.min(axis=0) < RADIX, _at(order, found, -1), -1)


def _until_near(piece: GridPiece) -> np.ndarray:
    """Steps until a note within a fifth starts."""
    width = piece.num_steps + 1
    keys = np.sort(piece.pitch * width + piece.step)
    nearest = np.full(len(keys), _MANY_STEPS)
    for semitones in range(-_NEAR_SEMITONES, _NEAR_SEMITONES + 1):
        row = (piece.pitch + semitones) * width
        place = np.searchsorted(keys, row + piece.step, side="right")
        step = _at(keys, np.where(place < len(keys), place, -1), -1) - row
        nearest = np.where((step > piece.step) & (step < width), np.minimum(nearest, step - piece.step), nearest)
    return nearest
