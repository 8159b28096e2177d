"""Augmentation of piano rolls, seen in their dense form."""

from __future__ import annotations

import jax
import numpy as np

from vae_jax.data import synthetic
from vae_jax.music import instruments
from vae_jax.music.score import make_notes, make_score
from vae_jax.representations import arrays
from vae_jax.representations.pianoroll.augmentation import RollAugmentation
from vae_jax.representations.pianoroll.representation import RollRepresentation
from vae_jax.representations.pianoroll.windows import NoteLists

REPRESENTATION = RollRepresentation()


def dense(lists: NoteLists) -> np.ndarray:
    return np.asarray(REPRESENTATION.rasterize(lists))


def some_windows() -> NoteLists:
    pieces = [REPRESENTATION.encode(synthetic.make_score(1, n)).examples for n in range(2)]
    return arrays.take(arrays.concatenate(pieces), slice(16))


def test_pitched_notes_move_by_octaves_fifths_and_fourths():
    notes = make_notes([0, 480, 0], 480, [60, 64, 36], channel=[0, 0, 9], track=[0, 0, 1])
    lists = REPRESENTATION.encode(make_score(480, notes)).examples
    original = dense(lists)[0]
    batch = arrays.take(lists, np.zeros(200, np.int64))
    moved = dense(jax.jit(RollAugmentation(transpose_probability=1.0))(jax.random.key(0), batch))
    np.testing.assert_array_equal(
        moved[..., instruments.DRUMS], np.repeat(original[None, ..., instruments.DRUMS], 200, axis=0)
    )
    shifts = set()
    for one in moved:
        pitch = np.nonzero(one[..., :-1])[1]
        assert np.ptp(pitch) == 4
        shifts.add(int(pitch.min()) - int(np.nonzero(original[..., :-1])[1].min()))
    assert shifts == {-12, -7, -5, 5, 7, 12}


def test_whole_parts_are_dropped():
    lists = some_windows()
    original = dense(lists)
    dropped = dense(jax.jit(RollAugmentation(drop_parts_probability=1.0))(jax.random.key(1), lists))
    kept = dropped.any(axis=(1, 2))
    np.testing.assert_array_equal(dropped, original * kept[:, None, None, :])
    assert 0 < kept.sum() < original.any(axis=(1, 2)).sum()


def test_windows_are_mixed_with_the_one_before():
    lists = some_windows()
    original = dense(lists)
    mixed = dense(jax.jit(RollAugmentation(mix_probability=1.0))(jax.random.key(2), lists))
    np.testing.assert_array_equal(mixed, np.maximum(original, np.roll(original, 1, axis=0)))


def test_without_probabilities_nothing_changes():
    lists = some_windows()
    np.testing.assert_array_equal(dense(jax.jit(RollAugmentation())(jax.random.key(3), lists)), dense(lists))
