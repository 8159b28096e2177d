"""Augmentation of crops, seen in their dense form."""

from __future__ import annotations

import functools

import jax
import numpy as np
from small_roll import REPRESENTATION, training_crops

from vae_jax.music import instruments
from vae_jax.representations import arrays
from vae_jax.representations.pianoroll.augmentation import Draws, RollAugmentation, augment
from vae_jax.representations.pianoroll.beats import BeatLists
from vae_jax.representations.pianoroll.rasterize import Rolls


@jax.jit
def dense_augmented(lists: BeatLists, draws: Draws) -> tuple[Rolls, Rolls]:
    return REPRESENTATION.rasterize(lists), REPRESENTATION.rasterize(augment(lists, draws))


@functools.cache
def some_crops() -> BeatLists:
    """Sixteen crops, the last beats of some of them outside of the piece."""
    crops = arrays.subsample(training_crops(), 16)
    inside = np.arange(crops.mask.shape[1]) < crops.mask.shape[1] - (np.arange(16) % 3)[:, None]
    return BeatLists(crops.notes, crops.mask & inside[..., None], inside)


def drawn(key: int, batch_size: int = 16, **fields: float) -> Draws:
    draw = functools.partial(RollAugmentation(**fields).draw, batch_size=batch_size)
    return jax.device_get(jax.jit(draw)(jax.random.key(key)))


def augmented(draws: Draws) -> tuple[Rolls, Rolls]:
    """The sixteen crops as they are, and changed as was drawn."""
    return jax.device_get(dense_augmented(some_crops(), draws))


def test_pitched_notes_move_and_those_that_leave_the_range_are_left_out():
    nothing = drawn(0)
    shift = np.array([12, -12, 7, -7, 0] * 3 + [12], np.int16)
    original, moved = (rolls.onsets for rolls in augmented(nothing._replace(shift=shift[:, None])))
    np.testing.assert_array_equal(moved[..., instruments.DRUMS], original[..., instruments.DRUMS])
    for before, after, semitones in zip(original[..., :-1], moved[..., :-1], shift.tolist(), strict=True):
        expected = np.roll(before, semitones, axis=2)
        expected[:, :, : max(semitones, 0)] = 0
        expected[:, :, 84 + min(semitones, 0) :] = 0
        np.testing.assert_array_equal(after, expected)
        assert before.any()


def test_whole_parts_are_dropped():
    original, dropped = augmented(drawn(1, drop_parts_probability=1.0))
    kept = dropped.onsets.any(axis=(1, 2, 3))
    np.testing.assert_array_equal(dropped.onsets, original.onsets * kept[:, None, None, None])
    assert 0 < kept.sum() < original.onsets.any(axis=(1, 2, 3)).sum()
    assert dropped.outlasting.sum() < original.outlasting.sum()


def test_crops_are_mixed_with_the_one_before_but_only_inside_of_the_piece():
    original, mixed = augmented(drawn(2, mix_probability=1.0))
    inside = original.inside[..., None, None, None].astype(np.uint8)
    assert np.any(np.roll(original.onsets, 1, axis=0) * (1 - inside))  # There is something to be left out.
    expected = np.maximum(original.onsets, np.roll(original.onsets, 1, axis=0) * inside)
    np.testing.assert_array_equal(mixed.onsets, expected)
    counted = original.outlasting + np.roll(original.outlasting, 1, axis=0) * inside[..., None]
    np.testing.assert_array_equal(mixed.outlasting, counted)
    np.testing.assert_array_equal(mixed.inside, original.inside)


def test_crops_are_drawn_as_often_as_asked_for():
    shift, keep, mixed = drawn(4, 4000, transpose_probability=0.3, drop_parts_probability=0.5, mix_probability=0.25)
    assert abs((shift != 0).mean() - 0.3) < 0.03 and abs(mixed.mean() - 0.25) < 0.03
    assert set(shift.ravel().tolist()) == {0, -12, -7, -5, 5, 7, 12}
    assert abs(keep.mean() - 0.75) < 0.03 and abs(keep.all(axis=1).mean() - 0.5) < 0.03


def test_without_probabilities_nothing_changes():
    jax.tree.map(np.testing.assert_array_equal, *augmented(drawn(3)))
