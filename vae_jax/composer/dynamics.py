"""Dynamics: the velocities of a piece's notes, as far as they can be measured on another piece.

The velocity of a note is the mean of its line, an accent by its place in the bar, a level that all lines share in each
bar, a level of the line in the bar, and what is left. Both levels are autoregressive from bar to bar.
"""

import dataclasses

import numpy as np

from vae_jax.composer.lines import Line
from vae_jax.composer.notes import ENDING_BARS, MAX_TRACKS, STEPS_PER_BEAT, NotePiece, place_at
from vae_jax.music.score import Score
from vae_jax.representations.pianoroll import encoding

_NUM_PLACES = 3  # Downbeats, other beats, off-beats.


@dataclasses.dataclass(frozen=True)
class TrackDynamics:
    """How the velocity of a track moves about its mean; all zero where it is constant."""

    accents: tuple[float, ...]  # Mean deviation on downbeats, on other beats and off the beat.
    gain: float  # How much the track follows the common level.
    level: float  # Standard deviation of the track's own level over bars.
    residual: float  # Standard deviation of what is left of a note.


@dataclasses.dataclass(frozen=True)
class Dynamics:
    """The dynamics of a piece, in MIDI velocity."""

    common: float  # Standard deviation of the common level over bars.
    persistence: float  # Correlation of the common level in one bar and the next.
    level_persistence: float  # The same of the tracks' own levels.
    ending: tuple[float, ...]  # The common level in each of the last `ENDING_BARS` bars.
    tracks: tuple[TrackDynamics, ...]  # Of the pitched lines in order, and of the drums as the last.
    drums: tuple[tuple[int, int], ...]  # MIDI pitch and mean velocity of each drum.


def read_dynamics(score: Score, piece: NotePiece) -> Dynamics:
    """Measures the dynamics of a score, of which `piece` holds the pitched notes."""
    _, steps, _ = encoding.quantize_notes(score, STEPS_PER_BEAT)
    line = np.unique(score.notes.line[~score.notes.is_drum], return_inverse=True)[1]
    num_lines = min(int(line.max(initial=-1)) + 1, MAX_TRACKS)
    track = np.full(len(score.notes), num_lines)
    track[~score.notes.is_drum] = np.where(line < num_lines, line, -1)
    steps, track, notes = steps[track >= 0], track[track >= 0], score.notes.select(track >= 0)
    bar, place = _bars_and_places(steps, piece)
    voice = track + notes.is_drum * notes.pitch  # The lines, and each drum.
    mean = _mean_by(voice, notes.velocity)
    accent = _mean_by(track * _NUM_PLACES + place, notes.velocity - mean)
    rest = notes.velocity - mean - accent
    num_bars = max(len(piece.bars) - 1, 1)
    common = np.bincount(bar, rest, num_bars) / np.maximum(np.bincount(bar, minlength=num_bars), 1)
    levels, tracks = np.zeros((num_lines + 1, num_bars)), []
    for n in range(num_lines + 1):
        mine = track == n
        wave, own = common[bar[mine]], rest[mine]
        gain = float(np.clip(wave @ own / max(wave @ wave, 1e-9), 0, 2))
        own = own - gain * wave
        levels[n, bar[mine]] = level = _mean_by(bar[mine], own)
        accents = [float(accent[mine & (place == k)].max(initial=-np.inf)) for k in range(_NUM_PLACES)]
        accents = [round(one, 2) if np.isfinite(one) else 0.0 for one in accents]
        tracks.append(TrackDynamics(tuple(accents), round(gain, 3), _deviation(level), _deviation(own - level)))
    pitches = np.unique(notes.pitch[notes.is_drum])
    loudness = [round(float(mean[notes.is_drum & (notes.pitch == pitch)][0])) for pitch in pitches]
    return Dynamics(
        common=_deviation(common[bar]),
        persistence=_persistence(common[None]),
        level_persistence=_persistence(levels),
        ending=tuple(common[-ENDING_BARS:].round(2).tolist()),
        tracks=tuple(tracks),
        drums=tuple(zip(pitches.tolist(), loudness, strict=True)),
    )


def sample_velocities(
    dynamics: Dynamics,
    piece: NotePiece,
    lines: tuple[Line, ...],
    notes: tuple[np.ndarray, np.ndarray, np.ndarray],
    rng: np.random.Generator,
) -> np.ndarray:
    """Samples the velocities of N notes, int64 [N] in 1..127.

    Args:
      dynamics: of the piece that `lines` are taken from.
      piece: the piece's bars; its notes are not used.
      lines: the pitched lines.
      notes: step, line and MIDI pitch [N]; the line of drums is `len(lines)`.
    """
    step, line, pitch = notes
    bar, place = _bars_and_places(step, piece)
    num_bars = max(len(piece.bars) - 1, 1)
    common = _wave(dynamics.persistence, (num_bars,), rng) * dynamics.common
    last = dynamics.ending[-num_bars:]
    common[num_bars - len(last) :] = last
    own = _wave(dynamics.level_persistence, (len(dynamics.tracks), num_bars), rng)
    means = np.array([*(one.velocity for one in lines), 0.0])[line]
    loudness = np.full(128, np.mean([mean for _, mean in dynamics.drums] or [100]))
    for drum, mean in dynamics.drums:
        loudness[drum] = mean
    means = np.where(line == len(lines), loudness[pitch], means)
    table = np.array([(one.gain, one.level, one.residual) for one in dynamics.tracks])[line]
    accents = np.array([one.accents for one in dynamics.tracks])[line, place]
    values = means + accents + table[:, 0] * common[bar] + table[:, 1] * own[line, bar]
    values = values + table[:, 2] * rng.standard_normal(len(step))
    return np.clip(np.round(values), 1, 127).astype(np.int64)


def _bars_and_places(step: np.ndarray, piece: NotePiece) -> tuple[np.ndarray, np.ndarray]:
    """Returns the bar of each step, and whether it is a downbeat (0), another beat (1) or none (2)."""
    bar = np.clip(np.searchsorted(piece.bars, step, side="right") - 1, 0, max(len(piece.bars) - 2, 0))
    position = place_at(step, piece)[0]
    return bar, np.where(position == 0, 0, np.where(position % STEPS_PER_BEAT == 0, 1, 2))


def _mean_by(group: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns for each value the mean of its group."""
    index = np.unique(group, return_inverse=True)[1]
    return (np.bincount(index, values) / np.maximum(np.bincount(index), 1))[index]


def _deviation(values: np.ndarray) -> float:
    return round(float(np.sqrt(np.mean(values**2))), 3) if len(values) else 0.0


def _persistence(levels: np.ndarray) -> float:
    """Returns the correlation of levels [..., bars] with those a bar later."""
    power = float((levels**2).mean())
    return round(float(np.clip((levels[:, 1:] * levels[:, :-1]).mean() / power, 0, 0.99)), 3) if power > 0 else 0.0


def _wave(persistence: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Samples a stationary autoregression of unit variance along the last axis."""
    wave = rng.standard_normal(shape)
    for n in range(1, shape[-1]):
        wave[..., n] = persistence * wave[..., n - 1] + np.sqrt(1 - persistence**2) * wave[..., n]
    return wave
