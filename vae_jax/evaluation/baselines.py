"""References that a model has to beat, scored on the same pieces as the model."""

from __future__ import annotations

import dataclasses

import numpy as np

from vae_jax.music import score
from vae_jax.music.score import Score
from vae_jax.representations.base import Arrays


def empty_score(original: Score) -> Score:
    """The original without its notes."""
    return dataclasses.replace(original, notes=score.make_notes([], [], []))


def mean_of_training(train_arrays: Arrays) -> Arrays:
    """The constant that the post's loss likes best: the mean over the training examples of log(1 + value), turned back.

    Each array keeps a first axis of one.
    """
    return {
        name: np.expm1(np.mean(np.log1p(rows.astype(np.float64)), axis=0, keepdims=True))
        for name, rows in train_arrays.items()
    }
