"""Scales and key names, against the circle of fifths."""

from __future__ import annotations

import itertools

import pytest

from vae_jax.music import theory


@pytest.mark.parametrize("minor", [False, True])
def test_neighbors_on_the_circle_of_fifths_share_all_notes_but_one(minor: bool):
    scale = theory.NATURAL_MINOR_SCALE if minor else theory.MAJOR_SCALE
    scales = [{(theory.tonic_pitch_class(n, minor) + note) % 12 for note in scale} for n in range(-7, 8)]
    assert scales[7] == {0, 2, 4, 5, 7, 9, 11}  # No sharp and no flat: the white keys.
    assert [len(one & other) for one, other in itertools.pairwise(scales)] == [6] * 14


@pytest.mark.parametrize("minor", [False, True])
def test_the_name_of_a_tonic_is_its_pitch_class(minor: bool):
    for n in range(-7, 8):
        assert theory.pitch_class(theory.tonic_name(n, minor)) == theory.tonic_pitch_class(n, minor)


def test_key_names():
    assert [theory.key_name(-7, False), theory.key_name(7, True)] == ["Cb major", "A# minor"]
    assert [theory.key_name(-3, True), theory.key_name(6, False)] == ["C minor", "F# major"]


def test_triads_lie_in_their_scales():
    assert [theory.MAJOR_SCALE[n] for n in (0, 2, 4)] == list(theory.MAJOR_TRIAD)
    assert [theory.NATURAL_MINOR_SCALE[n] for n in (0, 2, 4)] == list(theory.MINOR_TRIAD)
    assert theory.HARMONIC_MINOR_SCALE[-1] == theory.MAJOR_SCALE[-1]  # The leading tone.
