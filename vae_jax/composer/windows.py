"""The composer's windows: eight beats of a roll from any step on, with the latents of their beats side by side.

A window is encoded and decoded as if it were a piece of its own.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from vae_jax.models.base import VAE, Variables
from vae_jax.models.inference import Inference
from vae_jax.music import instruments
from vae_jax.music.score import Score
from vae_jax.representations.pianoroll import beats, encoding
from vae_jax.representations.pianoroll.beats import BeatLists
from vae_jax.representations.pianoroll.config import DURATION, PART, PITCH, STEP
from vae_jax.representations.pianoroll.context import RollContext
from vae_jax.representations.pianoroll.encoding import RollPiece
from vae_jax.representations.pianoroll.representation import RollRepresentation

UNKNOWN_DURATION = -1  # Of a drum note; it becomes one step.
_MAX_NOTES = 256


class NoteLists(NamedTuple):
    """Windows as padded lists of notes."""

    notes: np.ndarray  # [W, N, 4] integers: step from the window's start, part, pitch index, duration in steps.
    mask: np.ndarray  # [W, N] bool, whether a row is a note.


class WindowLogits(NamedTuple):
    """Windows as the first stage decodes them, [B, ...]."""

    onset: jax.Array  # Logit that any pitched part starts a note, [B, T, P].
    drum: jax.Array  # Logit that the drums do, [B, T, P].
    share: jax.Array  # Logit that a part takes a note that starts, [B, T, P, C - 1].


@dataclasses.dataclass(frozen=True)
class WindowedRoll(RollRepresentation):
    """A piano roll that is cut into windows."""

    window_beats: int = 8

    @classmethod
    def of(cls, representation: RollRepresentation) -> "WindowedRoll":
        """Returns the same roll with windows."""
        fields = dataclasses.fields(representation)
        return cls(**{field.name: getattr(representation, field.name) for field in fields})

    @property
    def window_steps(self) -> int:
        """Steps in a window, T."""
        return self.steps_per_beat * self.window_beats

    def encode_at(self, piece: RollPiece, starts: np.ndarray) -> NoteLists:
        """Cuts windows of a roll that start at any steps, below zero and past the end too."""
        lists = NoteLists(np.zeros((len(starts), _MAX_NOTES, 4), np.int16), np.zeros((len(starts), _MAX_NOTES), bool))
        bounds = np.searchsorted(piece.notes[:, STEP], np.stack([starts, starts + self.window_steps]))
        for window, (low, high) in enumerate(bounds.T.tolist()):
            inside = piece.notes[low : min(high, low + _MAX_NOTES)].copy()
            inside[:, STEP] -= starts[window]
            lists.notes[window, : len(inside)] = inside
            lists.mask[window, : len(inside)] = True
        return lists

    def window_cells(self, windows: NoteLists) -> scipy.sparse.csr_matrix:
        """Returns the pitched onsets of windows as rows of 0 and 1, [W, T * P]."""
        window, row = np.nonzero(windows.mask & (windows.notes[..., PART] != instruments.DRUMS))
        played = windows.notes[window, row].astype(np.int64)
        shape = (len(windows.mask), self.window_steps * self.num_pitches)
        cells = played[:, STEP] * self.num_pitches + played[:, PITCH]
        matrix = scipy.sparse.csr_matrix((np.ones(len(cells), np.int32), (window, cells)), shape=shape)
        matrix.data[:] = 1  # A sparse matrix adds up what stands in one place.
        return matrix

    def to_beats(self, windows: NoteLists) -> BeatLists:
        """Returns windows as crops of beats, [W, window_beats, ...]."""
        shape = len(windows.mask), self.window_beats
        window, row = np.nonzero(windows.mask)
        notes = windows.notes[window, row].astype(np.int64)
        notes[:, STEP] += window * self.window_steps  # As if they were one piece.
        notes = notes[np.argsort(notes[:, STEP] // self.steps_per_beat, kind="stable")]
        lists, _ = beats.split(notes, shape[0] * shape[1], self.steps_per_beat, self.max_notes)
        return BeatLists(*(array.reshape(*shape, *array.shape[1:]) for array in lists))

    def empty_piece(self, context: RollContext, num_steps: int) -> RollPiece:
        """A piece of so many steps without notes."""
        return RollPiece(np.zeros((0, 4), np.int32), num_steps, context, encoding.RollReport(), self)

    def decode_notes(self, piece: RollPiece) -> Score:
        """Turns a roll into a piece."""
        notes = piece.notes.copy()
        notes[:, DURATION] = np.maximum(notes[:, DURATION], 1)
        return encoding.decode(dataclasses.replace(piece, notes=notes))


@dataclasses.dataclass(frozen=True, eq=False)
class WindowInference:
    """The first stage applied to windows; latents of a window are those of its beats, [W, window_beats * Z]."""

    inference: Inference
    roll: WindowedRoll

    @property
    def latent_dim(self) -> int:
        """Latents of a window."""
        return self.roll.window_beats * self.inference.latent_dim

    def encode(self, windows: NoteLists) -> np.ndarray:
        """Returns the posterior means of windows, float32 [W, window_beats * Z]."""
        mean = self.inference.encode_crops(self.roll.to_beats(windows)).mean
        return mean.reshape(len(mean), -1)

    def decode(self, z: np.ndarray) -> NoteLists:
        """Decodes windows from their latents."""
        decoded = self.inference.decode_crops(z.reshape(len(z), self.roll.window_beats, -1))
        notes = decoded.notes.copy()
        notes[..., STEP] += self.roll.steps_per_beat * np.arange(self.roll.window_beats, dtype=notes.dtype)[:, None]
        return NoteLists(notes.reshape(len(z), -1, 4), decoded.mask.reshape(len(z), -1))

    def decode_score(self, z: np.ndarray, context: RollContext) -> Score:
        """Decodes the latents of the consecutive windows of a piece."""
        num_beats = -(-context.num_steps // self.roll.steps_per_beat)
        return self.inference.decode_score(z.reshape(-1, self.inference.latent_dim)[:num_beats], context)


def decode_logits(first_stage: VAE, variables: Variables, z: jax.Array, roll: WindowedRoll) -> WindowLogits:
    """Decodes windows [B, window_beats * Z] into logits; jittable."""
    decoded = first_stage.apply(variables, z.reshape(len(z), roll.window_beats, -1), method="decode")
    onset, drum = (
        values.reshape(len(z), roll.window_steps, roll.num_pitches) for values in (decoded.onset, decoded.drum)
    )
    return WindowLogits(onset, drum, jnp.repeat(decoded.share, roll.steps_per_beat, axis=1))
