"""Training frequencies: every cell, class and part on its own, the reference that a generative model has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vae_jax.evaluation.likelihood.target import NUM_DURATIONS, GridPiece, LikelihoodModel, PieceNats, part_bits
from vae_jax.music.instruments import NUM_PITCHED_PARTS

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

    given: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __init__(self, training: Sequence[GridPiece]):
        config = training[0].roll.config
        self._steps_per_beat, pitches = config.steps_per_beat, config.num_pitches
        steps = np.bincount(
            np.concatenate([self._in_beat(piece) for piece in training]), minlength=self._steps_per_beat
        )
        onset, drum = np.zeros((2, self._steps_per_beat, pitches))
        duration = np.full((self._steps_per_beat, NUM_DURATIONS), _ADDED)
        part = np.zeros((-(-pitches // _REGISTER_SEMITONES), NUM_PITCHED_PARTS))
        notes = np.zeros(len(part))
        for piece in training:
            in_beat, register = self._in_beat(piece), piece.pitch // _REGISTER_SEMITONES
            np.add.at(onset, (in_beat[piece.step], piece.pitch), 1)
            np.add.at(drum, (in_beat[piece.drum_step], piece.drum_pitch), 1)
            np.add.at(duration, (in_beat[piece.step], piece.duration), 1)
            np.add.at(part, register, part_bits(piece.parts))
            np.add.at(notes, register, 1)
        self.onset, self.drum = ((counts + _ADDED) / (steps[:, None] + 2 * _ADDED) for counts in (onset, drum))
        self.duration = duration / duration.sum(axis=1, keepdims=True)
        self.part = (part + _ADDED) / (notes[:, None] + 2 * _ADDED)

    def nats(self, pieces: Sequence[GridPiece]) -> list[PieceNats]:
        """Returns what each piece costs."""
        every = [np.ones((piece.num_steps, self.onset.shape[1]), bool) for piece in pieces]
        return [self.mask_nats(piece, mask, mask) for piece, mask in zip(pieces, every, strict=True)]

    def mask_nats(self, piece: GridPiece, onsets: np.ndarray, drums: np.ndarray) -> PieceNats:
        """Returns what the cells of a piece cost that masks [num_steps, P] name, and the notes in them."""
        kept = onsets[piece.step, piece.pitch]
        in_beat, part = self._in_beat(piece)[piece.step], self.part[piece.pitch // _REGISTER_SEMITONES]
        duration = np.log(self.duration[in_beat, piece.duration])
        parts = np.log(np.where(part_bits(piece.parts), part, 1 - part)).sum(axis=1)
        return PieceNats(
            onsets=self._cell_nats(piece, self.onset, onsets, piece.step, piece.pitch),
            durations=float(-duration[kept].sum()),
            parts=float(-parts[kept].sum()),
            drums=self._cell_nats(piece, self.drum, drums, piece.drum_step, piece.drum_pitch),
        )

    def _cell_nats(
        self, piece: GridPiece, probs: np.ndarray, mask: np.ndarray, step: np.ndarray, pitch: np.ndarray
    ) -> float:
        """The Bernoulli cost of the cells of a mask [num_steps, P], of which those of (step, pitch) are played."""
        played = np.zeros(mask.shape, bool)
        played[step, pitch] = True
        cells = probs[self._in_beat(piece)]
        return float(-np.log(np.where(played, cells, 1 - cells))[mask].sum())

    def _in_beat(self, piece: GridPiece) -> np.ndarray:
        """The place of each step in its beat, [num_steps]."""
        return piece.step_in_bar % self._steps_per_beat
