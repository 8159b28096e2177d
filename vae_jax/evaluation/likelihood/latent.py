"""Bounds on the likelihood of a latent variable model, and the piano roll VAE's.

With samples z_1..z_K of the posterior and weights w_k = p(x | z_k) p(z_k) / q(z_k | x), the mean of log w_k is the ELBO
(its KL estimated from the samples too) and log (1/K sum w_k) the importance-weighted bound of Burda, Grosse and
Salakhutdinov (2016). From the same samples the second is never below the first (Jensen).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from vae_jax.evaluation.likelihood.frequencies import Frequencies
from vae_jax.evaluation.likelihood.target import GridPiece, LikelihoodModel, PieceNats, part_bits
from vae_jax.models.base import Variables
from vae_jax.models.losses import BinomialCounts, binomial_nll, gaussian_log_density
from vae_jax.models.pianoroll_vae import RollVAE
from vae_jax.models.posterior import Posterior, reparameterize
from vae_jax.representations.pianoroll import beats
from vae_jax.representations.pianoroll.beats import BeatLists
from vae_jax.representations.pianoroll.config import STEP
from vae_jax.representations.pianoroll.durations import DURATION_STEPS
from vae_jax.representations.pianoroll.rasterize import DURATION_EDGES, DURATION_REGISTER, duration_span
from vae_jax.representations.pianoroll.representation import RollRepresentation

NUM_SAMPLES = 16  # K.
_BEATS, _LIST, _NOTES = 128, 32, 2048  # Pieces are filled up to multiples of these, so that few programs are compiled.
_MODEL_CLASSES = np.searchsorted(DURATION_EDGES, DURATION_STEPS)  # The model's duration class for each of the target's.


class LatentSamples(NamedTuple):
    """What K samples of the posterior of W examples cost, in nats; arrays of NumPy once they are fetched."""

    reconstruction: dict[str, chex.Array]  # By term of the target, [K, W].
    log_ratio: chex.Array  # log q(z | x) - log p(z), [K, W].


class NoteDurations(NamedTuple):
    """What the durations of the target's notes depend on; N notes, filled up with zeros."""

    cell: chex.Array  # [N, 3], beat, half of the beat and register of the model's durations.
    parts: chex.Array  # [N, C - 1] float32, 1 where a part plays the note; no part for what fills the arrays up.
    longest: chex.Array  # [N], the model's duration class of the longest.


def longest_nats(outlasts: jax.Array, parts: jax.Array, longest: jax.Array) -> jax.Array:
    """Returns -log P(the longest of independent durations is of a class), [N], 0 for notes of no part.

    P(longest <= k) is the product over parts of 1 - P(the part's note outlasts class k).

    Args:
      outlasts: [N, C - 1, K] logits that a note outlasts each class, given that it outlasts the one before.
      parts, longest: as in `NoteDurations`.
    """
    survival = jnp.exp(jnp.cumsum(jax.nn.log_sigmoid(outlasts), axis=-1))
    log_below = jnp.sum(parts[..., None] * jnp.log1p(-jnp.minimum(survival, 1 - 1e-6)), axis=1)
    none, every = jnp.full_like(log_below[:, :1], -jnp.inf), jnp.zeros_like(log_below[:, :1])
    log_below = jnp.concatenate([none, log_below, every], axis=-1)  # Of the classes -1 to K.
    low, high = (jnp.take_along_axis(log_below, longest[:, None] + n, axis=-1)[:, 0] for n in range(2))
    nats = -high - jnp.log1p(-jnp.minimum(jnp.exp(low - high), 1 - 1e-6))
    return jnp.where(jnp.any(parts > 0, axis=1), nats, 0.0)


def sample_posterior(
    key: jax.Array,
    posterior: Posterior,
    num_samples: int,
    cost: Callable[[jax.Array], dict[str, jax.Array]],
    prior: Callable[[jax.Array], Posterior] | None = None,
) -> LatentSamples:
    """Draws K latents [W, ...] from a diagonal Gaussian posterior; jittable.

    The key is consumed; `cost` gives the terms of -log p(x | z), [W] each, `prior` the Gaussian of each latent given
    those before it, of the shape of z; a standard normal if None.
    """
    keys = jax.random.split(key, num_samples)
    return jax.lax.map(lambda one: draw_latents(one, posterior, cost, prior), keys)


def draw_latents(
    key: jax.Array,
    posterior: Posterior,
    cost: Callable[[jax.Array], dict[str, jax.Array]],
    prior: Callable[[jax.Array], Posterior] | None = None,
) -> LatentSamples:
    """Draws one latent an example; as `sample_posterior`, without the axis K."""
    chex.assert_equal_shape([posterior.mean, posterior.log_var])
    z = reparameterize(key, posterior)
    expected = Posterior(jnp.zeros_like(z), jnp.zeros_like(z)) if prior is None else prior(z)
    log_ratio = gaussian_log_density(z, posterior) - gaussian_log_density(z, expected)
    return LatentSamples(cost(z), jnp.sum(log_ratio, axis=range(1, z.ndim)))


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
    """The piano roll VAE, whatever its beta in training.

    Its duration classes hold several of the target's; which of them a note has costs what it does by training
    frequencies.
    """

    given: tuple[str, ...] = ()

    def __init__(
        self,
        model: RollVAE,
        representation: RollRepresentation,
        variables: Variables,
        frequencies: Frequencies,
        key: jax.Array,
    ):
        """Takes the trained model, the frequencies of what it does not hold, and the key of the samples."""
        self._representation, self._variables = representation, variables
        self._key, self._frequencies = key, frequencies
        steps, pitches, _ = model.example_shape
        features = np.asarray(variables["constants"]["features"])
        self._absent = ~np.isin(np.arange(2 * steps * pitches), features).reshape(2, steps, pitches)
        self._sample = jax.jit(lambda *inputs: _sample_piece(model, representation, *inputs))
        self.remarks = (
            f"negative ELBO of {NUM_SAMPLES} samples; cells and the finest duration classes, which the model does not "
            "hold, have their training frequency",
        )

    def nats(self, pieces: Sequence[GridPiece]) -> list[PieceNats]:
        """Returns what each piece costs."""
        samples = [
            jax.device_get(
                self._sample(self._variables, jax.random.fold_in(self._key, n), *self._split(piece), ~self._absent)
            )
            for n, piece in enumerate(pieces)
        ]
        joined = jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *samples)
        bounded = bounds(joined, np.arange(len(pieces)), len(pieces))
        return [self._with_frequencies(*one) for one in zip(pieces, bounded, strict=True)]

    def _split(self, piece: GridPiece) -> tuple[BeatLists, np.ndarray, NoteDurations]:
        """A crop that holds the whole piece, in lists that no note exceeds; its steps, [1, T, S]; its durations."""
        steps_per_beat, roll = self._representation.steps_per_beat, piece.roll
        num_beats = -(-piece.num_steps // steps_per_beat)
        most = int(np.bincount(roll.notes[:, STEP] // steps_per_beat).max(initial=1))
        lists, _ = beats.split(roll.notes, num_beats, steps_per_beat, -(-most // _LIST) * _LIST)
        padded = beats.crop(lists, -(-num_beats // _BEATS) * _BEATS, hop=1)
        inside = np.arange(padded.mask.shape[1] * steps_per_beat) < piece.num_steps
        beat, step = np.divmod(piece.step, steps_per_beat)
        cell = np.stack([beat, duration_span(step, steps_per_beat), piece.pitch // DURATION_REGISTER], axis=1)
        longest = _MODEL_CLASSES[piece.duration]
        filling = ((0, -len(cell) % _NOTES), (0, 0))
        parts = part_bits(piece.parts).astype(np.float32)
        durations = NoteDurations(np.pad(cell, filling), np.pad(parts, filling), np.pad(longest, filling[0]))
        return padded, inside.reshape(1, -1, steps_per_beat), durations

    def _with_frequencies(self, piece: GridPiece, bounded: PieceNats) -> PieceNats:
        """Adds what the cells cost that the model does not hold, and the class of a note within the model's class."""
        onset, drum = self._absent[:, np.arange(piece.num_steps) % self._representation.steps_per_beat]
        rest = self._frequencies.mask_nats(piece, onset, drum)
        probs = self._frequencies.duration[piece.step_in_bar[piece.step] % self._representation.steps_per_beat]
        same = _MODEL_CLASSES[piece.duration][:, None] == _MODEL_CLASSES
        within = np.log(probs[np.arange(len(probs)), piece.duration]) - np.log(np.sum(probs * same, axis=1))
        return bounded.plus(onsets=rest.onsets, drums=rest.drums, durations=float(-within.sum()))


def _sample_piece(
    model: RollVAE,
    representation: RollRepresentation,
    variables: Variables,
    key: jax.Array,
    lists: BeatLists,
    inside: jax.Array,
    durations: NoteDurations,
    present: jax.Array,
) -> LatentSamples:
    """Samples the latents of one piece of T beats.

    Args:
      model, representation, variables: as in `RollLikelihood`.
      key: consumed.
      lists: the piece's beats, [1, T, ...].
      inside: [1, T, S] bool, which steps are of the piece: those outside are known to be empty.
      durations: of the target's notes.
      present: [2, S, P] bool, which pitched and drum cells the model holds.
    """
    x = representation.rasterize(lists)
    onsets = x.onsets.astype(jnp.float32)
    pitched, drums = onsets[..., :-1], onsets[..., -1]
    played, beat_inside = jnp.max(pitched, axis=-1), x.inside[..., None]
    posterior = model.apply(variables, x, method="encode")

    def nll(logits: jax.Array, successes: jax.Array, trials: jax.Array) -> jax.Array:
        """Of successes out of trials, summed: [1]."""
        logits, *counts = jnp.broadcast_arrays(logits, successes, trials)
        return jnp.sum(binomial_nll(logits, BinomialCounts(*counts)))[None]

    def cost(z: jax.Array) -> dict[str, jax.Array]:
        logits = model.apply(variables, z * beat_inside, method="decode")
        cells = [(present[n] & inside[..., None]).astype(jnp.float32) for n in range(2)]
        return {
            "onsets": nll(logits.onset, played * cells[0], cells[0]),
            "drums": nll(logits.drum, drums * cells[1], cells[1]),
            "parts": nll(logits.share[:, :, None], pitched, played[..., None]),
            "durations": jnp.sum(longest_nats(logits.outlasts[0, *durations.cell.T], *durations[1:]))[None],
        }

    def prior(z: jax.Array) -> Posterior:
        """The posterior itself where there is no beat, so that it costs nothing."""
        expected = model.apply(variables, z * beat_inside, method="prior")
        return Posterior(*(jnp.where(beat_inside > 0, *pair) for pair in zip(expected, posterior, strict=True)))

    return sample_posterior(key, posterior, NUM_SAMPLES, cost, prior)
