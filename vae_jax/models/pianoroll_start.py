"""What a piano-roll VAE starts its training from: PCA of the training beats, or another model's parameters."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.models.base import InputBatches, Variables
from vae_jax.models.losses import BinomialCounts
from vae_jax.representations.pianoroll.rasterize import Rolls

if TYPE_CHECKING:
    from vae_jax.models.pianoroll_vae import RollVAE

ABSENT_LOGIT = -30.0  # Of a cell that the model does not hold.
_PCA_SCALE = 10.0  # Turns PCA's values, about 0 to 1, into logits that are steep around its best threshold.
_PCA_THRESHOLD = 0.35
_SHARE_SCALE = 4.0  # The same for shares and durations.
_START_STEP = 0.2  # Share of a Newton step that the unrolled steps start with.
_PCA_ROWS, _CURVATURE_ROWS = 12_288, 4096
_LEAST = 1e-3  # What a feature that the other model knows counts at least, among those to choose from.


def from_pca(model: RollVAE, variables: Variables, inputs: InputBatches, seed: int) -> Variables:
    """Starts a model from PCA of single training beats.

    Args:
      model: the model.
      variables: from `model.init`.
      inputs: training rolls in batches.
      seed: seed of the randomised PCA.

    Returns:
      The variables with the chosen features and the parameters that reproduce the PCA.
    """
    import sklearn.decomposition

    count = jax.jit(model.count_features)
    played, tried = _totals(count, inputs)
    num_beats = sum(int(np.asarray(batch.inside).sum()) for batch in inputs())
    features = _choose_features(model, played, tried)
    stride = -(-num_beats // _PCA_ROWS)
    chosen: list[list[np.ndarray]] = []
    for batch in inputs():
        inside = np.asarray(batch.inside)[:, ::stride] > 0
        chosen.append([np.asarray(kind)[:, ::stride][inside][:, features] for kind in count(batch)])
    successes, trials = (np.concatenate(parts) for parts in zip(*chosen, strict=True))
    center = (played[features] + 0.1) / (tried[features] + 1.0)
    rows = successes - trials * center
    size, fields = model.latent_dim, model.config
    components, deviation = np.zeros((size, len(features)), np.float32), np.ones(size, np.float32)
    # A corpus of a few beats has fewer components than the model has latents, silence none; the rest start at zero.
    rank = min(size, len(rows) - 1, len(features))
    if rank > 0 and np.any(rows != rows[0]):
        pca = sklearn.decomposition.PCA(rank, svd_solver="randomized", random_state=seed).fit(rows)
        components[:rank] = pca.components_
        deviation[:rank] = np.sqrt(np.maximum(pca.explained_variance_, 1e-6))

    is_cell = features < sum(model.group_sizes[:2])
    kernel = components * deviation[:, None] * np.where(is_cell, _PCA_SCALE, _SHARE_SCALE)
    share = np.clip(center, 0.02, 0.98)
    bias = np.where(is_cell, _PCA_SCALE * (center - _PCA_THRESHOLD), np.log(share / (1 - share)))
    probs = 1 / (1 + np.exp(-((rows[:_CURVATURE_ROWS] @ components.T / deviation) @ kernel + bias)))
    weight = (trials[:_CURVATURE_ROWS] * probs * (1 - probs)).mean(axis=0)
    step = _START_STEP * np.linalg.inv((kernel * weight) @ kernel.T + fields.prior_weight * np.eye(size))
    absent = np.full(len(played), ABSENT_LOGIT)
    first = sum(model.group_sizes[:3])
    absent[first:] = np.log((played[first:] + 0.1) / (tried[first:] - played[first:] + 0.1))

    noise = np.asarray(variables["params"]["kernel"])  # Breaks the symmetry between beats before and after.
    start = _centered(np.diag(1 / (_PCA_SCALE * deviation**2)), fields.preconditioner_beats)
    params = {
        "kernel": noise + _centered(kernel, fields.kernel_beats),
        "bias": bias,
        "start": start,
        "preconditioner": np.tile(_centered(step, fields.preconditioner_beats), (fields.num_iterations, 1, 1)),
    }
    started = {"params": variables["params"] | params, "constants": {"features": features, "absent": absent}}
    return jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), started, dict(variables))


def from_known(model: RollVAE, variables: Variables, inputs: InputBatches, known: Variables) -> Variables:
    """Starts a model from the parameters of another one of the same latents, kernel and inference.

    Args:
      model: the model.
      variables: from `model.init`.
      inputs: training rolls in batches.
      known: the other's variables.

    Returns:
      The variables with the features that the training rolls have, then those that only the other model knows; one that
      it does not know starts at its frequency, whatever the latents are.
    """
    played, tried = _totals(jax.jit(model.count_features), inputs)
    there = np.asarray(known["constants"]["features"])
    kernel, bias = (np.asarray(known["params"][name]) for name in ("kernel", "bias"))
    weight = np.zeros(len(played))
    weight[there] = _LEAST / (1 + np.exp(-bias))  # In the order of their frequencies.
    features = _choose_features(model, played + weight, tried + weight)
    place = np.full(len(played), -1)
    place[there] = np.arange(len(there))
    column = place[features]
    frequency = (played[features] + 0.1) / (tried[features] + 1.0)
    odds = np.log(frequency / (1 - np.minimum(frequency, 0.98)))
    params = dict(known["params"]) | {
        "kernel": np.where(column >= 0, kernel[:, column], 0),
        "bias": np.where(column >= 0, bias[column], odds),
    }
    absent, first = np.array(known["constants"]["absent"]), sum(model.group_sizes[:3])
    outlast = np.log((played + 0.1) / (tried - played + 0.1))
    absent[first:] = np.where(tried > 0, outlast, absent)[first:]
    started = {"params": params, "constants": {"features": features, "absent": absent}}
    return jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), started, dict(variables))


def _totals(count: Callable[[Rolls], BinomialCounts], inputs: InputBatches) -> tuple[np.ndarray, np.ndarray]:
    """Successes and trials of every feature over all beats."""
    totals = [[np.asarray(kind).sum(axis=(0, 1)) for kind in count(batch)] for batch in inputs()]
    played, tried = (functools.reduce(np.add, kind) for kind in zip(*totals, strict=True))
    return played, tried


def _centered(middle: np.ndarray, width: int) -> np.ndarray:
    """The kernel of a convolution that is zero beside its middle."""
    return np.concatenate([middle if n == width // 2 else np.zeros_like(middle) for n in range(width)], axis=-2)


def _choose_features(model: RollVAE, played: np.ndarray, tried: np.ndarray) -> np.ndarray:
    """The cells played most often, all shares, and the durations decided most often; ascending."""
    bounds = np.cumsum((0, *model.group_sizes))
    rank_by = (played, played, tried, tried)
    chosen = [
        first + np.argsort(-values[first:last], kind="stable")[:count]
        for values, first, last, count in zip(rank_by, bounds[:-1], bounds[1:], model.num_modelled, strict=True)
    ]
    return np.sort(np.concatenate(chosen))
