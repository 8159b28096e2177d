"""Bass, chords and outer voices by hand."""

from __future__ import annotations

import math

import pytest
from beat_scores import meter, score_of
from described import chords_of, describe

TONIC, SUBDOMINANT, DOMINANT = (48, 64, 67, 72), (53, 65, 69, 72), (55, 62, 67, 71)


def test_the_bass_by_beats():
    """C held for two beats, D, G, up an octave: moves of 2, 5 and 12; the chord above is C throughout but for D."""
    found = describe(score_of((0, 2, 36), (2, 1, 38), (3, 1, 43), (4, 1, 55), (0, 5, 72)))["bass"]
    assert found["bass_steps"] == found["bass_fifths"] == found["bass_octave_leaps"] == pytest.approx(1 / 3)
    assert found["bass_moves"] == 0.75 and found["bass_range"] == 19


def test_a_chord_in_root_position_and_an_inversion():
    assert describe(chords_of((48, 64, 67)))["bass"]["bass_is_root"] == 1
    assert describe(chords_of((52, 60, 67)))["bass"]["bass_is_root"] == 0


def test_roots_by_fifth():
    """I IV V I: a fifth, a step, a fifth."""
    found = describe(chords_of(TONIC, SUBDOMINANT, DOMINANT, TONIC))["harmony"]
    assert found["roots_by_fifth"] == pytest.approx(2 / 3) and found["roots_by_step"] == pytest.approx(1 / 3)
    assert found["harmonic_rhythm"] == 1
    assert found["tonic_chords"] == 0.5 and found["dominant_chords"] == 0.25
    held = describe(chords_of(TONIC, DOMINANT, length=2))["harmony"]
    assert held["harmonic_rhythm"] == pytest.approx(1 / 3)


def test_a_clash_counts_on_a_strong_beat():
    """C and D flat on the first beat of four bars once, then on a weak one."""
    bars = [(4 * n, 4, pitch) for n in range(4) for pitch in (48, 64, 67)]
    on_weak = describe(score_of(*bars, (5, 0.5, 73)))["harmony"]
    on_strong = describe(score_of(*bars, (4, 0.5, 73)))["harmony"]
    assert on_weak["strong_clashes"] == on_weak["strong_without_chord"] == on_weak["strong_non_chord_tones"] == 0
    # Two strong beats a bar; one of the four pitch classes is foreign.
    assert on_strong["strong_clashes"] == on_strong["strong_without_chord"] == 1 / 8
    assert on_strong["strong_non_chord_tones"] == pytest.approx(1 / 4 / 8)


@pytest.mark.parametrize(
    ("changes", "num_strong"), [((4, 4), 6), ((3, 4), 4), ((2, 4), 6), ((6, 8), 8), ((12, 8), 4), ((5, 4), 3)]
)
def test_strong_beats_of_meters(changes: tuple[int, int], num_strong: int):
    """Twelve beats, the first of which clashes."""
    notes = [(0, 12, 60), (0, 12, 64), (0, 12, 67), (0, 1, 61)]
    found = describe(score_of(*notes, meters=(meter(0, *changes),)))["harmony"]
    assert found["strong_clashes"] == pytest.approx(1 / num_strong)


def test_a_pick_up_has_no_strong_beat():
    notes = [(0, 1, 60), (0, 1, 61), (1, 4, 60), (1, 4, 64)]
    assert describe(score_of(*notes, meters=(meter(0, 1), meter(1, 4))))["harmony"]["strong_clashes"] == 0


def test_parallel_fifths_and_octaves():
    """Outer voices: a fifth apart to a fifth, to an octave, to an octave; all rise. The inner voice stays."""
    outer = [(48, 67), (50, 69), (52, 76), (53, 77)]
    found = describe(chords_of(*((bass, 60, top) for bass, top in outer)))["harmony"]
    assert found["parallel_fifths"] == found["parallel_octaves"] == pytest.approx(1 / 3)
    assert found["contrary_motion"] == 0


def test_a_fifth_that_stays_and_one_in_contrary_motion():
    """A repeated fifth moves neither voice; from fifth to sixth in opposite directions nothing is parallel."""
    found = describe(chords_of((48, 67), (48, 67), (47, 69)))["harmony"]
    assert found["parallel_fifths"] == 0 and found["contrary_motion"] == 1


def test_octaves_are_parallel_where_both_voices_move():
    """The bass alone drops an octave, then both rise."""
    found = describe(chords_of((48, 72), (36, 72), (38, 74)))["harmony"]
    assert found["parallel_octaves"] == 1
    assert describe(chords_of((48, 72), (36, 72), (38, 77)))["harmony"]["parallel_octaves"] == 0


def test_a_single_line_has_no_outer_voices():
    found = describe(chords_of((60,), (62,), (64,)))["harmony"]
    assert math.isnan(found["parallel_fifths"]) and math.isnan(found["outer_distance"])
