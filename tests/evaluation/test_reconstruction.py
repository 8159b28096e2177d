"""Figures of the posterior by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from vae_jax.evaluation import reconstruction
from vae_jax.models.posterior import Posterior


def test_active_units_vary_over_the_data_by_more_than_a_hundredth():
    signs = np.array([1.0, -1.0] * 10)
    means = np.stack([signs * 0.2, signs * 0.05, np.full(20, 3.0), signs * 0.11], axis=1).astype(np.float32)
    pieces: Any = [
        SimpleNamespace(posterior=Posterior(rows, np.zeros_like(rows)), kl_nats=np.arange(len(rows)))
        for rows in (means[:4], means[4:])
    ]
    found = reconstruction.describe_posterior(pieces)
    assert (found["active_units"], found["latent_dim"]) == (2, 4)  # Variances 0.04, 0.0025, 0, 0.0121.
    assert found["kl_nats"] == (6 + 120) / 20  # A mean over beats, not over pieces.
