"""The composer's windows: cut from a roll at any step, encoded and decoded as the pieces that their beats are."""

from __future__ import annotations

import chex
import jax
import numpy as np
import pytest
from small_roll import MODEL, REPRESENTATION, started_variables

from vae_jax.composer import windows
from vae_jax.composer.windows import NoteLists, WindowedRoll, WindowInference
from vae_jax.data import synthetic
from vae_jax.models.inference import Inference
from vae_jax.music import instruments
from vae_jax.music.score import Score
from vae_jax.representations import arrays
from vae_jax.representations.pianoroll import beats, encoding
from vae_jax.representations.pianoroll.context import default_context
from vae_jax.representations.pianoroll.encoding import RollPiece, RollReport

ROLL = WindowedRoll.of(REPRESENTATION)
CALIBRATION = {"onset_threshold": -0.4, "drum_threshold": -0.2, "share_threshold": 0.1}


@pytest.fixture(scope="module")
def score() -> Score:
    return synthetic.make_score(3, 0)


@pytest.fixture(scope="module")
def piece(score: Score) -> RollPiece:
    return encoding.encode(score, ROLL)


@pytest.fixture(scope="module")
def inference() -> WindowInference:
    return WindowInference(Inference(MODEL, REPRESENTATION, started_variables(), CALIBRATION), ROLL)


def piece_of(*notes: tuple[int, int, int, int]) -> RollPiece:
    return RollPiece(np.array(notes, np.int32), 80, default_context(80, 4), RollReport(), ROLL)


def held(lists: NoteLists, window: int) -> list[list[int]]:
    return lists.notes[window][lists.mask[window]].tolist()


def test_windows_hold_the_notes_from_their_step_on():
    assert ROLL.window_steps == 32 and ROLL.steps_per_beat == 4
    lists = ROLL.encode_at(piece_of((3, 0, 5, 40), (31, 1, 6, 1), (32, 0, 7, 2)), np.array([0, 1, 32, -30, 500]))
    assert [held(lists, window) for window in range(5)] == [
        [[3, 0, 5, 40], [31, 1, 6, 1]],
        [[2, 0, 5, 40], [30, 1, 6, 1], [31, 0, 7, 2]],
        [[0, 0, 7, 2]],
        [],
        [],
    ]


def test_cells_are_the_distinct_pitched_onsets():
    lists = ROLL.encode_at(piece_of((3, 0, 5, 40), (3, 1, 5, 2), (9, instruments.DRUMS, 5, 1)), np.array([0, 32]))
    found = ROLL.window_cells(lists)
    assert found.shape == (2, 32 * 84) and found.toarray().sum() == 1
    assert found[0, 3 * 84 + 5] == 1


def test_beats_of_windows_are_those_of_the_piece(piece: RollPiece):
    starts = np.arange(0, piece.num_steps, 32)
    crops = ROLL.to_beats(ROLL.encode_at(piece, starts))
    assert crops.mask.shape == (len(starts), 8, ROLL.max_notes) and crops.inside.all()
    whole, _ = beats.split(piece.notes, 8 * len(starts), 4, ROLL.max_notes)
    chex.assert_trees_all_equal(jax.tree.map(lambda rows: rows.reshape(-1, *rows.shape[2:]), crops), whole)


def test_notes_that_exceed_a_beat_are_left_out():
    crowded = piece_of(*((n % 4, part, n, 1) for n in range(0, 40) for part in (0, 1)))
    notes = crowded.notes[np.argsort(crowded.notes[:, 0], kind="stable")]
    crops = ROLL.to_beats(NoteLists(notes[None], np.ones((1, 80), bool)))
    assert crops.mask[0].sum(axis=1).tolist() == [ROLL.max_notes, *[0] * 7]


def test_latents_of_a_window_are_those_of_its_beats(inference: WindowInference, piece: RollPiece):
    lists = ROLL.encode_at(piece, np.array([0, 12, 30]))
    z = inference.encode(lists)
    assert z.shape == (3, 24) == (3, inference.latent_dim)
    for n in range(3):
        alone = inference.inference.encode(arrays.take(ROLL.to_beats(lists), n)).mean
        np.testing.assert_allclose(z[n].reshape(8, 3), alone, rtol=1e-4, atol=1e-5)
    decoded = inference.decode(z)
    for n in range(3):
        joined = beats.join(inference.inference.decode(z[n].reshape(8, 3)), 4)
        mine = decoded.notes[n][decoded.mask[n]]
        np.testing.assert_array_equal(mine[np.lexsort(mine.T[[2, 1, 0]])], joined)
    assert decoded.mask.sum() > 20


def test_logits_of_windows_are_those_of_their_steps(inference: WindowInference):
    z = np.random.default_rng(0).normal(size=(2, 24)).astype(np.float32)
    found = jax.jit(lambda z: windows.decode_logits(MODEL, started_variables(), z, ROLL))(z)
    decoded = MODEL.apply(started_variables(), z.reshape(2, 8, 3), method="decode")
    for step in (0, 5, 31):
        for rows, expected in ((found.onset, decoded.onset), (found.drum, decoded.drum)):
            np.testing.assert_allclose(rows[:, step], expected[:, step // 4, step % 4], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found.share[:, step], decoded.share[:, step // 4], rtol=1e-5, atol=1e-5)


def test_a_piece_is_decoded_from_its_windows_up_to_its_end(inference: WindowInference):
    context = default_context(80, 4)  # Two windows and a half.
    z = np.random.default_rng(1).normal(size=(3, 24)).astype(np.float32)
    expected = inference.inference.decode_score(z.reshape(-1, 3)[:20], context)
    assert inference.decode_score(z, context) == expected
    assert len(expected.notes) > 20


def test_a_roll_of_unknown_durations_is_a_score():
    notes = ROLL.decode_notes(piece_of((0, 0, 5, 4), (4, instruments.DRUMS, 5, windows.UNKNOWN_DURATION))).notes
    assert notes.duration_ticks.tolist() == [480, 120]
    assert len(ROLL.decode_notes(ROLL.empty_piece(default_context(80, 4), 80)).notes) == 0
