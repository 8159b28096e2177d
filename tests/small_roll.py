"""A small piano roll and its VAE, started from PCA of a few synthetic pieces."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

from vae_jax.data import synthetic
from vae_jax.models.pianoroll_start import from_pca
from vae_jax.models.pianoroll_vae import RollVAE, RollVAEConfig
from vae_jax.representations import arrays
from vae_jax.representations.pianoroll.beats import BeatLists
from vae_jax.representations.pianoroll.rasterize import Rolls
from vae_jax.representations.pianoroll.representation import RollRepresentation

REPRESENTATION = RollRepresentation(steps_per_beat=4, max_notes=24, crop_beats=8, training_hop_beats=4)
MODEL = RollVAE(
    REPRESENTATION.example_shape,
    RollVAEConfig(
        latent_dim=3,
        num_onset_cells=100,
        num_drum_cells=10,
        num_durations=40,
        kernel_beats=3,
        num_iterations=2,
        prior_hidden=4,
    ),
)
_rasterize = jax.jit(REPRESENTATION.rasterize)


@functools.cache
def training_crops() -> BeatLists:
    """About 50 crops of eight beats."""
    return arrays.concatenate([REPRESENTATION.encode_training(synthetic.make_score(3, n)) for n in range(4)])


def rasterized(lists: BeatLists) -> Rolls:
    """The rolls of crops, on the host."""
    return jax.tree.map(np.array, _rasterize(lists))


@functools.cache
def started_variables() -> dict[str, Any]:
    x = rasterized(training_crops())
    drawn = jax.jit(MODEL.init)(jax.random.key(0), arrays.take(x, slice(1)), jax.random.key(1))
    return from_pca(MODEL, dict(drawn), lambda: [x], seed=7)
