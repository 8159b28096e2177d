"""The post's model, as far as its array reaches: its loss read as a likelihood of the notes that fit.

The loss is a squared error of log(1 + value), up to a factor a Gaussian's negative log density on that scale. Here its
variance is that of each feature of the training arrays around their reconstruction, and the probability of a value is
the mass of its interval: of a pitch half a semitone to each side, of an onset half a step, of a duration its class. The
numbers of a slot are independent, and padding, which is zero, is a value like others.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np
import scipy.special

from vae_jax.evaluation.likelihood.latent import LatentSamples, bounds, draw_latents
from vae_jax.evaluation.likelihood.target import GridPiece, LikelihoodModel, PieceNats
from vae_jax.models.base import Variables
from vae_jax.models.conv_vae import ConvVAE
from vae_jax.music.score import DRUM_CHANNEL
from vae_jax.representations import arrays
from vae_jax.representations.note_matrix import DURATION, ONSET, PITCH, NoteMatrixRepresentation
from vae_jax.representations.pianoroll.durations import DURATION_STEPS

NUM_SAMPLES = 8
_FITTED_PIECES = 32
_BATCH = 16
_MIN_DEVIATION = 1e-3
_MIDDLES = np.sqrt(DURATION_STEPS[1:] * DURATION_STEPS[:-1])


class PostLikelihood(LikelihoodModel):
    """The post's model; drums, which its array holds as tracks, have no duration in the target."""

    given: tuple[str, ...] = ("the part of each track", "ticks per beat")
    remarks: tuple[str, ...] = (
        f"negative ELBO of {NUM_SAMPLES} samples under a Gaussian of log(1 + value), which its loss implies",
        "notes that do not fit its array are not coded, unisons in every track",
    )

    def __init__(
        self,
        model: ConvVAE,
        representation: NoteMatrixRepresentation,
        variables: Variables,
        training: Sequence[GridPiece],
        key: jax.Array,
    ):
        """Takes the trained model, the pieces that the deviations are fitted to, and the key of the samples."""
        self._representation, self._variables, self._key = representation, variables, key

        # Not mapped over samples: XLA's convolutions are slow in a loop on CPUs.
        self._draw = jax.jit(
            lambda variables, key, x: draw_latents(
                key,
                model.apply(variables, x, method="encode"),
                lambda z: {"values": model.apply(variables, z, method="decode")},
            )
        )
        fitted = [training[n] for n in arrays.subsample_rows(len(training), _FITTED_PIECES)]
        x = self._arrays(fitted)
        error = np.log1p(self._decode(x).reconstruction["values"]) - np.log1p(x)
        deviation = np.sqrt(np.mean(np.square(error), axis=(0, 1, 2, 4)))[:, None]  # Of each feature.
        self._deviation = np.maximum(deviation, _MIN_DEVIATION)

    def nats(self, pieces: Sequence[GridPiece]) -> list[PieceNats]:
        """Returns what each piece costs."""
        x = self._arrays(pieces)
        decoded = self._decode(x)
        nats = {name: np.zeros((NUM_SAMPLES, len(pieces))) for name in ("onsets", "durations", "drums")}
        for n, piece in enumerate(pieces):
            mean = np.log1p(decoded.reconstruction["values"][:, n].astype(np.float64))
            low, high = ((limit - mean) / self._deviation for limit in log_limits(x[n], piece))
            by_feature = -log_mass(low, high).sum(axis=1)  # [K, 3, tracks].
            drums = self._drum_tracks(piece)
            cells = by_feature[:, PITCH] + by_feature[:, ONSET]
            nats["onsets"][:, n], nats["drums"][:, n] = cells[:, ~drums].sum(axis=1), cells[:, drums].sum(axis=1)
            nats["durations"][:, n] = by_feature[:, DURATION, ~drums].sum(axis=1)
        return bounds(LatentSamples(nats, decoded.log_ratio), np.arange(len(pieces)), len(pieces))

    def _arrays(self, pieces: Sequence[GridPiece]) -> np.ndarray:
        """The post's arrays, [pieces, notes, 3, tracks] float32."""
        return np.concatenate([self._representation.encode(piece.score).examples.values for piece in pieces])

    def _decode(self, x: np.ndarray) -> LatentSamples:
        """Samples of the decoded values, [K, pieces, notes, 3, tracks]."""
        batches = []
        for n, rows in enumerate(arrays.rows_in_order(len(x), _BATCH)):
            keys = jax.random.split(jax.random.fold_in(self._key, n), NUM_SAMPLES)
            draws = [jax.device_get(self._draw(self._variables, key, x[rows])) for key in keys]
            batches.append(jax.tree.map(lambda *parts: np.stack(parts), *draws))
        return jax.tree.map(lambda *parts: np.concatenate(parts, axis=1)[:, : len(x)], *batches)

    def _drum_tracks(self, piece: GridPiece) -> np.ndarray:
        """Which columns of the array are percussion, bool [tracks]."""
        tracks = self._representation.encode(piece.score).context.tracks
        mine = [track.channel == DRUM_CHANNEL for track in tracks]
        return np.array(mine + [False] * (self._representation.num_tracks - len(mine)))


def log_limits(x: np.ndarray, piece: GridPiece) -> tuple[np.ndarray, np.ndarray]:
    """Returns log(1 + limit) of the values that mean the same as those of an array [notes, 3, tracks]: the pitch, the
    step of the onset, the duration class. All values below 1/2 are padding."""
    grid = piece.roll.grid
    step_ticks = grid.ticks_per_beat / grid.steps_per_beat
    low, high = x.astype(np.float64) - 0.5, x.astype(np.float64) + 0.5
    first_tick = grid.offset_ticks + 1  # Onsets are one tick late in the array.
    steps = np.floor((x[:, ONSET] - first_tick) / step_ticks + 0.5)
    low[:, ONSET], high[:, ONSET] = ((steps + side) * step_ticks + first_tick for side in (-0.5, 0.5))
    limits = np.concatenate([[0], _MIDDLES, [np.inf]]) * step_ticks
    duration = np.searchsorted(_MIDDLES * step_ticks, x[:, DURATION])
    low[:, DURATION], high[:, DURATION] = limits[duration], limits[duration + 1]
    is_padding = x < 0.5
    return np.where(is_padding, -np.inf, np.log1p(np.maximum(low, 0.5))), np.log1p(np.where(is_padding, 0.5, high))


def log_mass(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Returns the log probability that a standard normal lies between limits, in either tail."""
    flip = low > 0  # The lower tail keeps the precision.
    low, high = np.where(flip, -high, low), np.where(flip, -low, high)
    upper, lower = scipy.special.log_ndtr(high), scipy.special.log_ndtr(low)
    return upper + np.log1p(-np.exp(lower - upper))
