"""Bars written anew between their neighbours."""

from __future__ import annotations

import dataclasses
import pathlib

import jax
import numpy as np
import pytest
from note_pieces import note_piece

from vae_jax.composer import infill as infill_lib
from vae_jax.composer import notes, requests, stage
from vae_jax.composer.stage import TrainedComposer
from vae_jax.data import synthetic
from vae_jax.data.corpus import Piece
from vae_jax.music import score as score_lib
from vae_jax.runtime.errors import UserError
from vae_jax.training.experiment import load_experiment


@pytest.fixture(scope="module")
def composer(small_run: pathlib.Path) -> TrainedComposer:
    return stage.load_composer(load_experiment(str(small_run)))


@pytest.fixture(scope="module")
def piece() -> Piece:
    score = synthetic.make_score(9, 0)
    return Piece("tune.mid", "tune", score_lib.cut(score, 32 * score.ticks_per_beat))


def rows(score: score_lib.Score) -> list[tuple[int, ...]]:
    columns = (getattr(score.notes, name).tolist() for name in score_lib.NOTE_COLUMNS)
    return sorted(zip(*columns, strict=True))


def test_only_the_bars_are_written_anew(composer: TrainedComposer, piece: Piece):
    """The rest stays to the tick, and so do the drums; new notes are those of the piece's own tracks."""
    original, request, end = requests.infill_request(composer, piece, 3, 4)
    versions = infill_lib.infill(composer, piece, (3, 4), 2, seed=1, num_candidates=3)
    ticks = piece.score.ticks_per_beat // 12
    start_tick, end_tick = request.opening_steps * ticks, end * ticks
    assert len({str(rows(one)) for one in versions}) == 2
    for score in versions:
        old, new = set(rows(piece.score)), set(rows(score))
        assert all(start_tick <= row[0] < end_tick for row in old ^ new)
        drums = [{row for row in one if row[3] == 9} for one in (old, new)]
        assert drums[0] == drums[1]
        assert {row[2:4] for row in new} <= {row[2:4] for row in old}
        assert {row for row in new if start_tick <= row[0] < end_tick and row[3] != 9}
        assert dataclasses.replace(score, notes=piece.score.notes) == piece.score
    assert original.end * ticks >= end_tick
    again = infill_lib.infill(composer, piece, (3, 4), 2, seed=1, num_candidates=3)
    assert again == versions


def test_a_splice_takes_the_middle_of_the_other():
    one = note_piece([(12 * n, 40, 12) for n in range(8)])
    other = note_piece([(12 * n, 50, 12) for n in range(8)])
    found = infill_lib.splice(one, other, 24, 60)
    assert found.pitch.tolist() == [40, 40, 50, 50, 50, 40, 40, 40]
    assert found.step.tolist() == one.step.tolist()


def test_the_bars_that_follow_choose(composer: TrainedComposer, piece: Piece):
    """By what the decoder says of them."""
    original, request, end = requests.infill_request(composer, piece, 2, 2)
    cost = infill_lib.nats_after(composer, request, original, end)
    assert np.isfinite(cost) and cost > 0
    later = dataclasses.replace(original, duration=np.where(original.step >= end, 1, original.duration))
    changed = infill_lib.nats_after(composer, request, later, end)
    assert changed != pytest.approx(cost)
    assert infill_lib.nats_after(composer, request, original, original.end) < cost / 2  # That it ends.


def test_candidates_are_drawn_by_their_weights(composer: TrainedComposer, piece: Piece, monkeypatch):
    """Of candidates of which one leaves the following bars likely, that one."""
    costs = iter([900.0, 1.0, 900.0, 900.0, 900.0, 1.0])
    found: list[notes.NotePiece] = []

    def cost(composer, request, candidate, end) -> float:
        found.append(candidate)
        return next(costs)

    monkeypatch.setattr(infill_lib, "nats_after", cost)
    versions = infill_lib.infill(composer, piece, (3, 4), 2, seed=5, num_candidates=3)
    for score, candidate in zip(versions, (found[1], found[5]), strict=True):
        written = notes.read_piece(score)
        assert len(written.step) == len(candidate.step)
        np.testing.assert_array_equal(written.step, candidate.step)


@pytest.mark.parametrize("bars", [(0, 1), (3, 2), (1, 99)])
def test_bars_that_are_not_there_are_refused(composer: TrainedComposer, piece: Piece, bars: tuple[int, int]):
    with pytest.raises(UserError, match="full bars; --bars="):
        infill_lib.infill(composer, piece, bars, 1, seed=0)


def test_keys_are_used_once(composer: TrainedComposer, piece: Piece):
    with jax.debug_key_reuse(True):
        assert infill_lib.infill(composer, piece, (1, 1), 1, seed=0, num_candidates=1)
