"""References that a model has to beat, scored on the same pieces as the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.evaluation.piece_scores import total_f1
from vae_jax.models.inference import Reconstruction
from vae_jax.models.losses import DISTORTIONS
from vae_jax.music import score
from vae_jax.music.score import Score
from vae_jax.representations import arrays
from vae_jax.representations.base import B, Encoded
from vae_jax.training.experiment import Experiment

# Scores a subset of the pieces: (its pieces, its name) to figures by their names in `metrics.json`.
ScoreBaselines = Callable[[Sequence[Reconstruction], str], dict[str, float]]


def empty_score(original: Score) -> Score:
    """The original without its notes."""
    return dataclasses.replace(original, notes=score.make_notes([], [], []))


def mean_of_training(examples: B) -> B:
    """The constant that minimises the post's loss: the mean over the training examples of log(1 + value), turned back.

    Each array keeps a first axis of one.
    """

    def mean(rows: np.ndarray) -> np.ndarray:
        return np.expm1(np.mean(np.log1p(rows.astype(np.float64)), axis=0, keepdims=True))

    return jax.tree.map(mean, examples)


def fit_constant(experiment: Experiment, examples: B) -> ScoreBaselines:
    """Returns the mean of the training arrays as a constant reconstruction: its note F1 and its loss.

    Nothing is scored where the model's config names no distortion: outputs and inputs are not alike then.
    """
    representation = experiment.representation
    name = getattr(experiment.model.config, "distortion", None)
    if name is None:
        return lambda pieces, subset: {}
    distortion, constant = DISTORTIONS[name], mean_of_training(examples)

    def decode(encoded: Encoded[B, Any]) -> Score:
        repeated = arrays.take(constant, np.zeros(arrays.num_examples(encoded.examples), np.int64))
        return representation.decode(dataclasses.replace(encoded, examples=repeated))

    def score_constant(pieces: Sequence[Reconstruction], subset: str) -> dict[str, float]:
        del subset
        pairs = [(one.original, decode(one.encoded)) for one in pieces]
        x = representation.rasterize(_float32(arrays.concatenate([one.encoded.examples for one in pieces])))
        outputs = jnp.broadcast_to(representation.rasterize(_float32(constant)), x.shape)
        scores = {f"baseline_mean_{name}": value for name, value in total_f1(pairs).items()}
        return scores | {"baseline_mean_loss": float(jnp.mean(distortion(outputs, x)))}

    return score_constant


def _float32(examples: B) -> B:
    return jax.tree.map(lambda rows: jnp.asarray(rows, jnp.float32), examples)
