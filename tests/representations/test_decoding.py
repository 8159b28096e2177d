"""Logits to notes: thresholds, their calibration, duration classes."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import sklearn.metrics
from small_roll import REPRESENTATION, rasterized

from vae_jax.data import synthetic
from vae_jax.evaluation import note_matching
from vae_jax.music import instruments
from vae_jax.representations.base import Encoded
from vae_jax.representations.pianoroll import beats, decoding
from vae_jax.representations.pianoroll.beats import BeatLists
from vae_jax.representations.pianoroll.config import PITCH, STEP
from vae_jax.representations.pianoroll.context import default_context
from vae_jax.representations.pianoroll.decoding import DURATION_STEPS, RollLogits, most_probable_steps
from vae_jax.representations.pianoroll.rasterize import DURATION_EDGES, DURATION_REGISTER

DEFAULT = REPRESENTATION.default_calibration()
NUM_REGISTERS = 84 // DURATION_REGISTER


def perfect_logits(lists: BeatLists) -> RollLogits:
    """The logits of a model without errors, as far as they can express the beats: a pitch has the same parts all
    through a beat, notes of a part, half of a beat and register have one duration class."""
    x = jax.tree.map(lambda array: array[0], rasterized(jax.tree.map(lambda array: array[None], lists)))
    rolls, counts = x.onsets > 0, x.outlasting.astype(int)
    truths = rolls[..., :-1].any(-1), rolls[..., -1], rolls[..., :-1].any(1), 2 * counts[..., 1:] > counts[..., :-1]
    return RollLogits(*(np.where(truth, 5.0, -5.0) for truth in truths))


def low_logits(num_beats: int = 1) -> RollLogits:
    steps, pitches, num_parts = REPRESENTATION.example_shape
    shapes = (
        (steps, pitches),
        (steps, pitches),
        (pitches, num_parts - 1),
        (2, NUM_REGISTERS, num_parts - 1, len(DURATION_EDGES)),
    )
    return RollLogits(*(np.full((num_beats, *shape), -9.0) for shape in shapes))


def test_perfect_logits_give_a_piece_back_whose_notes_last_as_long_as_their_register():
    rng = np.random.default_rng(0)
    rows = []
    for step in range(0, 80, 3):  # At most one step in half a beat.
        duration = rng.choice(DURATION_STEPS, (instruments.NUM_PARTS, NUM_REGISTERS))
        for part in range(instruments.NUM_PARTS):  # Each has registers of its own, so that no pitch changes its part.
            for pitch in rng.choice(10, rng.integers(0, 3), replace=False) + 10 * part:
                is_drum = part == instruments.DRUMS
                rows.append([step, part, pitch, 1 if is_drum else duration[part, pitch // DURATION_REGISTER]])
    notes = np.array(rows)[np.lexsort(np.array(rows).T[[2, 1, 0]])]
    lists, num_overflow = beats.split(notes, 20, REPRESENTATION.steps_per_beat, REPRESENTATION.max_notes)
    assert num_overflow == 0 and len(notes) > 150
    decoded = REPRESENTATION.from_outputs(perfect_logits(lists), DEFAULT)
    np.testing.assert_array_equal(beats.join(decoded, REPRESENTATION.steps_per_beat), notes)
    assert decoded.inside.all()


def test_perfect_logits_of_music_give_every_onset_back():
    encoded = REPRESENTATION.encode(synthetic.make_score(5, 0))
    lists = REPRESENTATION.from_outputs(perfect_logits(encoded.examples), DEFAULT)
    counts = REPRESENTATION.grid.count_matches(encoded, lists, by_part=False)
    assert counts.f1 == 1 and counts.reference > 100
    decoded = REPRESENTATION.decode(Encoded(lists, encoded.context))
    ceiling = REPRESENTATION.decode(encoded)
    pitched = note_matching.count_matches(ceiling, decoded)  # A pitch may change its part within a beat, none is lost.
    assert pitched.matched == pitched.reference > 100
    drums = note_matching.count_matches(ceiling, decoded, drums=True)
    assert drums.matched == drums.reference == drums.estimate == ceiling.notes.is_drum.sum()


def test_a_pitch_with_an_onset_has_a_part_even_where_all_shares_are_low():
    logits = low_logits()
    logits.onset[0, 3, 40] = 2.0
    logits.share[0, 40, instruments.ORGAN] = -3.0
    lists = REPRESENTATION.from_outputs(logits, DEFAULT)
    assert lists.mask.sum() == 1
    assert lists.notes[0, 0].tolist() == [3, instruments.ORGAN, 40, 1]


def test_every_part_above_its_threshold_takes_the_note_and_drums_have_their_own():
    logits = low_logits()
    logits.onset[0, 3, 40] = 2.0
    logits.share[0, 40, [instruments.ORGAN, instruments.WINDS, instruments.BASS]] = 0.4, 0.6, -0.1
    logits.drum[0, 2, 12] = -0.5
    for thresholds, expected in (
        ({}, {(3, instruments.ORGAN), (3, instruments.WINDS)}),
        ({"share_threshold": 0.5}, {(3, instruments.WINDS)}),
        ({"share_threshold": -0.2, "onset_threshold": 2.5}, set()),
        ({"onset_threshold": 2.5, "drum_threshold": -1.0}, {(2, instruments.DRUMS)}),
    ):
        lists = REPRESENTATION.from_outputs(logits, dict(DEFAULT) | thresholds)
        assert {(step, part) for step, part, *_ in lists.notes[0][lists.mask[0]].tolist()} == expected


def test_the_surest_notes_are_kept_where_a_list_is_full():
    logits = low_logits(3)
    logits.onset[0, 0, 40:50] = [1.0, 9.0, 2.0, 8.0, 3.0, 7.0, 4.0, 6.0, 5.0, 4.5]
    logits.onset[2, 3, 3] = 1.0
    lists = decoding.notes_from_logits(logits, DEFAULT, max_notes=4)
    assert lists.notes[0, :, PITCH].tolist() == [41, 43, 45, 47]
    assert lists.mask.tolist() == [[True] * 4, [False] * 4, [True, False, False, False]]
    assert lists.notes[2, 0, STEP] == 3


# Durations.


def test_every_class_of_durations_is_decoded_as_one_of_its_own_lengths():
    assert len(DURATION_STEPS) == len(DURATION_EDGES) + 1
    assert np.searchsorted(DURATION_EDGES, DURATION_STEPS).tolist() == list(range(len(DURATION_STEPS)))


def test_the_most_probable_class_against_enumeration():
    logits = np.random.default_rng(0).normal(0.5, 1.5, (200, len(DURATION_EDGES)))
    found = most_probable_steps(logits)
    for row, steps in zip(1 / (1 + np.exp(-logits)), found, strict=True):
        lasts = 1.0  # The probability that the note outlasts all classes before.
        probability = []
        for outlasts in row:
            probability.append(lasts * (1 - outlasts))
            lasts *= outlasts
        probability.append(lasts)
        assert sum(probability) == pytest.approx(1)
        assert steps == DURATION_STEPS[int(np.argmax(probability))]
    assert len(set(found.tolist())) > 5


def test_a_note_has_the_duration_of_its_half_of_the_beat_register_and_part():
    logits = low_logits(2)
    logits.onset[1, [1, 2, 2], [5, 5, 6]] = 3.0  # The last pitch of one register, the first of the next.
    logits.share[1, 6, [0, 2]] = 1.0
    logits.outlasts[1, 0, 0, 0, :3] = 4.0  # Outlasts three classes.
    logits.outlasts[1, 1, 1, 2, :] = 4.0
    lists = REPRESENTATION.from_outputs(logits, DEFAULT)
    assert lists.notes[1, :4].tolist() == [[1, 0, 5, 4], [2, 0, 5, 1], [2, 0, 6, 1], [2, 2, 6, 48]]


def test_extreme_logits_are_no_error():
    logits = np.array([[1e4] * 12, [-1e4] * 12, [1e4] * 6 + [-1e4] * 6])
    assert most_probable_steps(logits).tolist() == [48, 1, DURATION_STEPS[6]]
    assert most_probable_steps(np.zeros((0, 12))).shape == (0,)


def test_decoded_notes_sound_for_their_steps():
    logits = low_logits(8)
    logits.onset[1, 2, 40] = 1.0
    logits.outlasts[1, 1, 40 // DURATION_REGISTER, 0, :4] = 5.0
    decoded = REPRESENTATION.decode(Encoded(REPRESENTATION.from_outputs(logits, DEFAULT), default_context(32, 4)))
    assert decoded.notes.onset_ticks.tolist() == [6 * 120]
    assert decoded.notes.duration_ticks.tolist() == [5 * 120]


# Calibration.


def test_best_threshold_by_hand():
    values = np.array([-1.5, -0.5, 0.2, 0.4, 0.9])
    truth = np.array([False, False, True, False, True])
    threshold = decoding.best_threshold(values, truth)
    assert -0.5 <= threshold < 0.2  # Two right, one wrong: 0.8; higher ones lose a right note.


def f1_at(values: np.ndarray, truth: np.ndarray, threshold: float) -> float:
    return float(sklearn.metrics.f1_score(truth.ravel(), (values > threshold).ravel(), zero_division=0.0))


@pytest.mark.parametrize("seed", range(3))
def test_calibration_finds_the_thresholds_that_a_search_over_all_of_them_finds(seed: int):
    rng = np.random.default_rng(seed)
    rolls = rng.random((3, 6, 5, 4)) < 0.15
    pitched, onset = rolls[..., :-1], rolls[..., :-1].any(axis=-1)
    share = pitched.any(axis=1)
    # Noise whose best thresholds are not zero and differ from each other.
    logits = RollLogits(
        rng.normal(np.where(onset, 0.5, -1.5)),
        rng.normal(np.where(rolls[..., -1], -0.5, -2.0)),
        rng.normal(np.where(share, 0.2, -0.8)),
        np.zeros((3, 6, 1, 12)),
    )
    thresholds = np.linspace(-2.0, 1.0, 61)
    found = decoding.calibrate(logits, rolls.astype(np.uint8))
    of_onset = np.broadcast_to(logits.share[:, None], pitched.shape)[onset]  # Of the pitches that have an onset.
    truths = {
        "onset_threshold": (logits.onset, onset),
        "drum_threshold": (logits.drum, rolls[..., -1]),
        "share_threshold": (of_onset, pitched[onset]),
    }
    assert found.keys() == truths.keys() == DEFAULT.keys()
    for name, (values, truth) in truths.items():
        best = max(f1_at(values, truth, threshold) for threshold in thresholds)
        assert f1_at(values, truth, found[name]) == pytest.approx(best, abs=1e-12)
        assert best > f1_at(values, truth, -3.0)
    assert len(set(found.values())) > 1


def test_beats_outside_of_the_piece_take_no_part_in_calibration():
    rng = np.random.default_rng(0)
    lists = REPRESENTATION.encode(synthetic.make_score(5, 1)).examples
    x = rasterized(jax.tree.map(lambda array: array[None], lists))
    noisy = jax.tree.map(lambda array: rng.normal(array / 4)[None], perfect_logits(lists))
    x.inside[:, ::2] = 0
    garbage = jax.tree.map(np.copy, noisy)
    for array in garbage:
        array[:, ::2] = 0.3
    found = REPRESENTATION.calibrate(noisy, x)
    assert REPRESENTATION.calibrate(garbage, x) == found
    x.inside[:] = 1
    assert REPRESENTATION.calibrate(garbage, x) != found
