"""Bounds on the likelihood of a latent variable model, and the piano roll VAE's.

With samples z_1..z_K of the posterior and weights w_k = p(x | z_k) p(z_k) / q(z_k | x), the mean of log w_k is the ELBO
(its KL estimated from the samples too) and log (1/K sum w_k) the importance-weighted bound of Burda, Grosse and
Salakhutdinov (2016). From the same samples the second is never below the first (Jensen).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from vae_jax.evaluation.likelihood.frequencies import Frequencies
from vae_jax.evaluation.likelihood.target import GridPiece, LikelihoodModel, PieceNats
from vae_jax.models.base import Variables
from vae_jax.models.pianoroll_vae import RollVAE
from vae_jax.models.posterior import Posterior, reparameterize
from vae_jax.representations import arrays
from vae_jax.representations.pianoroll import windows
from vae_jax.representations.pianoroll.config import STEP
from vae_jax.representations.pianoroll.representation import RollRepresentation
from vae_jax.representations.pianoroll.windows import NoteLists

NUM_SAMPLES = 16  # K.
_BATCH = 32


class LatentSamples(NamedTuple):
    """What K samples of the posterior of W examples cost, in nats; arrays of NumPy once they are fetched."""

    reconstruction: dict[str, Any]  # By term of the target, [K, W].
    log_ratio: Any  # log q(z | x) - log p(z), [K, W].


def sample_posterior(
    key: jax.Array, posterior: Posterior, num_samples: int, cost: Callable[[jax.Array], dict[str, jax.Array]]
) -> LatentSamples:
    """Draws K latents [W, Z] from a diagonal Gaussian posterior with a standard normal prior; jittable.

    The key is consumed; `cost` gives the terms of -log p(x | z), [W] each.
    """
    keys = jax.random.split(key, num_samples)
    return jax.lax.map(lambda one: draw_latents(one, posterior, cost), keys)


def draw_latents(key: jax.Array, posterior: Posterior, cost: Callable[[jax.Array], dict[str, Any]]) -> LatentSamples:
    """Draws one latent an example; as `sample_posterior`, without the axis K."""
    mean, log_var = posterior
    chex.assert_equal_shape([mean, log_var])
    z = reparameterize(key, posterior)
    log_q = -0.5 * (jnp.square(z - mean) * jnp.exp(-log_var) + log_var)
    return LatentSamples(cost(z), jnp.sum(log_q + 0.5 * jnp.square(z), axis=-1))


def bounds(samples: LatentSamples, piece_of: np.ndarray, num_pieces: int) -> list[PieceNats]:
    """Sums the bounds of examples, [K, W] each, over the pieces that they are of, [W]."""
    terms = {name: np.asarray(values, np.float64) for name, values in samples.reconstruction.items()}
    log_ratio = np.asarray(samples.log_ratio, np.float64)

    def by_piece(values: np.ndarray) -> list[float]:
        return np.bincount(piece_of, values, minlength=num_pieces).tolist()

    weighted = by_piece(importance_weighted_nats(sum(terms.values(), log_ratio)))
    sums = {name: by_piece(values.mean(axis=0)) for name, values in terms.items()} | {"kl": by_piece(log_ratio.mean(0))}
    return [
        PieceNats(**{name: values[n] for name, values in sums.items()}, importance_weighted=weighted[n])
        for n in range(num_pieces)
    ]


def importance_weighted_nats(cost: np.ndarray) -> np.ndarray:
    """Returns the bound -log (1/K sum_k exp(-cost_k)), [W], of costs -log w_k in nats, [K, W]."""
    return np.log(len(cost)) - scipy.special.logsumexp(-cost, axis=0)


class RollLikelihood(LikelihoodModel):
    """The piano roll VAE, whatever its beta in training: its windows are independent, its likelihood binomial."""

    given: tuple[str, ...] = ()

    def __init__(
        self,
        model: RollVAE,
        representation: RollRepresentation,
        variables: Variables,
        frequencies: Frequencies,
        key: jax.Array,
        num_samples: int = NUM_SAMPLES,
    ):
        """Takes the trained model, the frequencies of cells that it does not hold, and the key of the samples."""
        self._representation, self._variables = representation, variables
        self._key, self._frequencies = key, frequencies
        steps, pitches, _ = model.example_shape
        features = np.asarray(variables["constants"]["features"])
        self._absent = ~np.isin(np.arange(2 * steps * pitches), features).reshape(2, steps, pitches)
        self._sample = jax.jit(lambda *inputs: _sample_windows(model, representation, num_samples, *inputs))
        self.remarks = (
            f"negative ELBO of {num_samples} samples; cells that the model does not hold have their training frequency",
        )

    def nats(self, pieces: Sequence[GridPiece]) -> list[PieceNats]:
        """Returns what each piece costs."""
        length = self._representation.window_steps
        starts = [windows.window_starts(piece.roll.bars, length) for piece in pieces]
        lists = self._cut(pieces, starts)
        steps = [start[:, None] + np.arange(length) for start in starts]
        inside = np.concatenate([(of >= 0) & (of < one.num_steps) for of, one in zip(steps, pieces, strict=True)])
        samples = []
        for n, rows in enumerate(arrays.rows_in_order(len(inside), _BATCH)):
            batch = arrays.take((lists, inside), rows)
            samples.append(jax.device_get(self._sample(self._variables, jax.random.fold_in(self._key, n), *batch)))
        joined = jax.tree.map(lambda *parts: np.concatenate(parts, axis=1)[:, : len(inside)], *samples)
        window_of = np.repeat(np.arange(len(pieces)), [len(start) for start in starts])
        bounded = bounds(joined, window_of, len(pieces))
        return [self._with_absent(*one) for one in zip(pieces, starts, bounded, strict=True)]

    def _cut(self, pieces: Sequence[GridPiece], starts: Sequence[np.ndarray]) -> NoteLists:
        """The windows of all pieces, in lists that no note exceeds."""
        length, cut = self._representation.window_steps, []
        for piece, start in zip(pieces, starts, strict=True):
            bins = np.searchsorted(piece.roll.notes[:, STEP], np.stack([start, start + length]))
            cut.append((piece.roll.notes, start, int(np.diff(bins, axis=0).max(initial=1))))
        most = max(size for *_, size in cut)
        return arrays.concatenate([windows.cut(notes, start, length, most)[0] for notes, start, _ in cut])

    def _with_absent(self, piece: GridPiece, starts: np.ndarray, bounded: PieceNats) -> PieceNats:
        """Adds what the cells cost that the model does not hold."""
        every = np.arange(piece.num_steps)
        onset, drum = self._absent[:, every - starts[np.searchsorted(starts, every, side="right") - 1]]
        rest = self._frequencies.mask_nats(piece, onset, drum)
        return bounded.plus(onsets=rest.onsets, drums=rest.drums)


def _sample_windows(
    model: RollVAE,
    representation: RollRepresentation,
    num_samples: int,
    variables: Variables,
    key: jax.Array,
    lists: NoteLists,
    inside: jax.Array,
) -> LatentSamples:
    """Samples the latents of B windows of a piano roll.

    Args:
      model, representation, num_samples, variables: as in `RollLikelihood`.
      key: consumed.
      lists: the windows' notes.
      inside: [B, T] bool, which steps are of the piece: those outside are known to be empty.
    """
    x = representation.rasterize(lists)
    successes, trials = model.apply(variables, x, method="counts")
    kind, step = _describe_features(model, variables)
    trials = jnp.where((kind == 2) | inside[:, step], trials, 0.0)
    terms = ("onsets", "drums", "parts") if model.config.with_parts else ("onsets",)

    def cost(z: jax.Array) -> dict[str, jax.Array]:
        logits = model.apply(variables, z, method="feature_logits")
        nats = trials * jax.nn.softplus(logits) - successes * logits
        return {name: jnp.sum(jnp.where(kind == n, nats, 0.0), axis=-1) for n, name in enumerate(terms)}

    return sample_posterior(key, model.apply(variables, x, method="encode"), num_samples, cost)


def _describe_features(model: RollVAE, variables: Variables) -> tuple[jax.Array, jax.Array]:
    """Returns what each of M features is, 0 an onset cell, 1 a drum cell, 2 a share; and the step of a cell."""
    steps, pitches, _ = model.example_shape
    features = variables["constants"]["features"]
    kind = jnp.minimum(features // (steps * pitches), 2)
    return kind, jnp.where(kind < 2, features // pitches % steps, 0)
