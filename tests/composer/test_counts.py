"""What occurred before in the same contexts: counted by hand, and alike for integers and arrays."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from note_pieces import CHORDS, no_form, note_piece

from vae_jax.composer import counts as counts_lib
from vae_jax.composer import crops as crops_lib
from vae_jax.composer.counts import FIELDS, NUM_CONTEXTS, NUM_COUNTED, Recent
from vae_jax.composer.notes import MAX_GAP, NUM_DURATIONS, NUM_PITCHES


def test_a_tune_of_two_notes():
    """From the third note on, what followed the same note before is known."""
    tune = [(12 * n, 40 + n % 2, 12 if n < 3 else 24) for n in range(4)]
    features = crops_lib.make_features(note_piece(tune, form=no_form()))
    by_last = features["pitch_counts"][2:6, 0]  # Of the context of the last pitch.
    found = [{int(p): int(row[p]) for p in np.flatnonzero(row)} for row in by_last]
    assert found == [{}, {}, {}, {41: 1}]
    by_gap = features["gap_counts"][2:6, 1]  # Step of the beat and time before.
    assert [np.flatnonzero(row).tolist() for row in by_gap] == [[], [], [12], [12]]
    assert by_gap[3, 12] == 2 and by_gap[2, 12] == 1
    assert [int(row.sum()) for row in features["more_counts"][2:6, 0]] == [0, 0, 1, 2]  # Of chords after one note.


def test_every_kind_counts_its_own_notes():
    features = crops_lib.make_features(note_piece(CHORDS, form=no_form()))
    end = {name: features[name][-1].astype(int) for name in FIELDS}
    for name, numbers, size in zip(FIELDS, NUM_CONTEXTS, NUM_COUNTED, strict=True):
        assert features[name].shape == (len(CHORDS) + 3, len(numbers), size)
        assert not features[name][:3].any(), "nothing occurred before the first note"
    assert end["more_counts"].sum() == 0  # No token follows the end.
    third_voice = features["pitch_counts"][8, 0]  # After 30 in the inner voice came nothing.
    assert not third_voice.any()


def test_integers_and_arrays_have_the_same_contexts_in_range():
    rng = np.random.default_rng(0)
    tops = [NUM_PITCHES] * 3 + [15, MAX_GAP + 1, MAX_GAP + 1, NUM_DURATIONS, NUM_DURATIONS, 12]
    rows = rng.integers(0, np.array(tops) + 1, (200, len(tops)))
    role, position, gap = rng.integers(0, 10, 200), rng.integers(0, 97, 200), rng.integers(0, NUM_DURATIONS + 1, 200)
    whole = Recent(*jnp.asarray(rows.T, jnp.int32))
    args = [jnp.asarray(values, jnp.int32) for values in (role, position, gap)]
    arrays = (
        counts_lib.pitch_contexts(whole, *args[:2]),
        counts_lib.gap_contexts(whole, args[1]),
        counts_lib.duration_contexts(whole, args[0], args[2]),
        counts_lib.more_contexts(whole, *args[:2]),
    )
    for n in range(200):
        one, r, at, g = Recent(*rows[n].tolist()), int(role[n]), int(position[n]), int(gap[n])
        integers = (
            counts_lib.pitch_contexts(one, r, at),
            counts_lib.gap_contexts(one, at),
            counts_lib.duration_contexts(one, r, g),
            counts_lib.more_contexts(one, r, at),
        )
        assert integers == tuple(tuple(int(context[n]) for context in kind) for kind in arrays)
        for kind, limits in zip(integers, NUM_CONTEXTS, strict=True):
            assert all(0 <= context < limit for context, limit in zip(kind, limits, strict=True))


def test_packed_counts_are_the_counts_up_to_fifteen():
    rng = np.random.default_rng(0)
    for size in NUM_COUNTED:
        counts = rng.integers(0, 256, (5, 3, size), dtype=np.uint8)
        packed = counts_lib.pack(counts)
        assert packed.shape == (5, 3, -(-size // 2))
        np.testing.assert_array_equal(counts_lib.unpack(jnp.asarray(packed), size), np.minimum(counts, 15))
