"""Inference on whole pieces against the model applied at once, and calibration against a search over thresholds."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any
from unittest import mock

import chex
import flax.linen as nn
import jax
import numpy as np
import pytest
from small_roll import MODEL, REPRESENTATION, rasterized, started_variables, training_crops

from vae_jax.data import synthetic
from vae_jax.models import inference as inference_lib
from vae_jax.models.base import VAE, VAEConfig
from vae_jax.models.inference import Inference, calibrate
from vae_jax.models.latents import LatentDensity, interpolate, sample_scores, slerp
from vae_jax.models.posterior import Posterior
from vae_jax.music.score import Meter, make_notes, make_score
from vae_jax.representations import arrays
from vae_jax.representations.base import Encoded
from vae_jax.representations.note_matrix import NoteMatrix, NoteMatrixRepresentation
from vae_jax.representations.pianoroll.beats import BeatLists
from vae_jax.representations.pianoroll.decoding import RollLogits

CALIBRATION = {"onset_threshold": -0.4, "drum_threshold": -0.2, "share_threshold": 0.1}
STRETCH, CONTEXT = 12, 16
LENGTHS = [1, 12, 30]  # Beats: less than a stretch, one, and two and a half.


@pytest.fixture(scope="module")
def inference() -> Iterator[Inference]:
    with mock.patch.object(inference_lib, "_STRETCH", STRETCH):
        yield Inference(MODEL, REPRESENTATION, some_variables(), CALIBRATION)


@functools.cache
def model_at_once(method: str) -> Any:
    return jax.jit(functools.partial(MODEL.apply, method=method))


@functools.cache
def some_variables() -> dict[str, Any]:
    """With kernels that reach beyond one beat and a prior that depends on the beats before, unlike at the start."""
    rng = np.random.default_rng(3)
    params = jax.tree.map(lambda leaf: rng.normal(leaf, 0.02).astype(np.float32), started_variables()["params"])
    return started_variables() | {"params": params}


def as_crop(rows: Any) -> Any:
    return jax.tree.map(lambda array: array[None], rows)


def encoded_at_once(beats: BeatLists) -> Posterior:
    posterior = model_at_once("encode")(some_variables(), rasterized(as_crop(beats)))
    return jax.tree.map(lambda array: np.asarray(array)[0], posterior)


def decoded_at_once(z: np.ndarray) -> Any:
    outputs = jax.tree.map(lambda array: np.asarray(array)[0], model_at_once("decode")(some_variables(), z[None]))
    return REPRESENTATION.from_outputs(outputs, CALIBRATION)


@functools.cache
def piece() -> BeatLists:
    return REPRESENTATION.encode(synthetic.make_score(3, 0)).examples


def latents(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, MODEL.latent_dim)).astype(np.float32)


# Sequences.


@pytest.mark.parametrize("count", LENGTHS)
def test_a_piece_in_stretches_is_encoded_as_the_whole_piece(inference: Inference, count: int):
    assert MODEL.context == CONTEXT and inference.is_sequence
    beats = arrays.take(piece(), slice(count))
    posterior = inference.encode(beats)
    chex.assert_shape(posterior, (count, MODEL.latent_dim))
    chex.assert_trees_all_close(posterior, encoded_at_once(beats), rtol=1e-5, atol=1e-5)
    assert isinstance(posterior.mean, np.ndarray)


@pytest.mark.parametrize("count", LENGTHS)
def test_latents_in_stretches_are_decoded_as_at_once(inference: Inference, count: int):
    z = latents(count)
    lists = inference.decode(z)
    chex.assert_trees_all_equal(lists, decoded_at_once(z))
    assert lists.mask.any(axis=1).mean() > 0.5


@pytest.mark.parametrize("count", LENGTHS)
def test_the_kl_in_stretches_is_that_of_the_whole_piece(inference: Inference, count: int):
    posterior = Posterior(latents(count, 1), latents(count, 2))
    found = inference.kl_nats([posterior], seed=5)[0]
    noise = np.random.default_rng(5).standard_normal(posterior.mean.shape).astype(np.float32)
    z = posterior.mean + np.exp(posterior.log_var / 2) * noise
    expected = model_at_once("kl_nats")(some_variables(), as_crop(posterior), z[None])[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.shape == (count,) and found.dtype == np.float32
    assert count == 1 or np.any(found != inference.kl_nats([posterior], seed=6)[0])


def test_the_longest_piece_takes_no_more_memory_than_a_stretch(inference: Inference):
    alone, shapes = Inference(MODEL, REPRESENTATION, some_variables(), CALIBRATION), set()
    compiled = alone._encode

    def spied(variables: Any, batch: BeatLists) -> Posterior:
        shapes.add(batch.mask.shape[:2])
        return compiled(variables, batch)

    with mock.patch.object(alone, "_encode", spied):
        for count in (1, 50, 600):
            alone.encode(jax.tree.map(lambda array, n=count: np.resize(array, (n, *array.shape[1:])), piece()))
    assert shapes == {(1, STRETCH + 2 * CONTEXT)}


def test_a_reconstruction_is_encode_then_mean_then_decode(inference: Inference):
    scores = [
        synthetic.make_score(5, 0),
        make_score(480, make_notes([0], [480], [60])),
        make_score(480, make_notes([], [], [])),
    ]
    reconstructions = inference.reconstruct(scores)
    assert len(reconstructions) == 3
    for score, found in zip(scores, reconstructions, strict=True):
        encoded = REPRESENTATION.encode(score)
        assert found.original is score
        chex.assert_trees_all_equal(found.encoded.examples, encoded.examples)
        chex.assert_trees_all_equal(found.posterior, inference.encode(encoded.examples))
        chex.assert_trees_all_equal(found.decoded, inference.decode(found.posterior.mean))
        assert found.score == REPRESENTATION.decode(Encoded(found.decoded, encoded.context))
        assert found.ceiling == REPRESENTATION.decode(encoded)
        assert found.kl_nats.shape == (len(encoded.examples.mask),)
    assert 0 < len(reconstructions[0].score.notes) != len(scores[0].notes)
    every = inference.kl_nats([one.posterior for one in reconstructions])
    jax.tree.map(np.testing.assert_array_equal, every, [one.kl_nats for one in reconstructions])


def test_pieces_decoded_together_are_those_decoded_alone(inference: Inference):
    each = [latents(count, count) for count in (1, 20, 3)]
    together = inference.decode_scores(each)
    assert together == [inference.decode_score(z) for z in each]
    context = REPRESENTATION.context_of_length(20)
    assert together[1] == REPRESENTATION.decode(Encoded(decoded_at_once(each[1]), context))
    assert inference.decode_scores([]) == []


def test_samples_of_the_prior_are_sequences_of_the_seed(inference: Inference):
    scores = sample_scores(inference, None, 2, seed=5)
    z = inference.sample_prior(5, 2, 64)
    assert z.shape == (2, 64, MODEL.latent_dim)
    expected = MODEL.apply(some_variables(), jax.random.key(5), 2, 64, method="sample_prior")
    np.testing.assert_allclose(z, expected, rtol=1e-4, atol=1e-5)
    assert scores == [inference.decode_score(one) for one in z]
    assert scores[0] != scores[1]
    frozen = sample_scores(inference, None, 2, seed=6, temperature=0.0)
    assert frozen[0] == frozen[1]


def test_samples_of_a_density_are_drawn_beat_by_beat(inference: Inference):
    density = LatentDensity(np.full(MODEL.latent_dim, 0.5), 2 * np.eye(MODEL.latent_dim))
    z = 0.5 + 2 * np.asarray(jax.random.normal(jax.random.key(5), (3, 64, MODEL.latent_dim)))
    assert sample_scores(inference, density, 3, seed=5) == [inference.decode_score(one) for one in z]
    assert sample_scores(inference, density, 0, seed=5) == []


def test_interpolation_starts_after_a_pick_up_and_ends_with_the_shorter_piece(inference: Inference):
    notes = make_notes(np.arange(9) * 480, 480, 60 + np.arange(9))
    start = make_score(480, notes, meters=[Meter(0, 1, 4), Meter(480, 4, 4)])
    end = synthetic.make_score(3, 1)
    found = interpolate(inference, start, end, 3, 100)
    pieces = [REPRESENTATION.encode(score) for score in (start, end)]
    means = [inference.encode(piece.examples).mean for piece in pieces]
    first = REPRESENTATION.first_full_example(pieces[1].context)
    ends = means[0][1:9], means[1][first : first + 8]
    assert len(found) == 3
    for score, fraction in zip(found, (0, 0.5, 1), strict=True):
        context = REPRESENTATION.context_between(pieces[0].context, pieces[1].context, fraction, 8)
        assert score == inference.decode_score(slerp(*ends, fraction), context)
    context = REPRESENTATION.context_between(pieces[0].context, pieces[1].context, 0.0, 4)
    assert interpolate(inference, start, end, 2, 4)[0] == inference.decode_score(ends[0][:4], context)


# Single examples.


class Flat(VAE):
    """Dense layers."""

    def setup(self) -> None:
        self.encoder, self.decoder = nn.Dense(2 * self.latent_dim), nn.Dense(8 * 3 * 2)

    def encode(self, x: jax.Array) -> Posterior:
        mean, log_var = self.encoder(x.reshape(len(x), -1) / 100).reshape(len(x), 2, -1).swapaxes(0, 1)
        return Posterior(mean, log_var)

    def decode(self, z: jax.Array) -> jax.Array:
        return self.decoder(z).reshape(len(z), *self.example_shape)


def test_single_examples_are_encoded_and_decoded_in_batches_of_one_shape():
    representation = NoteMatrixRepresentation(num_notes=8, num_tracks=2)
    model = Flat((8, 3, 2), VAEConfig(2))
    init = functools.partial(model.init, method=lambda module, x: module.decode(module.encode(x).mean))
    rng = np.random.default_rng(0)
    rows = rng.uniform(0, 100, (90, 8, 3, 2)).astype(np.float32)
    variables = dict(init(jax.random.key(0), rows[:1]))
    inference = Inference(model, representation, variables, {})
    assert not inference.is_sequence
    pieces = [NoteMatrix(rows[:1]), NoteMatrix(rows[1:90])]  # Two batches of 64 in all.
    posteriors = inference.encode_pieces(pieces)
    expected = model.apply(variables, rows, method="encode")
    chex.assert_trees_all_close(arrays.concatenate(posteriors), jax.device_get(expected), rtol=1e-4, atol=1e-5)
    assert [len(one.mean) for one in posteriors] == [1, 89]
    decoded = inference.decode_pieces([one.mean for one in posteriors])
    outputs = np.asarray(model.apply(variables, expected.mean, method="decode"))
    made = jax.tree.map(np.asarray, representation.from_outputs(outputs, {}))
    chex.assert_trees_all_close(arrays.concatenate(decoded), made, rtol=1e-3, atol=1e-3)
    assert inference.sample_prior(0, 3, 1).shape == (3, 1, 2)
    kl = inference.kl_nats(posteriors)
    mean, log_var = expected
    by_hand = 0.5 * np.sum(mean**2 + np.exp(log_var) - 1 - log_var, axis=-1)
    np.testing.assert_allclose(np.concatenate(kl), by_hand, rtol=1e-4)


# Calibration.


def f1(values: np.ndarray, truth: np.ndarray, threshold: float) -> float:
    positive = values > threshold
    wrong = np.count_nonzero(positive != truth)
    right = np.count_nonzero(positive & truth)
    return 2 * right / (2 * right + wrong)


def test_calibration_is_the_best_of_all_thresholds():
    crops = arrays.take(training_crops(), slice(32))
    found = calibrate(MODEL, REPRESENTATION, started_variables(), crops)
    x = rasterized(crops)
    mean = model_at_once("encode")(started_variables(), x).mean
    logits: RollLogits = jax.device_get(model_at_once("decode")(started_variables(), mean))
    rolls = x.onsets > 0
    onset = rolls[..., :-1].any(axis=-1)
    share = np.broadcast_to(logits.share[:, :, None], rolls[..., :-1].shape)
    truths = {
        "onset_threshold": (logits.onset, onset),
        "drum_threshold": (logits.drum, rolls[..., -1]),
        "share_threshold": (share[onset], rolls[..., :-1][onset]),
    }
    for name, (values, truth) in truths.items():
        scores = [f1(values, truth, threshold) for threshold in np.linspace(-2.0, 1.0, 61)]
        assert f1(values, truth, found[name]) == pytest.approx(max(scores), abs=1e-9), name
        assert max(scores) > min(scores)
