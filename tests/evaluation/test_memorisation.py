"""Copies are found, in any key; music that is not copied is not called so."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from vae_jax.data import synthetic
from vae_jax.evaluation import bar_grid, memorization
from vae_jax.evaluation.memorization import best_matches, score_memorisation
from vae_jax.music import score as score_lib
from vae_jax.music.score import Meter, Score, make_notes, make_score


@pytest.fixture(scope="module")
def pieces() -> list[Score]:
    return [score for _, score in synthetic.make_corpus(12, seed=2)]


def random_score(seed: int, meter: int) -> Score:
    rng = np.random.default_rng(seed)
    count = 60
    notes = make_notes(rng.integers(0, 40, count) * 240, 240, rng.integers(58, 66, count))
    return make_score(480, notes, meters=[Meter(0, meter, 4)])


def slow_best(score: Score, library: list[Score], num_bars: int) -> list[float]:
    """The best F1 of every window with enough in it, one pair at a time."""

    def window(piece: bar_grid.BarredPiece, start: int, length: int) -> set[tuple[int, int]]:
        inside = (piece.step >= start) & (piece.step < start + length)
        return set(zip((piece.step[inside] - start).tolist(), piece.pitch[inside].tolist(), strict=True))

    piece, others = bar_grid.lay_out(score), [bar_grid.lay_out(other) for other in library]
    best = []
    for start, end in zip(piece.bars[:-num_bars], piece.bars[num_bars:], strict=True):
        cells = window(piece, start, end - start)
        if len(cells) < 4 * num_bars or len({step for step, _ in cells}) < 3:
            continue
        found = 0.0
        for other in others:
            for bar, shift in itertools.product(other.bars[:-1], range(-11, 12)):
                theirs = {(step, pitch + shift) for step, pitch in window(other, bar, end - start)}
                found = max(found, 2 * len(cells & theirs) / (len(cells) + len(theirs)))
        best.append(found)
    return best


@pytest.mark.parametrize("num_bars", [1, 2])
def test_a_slow_search_finds_the_same(num_bars: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memorization, "_MAX_PAIRS", 50)  # Several chunks.
    scores = [random_score(0, 4), random_score(1, 3), random_score(2, 5)]
    library = [random_score(3, 4), random_score(4, 3)]
    found = best_matches(scores, [bar_grid.lay_out(score) for score in library], num_bars)
    for values, score in zip(found, scores, strict=True):
        np.testing.assert_allclose(values, slow_best(score, library, num_bars), rtol=1e-6)
        assert len(values) >= 3


def test_copies_in_another_key_are_found(pieces: list[Score]):
    copies = [score_lib.transpose(piece, 3) for piece in pieces[:6]]
    results = score_memorisation(pieces[:6], pieces[6:], copies, held_out_tunes=range(6), seed=0)
    for window in ("bar", "two_bars"):
        found = results[window]
        assert found["composed"]["near_exact"] == found["composed"]["mean"] == pytest.approx(1.0)
        assert found["held_out"]["near_exact"] < 0.05 and found["held_out"]["mean"] < 0.8
        assert found["exceeds_real"]
        assert found["near_exact_difference"] == pytest.approx(1 - found["held_out"]["near_exact"])


def test_held_out_music_is_no_copy(pieces: list[Score]):
    """The same pieces on both sides: no difference, though the composed side is drawn on its own."""
    results = score_memorisation(pieces[:6], pieces[6:], pieces[6:], held_out_tunes=range(6), seed=0)
    for found in results.values():
        assert found["composed"]["mean"] == found["held_out"]["mean"]
        low, high = found["mean_difference_interval"]
        assert low < 0 < high and not found["exceeds_real"]


def test_half_a_copy_is_told(pieces: list[Score]):
    """A composer that copies every second piece."""
    composed = [score_lib.transpose(pieces[0], -4), pieces[6], score_lib.transpose(pieces[1], 2), pieces[7]]
    found = score_memorisation(pieces[:6], pieces[8:], composed, held_out_tunes=range(4), seed=0)["bar"]
    assert 0.3 < found["composed"]["near_exact"] < 0.7
    assert found["composed"]["p95"] == 1.0


def test_a_held_chord_says_nothing():
    chord = make_score(480, make_notes([0] * 5, 1920, [48, 55, 60, 64, 67]))
    assert [len(values) for values in best_matches([chord], [bar_grid.lay_out(chord)], 1)] == [0]


def test_tunes_are_drawn_together(pieces: list[Score]):
    """A tune held out four times over is one tune: its interval has no width."""
    results = score_memorisation(pieces[:3], pieces[6:7] * 4, pieces[7:9], held_out_tunes=[5] * 4, seed=0)
    low, high = results["bar"]["held_out"]["mean_interval"]
    assert low == pytest.approx(high)


@pytest.mark.parametrize(("training", "held_out", "composed"), [(3, 0, 1), (0, 0, 0), (0, 2, 2), (3, 2, 0)])
def test_few_pieces_crash_nothing(pieces: list[Score], training: int, held_out: int, composed: int):
    results = score_memorisation(
        pieces[:training], pieces[6 : 6 + held_out], pieces[9 : 9 + composed], held_out_tunes=range(held_out), seed=0
    )
    found = results["bar"]
    assert (found["held_out"]["mean"] is None) == (held_out == 0)
    assert (found["composed"]["mean"] is None) == (composed == 0)
    assert (found["exceeds_real"] is None) == (held_out == 0 or composed == 0)
