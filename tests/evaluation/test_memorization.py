"""Copies are found, in any key; other music is not taken for copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from vae_jax.data import synthetic
from vae_jax.evaluation import memorization
from vae_jax.evaluation.bar_grid import BarGrid, PieceSet, make_bar_grid
from vae_jax.evaluation.memorization import best_matches, score_memorization
from vae_jax.music import score as score_lib
from vae_jax.music.score import Meter, Score, make_notes, make_score


@pytest.fixture(scope="module")
def scores() -> list[Score]:
    return [score for _, score in synthetic.make_corpus(12, seed=2)]


@pytest.fixture(scope="module")
def pieces(scores: list[Score]) -> list[BarGrid]:
    return [make_bar_grid(score) for score in scores]


def transposed(score: Score, semitones: int) -> BarGrid:
    return make_bar_grid(score_lib.transpose(score, semitones))


def score(
    training: list[BarGrid], held_out: list[BarGrid], composed: list[BarGrid], tunes: Sequence[int] = ()
) -> dict[str, Any]:
    """Held-out pieces have these tunes, or each its own."""
    tunes = tunes or range(len(held_out))
    sets = PieceSet(training, range(len(training))), PieceSet(held_out, tunes), PieceSet(composed, range(len(composed)))
    return score_memorization(*sets, seed=0)


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
            moved = [{(onset, pitch + shift) for onset, pitch in one} for one in others for shift in range(-11, 12)]
            expected.append(max(2 * len(cells & one) / (len(cells) + len(one)) for one in moved))
        assert len(expected) >= 3
        np.testing.assert_allclose(values, expected, rtol=1e-12)


@pytest.mark.parametrize(("semitones", "found"), [(-12, False), (-11, True), (11, True), (12, False)])
def test_copies_are_found_up_to_eleven_semitones_away(semitones: int, found: bool):
    original = score_in(4, random_notes(0))
    (values,) = best_matches([transposed(original, semitones)], [make_bar_grid(original)], 1)
    assert len(values) and np.all((values == 1) == found)


def test_copies_in_another_key_are_found(scores: list[Score], pieces: list[BarGrid]):
    copies = [transposed(score, 3) for score in scores[:6]]
    results = score(pieces[:6], pieces[6:], copies)
    for window in ("bar", "two_bars"):
        found = results[window]
        assert found["composed"]["near_exact"] == found["composed"]["mean"] == pytest.approx(1.0)
        assert found["held_out"]["near_exact"] < 0.05 and found["held_out"]["mean"] < 0.8
        assert found["exceeds_real"]
        assert found["near_exact_difference"] == pytest.approx(1 - found["held_out"]["near_exact"])


def test_held_out_music_is_no_copy(pieces: list[BarGrid]):
    """The same pieces on both sides: no difference, though the composed side is drawn on its own."""
    results = score(pieces[:6], pieces[6:], pieces[6:])
    for found in results.values():
        assert found["composed"]["mean"] == found["held_out"]["mean"]
        low, high = found["mean_difference_interval"]
        assert low < 0 < high and not found["exceeds_real"]


def test_a_composer_that_copies_every_second_piece_is_found(scores: list[Score], pieces: list[BarGrid]):
    composed = [transposed(scores[0], -4), pieces[6], transposed(scores[1], 2), pieces[7]]
    found = score(pieces[:6], pieces[8:], composed)["bar"]
    assert 0.3 < found["composed"]["near_exact"] < 0.7
    assert found["composed"]["p95"] == 1.0


def test_a_held_chord_is_left_out():
    chord = make_bar_grid(make_score(480, make_notes([0] * 5, 1920, [48, 55, 60, 64, 67])))
    assert [len(values) for values in best_matches([chord], [chord], 1)] == [0]


def test_tunes_are_drawn_together(pieces: list[BarGrid]):
    """A tune held out four times over is one tune: its interval has no width."""
    results = score(pieces[:3], pieces[6:7] * 4, pieces[7:9], [5] * 4)
    low, high = results["bar"]["held_out"]["mean_interval"]
    assert low == pytest.approx(high)


@pytest.mark.parametrize(("training", "held_out", "composed"), [(3, 0, 1), (0, 0, 0), (0, 2, 2), (3, 2, 0)])
def test_few_pieces_crash_nothing(pieces: list[BarGrid], training: int, held_out: int, composed: int):
    results = score(pieces[:training], pieces[6 : 6 + held_out], pieces[9 : 9 + composed])
    found = results["bar"]
    assert (found["held_out"]["mean"] is None) == (held_out == 0)
    assert (found["composed"]["mean"] is None) == (composed == 0)
    assert (found["exceeds_real"] is None) == (held_out == 0 or composed == 0)
