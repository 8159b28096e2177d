"""Copies are found, in any key; other music is not taken for copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from vae_jax.data import synthetic
from vae_jax.evaluation import memorization
from vae_jax.evaluation.bar_grid import make_bar_grid
from vae_jax.evaluation.memorization import best_matches, longest_shared_runs, score_memorization
from vae_jax.evaluation.pieces import make_piece_set
from vae_jax.music import score as score_lib
from vae_jax.music.score import Meter, Score, make_notes, make_score


@pytest.fixture(scope="module")
def scores() -> list[Score]:
    return [score for _, score in synthetic.make_corpus(12, seed=2)]


def score(
    training: list[Score], held_out: list[Score], composed: list[Score], tunes: Sequence[int] | None = None
) -> dict[str, Any]:
    """Held-out pieces have these tunes, or each its own."""
    return score_memorization(
        make_piece_set(training), make_piece_set(held_out, tunes), make_piece_set(composed), seed=0
    )


def random_notes(seed: int) -> list[tuple[int, int]]:
    """Onsets in half beats and pitches; each note lasts half a beat, one ends with the twentieth beat."""
    rng = np.random.default_rng(seed)
    return [(39, 60), *zip(rng.integers(0, 40, 60).tolist(), rng.integers(58, 66, 60).tolist(), strict=True)]


def score_in(meter: int, notes: list[tuple[int, int]]) -> Score:
    onset, pitch = np.array(notes).T
    return make_score(480, make_notes(onset * 240, 240, pitch), meters=[Meter(0, meter, 4)])


def windows(notes: list[tuple[int, int]], meter: int, length: int, last_start: int) -> list[set[tuple[int, int]]]:
    """The (onset in the window, pitch) pairs from every bar line on; times in half beats, two to a beat of the bar."""
    return [
        {(onset - start, pitch) for onset, pitch in notes if start <= onset < start + length}
        for start in range(0, last_start + 1, 2 * meter)
    ]


@pytest.mark.parametrize("num_bars", [1, 2])
def test_a_search_pair_by_pair_finds_the_same(num_bars: int, monkeypatch: pytest.MonkeyPatch):
    """From the notes as they were made; bars of 3, 4 and 5 beats against bars of 3 and 4."""
    monkeypatch.setattr(memorization, "_MAX_PAIRS", 50)  # Several chunks.
    pieces, library = {0: 4, 1: 3, 2: 5}, {3: 4, 4: 3}
    found = best_matches(
        [make_bar_grid(score_in(meter, random_notes(seed))) for seed, meter in pieces.items()],
        [make_bar_grid(score_in(meter, random_notes(seed))) for seed, meter in library.items()],
        num_bars,
    )
    for values, (seed, meter) in zip(found, pieces.items(), strict=True):
        num_half_beats = -(-40 // (2 * meter)) * 2 * meter  # To the bar line at or after the end.
        length = num_bars * 2 * meter
        expected = []
        for cells in windows(random_notes(seed), meter, length, num_half_beats - length):
            if len(cells) < 4 * num_bars or len({onset for onset, _ in cells}) < 3:
                continue
            others = [window for n, m in library.items() for window in windows(random_notes(n), m, length, 39)]
            moved = [{(onset, pitch + shift) for onset, pitch in one} for one in others for shift in range(-24, 25)]
            expected.append(max(2 * len(cells & one) / (len(cells) + len(one)) for one in moved))
        assert len(expected) >= 3
        np.testing.assert_allclose(values, expected, rtol=1e-12)


@pytest.mark.parametrize(("semitones", "found"), [(-25, False), (-24, True), (-12, True), (19, True), (24, True)])
def test_copies_are_found_up_to_two_octaves_away(semitones: int, found: bool):
    """As a key an octave off, or one on the other side of it, wraps a copy."""
    original = score_in(4, random_notes(0))
    copy = make_bar_grid(score_lib.transpose(original, semitones))
    (values,) = best_matches([copy], [make_bar_grid(original)], 1)
    assert len(values) and np.all((values == 1) == found)


@pytest.mark.parametrize("semitones", [-24, 24])
def test_pitches_at_the_ends_of_the_range_match_no_other_step(semitones: int):
    """Notes moved past the pitches of their step, and past the last step, against the highest and the lowest."""
    high, low = ([(n, pitch + n % 2) for n in range(8)] for pitch in (106, 24))
    pieces = [make_bar_grid(score_in(4, notes)) for notes in (high, low)]
    for one, other in (pieces, pieces[::-1]):
        assert best_matches([one], [other], 1)[0].tolist() == [0]
        assert best_matches([one], [one], 1)[0].tolist() == [1]


def test_copies_in_another_key_are_found(scores: list[Score]):
    results = score(scores[:6], scores[6:], [score_lib.transpose(one, 3) for one in scores[:6]])
    for window in ("bar", "two_bars"):
        found = results[window]
        assert found["composed"]["near_exact"] == found["composed"]["mean"] == pytest.approx(1.0)
        assert found["held_out"]["near_exact"] < 0.05 and found["held_out"]["mean"] < 0.8
        assert found["exceeds_real"]
        assert found["near_exact_difference"] == pytest.approx(1 - found["held_out"]["near_exact"])


def test_held_out_music_is_no_copy(scores: list[Score]):
    """The same pieces on both sides: no difference, though the composed side is drawn on its own."""
    results = score(scores[:6], scores[6:], scores[6:])
    for found in results.values():
        assert found["composed"]["mean"] == found["held_out"]["mean"]
        low, high = found["mean_difference_interval"]
        assert low < 0 < high and not found["exceeds_real"]


def test_a_composer_that_copies_every_second_piece_is_found(scores: list[Score]):
    composed = [score_lib.transpose(scores[0], -4), scores[6], score_lib.transpose(scores[1], 2), scores[7]]
    found = score(scores[:6], scores[8:], composed)["bar"]
    assert 0.3 < found["composed"]["near_exact"] < 0.7
    assert found["composed"]["p95"] == 1.0


def test_a_held_chord_is_left_out():
    chord = make_bar_grid(make_score(480, make_notes([0] * 5, 1920, [48, 55, 60, 64, 67])))
    assert [len(values) for values in best_matches([chord], [chord], 1)] == [0]


def test_tunes_are_drawn_together(scores: list[Score]):
    """A tune held out four times over is one tune: its interval has no width."""
    results = score(scores[:3], scores[6:7] * 4, scores[7:9], [5] * 4)
    low, high = results["bar"]["held_out"]["mean_interval"]
    assert low == pytest.approx(high)


@pytest.mark.parametrize(("training", "held_out", "composed"), [(3, 0, 1), (0, 0, 0), (0, 2, 2), (3, 2, 0)])
def test_few_pieces_crash_nothing(scores: list[Score], training: int, held_out: int, composed: int):
    results = score(scores[:training], scores[6 : 6 + held_out], scores[9 : 9 + composed])
    for found in results.values():
        check_missing(found, held_out, composed)


def check_missing(found: dict[str, Any], held_out: int, composed: int):
    assert (found["held_out"]["mean"] is None) == (held_out == 0)
    assert (found["composed"]["mean"] is None) == (composed == 0)
    assert (found["exceeds_real"] is None) == (held_out == 0 or composed == 0)


# By melody.

TUNE = [(0, 60), (2, 62), (3, 64), (4, 65), (8, 67), (10, 64), (11, 60), (12, 62)]  # Onsets in half beats and pitches.


def run_of(piece: list[tuple[int, int]], *library: list[tuple[int, int]]) -> list[list[float]]:
    pieces, others = (make_piece_set([score_in(4, notes) for notes in group]) for group in ([piece], library))
    return [values.tolist() for values in longest_shared_runs(pieces.voices, others.voices)]


def test_the_longest_run_of_intervals_and_times_in_any_key_and_place():
    """The last five notes a fourth higher and a bar later, after another start; the times of the first note differ."""
    moved = [(0, 40), (7, 90), *((onset + 8, pitch + 5) for onset, pitch in TUNE[3:])]
    assert run_of(moved, TUNE) == [[5]]
    assert run_of(TUNE, moved, TUNE[:4]) == [[5]]
    assert run_of(TUNE, TUNE) == [[8]]


def test_a_run_ends_where_a_time_or_an_interval_differs_and_between_pieces():
    other_time = [*TUNE[:4], *((onset + 1, pitch) for onset, pitch in TUNE[4:])]
    assert run_of(other_time, TUNE) == [[4]]
    assert run_of(TUNE, TUNE[:4], TUNE[4:]) == [[4]]
    assert run_of(TUNE, [(0, 60), (16, 90)]) == [[1]]
    assert run_of(TUNE) == [[1]]


def test_a_melody_without_moves_is_not_compared():
    assert run_of([(0, 60)], TUNE) == [[]]
