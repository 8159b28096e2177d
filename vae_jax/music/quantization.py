"""Beats, steps and bars of a piece, and the step of each onset.

Recorded performances are ahead of or behind the beat by a constant, with a spread around it: `estimate_offset` finds
the constant, `snap_onsets` the step of each onset, in sixteenths or triplets for each beat.
"""

import dataclasses
import math

import numpy as np

from vae_jax.music.score import Meter, Score

# Metrical positions in a beat and how strongly onsets are drawn to them: the beat, the eighth, sixteenths, triplets.
# The order of the weights matters, their values hardly.
_BEAT_TEMPLATE = ((0.0, 1.0), (1 / 2, 0.6), (1 / 4, 0.4), (3 / 4, 0.4), (1 / 3, 0.35), (2 / 3, 0.35))
_TEMPLATE_WIDTH_BEATS = 1 / 40
_MAX_OFFSET_BEATS = 1 / 8  # Half a sixteenth: beyond it the next sixteenth is the nearer one.
_ENTERED_BY_STEP = 0.5  # Share of exact onsets from which a file counts as entered by step, without an offset.
_STRAIGHT, _TRIPLET = 4, 3
_TRIPLET_PENALTY_BEATS = 0.01  # What a beat that fits sixteenths and triplets alike must save to be read as a triplet.
_MAX_SNAP_BEATS = 1 / 12


@dataclasses.dataclass(frozen=True)
class Grid:
    """Equal steps within every beat (quarter note), shifted by a constant.

    Attributes:
      offset_ticks: where a note of step 0 sounds, in ticks; below zero where the piece is played ahead of its beats.
    """

    ticks_per_beat: int  # Ticks in one quarter note.
    steps_per_beat: int  # Steps in one quarter note.
    offset_ticks: int = 0

    def ticks(self, steps: np.ndarray) -> np.ndarray:
        """Returns the ticks at which steps sound, int64; none before the start of the piece."""
        return np.maximum(_round(np.asarray(steps) * self.ticks_per_beat / self.steps_per_beat) + self.offset_ticks, 0)

    def fractional_steps(self, ticks: np.ndarray) -> np.ndarray:
        """Returns how many steps lie between the start of the piece and each tick, float64."""
        return (np.asarray(ticks) - self.offset_ticks) * (self.steps_per_beat / self.ticks_per_beat)

    def nearest_steps(self, ticks: np.ndarray) -> np.ndarray:
        """Returns the step nearest to each tick, int64, at least 0."""
        return np.maximum(_round(self.fractional_steps(ticks)), 0)


def estimate_offset(onset_ticks: np.ndarray, ticks_per_beat: int) -> int:
    """Finds the constant by which a piece's onsets miss the beat grid.

    It is the shift, the smallest on a tie, at which a comb of Gaussians on metrical positions collects most of the
    histogram of the onsets' phases in the beat. Stray onsets count for nothing (a circular mean follows them), and
    triplets do not bend the estimate, as the comb holds them beside sixteenths.

    Args:
      onset_ticks: [N] int64.
      ticks_per_beat: ticks in one quarter note.

    Returns:
      Ticks in -ticks_per_beat/8..ticks_per_beat/8, negative where onsets come early; 0 for a piece entered by step and
      for one without notes.
    """
    onset_ticks = np.asarray(onset_ticks)
    if not len(onset_ticks):
        return 0
    finest = Grid(ticks_per_beat, 2 * _STRAIGHT * _TRIPLET)
    if np.mean(finest.ticks(finest.nearest_steps(onset_ticks)) == onset_ticks) >= _ENTERED_BY_STEP:
        return 0
    histogram = np.bincount(onset_ticks % ticks_per_beat, minlength=ticks_per_beat).astype(np.float64)
    phase = np.arange(ticks_per_beat) / ticks_per_beat
    comb = np.zeros(ticks_per_beat)
    for position, weight in _BEAT_TEMPLATE:
        distance = np.abs((phase - position + 0.5) % 1.0 - 0.5)
        comb = np.maximum(comb, weight * np.exp(-0.5 * (distance / _TEMPLATE_WIDTH_BEATS) ** 2))
    reach = int(ticks_per_beat * _MAX_OFFSET_BEATS)
    shifts = np.array(sorted(range(-reach, reach + 1), key=abs))
    collected = np.array([histogram @ np.roll(comb, shift) for shift in shifts])
    return int(shifts[np.argmax(collected >= collected.max() * (1 - 1e-9))])


def bar_ticks(score: Score, end_tick: int) -> np.ndarray:
    """Returns where bars start, up to the first bar line at or after `end_tick`, which closes the last bar.

    Bars follow the time signatures (4/4 before the first); a change inside a bar starts a new bar there.

    Returns:
      [num_bars + 1] float64 ticks, ascending from 0; [0.] where end_tick is 0.
    """
    meters = score.meters
    if not meters or meters[0].tick > 0:
        meters = (Meter(0, 4, 4), *meters)
    starts = []
    for meter, segment_end in zip(meters, [*(later.tick for later in meters[1:]), math.inf], strict=True):
        length = score.ticks_per_beat * 4 * meter.numerator / meter.denominator
        num_bars = max(0, math.ceil((min(segment_end, end_tick) - meter.tick) / length))
        is_last = segment_end >= end_tick
        starts.append(meter.tick + np.arange(num_bars + is_last) * length)
        if is_last:
            break
    return np.concatenate(starts)


def bar_steps(score: Score, end_step: int, steps_per_beat: int) -> np.ndarray:
    """Returns `bar_ticks` in steps: [num_bars + 1] int64, strictly ascending, the last at or after `end_step`.

    A bar shorter than half a step joins its neighbour.
    """
    step_ticks = score.ticks_per_beat / steps_per_beat
    steps = np.unique(_round(bar_ticks(score, math.ceil(end_step * step_ticks)) / step_ticks))
    if steps[-1] < end_step:  # The closing bar line was rounded down past the last step.
        steps = np.append(steps, end_step)
    return steps


def has_pickup(bars: np.ndarray) -> bool:
    """Whether the first bar is shorter than the second, as files state a pick-up."""
    return len(bars) > 2 and bool(bars[1] - bars[0] < bars[2] - bars[1])


def first_downbeat(bars: np.ndarray) -> int:
    """Returns the step of the first full bar."""
    return int(bars[int(has_pickup(bars))])


def snap_onsets(score: Score, grid: Grid, tolerance_sec: float) -> np.ndarray:
    """Gives every onset its step.

    Each beat is divided into sixteenths or triplets, whichever lie nearer to its onsets. An onset goes to the step of
    that division where this moves it by at most `tolerance_sec` and less than a twelfth of a beat, so that the notes of
    an uneven chord share a step; any other goes to the nearest step. Notes of one track and pitch are kept apart where
    the steps allow it. An onset that lies exactly on a step stays there.

    Args:
      score: a piece with N notes.
      grid: divisions that its steps do not contain are left out.
      tolerance_sec: how far an onset may move.

    Returns:
      [N] int64 steps, at least 0.
    """
    notes = score.notes
    nearest = grid.nearest_steps(notes.onset_ticks)
    coarse = {math.gcd(grid.steps_per_beat, _STRAIGHT): 0.0}
    if grid.steps_per_beat % _TRIPLET == 0:
        coarse[_TRIPLET] = _TRIPLET_PENALTY_BEATS
    if not len(notes) or set(coarse) == {grid.steps_per_beat}:
        return nearest

    position = grid.fractional_steps(notes.onset_ticks)
    bars = bar_steps(score, int(nearest.max()) + 1, grid.steps_per_beat)
    # The slack puts an onset that comes early into the beat that it belongs to.
    bar = np.clip(np.searchsorted(bars, position + _MAX_SNAP_BEATS * grid.steps_per_beat, side="right") - 1, 0, None)
    in_bar = position - bars[bar]
    beat_in_bar = np.floor(in_bar / grid.steps_per_beat + _MAX_SNAP_BEATS).astype(np.int64)
    beat = np.unique(bar * (beat_in_bar.max() + 2) + beat_in_bar, return_inverse=True)[1]
    voice = notes.line * 128 + notes.pitch
    bar_ends = np.append(bars[1:], np.iinfo(np.int64).max)[bar]

    readings, costs = [], []
    for per_beat, penalty in coarse.items():
        width = grid.steps_per_beat // per_beat
        steps = np.clip(bars[bar] + _round(in_bar / width) * width, 0, bar_ends)
        distance = np.abs(steps - position) / grid.steps_per_beat
        cost = np.bincount(beat, np.minimum(distance, _MAX_SNAP_BEATS)) / np.bincount(beat) + penalty
        readings.append(np.where(_movable(score, grid, steps, distance, tolerance_sec), steps, nearest))
        costs.append(cost)
    chosen = np.stack(readings)[np.argmin(np.stack(costs), axis=0)[beat], np.arange(len(notes))]
    return np.where(_num_sharing(voice, chosen) > 1, nearest, chosen)


def _movable(
    score: Score, grid: Grid, steps: np.ndarray, distance_beats: np.ndarray, tolerance_sec: float
) -> np.ndarray:
    """Which onsets may move to `steps`, [N] bool; none by a whole step, because it lies on a step of its own."""
    moved_sec = np.abs(score.seconds(grid.ticks(steps)) - score.seconds(score.notes.onset_ticks))
    rounding = 0.5 / grid.ticks_per_beat  # A step may lie between two ticks.
    reach = min(_MAX_SNAP_BEATS, 1 / grid.steps_per_beat) - rounding - 1e-9
    return (moved_sec <= tolerance_sec) & (distance_beats < reach)


def _num_sharing(voice: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Counts for every note the notes of its voice on its step, itself included, [N] int64."""
    _, inverse, counts = np.unique(voice * (steps.max() + 1) + steps, return_inverse=True, return_counts=True)
    return counts[inverse]


def _round(values: np.ndarray) -> np.ndarray:
    """Rounds half up, int64; NumPy's own rounding to even would treat alternate steps differently."""
    return np.floor(np.asarray(values) + 0.5).astype(np.int64)
