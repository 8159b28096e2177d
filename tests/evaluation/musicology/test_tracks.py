"""Tracks by hand."""

from __future__ import annotations

import math

import pytest
from beat_scores import score_of
from described import describe


def test_a_doubled_melody():
    """Two of four notes in unison by a second track, which plays the third an octave lower."""
    notes = [(0, 1, 72), (1, 1, 74), (2, 1, 76), (3, 1, 77), (0, 1, 72), (1, 1, 74), (2, 1, 64)]
    found = describe(score_of(*notes, track=[0] * 4 + [1] * 3))["texture"]
    assert found["unison_doublings"] == pytest.approx(2 / 5) and found["octave_doublings"] == 1 / 4


def test_voices_cross():
    """The lower track is above the upper one for one beat of four, and plays the same note in another."""
    upper, lower = [(0, 1, 72), (1, 1, 74), (2, 1, 65), (3, 1, 67)], [(beat, 1, 67) for beat in range(4)]
    assert describe(score_of(*upper, *lower, track=[0] * 4 + [1] * 4))["texture"]["crossings"] == 1 / 4
    assert math.isnan(describe(score_of(*upper))["texture"]["crossings"])


def test_tracks_their_intervals_and_velocities():
    """A line by steps of 2 with velocities 60 and 80; chords whose top note stays, all 100; drums and timpani."""
    line, chords = [(0, 1, 60), (1, 1, 62), (2, 1, 64)], [(0, 1, 70), (0, 1, 76), (1, 1, 76)]
    others = [(0, 1, 36), (3, 1, 43)]
    found = describe(
        score_of(
            *line,
            *chords,
            *others,
            track=[0, 0, 0, 1, 1, 1, 2, 3],
            channel=[0, 0, 0, 1, 1, 1, 9, 3],
            program=[0] * 7 + [47],
            velocity=[60, 80, 60, 100, 100, 100, 1, 127],
        )
    )["performance"]
    assert found["tracks"] == 2
    assert found["track_interval"] == pytest.approx((2 + 2 + 0) / 3)
    assert found["velocity_sd"] == pytest.approx((200 / 9 * 4) ** 0.5 / 2)
    assert found["velocity_track_sd"] == pytest.approx((100 - 200 / 3) / 2)


def test_timpani_are_neither_bass_nor_the_last_note():
    notes = [(0, 4, 60), (0, 4, 64), (0, 4, 67), (3, 1, 30)]
    found = describe(score_of(*notes, track=[0, 0, 0, 1], program=[0, 0, 0, 47]))
    assert found["structure"]["ends_on_strong_beat"] == 1 and found["bass"]["bass_range"] == 0


def test_drums_alone_have_no_statistics():
    for score in (score_of(), score_of((0, 1, 36), (1, 1, 38), channel=9)):
        assert all(math.isnan(value) for found in describe(score).values() for value in found.values())
