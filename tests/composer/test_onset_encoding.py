"""Onset lists by hand, against a slow loop, and back to the notes they were made of."""

from __future__ import annotations

import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from vae_jax.composer import onset_encoding
from vae_jax.composer.onset_encoding import OnsetLists, OnsetShape
from vae_jax.composer.windows import UNKNOWN_DURATION, NoteLists
from vae_jax.music import instruments
from vae_jax.representations.pianoroll.config import DURATION, RollConfig
from vae_jax.representations.pianoroll.context import default_context
from vae_jax.representations.pianoroll.encoding import RollPiece, RollReport

SHAPE = OnsetShape(window_steps=12, num_pitches=20, max_onsets=4, max_pitches=5, num_drums=3)
LARGE = OnsetShape(window_steps=12, num_pitches=20, max_onsets=12, max_pitches=20, num_drums=3)
DRUM_PITCHES = np.array([14, 2, 7], dtype=np.int32)

Note = tuple[int, ...]  # Step, part, pitch index, and a duration where it matters.


def windows(*rolls: list[Note]) -> NoteLists:
    """Windows of notes, of six steps where nothing is said, padded with what must not be read."""
    width = max(map(len, rolls), default=0) + 1
    notes, mask = np.full((len(rolls), width, 4), 3, np.int16), np.zeros((len(rolls), width), bool)
    for w, roll in enumerate(rolls):
        for n, note in enumerate(roll):
            notes[w, n], mask[w, n] = (*note, 6)[:4], True
    return NoteLists(notes, mask)


def encode(*rolls: list[Note], shape: OnsetShape = SHAPE) -> OnsetLists[np.ndarray]:
    return onset_encoding.from_windows(windows(*rolls), DRUM_PITCHES, shape)


def nearest_length(steps: int) -> int:
    """The length of a class that a length is nearest to in proportion."""
    return min(onset_encoding.DURATION_STEPS.tolist(), key=lambda length: abs(math.log(length / steps)))


def encode_slowly(roll: list[Note], shape: OnsetShape) -> list:
    """The onsets of a window: step, pitches from high to low with lengths and parts, drums."""
    drum_pitches = DRUM_PITCHES.tolist()
    encoded = [(*note, 6)[:4] for note in roll if note[1] != instruments.DRUMS or note[2] in drum_pitches]
    found = []
    for step in sorted({note[0] for note in encoded})[: shape.max_onsets]:
        here = [note[1:] for note in encoded if note[0] == step]
        pitched = [note for note in here if note[0] != instruments.DRUMS]
        pitches = sorted({pitch for _, pitch, _ in pitched}, reverse=True)
        if len(pitches) > shape.max_pitches:
            pitches = pitches[: shape.max_pitches - 2] + pitches[-2:]
        chord = []
        for pitch in pitches:
            longest = max(length for _, p, length in pitched if p == pitch)
            chord.append((pitch, nearest_length(longest), {part for part, p, _ in pitched if p == pitch}))
        found.append((step, chord, {drum_pitches.index(p) for part, p, _ in here if part == instruments.DRUMS}))
    return found


def spell(lists: OnsetLists[np.ndarray], w: int, shape: OnsetShape) -> list:
    """The same of an onset list."""

    def members(bits: int) -> set[int]:
        return {n for n in range(16) if bits >> n & 1}

    found = []
    for k, step in enumerate(lists.steps[w].tolist()):
        rows = (values[w, k].tolist() for values in (lists.pitches, lists.durations, lists.parts))
        slots = list(zip(*rows, strict=True))
        chord = [
            (pitch, int(onset_encoding.DURATION_STEPS[length]), members(bits))
            for pitch, length, bits in slots
            if pitch < shape.num_pitches
        ]
        assert slots[len(chord) :] == [(shape.num_pitches, 0, 0)] * (shape.max_pitches - len(chord))
        if step < shape.window_steps:
            found.append((step, chord, members(int(lists.drums[w, k]))))
        else:
            assert (chord, lists.drums[w, k]) == ([], 0)
    return found


def test_a_window_by_hand():
    roll = [
        (3, instruments.KEYS, 9),
        (3, instruments.WINDS, 9),
        (3, instruments.BASS, 1),
        (3, instruments.DRUMS, 7),
        (0, instruments.DRUMS, 14),
    ]
    lists = encode(roll, [])
    assert [values.dtype for values in lists] == [np.uint8] * 4 + [np.uint16]
    assert [values.shape for values in lists] == [(2, 4), (2, 4, 5), (2, 4, 5), (2, 4, 5), (2, 4)]
    np.testing.assert_array_equal(lists.steps, [[0, 3, 12, 12], [12] * 4])
    np.testing.assert_array_equal(lists.pitches[0, :2], [[20] * 5, [9, 1, 20, 20, 20]])
    parts = [2**instruments.KEYS + 2**instruments.WINDS, 2**instruments.BASS, 0, 0, 0]
    np.testing.assert_array_equal(lists.parts[0, 1], parts)
    np.testing.assert_array_equal(lists.drums[0], [0b001, 0b100, 0, 0])
    assert np.all(lists.pitches[1] == 20) and not lists.parts[1].any() and not lists.drums[1].any()


def test_a_crowded_chord_keeps_its_highest_and_its_two_lowest():
    crowded = encode([(0, instruments.KEYS, pitch) for pitch in (2, 3, 5, 8, 11, 13, 17)])
    assert crowded.pitches[0, 0].tolist() == [17, 13, 11, 3, 2]
    full = encode([(0, instruments.KEYS, pitch) for pitch in (2, 3, 5, 8, 11)])
    assert full.pitches[0, 0].tolist() == [11, 8, 5, 3, 2]


def test_surplus_onsets_are_left_out_whole():
    roll = [(step, part, 5) for step in (1, 2, 4, 7, 8, 11) for part in (instruments.KEYS, instruments.BASS)]
    lists = encode([*roll, (8, instruments.DRUMS, 7)])
    assert lists.steps[0].tolist() == [1, 2, 4, 7]
    assert not lists.drums.any()


def test_other_drums_make_no_onset():
    assert spell(encode([(2, instruments.DRUMS, 5), (2, instruments.KEYS, 5)]), 0, SHAPE) == [
        (2, [(5, 6, {instruments.KEYS})], set())
    ]
    alone = [(step, instruments.DRUMS, 5) for step in range(4)]
    assert spell(encode([*alone, (9, instruments.KEYS, 5)]), 0, SHAPE) == [(9, [(5, 6, {instruments.KEYS})], set())]


def test_the_most_frequent_drum_pitches_are_chosen():
    counts = {4: 3, 9: 5, 1: 2, 0: 1}
    roll = [(step, instruments.DRUMS, pitch, 1) for pitch, count in counts.items() for step in range(count)]
    pitched = [(step, instruments.KEYS, 6, 1) for step in range(12)]
    pieces = [
        RollPiece(np.array(notes, np.int32), 12, default_context(12, 12), RollReport(), RollConfig())
        for notes in (roll, pitched)
    ]
    assert onset_encoding.choose_drum_pitches(pieces, SHAPE).tolist() == [9, 4, 1]


notes_of_a_window = st.lists(
    st.tuples(st.integers(0, 11), st.integers(0, instruments.NUM_PARTS - 1), st.integers(0, 19), st.integers(1, 300)),
    max_size=60,
    unique_by=lambda note: note[:3],
)


@hypothesis.given(st.lists(notes_of_a_window, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_against_a_slow_loop(rolls, shuffler):
    for roll in rolls:
        shuffler.shuffle(roll)
    for shape in (SHAPE, LARGE):
        lists = encode(*rolls, shape=shape)
        for w, roll in enumerate(rolls):
            assert spell(lists, w, shape) == encode_slowly(roll, shape)


@hypothesis.given(st.lists(notes_of_a_window, max_size=4))
def test_notes_come_back_from_large_lists(rolls):
    """With a place for every step and every pitch nothing is lost but other drums."""
    notes = onset_encoding.to_notes(encode(*rolls, shape=LARGE), DRUM_PITCHES, LARGE)
    assert len(notes) == len(rolls)
    for made, roll in zip(notes, rolls, strict=True):
        kept = [note for note in roll if note[1] != instruments.DRUMS or note[2] in DRUM_PITCHES]
        assert made.dtype == np.int32
        assert [tuple(row) for row in made[:, :3].tolist()] == sorted(note[:3] for note in kept)
        for step, part, pitch, length in made.tolist():
            if part == instruments.DRUMS:
                assert length == UNKNOWN_DURATION
            else:  # Parts in unison last as long as the longest of them.
                unison = [d for s, p, other, d in kept if (s, other) == (step, pitch) and p != instruments.DRUMS]
                assert length == nearest_length(max(unison))


def test_lengths_up_to_a_beat_and_of_common_notes_are_kept():
    common = [*range(1, 13), 18, 24, 36, 48, 72, 96]
    given = [*common, 13, 19, 50, 10_000]
    lists = encode(*([(0, instruments.KEYS, 5, length)] for length in given))
    assert onset_encoding.DURATION_STEPS[lists.durations[:, 0, 0]].tolist() == [*common, 14, 20, 48, 144]


def test_sampled_lists_of_another_length_can_be_read():
    """They may hold more onsets than training windows, in int32."""
    empty = OnsetLists.empty(1, OnsetShape(12, 20, max_onsets=6, max_pitches=5, num_drums=3))
    lists = OnsetLists(*(values.astype(np.int32) for values in empty))
    lists.steps[0, :2] = 0, 2
    lists.drums[0, [1, 5]] = 0b110, 0b1  # The last lies beyond the end.
    lists.pitches[0, 0, 0], lists.parts[0, 0, 0], lists.durations[0, 0, 0] = 19, 2**instruments.WINDS, 11
    (notes,) = onset_encoding.to_notes(lists, DRUM_PITCHES, SHAPE)
    assert notes[:, DURATION].tolist() == [12, UNKNOWN_DURATION, UNKNOWN_DURATION]
    assert notes[:, :3].tolist() == [[0, instruments.WINDS, 19], [2, instruments.DRUMS, 2], [2, instruments.DRUMS, 7]]


@pytest.mark.parametrize("rolls", [[], [[]], [[], []]])
def test_windows_without_notes(rolls):
    lists = encode(*rolls)
    assert np.all(lists.steps == 12) and lists.steps.shape == (len(rolls), 4)
    assert [len(window) for window in onset_encoding.to_notes(lists, DRUM_PITCHES, SHAPE)] == [0] * len(rolls)
