"""The trained model applied to whole pieces: scores to posteriors, latents to scores, in batches of a fixed shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.models.posterior import Posterior
from vae_jax.music.score import Score
from vae_jax.representations import arrays as arrays_lib
from vae_jax.representations.base import Arrays, Calibration, Encoded, Representation

_BATCH = 64
CALIBRATION_EXAMPLES = 512


@dataclasses.dataclass(frozen=True, eq=False)
class Reconstruction:
    """A piece and what the model makes of it.

    Attributes:
      original: the piece.
      encoded: the piece as examples, with its context and what the representation left out.
      ceiling: the piece after encoding and decoding with no model between.
      decoded: the examples as the model decodes them from the posterior mean.
      score: the piece decoded from the posterior mean.
      posterior: NumPy arrays [W, Z], one row an example of the piece.
    """

    original: Score
    encoded: Encoded
    ceiling: Score
    decoded: Arrays
    score: Score
    posterior: Posterior


class Inference:
    """Pure functions of a model with its variables bound, compiled once."""

    def __init__(self, model: Any, representation: Representation, variables: Any, calibration: Calibration):
        self.representation = representation
        self.latent_dim: int = model.latent_dim
        self._variables = variables
        self._calibration = calibration
        self._encode = jax.jit(
            lambda variables, arrays: model.apply(variables, representation.rasterise(arrays), method="encode")
        )
        self._decode = jax.jit(lambda variables, z: model.apply(variables, z, method="decode"))

    def encode(self, arrays: Arrays) -> Posterior:
        """Maps compact arrays, each [W, ...], to the posterior, float32 [W, Z] each."""
        parts = [self._encode(self._variables, part) for part in _padded_batches(arrays)]
        count = arrays_lib.num_examples(arrays)
        return Posterior(*(np.concatenate(rows)[:count] for rows in zip(*jax.device_get(parts), strict=True)))

    def decode(self, z: np.ndarray) -> Arrays:
        """Maps latents [W, Z] to compact arrays, each [W, ...]."""
        parts = [
            self.representation.from_outputs(
                jax.device_get(self._decode(self._variables, part["z"])), self._calibration
            )
            for part in _padded_batches({"z": np.asarray(z, dtype=np.float32)})
        ]
        return {name: rows[: len(z)] for name, rows in arrays_lib.concatenate(parts).items()}

    def reconstruct(self, scores: Sequence[Score]) -> list[Reconstruction]:
        """Encodes every piece and decodes it from the posterior mean."""
        encoded = [self.representation.encode(score) for score in scores]
        posterior = self.encode(arrays_lib.concatenate([piece.arrays for piece in encoded]))
        decoded = self.decode(posterior.mean)
        ends = np.cumsum([arrays_lib.num_examples(piece.arrays) for piece in encoded])
        result = []
        for score, piece, end in zip(scores, encoded, ends, strict=True):
            rows = slice(end - arrays_lib.num_examples(piece.arrays), end)
            mine = Encoded({name: array[rows] for name, array in decoded.items()}, piece.context, piece.report)
            result.append(
                Reconstruction(
                    original=score,
                    encoded=piece,
                    ceiling=self.representation.decode(piece),
                    decoded=mine.arrays,
                    score=self.representation.decode(mine),
                    posterior=Posterior(posterior.mean[rows], posterior.log_var[rows]),
                )
            )
        return result

    def decode_score(self, z: np.ndarray, context: Any = None) -> Score:
        """Decodes the latents of one piece, [W, Z], with the context given or that of music without an original."""
        context = self.representation.context_of_length(len(z)) if context is None else context
        return self.representation.decode(Encoded(self.decode(z), context, {}))

    def decode_scores(self, latents: Sequence[np.ndarray]) -> list[Score]:
        """Decodes several pieces without originals, each [W, Z], in full batches."""
        decoded = self.decode(np.concatenate(latents))
        ends = np.cumsum([len(z) for z in latents])
        return [
            self.representation.decode(
                Encoded(
                    {name: array[end - len(z) : end] for name, array in decoded.items()},
                    self.representation.context_of_length(len(z)),
                    {},
                )
            )
            for z, end in zip(latents, ends, strict=True)
        ]


def calibrate(model: Any, representation: Representation, variables: Any, arrays: Arrays) -> Calibration:
    """Tunes how outputs become notes, on some of the training examples."""
    parts = []
    apply = jax.jit(
        lambda variables, x: model.apply(variables, model.apply(variables, x, method="encode").mean, method="decode")
    )
    for start in range(0, arrays_lib.num_examples(arrays), _BATCH):
        x = representation.rasterise(
            {name: jnp.asarray(array[start : start + _BATCH]) for name, array in arrays.items()}
        )
        parts.append(jax.device_get((apply(variables, x), x)))
    outputs, x = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    return representation.calibrate(outputs, x)


def _padded_batches(arrays: Arrays) -> list[dict[str, Any]]:
    """Cuts arrays into batches of one size, so that one compiled program serves all; the last row fills the last."""
    rows = arrays_lib.rows_in_order(arrays_lib.num_examples(arrays), _BATCH)
    return [{name: array[part] for name, array in arrays.items()} for part in rows]
