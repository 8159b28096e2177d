"""Barred pieces: a score's pitched notes in bars on the beat grid, as the scores of generated music look at it.

Notes go through the piano roll, so that a file played off the beat is treated like one entered by step.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse

from vae_jax.music import instruments, key
from vae_jax.music.key import Tonic
from vae_jax.music.score import Meter, Score, make_notes
from vae_jax.representations.pianoroll import encoding
from vae_jax.representations.pianoroll.config import RollConfig
from vae_jax.representations.pianoroll.encoding import DURATION, PART, PITCH, STEP, RollPiece

NUM_PITCHES = 128
STEPS_PER_BEAT = RollConfig().steps_per_beat


@dataclasses.dataclass(frozen=True, eq=False)
class BarredPiece:
    """A piece on the grid, ordered by step and pitch; pitches are MIDI numbers, times are steps.

    A pitch that several instruments start together is one note, as long as the longest of them: how many double a line
    is a matter of the arrangement.

    Attributes:
      step, pitch, duration: [N] int64, the pitched notes of all parts, unisons once.
      part_notes: [M, 4] int64, the pitched notes of each part: step, part, pitch, duration.
      drum_step: [D] int64, onsets of the percussion.
      bars: [num_bars + 1] int64, steps at which bars start, and the end of the last one.
      bar_kind: [num_bars] int64, equal for bars of one meter and length; others are not compared.
      tonic: the key of the whole piece.
    """

    step: np.ndarray
    pitch: np.ndarray
    duration: np.ndarray
    part_notes: np.ndarray
    drum_step: np.ndarray
    bars: np.ndarray
    bar_kind: np.ndarray
    tonic: Tonic

    @property
    def num_bars(self) -> int:
        """Number of bars, 0 for a piece without notes."""
        return len(self.bars) - 1

    @property
    def end(self) -> np.ndarray:
        """Step at which each note ends, [N] int64."""
        return self.step + self.duration

    @property
    def bar(self) -> np.ndarray:
        """Bar in which each note starts, [N] int64."""
        return np.searchsorted(self.bars, self.step, side="right") - 1

    @property
    def onsets_per_bar(self) -> np.ndarray:
        """Notes that start in each bar, [num_bars] int64."""
        return np.bincount(self.bar, minlength=self.num_bars)

    def sounding(self) -> tuple[np.ndarray, np.ndarray]:
        """Which pitches sound from one start or end of a note to the next.

        Returns:
          [E + 1] int64, the steps at which notes start or end, and [E, 128] bool, what sounds between two of them.
        """
        events = np.unique(np.concatenate([self.step, self.end]))
        edges = np.zeros((len(events), NUM_PITCHES), dtype=np.int32)
        np.add.at(edges, (np.searchsorted(events, self.step), self.pitch), 1)
        np.add.at(edges, (np.searchsorted(events, self.end), self.pitch), -1)
        return events, np.cumsum(edges, axis=0)[:-1] > 0


def lay_out(score: Score) -> BarredPiece:
    """Lays a score out in bars on the default grid, twelve steps to the beat."""
    piece = encoding.encode(score, RollConfig())
    notes = piece.notes.astype(np.int64)
    notes[:, PITCH] += piece.config.min_pitch
    is_drum = notes[:, PART] == instruments.DRUMS
    pitched = notes[~is_drum]
    cells, of_note = np.unique(pitched[:, STEP] * NUM_PITCHES + pitched[:, PITCH], return_inverse=True)
    longest = np.zeros(len(cells), dtype=np.int64)
    np.maximum.at(longest, of_note, pitched[:, DURATION])
    step, pitch = np.divmod(cells, NUM_PITCHES)
    return BarredPiece(
        step=step,
        pitch=pitch,
        duration=longest,
        part_notes=pitched,
        drum_step=notes[is_drum, STEP],
        bars=np.asarray(piece.bars, dtype=np.int64),
        bar_kind=_bar_kinds(piece),
        tonic=key.estimate_tonic(make_notes(step, longest, pitch)),
    )


def onset_cells(piece: BarredPiece, starts: np.ndarray, lengths: np.ndarray, width: int) -> scipy.sparse.csr_matrix:
    """Returns the onsets in windows of a piece as sparse rows of 0 and 1, [W, width * 128] float32.

    Args:
      piece: the piece.
      starts: [W] steps at which windows start.
      lengths: [W] steps in each window, none above `width`.
      width: steps in a row; the column of an onset is its step in the window times 128, plus its pitch.
    """
    first, last = np.searchsorted(piece.step, starts), np.searchsorted(piece.step, starts + lengths)
    count = last - first
    indptr = np.concatenate([[0], np.cumsum(count)])
    note = np.arange(indptr[-1]) + np.repeat(first - indptr[:-1], count)
    column = (piece.step[note] - np.repeat(starts, count)) * NUM_PITCHES + piece.pitch[note]
    ones = np.ones(len(note), dtype=np.float32)
    return scipy.sparse.csr_matrix((ones, column, indptr), shape=(len(starts), width * NUM_PITCHES))


def bar_similarity(piece: BarredPiece) -> scipy.sparse.csr_matrix:
    """Returns the F1 of the onset cells of each pair of bars, [num_bars, num_bars], 0 for bars of different kinds."""
    lengths = np.diff(piece.bars)
    cells = onset_cells(piece, piece.bars[:-1], lengths, int(lengths.max(initial=1)))
    count = np.diff(cells.indptr)
    shared = (cells @ cells.T).tocoo()
    f1 = 2.0 * shared.data / (count[shared.row] + count[shared.col])
    f1 *= piece.bar_kind[shared.row] == piece.bar_kind[shared.col]
    return scipy.sparse.csr_matrix((f1, (shared.row, shared.col)), shape=shared.shape)


def _bar_kinds(piece: RollPiece) -> np.ndarray:
    """Numbers the bars by meter and length, [num_bars] int64."""
    meters = piece.context.meters
    if not meters or meters[0].tick > 0:
        meters = (Meter(0, 4, 4), *meters)
    ticks_per_step = piece.context.ticks_per_beat / piece.config.steps_per_beat
    # Half a step of slack: bar lines are rounded to steps.
    changes = np.array([meter.tick for meter in meters]) / ticks_per_step - 0.5
    of_bar = np.searchsorted(changes, piece.bars[:-1], side="right") - 1
    signature = np.array([meter.numerator * 128 + meter.denominator for meter in meters])[of_bar]
    kinds = np.stack([signature, np.diff(piece.bars)], axis=1)
    return np.unique(kinds, axis=0, return_inverse=True)[1].reshape(-1)
