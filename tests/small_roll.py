"""A small piano roll and its VAE, started from PCA of a few synthetic pieces."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

from vae_jax.data import synthetic
from vae_jax.models.pianoroll_vae import RollVAE, RollVAEConfig, pca_start
from vae_jax.representations import arrays
from vae_jax.representations.pianoroll.representation import RollRepresentation
from vae_jax.representations.pianoroll.windows import NoteLists

REPRESENTATION = RollRepresentation(steps_per_beat=4, window_beats=4, max_notes=64, training_hop_beats=1)
MODEL = RollVAE(
    REPRESENTATION.example_shape,
    RollVAEConfig(latent_dim=3, num_onset_cells=200, num_drum_cells=20, window_beats=4, num_iterations=2),
)


@functools.cache
def training_windows() -> NoteLists:
    """About 200 windows."""
    return arrays.concatenate([REPRESENTATION.encode_training(synthetic.make_score(3, n)) for n in range(4)])


@functools.cache
def started_variables() -> dict[str, Any]:
    x = np.asarray(jax.jit(REPRESENTATION.rasterize)(training_windows()))
    drawn = jax.jit(MODEL.init)(jax.random.key(0), x[:1], jax.random.key(1))
    return pca_start(MODEL, dict(drawn), lambda: [x], seed=7)
