"""Training frequencies: every cell, class and part on its own, the reference that a generative model has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vae_jax.composer.onset_encoding import NUM_PITCHED_PARTS
from vae_jax.evaluation.likelihood.target import NUM_DURATIONS, GridPiece, LikelihoodModel, PieceNats, part_bits

_ADDED = 0.5  # To both counts of a binary event (Jeffreys), and to that of every duration class.
_REGISTER_SEMITONES = 3


class Frequencies(LikelihoodModel):
    """Independent events with the probabilities that they have in the training pieces, (count + 1/2) / (trials + 1).

    A pitched or drum cell is Bernoulli by its step in the beat and its pitch; a note's duration class is categorical by
    its step in the beat; each part of a note is Bernoulli by its register of three semitones.

    Attributes:
      onset, drum: float64 [steps of a beat, P], probabilities of cells.
      duration: float64 [steps of a beat, NUM_DURATIONS].
      part: float64 [registers, NUM_PITCHED_PARTS].
    """

    given: Sequence[str] = ()
    remarks: Sequence[str] = ()

    def __init__(self, training: Sequence[GridPiece]):
        config = training[0].roll.config
        self._steps_per_beat, pitches = config.steps_per_beat, config.num_pitches
        steps = sum((self._steps(piece) for piece in training), np.zeros(self._steps_per_beat))[:, None]
        onset, drum = np.zeros((2, self._steps_per_beat, pitches))
        duration = np.full((self._steps_per_beat, NUM_DURATIONS), _ADDED)
        part = np.zeros((-(-pitches // _REGISTER_SEMITONES), NUM_PITCHED_PARTS))
        notes = np.zeros(len(part))
        for piece in training:
            in_beat, register = self._in_beat(piece, piece.step), piece.pitch // _REGISTER_SEMITONES
            np.add.at(onset, (in_beat, piece.pitch), 1)
            np.add.at(drum, (self._in_beat(piece, piece.drum_step), piece.drum_pitch), 1)
            np.add.at(duration, (in_beat, piece.duration), 1)
            np.add.at(part, register, part_bits(piece.parts))
            np.add.at(notes, register, 1)
        self.onset, self.drum = ((counts + _ADDED) / (steps + 2 * _ADDED) for counts in (onset, drum))
        self.duration = duration / duration.sum(axis=1, keepdims=True)
        self.part = (part + _ADDED) / (notes[:, None] + 2 * _ADDED)

    def nats(self, pieces: Sequence[GridPiece]) -> list[PieceNats]:
        """Returns what each piece costs."""
        return [self._piece_nats(piece) for piece in pieces]

    def _piece_nats(self, piece: GridPiece) -> PieceNats:
        in_beat, bits = self._in_beat(piece, piece.step), part_bits(piece.parts)
        part = self.part[piece.pitch // _REGISTER_SEMITONES]
        return PieceNats(
            onsets=self._cell_nats(piece, self.onset, piece.step, piece.pitch),
            durations=float(-np.log(self.duration[in_beat, piece.duration]).sum()),
            parts=float(-np.log(np.where(bits, part, 1 - part)).sum()),
            drums=self._cell_nats(piece, self.drum, piece.drum_step, piece.drum_pitch),
        )

    def _cell_nats(self, piece: GridPiece, probs: np.ndarray, step: np.ndarray, pitch: np.ndarray) -> float:
        """Every cell as if it were empty, and the difference for those that are not."""
        played = probs[self._in_beat(piece, step), pitch]
        return float(-self._steps(piece) @ np.log1p(-probs).sum(axis=1) - (np.log(played) - np.log1p(-played)).sum())

    def cell_logits(self, piece: GridPiece, probs: np.ndarray) -> np.ndarray:
        """Returns the logits of the cells of a piece for probabilities by step in the beat, [num_steps, P]."""
        in_beat = self._in_beat(piece, np.arange(piece.num_steps))
        return (np.log(probs) - np.log1p(-probs))[in_beat]

    def _in_beat(self, piece: GridPiece, steps: np.ndarray) -> np.ndarray:
        return piece.step_in_bar[steps] % self._steps_per_beat

    def _steps(self, piece: GridPiece) -> np.ndarray:
        """Counts the steps of a piece by their place in the beat, [steps of a beat]."""
        return np.bincount(self._in_beat(piece, np.arange(piece.num_steps)), minlength=self._steps_per_beat)
