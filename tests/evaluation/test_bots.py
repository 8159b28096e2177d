"""Bots: bars are moved as they are, and music that is put together as it was is the same music."""

from __future__ import annotations

import collections

import numpy as np
import pytest
from beat_scores import meter, score_of
from described import melody_of

from vae_jax.data import synthetic
from vae_jax.evaluation import bots
from vae_jax.evaluation.bar_grid import make_bar_grid
from vae_jax.evaluation.pieces import make_piece_set
from vae_jax.music.score import Score


@pytest.fixture(scope="module")
def scores() -> list[Score]:
    return [score for _, score in synthetic.make_corpus(5, seed=3)]


def bars_of(score: Score) -> list[tuple]:
    """The notes of each bar: step from the bar line, pitch, velocity, track."""
    grid = make_bar_grid(score)
    notes, scale = score.notes, 12 // score.ticks_per_beat if score.ticks_per_beat < 12 else score.ticks_per_beat / 12
    step = np.round(notes.onset_ticks / scale).astype(int)
    bar = grid.bar_of(step)
    rows = np.stack([step - grid.bars[bar], notes.pitch, notes.velocity, notes.track], axis=1)
    return [tuple(sorted(map(tuple, rows[bar == n].tolist()))) for n in range(grid.num_bars)]


def test_music_that_is_put_together_as_it_was_is_the_same(scores: list[Score]):
    """All features, of recorded timing as of scores entered by step; a shuffle may leave one bar in its place."""
    one_bar = [score_of((0.02, 1, 60), (1.01, 1, 64), (2, 1.1, 67), (2, 0.5, 36), channel=[0, 0, 0, 9])]
    for make in (bots.shuffle_bars, bots.sample_markov_chain, bots.recombine_bars):
        np.testing.assert_allclose(make_piece_set(make(one_bar, 0)).values, make_piece_set(one_bar).values, rtol=1e-6)
    sources = [bots._read(score) for score in scores]
    rebuilt = [
        bots._assemble(one, [(one, *one.bars[n : n + 2].tolist()) for n in range(len(one.bars) - 1)], one.bars[:-1])
        for one in sources
    ]
    np.testing.assert_allclose(make_piece_set(rebuilt).values, make_piece_set(scores).values, rtol=1e-6, atol=1e-9)


def test_a_shuffle_keeps_the_bars_of_each_length(scores: list[Score]):
    """A pick-up stays where it is; bars of 3/4 and 4/4 change places with their like."""
    score = score_of(
        *((beat, 1, 60 + beat) for beat in range(16)), meters=(meter(0, 1), meter(1, 3), meter(10, 4), meter(14, 2))
    )
    (shuffled,) = bots.shuffle_bars([score], seed=0)
    before, after = bars_of(score), bars_of(shuffled)
    assert after[0] == before[0] and sorted(after[1:4]) == sorted(before[1:4]) and after != before
    for score, mixed in zip(scores, bots.shuffle_bars(scores, seed=0), strict=True):
        assert collections.Counter(bars_of(score)) == collections.Counter(bars_of(mixed))


def test_bars_of_all_pieces_are_moved_to_the_key_and_the_tracks():
    """C major in one track, G major in two, drums in one of them: every bar is that of one of the two in the key."""
    tune = (60, 64, 67, 72, 71, 67, 65, 62, 60, 64, 60, 60)
    first = melody_of(*tune)
    second = score_of(
        *((beat, 1, pitch + 7) for beat, pitch in enumerate(tune)),
        *((beat, 1, 43) for beat in range(12)),
        (0, 1, 36),
        track=[4] * 12 + [5] * 12 + [6],
        channel=[0] * 12 + [1] * 12 + [9],
    )
    made = bots.recombine_bars([first, second] * 4, seed=0)
    tracks = [set(score.notes.track.tolist()) for score in made]
    assert all(found <= {0} for found in tracks[::2]) and all(found <= {4, 5, 6} for found in tracks[1::2])
    assert {36 in score.notes.pitch for score in made[::2]} == {False}
    for score in made:
        assert make_bar_grid(score).bars[-1] == 144
    steps = {(one.notes.pitch[one.notes.track == 0] % 12).tolist()[0] for one in made[::2] if len(one.notes)}
    assert steps <= {n % 12 for n in tune}


def test_a_markov_chain_follows_transitions_that_exist(scores: list[Score]):
    """In a tune of four different beats in a circle, only one beat follows each."""
    circle = melody_of(*[60, 64, 67, 72] * 6)
    (made,) = bots.sample_markov_chain([circle], seed=0)
    assert made.notes.pitch.tolist() == circle.notes.pitch.tolist()
    for score, other in zip(scores, bots.sample_markov_chain(scores, seed=0), strict=True):
        assert abs(make_bar_grid(score).num_bars - make_bar_grid(other).num_bars) <= 1
        assert bars_of(score)[0][:2] == bars_of(other)[0][:2]


@pytest.mark.parametrize("name", bots.BOTS)
def test_pieces_without_melody_or_bars_break_nothing(name: str):
    odd = [score_of(), score_of((0, 1, 36), channel=9), melody_of(60), score_of((0, 40, 60))]
    made = bots.BOTS[name](odd, 0)
    assert len(made) == 4 and not len(made[0].notes)
    assert bots.BOTS[name]([], 0) == []


def test_the_same_seed_gives_the_same_pieces(scores: list[Score]):
    for make in bots.BOTS.values():
        assert [one.notes for one in make(scores, 3)] == [one.notes for one in make(scores, 3)]
