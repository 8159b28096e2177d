"""The bar grid by hand."""

from __future__ import annotations

import numpy as np
from beat_scores import meter, score_of

from vae_jax.evaluation import bar_grid

TWO_METERS = score_of(
    *((beat, 1, 60) for beat in (0, 3, 6, 9, 9.5, 12)), meters=(meter(0, 3), meter(9, 6, 8))
)  # Five bars of three beats: three in 3/4, two in 6/8.


def test_bars_of_one_length_in_two_meters_are_of_two_kinds():
    grid = bar_grid.make_bar_grid(TWO_METERS)
    assert grid.bars.tolist() == [0, 36, 72, 108, 144, 180]
    assert grid.bar_kind.tolist() == [0, 0, 0, 1, 1]
    assert grid.onsets_per_bar.tolist() == [1, 1, 1, 2, 1]


def test_bars_are_compared_within_their_kind_by_f1_of_onset_cells():
    expected = np.zeros((5, 5))
    expected[:3, :3] = 1
    expected[3:, 3:] = [[1, 2 / 3], [2 / 3, 1]]
    np.testing.assert_allclose(bar_grid.make_bar_grid(TWO_METERS).bar_similarity().toarray(), expected)


def test_unisons_are_one_note_as_long_as_the_longest():
    score = score_of((0, 1, 60), (0, 2, 60), (0, 1, 72), (1, 1, 60), track=[0, 1, 2, 0], program=[56, 48, 0, 56])
    grid = bar_grid.make_bar_grid(score)
    rows = zip(grid.step.tolist(), grid.pitch.tolist(), grid.duration.tolist(), strict=True)
    assert [*rows] == [(0, 60, 24), (0, 72, 12), (12, 60, 12)]
    assert len(grid.group_notes) == 4


def test_pitches_sound_from_event_to_event():
    events, sounding = bar_grid.make_bar_grid(score_of((0, 2, 60), (1, 2, 64), (4, 1, 60))).sounding()
    assert events.tolist() == [0, 12, 24, 36, 48, 60]
    assert [np.flatnonzero(row).tolist() for row in sounding] == [[60], [60, 64], [64], [], [60]]


def test_drums_stand_apart():
    grid = bar_grid.make_bar_grid(score_of((0, 1, 60), (1, 1, 36), channel=[0, 9]))
    assert (grid.step.tolist(), grid.drum_step.tolist()) == ([0], [12])


def test_onset_cells_are_counted_from_the_start_of_the_window():
    grid = bar_grid.make_bar_grid(score_of((0, 1, 60), (1, 1, 62), (5, 1, 64)))
    cells = grid.onset_cells(np.array([0, 12, 48]), np.array([24, 12, 13]), 24)
    columns = [cells[n].indices.tolist() for n in range(3)]
    assert columns == [[60, 12 * 128 + 62], [62], [12 * 128 + 64]]
