"""The target of a likelihood, by hand."""

from __future__ import annotations

import pytest
from beat_scores import score_of

from vae_jax.evaluation.likelihood.target import PieceNats, make_grid_piece
from vae_jax.music.instruments import BASS, KEYS
from vae_jax.representations.pianoroll.config import RollConfig
from vae_jax.representations.pianoroll.durations import DURATION_STEPS

CONFIG = RollConfig(normalize_tonic=False)


def test_a_unison_is_one_note_with_both_parts_and_its_longest_duration():
    score = score_of((0, 1, 60), (0, 2, 60), (0, 1, 67), (1.5, 0.25, 62), track=[0, 1, 0, 0], program=[0, 32, 0, 0])
    piece = make_grid_piece(score, CONFIG)
    assert (piece.step.tolist(), (piece.pitch + 24).tolist()) == ([0, 0, 18], [67, 60, 62])
    assert DURATION_STEPS[piece.duration].tolist() == [12, 24, 3]
    assert piece.parts.tolist() == [1 << KEYS, 1 << KEYS | 1 << BASS, 1 << KEYS]
    assert (piece.num_steps, piece.num_beats) == (48, 4.0)


def test_drums_are_apart():
    piece = make_grid_piece(score_of((0, 1, 38), (1, 1, 42), (1, 1, 38), channel=9), CONFIG)
    assert len(piece.step) == 0
    assert sorted(zip(piece.drum_step.tolist(), (piece.drum_pitch + 24).tolist(), strict=True)) == [
        (0, 38),
        (12, 38),
        (12, 42),
    ]


def test_nats_are_added_to_terms_that_the_model_has_and_to_its_bound():
    nats = PieceNats(onsets=1.0, drums=2.0, kl=5.0, importance_weighted=7.0).plus(onsets=0.5, parts=3.0, drums=None)
    assert nats == PieceNats(onsets=1.5, drums=2.0, kl=5.0, importance_weighted=7.5)
    assert PieceNats(onsets=1.0).plus(onsets=2.0) == PieceNats(onsets=pytest.approx(3.0))
