"""The trained model applied to whole pieces: scores to posteriors, latents to scores, in batches of a fixed shape."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Generic

import chex
import jax
import numpy as np

from vae_jax.models.base import VAE, Variables
from vae_jax.models.posterior import Posterior
from vae_jax.music.score import Score
from vae_jax.representations import arrays
from vae_jax.representations.base import AnyRepresentation, B, C, Calibration, Encoded

CALIBRATION_EXAMPLES = 512
_BATCH = 64


@dataclasses.dataclass(frozen=True, eq=False)
class Reconstruction(Generic[B, C]):
    """A piece and its reconstruction."""

    original: Score  # The piece.
    encoded: Encoded[B, C]  # The piece as examples, with its context and what the representation left out.
    ceiling: Score  # The piece after encoding and decoding with no model between.
    decoded: B  # The examples decoded from the posterior mean.
    score: Score  # The piece decoded from the posterior mean.
    posterior: Posterior  # NumPy arrays [W, Z], one row an example of the piece.


class Inference:
    """A model with its variables bound, as functions of examples, latents and scores; compiled once."""

    def __init__(self, model: VAE, representation: AnyRepresentation, variables: Variables, calibration: Calibration):
        self.representation = representation
        self.latent_dim = model.latent_dim
        self._variables, self._calibration = variables, calibration
        self._encode = jax.jit(
            lambda variables, batch: model.apply(variables, representation.rasterize(batch), method="encode")
        )
        self._decode = jax.jit(lambda variables, z: model.apply(variables, z, method="decode"))

    def encode(self, examples: object) -> Posterior:
        """Maps examples, arrays [W, ...], to the posterior, float32 [W, Z] each."""
        batches = [self._encode(self._variables, batch) for batch in _batches(examples)]
        return arrays.take(arrays.concatenate(jax.device_get(batches)), slice(arrays.num_examples(examples)))

    def decode(self, z: np.ndarray) -> Any:
        """Maps latents [W, Z] to examples, arrays [W, ...]."""
        batches = [
            self.representation.from_outputs(jax.device_get(self._decode(self._variables, batch)), self._calibration)
            for batch in _batches(np.asarray(z, dtype=np.float32))
        ]
        return arrays.take(arrays.concatenate(batches), slice(len(z)))

    def reconstruct(self, scores: Sequence[Score]) -> list[Reconstruction]:
        """Encodes every piece and decodes it from the posterior mean."""
        encoded = [self.representation.encode(score) for score in scores]
        posterior = self.encode(arrays.concatenate([piece.examples for piece in encoded]))
        decoded = self.decode(posterior.mean)
        result, start = [], 0
        for score, piece in zip(scores, encoded, strict=True):
            rows = slice(start, start + arrays.num_examples(piece.examples))
            mine = dataclasses.replace(piece, examples=arrays.take(decoded, rows))
            decode = self.representation.decode
            result.append(
                Reconstruction(score, piece, decode(piece), mine.examples, decode(mine), arrays.take(posterior, rows))
            )
            start = rows.stop
        return result

    def decode_score(self, z: np.ndarray, context: object = None) -> Score:
        """Decodes the latents of one piece, [W, Z], with the context given or that of music without an original."""
        context = self.representation.context_of_length(len(z)) if context is None else context
        return self.representation.decode(Encoded(self.decode(z), context))

    def decode_scores(self, latents: Sequence[np.ndarray], contexts: Sequence[object] | None = None) -> list[Score]:
        """Decodes several pieces, each [W, Z], in full batches, with the contexts given or those of music without an
        original."""
        if not latents:
            return []
        if contexts is None:
            contexts = [self.representation.context_of_length(len(z)) for z in latents]
        decoded, ends = self.decode(np.concatenate(latents)), np.cumsum([len(z) for z in latents])
        return [
            self.representation.decode(Encoded(arrays.take(decoded, slice(end - len(z), end)), context))
            for z, end, context in zip(latents, ends, contexts, strict=True)
        ]


def calibrate(model: VAE, representation: AnyRepresentation, variables: Variables, examples: object) -> Calibration:
    """Tunes how outputs become notes, on some of the training examples."""

    @jax.jit
    def reconstruct(variables: Variables, x: jax.Array) -> chex.ArrayTree:
        return model.apply(variables, model.apply(variables, x, method="encode").mean, method="decode")

    batches = []
    for start in range(0, arrays.num_examples(examples), _BATCH):
        x = representation.rasterize(arrays.take(examples, slice(start, start + _BATCH)))
        batches.append(jax.device_get((reconstruct(variables, x), x)))
    outputs, x = arrays.concatenate(batches)
    return representation.calibrate(outputs, x)


def _batches(examples: B) -> Iterator[B]:
    """Cuts examples into batches of one size, so that one compiled program serves all; the last row fills the last."""
    for rows in arrays.rows_in_order(arrays.num_examples(examples), _BATCH):
        yield arrays.take(examples, rows)
