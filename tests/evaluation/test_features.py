"""Features of pieces: by hand, and by their definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from beat_scores import meter, score_of

from vae_jax.evaluation import bar_grid, features
from vae_jax.music.score import Meter, Score, make_notes, make_score

STEP_TICKS = 40  # Twelve steps to the beat of 480 ticks.
ARPEGGIO = [(0, 1, 60), (1, 1, 64), (2, 2, 67)]


def piece_features(score: Score) -> dict[str, float]:
    return features.piece_features(bar_grid.make_bar_grid(score))


def test_three_bars_of_an_arpeggio():
    score = score_of(*((4 * bar + beat, length, pitch) for bar in range(3) for beat, length, pitch in ARPEGGIO))
    assert piece_features(score) == pytest.approx(
        {
            "pitch_class_entropy": np.log2(3),
            "scale_consistency": 1.0,
            "groove_consistency": 1.0,
            "polyphony": 1.0,
            "note_density": 9 / 12,
            "empty_bar_rate": 0.0,
            "qualified_note_rate": 1.0,
            "bar_self_similarity": 1.0,
        }
    )


def test_a_chromatic_piece_with_rests_and_chords():
    # Four bars: a chord of two; nothing; two notes, one of them out of C major; a grace note and a chord.
    score = score_of((0, 2, 60), (0, 4, 64), (8, 1, 61), (10, 1, 60), (12, 1 / 12, 60), (12, 4, 64), (14, 1, 60))
    found = piece_features(score)
    # C, E, C#, C, C, E, C: four of seven are C, two E; the scale with the most of them leaves out one note.
    assert found["pitch_class_entropy"] == pytest.approx(scipy.stats.entropy([4, 2, 1], base=2))
    assert found["scale_consistency"] == pytest.approx(6 / 7)
    # Onsets of the bars: {0}, {}, {0, 2}, {0, 2} in beats; the pairs differ in 1, 1, 1, 2, 2, 0 of 48 steps.
    assert found["groove_consistency"] == pytest.approx(1 - 7 / 6 / 48)
    # Sounding beats: two notes for 2, one for 2, one for 1, one for 1; two for 1/12, one for 23/12 and 1, two for 1.
    assert found["polyphony"] == pytest.approx((4 + 2 + 1 + 1 + 1 / 12 + 4 + 1) / (2 + 2 + 1 + 1 + 4))
    assert found["note_density"] == pytest.approx(7 / 16)
    assert found["empty_bar_rate"] == pytest.approx(1 / 4)
    assert found["qualified_note_rate"] == pytest.approx(6 / 7)
    # The third bar shares nothing with the first; the last has two of three and two in common with it.
    assert found["bar_self_similarity"] == pytest.approx((0 + 2 * 2 / (3 + 2)) / 2)


def test_a_32nd_note_is_qualified():
    assert piece_features(score_of((0, 1 / 8, 60), (1, 1 / 12, 60)))["qualified_note_rate"] == 0.5


def test_a_note_held_over_the_bar_line_fills_the_bar():
    assert piece_features(score_of((0, 8, 60), (12, 4, 60)))["empty_bar_rate"] == pytest.approx(1 / 4)


def test_bars_of_one_length_in_two_meters_are_not_compared():
    changes = (meter(0, 3), meter(9, 6, 8))
    score = score_of((0, 1, 60), (3, 1, 60), (6, 1, 60), (9, 1, 60), (9.5, 1, 60), (12, 1, 60), meters=changes)
    # The three bars of the one meter are alike; the two of the other differ in one of 36 steps.
    assert piece_features(score)["groove_consistency"] == pytest.approx((3 + 35 / 36) / 4)


def test_unisons_count_once_and_octaves_twice():
    chord = [(0, 1, 60), (0, 2, 60), (0, 1, 72)]
    found = piece_features(score_of(*chord, (1, 1, 60), track=[0, 1, 2, 0], program=[56, 48, 0, 56]))
    assert found["note_density"] == 3 / 4
    # The longer unison holds C for two beats, and sounds on below the other C of the second beat.
    assert found["polyphony"] == pytest.approx((2 + 1) / 2)


def test_drums_change_no_standard_feature():
    notes = [(0, 1, 60), (1, 1, 64), (5, 2, 67)]
    beats = [(0, 1, 36), (2, 1, 38), (4, 1, 36), (6, 1, 38)]
    drummed = score_of(*notes, *beats, channel=[0, 0, 0, 9, 9, 9, 9])
    assert piece_features(drummed) == piece_features(score_of(*notes))


Bar = tuple[int, int, tuple[int, int]]  # First step, number of steps, meter.


def random_piece(rng: np.random.Generator) -> tuple[dict[tuple[int, int], int], list[Bar], Score]:
    """Random notes {(step, pitch): duration in steps}, the bars they lie in, and the score of both.

    Every third note is doubled, for a shorter time, by another instrument.
    """
    bars: list[Bar] = []
    meters, start = [], 0
    for signature in rng.permutation([(2, 4), (3, 4), (6, 8), (5, 8)])[:3].tolist():
        meters.append(Meter(start * STEP_TICKS, *signature))
        for _ in range(rng.integers(1, 6)):
            bars.append((start, 48 * signature[0] // signature[1], tuple(signature)))
            start += bars[-1][1]
    onsets = {(int(rng.integers(0, start // 3)) * 3, int(rng.integers(55, 70))) for _ in range(rng.integers(1, 60))}
    notes = {(bars[-1][0], 72): bars[-1][1]}  # Ends with the last bar.
    for step, pitch in sorted(onsets):
        # A note of one track ends before the next of its pitch starts.
        limit = min([other for other, one in onsets if one == pitch and other > step], default=start) - step
        notes[step, pitch] = int(rng.integers(1, min(40, limit) + 1))
    doubled = [(step, pitch, max(1, duration // 2)) for (step, pitch), duration in [*notes.items()][::3]]
    rows = [(step, pitch, duration) for (step, pitch), duration in notes.items()] + doubled
    step, pitch, duration = np.array(rows).T
    is_double = np.arange(len(rows)) >= len(notes)
    table = make_notes(
        step * STEP_TICKS, duration * STEP_TICKS, pitch, track=is_double, program=np.where(is_double, 56, 0)
    )
    return notes, bars, make_score(480, table, meters=meters)


@pytest.mark.parametrize("seed", range(20))
def test_the_definitions_give_the_same(seed: int):
    """Note by note and bar by bar, from the notes as they were made."""
    notes, bars, score = random_piece(np.random.default_rng(seed))
    classes = [pitch % 12 for _, pitch in notes]
    shares = [classes.count(pitch_class) / len(notes) for pitch_class in set(classes)]
    scales = [{(root + degree) % 12 for degree in (0, 2, 4, 5, 7, 9, 11)} for root in range(12)]
    num_steps = sum(length for _, length, _ in bars)
    sounding = [
        {pitch for (start, pitch), duration in notes.items() if start <= step < start + duration}
        for step in range(num_steps)
    ]
    cells = [
        {(step - start, pitch) for step, pitch in notes if start <= step < start + length} for start, length, _ in bars
    ]
    onsets = [{step for step, _ in bar} for bar in cells]
    agreement = [
        sum((step in onsets[a]) == (step in onsets[b]) for step in range(bars[a][1])) / bars[a][1]
        for a, b in itertools.combinations(range(len(bars)), 2)
        if bars[a][2] == bars[b][2]
    ]
    best = []
    for n, bar in enumerate(cells):
        earlier = [cells[m] for m in range(n - 1) if bars[m][2] == bars[n][2] and cells[m]]
        if bar and earlier:
            best.append(max(2 * len(bar & other) / (len(bar) + len(other)) for other in earlier))
    assert piece_features(score) == pytest.approx(
        {
            "pitch_class_entropy": -sum(share * math.log2(share) for share in shares),
            "scale_consistency": max(sum(one in scale for one in classes) for scale in scales) / len(notes),
            "groove_consistency": np.mean(agreement) if agreement else 0.0,
            "polyphony": np.mean([len(pitches) for pitches in sounding if pitches]),
            "note_density": len(notes) / (num_steps / 12),
            "empty_bar_rate": np.mean([not any(sounding[start : start + length]) for start, length, _ in bars]),
            "qualified_note_rate": np.mean([duration >= 1.5 for duration in notes.values()]),
            "bar_self_similarity": np.mean(best) if best else 0.0,
        }
    )


def test_a_piece_without_pitched_notes_has_values():
    for score in (score_of(), score_of((0, 1, 38), (9, 1, 38), channel=9)):
        assert piece_features(score) == dict.fromkeys(features.FEATURES, 0.0) | {"empty_bar_rate": 1.0}
