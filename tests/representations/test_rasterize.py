"""Dense rolls and counts of durations: what is rasterized is what the notes say."""

from __future__ import annotations

import functools

import jax
import numpy as np

from vae_jax.music import instruments
from vae_jax.representations.pianoroll.beats import BeatLists
from vae_jax.representations.pianoroll.rasterize import DURATION_EDGES, DURATION_REGISTER, Rolls, rasterize

STEPS, PITCHES = 4, 20  # The last register has two pitches.


def dense(lists: BeatLists) -> Rolls:
    draw = functools.partial(rasterize, steps_per_beat=STEPS, num_pitches=PITCHES)
    return jax.device_get(jax.jit(draw)(lists))


def one_beat(*rows: list[int]) -> BeatLists:
    return BeatLists(np.array([[rows]], np.int32), np.ones((1, 1, len(rows)), bool), np.ones((1, 1), bool))


def test_rasterize_against_a_loop():
    rng = np.random.default_rng(0)
    limits = [(-3, 7), (0, instruments.NUM_PARTS), (-5, 25), (1, 60)]
    notes = np.stack([rng.integers(*one, (3, 5, 40)) for one in limits], axis=-1).astype(np.int16)
    mask, inside = rng.random((3, 5, 40)) < 0.7, rng.random((3, 5)) < 0.8
    onsets = np.zeros((3, 5, STEPS, PITCHES, instruments.NUM_PARTS))
    outlasting = np.zeros((3, 5, 2, 4, instruments.NUM_PARTS - 1, len(DURATION_EDGES) + 1))
    for b, t, n in np.argwhere(mask):
        step, part, pitch, duration = notes[b, t, n].tolist()
        if 0 <= step < STEPS and 0 <= pitch < PITCHES:
            onsets[b, t, step, pitch, part] = 1
            if part != instruments.DRUMS:
                for k, edge in enumerate((0, *DURATION_EDGES)):
                    outlasting[b, t, step // 2, pitch // DURATION_REGISTER, part, k] += duration > edge
    assert onsets.sum() > 80 and outlasting[..., -1].sum() > 10

    rolls = dense(BeatLists(notes, mask, inside))
    assert rolls.onsets.dtype == rolls.outlasting.dtype == np.uint8 and rolls.inside.dtype == np.float32
    np.testing.assert_array_equal(rolls.onsets, onsets)
    np.testing.assert_array_equal(rolls.outlasting, outlasting)
    np.testing.assert_array_equal(rolls.inside, inside)


def test_one_note_by_hand():
    rolls = dense(one_beat([3, instruments.BASS, 7, 5], [0, instruments.DRUMS, 1, 9]))
    assert np.argwhere(rolls.onsets).tolist() == [[0, 0, 0, 1, instruments.DRUMS], [0, 0, 3, 7, instruments.BASS]]
    # It outlasts nothing, one, two, three and four steps, not five; the drums have no duration.
    assert np.argwhere(rolls.outlasting).tolist() == [[0, 0, 1, 1, instruments.BASS, k] for k in range(5)]


def test_durations_are_counted_by_part_and_half_of_the_beat():
    rolls = dense(one_beat([0, 2, 7, 2], [1, 2, 8, 4], [1, 3, 7, 4], [2, 2, 8, 1]))
    assert rolls.outlasting[0, 0, 0, 1, 2, :6].tolist() == [2, 2, 1, 1, 0, 0]
    assert rolls.outlasting[0, 0, 0, 1, 3, :6].tolist() == [1, 1, 1, 1, 0, 0]
    assert rolls.outlasting[0, 0, 1, 1, 2, :6].tolist() == [1, 0, 0, 0, 0, 0]


def test_notes_outside_the_roll_are_left_out():
    outside = [[0, 0, PITCHES, 1], [0, 0, -1, 1], [STEPS, 0, 0, 1], [-1, 0, 0, 5]]
    rolls = dense(one_beat(*outside, [STEPS - 1, 3, PITCHES - 1, 1]))
    assert np.argwhere(rolls.onsets).tolist() == [[0, 0, STEPS - 1, PITCHES - 1, 3]]
    assert np.argwhere(rolls.outlasting).tolist() == [[0, 0, 1, 3, 3, 0]]
