"""Features of pieces: by hand, against slow oracles, and never without a number."""

from __future__ import annotations

import dataclasses
import itertools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.stats

from vae_jax.data import synthetic
from vae_jax.evaluation import bar_grid, features
from vae_jax.evaluation.bar_grid import BarredPiece
from vae_jax.evaluation.discriminator_features import judge_features
from vae_jax.evaluation.features import piece_features
from vae_jax.music import score as score_lib
from vae_jax.music.score import Meter, Score, make_notes, make_score
from vae_jax.representations.pianoroll import encoding
from vae_jax.representations.pianoroll.config import RollConfig

TICKS_PER_BEAT = 480


def score_of(*notes: tuple[float, float, int], meters: tuple[Meter, ...] = (), **columns) -> Score:
    """Notes as (onset in beats, duration in beats, pitch)."""
    onset, duration, pitch = np.array(notes, dtype=float).reshape(-1, 3).T
    table = make_notes(
        np.round(onset * TICKS_PER_BEAT), np.round(duration * TICKS_PER_BEAT), pitch.astype(int), **columns
    )
    return make_score(TICKS_PER_BEAT, table, meters=meters)


def meter(beat: float, numerator: int, denominator: int = 4) -> Meter:
    return Meter(round(beat * TICKS_PER_BEAT), numerator, denominator)


def random_score(seed: int) -> Score:
    """Notes on the grid and off it, in changing meters, from a pick-up on."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 120))
    onset = rng.integers(0, 60, count) * 240 + rng.integers(0, 2) * rng.integers(-40, 40, count)
    changes = [Meter(0, 1, 4), Meter(480, int(rng.integers(2, 8)), 4), Meter(480 * 23, int(rng.integers(3, 13)), 8)]
    notes = make_notes(
        np.maximum(onset, 0),
        rng.integers(1, 2000, count),
        rng.integers(40, 80, count),
        track=rng.integers(0, 3, count),
        channel=rng.choice([0, 1, 9], count),
    )
    return make_score(TICKS_PER_BEAT, notes, meters=changes[: rng.integers(0, 4)])


def onset_cells(piece: BarredPiece) -> list[set[tuple[int, int]]]:
    """The (step in the bar, pitch) pairs of each bar."""
    cells: list[set[tuple[int, int]]] = [set() for _ in range(piece.num_bars)]
    for step, pitch in zip(piece.step.tolist(), piece.pitch.tolist(), strict=True):
        bar = max(n for n in range(piece.num_bars) if piece.bars[n] <= step)
        cells[bar].add((step - int(piece.bars[bar]), pitch))
    return cells


def f1(a: set, b: set) -> float:
    return 2 * len(a & b) / (len(a) + len(b))


ARPEGGIO = [(0, 1, 60), (1, 1, 64), (2, 2, 67)]


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
    piece = bar_grid.lay_out(score)
    assert piece.bars.tolist() == [0, 36, 72, 108, 144, 180]
    assert piece.bar_kind.tolist() == [0, 0, 0, 1, 1]
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
    assert judge_features(drummed)["drum_hits_per_beat"] == 4 / 8 and judge_features(drummed)["share_drums"] == 4 / 7


@pytest.mark.parametrize("seed", range(20))
def test_slow_oracles_agree(seed: int):
    score = random_score(seed)
    piece, found = bar_grid.lay_out(score), piece_features(score)
    counts = np.bincount(piece.pitch % 12, minlength=12)
    assert found["pitch_class_entropy"] == pytest.approx(scipy.stats.entropy(counts, base=2))

    on = np.zeros((int(max(piece.bars[-1], piece.end.max())), 128), dtype=bool)
    for step, end, pitch in zip(piece.step, piece.end, piece.pitch, strict=True):
        on[step:end, pitch] = True
    assert found["polyphony"] == pytest.approx(on.sum() / on.any(axis=1).sum())
    empty = [not on[start:end].any() for start, end in itertools.pairwise(piece.bars)]
    assert found["empty_bar_rate"] == pytest.approx(np.mean(empty))

    cells, lengths, kinds = onset_cells(piece), np.diff(piece.bars), piece.bar_kind
    alike = [
        1 - len({step for step, _ in cells[a]} ^ {step for step, _ in cells[b]}) / lengths[a]
        for a, b in itertools.combinations(range(piece.num_bars), 2)
        if kinds[a] == kinds[b]
    ]
    assert found["groove_consistency"] == pytest.approx(np.mean(alike) if alike else 0.0)

    best = []
    for bar in range(piece.num_bars):
        others = [f1(cells[bar], cells[n]) for n in range(bar - 1) if kinds[n] == kinds[bar] and cells[n]]
        if cells[bar] and others:
            best.append(max(others))
    assert found["bar_self_similarity"] == pytest.approx(np.mean(best) if best else 0.0)


def test_a_piece_without_pitched_notes_has_values():
    for score in (score_of(), score_of((0, 1, 38), (9, 1, 38), channel=9)):
        found = piece_features(score)
        assert tuple(found) == features.FEATURES
        assert found == dict.fromkeys(features.FEATURES, 0.0) | {"empty_bar_rate": 1.0}
        assert np.isfinite(list(judge_features(score).values())).all()


@st.composite
def scores(draw: st.DrawFn) -> Score:
    count = draw(st.integers(0, 12))

    def column(low: int, high: int) -> list[int]:
        return draw(st.lists(st.integers(low, high), min_size=count, max_size=count))

    notes = make_notes(column(0, 3000), column(1, 1500), column(0, 127), channel=column(8, 9), track=column(0, 2))
    changes = draw(st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 9), st.sampled_from([2, 4, 8, 16]))))
    return make_score(draw(st.sampled_from([24, 96, 480])), notes, meters=[Meter(*change) for change in changes])


@hypothesis.given(scores())
@hypothesis.settings(max_examples=150)
def test_every_feature_is_a_number(score: Score):
    found = judge_features(score)
    assert tuple(found)[: len(features.FEATURES)] == features.FEATURES
    assert np.isfinite(list(found.values())).all()
    for name in ("scale_consistency", "groove_consistency", "empty_bar_rate", "bar_self_similarity"):
        assert 0 <= found[name] <= 1


@pytest.mark.parametrize("semitones", [-4, 1, 5])
def test_the_judge_does_not_hear_the_key(semitones: int):
    score = synthetic.make_score(0, 7)
    before, after = judge_features(score), judge_features(score_lib.transpose(score, semitones))
    octaves = (after.pop("pitch_mean") - before.pop("pitch_mean")) / 12
    assert after == pytest.approx(before) and octaves == pytest.approx(round(octaves))


def test_the_judge_does_not_see_the_file():
    """Neither the resolution, the tempo nor the way through the roll and back."""
    score = synthetic.make_score(0, 5)
    notes = score.notes
    twice = make_score(
        score.ticks_per_beat * 2,
        notes.replace(onset_ticks=notes.onset_ticks * 2, duration_ticks=notes.duration_ticks * 2),
        meters=[dataclasses.replace(change, tick=change.tick * 2) for change in score.meters],
        tempos=[dataclasses.replace(change, tick=change.tick * 2) for change in score.tempos],
    )
    decoded = encoding.decode(encoding.encode(score, RollConfig()))
    assert judge_features(twice) == pytest.approx(judge_features(score))
    assert judge_features(decoded) == pytest.approx(judge_features(score))


def test_the_judge_features_of_a_scale():
    """C major up and down in quarters, each note held for half of its beat, to a long last C."""
    pitches = [60, 62, 64, 65, 67, 69, 71, 72, 71, 69, 67, 65, 64, 62, 59]
    found = judge_features(score_of(*((beat, 0.5, pitch) for beat, pitch in enumerate(pitches)), (15, 2, 60)))
    assert found["out_of_scale"] == 0 and found["is_minor"] == 0
    assert found["pitch_range"] == 13
    # Fifteen intervals: thirteen steps and a minor third downwards, then a step up.
    assert (found["top_step"], found["top_third"], found["top_repeat"]) == pytest.approx((14 / 15, 1 / 15, 0))
    assert found["top_rising"] == pytest.approx(8 / 15) and found["top_turning"] == pytest.approx(2 / 14)
    assert found["onset_on_beat"] == 1 and found["onset_on_downbeat"] == pytest.approx(4 / 16)
    assert found["gap_log_mean"] == 0 and found["gap_entropy"] == 0 and found["gap_repeats"] == 1
    assert found["duration_of_gap_mean"] == pytest.approx(0.5) and found["staccato"] == 1
    assert found["silence"] == pytest.approx(7.5 / 17)
    assert found["ends_on_tonic"] == found["top_ends_on_tonic"] == found["ends_on_triad"] == 1
    assert found["final_log_length"] == pytest.approx(np.log2(2 / ((15 * 0.5 + 2) / 16)))
    assert found["num_parts"] == 1 and found["share_keys"] == 1 and found["doubling"] == 1
    # One note, the A, stands in its place in the next bar too; the last note rings on into a fifth bar.
    assert found["num_bars"] == 5 and found["rhythm_lag_1"] == 1
    assert found["similarity_lag_1"] == pytest.approx((0 + 2 / 8 + 0) / 3)


def test_the_judge_features_of_chords():
    found = judge_features(score_of((0, 1, 60), (0, 1, 64), (0, 1, 67), (1, 1, 59), (1, 1, 60)))
    assert found["chord_size_mean"] == 2.5 and found["onset_chord_size_sd"] == 0.5
    pairs = {name: value for name, value in found.items() if name.startswith("harmonic_interval") and value}
    assert pairs == {f"harmonic_interval_{n}": 0.25 for n in (1, 3, 4, 7)}
    assert found["consonance"] == 0.75  # The thirds and the fifth, not the semitone.
    assert found["bass_step"] == 1 and found["top_fourth_fifth"] == 1
    # E and G go, B comes.
    assert found["chord_change"] == 3
