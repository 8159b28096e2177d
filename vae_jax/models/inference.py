"""The trained model applied to whole pieces: scores to posteriors, latents to scores, in batches of a fixed shape."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.models.base import VAE, Variables
from vae_jax.models.posterior import Posterior
from vae_jax.music.score import Score
from vae_jax.representations import arrays
from vae_jax.representations.base import AnyRepresentation, B, C, Calibration, Encoded

CALIBRATION_EXAMPLES = 128
_BATCH, _CALIBRATION_BATCH = 64, 16
_STRETCH = 128  # Examples of a sequence that are encoded or decoded at once, beside their context.

Rows = TypeVar("Rows")
Found = TypeVar("Found")
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True, eq=False)
class Reconstruction(Generic[B, C]):
    """A piece and its reconstruction."""

    original: Score  # The piece.
    encoded: Encoded[B, C]  # The piece as examples, with its context and what the representation left out.
    ceiling: Score  # The piece after encoding and decoding with no model between.
    decoded: B  # The examples decoded from the posterior mean.
    score: Score  # The piece decoded from the posterior mean.
    posterior: Posterior  # NumPy arrays [W, Z], one row an example of the piece.
    kl_nats: np.ndarray  # KL divergence of the posterior from the prior, float32 [W], of one sample of the posterior.


class Inference:
    """A model with its variables bound, as functions of examples, latents and scores; compiled once.

    The examples of a piece are independent of each other, or a sequence: then they are encoded and decoded in stretches
    that overlap by what the model sees of the neighbours, so that memory is bounded and the results are those of the
    whole piece.
    """

    def __init__(self, model: VAE, representation: AnyRepresentation, variables: Variables, calibration: Calibration):
        self.representation = representation
        self.latent_dim = model.latent_dim
        self._context = model.context
        self.is_sequence = model.context is not None  # Whether the examples of a piece are a sequence.
        self.variables = variables  # Of the model.
        self._calibration = calibration
        self._encode = jax.jit(
            lambda variables, batch: model.apply(variables, representation.rasterize(batch), method="encode")
        )
        self._decode = jax.jit(lambda variables, z: model.apply(variables, z, method="decode"))
        self._kl_nats = jax.jit(lambda variables, posterior, z: model.apply(variables, posterior, z, method="kl_nats"))
        self._sample_prior = jax.jit(
            functools.partial(model.apply, method="sample_prior"), static_argnames=("num", "num_examples")
        )

    def encode(self, examples: object) -> Posterior:
        """Maps the examples of a piece, arrays [W, ...], to the posterior, float32 [W, Z] each."""
        return self.encode_pieces([examples])[0]

    def encode_pieces(self, pieces: Sequence[object]) -> list[Posterior]:
        """Maps the examples of pieces to a posterior each."""
        return self._map(lambda batch: self._encode(self.variables, batch), pieces, lambda posterior: posterior)

    def decode(self, z: np.ndarray) -> Any:
        """Maps the latents of a piece, [W, Z], to examples, arrays [W, ...]."""
        return self.decode_pieces([z])[0]

    def decode_pieces(self, latents: Sequence[np.ndarray]) -> list[Any]:
        """Maps the latents of pieces, [W, Z] each, to their examples."""
        return self._map(
            lambda batch: self._decode(self.variables, batch),
            [np.asarray(z, dtype=np.float32) for z in latents],
            lambda outputs: self.representation.from_outputs(outputs, self._calibration),
        )

    def kl_nats(self, posteriors: Sequence[Posterior], seed: int = 0) -> list[np.ndarray]:
        """Returns the KL divergence of each row of each piece's posterior from the prior, float32 [W], in nats.

        Where the prior of a row depends on those before, they are one sample of the posterior by the seed.
        """
        rng = np.random.default_rng(seed)
        noise = [rng.standard_normal(posterior.mean.shape).astype(np.float32) for posterior in posteriors]
        pairs = [(one, one.mean + np.exp(one.log_var / 2) * eps) for one, eps in zip(posteriors, noise, strict=True)]
        return self._map(lambda pair: self._kl_nats(self.variables, *pair), pairs, lambda values: values)

    def sample_prior(self, seed: int, num: int, num_examples: int, temperature: float = 1.0) -> np.ndarray:
        """Samples the latents of `num` pieces of so many examples from the prior, float32 [num, num_examples, Z]."""
        key = jax.random.key(seed)
        sampled = self._sample_prior(
            self.variables, key, num=num, num_examples=num_examples, temperature=jnp.float32(temperature)
        )
        return np.asarray(sampled)

    def reconstruct(self, scores: Sequence[Score]) -> list[Reconstruction]:
        """Encodes every piece and decodes it from the posterior mean."""
        pieces, decode = [self.representation.encode(score) for score in scores], self.representation.decode
        posteriors = self.encode_pieces([piece.examples for piece in pieces])
        decoded = self.decode_pieces([posterior.mean for posterior in posteriors])
        return [
            Reconstruction(
                score, piece, decode(piece), mine, decode(dataclasses.replace(piece, examples=mine)), posterior, kl
            )
            for score, piece, mine, posterior, kl in zip(
                scores, pieces, decoded, posteriors, self.kl_nats(posteriors), strict=True
            )
        ]

    def decode_score(self, z: np.ndarray, context: object = None) -> Score:
        """Decodes the latents of one piece, [W, Z], with the context given or that of music without an original."""
        context = self.representation.context_of_length(len(z)) if context is None else context
        return self.representation.decode(Encoded(self.decode(z), context))

    def decode_scores(self, latents: Sequence[np.ndarray], contexts: Sequence[object] | None = None) -> list[Score]:
        """Decodes several pieces, each [W, Z], with the contexts given or those of music without an original."""
        if contexts is None:
            contexts = [self.representation.context_of_length(len(z)) for z in latents]
        return [
            self.representation.decode(Encoded(examples, context))
            for examples, context in zip(self.decode_pieces(latents), contexts, strict=True)
        ]

    def _map(
        self, function: Callable[[Rows], Found], pieces: Sequence[Rows], finish: Callable[[Found], Result]
    ) -> list[Result]:
        """Applies a jitted function to the rows of pieces in batches of one shape, and `finish` to the results, NumPy
        arrays [rows, ...]; returns what that gives for each piece."""
        if not pieces:
            return []
        if self._context is not None:
            return [arrays.concatenate([finish(part) for part in self._stretches(function, rows)]) for rows in pieces]
        rows, ends = arrays.concatenate(pieces), np.cumsum([arrays.num_examples(piece) for piece in pieces])
        batches = arrays.rows_in_order(int(ends[-1]), _BATCH)
        found = arrays.concatenate([finish(jax.device_get(function(arrays.take(rows, batch)))) for batch in batches])
        return [arrays.take(found, slice(start, end)) for start, end in zip([0, *ends[:-1]], ends, strict=True)]

    def _stretches(self, function: Callable[[Rows], Found], rows: Rows) -> Iterator[Found]:
        """Applies a jitted function to a sequence, one stretch with its context after the other."""
        context, count = self._context or 0, arrays.num_examples(rows)
        for start in range(0, count, _STRETCH):
            index = np.arange(start - context, start + _STRETCH + context)
            found = jax.device_get(function(_stretch(rows, index, count)))
            kept = slice(context, context + min(_STRETCH, count - start))
            yield jax.tree.map(lambda array, kept=kept: array[0, kept], found)


def _stretch(rows: Rows, index: np.ndarray, count: int) -> Rows:
    """Returns rows as a batch of one sequence, [1, T, ...]; zeros for an index outside of 0..count-1."""
    inside = (index >= 0) & (index < count)

    def pick(array: np.ndarray) -> np.ndarray:
        picked = np.asarray(array)[np.clip(index, 0, count - 1)]
        return np.where(inside.reshape(-1, *(1,) * (picked.ndim - 1)), picked, np.zeros((), picked.dtype))[None]

    return jax.tree.map(pick, rows)


def calibrate(model: VAE, representation: AnyRepresentation, variables: Variables, examples: object) -> Calibration:
    """Tunes how outputs become notes, on some of the training examples."""

    @jax.jit
    def reconstruct(variables: Variables, x: chex.ArrayTree) -> chex.ArrayTree:
        return model.apply(variables, model.apply(variables, x, method="encode").mean, method="decode")

    batches = []
    for start in range(0, arrays.num_examples(examples), _CALIBRATION_BATCH):
        x = representation.rasterize(arrays.take(examples, slice(start, start + _CALIBRATION_BATCH)))
        batches.append(jax.device_get((reconstruct(variables, x), x)))
    outputs, x = arrays.concatenate(batches)
    return representation.calibrate(outputs, x)
