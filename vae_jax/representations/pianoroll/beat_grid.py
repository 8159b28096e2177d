"""The piano roll's windows as cells of the beat grid, for scores and baselines on the grid."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.sparse

from vae_jax.music import instruments
from vae_jax.music.match_counts import MatchCounts
from vae_jax.representations.base import Encoded
from vae_jax.representations.pianoroll import windows
from vae_jax.representations.pianoroll.config import RollConfig
from vae_jax.representations.pianoroll.context import WindowedContext
from vae_jax.representations.pianoroll.decoding import UNKNOWN_DURATION
from vae_jax.representations.pianoroll.encoding import PART, PITCH, STEP
from vae_jax.representations.pianoroll.windows import NoteLists


@dataclasses.dataclass(frozen=True)
class RollGrid:
    """The beat grid of piano rolls of one shape; see `representations.base.BeatGrid`."""

    config: RollConfig

    @property
    def num_pitches(self) -> int:
        """Pitches of the roll."""
        return self.config.num_pitches

    def cells(self, examples: NoteLists, *, by_part: bool) -> scipy.sparse.csr_matrix:
        """Returns windows as rows of 0 and 1, [W, T * P], or [W, T * P * C] with the parts apart."""
        steps, pitches, num_parts = self.config.roll_shape
        notes = np.asarray(examples.notes).astype(np.int64)
        window, row = np.nonzero(np.asarray(examples.mask) & (notes[..., PART] != instruments.DRUMS))
        played = notes[window, row]
        cell, width = played[:, STEP] * pitches + played[:, PITCH], steps * pitches
        if by_part:
            cell, width = cell * num_parts + played[:, PART], width * num_parts
        ones = np.ones(len(cell), dtype=np.int32)
        matrix = scipy.sparse.csr_matrix((ones, (window, cell)), shape=(len(notes), width))
        matrix.data[:] = 1  # A sparse matrix adds up what stands in one place.
        return matrix

    def from_cells(self, like: NoteLists, cells: Sequence[np.ndarray]) -> NoteLists:
        """Returns windows that hold the given cells by part, ascending, without durations."""
        _, pitches, num_parts = self.config.roll_shape
        made = NoteLists(np.zeros_like(like.notes), np.zeros_like(like.mask))
        for window, row in enumerate(cells):
            kept = row[: made.mask.shape[1]]
            step_pitch, part = np.divmod(kept, num_parts)
            columns = (step_pitch // pitches, part, step_pitch % pitches, np.full(len(kept), UNKNOWN_DURATION))
            made.notes[window, : len(kept)] = np.stack(columns, axis=1)
            made.mask[window, : len(kept)] = True
        return made

    def count_matches(
        self, reference: Encoded[NoteLists, WindowedContext], estimate: NoteLists, *, by_part: bool
    ) -> MatchCounts:
        """Counts onsets equal in step and pitch (and part) over the steps of a piece."""
        one, other = (
            self._piece_cells(windows.stitch(lists, reference.context.starts, reference.context.num_steps), by_part)
            for lists in (reference.examples, estimate)
        )
        return MatchCounts(len(np.intersect1d(one, other, assume_unique=True)), len(one), len(other))

    def count_previous_bar(self, encoded: Encoded[NoteLists, WindowedContext]) -> MatchCounts:
        """Counts the cells that are right where every bar is a copy of the one before."""
        notes = windows.stitch(encoded.examples, encoded.context.starts, encoded.context.num_steps).astype(np.int64)
        notes = notes[notes[:, PART] != instruments.DRUMS]
        bars = encoded.context.roll.bars
        bar = np.clip(np.searchsorted(bars, notes[:, STEP], side="right") - 1, 0, len(bars) - 1)
        following = bar + 1
        inside = following < len(bars) - 1
        step = np.where(inside, bars[np.minimum(following, len(bars) - 1)] + notes[:, STEP] - bars[bar], -1)
        inside &= step < np.where(inside, bars[np.minimum(following + 1, len(bars) - 1)], 0)
        original = self._piece_cells(notes, by_part=False)
        copied = np.unique((step * self.num_pitches + notes[:, PITCH])[inside])
        return MatchCounts(len(np.intersect1d(original, copied)), len(original), len(copied))

    def _piece_cells(self, notes: np.ndarray, by_part: bool) -> np.ndarray:
        """Returns the distinct pitched cells of a piece's notes [N, 4], ascending."""
        notes = notes[notes[:, PART] != instruments.DRUMS].astype(np.int64)
        cells = notes[:, STEP] * self.num_pitches + notes[:, PITCH]
        return np.unique(cells * instruments.NUM_PARTS + notes[:, PART] if by_part else cells)
