"""Inference on whole pieces against the model applied at once, and calibration against a search over thresholds."""

from __future__ import annotations

import functools
from typing import Any

import chex
import jax
import numpy as np
import pytest
from small_roll import MODEL, REPRESENTATION, started_variables, training_windows

from vae_jax.data import synthetic
from vae_jax.models.inference import Inference, calibrate
from vae_jax.models.latents import prior_density, sample_scores
from vae_jax.representations import arrays
from vae_jax.representations.base import Encoded
from vae_jax.representations.pianoroll.decoding import RollLogits

CALIBRATION = {"onset_threshold": -0.4, "drum_threshold": -0.2, "share_threshold": 0.1}
NUM_WINDOWS = 150  # Two batches of 64, and one that is filled up.


@pytest.fixture(scope="module")
def inference() -> Inference:
    return Inference(MODEL, REPRESENTATION, started_variables(), CALIBRATION)


@functools.cache
def model_at_once(method: str) -> Any:
    return jax.jit(functools.partial(MODEL.apply, method=method))


def decoded_at_once(z: np.ndarray) -> Any:
    outputs = jax.device_get(model_at_once("decode")(started_variables(), z))
    return REPRESENTATION.from_outputs(outputs, CALIBRATION)


def test_encoding_is_the_model_applied_at_once(inference: Inference):
    windows = arrays.take(training_windows(), slice(NUM_WINDOWS))
    posterior = inference.encode(windows)
    chex.assert_shape(posterior, (NUM_WINDOWS, MODEL.latent_dim))
    expected = model_at_once("encode")(started_variables(), REPRESENTATION.rasterize(windows))
    chex.assert_trees_all_close(posterior, expected, rtol=1e-4, atol=1e-5)
    assert isinstance(posterior.mean, np.ndarray)


def test_decoding_is_the_model_applied_at_once(inference: Inference):
    z = np.random.default_rng(0).normal(size=(NUM_WINDOWS, MODEL.latent_dim)).astype(np.float32)
    lists = inference.decode(z)
    chex.assert_trees_all_equal(lists, decoded_at_once(z))
    assert lists.mask.any(axis=1).mean() > 0.5


def test_a_reconstruction_is_encode_then_mean_then_decode(inference: Inference):
    scores = [synthetic.make_score(5, n) for n in range(3)]
    reconstructions = inference.reconstruct(scores)
    assert len(reconstructions) == 3
    for score, found in zip(scores, reconstructions, strict=True):
        encoded = REPRESENTATION.encode(score)
        posterior = model_at_once("encode")(started_variables(), REPRESENTATION.rasterize(encoded.examples))
        lists = decoded_at_once(np.asarray(posterior.mean))
        assert found.original is score
        chex.assert_trees_all_close(found.posterior, posterior, rtol=1e-4, atol=1e-5)
        chex.assert_trees_all_equal(found.encoded.examples, encoded.examples)
        chex.assert_trees_all_equal(found.decoded, lists)
        assert found.score == REPRESENTATION.decode(Encoded(lists, encoded.context))
        assert found.ceiling == REPRESENTATION.decode(encoded)
        assert 0 < len(found.score.notes) != len(score.notes)


def test_pieces_decoded_together_are_those_decoded_alone(inference: Inference):
    rng = np.random.default_rng(1)
    latents = [rng.normal(size=(count, MODEL.latent_dim)).astype(np.float32) for count in (1, 70, 3)]
    together = inference.decode_scores(latents)
    assert together == [inference.decode_score(z) for z in latents]
    context = REPRESENTATION.context_of_length(3)
    assert together[2] == REPRESENTATION.decode(Encoded(decoded_at_once(latents[2]), context))
    assert inference.decode_scores([]) == []


def test_samples_are_those_of_the_seed_and_of_the_density(inference: Inference):
    density = prior_density(MODEL.latent_dim)
    scores = sample_scores(inference, density, 3, seed=5)
    z = jax.random.normal(jax.random.key(5), (3, MODEL.latent_dim))
    assert scores == [inference.decode_score(np.asarray(z[n : n + 1])) for n in range(3)]
    assert sample_scores(inference, density, 0, seed=5) == []
    frozen = sample_scores(inference, density, 2, seed=6, temperature=0.0)
    assert frozen[0] == frozen[1] == inference.decode_score(np.zeros((1, MODEL.latent_dim)))


def f1(values: np.ndarray, truth: np.ndarray, threshold: float) -> float:
    positive = values > threshold
    wrong = np.count_nonzero(positive != truth)
    right = np.count_nonzero(positive & truth)
    return 2 * right / (2 * right + wrong)


def test_calibration_is_the_best_of_all_thresholds():
    windows = arrays.take(training_windows(), slice(NUM_WINDOWS))
    found = calibrate(MODEL, REPRESENTATION, started_variables(), windows)
    x = np.asarray(REPRESENTATION.rasterize(windows)) > 0
    mean = model_at_once("encode")(started_variables(), x.astype(np.uint8)).mean
    logits: RollLogits = jax.device_get(model_at_once("decode")(started_variables(), mean))
    onset = x[..., :-1].any(axis=-1)
    truths = {
        "onset_threshold": (logits.onset, onset),
        "drum_threshold": (logits.drum, x[..., -1]),
        "share_threshold": (logits.share[onset], x[..., :-1][onset]),
    }
    for name, (values, truth) in truths.items():
        scores = [f1(values, truth, threshold) for threshold in np.linspace(-2.0, 1.0, 61)]
        assert f1(values, truth, found[name]) == pytest.approx(max(scores), abs=1e-9), name
        assert max(scores) > min(scores)
