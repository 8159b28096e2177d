"""A piece as it is analysed: its notes in sixteenths, the melody, the bass by beat, what sounds on strong beats.

Sixteenths, because an arpeggiated chord of a recorded file is one chord there; triplets keep their order. Timpani are
left out: they roll on one pitch above or below the bass, and after the last chord.
"""

import dataclasses
import functools

import numpy as np

from vae_jax.evaluation.bar_grid import NUM_PITCHES, BarGrid
from vae_jax.evaluation.bar_grid import STEPS_PER_BEAT as GRID_STEPS
from vae_jax.music import instruments
from vae_jax.music.key import Tonic
from vae_jax.music.quantization import Grid, estimate_offset, has_pickup
from vae_jax.music.score import Score

SIXTEENTHS = 4  # In a beat, a quarter note.


@dataclasses.dataclass(frozen=True, eq=False)
class Voices:
    """N pitched notes, ordered by start and pitch; times are sixteenths from the first bar line. Arrays are int64."""

    start: np.ndarray  # [N]
    end: np.ndarray  # [N], after `start`.
    pitch: np.ndarray  # [N], MIDI numbers.
    line: np.ndarray  # [N], the pair of track and channel.
    velocity: np.ndarray  # [N]
    bars: np.ndarray  # [num_bars + 1], where bars start, and the end of the last one.
    strong: np.ndarray  # [S], the first beat of every bar but a pick-up, and the middle of bars of 4, 6, 8, ... beats.
    tonic: Tonic

    def bar_of(self, times: np.ndarray) -> np.ndarray:
        """Returns the bar of each time, int64."""
        return np.searchsorted(self.bars, times, side="right") - 1

    @functools.cached_property
    def beats(self) -> np.ndarray:
        """Where quarter notes start, counted from each bar line, and the end of the last one, [B + 1] int64."""
        starts = [np.arange(first, last, SIXTEENTHS) for first, last in zip(self.bars, self.bars[1:], strict=False)]
        return np.concatenate([*starts, self.bars[-1:]])

    @functools.cached_property
    def melody(self) -> tuple[np.ndarray, np.ndarray]:
        """The top voice: starts and pitches, [M] each; the highest note that starts, where none sounds above it."""
        starts, first = np.unique(self.start, return_index=True)
        if not len(starts):
            return starts, starts
        highest = np.maximum.reduceat(self.pitch, first)
        on_top = highest >= top_of(self.sounding(starts))
        return starts[on_top], highest[on_top]

    def sounding(self, times: np.ndarray, line: int | None = None) -> np.ndarray:
        """Returns which pitches sound at each time, of one line or of all, [T, 128] bool."""
        mine = np.full(len(self.pitch), True) if line is None else self.line == line
        events = np.unique(np.concatenate([self.start[mine], self.end[mine]]))
        change = np.zeros((len(events) + 1, NUM_PITCHES), dtype=np.int32)
        for edges, sign in ((self.start, 1), (self.end, -1)):
            np.add.at(change, (np.searchsorted(events, edges[mine]) + 1, self.pitch[mine]), sign)
        return np.cumsum(change, axis=0)[np.searchsorted(events, times, side="right")] > 0

    def pitch_class_weights(self, bounds: np.ndarray) -> np.ndarray:
        """Returns how many notes of each pitch class sound on average between neighbouring bounds [B + 1], [B, 12]."""
        weights = np.zeros((len(bounds) - 1, 12))
        for pitch_class in range(12):
            mine = self.pitch % 12 == pitch_class
            sounded = _ramps(self.start[mine], bounds) - _ramps(self.end[mine], bounds)
            weights[:, pitch_class] = np.diff(sounded) / np.diff(bounds)
        return weights


def make_voices(score: Score, grid: BarGrid) -> Voices:
    """Quantises the pitched notes of a score; bars, meters and the key are those of its bar grid."""
    notes = score.notes
    offset = estimate_offset(notes.onset_ticks, score.ticks_per_beat)
    notes = notes.select(~notes.is_drum & (instruments.line_programs(score) != instruments.TIMPANI))
    sixteenths = Grid(score.ticks_per_beat, SIXTEENTHS, offset)
    start = sixteenths.nearest_steps(notes.onset_ticks)
    end = np.maximum(sixteenths.nearest_steps(notes.end_ticks), start + 1)
    order = np.lexsort((notes.pitch, start))
    notes = notes.select(order)
    bars = np.unique((2 * grid.bars * SIXTEENTHS + GRID_STEPS) // (2 * GRID_STEPS))
    return Voices(
        start=start[order],
        end=end[order],
        pitch=notes.pitch,
        line=notes.line,
        velocity=notes.velocity,
        bars=bars,
        strong=_strong_beats(grid) * SIXTEENTHS // GRID_STEPS,
        tonic=grid.tonic,
    )


def top_of(sounding: np.ndarray) -> np.ndarray:
    """Returns the highest pitch of each row [T, 128], -1 where there is none, [T] int64."""
    return np.where(sounding.any(axis=1), NUM_PITCHES - 1 - np.argmax(sounding[:, ::-1], axis=1), -1)


def bottom_of(sounding: np.ndarray) -> np.ndarray:
    """Returns the lowest pitch of each row [T, 128], -1 where there is none, [T] int64."""
    return np.where(sounding.any(axis=1), np.argmax(sounding, axis=1), -1)


def _strong_beats(grid: BarGrid) -> np.ndarray:
    """Steps of the strong beats, ascending."""
    first, length = grid.bars[:-1], np.diff(grid.bars)
    is_even = (grid.numerator >= 4) & (grid.numerator % 2 == 0)
    strong = np.concatenate([first, (first + length // 2)[is_even]])
    return np.sort(strong[strong >= grid.bars[1]] if has_pickup(grid.bars) else strong)


def _ramps(edges: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The sum over edges of the time since, zero before, at each of some times, float64."""
    edges = np.sort(edges)
    passed = np.searchsorted(edges, times)
    return passed * times - np.concatenate([[0.0], np.cumsum(edges)])[passed]
