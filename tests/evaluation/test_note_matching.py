"""Scores of a reconstruction, against mir_eval and by hand."""

from __future__ import annotations

import mir_eval
import numpy as np
import pytest

from vae_jax.evaluation import note_matching
from vae_jax.evaluation.note_matching import count_matches
from vae_jax.music import score as score_lib
from vae_jax.music.match_counts import MatchCounts
from vae_jax.music.score import Score, Tempo, make_notes, make_score


def crowded_score(seed: int) -> Score:
    """Random music in which many notes of a pitch stand near each other, by a tempo map of its own."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 80))
    notes = make_notes(
        rng.integers(0, 2000, count), rng.integers(1, 600, count), rng.integers(60, 64, count), track=rng.integers(0, 3)
    )
    tempos = [Tempo(0, int(rng.integers(300_000, 900_000))), Tempo(900, int(rng.integers(300_000, 900_000)))]
    return make_score(480, notes, tempos=tempos)


def moved(score: Score, seed: int) -> Score:
    """The score with onsets and ends moved, some notes left out and some of another pitch."""
    rng = np.random.default_rng([seed, 1])
    notes = score.notes.select(rng.uniform(size=len(score.notes)) < 0.8)
    onset = np.maximum(notes.onset_ticks + rng.integers(-80, 81, len(notes)), 0)
    duration = np.maximum(notes.duration_ticks + rng.integers(-150, 151, len(notes)), 1)
    pitch = notes.pitch + (rng.uniform(size=len(notes)) < 0.1)
    return make_score(480, make_notes(onset, duration, pitch), tempos=score.tempos)


def by_mir_eval(reference: Score, estimate: Score, offsets: bool) -> tuple[float, float, float]:
    def prepared(score: Score) -> tuple[np.ndarray, np.ndarray]:
        ticks = np.stack([score.notes.onset_ticks, score.notes.end_ticks], axis=1)
        return score.seconds(ticks), mir_eval.util.midi_to_hz(score.notes.pitch.astype(float))

    arguments = (*prepared(reference), *prepared(estimate))
    ratio = 0.2 if offsets else None
    return mir_eval.transcription.precision_recall_f1_overlap(
        *arguments, onset_tolerance=0.05, pitch_tolerance=1.0, offset_ratio=ratio, offset_min_tolerance=0.05
    )[:3]


@pytest.mark.parametrize("offsets", [False, True], ids=["onsets", "offsets"])
def test_mir_eval_gives_the_same_scores(offsets: bool):
    found = set()
    for seed in range(40):
        reference = crowded_score(seed)
        estimate = moved(reference, seed)
        if not len(estimate.notes):
            continue
        counts = count_matches(reference, estimate, offsets=offsets)
        expected = by_mir_eval(reference, estimate, offsets)
        np.testing.assert_allclose((counts.precision, counts.recall, counts.f1), expected, rtol=1e-12, err_msg=seed)
        found.add(round(counts.f1, 2))
    assert len(found) > 10


def at(seconds: list[float], pitch: int = 60, duration: float = 1.0, channel: int = 0) -> Score:
    """Notes at these times: a tick is a millisecond."""
    onset = np.round(np.array(seconds) * 1000)
    return make_score(500, make_notes(onset, round(duration * 1000), [pitch] * len(seconds), channel=channel))


@pytest.mark.parametrize(("onset", "matched"), [(1.0, 1), (1.05, 1), (0.95, 1), (1.051, 0), (0.949, 0)])
def test_an_onset_matches_within_50_ms(onset: float, matched: int):
    assert count_matches(at([1.0]), at([onset])) == MatchCounts(matched, 1, 1)


@pytest.mark.parametrize(
    ("length", "estimated", "matched"),
    [(1.0, 1.2, 1), (1.0, 1.201, 0), (1.0, 0.8, 1), (1.0, 0.799, 0), (0.1, 0.15, 1), (0.1, 0.151, 0), (0.1, 0.05, 1)],
)
def test_an_end_matches_within_a_fifth_of_the_note_or_50_ms(length: float, estimated: float, matched: int):
    counts = count_matches(at([1.0], duration=length), at([1.0], duration=estimated), offsets=True)
    assert counts == MatchCounts(matched, 1, 1)


def test_another_pitch_does_not_match():
    assert count_matches(at([1.0], pitch=60), at([1.0], pitch=61)) == MatchCounts(0, 1, 1)
    assert count_matches(at([1.0], pitch=60), at([1.0], pitch=72)) == MatchCounts(0, 1, 1)


def test_each_note_is_used_once():
    assert count_matches(at([1.0]), at([1.0, 1.0, 1.01])) == MatchCounts(1, 1, 3)
    assert count_matches(at([1.0, 1.01, 1.02]), at([1.0])) == MatchCounts(1, 3, 1)


def test_as_many_notes_as_possible_are_matched():
    # The first of the original may take either; the second only the earlier one. A greedy search finds one pair.
    assert count_matches(at([1.04, 1.00]), at([1.00, 1.08])) == MatchCounts(2, 2, 2)
    assert count_matches(at([1.00, 1.06]), at([1.03, 0.96])) == MatchCounts(2, 2, 2)


def test_times_are_compared_in_seconds():
    slow = make_score(500, make_notes([1000], [1000], [60]), tempos=[Tempo(0, 1_000_000)])
    assert count_matches(slow, at([2.0], duration=2.0), offsets=True) == MatchCounts(1, 1, 1)
    assert count_matches(slow, at([1.0])) == MatchCounts(0, 1, 1)


def test_drums_are_scored_apart():
    notes = make_notes([0, 0], [1, 1], [60, 60], channel=[0, score_lib.DRUM_CHANNEL])
    both = make_score(500, notes)
    assert count_matches(both, at([0.0])) == MatchCounts(1, 1, 1)
    assert count_matches(both, at([0.0]), drums=True) == MatchCounts(0, 1, 0)
    assert count_matches(both, at([0.0], channel=9), drums=True) == MatchCounts(1, 1, 1)


def test_counts_add_up_and_f1_is_taken_from_the_sums():
    total = sum([MatchCounts(1, 2, 4), MatchCounts(3, 6, 4)], MatchCounts())
    assert total == MatchCounts(4, 8, 8)
    assert (total.precision, total.recall, total.f1) == (0.5, 0.5, 0.5)
    assert (MatchCounts(1, 2, 4).precision, MatchCounts(1, 2, 4).recall) == (0.25, 0.5)
    assert MatchCounts(1, 2, 4).f1 == pytest.approx(1 / 3)


def test_scores_of_nothing_are_zero():
    nothing = make_score(500, make_notes([], [], []))
    for counts in (count_matches(nothing, nothing), count_matches(at([0.0]), nothing), MatchCounts()):
        assert (counts.precision, counts.recall, counts.f1) == (0, 0, 0)


def test_the_bootstrap_interval_contains_the_estimate_and_is_the_same_for_the_same_seed():
    rng = np.random.default_rng(0)
    counts = [MatchCounts(int(rng.integers(0, 50)), 60, 50) for _ in range(30)]
    estimate = sum(counts, MatchCounts()).f1
    low, high = note_matching.bootstrap_f1(counts, range(30))
    assert low < estimate < high
    # The normal approximation of the same interval.
    spread = 1.96 * np.std([one.f1 for one in counts]) / np.sqrt(30)
    assert high - low == pytest.approx(2 * spread, rel=0.2)
    assert note_matching.bootstrap_f1(counts, range(30)) == [low, high]
    assert note_matching.bootstrap_f1(counts, range(30), seed=1) != [low, high]


def test_the_bootstrap_draws_the_pieces_of_a_tune_together():
    counts = [MatchCounts(10, 10, 10), MatchCounts(0, 10, 10)] * 10
    assert note_matching.bootstrap_f1(counts, [7] * 20) == [0.5, 0.5]
    paired = note_matching.bootstrap_f1(counts, [n // 2 for n in range(20)])
    assert paired == [0.5, 0.5]
    low, high = note_matching.bootstrap_f1(counts, range(20))
    assert low < 0.4 < 0.6 < high


def test_the_bootstrap_of_nothing_is_zero():
    assert note_matching.bootstrap_f1([], []) == [0, 0]
    assert note_matching.bootstrap_f1([MatchCounts()], [0]) == [0, 0]


def test_unisons_count_once():
    doubled = make_score(480, make_notes([0, 10, 480, 0, 0], 240, [60, 60, 60, 64, 60], track=[0, 1, 0, 0, 2]))
    single = note_matching.without_doublings(doubled)
    assert sorted(zip(single.notes.pitch.tolist(), single.notes.onset_ticks.tolist(), strict=True)) == [
        (60, 0),
        (60, 480),
        (64, 0),
    ]
    assert note_matching.without_doublings(make_score(480, make_notes([], [], []))) == make_score(
        480, make_notes([], [], [])
    )
    drums_beside = make_score(480, make_notes([0, 0], 240, [60, 60], channel=[0, 9]))
    assert len(note_matching.without_doublings(drums_beside).notes) == 2
