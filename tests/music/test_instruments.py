"""Instrument groups: by program, register, channel and the label of a decoded track."""

from __future__ import annotations

from vae_jax.music import instruments
from vae_jax.music.score import make_notes, make_score


def test_parts_follow_program_register_and_label():
    notes = make_notes(
        [0] * 6,
        [100],
        [80, 40, 36, 50, 70, 45],
        track=[0, 1, 2, 3, 4, 5],
        channel=[0, 1, 9, 2, 3, 4],
        program=[48, 48, 5, 58, 60, 47],
    )
    names = ["", "", "", "", "[keys] something", "[unheard of] name"]
    score = make_score(480, notes, track_names=names)
    expected = [
        instruments.HIGH_STRINGS,
        instruments.LOW_STRINGS,
        instruments.DRUMS,
        instruments.LOW_BRASS,
        instruments.KEYS,
        instruments.BASS,
    ]
    assert instruments.assign_parts(score).tolist() == expected
    assert instruments.original_name("[keys] something") == "something"
    assert instruments.original_name("[unheard of] name") == "[unheard of] name"


def test_every_program_has_a_part():
    for program in range(128):
        notes = make_notes([0], [1], [60], program=program)
        assert instruments.assign_parts(make_score(480, notes))[0] in range(instruments.DRUMS)
