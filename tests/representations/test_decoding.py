"""Logits to notes: thresholds, their calibration, durations."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics

from vae_jax.data import synthetic
from vae_jax.evaluation import note_matching
from vae_jax.music import instruments
from vae_jax.music.score import make_notes, make_score
from vae_jax.representations.base import Encoded
from vae_jax.representations.pianoroll import decoding
from vae_jax.representations.pianoroll.decoding import RollLogits
from vae_jax.representations.pianoroll.representation import RollRepresentation

REPRESENTATION = RollRepresentation()
DEFAULT = REPRESENTATION.default_calibration()


def perfect_logits(encoded: Encoded) -> RollLogits:
    """The logits of a model without errors."""
    x = np.asarray(REPRESENTATION.rasterize(encoded.examples)) > 0
    return RollLogits(*(np.where(truth, 5.0, -5.0) for truth in (x[..., :-1].any(axis=-1), x[..., -1], x[..., :-1])))


def low_logits(num_windows: int = 1) -> RollLogits:
    shape = (num_windows, *REPRESENTATION.example_shape)
    return RollLogits(np.full(shape[:3], -9.0), np.full(shape[:3], -9.0), np.full((*shape[:3], 7), -9.0))


@pytest.mark.parametrize("index", range(3))
def test_perfect_logits_give_every_onset_back(index: int):
    encoded = REPRESENTATION.encode(synthetic.make_score(5, index))
    lists = REPRESENTATION.from_outputs(perfect_logits(encoded), DEFAULT)
    for by_part in (False, True):
        counts = REPRESENTATION.grid.count_matches(encoded, lists, by_part=by_part)
        assert counts.f1 == 1
        assert counts.reference > 100
    decoded = REPRESENTATION.decode(Encoded(lists, encoded.context))
    ceiling = REPRESENTATION.decode(encoded)
    assert note_matching.count_matches(ceiling, decoded).f1 == 1
    assert note_matching.count_instrument_matches(ceiling, decoded).f1 == 1
    drums = note_matching.count_matches(ceiling, decoded, drums=True)
    assert drums.matched == drums.reference == drums.estimate == ceiling.notes.is_drum.sum()


def test_a_pitch_with_an_onset_has_a_part_even_where_all_shares_are_low():
    logits = low_logits()
    logits.onset[0, 3, 40] = 2.0
    logits.share[0, 3, 40, instruments.ORGAN] = -3.0
    lists = REPRESENTATION.from_outputs(logits, DEFAULT)
    assert lists.mask.sum() == 1
    assert lists.notes[0, 0].tolist() == [3, instruments.ORGAN, 40, decoding.UNKNOWN_DURATION]


def test_every_part_above_its_threshold_takes_the_note_and_drums_have_their_own():
    logits = low_logits()
    logits.onset[0, 3, 40] = 2.0
    logits.share[0, 3, 40, [instruments.ORGAN, instruments.WINDS, instruments.BASS]] = 0.4, 0.6, -0.1
    logits.drum[0, 5, 12] = -0.5
    for thresholds, expected in (
        ({}, {(3, instruments.ORGAN), (3, instruments.WINDS)}),
        ({"share_threshold": 0.5}, {(3, instruments.WINDS)}),
        ({"share_threshold": -0.2, "onset_threshold": 2.5}, set()),
        ({"onset_threshold": 2.5, "drum_threshold": -1.0}, {(5, instruments.DRUMS)}),
    ):
        lists = REPRESENTATION.from_outputs(logits, dict(DEFAULT) | thresholds)
        assert {(step, part) for step, part, *_ in lists.notes[0][lists.mask[0]].tolist()} == expected


def test_the_surest_notes_are_kept_where_a_list_is_full():
    logits = low_logits(2)
    logits.onset[0, :10, 40] = [1.0, 9.0, 2.0, 8.0, 3.0, 7.0, 4.0, 6.0, 5.0, 4.5]
    logits.onset[1, 7, 3] = 1.0
    lists = decoding.notes_from_logits(logits, DEFAULT, max_notes=4)
    assert lists.notes[0, :, 0].tolist() == [1, 3, 5, 7]
    assert lists.mask.tolist() == [[True] * 4, [True, False, False, False]]


def test_decoded_notes_last_nearly_to_the_next_onset_of_their_part_within_a_fifth():
    notes = make_notes([0, 0, 0, 480, 1920], 100, [60, 48, 72, 62, 64], track=[0, 1, 0, 0, 0], program=[0, 32, 0, 0, 0])
    encoded = REPRESENTATION.encode(make_score(480, notes, track_names=["piano", "bass"]))
    lists = REPRESENTATION.from_outputs(perfect_logits(encoded), DEFAULT)
    decoded = REPRESENTATION.decode(Encoded(lists, encoded.context))
    steps = dict(zip(decoded.notes.pitch.tolist(), (decoded.notes.duration_ticks // 40).tolist(), strict=True))
    assert steps[60] == round(0.85 * 12)  # To the 62 of the next beat.
    assert steps[62] == round(0.85 * 36)
    assert steps[72] == round(0.85 * 48)  # Nothing near: four beats at the most.
    assert steps[48] == round(0.85 * 48)


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
    # Noise whose best thresholds are not zero and differ from each other.
    logits = RollLogits(
        rng.normal(np.where(onset, 0.5, -1.5)),
        rng.normal(np.where(rolls[..., -1], -0.5, -2.0)),
        rng.normal(np.where(pitched, 0.2, -0.8)),
    )
    thresholds = np.linspace(-2.0, 1.0, 61)
    found = decoding.calibrate(logits, rolls.astype(np.uint8))
    truths = {
        "onset_threshold": (logits.onset, onset),
        "drum_threshold": (logits.drum, rolls[..., -1]),
        "share_threshold": (logits.share[onset], pitched[onset]),  # Of the pitches that have an onset.
    }
    assert found.keys() == truths.keys() == DEFAULT.keys()
    for name, (values, truth) in truths.items():
        best = max(f1_at(values, truth, threshold) for threshold in thresholds)
        assert f1_at(values, truth, found[name]) == pytest.approx(best, abs=1e-12)
        assert best > f1_at(values, truth, -3.0)
    assert len(set(found.values())) > 1
