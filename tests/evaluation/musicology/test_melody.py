"""The melody by hand."""

from __future__ import annotations

import math

import pytest
from beat_scores import score_of
from described import describe, melody_of

from vae_jax.music.score import Score


def view(score: Score) -> dict[str, float]:
    return describe(score)["melody"]


def test_moves_of_a_melody():
    """Up a second, a third, a second, down an octave and a second, then a repeated note."""
    found = view(melody_of(60, 62, 65, 67, 53, 53))
    assert found["melody_steps"] == found["melody_octave_leaps"] * 2 == 0.5
    assert found["melody_thirds"] == 0.25 and found["melody_rising"] == 0.75
    assert found["melody_repeated_notes"] == 0.2
    assert found["melody_direction_changes"] == pytest.approx(1 / 3)
    assert found["melody_range"] == 14
    assert found["melody_interval_mean"] == pytest.approx((2 + 3 + 2 + 14 + 0) / 5)


@pytest.mark.parametrize(("last", "recovers"), [(65, 1), (66, 1), (64, 0), (69, 0), (None, math.nan)])
def test_a_leap_is_answered_by_a_step_in_the_other_direction(last: int | None, recovers: float):
    """C up to G, then a note; a third back is no step."""
    pitches = [60, 67] if last is None else [60, 67, last]
    assert view(melody_of(*pitches))["melody_leap_recovery"] == pytest.approx(recovers, nan_ok=True)


def test_leading_tones_rise():
    """In C major: B to C, repeated B to C, B to A."""
    scale = [60, 64, 67, 72, 71, 72, 67, 71, 71, 72, 71, 69, 67, 65, 64, 62, 60, 60, 60]
    assert view(melody_of(*scale))["melody_leading_tone"] == pytest.approx(2 / 3)


def test_notes_of_the_scale():
    tune = [60, 62, 64, 65, 67, 69, 71, 72, 67, 64, 60, 67, 72, 64, 60]
    assert view(melody_of(*tune))["melody_in_scale"] == 1
    assert view(melody_of(*tune, 61))["melody_in_scale"] == 15 / 16


def test_phrases_end_on_long_notes():
    """Two phrases of four notes, the last of each long: the first ends on D, the second on C."""
    notes = [(0, 1, 60), (1, 1, 64), (2, 1, 67), (3, 3, 62), (6, 1, 67), (7, 1, 64), (8, 1, 62), (9, 3, 60)]
    assert view(score_of(*notes))["melody_phrase_ends"] == 0.5


def test_notes_of_one_length_end_no_phrase_but_the_last():
    found = view(score_of(*((2 * n, 2, pitch) for n, pitch in enumerate((60, 64, 67, 62)))))
    assert found["melody_phrase_ends"] == 0


def test_entropy_of_lengths():
    """Quarter notes have none; halves and quarters in equal number one bit."""
    assert view(melody_of(60, 62, 64, 65, 67))["melody_length_entropy"] == 0
    found = view(score_of((0, 1, 60), (1, 2, 62), (3, 1, 64), (4, 2, 65), (6, 1, 67)))
    assert found["melody_length_entropy"] == 1 and found["melody_length_mean"] == 1.5


def test_an_inner_voice_below_a_held_note_is_no_melody():
    found = view(score_of((0, 4, 72), (1, 1, 60), (2, 1, 64), (4, 1, 74)))
    assert found["melody_interval_mean"] == found["melody_rising"] * 2 == 2


def test_an_arpeggiated_chord_is_one():
    """Notes a thirty-second apart, lowest first."""
    found = view(score_of((0, 2, 60), (0.04, 2, 64), (0.08, 2, 67), (2, 1, 69)))
    assert found["melody_interval_mean"] == 2


def test_a_melody_of_one_note_has_a_range_and_nothing_else():
    found = view(melody_of(60))
    assert found["melody_range"] == 0 and found["melody_phrase_ends"] == 1
    assert math.isnan(found["melody_steps"]) and math.isnan(found["melody_length_entropy"])
