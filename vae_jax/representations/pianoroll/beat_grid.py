"""The piano roll as cells of the beat grid, for scores and baselines on the grid."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.sparse

from vae_jax.music import instruments
from vae_jax.music.match_counts import MatchCounts
from vae_jax.representations.base import Encoded
from vae_jax.representations.pianoroll import beats
from vae_jax.representations.pianoroll.beats import BeatLists
from vae_jax.representations.pianoroll.config import DURATION, PART, PITCH, STEP, RollConfig
from vae_jax.representations.pianoroll.context import RollContext


@dataclasses.dataclass(frozen=True)
class RollGrid:
    """The beat grid of piano rolls of one shape; see `representations.base.BeatGrid`."""

    config: RollConfig
    examples_per_row: int = 8  # Beats in a row of cells.

    @property
    def num_pitches(self) -> int:
        """Pitches of the roll."""
        return self.config.num_pitches

    def cells(self, examples: BeatLists, *, by_part: bool) -> scipy.sparse.csr_matrix:
        """Returns windows of `examples_per_row` beats as rows of 0 and 1, [.., T * P], or [.., T * P * C] with the
        parts apart; examples are the beats [W, ...] of a piece, or crops [B, T, ...], each with windows of its own."""
        steps, pitches, num_parts = self.config.beat_shape
        num_beats = examples.mask.shape[-2]
        rows_each = -(-num_beats // self.examples_per_row)
        index = np.nonzero(np.asarray(examples.mask) & (examples.notes[..., PART] != instruments.DRUMS))
        played, beat = np.asarray(examples.notes)[index].astype(np.int64), index[-2]
        crop = index[0] if examples.mask.ndim == 3 else 0
        row, place = crop * rows_each + beat // self.examples_per_row, beat % self.examples_per_row
        cell, width = (
            (place * steps + played[:, STEP]) * pitches + played[:, PITCH],
            self.examples_per_row * steps * pitches,
        )
        if by_part:
            cell, width = cell * num_parts + played[:, PART], width * num_parts
        num_rows = rows_each * (len(examples.mask) if examples.mask.ndim == 3 else 1)
        matrix = scipy.sparse.csr_matrix((np.ones(len(cell), np.int32), (row, cell)), shape=(num_rows, width))
        matrix.data[:] = 1  # A sparse matrix adds up what stands in one place.
        return matrix

    def from_cells(self, like: BeatLists, cells: Sequence[np.ndarray]) -> BeatLists:
        """Returns the beats of a piece that hold the given cells by part, ascending, in notes of one step."""
        steps, pitches, num_parts = self.config.beat_shape
        joined = np.concatenate(
            [row + n * self.examples_per_row * steps * pitches * num_parts for n, row in enumerate(cells)]
        )
        rest, part = np.divmod(joined, num_parts)
        notes = np.zeros((len(joined), 4), np.int64)
        notes[:, STEP], notes[:, PITCH] = np.divmod(rest, pitches)
        notes[:, PART], notes[:, DURATION] = part, 1
        return beats.split(notes, len(like.mask), steps, like.mask.shape[1])[0]

    def count_matches(
        self, reference: Encoded[BeatLists, RollContext], estimate: BeatLists, *, by_part: bool
    ) -> MatchCounts:
        """Counts onsets equal in step and pitch (and part), up to the last bar line."""
        rolls = (self._notes(lists) for lists in (reference.examples, estimate))
        last = reference.context.num_steps
        one, other = (self._piece_cells(notes[notes[:, STEP] < last], by_part) for notes in rolls)
        return MatchCounts(len(np.intersect1d(one, other, assume_unique=True)), len(one), len(other))

    def count_previous_bar(self, encoded: Encoded[BeatLists, RollContext]) -> MatchCounts:
        """Counts the cells that are right where every bar is a copy of the one before."""
        notes = self._notes(encoded.examples).astype(np.int64)
        notes = notes[notes[:, PART] != instruments.DRUMS]
        bars = encoded.context.bars
        bar = np.clip(np.searchsorted(bars, notes[:, STEP], side="right") - 1, 0, len(bars) - 1)
        following = bar + 1
        inside = following < len(bars) - 1
        step = np.where(inside, bars[np.minimum(following, len(bars) - 1)] + notes[:, STEP] - bars[bar], -1)
        inside &= step < np.where(inside, bars[np.minimum(following + 1, len(bars) - 1)], 0)
        original = self._piece_cells(notes, by_part=False)
        copied = np.unique((step * self.num_pitches + notes[:, PITCH])[inside])
        return MatchCounts(len(np.intersect1d(original, copied)), len(original), len(copied))

    def _notes(self, lists: BeatLists) -> np.ndarray:
        return beats.join(lists, self.config.steps_per_beat)

    def _piece_cells(self, notes: np.ndarray, by_part: bool) -> np.ndarray:
        """Returns the distinct pitched cells of a piece's notes [N, 4], ascending."""
        notes = notes[notes[:, PART] != instruments.DRUMS].astype(np.int64)
        cells = notes[:, STEP] * self.num_pitches + notes[:, PITCH]
        return np.unique(cells * instruments.NUM_PARTS + notes[:, PART] if by_part else cells)
