"""The piano roll as a representation: a piece as windows of two bars of 4/4, each a padded list of notes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from vae_jax.music import instruments
from vae_jax.music.match_counts import MatchCounts
from vae_jax.music.score import Score
from vae_jax.representations.base import Arrays, Calibration, Encoded
from vae_jax.representations.pianoroll import encoding, rasterize, windows
from vae_jax.representations.pianoroll.config import RollConfig
from vae_jax.representations.pianoroll.context import (
    RollContext,
    default_context,
    pack_roll_context,
    unpack_roll_context,
)
from vae_jax.representations.pianoroll.encoding import DURATION, PART, PITCH, STEP, RollPiece
from vae_jax.representations.pianoroll.logits import RollLogits

UNKNOWN_DURATION = -1  # Of a decoded note: it lasts to the next onset of its part.
_MAX_DECODED_BEATS = 4
_NEAR_SEMITONES = 7
_ARTICULATION = 0.85  # Share of the time to the next note for which a note sounds.
LOGIT_THRESHOLDS = np.linspace(-2.0, 1.0, 61)


@dataclasses.dataclass(frozen=True, eq=False)
class WindowedContext:
    """What decoding takes from the original: the piece with its context, and where its windows lie.

    Attributes:
      piece: the encoded piece, whose notes decoding does not look at.
      starts: [W] int32, the step at which each window starts.
      valid: [W, T] bool, the steps of each window that stand for the piece.
    """

    piece: RollPiece
    starts: np.ndarray
    valid: np.ndarray


@dataclasses.dataclass(frozen=True)
class RollRepresentation:
    """The piano roll in windows.

    Attributes:
      steps_per_beat, window_beats, min_pitch, num_pitches, normalise_tonic, keep_timing, max_copies: see `RollConfig`.
      max_notes: N, notes that a window has room for; notes beyond are counted in the report.
      training_hop_beats: training windows start every so many beats; 0 for the windows of `encode` alone.
    """

    steps_per_beat: int = 12
    window_beats: int = 8
    min_pitch: int = 24
    num_pitches: int = 84
    normalise_tonic: bool = True
    keep_timing: bool = False
    max_copies: int = 3
    max_notes: int = 256
    training_hop_beats: int = 1

    @property
    def config(self) -> RollConfig:
        """The shape of the roll."""
        shared = {field.name for field in dataclasses.fields(RollConfig)} & {f.name for f in dataclasses.fields(self)}
        return RollConfig(**{name: getattr(self, name) for name in shared})

    @property
    def example_shape(self) -> tuple[int, int, int]:
        """(steps, pitches, parts)."""
        return self.config.roll_shape

    def encode(self, score: Score) -> Encoded:
        """Turns a piece into W windows: "notes" int16 [W, N, 4] and "mask" bool [W, N]."""
        piece = encoding.encode(score, self.config)
        cut = windows.windows(piece)
        arrays, overflow = self._with_fixed_room(cut)
        report = {
            "notes": piece.report.num_notes,
            "notes_collapsed": piece.report.num_collapsed_doublings + piece.report.num_collapsed_repeats,
            "notes_lost_by_doubling": piece.report.num_lost,
            "notes_folded": piece.report.num_folded,
            "notes_past_the_room_of_a_window": overflow,
        }
        return Encoded(arrays, WindowedContext(piece, cut.starts, cut.valid), report)

    def encode_at(self, piece: RollPiece, starts: np.ndarray) -> Arrays:
        """Cuts windows of a roll that start at steps of the caller's choice, below zero and past the end too."""
        return self._with_fixed_room(windows.windows(piece, starts=starts))[0]

    def encode_training(self, score: Score) -> Arrays:
        """Turns a piece into training windows, which may start on any beat and overlap."""
        if not self.training_hop_beats:
            return self.encode(score).arrays
        piece = encoding.encode(score, self.config)
        hop, first = self.training_hop_beats * self.steps_per_beat, int(piece.bars[min(1, len(piece.bars) - 1)])
        last = max(piece.num_steps - self.config.window_steps, 0)
        starts = np.unique(np.concatenate([np.arange(first % hop, last + 1, hop), [0, last]]))
        return self.encode_at(piece, starts)

    def decode(self, encoded: Encoded) -> Score:
        """Turns windows back into a piece, stitched without seams."""
        context: WindowedContext = encoded.context
        arrays = encoded.arrays
        notes = windows.stitch(np.asarray(arrays["notes"]), np.asarray(arrays["mask"]), context.starts, context.valid)
        return self.decode_notes(windows.stitched(context.piece, notes))

    def rasterise(self, arrays: Mapping[str, jax.Array]) -> jax.Array:
        """Makes dense rolls of onsets, [B, T, P, C] uint8, 0 or 1: in float32 they cost a tenth of a training step."""
        steps, pitches, num_parts = self.example_shape
        onsets, _ = rasterize.rasterise(
            arrays["notes"].astype("int32"),
            arrays["mask"],
            num_steps=steps,
            num_pitches=pitches,
            num_parts=num_parts,
            dtype="uint8",
        )
        return onsets

    def from_outputs(self, outputs: RollLogits, calibration: Calibration) -> Arrays:
        """Turns the decoder's logits into notes wherever they pass their thresholds; the likeliest N of a window.

        A pitch that is played is played by the part with the largest share at least, the first of several.
        """
        onset, drum, share = (np.asarray(logits) for logits in outputs)
        notes = np.zeros((len(onset), self.max_notes, 4), dtype=np.int16)
        mask = np.zeros((len(onset), self.max_notes), dtype=bool)
        for w in range(len(onset)):
            step, pitch = np.nonzero(onset[w] > calibration["onset_threshold"])
            shares = share[w, step, pitch]
            plays = shares > calibration["share_threshold"]
            plays[np.arange(len(shares)), shares.argmax(axis=1)] = True
            which, part = np.nonzero(plays)
            drum_step, drum_pitch = np.nonzero(drum[w] > calibration["drum_threshold"])
            columns = {
                STEP: np.concatenate([step[which], drum_step]),
                PART: np.concatenate([part, np.full(len(drum_step), instruments.DRUMS)]),
                PITCH: np.concatenate([pitch[which], drum_pitch]),
            }
            logits = np.concatenate([onset[w][step, pitch][which], drum[w][drum_step, drum_pitch]])
            kept = np.sort(np.argsort(-logits, kind="stable")[: self.max_notes])
            for column, values in columns.items():
                notes[w, : len(kept), column] = values[kept]
            notes[w, : len(kept), DURATION] = UNKNOWN_DURATION
            mask[w, : len(kept)] = True
        return {"notes": notes, "mask": mask}

    def calibrate(self, outputs: RollLogits, x: np.ndarray) -> dict[str, float]:
        """Finds the thresholds with the best F1 on training windows, x [W, T, P, C]."""
        onset, drum, share = (np.asarray(logits) for logits in outputs)
        pitched = np.asarray(x[..., :-1] > 0)
        played = np.any(pitched, axis=-1)
        return {
            "onset_threshold": best_threshold(onset, np.asarray(played)),
            "drum_threshold": best_threshold(drum, x[..., -1] > 0),
            "share_threshold": best_threshold(share[played], pitched[played]),
        }

    def default_calibration(self) -> dict[str, float]:
        """Even odds."""
        return {"onset_threshold": 0.0, "drum_threshold": 0.0, "share_threshold": 0.0}

    def grid_matches(self, reference: Encoded, estimate: Arrays, *, by_part: bool) -> MatchCounts:
        """MatchCounts onsets that are equal in step and pitch on the grid, drums apart, in the valid steps of a piece.

        Args:
          reference: the encoded original.
          estimate: what a model makes of its windows.
          by_part: whether the part must be equal too; else the pitched parts are merged.
        """
        context: WindowedContext = reference.context
        cells = []
        for arrays in (reference.arrays, estimate):
            notes = windows.stitch(np.asarray(arrays["notes"]), arrays["mask"], context.starts, context.valid)
            notes = notes[notes[:, PART] != instruments.DRUMS].astype(np.int64)
            cell = notes[:, STEP] * self.num_pitches + notes[:, PITCH]
            cells.append(np.unique(cell * instruments.NUM_PARTS + notes[:, PART] if by_part else cell))
        shared = np.intersect1d(cells[0], cells[1], assume_unique=True)
        return MatchCounts(len(shared), len(cells[0]), len(cells[1]))

    def context_of_length(self, num_windows: int) -> WindowedContext:
        """The context of music of so many windows that has no original."""
        length = self.config.window_steps
        piece = self.empty_piece(default_context(num_windows * length, self.steps_per_beat), num_windows * length)
        starts = np.arange(num_windows, dtype=np.int32) * length
        return WindowedContext(piece, starts, np.ones((num_windows, length), dtype=bool))

    def empty_piece(self, context: RollContext, num_steps: int) -> RollPiece:
        """A piece of so many steps without notes."""
        return RollPiece(np.zeros((0, 4), np.int32), num_steps, context, encoding.RollReport(), self.config)

    def decode_notes(self, piece: RollPiece) -> Score:
        """Turns a roll into a piece; its notes of unknown duration get one by the rule of `decode`."""
        return encoding.decode(windows.stitched(piece, self._with_durations(piece.notes, piece.num_steps)))

    def first_full_example(self, context: WindowedContext) -> int:
        """Index of the first window that starts inside the piece: the one before it holds a pick-up."""
        return int(np.argmax(context.starts >= 0))

    def pack_context(self, context: WindowedContext) -> dict[str, Any]:
        """Turns a context into what JSON can hold."""
        return {
            "num_steps": context.piece.num_steps,
            "starts": context.starts.tolist(),
            "valid": [[int(row.argmax()), int(row.sum())] for row in context.valid],
            "roll": pack_roll_context(context.piece.context),
        }

    def unpack_context(self, packed: dict[str, Any]) -> WindowedContext:
        """Turns it back."""
        steps = np.arange(self.config.window_steps)
        first, count = np.asarray(packed["valid"], dtype=np.int64).reshape(-1, 2).T[..., None]
        piece = self.empty_piece(unpack_roll_context(packed["roll"]), int(packed["num_steps"]))
        valid = (steps >= first) & (steps < first + count)
        return WindowedContext(piece, np.asarray(packed["starts"], dtype=np.int32), valid)

    def _with_fixed_room(self, cut: windows.RollWindows) -> tuple[Arrays, int]:
        room = max(self.max_notes, cut.notes.shape[1])
        cut = windows.with_room(cut, room)
        own = cut.mask & (cut.notes[..., STEP] >= 0)
        overflow = int(own[:, self.max_notes :].sum())
        return {
            "notes": cut.notes[:, : self.max_notes].astype(np.int16),
            "mask": cut.mask[:, : self.max_notes],
        }, overflow

    def _with_durations(self, notes: np.ndarray, num_steps: int) -> np.ndarray:
        """Lets notes of unknown duration last nearly to the next onset of their part within a fifth of their pitch.

        This rule meets three quarters of the anthems' note ends (docs/experiments.md).
        """
        notes = notes.copy()
        longest = _MAX_DECODED_BEATS * self.steps_per_beat
        for part in range(instruments.NUM_PARTS):
            mine = np.flatnonzero(notes[:, PART] == part)
            steps, pitches = notes[mine, STEP].tolist(), notes[mine, PITCH].tolist()
            for n, row in enumerate(mine):
                if notes[row, DURATION] == UNKNOWN_DURATION:
                    until = min(_next_near(steps, pitches, n, steps[n] + longest), num_steps)
                    notes[row, DURATION] = max(1, round(_ARTICULATION * (until - steps[n])))
        return notes


def _next_near(steps: list[int], pitches: list[int], n: int, last: int) -> int:
    """Returns the first step after note n's at which a pitch within a fifth of it starts, `last` at the latest."""
    for m in range(n + 1, len(steps)):
        if steps[m] >= last:
            break
        if steps[m] > steps[n] and abs(pitches[m] - pitches[n]) <= _NEAR_SEMITONES:
            return steps[m]
    return last


def best_threshold(values: np.ndarray, truth: np.ndarray, thresholds: np.ndarray = LOGIT_THRESHOLDS) -> float:
    """Returns which of the ascending thresholds on `values` has the best F1 against `truth`, arrays of one shape."""
    # Nearly all values lie below every threshold; sorting the few others counts all thresholds at once.
    near = values > thresholds[0]
    order = np.argsort(values[near])
    ranked, hits = values[near][order], np.cumsum(truth[near][order][::-1])
    num_played = len(ranked) - np.searchsorted(ranked, thresholds, side="right")
    num_right = np.concatenate([[0], hits])[num_played]
    return float(thresholds[np.argmax(2 * num_right / np.maximum(num_played + np.count_nonzero(truth), 1))])
