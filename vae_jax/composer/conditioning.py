"""What a whole piece is conditioned on: its style, instruments, key, tempo and meter, measured on training pieces."""

import dataclasses

import numpy as np

from vae_jax.composer.network import PLACE_SIZES
from vae_jax.music import instruments, key, quantization
from vae_jax.music.instruments import DRUMS, NUM_PARTS
from vae_jax.music.score import Score
from vae_jax.representations.pianoroll.config import DURATION, PART, PITCH, STEP
from vae_jax.representations.pianoroll.context import DEFAULT_PROGRAMS, DEFAULT_VELOCITY
from vae_jax.representations.pianoroll.encoding import RollPiece

_HALF_WINDOW_BEATS = 4
_MIDDLE_PITCH = 60.0


@dataclasses.dataclass(frozen=True)
class Style:
    """Measures of a piece; a pitch that several parts start together counts once, but for `shares`."""

    shares: tuple[float, ...]  # [NUM_PARTS], the share of the notes, drums included, of each part.
    minor: bool
    density: float  # Pitches a beat.
    chord_size: float  # Mean number of pitches that start together.
    chord_deviation: float  # Its standard deviation.
    register: float  # Mean pitch of the roll.
    length: float  # Geometric mean of the durations, in beats.

    def vector(self) -> np.ndarray:
        """Returns the composer's input, float32 [network.STYLE_SIZE], scaled to about -1 to 1."""
        scaled = (
            float(self.minor),
            np.log(max(self.density, 0.5)) - 1.2,
            self.chord_size / 3 - 1,
            self.chord_deviation - 1,
            (self.register - _MIDDLE_PITCH) / 12,
            np.log2(max(self.length, 1 / 16)),
        )
        return np.array([*np.sqrt(self.shares), *scaled], dtype=np.float32)


@dataclasses.dataclass(frozen=True)
class PieceConditions:
    """All that a new piece takes from one training piece, so that it fits together."""

    style: Style
    pitch_class: int  # Of the tonic, 0 is C.
    beats_per_minute: float  # Quarter notes a minute, mean over the piece.
    programs: tuple[int, ...]  # [NUM_PARTS], the first program of each part.
    velocities: tuple[int, ...]  # [NUM_PARTS], the mean velocity of each part.
    num_bars: int  # Length in bars of `meter`.
    meter: tuple[int, int]  # Numerator and denominator, of the most common bars.


def measure_style(piece: RollPiece, minor: bool) -> Style:
    """Measures the style of a piece."""
    counts = np.bincount(piece.notes[:, PART], minlength=NUM_PARTS)
    pitched = piece.notes[piece.notes[:, PART] != DRUMS]
    steps, pitches = np.unique(pitched[:, [STEP, PITCH]], axis=0).T
    chords = np.unique(steps, return_counts=True)[1] if len(steps) else np.zeros(1)
    beats = pitched[:, DURATION] / piece.config.steps_per_beat
    return Style(
        shares=tuple((counts / max(int(counts.sum()), 1)).round(4).tolist()),
        minor=minor,
        density=len(steps) / max(piece.num_steps / piece.config.steps_per_beat, 1),
        chord_size=float(chords.mean()),
        chord_deviation=float(chords.std()),
        register=float(pitches.mean() + piece.config.min_pitch) if len(pitches) else _MIDDLE_PITCH,
        length=float(np.exp(np.mean(np.log(beats)))) if len(beats) else 1.0,
    )


def read_conditions(score: Score, piece: RollPiece) -> PieceConditions:
    """Reads the conditions of a piece from its score and its roll."""
    tonic = key.estimate_tonic(score.notes)
    tracks = piece.context.tracks
    part_of_note = instruments.assign_parts(score)
    counts = np.bincount(part_of_note, minlength=NUM_PARTS)
    totals = np.bincount(part_of_note, score.notes.velocity, minlength=NUM_PARTS)
    velocities = np.where(counts > 0, totals / np.maximum(counts, 1), DEFAULT_VELOCITY)
    bar_steps = usual_bar_steps(piece)
    meters = [(meter.numerator, meter.denominator) for meter in score.meters]
    meters = [meter for meter in meters if 4 * piece.config.steps_per_beat * meter[0] == bar_steps * meter[1]]
    num_steps = int(piece.bars[-1]) - quantization.first_downbeat(piece.bars)
    return PieceConditions(
        style=measure_style(piece, tonic.minor),
        pitch_class=tonic.pitch_class,
        beats_per_minute=round(score.mean_tempo(0, score.end_tick), 1),
        programs=tuple(t[0].program if t else default for t, default in zip(tracks, DEFAULT_PROGRAMS, strict=True)),
        velocities=tuple(int(velocity) for velocity in np.clip(np.round(velocities), 1, 127)),
        num_bars=max(round(num_steps / bar_steps), 1),
        meter=meters[0] if meters else (4, 4),
    )


def usual_bar_steps(piece: RollPiece) -> int:
    """Returns the most common length of a piece's bars in steps, that of 4/4 for a piece without bars."""
    lengths = np.diff(piece.bars[piece.bars >= quantization.first_downbeat(piece.bars)])
    return int(np.bincount(lengths).argmax()) if len(lengths) else 4 * piece.config.steps_per_beat


def encode_place(
    since_bar: np.ndarray, bar_steps: np.ndarray, until_end: np.ndarray, since_start: np.ndarray, steps_per_beat: int
) -> np.ndarray:
    """Encodes where windows start, int16 [W, 4] with columns as in `network.PLACE_SIZES`.

    Steps [W]: since the bar line, of that bar, until the end of the piece, since its first downbeat.
    """
    half_windows = since_start // (_HALF_WINDOW_BEATS * steps_per_beat)
    columns = (since_bar // steps_per_beat, 2 * bar_steps // steps_per_beat, until_end // steps_per_beat, half_windows)
    clipped = [np.clip(values, 0, size - 1) for values, size in zip(columns, PLACE_SIZES, strict=True)]
    return np.stack(clipped, axis=1).astype(np.int16)
