"""The map of the corpus in latent space."""

from __future__ import annotations

import numpy as np
import pytest

from vae_jax.report import latent_map


def test_map_separates_clusters_and_follows_the_elbow():
    rng = np.random.default_rng(2)
    means = np.concatenate([rng.normal(center, 0.1, size=(20, 2)) for center in ([0, 0], [5, 0], [0, 5])])
    mapped = latent_map.map_latents(means, seed=0)
    assert [len(set(mapped.clusters[n : n + 20])) for n in (0, 20, 40)] == [1, 1, 1]
    assert len(set(mapped.clusters)) == 3
    assert np.all(np.diff(mapped.inertia) <= 1e-9)
    assert mapped.linkage.shape == (59, 4)


def test_map_of_one_piece_and_of_equal_pieces():
    assert latent_map.map_latents(np.zeros((1, 2)), seed=0).linkage.shape == (0, 4)
    assert set(latent_map.map_latents(np.zeros((5, 2)), seed=0).clusters) == {0}


@pytest.mark.parametrize("means", [np.ones((1, 3)), np.ones((4, 3)), np.ones((4, 4)), np.eye(2)])
def test_one_piece_or_equal_ones_are_mapped_without_warnings(means: np.ndarray):
    made = latent_map.map_latents(means, 0)
    assert made.points.shape == (len(means), 2) and np.all(np.isfinite(made.points))
    assert len(made.linkage) == len(means) - 1
