"""The post's model as a likelihood: intervals that divide the numbers, masses against SciPy's normal distribution."""

from __future__ import annotations

import functools
import math

import jax
import numpy as np
import pytest
import scipy.stats
from beat_scores import score_of

from vae_jax.evaluation.likelihood.post import PostLikelihood, log_limits, log_mass
from vae_jax.evaluation.likelihood.target import make_grid_piece
from vae_jax.models.conv_vae import ConvVAE, ConvVAEConfig
from vae_jax.representations.note_matrix import DURATION, ONSET, PITCH, NoteMatrixRepresentation
from vae_jax.representations.pianoroll.config import RollConfig

REPRESENTATION = NoteMatrixRepresentation(num_notes=8, num_tracks=2)
PIECES = [make_grid_piece(score_of((0, 1, 60), (1, 2, 64 + n), (3, 1, 62)), RollConfig()) for n in range(3)]


def test_masses_against_scipy():
    low, high = np.array([-np.inf, -1.0, 0.3, 2.0, 30.0]), np.array([-2.0, 0.5, 0.4, np.inf, 31.0])
    normal = scipy.stats.norm
    np.testing.assert_allclose(np.exp(log_mass(low, high))[:4], (normal.cdf(high) - normal.cdf(low))[:4], rtol=1e-12)
    assert log_mass(low, high)[4] == pytest.approx(normal.logsf(30.0), rel=1e-9)


@pytest.mark.parametrize("feature", [PITCH, DURATION, ONSET])
def test_the_intervals_of_a_feature_divide_the_line(feature):
    """What different numbers mean is disjoint and leaves nothing out: their probabilities sum to one."""
    limits = set()
    for value in range(6000):
        x = np.zeros((1, 3, 1), np.float32)
        x[0, feature] = value
        low, high = (float(limit[0, feature, 0]) for limit in log_limits(x, PIECES[0]))
        assert low - 1e-12 <= math.log1p(value) < high
        limits.add((low, high))
    ordered = sorted(limits)
    assert ordered[0][0] == -math.inf
    assert [low for low, _ in ordered[1:]] == pytest.approx([high for _, high in ordered[:-1]])
    if feature == DURATION:
        assert ordered[-1][1] == math.inf


@functools.cache
def collapsed_model() -> PostLikelihood:
    """One whose posterior is the prior."""
    model = ConvVAE(REPRESENTATION.example_shape, ConvVAEConfig(filters=1, hidden=8, latent_dim=2))
    x = np.zeros((1, *REPRESENTATION.example_shape), np.float32)
    shapes, rng = jax.eval_shape(model.init, jax.random.key(0), x, jax.random.key(1)), np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), dict(shapes))
    head = variables["params"]["encoder"]
    collapsed = {name: jax.tree.map(np.zeros_like, head[name]) for name in ("mean", "log_var")}
    variables = {"params": variables["params"] | {"encoder": head | collapsed}}
    return PostLikelihood(model, REPRESENTATION, variables, PIECES, jax.random.key(2))


def test_a_collapsed_model_has_no_kl_and_pays_for_every_number():
    for nats in collapsed_model().nats(PIECES):
        assert nats.kl == 0
        assert nats.onsets > 3 * math.log(12) and nats.durations > 3 * math.log(4)  # More than the notes alone.
        assert nats.drums == 0 and nats.parts is None
        assert nats.importance_weighted <= nats.onsets + nats.durations + 1e-6


def test_drums_are_apart_and_have_no_duration():
    piece = make_grid_piece(score_of((0, 1, 38), (1, 1, 38), channel=9), RollConfig())
    (nats,) = collapsed_model().nats([piece])
    assert 0 < nats.onsets < nats.drums  # Of onsets the padding of the other track alone.
