"""What a new piece takes from one training piece, measured by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from beat_scores import meter, score_of

from vae_jax.composer import conditions as conditions_lib
from vae_jax.composer.conditions import PieceConditions
from vae_jax.composer.notes import read_piece
from vae_jax.data import synthetic
from vae_jax.music.score import Tempo
from vae_jax.runtime.json_dataclass import from_json, to_json

DRUMS = np.array([36, 38])


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(48, (4, 4)), (36, (3, 4)), (24, (2, 4)), (42, (7, 8)), (18, (3, 8)), (12, (1, 4)), (3, (1, 16))],
)
def test_meters_of_bars(steps, expected):
    assert conditions_lib.meter_of(steps) == expected


def test_a_waltz_with_a_pick_up_that_slows_down():
    score = score_of((0, 1, 67), *((1 + 3 * n, 3, 72) for n in range(4)), meters=(meter(0, 1), meter(1, 3)))
    score = dataclasses.replace(score, tempos=(Tempo(0, 500_000), Tempo(480 * 10, 1_000_000)))
    found = conditions_lib.read_conditions(score, read_piece(score), DRUMS)
    assert (found.meter, found.num_bars, found.pickup) == ((3, 4), 4, 12)
    seconds = 10 * 0.5 + 3 * 1.0
    assert found.beats_per_minute == pytest.approx(60 * 13 / seconds, abs=0.05)
    mean = 60 * 13 / seconds
    assert found.slowing == pytest.approx((120 / mean, 60 / mean), abs=1e-3)
    assert found.final == 36


def test_the_meter_of_most_bars():
    score = score_of(*((n, 1, 60) for n in range(14)), meters=(meter(0, 4), meter(8, 6, 8)))
    assert conditions_lib.read_conditions(score, read_piece(score), DRUMS).meter in ((4, 4), (6, 8))
    score = score_of(*((n, 1, 60) for n in range(20)), meters=(meter(0, 4), meter(8, 6, 8)))
    assert conditions_lib.read_conditions(score, read_piece(score), DRUMS).meter == (6, 8)


@pytest.mark.parametrize("index", range(3))
def test_conditions_are_kept_as_json(index):
    score = synthetic.make_score(3, index)
    found = conditions_lib.read_conditions(score, read_piece(score), DRUMS)
    assert from_json(PieceConditions, to_json(found)) == found
    assert len(found.lines) == len(np.unique(score.notes.line[~score.notes.is_drum]))
    assert len(found.dynamics.tracks) == len(found.lines) + 1
