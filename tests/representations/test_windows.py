"""Windows: what is cut is stitched together again, and notes that exceed a list are counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_jax.music import instruments
from vae_jax.music.score import Meter, make_notes, make_score
from vae_jax.representations.pianoroll import encoding, windows
from vae_jax.representations.pianoroll.config import RollConfig
from vae_jax.representations.pianoroll.encoding import RollPiece
from vae_jax.representations.pianoroll.windows import NoteLists

CONFIG = RollConfig(normalize_tonic=False)
STEP_TICKS, T, N = 40, 96, 64


def piece_of(rows, meters=()) -> RollPiece:
    """A piece of (step, duration in steps, pitch) rows for a trumpet."""
    step, duration, pitch = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    notes = make_notes(step * STEP_TICKS, duration * STEP_TICKS, pitch, program=56)
    return encoding.encode(make_score(480, notes, meters=meters), CONFIG)


def cut(piece: RollPiece, max_notes: int = N) -> tuple[NoteLists, np.ndarray, int]:
    starts = windows.window_starts(piece.bars, T)
    lists, num_overflow = windows.cut(piece.notes, starts, T, max_notes)
    return lists, starts, num_overflow


def held(lists: NoteLists, window: int) -> list[list[int]]:
    return lists.notes[window][lists.mask[window]].tolist()


@pytest.mark.parametrize(
    ("meters", "starts"),
    [
        ((), [0, 96, 192]),
        ((Meter(0, 3, 4),), [0, 96, 192]),
        ((Meter(0, 1, 4), Meter(480, 4, 4)), [12 - 96, 12, 108]),  # A pick-up of one beat.
        ((Meter(0, 2, 4), Meter(960, 3, 4)), [24 - 96, 24, 120]),
    ],
)
def test_windows_follow_the_first_downbeat(meters, starts):
    np.testing.assert_array_equal(windows.window_starts(piece_of([(0, 12, 60), (200, 3, 62)], meters).bars, T), starts)


def test_a_pick_up_longer_than_a_window_takes_several():
    piece = piece_of([(0, 12, 60), (470, 12, 64)], (Meter(0, 20, 4), Meter(9600, 21, 4)))
    lists, starts, _ = cut(piece)
    np.testing.assert_array_equal(starts, [240 - 288, 240 - 192, 240 - 96, 240, 336, 432])
    np.testing.assert_array_equal(windows.stitch(lists, starts, piece.num_steps), piece.notes)


def test_windows_hold_the_steps_from_their_start():
    lists, _, num_overflow = cut(
        piece_of([(0, 12, 60), (12, 12, 64), (200, 3, 62)], (Meter(0, 2, 4), Meter(960, 3, 4)))
    )
    assert [held(lists, window) for window in range(3)] == [
        [[72, instruments.WINDS, 36, 12], [84, instruments.WINDS, 40, 12]],
        [],
        [[80, instruments.WINDS, 38, 3]],
    ]
    assert num_overflow == 0
    assert lists.notes.dtype == np.int16


def test_an_empty_piece_has_no_window():
    lists, starts, num_overflow = cut(piece_of([]))
    assert lists.notes.shape == (0, N, 4) and lists.mask.shape == (0, N) and num_overflow == 0
    assert windows.stitch(lists, starts, 0).shape == (0, 4)


def test_a_note_across_the_edge_belongs_to_the_window_of_its_onset():
    piece = piece_of([(90, 120, 60), (100, 5, 62)])
    lists, starts, _ = cut(piece)
    assert [held(lists, window) for window in range(3)] == [[[90, 0, 36, 120]], [[4, 0, 38, 5]], []]
    np.testing.assert_array_equal(windows.stitch(lists, starts, piece.num_steps), piece.notes)


def test_notes_that_exceed_a_list_are_counted():
    piece = piece_of([(0, 100, 60), (1, 100, 61), (2, 1, 62), (97, 1, 70)])
    lists, starts, num_overflow = cut(piece, max_notes=2)
    assert num_overflow == 1
    np.testing.assert_array_equal(windows.stitch(lists, starts, piece.num_steps), piece.notes[[0, 1, 3]])


def test_windows_may_start_anywhere():
    piece = piece_of([(50, 10, 60), (60, 3, 62), (140, 4, 63)])
    lists, _ = windows.cut(piece.notes, np.array([55, -20, 500, -200]), T, N)
    assert [held(lists, window) for window in range(4)] == [
        [[5, 0, 38, 3], [85, 0, 39, 4]],
        [[70, 0, 36, 10], [80, 0, 38, 3]],
        [],
        [],
    ]


def test_stitching_drops_onsets_outside_the_piece_and_keeps_the_longest_of_equal_notes():
    notes = np.zeros((2, 4, 4), np.int16)
    notes[0, :3] = [[10, 0, 5, 2], [10, 0, 5, 7], [3, 1, 5, 2]]  # The last one starts before the piece, at step -2.
    notes[1, :2] = [[0, 2, 9, 1], [90, 0, 9, 1]]  # At the steps 91 and 181, the piece ends at 100.
    mask = np.array([[True, True, True, False], [True, True, False, False]])
    stitched = windows.stitch(NoteLists(notes, mask), np.array([-5, 91]), 100)
    np.testing.assert_array_equal(stitched, [[5, 0, 5, 7], [91, 2, 9, 1]])


note_rows = st.lists(
    st.tuples(st.integers(0, 500), st.integers(1, 200), st.integers(24, 107)),
    max_size=50,
    unique_by=lambda row: row[::2],
)
changes = st.lists(
    st.builds(Meter, st.integers(0, 100).map(lambda n: n * 120), st.integers(1, 12), st.sampled_from([2, 4, 8])),
    max_size=4,
)


@settings(max_examples=80)
@given(note_rows, changes)
def test_stitching_undoes_cutting(rows, meters):
    piece = piece_of(rows, meters)
    lists, starts, num_overflow = cut(piece)
    assert num_overflow == 0
    np.testing.assert_array_equal(windows.stitch(lists, starts, piece.num_steps), piece.notes)
    steps = (starts[:, None] + np.arange(T)).ravel()
    np.testing.assert_array_equal(steps[(steps >= 0) & (steps < piece.num_steps)], np.arange(piece.num_steps))
