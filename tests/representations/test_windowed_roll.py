"""The roll as a representation: pieces through windows and back, thresholds, augmentation, baselines."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from vae_jax.data import synthetic
from vae_jax.evaluation import note_matching, pianoroll_baselines
from vae_jax.music import instruments
from vae_jax.music.score import Meter, make_notes, make_score
from vae_jax.representations.base import Encoded
from vae_jax.representations.pianoroll import encoding
from vae_jax.representations.pianoroll.augmentation import RollAugmentation
from vae_jax.representations.pianoroll.logits import RollLogits
from vae_jax.representations.pianoroll.representation import UNKNOWN_DURATION, RollRepresentation, best_threshold

REPRESENTATION = RollRepresentation()


def logits_of(representation: RollRepresentation, encoded: Encoded) -> RollLogits:
    """What a perfect model would say of a piece's windows."""
    x = np.asarray(representation.rasterise(encoded.arrays)) > 0
    sign = lambda truth: np.where(truth, 5.0, -5.0)  # noqa: E731
    return RollLogits(sign(x[..., :-1].any(axis=-1)), sign(x[..., -1]), sign(x[..., :-1]))


@pytest.fixture(scope="module", params=range(3))
def piece(request):
    return synthetic.make_score(0, request.param)


def test_windows_decode_as_the_whole_piece_does(piece):
    encoded = REPRESENTATION.encode(piece)
    whole = encoding.decode(encoding.encode(piece, REPRESENTATION.config))
    assert REPRESENTATION.decode(encoded) == whole
    assert encoded.report["notes"] == len(piece.notes)
    assert encoded.report["notes_past_the_room_of_a_window"] == 0


def test_perfect_logits_give_every_onset_back(piece):
    encoded = REPRESENTATION.encode(piece)
    arrays = REPRESENTATION.from_outputs(logits_of(REPRESENTATION, encoded), REPRESENTATION.default_calibration())
    for by_part in (False, True):
        counts = REPRESENTATION.grid_matches(encoded, arrays, by_part=by_part)
        assert counts.f1 == 1
        assert counts.reference > 100
    decoded = REPRESENTATION.decode(Encoded(arrays, encoded.context, {}))
    ceiling = REPRESENTATION.decode(encoded)
    assert note_matching.count_matches(ceiling, decoded).f1 == 1
    assert note_matching.count_instrument_matches(ceiling, decoded).f1 == 1
    assert note_matching.count_matches(ceiling, decoded, drums=True).f1 == 1


def test_a_played_pitch_has_a_part_even_where_all_shares_are_low():
    logits = RollLogits(np.full((1, 96, 84), -9.0), np.full((1, 96, 84), -9.0), np.full((1, 96, 84, 7), -9.0))
    logits.onset[0, 3, 40] = 2.0
    logits.share[0, 3, 40, instruments.ORGAN] = -3.0
    arrays = REPRESENTATION.from_outputs(logits, REPRESENTATION.default_calibration())
    assert arrays["mask"].sum() == 1
    assert arrays["notes"][0, 0].tolist() == [3, instruments.ORGAN, 40, UNKNOWN_DURATION]


def test_a_model_without_parts_plays_every_note_once():
    logits = RollLogits(np.full((1, 96, 84), -9.0), np.full((1, 96, 84), -9.0), np.full((1, 96, 84, 7), -30.0))
    logits.onset[0, ::2, 40] = 2.0
    arrays = REPRESENTATION.from_outputs(logits, REPRESENTATION.default_calibration())
    assert arrays["mask"].sum() == 48


def test_decoded_notes_last_nearly_to_the_next_onset_of_their_part_within_a_fifth():
    notes = make_notes([0, 0, 0, 480, 1920], 100, [60, 48, 72, 62, 64], track=[0, 1, 0, 0, 0], program=[0, 32, 0, 0, 0])
    score = make_score(480, notes, track_names=["piano", "bass"])
    encoded = REPRESENTATION.encode(score)
    arrays = REPRESENTATION.from_outputs(logits_of(REPRESENTATION, encoded), REPRESENTATION.default_calibration())
    decoded = REPRESENTATION.decode(Encoded(arrays, encoded.context, {}))
    steps = dict(zip(decoded.notes.pitch.tolist(), (decoded.notes.duration_ticks // 40).tolist(), strict=True))
    assert steps[60] == round(0.85 * 12)  # To the 62 of the next beat.
    assert steps[62] == round(0.85 * 36)
    assert steps[72] == round(0.85 * 48)  # Nothing near: four beats at the most.
    assert steps[48] == round(0.85 * 48)


def test_more_notes_than_a_window_has_room_for_are_counted():
    onset = np.arange(100) * 40
    score = make_score(480, make_notes(onset, 40, 30 + np.arange(100) % 60))
    small = RollRepresentation(max_notes=64)
    encoded = small.encode(score)
    assert encoded.arrays["notes"].shape[1] == 64
    kept = int((encoded.arrays["mask"] & (encoded.arrays["notes"][..., 0] >= 0)).sum())
    assert encoded.report["notes_past_the_room_of_a_window"] == 100 - kept > 0


def test_training_windows_start_on_every_beat_and_hold_the_same_notes(piece):
    arrays = REPRESENTATION.encode_training(piece)
    whole = encoding.encode(piece, REPRESENTATION.config)
    assert len(arrays["mask"]) >= whole.num_steps // 12 - 8
    onsets = arrays["notes"][..., 0][arrays["mask"]]
    assert onsets.max() < 96


@pytest.mark.parametrize(
    "score",
    [
        make_score(480, make_notes([0], [480], [60])),
        make_score(480, make_notes([0, 480], [10, 10], [36, 38], channel=9)),
        make_score(96, make_notes([0, 96, 192], 96, [60, 62, 64]), meters=[Meter(0, 3, 4)]),
        make_score(96, make_notes(np.arange(24) * 48, 48, 60), meters=[Meter(0, 6, 8)]),
        make_score(480, make_notes([0, 100], [200, 200], [5, 125])),
        make_score(480, make_notes(np.arange(4000) * 480, 480, 60)),
    ],
    ids=["one note", "drums only", "3/4", "6/8", "outside the range", "half an hour"],
)
def test_every_kind_of_piece_goes_through(score):
    encoded = REPRESENTATION.encode(score)
    decoded = REPRESENTATION.decode(encoded)
    assert len(decoded.notes) == len(score.notes)
    if encoded.report["notes_folded"]:
        assert encoded.report["notes_folded"] == 2
        np.testing.assert_array_equal(decoded.notes.pitch % 12, score.notes.pitch % 12)
    else:
        assert note_matching.count_matches(score, decoded, drums=bool(score.notes.is_drum[0])).f1 == 1
    assert len(REPRESENTATION.encode_training(score)["mask"]) >= 1


def test_contexts_survive_json(piece):
    encoded = REPRESENTATION.encode(piece)
    again = REPRESENTATION.unpack_context(REPRESENTATION.pack_context(encoded.context))
    assert REPRESENTATION.decode(Encoded(encoded.arrays, again, {})) == REPRESENTATION.decode(encoded)


def test_best_threshold_by_hand():
    values = np.array([-1.5, -0.5, 0.2, 0.4, 0.9])
    truth = np.array([False, False, True, False, True])
    threshold = best_threshold(values, truth)
    assert -0.5 <= threshold < 0.2  # Two right, one wrong: 0.8; higher ones lose a right note.


def test_augmentation_moves_pitched_notes_by_octaves_fifths_and_fourths():
    notes = make_notes([0, 480, 0], 480, [60, 64, 36], channel=[0, 0, 9], track=[0, 0, 1])
    arrays = REPRESENTATION.encode(make_score(480, notes)).arrays
    batch = {name: np.repeat(rows, 200, axis=0) for name, rows in arrays.items()}
    plain = np.asarray(REPRESENTATION.rasterise(arrays))[0]
    moved = np.asarray(
        RollAugmentation(transpose_probability=1.0).make_input(REPRESENTATION.rasterise)(jax.random.key(0), batch)
    )
    np.testing.assert_array_equal(
        moved[..., instruments.DRUMS], np.repeat(plain[None, ..., instruments.DRUMS], 200, axis=0)
    )
    shifts = set()
    for one in moved:
        pitch = np.nonzero(one[..., :-1])[1]
        assert np.ptp(pitch) == 4
        shifts.add(int(pitch.min()) - int(np.nonzero(plain[..., :-1])[1].min()))
    assert shifts == {-12, -7, -5, 5, 7, 12}


def test_augmentation_thins_whole_parts_and_mixes_windows():
    pieces = [REPRESENTATION.encode(synthetic.make_score(1, n)).arrays for n in range(2)]
    batch = {name: np.concatenate([arrays[name] for arrays in pieces])[:16] for name in pieces[0]}
    plain = np.asarray(REPRESENTATION.rasterise(batch))
    thin = RollAugmentation(thin_probability=1.0).make_input(REPRESENTATION.rasterise)(jax.random.key(1), batch)
    kept = np.asarray(thin).any(axis=(1, 2))
    np.testing.assert_array_equal(np.asarray(thin), plain * kept[:, None, None, :])
    assert 0 < kept.sum() < plain.any(axis=(1, 2)).sum()
    mixed = RollAugmentation(mix_probability=1.0).make_input(REPRESENTATION.rasterise)(jax.random.key(2), batch)
    np.testing.assert_array_equal(np.asarray(mixed), np.maximum(plain, np.roll(plain, 1, axis=0)))


def test_nearest_window_finds_a_transposed_copy():
    piece = synthetic.make_score(2, 0)
    plain = RollRepresentation(normalise_tonic=False)
    from vae_jax.music.score import transpose

    library, query = plain.encode(transpose(piece, 3)), plain.encode(piece)
    scores = pianoroll_baselines.score_baselines(
        plain, library.arrays, [library], {"held_out": [query]}, {"held_out": [piece]}, latent_dim=4, seed=0
    )["held_out"]
    assert scores["baseline_nearest_window_note_f1_grid"] == 1
    assert 0 < scores["baseline_pca_note_f1_grid"] < 1


def test_pca_with_enough_components_is_perfect_and_the_bar_before_is_counted_by_hand():
    # Two equal bars, then a third with one other note of two.
    onset = np.array([0, 480, 1920, 2400, 3840, 4320])
    score = make_score(480, make_notes(onset, 240, [60, 64, 60, 64, 60, 65]))
    encoded = RollRepresentation(normalise_tonic=False).encode(score)
    scores = pianoroll_baselines.score_baselines(
        RollRepresentation(normalise_tonic=False),
        encoded.arrays,
        [encoded],
        {"training": [encoded]},
        {"training": [score]},
        latent_dim=50,
        seed=0,
    )["training"]
    assert scores["baseline_pca_note_f1_grid"] == 1
    assert scores["baseline_pca_note_f1_grid_part"] == 1
    assert scores["baseline_pca_note_f1_50ms"] == scores["baseline_pca_note_f1_instrument"] == 1
    # Copied: bars 1 and 2 as their predecessors, four notes, of which three are right; six notes in all.
    assert scores["baseline_previous_bar_note_f1_grid"] == pytest.approx(2 * 3 / (6 + 4))
