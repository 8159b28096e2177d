"""Beats: what is split is joined again, notes that exceed a list are counted, and crops are stretches of a piece."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_jax.music import instruments
from vae_jax.music.score import Meter, make_notes, make_score
from vae_jax.representations import arrays
from vae_jax.representations.pianoroll import beats, encoding
from vae_jax.representations.pianoroll.beats import BeatLists
from vae_jax.representations.pianoroll.config import RollConfig

CONFIG = RollConfig(normalize_tonic=False)
S, N = CONFIG.steps_per_beat, 8


def notes_of(*rows: tuple[int, int, int], meters: tuple[Meter, ...] = ()) -> np.ndarray:
    """Roll notes of (step, duration in steps, pitch index) rows for a trumpet."""
    step, duration, pitch = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    notes = make_notes(step * 40, duration * 40, 24 + pitch, program=56)
    return encoding.encode(make_score(480, notes, meters=meters), CONFIG).notes


def held(lists: BeatLists) -> list[list[list[int]]]:
    """The notes of every beat."""
    return [notes[mask].tolist() for notes, mask in zip(np.asarray(lists.notes), np.asarray(lists.mask), strict=True)]


def test_a_beat_holds_the_notes_that_start_in_it_with_their_whole_durations():
    lists, num_overflow = beats.split(notes_of((0, 12, 5), (11, 60, 7), (12, 3, 9), (40, 100, 1)), 4, S, N)
    part = instruments.WINDS
    assert held(lists) == [[[0, part, 5, 12], [11, part, 7, 60]], [[0, part, 9, 3]], [], [[4, part, 1, 100]]]
    assert num_overflow == 0
    assert lists.notes.dtype == np.int16 and lists.notes.shape == (4, N, 4)
    assert lists.inside.tolist() == [True] * 4
    assert not lists.notes[~lists.mask].any()


@pytest.mark.parametrize("meters", [(), (Meter(0, 1, 4), Meter(480, 4, 4)), (Meter(0, 5, 8),), (Meter(0, 7, 16),)])
def test_pick_ups_and_meters_make_no_difference(meters):
    rows = (0, 12, 5), (12, 3, 9), (31, 5, 4)
    assert held(beats.split(notes_of(*rows, meters=meters), 3, S, N)[0]) == [
        [[0, 0, 5, 12]],
        [[0, 0, 9, 3]],
        [[7, 0, 4, 5]],
    ]


def test_notes_that_exceed_a_list_are_counted_and_those_past_the_last_beat_are_left_out():
    notes = notes_of((0, 100, 5), (1, 100, 6), (2, 1, 7), (13, 1, 8), (24, 1, 9))
    lists, num_overflow = beats.split(notes, 2, S, 2)
    assert num_overflow == 1
    np.testing.assert_array_equal(beats.join(lists, S), notes[[0, 1, 3]])


def test_an_empty_piece():
    lists, num_overflow = beats.split(notes_of(), 1, S, N)
    assert held(lists) == [[]] and num_overflow == 0 and lists.inside.all()
    assert beats.join(lists, S).shape == (0, 4)


def test_joining_keeps_the_longest_of_equal_notes_in_order():
    lists = beats.empty(2, 4)
    lists.notes[0, :3] = [[10, 1, 5, 2], [10, 0, 5, 2], [10, 0, 5, 7]]
    lists.notes[1, 1:] = [[3, 0, 9, 1], [3, 0, 2, 1], [0, 7, 9, 4]]
    lists.mask[:] = [[True, True, True, False], [False, True, True, True]]
    assert beats.join(lists, S).tolist() == [[10, 0, 5, 7], [10, 1, 5, 2], [12, 7, 9, 4], [15, 0, 2, 1], [15, 0, 9, 1]]


@pytest.mark.parametrize(
    ("num_beats", "hop", "starts"),
    [(9, 2, [0, 2, 4, 5]), (8, 2, [0, 2, 4]), (4, 2, [0]), (5, 9, [0, 1]), (7, 1, [0, 1, 2, 3])],
)
def test_crops_start_every_hop_and_one_ends_with_the_piece(num_beats, hop, starts):
    lists, _ = beats.split(notes_of(*((12 * n, 1 + n, n) for n in range(num_beats))), num_beats, S, N)
    crops = beats.crop(lists, 4, hop)
    assert crops.mask.shape == (len(starts), 4, N)
    for start, *mine in zip(starts, *crops, strict=True):
        jax.tree.map(np.testing.assert_array_equal, BeatLists(*mine), arrays.take(lists, slice(start, start + 4)))


def test_a_piece_shorter_than_a_crop_is_padded():
    lists, _ = beats.split(notes_of((0, 12, 5), (14, 3, 9)), 2, S, N)
    crops = beats.crop(lists, 4, 1)
    assert crops.inside.tolist() == [[True, True, False, False]]
    assert held(arrays.take(crops, 0)) == [*held(lists), [], []]


note_rows = st.lists(
    st.tuples(st.integers(0, 300), st.integers(1, 200), st.integers(0, 83)), max_size=50, unique_by=lambda row: row[::2]
)


@settings(max_examples=60)
@given(note_rows, st.integers(1, 9), st.integers(1, 9))
def test_joining_undoes_splitting_and_crops_cover_the_piece(rows, length, hop):
    notes = notes_of(*rows)
    num_beats = int(notes[:, 0].max(initial=0)) // S + 1
    lists, num_overflow = beats.split(notes, num_beats, S, 50)
    assert num_overflow == 0
    np.testing.assert_array_equal(beats.join(lists, S), notes)
    crops = beats.crop(lists, length, hop)
    assert crops.inside[0].sum() == min(length, num_beats)
    assert held(arrays.take(crops, 0))[: min(length, num_beats)] == held(lists)[:length]
    if lists.mask[-length:].any():
        assert held(arrays.take(crops, -1))[: min(length, num_beats)] == held(lists)[-length:]
    assert crops.mask[1:].any(axis=(1, 2)).all()
    assert hop > length or {tuple(map(tuple, row)) for crop in crops.notes for row in crop} >= {
        tuple(map(tuple, row)) for row in lists.notes[lists.mask.any(axis=1)]
    }
