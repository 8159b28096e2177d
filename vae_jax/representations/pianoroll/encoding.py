"""The piano roll: a Score as notes on the beat grid, in parts, and back.

A roll note is (step, part, pitch index, duration in steps). Arrays stay lists of notes; `windows.py` cuts a piece into
windows of equal length, `rasterize.py` makes dense rolls of them on the device. What a roll does not hold and a Score
needs (tempo, meter, programs, velocity, the number of doubling instruments) is in the context, taken from the original;
what encoding changed is counted in the report: roll notes + collapsed notes = the score's notes.
"""

import dataclasses

import numpy as np

from vae_jax.music import instruments, quantization
from vae_jax.music import key as key_lib
from vae_jax.music import score as score_lib
from vae_jax.music.quantization import Grid
from vae_jax.music.score import DRUM_CHANNEL, PITCHED_CHANNELS, Score
from vae_jax.representations.pianoroll.config import DURATION, PART, PITCH, STEP, RollConfig
from vae_jax.representations.pianoroll.context import REGISTER_SEMITONES, PartTrack, RollContext, make_context

_SNAP_TOLERANCE_SEC = 0.045  # How far an onset may move for the sake of a simpler rhythm (`snap_onsets`).


@dataclasses.dataclass(frozen=True)
class RollReport:
    """What encoding did to a piece, as counts of the score's notes unless said otherwise.

    Attributes:
      mean_timing_error_ms: mean distance of the onsets from those that decoding gives, 0 for an empty score.
    """

    num_notes: int = 0  # Notes of the score.
    num_collapsed: int = 0  # Notes that share step, part and pitch with another; the roll has so many fewer.
    num_lost: int = 0  # Collapsed notes that decoding does not give back.
    num_folded: int = 0  # Notes moved by octaves into the range.
    mean_timing_error_ms: float = 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class RollPiece:
    """A piece as roll notes.

    Attributes:
      notes: [N, 4] int32: step, part, pitch index, duration in steps; ordered by step, part, pitch; no two alike in
        these.
    """

    notes: np.ndarray
    num_steps: int  # Length of the piece in steps: the bar line at or after the end of its last note.
    context: RollContext  # What decoding takes from the original.
    report: RollReport  # What encoding changed.
    config: RollConfig  # The shape.

    @property
    def onset_ticks(self) -> np.ndarray:
        """Tick at which each roll note starts, [N] int64."""
        return self.grid.ticks(self.notes[:, STEP].astype(np.int64))

    @property
    def grid(self) -> Grid:
        """The grid of the original's ticks."""
        return Grid(self.context.ticks_per_beat, self.config.steps_per_beat, self.context.offset_ticks)

    @property
    def copies(self) -> np.ndarray:
        """How many instruments play each roll note, [N] int64, at least 1."""
        step, part, pitch, _ = self.notes.T
        return self.context.copies_of(step, part, pitch // REGISTER_SEMITONES)

    @property
    def bars(self) -> np.ndarray:
        """Steps at which bars start, and the end of the last bar, [num_bars + 1] int64."""
        return self.context.bars


def encode(score: Score, config: RollConfig) -> RollPiece:
    """Turns a score into a roll.

    Every note of every track lands in one part. Notes that share step, part and pitch become one, as long as the
    longest of them. Among notes of one part and pitch the first to start is the first to end, as in a MIDI track.
    """
    notes = score.notes
    parts = instruments.assign_parts(score)
    grid, steps, durations = quantize_notes(score, config.steps_per_beat)
    transposition = key_lib.semitones_to(key_lib.estimate_tonic(notes)) if config.normalize_tonic else 0
    pitches = notes.pitch + np.where(notes.is_drum, 0, transposition)
    folded = fold_pitches(pitches, config.min_pitch, config.num_pitches)
    roll, of_note = _collapse(steps, parts, folded - config.min_pitch, durations, config.num_pitches)
    multiplicity = np.bincount(of_note, minlength=len(roll))
    context = make_context(
        score, grid, roll=roll, of_note=of_note, multiplicity=multiplicity, transposition=transposition
    )
    piece = RollPiece(roll, int(context.bars[-1]), context, RollReport(), config)

    error_ms = 1e3 * np.abs(score.seconds(piece.onset_ticks[of_note]) - score.seconds(notes.onset_ticks))
    report = RollReport(
        num_notes=len(notes),
        num_collapsed=len(notes) - len(roll),
        num_lost=int(np.sum(np.maximum(multiplicity - piece.copies, 0))),
        num_folded=int(np.sum(folded != pitches)),
        mean_timing_error_ms=float(error_ms.mean()) if len(notes) else 0.0,
    )
    return dataclasses.replace(piece, report=report)


def quantize_notes(score: Score, steps_per_beat: int) -> tuple[Grid, np.ndarray, np.ndarray]:
    """Returns the grid of a score, and the step and the duration in steps of every note, [N] int64."""
    offset = quantization.estimate_offset(score.notes.onset_ticks, score.ticks_per_beat)
    grid = Grid(score.ticks_per_beat, steps_per_beat, offset)
    steps = quantization.snap_onsets(score, grid, _SNAP_TOLERANCE_SEC)
    return grid, steps, np.maximum(grid.nearest_steps(score.notes.end_ticks) - steps, 1)


def decode(piece: RollPiece) -> Score:
    """Turns a roll into a score: a track for each part that holds notes, one more for each instrument that doubles it.

    Tempo, meter, key, programs and velocities are the context's. Tracks are named so that `parts.assign_parts` gives
    every note of the score the part that it has in the roll.
    """
    context = piece.context
    roll = piece.notes.astype(np.int64)
    step, part = roll[:, STEP], roll[:, PART]
    onsets = piece.onset_ticks
    durations = np.maximum(piece.grid.ticks(step + roll[:, DURATION]) - onsets, 1)
    pitches = roll[:, PITCH] + piece.config.min_pitch - np.where(part == instruments.DRUMS, 0, context.transposition)
    velocities = context.velocities[context.bar_of(step), part]
    copies = piece.copies

    # Copies before parts: the first instrument of every part gets a channel of its own.
    lines: list[tuple[int, PartTrack]] = []
    index, track = [np.zeros(0, dtype=np.int64)], []
    for copy in range(int(copies.max(initial=0))):
        for line_part in range(instruments.NUM_PARTS):
            mine = np.flatnonzero((part == line_part) & (copies > copy))
            if len(mine):
                track += [len(lines)] * len(mine)
                lines.append((line_part, context.track(line_part, copy)))
                index.append(mine)
    picked = np.concatenate(index)
    notes = score_lib.make_notes(
        onsets[picked],
        durations[picked],
        fold_pitches(pitches, 0, 128)[picked],
        track=track,
        channel=_line_channels([line_part for line_part, _ in lines])[track] if track else [],
        velocity=velocities[picked],
        program=np.array([source.program for _, source in lines])[track] if track else [],
    )
    names = [instruments.track_label(line_part, source.name) for line_part, source in lines]
    return score_lib.make_score(
        context.ticks_per_beat,
        notes,
        track_names=names,
        tempos=context.tempos,
        meters=context.meters,
        keys=context.keys,
    )


def fold_pitches(pitches: np.ndarray, min_pitch: int, num_pitches: int) -> np.ndarray:
    """Moves pitches by octaves into min_pitch..min_pitch+num_pitches-1, as few as it takes; num_pitches >= 12."""
    above = np.maximum(pitches - (min_pitch + num_pitches - 1), 0)
    below = np.maximum(min_pitch - pitches, 0)
    return pitches - 12 * (-(-above // 12)) + 12 * (-(-below // 12))


def _collapse(
    steps: np.ndarray, parts: np.ndarray, pitches: np.ndarray, durations: np.ndarray, num_pitches: int
) -> tuple[np.ndarray, np.ndarray]:
    """Makes one of notes alike in step, part and pitch; returns the roll, [M, 4], and each note's place in it."""
    cells, of_note = np.unique((steps * instruments.NUM_PARTS + parts) * num_pitches + pitches, return_inverse=True)
    rest, pitch = np.divmod(cells, num_pitches)
    step, part = np.divmod(rest, instruments.NUM_PARTS)
    longest = np.zeros(len(cells), dtype=np.int64)
    np.maximum.at(longest, of_note, durations)
    ends = score_lib.pair_first_in_first_out(part * num_pitches + pitch, step + longest)
    return np.stack([step, part, pitch, ends - step], axis=1).astype(np.int32), of_note


def _line_channels(parts: list[int]) -> np.ndarray:
    """Gives every line of a decoded score a MIDI channel; lines share channels where there are more than fifteen."""
    pitched = np.array(parts) != instruments.DRUMS
    return np.where(pitched, PITCHED_CHANNELS[(np.cumsum(pitched) - 1) % len(PITCHED_CHANNELS)], DRUM_CHANNEL)
