"""Pieces as notes: order and roles in a chord, merged unisons, and that no note is lost."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from beat_scores import meter, score_of
from note_pieces import CHORDS, note_piece

from vae_jax.composer import crops as crops_lib
from vae_jax.composer import lines as lines_lib
from vae_jax.composer import notes as notes_lib
from vae_jax.composer.notes import read_piece
from vae_jax.data import synthetic
from vae_jax.evaluation.likelihood.composer import GRID
from vae_jax.evaluation.likelihood.target import make_grid_piece
from vae_jax.music import key as key_lib
from vae_jax.music.key import Tonic
from vae_jax.music.score import EMPTY
from vae_jax.representations.pianoroll.config import RollConfig

C, G = Tonic(0, False, 1.0), Tonic(7, False, 1.0)


def test_a_chord_is_soprano_bass_and_inner_voices_from_above():
    piece = read_piece(score_of((1, 1, 64), (1, 2, 48), (1, 1, 72), (1, 1, 67), (0, 1, 74), (2, 1, 50), (2, 1, 71)), C)
    assert piece.step.tolist() == [0, 12, 12, 12, 12, 24, 24]
    assert (piece.pitch + notes_lib.MIN_PITCH).tolist() == [74, 72, 48, 67, 64, 71, 50]
    assert piece.duration.tolist() == [12, 12, 24, 12, 12, 12, 12]
    assert notes_lib.in_order(piece.step, piece.pitch)[1].tolist() == [0, 0, 1, 2, 3, 0, 1]


def test_pieces_are_in_c_and_folded_into_the_range():
    piece = read_piece(score_of((0, 1, 67), (1, 1, 20), (2, 1, 120)), G)
    assert sorted((piece.pitch + notes_lib.MIN_PITCH) % 12) == sorted([0, 20 + 5 - 24, (120 + 5) % 12])
    assert piece.pitch.min() >= 0 and piece.pitch.max() < notes_lib.NUM_PITCHES


def test_a_unison_is_one_note_of_several_tracks():
    piece = read_piece(
        score_of((0, 1, 60), (0, 3, 60), (1, 1, 62), (2, 1, 38), track=[0, 1, 1, 2], channel=[0, 1, 1, 9]), C
    )
    assert (piece.step.tolist(), piece.duration.tolist()) == ([0, 12], [36, 12])
    assert piece.tracks.tolist() == [0b11, 0b10]


def test_bars_and_pick_up():
    piece = read_piece(score_of((0, 1, 60), (1, 6, 62), meters=(meter(0, 1), meter(1, 3))), C)
    assert (piece.bars.tolist(), piece.bar, piece.end, piece.form.start) == ([0, 12, 48, 84], 36, 84, 12)
    position, bar, left, hyper = notes_lib.place_at(np.array([0, 6, 12, 60]), piece)
    assert position.tolist() == [24, 30, 0, 12]  # The pick-up lies at the end of its bar.
    assert (bar.tolist(), left.tolist(), hyper.tolist()) == ([36] * 4, [84, 78, 72, 24], [7, 7, 0, 1])
    assert piece.num_phrases == 2


@pytest.mark.parametrize("index", [0, 1, 2])
def test_the_target_of_likelihoods_holds_the_same_notes(index):
    score = synthetic.make_score(5, index)
    grid = make_grid_piece(score, RollConfig(**GRID))
    tonic = key_lib.estimate_tonic(score.notes)
    piece = read_piece(score, tonic)
    mine = zip(piece.step, piece.pitch, piece.tracks, strict=True)
    theirs = zip(grid.step, grid.pitch, grid.parts, strict=True)
    parts = [line.part for line in lines_lib.read_lines(score, piece, tonic)]
    found = {tuple(note): {part for n, part in enumerate(parts) if tracks >> n & 1} for *note, tracks in mine}
    assert found == {tuple(note): {c for c in range(7) if bits >> c & 1} for *note, bits in theirs}
    assert piece.end == grid.num_steps and np.array_equal(piece.bars, grid.roll.bars)


def test_a_score_without_notes():
    piece = read_piece(EMPTY)
    assert len(piece.step) == 0 and piece.end > 0
    assert not notes_lib.measure_style(piece).any()


def test_lines_that_are_left_out_leave_no_note():
    piece = note_piece(CHORDS, tracks=[1, 2, 4, 1, 5, 2, 4])
    fewer = notes_lib.keep_lines(piece, np.array([0, 2]))
    assert list(zip(fewer.step, fewer.pitch, fewer.tracks, strict=True)) == [
        *((0, 40, 1), (0, 30, 2), (12, 42, 1)),
        *((24, 40, 3), (24, 32, 2)),
    ]


def test_a_joined_piece_repeats_the_first():
    piece = note_piece(CHORDS)
    both = notes_lib.join(piece, piece)
    assert np.array_equal(both.step, np.concatenate([piece.step, piece.end + piece.step]))
    assert both.bars.tolist() == [0, 48, 96, 144, 192]
    assert both.form.lag_at(np.array([0, 95, 96, 191, 192])).tolist() == [0, 0, 96, 96, 0]


def test_style_by_hand():
    style = notes_lib.measure_style(note_piece(CHORDS))
    sizes, pitches = (3, 1, 3), [note[1] for note in CHORDS]
    lengths = [note[2] / 12 for note in CHORDS]
    assert style == pytest.approx(
        [
            np.log(7 / 8) - 1.2,
            np.mean(sizes) / 3 - 1,
            np.std(sizes) - 1,
            (np.mean(pitches) - 36) / 12,
            np.mean(np.log2(lengths)),
            3 * (1 / 6 - 0.25),  # The melody goes up and down by two semitones.
            3 * (4.6 / 6 - 0.65),
            3 * (3 / 5 - 0.5),
            0,  # Soprano and bass never move at once.
            1,
        ],
        abs=1e-6,
    )


def test_lags_are_a_beat_bars_and_the_form():
    form = note_piece([(96 * n, 40, 12) for n in range(3)], range(0, 289, 48)).form
    lags = notes_lib.lags_at(np.array([0, 96, 200]), 48, form)
    assert lags.tolist() == [[12, 48, 96, 192, 384, lag] for lag in (0, 96, 96)]


def test_plan_features_are_zero_without_a_plan():
    found = notes_lib.plan_features(np.array([0.5, 0.9, 0.9]), np.array([True, True, False]))
    assert found == pytest.approx(np.array([[1, 0.5, 0.125, 0, 0, 0], [1, 0.9, 0.729, 1, 0, 0], [0] * 6]))


def test_order_of_many_notes():
    rng = np.random.default_rng(0)
    cells = rng.choice(20 * 30, 200, replace=False)
    step, pitch = cells // 30, cells % 30
    order, role = notes_lib.in_order(step, pitch)
    for _, rows in itertools.groupby(zip(step[order], pitch[order], role, strict=True), key=lambda row: row[0]):
        pitches, roles = zip(*((pitch, role) for _, pitch, role in rows), strict=True)
        assert roles == tuple(range(len(roles)))
        highest = sorted(pitches, reverse=True)
        assert list(pitches) == highest[:1] + highest[1:][-1:] + highest[1:-1]


def test_the_top_voice_is_what_starts_above_all_that_sounds():
    """A note below a held one is left out, one above it ends it; where the top is silent, what sounds on top is it."""
    piece = note_piece([(0, 40, 48), (0, 20, 48), (12, 30, 12), (24, 45, 12), (48, 25, 12), (60, 25, 36)])
    voice = notes_lib.top_voice(piece)
    found = list(zip(voice.step.tolist(), voice.pitch.tolist(), voice.duration.tolist(), strict=True))
    assert found == [(0, 40, 24), (24, 45, 12), (48, 25, 12), (60, 25, 36)]


@pytest.mark.parametrize("index", [0, 1, 2])
def test_at_the_end_of_a_piece_the_motion_so_far_is_its_style(index):
    piece = read_piece(synthetic.make_score(5, index))
    so_far = notes_lib.motion_style(*crops_lib.make_features(piece)["moves"][-1])
    assert so_far == pytest.approx(notes_lib.measure_style(piece)[-5:-1], abs=1e-6)
