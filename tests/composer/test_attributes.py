"""Attributes of windows by hand, and the directions that change them in decoders whose slopes are known."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from configs import anthems as anthems_config
from vae_jax.composer import attributes
from vae_jax.composer.attributes import ATTRIBUTES, Directions
from vae_jax.composer.windows import NoteLists, WindowedRoll, WindowInference
from vae_jax.data import synthetic
from vae_jax.data.dataset import ArrayExamples, Dataset
from vae_jax.models.inference import Inference
from vae_jax.music import instruments
from vae_jax.music.score import Score
from vae_jax.representations import arrays
from vae_jax.representations.pianoroll import encoding
from vae_jax.runtime.errors import UserError
from vae_jax.training.experiment import build_experiment
from vae_jax.training.run_dir import RunFolder

C4 = 60 - 24
COVARIANCE = np.array([[4.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 9.0]])
SLOPES = {"density": np.array([1.0, 0.5, 0.0]), "register": np.array([0.0, 2.0, -1.0])}


def windows(*rolls: list[tuple[int, int, int]]) -> NoteLists:
    """Windows of notes (step, part, pitch index), all of duration 6, padded with what must not be read."""
    width = max(map(len, rolls)) + 1
    notes = np.full((len(rolls), width, 4), 99, np.int16)
    mask = np.zeros((len(rolls), width), bool)
    for w, roll in enumerate(rolls):
        for n, note in enumerate(roll):
            notes[w, n], mask[w, n] = (*note, 6), True
    return NoteLists(notes, mask)


def linear(z: np.ndarray) -> Mapping[str, np.ndarray]:
    return {name: 50 + z @ slope for name, slope in SLOPES.items()}


@pytest.fixture(scope="module")
def means() -> np.ndarray:
    return np.random.default_rng(0).multivariate_normal([1.0, -1.0, 2.0], COVARIANCE, size=3000)


@pytest.fixture(scope="module")
def fitted(means: np.ndarray) -> Directions:
    return attributes.fit_directions(means, linear(means), linear, seed=0, num_probes=2000)


def test_attributes_by_hand():
    major_chord = [
        (0, instruments.WINDS, C4),
        (0, instruments.KEYS, C4 + 4),
        (0, instruments.KEYS, C4 + 7),
        (12, instruments.BASS, C4 - 12),
    ]
    found = attributes.window_attributes(windows(major_chord), min_pitch=24, window_beats=8)
    assert tuple(found) == ATTRIBUTES
    np.testing.assert_allclose(found["density"], [4 / 8])
    np.testing.assert_allclose(found["register"], [(60 + 64 + 67 + 48) / 4])
    np.testing.assert_allclose(found["mode"], [0.0])
    np.testing.assert_allclose(found["polyphony"], [4 / 2])
    # E flat, A flat, B flat and E: three of the four are minor.
    mixed = [
        (0, instruments.KEYS, C4 + 3),
        (1, instruments.KEYS, C4 + 8),
        (2, instruments.KEYS, C4 - 2),
        (3, instruments.KEYS, C4 + 4),
    ]
    np.testing.assert_allclose(attributes.window_attributes(windows(mixed), 24)["mode"], [0.75])


def test_unisons_and_drums_do_not_count():
    plain = [(0, instruments.WINDS, C4 + 4), (6, instruments.WINDS, C4)]
    noisy = [*plain, (0, instruments.KEYS, C4 + 4), (3, instruments.DRUMS, 12)]
    found = attributes.window_attributes(windows(plain, noisy), min_pitch=24)
    for values in found.values():
        assert values[0] == values[1]


def test_windows_without_a_value_are_nan():
    fifth, drum = [(0, instruments.KEYS, C4), (0, instruments.KEYS, C4 + 7)], [(0, instruments.DRUMS, 12)]
    found = attributes.window_attributes(windows([], drum, fifth), min_pitch=24)
    for name in ("density", "register", "polyphony"):
        np.testing.assert_array_equal(np.isnan(found[name]), [True, True, False])
    assert np.all(np.isnan(found["mode"]))
    empty = NoteLists(np.zeros((0, 4, 4), np.int16), np.zeros((0, 4), bool))
    assert all(values.shape == (0,) for values in attributes.window_attributes(empty, 24).values())


def test_the_direction_in_a_linear_decoder_is_that_of_the_formula(fitted: Directions, means: np.ndarray):
    """d = C w sd / (w^T C w), with the covariance and the deviation of the windows themselves."""
    covariance = np.cov(means.T)
    for name, slope in SLOPES.items():
        sd = (means @ slope).std()
        step = attributes.move(np.zeros((1, 3)), fitted, {name: 1.0})[0]
        np.testing.assert_allclose(step, covariance @ slope * sd / (slope @ covariance @ slope), rtol=0.05, atol=0.05)
    np.testing.assert_allclose(fitted.deviation, [linear(means)[name].std() for name in SLOPES])


def test_no_move_with_the_same_effect_is_more_probable(fitted: Directions):
    step = attributes.move(np.zeros(3), fitted, {"density": 1.0})
    precision = np.linalg.inv(COVARIANCE)
    for other in ([1.0, -2.0, 0.0], [0.0, 0.0, 1.0], [-0.5, 1.0, 2.0]):
        assert SLOPES["density"] @ np.array(other) == 0
        for size in (-0.3, 0.3):
            longer = step + size * np.array(other)
            assert longer @ precision @ longer > step @ precision @ step


def test_amounts_given_together_are_met_together(fitted: Directions):
    z = np.random.default_rng(1).normal(size=(4, 3))
    amounts = {"register": -0.5, "density": 2.0}
    change = {name: linear(attributes.move(z, fitted, amounts))[name] - linear(z)[name] for name in SLOPES}
    for name, amount in amounts.items():
        expected = amount * fitted.deviation[fitted.names.index(name)]
        np.testing.assert_allclose(change[name], expected, rtol=0.05)
    held = attributes.move(z, fitted, {"density": 1.0, "register": 0.0})
    np.testing.assert_allclose(linear(held)["register"], linear(z)["register"], atol=0.05)
    np.testing.assert_array_equal(attributes.move(z, fitted, {}), z)
    np.testing.assert_allclose(attributes.move(z, fitted, {"density": 0.0}), z)


@hypothesis.given(st.floats(-10, 10), st.floats(-10, 10))
def test_moves_add_up_and_can_be_undone(fitted: Directions, first: float, second: float):
    z = np.ones((2, 3))
    moved = attributes.move(attributes.move(z, fitted, {"density": first}), fitted, {"density": second})
    np.testing.assert_allclose(moved, attributes.move(z, fitted, {"density": first + second}), atol=1e-9)
    np.testing.assert_allclose(attributes.move(moved, fitted, {"density": -first - second}), z, atol=1e-9)


def test_a_direction_is_scaled_where_small_steps_have_little_effect(means: np.ndarray):
    """Only the third latent counts, cubed: moved by -2 and +2, windows are four deviations apart all the same."""

    def decoded(z: np.ndarray) -> dict[str, np.ndarray]:
        return {"register": (z[:, 2] - 2) ** 3 / 100}

    found = attributes.fit_directions(means, {"register": means[:, 2]}, decoded, seed=0, num_probes=2000)
    apart = [decoded(attributes.move(means, found, {"register": amount}))["register"].mean() for amount in (-2, 2)]
    np.testing.assert_allclose(apart[1] - apart[0], 4 * means[:, 2].std(), rtol=0.1)


def test_no_window_is_asked_to_pass_the_bounds_of_an_attribute(means: np.ndarray):
    """The mode is 0 or 1, or in a third of the windows between: all that a move can do is reach both ends."""

    def decoded(z: np.ndarray) -> dict[str, np.ndarray]:
        return {"mode": 1 / (1 + np.exp(-2 * (z[:, 2] - 2)))}

    found = attributes.fit_directions(means, decoded(means), decoded, seed=0, num_probes=2000)
    assert np.all(found.deviation > 0.3)
    assert np.all(found.scale < 3 * found.deviation)


def test_windows_without_a_value_take_no_part_in_the_fit(means: np.ndarray):
    def some(z: np.ndarray) -> dict[str, np.ndarray]:
        return {"density": np.where(z[:, 1] > 0, np.nan, linear(z)["density"])}

    found = attributes.fit_directions(means, some(means), some, seed=0, num_probes=2000)
    known = some(means)["density"][means[:, 1] <= 0]
    np.testing.assert_allclose(found.deviation, [known.std()])
    step = attributes.move(np.zeros(3), found, {"density": 1.0})
    np.testing.assert_allclose(step @ SLOPES["density"], known.std(), rtol=0.1)


@pytest.mark.parametrize("value", [3.0, np.nan])
def test_an_attribute_that_never_changes_moves_nothing(value: float):
    """As in a posterior that has collapsed."""
    latents = np.zeros((20, 2))

    def constant(z: np.ndarray) -> dict[str, np.ndarray]:
        return {name: np.full(len(z), value) for name in ATTRIBUTES}

    found = attributes.fit_directions(latents, constant(latents), constant, seed=0, num_probes=50)
    np.testing.assert_array_equal(attributes.move(latents, found, {"density": 5.0, "mode": 1.0}), latents)
    effect = attributes.measure_effect(latents, found, constant)
    assert json.loads(json.dumps(effect, allow_nan=False)) == effect


def test_the_effect_of_a_linear_decoder(fitted: Directions, means: np.ndarray):
    effect = attributes.measure_effect(means[:50], fitted, linear)
    assert json.loads(json.dumps(effect, allow_nan=False)) == effect
    assert effect["windows"] == 50 and effect["amounts"] == [-2, -1, 0, 1, 2]
    found = effect["effect"]["density"]
    start, sd = linear(means[:50])["density"].mean(), effect["deviation"]["density"]
    np.testing.assert_allclose(found["means"]["density"], start + sd * np.arange(-2, 3), rtol=0.05)
    assert found["monotone"] == 1 and found["rank_correlation"] == pytest.approx(1)


def windows_of(roll: WindowedRoll, score: Score) -> NoteLists:
    """The consecutive windows of a piece."""
    piece = encoding.encode(score, roll)
    return roll.encode_at(piece, np.arange(0, piece.num_steps, roll.window_steps))


@pytest.fixture(scope="module")
def pca_model() -> tuple[WindowInference, NoteLists]:
    """A model of piano rolls as it starts, from PCA, with the windows that it starts from."""
    config = anthems_config.get_config()
    config.model.update({"latent_dim": 6, "num_drum_cells": 50, "num_iterations": 2, "prior_hidden": 4})
    experiment = build_experiment(config.to_dict())
    representation = experiment.representation
    scores = [score for _, score in synthetic.make_corpus(16, seed=2)]
    crops = arrays.concatenate([representation.encode_training(score) for score in scores])
    variables = experiment.trainable.init(experiment.key(), Dataset(ArrayExamples(crops), None))
    inference = Inference(experiment.model, representation, variables, representation.default_calibration())
    roll = WindowedRoll.of(representation)
    return WindowInference(inference, roll), arrays.concatenate([windows_of(roll, score) for score in scores])


def test_the_music_of_a_real_decoder_moves(pca_model: tuple[WindowInference, NoteLists]):
    inference, lists = pca_model

    def decode(z: np.ndarray) -> Mapping[str, np.ndarray]:
        return attributes.window_attributes(inference.decode(z), min_pitch=24)

    means, values = inference.encode(lists), attributes.window_attributes(lists, min_pitch=24)
    found = attributes.fit_directions(means, values, decode, seed=0, num_probes=1024)
    effect = attributes.measure_effect(means, found, decode)
    for name in ATTRIBUTES:
        measured = effect["effect"][name]["means"][name]
        assert measured[-1] - measured[0] > found.deviation[found.names.index(name)], name


def test_density_and_register_are_those_of_the_whole_piece():
    """Every note of a piece has its onset in one window."""
    representation = WindowedRoll()
    score = synthetic.make_score(2, 0)
    lists = windows_of(representation, score)
    found = attributes.window_attributes(lists, representation.min_pitch, representation.window_beats)
    notes = encoding.encode(score, representation).notes
    onsets = {(note[0], note[2]) for note in notes.tolist() if note[1] != instruments.DRUMS}
    assert np.nansum(found["density"]) * 8 == len(onsets)
    mean = np.mean([pitch for _, pitch in onsets]) + representation.min_pitch
    np.testing.assert_allclose(np.nansum(found["density"] * found["register"]) * 8 / len(onsets), mean)


def test_windows_that_fall_or_stand_still_are_not_monotone(fitted: Directions):
    """Moved by density, windows 0 rise, windows 1 fall and windows 2 stay."""
    answers = np.array([1.0, -1.0, 0.0])

    def decode(z: np.ndarray) -> dict[str, np.ndarray]:
        return {"density": answers * z[:, 0], "register": np.full(3, np.nan)}

    found = attributes.measure_effect(np.zeros((3, 3)), fitted, decode)["effect"]["density"]
    assert found["monotone"] == pytest.approx(1 / 3)
    assert found["rank_correlation"] == pytest.approx(0)
    assert found["means"]["register"] is None


def test_attributes_are_read():
    assert attributes.parse_attribute("density:+1.5") == ("density", 1.5)
    assert attributes.parse_attribute("mode:-10") == ("mode", -10.0)


@pytest.mark.parametrize("text", ["", "density", "loudness:1", ":1", "Density:1", "density=1"])
def test_unknown_attributes_are_refused(text: str):
    with pytest.raises(UserError, match="one of density, register, mode, polyphony"):
        attributes.parse_attribute(text)


@pytest.mark.parametrize("amount", ["", "much", "nan", "inf", "-inf", "10.01", "-11", "1e400", "1:2"])
def test_amounts_out_of_range_are_refused(amount: str):
    with pytest.raises(UserError, match="a number from -10 to 10") as refused:
        attributes.parse_attribute(f"density:{amount}")
    assert "\n" not in str(refused.value)


def test_directions_survive_their_file(fitted: Directions, tmp_path: pathlib.Path):
    path = RunFolder(tmp_path).attributes
    attributes.save(path, fitted)
    again = attributes.load(path, 3)
    assert again.names == fitted.names
    for name in ("latent_covariance", "covariance", "deviation", "scale"):
        np.testing.assert_array_equal(getattr(again, name), getattr(fitted, name))


def test_damaged_missing_and_foreign_files_are_refused(fitted: Directions, tmp_path: pathlib.Path):
    path = tmp_path / "attributes.npz"
    with pytest.raises(UserError, match="cannot be read"):
        attributes.load(path, 3)
    attributes.save(path, fitted)
    with pytest.raises(UserError, match="for 4 latents"):
        attributes.load(path, 4)
    whole = path.read_bytes()
    contents = [whole[:100], b"", b"PK", whole[:-30], whole[:300] + bytes(50) + whole[350:]]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(UserError, match="attributes") as refused:
            attributes.load(path, 3)
        assert "\n" not in str(refused.value)
