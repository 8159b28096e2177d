"""Onset lists by hand, against a slow loop, and back to the notes they were made of."""

from __future__ import annotations

import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from vae_jax.composer import onset_encoding
from vae_jax.composer.onset_encoding import OnsetShape
from vae_jax.music import instruments
from vae_jax.representations.pianoroll.encoding import DURATION
from vae_jax.representations.pianoroll.representation import UNKNOWN_DURATION

SHAPE = OnsetShape(window_steps=12, num_pitches=20, max_onsets=4, max_pitches=5, num_drums=3)
ROOMY = OnsetShape(window_steps=12, num_pitches=20, max_onsets=12, max_pitches=20, num_drums=3)
KIT = np.array([14, 2, 7], dtype=np.int32)

Note = tuple[int, ...]  # Step, part, pitch index, and a duration where it matters.


def windows(*rolls: list[Note]) -> tuple[np.ndarray, np.ndarray]:
    """Windows of notes, of six steps where nothing is said, padded with what must not be read."""
    room = max(map(len, rolls), default=0) + 1
    notes, mask = np.full((len(rolls), room, 4), 3, np.int16), np.zeros((len(rolls), room), bool)
    for w, roll in enumerate(rolls):
        for n, note in enumerate(roll):
            notes[w, n], mask[w, n] = (*note, 6)[:4], True
    return notes, mask


def listed(*rolls: list[Note], shape: OnsetShape = SHAPE) -> dict[str, np.ndarray]:
    return onset_encoding.from_windows(*windows(*rolls), KIT, shape)


def nearest_length(steps: int) -> int:
    """The length of a class that a length is nearest to in proportion."""
    return min(onset_encoding.DURATION_STEPS.tolist(), key=lambda length: abs(math.log(length / steps)))


def read_slowly(roll: list[Note], shape: OnsetShape) -> list:
    """The onsets of a window: step, pitches from high to low with lengths and parts, drums of the kit."""
    kit = KIT.tolist()
    heard = [(*note, 6)[:4] for note in roll if note[1] != instruments.DRUMS or note[2] in kit]
    found = []
    for step in sorted({note[0] for note in heard if note[0] >= 0})[: shape.max_onsets]:
        here = [note[1:] for note in heard if note[0] == step]
        pitched = [note for note in here if note[0] != instruments.DRUMS]
        pitches = sorted({pitch for _, pitch, _ in pitched}, reverse=True)
        if len(pitches) > shape.max_pitches:
            pitches = pitches[: shape.max_pitches - 2] + pitches[-2:]
        chord = []
        for pitch in pitches:
            longest = max(length for _, p, length in pitched if p == pitch)
            chord.append((pitch, nearest_length(longest), {part for part, p, _ in pitched if p == pitch}))
        found.append((step, chord, {kit.index(p) for part, p, _ in here if part == instruments.DRUMS}))
    return found


def spelled(arrays: dict[str, np.ndarray], w: int, shape: OnsetShape) -> list:
    """The same of an onset list."""

    def members(bits: int) -> set[int]:
        return {n for n in range(16) if bits >> n & 1}

    found = []
    for k, step in enumerate(arrays["steps"][w].tolist()):
        slots = list(zip(*(arrays[name][w, k].tolist() for name in ("pitches", "durations", "parts")), strict=True))
        chord = [
            (pitch, int(onset_encoding.DURATION_STEPS[length]), members(bits))
            for pitch, length, bits in slots
            if pitch < shape.num_pitches
        ]
        assert slots[len(chord) :] == [(shape.num_pitches, 0, 0)] * (shape.max_pitches - len(chord))
        if step < shape.window_steps:
            found.append((step, chord, members(int(arrays["drums"][w, k]))))
        else:
            assert (chord, arrays["drums"][w, k]) == ([], 0)
    return found


def test_a_window_by_hand():
    roll = [
        (3, instruments.KEYS, 9),
        (3, instruments.WINDS, 9),
        (3, instruments.BASS, 1),
        (3, instruments.DRUMS, 7),
        (0, instruments.DRUMS, 14),
    ]
    arrays = listed(roll, [])
    assert {name: (rows.dtype, rows.shape) for name, rows in arrays.items()} == {
        "steps": (np.uint8, (2, 4)),
        "pitches": (np.uint8, (2, 4, 5)),
        "durations": (np.uint8, (2, 4, 5)),
        "parts": (np.uint8, (2, 4, 5)),
        "drums": (np.uint16, (2, 4)),
    }
    np.testing.assert_array_equal(arrays["steps"], [[0, 3, 12, 12], [12] * 4])
    np.testing.assert_array_equal(arrays["pitches"][0, :2], [[20] * 5, [9, 1, 20, 20, 20]])
    np.testing.assert_array_equal(
        arrays["parts"][0, 1], [2**instruments.KEYS + 2**instruments.WINDS, 2**instruments.BASS, 0, 0, 0]
    )
    np.testing.assert_array_equal(arrays["drums"][0], [0b001, 0b100, 0, 0])
    assert np.all(arrays["pitches"][1] == 20) and not arrays["parts"][1].any() and not arrays["drums"][1].any()


def test_a_crowded_chord_keeps_its_highest_and_its_two_lowest():
    crowded = listed([(0, instruments.KEYS, pitch) for pitch in (2, 3, 5, 8, 11, 13, 17)])
    assert crowded["pitches"][0, 0].tolist() == [17, 13, 11, 3, 2]
    full = listed([(0, instruments.KEYS, pitch) for pitch in (2, 3, 5, 8, 11)])
    assert full["pitches"][0, 0].tolist() == [11, 8, 5, 3, 2]


def test_onsets_beyond_the_room_are_left_out_whole():
    roll = [(step, part, 5) for step in (1, 2, 4, 7, 8, 11) for part in (instruments.KEYS, instruments.BASS)]
    arrays = listed([*roll, (8, instruments.DRUMS, 7)])
    assert arrays["steps"][0].tolist() == [1, 2, 4, 7]
    assert not arrays["drums"].any()


def test_drums_outside_the_kit_leave_nothing_behind():
    assert spelled(listed([(2, instruments.DRUMS, 5), (2, instruments.KEYS, 5)]), 0, SHAPE) == [
        (2, [(5, 6, {instruments.KEYS})], set())
    ]
    alone = [(step, instruments.DRUMS, 5) for step in range(4)]
    assert spelled(listed([*alone, (9, instruments.KEYS, 5)]), 0, SHAPE) == [(9, [(5, 6, {instruments.KEYS})], set())]


def test_notes_that_sound_on_are_not_written_again():
    assert listed([(-2, instruments.KEYS, 5), (-1, instruments.DRUMS, 7)])["steps"].tolist() == [[12] * 4]


def test_the_kit_is_what_is_struck_most_often():
    roll = [
        (step, instruments.DRUMS, pitch) for pitch, count in ((4, 3), (9, 5), (1, 2), (0, 1)) for step in range(count)
    ]
    pitched = [(step, instruments.KEYS, 6) for step in range(12)]
    notes, mask = windows(roll, pitched, [(-1, instruments.DRUMS, 0)] * 9)
    assert onset_encoding.choose_kit(notes, mask, SHAPE).tolist() == [9, 4, 1]


notes_of_a_window = st.lists(
    st.tuples(st.integers(-2, 11), st.integers(0, instruments.NUM_PARTS - 1), st.integers(0, 19), st.integers(1, 300)),
    max_size=60,
    unique_by=lambda note: note[:3],
)


@hypothesis.given(st.lists(notes_of_a_window, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_against_a_slow_loop(rolls, shuffler):
    for roll in rolls:
        shuffler.shuffle(roll)
    for shape in (SHAPE, ROOMY):
        arrays = listed(*rolls, shape=shape)
        for w, roll in enumerate(rolls):
            assert spelled(arrays, w, shape) == read_slowly(roll, shape)


@hypothesis.given(st.lists(notes_of_a_window, max_size=4))
def test_notes_come_back_from_a_roomy_list(rolls):
    """With a place for every step and every pitch nothing is lost but what is not in the kit or sounds on."""
    notes = onset_encoding.to_notes(listed(*rolls, shape=ROOMY), KIT, ROOMY)
    assert len(notes) == len(rolls)
    for made, roll in zip(notes, rolls, strict=True):
        kept = [note for note in roll if note[0] >= 0 and (note[1] != instruments.DRUMS or note[2] in KIT)]
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
    assert onset_encoding.DURATION_STEPS[onset_encoding.duration_class(np.array(common))].tolist() == common
    assert onset_encoding.DURATION_STEPS[onset_encoding.duration_class(np.array([13, 19, 50, 10_000]))].tolist() == [
        14,
        20,
        48,
        144,
    ]


def test_a_list_of_another_length_can_be_read():
    """What the composer writes may hold more onsets than its training windows, in int32."""
    arrays = {
        "steps": np.array([[0, 2, 12, 12, 12, 12]], np.int32),
        "pitches": np.full((1, 6, 5), 20, np.int32),
        "durations": np.zeros((1, 6, 5), np.int32),
        "parts": np.zeros((1, 6, 5), np.int32),
        "drums": np.array([[0, 0b110, 0, 0, 0, 0b1]], np.int32),  # The last lies beyond the end.
    }
    arrays["pitches"][0, 0, 0], arrays["parts"][0, 0, 0], arrays["durations"][0, 0, 0] = 19, 2**instruments.WINDS, 11
    (notes,) = onset_encoding.to_notes(arrays, KIT, SHAPE)
    assert notes[:, DURATION].tolist() == [12, UNKNOWN_DURATION, UNKNOWN_DURATION]
    assert notes[:, :3].tolist() == [[0, instruments.WINDS, 19], [2, instruments.DRUMS, 2], [2, instruments.DRUMS, 7]]


@pytest.mark.parametrize("rolls", [[], [[]], [[], []]])
def test_windows_without_notes(rolls):
    notes, mask = np.zeros((len(rolls), 2, 4), np.int16), np.zeros((len(rolls), 2), bool)
    arrays = onset_encoding.from_windows(notes, mask, KIT, SHAPE)
    assert np.all(arrays["steps"] == 12) and arrays["steps"].shape == (len(rolls), 4)
    assert [len(window) for window in onset_encoding.to_notes(arrays, KIT, SHAPE)] == [0] * len(rolls)
