"""Bounds of latent variable models: against exact likelihoods, and the piano roll VAE's against its decoder."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from small_roll import MODEL, REPRESENTATION, started_variables

from vae_jax.data import synthetic
from vae_jax.evaluation.likelihood import latent
from vae_jax.evaluation.likelihood.frequencies import Frequencies
from vae_jax.evaluation.likelihood.latent import LatentSamples, RollLikelihood, sample_posterior
from vae_jax.evaluation.likelihood.target import GridPiece, PieceNats, make_grid_piece, part_bits
from vae_jax.models.posterior import Posterior
from vae_jax.representations.pianoroll.durations import DURATION_STEPS
from vae_jax.representations.pianoroll.rasterize import DURATION_EDGES

WEIGHTS = np.array([[1.0, 0.5, 0.0], [0.0, -1.0, 2.0]], np.float32)  # Of a linear decoder from 2 latents to 3 values.
NOISE = 0.5


def linear_bounds(mean: np.ndarray, log_var: np.ndarray, x: np.ndarray, num_samples: int) -> PieceNats:
    """Of x [W, 3] under z W + noise, all windows one piece."""

    def cost(z: jax.Array) -> dict[str, jax.Array]:
        error = (x - z @ WEIGHTS) / NOISE
        return {"onsets": jnp.sum(0.5 * jnp.square(error) + np.float32(np.log(NOISE * np.sqrt(2 * np.pi))), axis=-1)}

    posterior = Posterior(mean.astype(np.float32), log_var.astype(np.float32))
    samples = sample_posterior(jax.random.key(0), posterior, num_samples, cost)
    return latent.bounds(samples, np.zeros(len(x), np.int64), 1)[0]


def linear_data() -> tuple[np.ndarray, float, np.ndarray, np.ndarray]:
    """Twenty observations, their exact negative log likelihood, and the exact posterior's mean and covariance."""
    rng = np.random.default_rng(0)
    covariance = WEIGHTS.T @ WEIGHTS + NOISE**2 * np.eye(3)
    x = rng.multivariate_normal(np.zeros(3), covariance, 20).astype(np.float32)
    exact = -scipy.stats.multivariate_normal(np.zeros(3), covariance).logpdf(x).sum()
    inverse = np.linalg.inv(np.eye(2) + WEIGHTS @ WEIGHTS.T / NOISE**2)
    return x, exact, x @ WEIGHTS.T @ inverse.T / NOISE**2, inverse


def test_the_bounds_close_on_the_exact_likelihood():
    """The posterior's covariance is diagonal but for a little, so that the ELBO misses little."""
    x, exact, mean, covariance = linear_data()
    log_var = np.broadcast_to(np.log(1 / np.diag(np.linalg.inv(covariance))), mean.shape)
    found = linear_bounds(mean, log_var, x, 4000)
    elbo = found.onsets + found.kl
    gap = 20 * 0.5 * np.log(np.linalg.det(covariance) / np.prod(1 / np.diag(np.linalg.inv(covariance))))
    assert elbo == pytest.approx(exact + gap, abs=0.3)  # The KL of the mean-field posterior from the exact one.
    assert found.importance_weighted == pytest.approx(exact, abs=0.1)


@pytest.mark.parametrize("num_samples", [1, 2, 64])
def test_bounds_never_cross(num_samples):
    """With a poor posterior: the weighted bound is no worse than the ELBO, and both are above the exact cost."""
    x, exact, mean, _ = linear_data()
    found = linear_bounds(mean + 0.3, np.full(mean.shape, -1.0), x, num_samples)
    elbo = found.onsets + found.kl
    assert found.importance_weighted <= elbo + 1e-4
    assert (found.importance_weighted == pytest.approx(elbo)) == (num_samples == 1)
    if num_samples == 2:
        assert exact < found.importance_weighted < elbo - 1


def test_the_weighted_bound_by_hand():
    cost = np.array([[1.0, 5.0], [3.0, 5.0]])
    by_hand = [-np.log((np.exp(-1) + np.exp(-3)) / 2), 5.0]
    np.testing.assert_allclose(latent.importance_weighted_nats(cost), by_hand)


def test_bounds_are_summed_by_piece():
    samples = LatentSamples({"onsets": np.array([[1.0, 2.0, 4.0]])}, np.array([[0.5, 0.0, 0.25]]))
    found = latent.bounds(samples, np.array([0, 2, 0]), 3)
    assert [(one.onsets, one.kl, one.importance_weighted) for one in found] == [(5, 0.75, 5.75), (0, 0, 0), (2, 0, 2)]


def grid_pieces() -> list[GridPiece]:
    return [make_grid_piece(synthetic.make_score(3, n), REPRESENTATION) for n in range(2)]


def nearly_certain(log_var: float) -> dict[str, Any]:
    variables = started_variables()
    scaled = jnp.full_like(variables["params"]["scaled_log_var"], log_var / 10)
    return variables | {"params": variables["params"] | {"scaled_log_var": scaled}}


def test_the_piano_roll_against_the_probabilities_of_its_decoder():
    """With a posterior as narrow as a point, cell by cell in NumPy from the logits that reconstruction uses."""
    piece, variables = grid_pieces()[0], nearly_certain(-30.0)
    frequencies = Frequencies([piece])
    nats = RollLikelihood(MODEL, REPRESENTATION, variables, frequencies, jax.random.key(0)).nats([piece])[0]
    lists = jax.tree.map(lambda array: array[None], REPRESENTATION.encode(piece.score).examples)
    x = jax.device_get(REPRESENTATION.rasterize(lists))
    posterior = MODEL.apply(variables, x, method="encode")
    logits = jax.device_get(MODEL.apply(variables, posterior.mean, method="decode"))
    played, drums = x.onsets[0, ..., :-1].max(axis=-1) > 0, x.onsets[0, ..., -1] > 0

    def cost(values, truth, trials=1.0):
        return trials * np.logaddexp(0, values.astype(np.float64)) - truth * values

    length = len(played) * REPRESENTATION.steps_per_beat
    inside = (np.arange(length) < piece.num_steps).reshape(len(played), -1, 1)
    absent = [values[0] == -30 for values in (logits.onset, logits.drum)]
    assert absent[0].any() and not absent[0].all()
    rest = frequencies.mask_nats(piece, *(of.reshape(length, -1)[: piece.num_steps] for of in absent))
    onsets = cost(logits.onset[0], played)[inside & ~absent[0]].sum() + rest.onsets
    struck = cost(logits.drum[0], drums)[inside & ~absent[1]].sum() + rest.drums
    parts = cost(logits.share[0, :, None], x.onsets[0, ..., :-1])[played].sum()
    assert [nats.onsets, nats.drums, nats.parts] == pytest.approx([onsets, struck, parts], rel=1e-3)

    # A note's class in the target costs its class in the model, and its share of that class in training.
    hazards = scipy.special.expit(logits.outlasts[0].astype(np.float64))
    durations = 0.0
    for step, pitch, kind, parts in zip(piece.step, piece.pitch, piece.duration, piece.parts, strict=True):
        beat, step_in_beat = divmod(step, REPRESENTATION.steps_per_beat)
        outlasts = hazards[beat, 2 * step_in_beat // REPRESENTATION.steps_per_beat, pitch // 6]
        survival = np.hstack([np.ones((len(outlasts), 1)), np.cumprod(outlasts, axis=1), np.zeros((len(outlasts), 1))])
        below = np.prod(1 - survival[np.flatnonzero(part_bits(parts[None])[0])], axis=0)  # P(longest < class).
        coarse = np.searchsorted(DURATION_EDGES, DURATION_STEPS)
        probs = frequencies.duration[piece.step_in_bar[step] % REPRESENTATION.steps_per_beat]
        durations -= np.log(below[coarse[kind] + 1] - below[coarse[kind]])
        durations -= np.log(probs[kind] / probs[coarse == coarse[kind]].sum())
    assert nats.durations == pytest.approx(durations, rel=1e-3)


def test_the_weighted_bound_of_the_piano_roll_is_the_better_one():
    pieces = grid_pieces()
    model = RollLikelihood(MODEL, REPRESENTATION, nearly_certain(-2.0), Frequencies(pieces), jax.random.key(1))
    for nats in model.nats(pieces):
        assert nats.importance_weighted < nats.onsets + nats.durations + nats.parts + nats.drums + nats.kl
    assert model.nats(pieces) == model.nats(pieces)  # Of one key.
