"""The piano roll as a representation: a piece as windows of two bars of 4/4, each a padded list of notes."""

import dataclasses
from collections.abc import Mapping

import jax
import numpy as np

from vae_jax.music.score import Score
from vae_jax.representations.base import Calibration, Encoded, Representation
from vae_jax.representations.pianoroll import decoding, encoding, windows
from vae_jax.representations.pianoroll.augmentation import RollAugmentation
from vae_jax.representations.pianoroll.beat_grid import RollGrid
from vae_jax.representations.pianoroll.config import STEP, RollConfig
from vae_jax.representations.pianoroll.context import RollContext, WindowedContext, default_context
from vae_jax.representations.pianoroll.decoding import RollLogits
from vae_jax.representations.pianoroll.encoding import RollPiece
from vae_jax.representations.pianoroll.rasterize import rasterize
from vae_jax.representations.pianoroll.windows import NoteLists
from vae_jax.runtime import config


@dataclasses.dataclass(frozen=True)
class RollRepresentation(RollConfig, Representation[NoteLists, WindowedContext, RollLogits]):
    """The piano roll in windows; see `representations.base.Representation` for its methods.

    Attributes:
      max_notes: N, the size of a window's list of notes; notes beyond are counted in the report.
      training_hop_beats: training windows start every so many beats; 0 for the windows of `encode` alone.
    """

    max_notes: int = config.number(at_least=1, default=256)
    training_hop_beats: int = config.number(at_least=0, default=1)

    example_type = NoteLists
    context_type = WindowedContext

    @property
    def example_shape(self) -> tuple[int, int, int]:
        """(steps, pitches, parts)."""
        return self.roll_shape

    @property
    def grid(self) -> RollGrid:
        """The beat grid."""
        return RollGrid(self)

    def encode(self, score: Score) -> Encoded[NoteLists, WindowedContext]:
        """Turns a piece into W windows."""
        piece = encoding.encode(score, self)
        starts = windows.window_starts(piece.bars, self.window_steps)
        lists, num_overflow = windows.cut(piece.notes, starts, self.window_steps, self.max_notes)
        report = {
            "notes": piece.report.num_notes,
            "notes_collapsed": piece.report.num_collapsed,
            "notes_lost_by_doubling": piece.report.num_lost,
            "notes_folded": piece.report.num_folded,
            "notes_past_max_notes": num_overflow,
        }
        diagnostics = {"mean_timing_error_ms": piece.report.mean_timing_error_ms}
        return Encoded(lists, WindowedContext(piece.num_steps, starts, piece.context), report, diagnostics)

    def encode_at(self, piece: RollPiece, starts: np.ndarray) -> NoteLists:
        """Cuts windows of a roll that start at any steps, below zero and past the end too."""
        return windows.cut(piece.notes, starts, self.window_steps, self.max_notes)[0]

    def encode_training(self, score: Score) -> NoteLists:
        """Turns a piece into training windows, which may start on any beat and overlap. Of a long silence the window
        next to the music on either side is kept."""
        if not self.training_hop_beats:
            return self.encode(score).examples
        piece = encoding.encode(score, self)
        hop, first = self.training_hop_beats * self.steps_per_beat, int(piece.bars[min(1, len(piece.bars) - 1)])
        last = max(piece.num_steps - self.window_steps, 0)
        starts = np.unique(np.concatenate([np.arange(first % hop, last + 1, hop), [0, last]]))
        around = np.stack([starts - self.window_steps, starts + 2 * self.window_steps])
        before, after = np.searchsorted(piece.notes[:, STEP], around)
        starts = starts[(before < after) | (starts == 0)]
        return self.encode_at(piece, starts)

    def decode(self, encoded: Encoded[NoteLists, WindowedContext]) -> Score:
        """Turns windows back into a piece."""
        context = encoded.context
        notes = windows.stitch(encoded.examples, context.starts, context.num_steps)
        return self.decode_notes(dataclasses.replace(self.empty_piece(context.roll, context.num_steps), notes=notes))

    def decode_notes(self, piece: RollPiece) -> Score:
        """Turns a roll into a piece; notes of unknown duration get one by the rule of `decoding.with_durations`."""
        notes = decoding.with_durations(piece.notes, piece.num_steps, self.steps_per_beat)
        return encoding.decode(dataclasses.replace(piece, notes=notes))

    def rasterize(self, batch: NoteLists) -> jax.Array:
        """Makes dense rolls of onsets, [B, T, P, C] uint8, 0 or 1; float32 would cost a tenth of a training step."""
        steps, pitches, num_parts = self.example_shape
        return rasterize(batch, num_steps=steps, num_pitches=pitches, num_parts=num_parts, dtype="uint8")

    def make_augmentation(self, probabilities: Mapping[str, float]) -> RollAugmentation:
        """Returns transposition, subsets of parts and mixtures, each with its probability."""
        return config.make_section(RollAugmentation, probabilities, "config.augment")

    def from_outputs(self, outputs: RollLogits, calibration: Calibration) -> NoteLists:
        """Turns the decoder's logits into notes."""
        return decoding.notes_from_logits(outputs, calibration, self.max_notes)

    def calibrate(self, outputs: RollLogits, x: np.ndarray) -> Calibration:
        """Finds the thresholds with the best F1 on training windows, x [W, T, P, C]."""
        return decoding.calibrate(outputs, x)

    def default_calibration(self) -> Calibration:
        """Even odds."""
        return decoding.DEFAULT_CALIBRATION

    def context_of_length(self, num_examples: int) -> WindowedContext:
        """The context of music of so many windows that has no original."""
        num_steps = num_examples * self.window_steps
        starts = np.arange(0, num_steps, self.window_steps)
        return WindowedContext(num_steps, starts, default_context(num_steps, self.steps_per_beat))

    def empty_piece(self, context: RollContext, num_steps: int) -> RollPiece:
        """A piece of so many steps without notes."""
        return RollPiece(np.zeros((0, 4), np.int32), num_steps, context, encoding.RollReport(), self)

    def first_full_example(self, context: WindowedContext) -> int:
        """Index of the first window that starts inside the piece: the one before it holds a pick-up."""
        return int(np.argmax(context.starts >= 0))
