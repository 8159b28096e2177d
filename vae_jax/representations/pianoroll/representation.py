"""The piano roll as a representation: a piece as a sequence of beats, each a padded list of notes."""

import dataclasses
from collections.abc import Mapping

import jax
import numpy as np

from vae_jax.music import quantization
from vae_jax.music.score import Score
from vae_jax.representations.base import Calibration, Encoded, Representation
from vae_jax.representations.pianoroll import beats, decoding, encoding
from vae_jax.representations.pianoroll.augmentation import RollAugmentation
from vae_jax.representations.pianoroll.beat_grid import RollGrid
from vae_jax.representations.pianoroll.beats import BeatLists
from vae_jax.representations.pianoroll.config import DURATION, STEP, RollConfig
from vae_jax.representations.pianoroll.context import RollContext, blend, default_context
from vae_jax.representations.pianoroll.decoding import RollLogits
from vae_jax.representations.pianoroll.encoding import RollPiece
from vae_jax.representations.pianoroll.rasterize import Rolls, rasterize
from vae_jax.runtime import config


@dataclasses.dataclass(frozen=True)
class RollRepresentation(RollConfig, Representation[BeatLists, RollContext, Rolls, RollLogits]):
    """The piano roll in beats; see `representations.base.Representation` for its methods.

    Attributes:
      max_notes: N, the size of a beat's list of notes; notes beyond are counted in the report.
      crop_beats: beats of a training example.
      training_hop_beats: training examples start every so many beats.
    """

    max_notes: int = config.number(at_least=1, default=48)
    crop_beats: int = config.number(at_least=1, default=32)
    training_hop_beats: int = config.number(at_least=1, default=4)

    example_type = BeatLists
    context_type = RollContext

    @property
    def example_shape(self) -> tuple[int, int, int]:
        """(steps, pitches, parts) of a beat."""
        return self.beat_shape

    @property
    def grid(self) -> RollGrid:
        """The beat grid."""
        return RollGrid(self)

    def encode(self, score: Score) -> Encoded[BeatLists, RollContext]:
        """Turns a piece into W beats, at least one."""
        piece = encoding.encode(score, self)
        num_beats = max(-(-piece.num_steps // self.steps_per_beat), 1)
        lists, num_overflow = beats.split(piece.notes, num_beats, self.steps_per_beat, self.max_notes)
        report = {
            "notes": piece.report.num_notes,
            "notes_collapsed": piece.report.num_collapsed,
            "notes_lost_by_doubling": piece.report.num_lost,
            "notes_folded": piece.report.num_folded,
            "notes_past_max_notes": num_overflow,
        }
        diagnostics = {"mean_timing_error_ms": piece.report.mean_timing_error_ms}
        return Encoded(lists, piece.context, report, diagnostics)

    def encode_training(self, score: Score) -> BeatLists:
        """Turns a piece into crops [C, T, ...] that overlap."""
        return beats.crop(self.encode(score).examples, self.crop_beats, self.training_hop_beats)

    def decode(self, encoded: Encoded[BeatLists, RollContext]) -> Score:
        """Turns beats back into a piece, which ends with its last bar."""
        notes, num_steps = beats.join(encoded.examples, self.steps_per_beat), encoded.context.num_steps
        notes = notes[notes[:, STEP] < num_steps]
        notes[:, DURATION] = np.minimum(notes[:, DURATION], num_steps - notes[:, STEP])
        piece = RollPiece(notes, num_steps, encoded.context, encoding.RollReport(), self)
        return encoding.decode(piece)

    def rasterize(self, batch: BeatLists) -> Rolls:
        """Makes the rolls of crops of beats."""
        return rasterize(batch, steps_per_beat=self.steps_per_beat, num_pitches=self.num_pitches)

    def make_augmentation(self, probabilities: Mapping[str, float]) -> RollAugmentation:
        """Returns transposition, subsets of parts and mixtures, each with its probability."""
        return config.make_section(RollAugmentation, probabilities, "config.augment")

    def from_outputs(self, outputs: RollLogits, calibration: Calibration) -> BeatLists:
        """Turns the decoder's logits for W beats into notes."""
        return decoding.notes_from_logits(outputs, calibration, self.max_notes)

    def calibrate(self, outputs: RollLogits, x: Rolls) -> Calibration:
        """Finds the thresholds with the best F1 on the beats of training crops, rolls and logits [B, T, ...]."""
        inside = np.asarray(x.inside) > 0
        return decoding.calibrate(jax.tree.map(lambda values: values[inside], outputs), np.asarray(x.onsets)[inside])

    def default_calibration(self) -> Calibration:
        """Even odds."""
        return decoding.DEFAULT_CALIBRATION

    def context_of_length(self, num_examples: int) -> RollContext:
        """The context of music of so many beats that has no original."""
        return default_context(num_examples * self.steps_per_beat, self.steps_per_beat)

    def context_between(self, start: RollContext, end: RollContext, fraction: float, num_examples: int) -> RollContext:
        """See `context.blend`."""
        return blend(start, end, fraction, num_examples * self.steps_per_beat, self.steps_per_beat)

    def first_full_example(self, context: RollContext) -> int:
        """Index of the first beat after a pick-up."""
        return -(-quantization.first_downbeat(context.bars) // self.steps_per_beat)
