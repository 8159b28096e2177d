"""Bar grid: a score's notes quantized by the piano roll's encoder, the common input of scores of generated music."""

import dataclasses

import numpy as np
import scipy.sparse

from vae_jax.music import instruments, key
from vae_jax.music.key import Tonic
from vae_jax.music.match_counts import f1_score
from vae_jax.music.score import Meter, Score, make_notes
from vae_jax.representations.pianoroll import encoding
from vae_jax.representations.pianoroll.config import RollConfig
from vae_jax.representations.pianoroll.encoding import DURATION, PART, PITCH, STEP, RollPiece

NUM_PITCHES = 128
STEPS_PER_BEAT = RollConfig().steps_per_beat


@dataclasses.dataclass(frozen=True, eq=False)
class BarGrid:
    """Notes on the beat grid, ordered by step and pitch; pitches are MIDI numbers, times are steps.

    A pitch that several instruments start together (a unison) is one note, as long as the longest of them. All arrays
    are int64.
    """

    step: np.ndarray  # [N], like `pitch` and `duration`: the pitched notes of all instrument groups, unisons once.
    pitch: np.ndarray
    duration: np.ndarray
    group_notes: np.ndarray  # [M, 4], the pitched notes of each instrument group: step, group, pitch, duration.
    drum_step: np.ndarray  # [D], onsets of the percussion.
    bars: np.ndarray  # [num_bars + 1], steps at which bars start, and the end of the last one.
    bar_kind: np.ndarray  # [num_bars], equal for bars of one meter and length; only those are compared.
    numerator: np.ndarray  # [num_bars], of each bar's meter.
    tonic: Tonic  # The key of the whole piece.

    @property
    def num_bars(self) -> int:
        """Number of bars, 0 for a piece without notes."""
        return len(self.bars) - 1

    @property
    def end(self) -> np.ndarray:
        """Step at which each note ends, [N] int64."""
        return self.step + self.duration

    @property
    def onsets_per_bar(self) -> np.ndarray:
        """Notes that start in each bar, [num_bars] int64."""
        return np.bincount(self.bar_of(self.step), minlength=self.num_bars)

    def bar_of(self, steps: np.ndarray) -> np.ndarray:
        """Returns the bar of each step."""
        return np.searchsorted(self.bars, steps, side="right") - 1

    def bar_rhythms(self) -> np.ndarray:
        """Returns the steps of each bar at which any pitched note starts, [num_bars, longest bar] bool."""
        rhythms = np.zeros((self.num_bars, int(np.diff(self.bars).max(initial=1))), dtype=bool)
        bar = self.bar_of(self.step)
        rhythms[bar, self.step - self.bars[bar]] = True
        return rhythms

    def sounding(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the steps at which notes start or end, [E + 1], and which pitches sound in between, [E, 128] bool."""
        events = np.unique(np.concatenate([self.step, self.end]))
        edges = np.zeros((len(events), NUM_PITCHES), dtype=np.int32)
        np.add.at(edges, (np.searchsorted(events, self.step), self.pitch), 1)
        np.add.at(edges, (np.searchsorted(events, self.end), self.pitch), -1)
        return events, np.cumsum(edges, axis=0)[:-1] > 0

    def onset_cells(self, starts: np.ndarray, lengths: np.ndarray, width: int) -> scipy.sparse.csr_matrix:
        """Returns the onsets in windows as sparse rows of 0 and 1, [W, width * 128] float32.

        The windows have a first step and a number of steps, at most `width`, each [W]; an onset's column is its step in
        the window times 128, plus its pitch.
        """
        first, last = np.searchsorted(self.step, starts), np.searchsorted(self.step, starts + lengths)
        count = last - first
        indptr = np.concatenate([[0], np.cumsum(count)])
        note = np.arange(indptr[-1]) + np.repeat(first - indptr[:-1], count)
        column = (self.step[note] - np.repeat(starts, count)) * NUM_PITCHES + self.pitch[note]
        shape = len(starts), width * NUM_PITCHES
        return scipy.sparse.csr_matrix((np.ones(len(note), dtype=np.float32), column, indptr), shape=shape)

    def bar_similarity(self) -> scipy.sparse.csr_matrix:
        """Returns the F1 of the onset cells of each pair of bars, [num_bars, num_bars], 0 for bars of two kinds."""
        lengths = np.diff(self.bars)
        cells = self.onset_cells(self.bars[:-1], lengths, int(lengths.max(initial=1)))
        f1 = pairwise_f1(cells, cells.T.tocsr()).tocoo()
        f1.data *= self.bar_kind[f1.row] == self.bar_kind[f1.col]
        return f1.tocsr()


def make_bar_grid(score: Score) -> BarGrid:
    """Quantizes a score on the default grid, twelve steps to the beat."""
    piece = encoding.encode(score, RollConfig(normalize_tonic=False))
    notes = piece.notes.astype(np.int64)
    notes[:, PITCH] += piece.config.min_pitch
    is_drum = notes[:, PART] == instruments.DRUMS
    pitched = notes[~is_drum]
    cells, of_note = np.unique(pitched[:, STEP] * NUM_PITCHES + pitched[:, PITCH], return_inverse=True)
    longest = np.zeros(len(cells), dtype=np.int64)
    np.maximum.at(longest, of_note, pitched[:, DURATION])
    step, pitch = np.divmod(cells, NUM_PITCHES)
    bars, tonic = np.asarray(piece.bars, dtype=np.int64), key.estimate_tonic(make_notes(step, longest, pitch))
    kind, numerator = _bar_meters(piece)
    return BarGrid(step, pitch, longest, pitched, notes[is_drum, STEP], bars, kind, numerator, tonic)


def pairwise_f1(rows: scipy.sparse.csr_matrix, columns: scipy.sparse.csr_matrix) -> scipy.sparse.csr_matrix:
    """Returns the F1 of each row [A, K] with each column [K, B] of two matrices of 0 and 1, [A, B]."""
    shared = rows @ columns
    row_size = np.repeat(np.diff(rows.indptr), np.diff(shared.indptr))
    f1 = f1_score(shared.data, row_size, columns.getnnz(axis=0)[shared.indices])
    return scipy.sparse.csr_matrix((f1, shared.indices, shared.indptr), shape=shared.shape)


def _bar_meters(piece: RollPiece) -> tuple[np.ndarray, np.ndarray]:
    """Numbers the bars by meter and length, and returns the numerators of their meters, [num_bars] int64 each."""
    meters = piece.context.meters
    if not meters or meters[0].tick > 0:
        meters = (Meter(0, 4, 4), *meters)
    ticks_per_step = piece.context.ticks_per_beat / piece.config.steps_per_beat
    # Half a step of slack: bar lines are rounded to steps.
    changes = np.array([meter.tick for meter in meters]) / ticks_per_step - 0.5
    of_bar = np.searchsorted(changes, piece.bars[:-1], side="right") - 1
    numerator, denominator = np.array([(meter.numerator, meter.denominator) for meter in meters])[of_bar].T
    signature = numerator * 128 + denominator
    return np.unique((signature << 32) + np.diff(piece.bars), return_inverse=True)[1], numerator
