"""Dense rolls: what is rasterized is what the notes say."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.representations.pianoroll.rasterize import rasterize
from vae_jax.representations.pianoroll.windows import NoteLists

SHAPE = {"num_steps": 24, "num_pitches": 20, "num_parts": 4}


def test_rasterize_against_a_loop():
    rng = np.random.default_rng(0)
    limits = [(-30, 30), (0, 4), (0, 20), (1, 40)]
    notes = np.stack([rng.integers(*one, (5, 64)) for one in limits], axis=-1).astype(np.int16)
    mask = rng.random((5, 64)) < 0.7
    expected = np.zeros((5, 24, 20, 4))
    for b in range(5):
        for step, part, pitch, _ in notes[b][mask[b]].tolist():
            if 0 <= step < 24:
                expected[b, step, pitch, part] = 1
    chex.clear_trace_counter()
    draw = jax.jit(chex.assert_max_traces(lambda lists: rasterize(lists, **SHAPE, dtype=jnp.bfloat16), n=1))
    for _ in range(2):
        rolls = draw(NoteLists(notes, mask))
    assert rolls.dtype == jnp.bfloat16
    np.testing.assert_array_equal(rolls.astype(np.float32), expected)


def test_notes_outside_the_roll_are_left_out():
    outside = [[0, 4, 0, 1], [0, 0, 20, 1], [0, -1, 0, 1], [0, 0, -1, 1], [24, 0, 0, 1], [-5, 0, 0, 5]]
    notes = np.array([[*outside, [23, 3, 19, 1]]], dtype=np.int32)
    rolls = np.asarray(rasterize(NoteLists(notes, np.ones((1, 7), dtype=bool)), **SHAPE))
    np.testing.assert_array_equal(np.argwhere(rolls), [[0, 23, 19, 3]])
