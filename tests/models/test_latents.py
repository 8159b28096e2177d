"""Latents: maps, densities, the way between two, and files of them."""

from __future__ import annotations

import numpy as np
import pytest

from vae_jax.models import latent_io, latents
from vae_jax.models.posterior import Posterior
from vae_jax.music.score import KeySignature, Meter, Tempo, make_notes, make_score
from vae_jax.representations.note_matrix import EventsRepresentation
from vae_jax.runtime.errors import UserError


def test_slerp_keeps_the_length_and_meets_both_ends():
    rng = np.random.default_rng(0)
    start, end = rng.normal(size=(2, 5, 8))
    start, end = (rows / np.linalg.norm(rows, axis=-1, keepdims=True) for rows in (start, end))
    np.testing.assert_allclose(latents.slerp(start, end, 0.0), start, atol=1e-12)
    np.testing.assert_allclose(latents.slerp(start, end, 1.0), end, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(latents.slerp(start, end, 0.3), axis=-1), 1.0)
    half = latents.slerp(np.array([[2.0, 0.0]]), np.array([[0.0, 2.0]]), 0.5)
    np.testing.assert_allclose(half, [[np.sqrt(2), np.sqrt(2)]])


def test_slerp_of_equal_and_of_empty_vectors_is_finite():
    vector = np.array([[1.0, 2.0]])
    np.testing.assert_allclose(latents.slerp(vector, vector, 0.4), vector)
    np.testing.assert_allclose(latents.slerp(np.zeros((1, 2)), vector, 0.5), vector / 2)


def test_density_has_the_moments_of_its_data():
    rng = np.random.default_rng(1)
    covariance = np.array([[2.0, 0.8], [0.8, 1.0]])
    means = rng.multivariate_normal([1.0, -2.0], covariance, size=20_000)
    density = latents.fit_density(means)
    drawn = density.sample(rng.normal(size=(50_000, 2)), temperature=1.0)
    np.testing.assert_allclose(drawn.mean(axis=0), [1.0, -2.0], atol=0.05)
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.08)
    np.testing.assert_array_equal(density.sample(np.ones((3, 2)), temperature=0.0), np.tile(density.mean, (3, 1)))


def test_map_separates_clusters_and_follows_the_elbow():
    rng = np.random.default_rng(2)
    means = np.concatenate([rng.normal(center, 0.1, size=(20, 2)) for center in ([0, 0], [5, 0], [0, 5])])
    mapped = latents.map_latents(means, seed=0)
    assert [len(set(mapped.clusters[n : n + 20])) for n in (0, 20, 40)] == [1, 1, 1]
    assert len(set(mapped.clusters)) == 3
    assert np.all(np.diff(mapped.inertia) <= 1e-9)
    assert mapped.linkage.shape == (59, 4)


def test_map_of_one_piece_and_of_equal_pieces():
    assert latents.map_latents(np.zeros((1, 2)), seed=0).linkage.shape == (0, 4)
    assert set(latents.map_latents(np.zeros((5, 2)), seed=0).clusters) == {0}


@pytest.fixture
def saved(tmp_path):
    representation = EventsRepresentation()
    score = make_score(
        96,
        make_notes([0, 96], 96, [60, 64], program=[3, 3]),
        track_names=["<b>&"],
        tempos=[Tempo(0, 400_000)],
        meters=[Meter(0, 3, 4)],
        keys=[KeySignature(0, -3, True)],
    )
    context = representation.encode(score).context
    posterior = Posterior(np.array([[0.5, -1.5]], np.float32), np.zeros((1, 2), np.float32))
    path = tmp_path / "x.latents.npz"
    latent_io.save(path, posterior, context, representation, "run")
    return path, representation, context, posterior


def test_latents_survive_their_file(saved):
    path, representation, context, posterior = saved
    mean, again = latent_io.load(str(path), representation, 2, "run")
    np.testing.assert_array_equal(mean, posterior.mean)
    assert again == context


def test_latents_of_another_run_and_damaged_files_are_refused(saved, tmp_path):
    path, representation, _, _ = saved
    with pytest.raises(UserError, match="another run"):
        latent_io.load(str(path), representation, 2, "other")
    with pytest.raises(UserError, match="latents where"):
        latent_io.load(str(path), representation, 3, "run")
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="not a file of latents"):
        latent_io.load(str(damaged), representation, 2, "run")
    with pytest.raises(UserError, match="cannot be read"):
        latent_io.load(str(tmp_path / "missing.npz"), representation, 2, "run")
