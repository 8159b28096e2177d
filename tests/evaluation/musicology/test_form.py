"""Form by hand: what returns, sequences, beginnings and endings."""

from __future__ import annotations

import math

import pytest
from beat_scores import meter, score_of
from described import chords_of, describe, melody_of

from vae_jax.music.score import Score

A, B, C, D = (60, 62, 64, 65), (67, 65, 64, 62), (64, 60, 67, 72), (72, 71, 69, 67)


def view(score: Score) -> dict[str, float]:
    return describe(score)["structure"]


def bars_of(*bars: tuple[int, ...]) -> Score:
    return melody_of(*(pitch for bar in bars for pitch in bar))


def test_a_returned_phrase_of_two_bars():
    found = view(bars_of(A, B, C, A, B, D))
    assert found["melody_distinct_bars"] == pytest.approx(4 / 6)
    assert found["melody_returns_1"] == found["melody_returns_2"] == pytest.approx(2 / 6)
    assert found["melody_returns_4"] == 0


def test_four_bars_that_return_are_four_and_two_and_one():
    found = view(bars_of(A, B, C, D, A, B, C, D))
    assert found["melody_returns_1"] == found["melody_returns_2"] == found["melody_returns_4"] == 0.5


def test_a_bar_repeated_at_once_returns_but_two_bars_may_not_overlap():
    found = view(bars_of(A, A, A, B))
    assert found["melody_returns_1"] == 0.5 and found["melody_returns_2"] == 0


def test_a_rhythm_returns_without_its_pitches():
    found = view(bars_of(A, B, C, D))
    assert found["rhythm_returns_2"] == 0.5 and found["melody_returns_2"] == 0


def test_a_sequence_moves_a_bar_by_steps_of_the_scale():
    """In C major: a bar, the same a step higher (other semitones), the bar two before a step lower, another."""
    sequence = bars_of((60, 62, 64, 62), (62, 64, 65, 64), (59, 60, 62, 60), (67, 60, 72, 60))
    assert view(sequence)["melody_sequences"] == pytest.approx(2 / 3)
    assert view(bars_of(A, A))["melody_sequences"] == 0


@pytest.mark.parametrize(
    ("chords", "ends"),
    [
        ([(48, 64, 67), (53, 65, 69), (43, 62, 71), (48, 64, 72)], 1),
        ([(48, 64, 67), (43, 62, 71), (53, 65, 69), (48, 64, 72)], 0),
        ([(48, 64, 72), (53, 65, 69), (48, 64, 72), (43, 62, 71)], 0),
    ],
)
def test_an_ending_by_dominant_and_tonic(chords: list[tuple[int, ...]], ends: float):
    assert view(chords_of(*chords, chords[-1]))["ends_dominant_tonic"] == ends


def test_the_last_note():
    """C major with C on top or E; the bass on C; the last onset on the third beat, or the fourth."""
    opening = [(48, 60, 64, 67), (43, 59, 62, 67)]
    found = view(chords_of(*opening, (48, 64, 67, 72)))
    assert (found["ends_on_tonic"], found["ends_on_tonic_bass"], found["ends_on_strong_beat"]) == (1, 1, 1)
    found = view(chords_of(*opening, opening[0], (52, 60, 67, 76)))
    assert (found["ends_on_tonic"], found["ends_on_tonic_bass"], found["ends_on_strong_beat"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("start", "meters", "upbeat"),
    [
        (0, ((0, 4),), 0),
        (3, ((0, 4),), 1),
        (0.5, ((0, 4),), 0),
        (4, ((0, 4),), 0),
        (0, ((0, 1), (1, 4)), 1),
    ],
)
def test_an_upbeat_is_a_short_bar_or_a_start_within_the_first(start: float, meters: tuple, upbeat: float):
    notes = [(start + beat, 1, 60 + beat) for beat in range(12)]
    assert view(score_of(*notes, meters=tuple(meter(*one) for one in meters)))["upbeat"] == upbeat


def test_phrases_of_an_even_number_of_bars():
    """Long notes at the end of bars 2 and 4, or 2 and 3."""

    def tune(*long_bars: int) -> Score:
        notes = []
        for bar in range(max(long_bars) + 1):
            lengths = [1, 1, 2] if bar in long_bars else [1, 1, 1, 1]
            notes += [(4 * bar + sum(lengths[:n]), lengths[n], 60 + n) for n in range(len(lengths))]
        return score_of(*notes)

    assert view(tune(1, 3))["phrase_lengths_even"] == 1
    assert view(tune(1, 2))["phrase_lengths_even"] == 0


def test_a_piece_without_notes_has_no_form():
    assert all(math.isnan(value) for value in view(score_of()).values())
