"""Chords: every template finds itself; the examples of triads and sevenths; what is no chord."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from vae_jax.music.chords import estimate_chords, is_chord


def weights(*pitch_classes: int) -> np.ndarray:
    return np.bincount(pitch_classes, minlength=12)[None].astype(float)


@pytest.mark.parametrize("kind", [(0, 4, 7), (0, 3, 7), (0, 4, 7, 10), (0, 3, 6, 10), (0, 3, 6)])
def test_every_chord_is_found_on_every_root(kind: tuple[int, ...]):
    for root in range(12):
        pitch_classes = [(root + interval) % 12 for interval in kind]
        found = estimate_chords(weights(*pitch_classes))
        assert found.root.tolist() == [root]
        assert np.flatnonzero(found.members[0]).tolist() == sorted(pitch_classes)


def test_a_passing_note_does_not_change_the_chord():
    """D for a quarter of the beat over C major."""
    assert estimate_chords(weights(0, 0, 4, 7) + 0.25 * weights(2)).root.tolist() == [0]


def test_the_weight_of_the_root_decides():
    """C and E may be C major or A minor, A and C F major too; the heavier is the root."""
    assert estimate_chords(weights(0, 0, 4)).root.tolist() == [0]
    assert estimate_chords(weights(9, 9, 0)).root.tolist() == [9]
    assert estimate_chords(np.zeros((2, 12))).root.tolist() == [-1, -1]


def test_a_score_by_its_formula():
    """The best of all chords by what is inside, outside and missing, for random weights."""
    rng = np.random.default_rng(0)
    kinds = ((0, 4, 7), (0, 3, 7), (0, 4, 7, 10), (0, 3, 6, 10), (0, 3, 6), (0, 3, 6, 9))
    given = rng.integers(0, 4, (50, 12)) / 2
    for row, root in zip(given, estimate_chords(given).root.tolist(), strict=True):
        scores = {}
        for kind, candidate in itertools.product(kinds, range(12)):
            members = {(candidate + interval) % 12 for interval in kind}
            inside, missing = sum(row[n] for n in members), sum(row[n] == 0 for n in members)
            scores[kind, candidate] = inside - (row.sum() - inside) - missing
        best = max(scores.values())
        assert root in {candidate for (_, candidate), value in scores.items() if value == best}


def test_subsets_of_sevenths_are_chords():
    sets = [(0,), (0, 7), (0, 4, 7), (0, 4, 7, 11), (2, 5, 9, 0), (0, 4, 8), (0, 1), (0, 2, 7), (0, 1, 4, 7), (0, 2, 4)]
    rows = np.concatenate([weights(*one) > 0 for one in sets])
    assert is_chord(rows).tolist() == [True] * 6 + [True, False, False, False]
