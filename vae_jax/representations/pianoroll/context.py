"""What a piano roll does not hold and a Score needs: taken from the original, or defaults where there is none."""

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from vae_jax.music import instruments, quantization
from vae_jax.music import key as key_lib
from vae_jax.music.key import Tonic
from vae_jax.music.quantization import Grid
from vae_jax.music.score import DEFAULT_MICROSECONDS_PER_BEAT, KeySignature, Meter, Score, Tempo

DEFAULT_VELOCITY = 80
# Trumpet, trombone, strings twice, piano, church organ, acoustic bass, the standard drum kit.
DEFAULT_PROGRAMS = (56, 57, 48, 48, 0, 19, 32, 0)
REGISTER_SEMITONES = 6  # Neighbouring pitches for which the number of doubling instruments is kept.
_MAX_COPIES = 3  # Most instruments that may double a note of one part.
_Change = TypeVar("_Change", Tempo, Meter, KeySignature)
_COPY_KEY = (1 << 16, 1 << 8, 1)  # Packs (bar, part, register) into one number.


@dataclasses.dataclass(frozen=True)
class PartTrack:
    """The name and program of one of the instruments that play a part."""

    name: str
    program: int


@dataclasses.dataclass(frozen=True, eq=False)
class RollContext:
    """What decoding takes from the original.

    Attributes:
      tracks: for each part its programs with a track name each, the most common first; () for a part without notes.
      velocities: [max(num_bars, 1), NUM_PARTS] uint8, the mean of each bar and part; a part's mean over the piece where
        it rests.
      copy_keys, copy_counts: [K] int64 ascending and [K] uint8: the (bar, part, register) in which more than one
        instrument plays the part, packed into a number, and how many do.
    """

    ticks_per_beat: int  # The original's.
    offset_ticks: int  # How late (above zero) or early it is played.
    tempos: tuple[Tempo, ...]  # The original's changes.
    meters: tuple[Meter, ...]
    keys: tuple[KeySignature, ...]
    transposition: int  # Semitones by which its pitched notes were moved; undone at decoding.
    tracks: tuple[tuple[PartTrack, ...], ...]
    bars: np.ndarray  # [num_bars + 1] int64, steps at which bars start, and the end of the last one.
    velocities: np.ndarray
    copy_keys: np.ndarray
    copy_counts: np.ndarray

    @property
    def num_steps(self) -> int:
        """Length of the piece in steps: the bar line at or after the end of its last note."""
        return int(self.bars[-1])

    def bar_of(self, steps: np.ndarray) -> np.ndarray:
        """Returns the bar that holds each step, int64; the last bar for a step after the end."""
        return np.clip(np.searchsorted(self.bars, steps, side="right") - 1, 0, len(self.velocities) - 1)

    def copies_of(self, steps: np.ndarray, parts: np.ndarray, registers: np.ndarray) -> np.ndarray:
        """Returns how many instruments play a note of each step, part and register, int64, at least 1."""
        if not len(self.copy_keys):
            return np.ones(len(steps), dtype=np.int64)
        wanted = _copy_keys(self.bar_of(steps), parts, registers)
        place = np.minimum(np.searchsorted(self.copy_keys, wanted), len(self.copy_keys) - 1)
        return np.where(self.copy_keys[place] == wanted, self.copy_counts[place].astype(np.int64), 1)

    def track(self, part: int, copy: int) -> PartTrack:
        """Returns the instrument that plays a copy of a part: its own where there are so many, else the last one."""
        known = self.tracks[part] or (PartTrack("", DEFAULT_PROGRAMS[part]),)
        return known[min(copy, len(known) - 1)]


def default_context(
    num_steps: int,
    steps_per_beat: int,
    *,
    beats_per_minute: float = 100,
    meter: tuple[int, int] = (4, 4),
    tonic: Tonic | None = None,
    programs: Sequence[int] = DEFAULT_PROGRAMS,
    velocities: Sequence[int] = (DEFAULT_VELOCITY,) * instruments.NUM_PARTS,
) -> RollContext:
    """Returns the context of music that has no original: one tempo, one meter, one instrument for each part.

    Args:
      num_steps, steps_per_beat: length and resolution.
      beats_per_minute: quarter notes a minute.
      meter: numerator and denominator.
      tonic: the key in which the roll, whose tonic is C, is to sound; as it stands, and without a signature, if None.
      programs, velocities: one for each part.
    """
    bar = 4 * steps_per_beat * meter[0] // meter[1]
    num_bars = -(-num_steps // bar)
    keys = () if tonic is None else (KeySignature(0, key_lib.fifths(tonic), tonic.minor),)
    return RollContext(
        ticks_per_beat=480,
        offset_ticks=0,
        tempos=(Tempo(0, round(60e6 / beats_per_minute)),),
        meters=(Meter(0, *meter),),
        keys=keys,
        transposition=0 if tonic is None else key_lib.semitones_to(tonic),
        tracks=tuple((PartTrack("", program),) for program in programs),
        bars=np.arange(num_bars + 1) * bar,
        velocities=np.tile(np.asarray(velocities, dtype=np.uint8), (max(num_bars, 1), 1)),
        copy_keys=np.zeros(0, dtype=np.int64),
        copy_counts=np.zeros(0, dtype=np.uint8),
    )


def blend(start: RollContext, end: RollContext, fraction: float, num_steps: int, steps_per_beat: int) -> RollContext:
    """Returns the context of music between two pieces.

    Its tempo lies between those on their first beats after a pick-up, in equal ratios for equal fractions. Meter, key,
    instruments and velocities are those of the nearer piece; on the way, parts that it lacks have instruments of the
    other.
    """
    near, far = (start, end) if fraction < 0.5 else (end, start)
    ticks = [-(-quantization.first_downbeat(one.bars) // steps_per_beat) * one.ticks_per_beat for one in (start, end)]
    changes = [_in_force(one.tempos, tick) for one, tick in zip((start, end), ticks, strict=True)]
    tempos = [DEFAULT_MICROSECONDS_PER_BEAT if one is None else one.microseconds_per_beat for one in changes]
    tick = ticks[0] if fraction < 0.5 else ticks[1]
    meter, key = _in_force(near.meters, tick) or Meter(0, 4, 4), _in_force(near.keys, tick)
    if 4 * steps_per_beat * meter.numerator % meter.denominator:
        meter = Meter(0, 4, 4)
    context = default_context(
        num_steps,
        steps_per_beat,
        beats_per_minute=60e6 / (tempos[0] ** (1 - fraction) * tempos[1] ** fraction),
        meter=(meter.numerator, meter.denominator),
        velocities=np.round(near.velocities.mean(axis=0)).tolist(),
    )
    return dataclasses.replace(
        context,
        keys=() if key is None else (dataclasses.replace(key, tick=0),),
        transposition=near.transposition,
        tracks=tuple(
            one or (other if 0 < fraction < 1 else ()) for one, other in zip(near.tracks, far.tracks, strict=True)
        ),
    )


def make_context(
    score: Score, grid: Grid, *, roll: np.ndarray, of_note: np.ndarray, multiplicity: np.ndarray, transposition: int
) -> RollContext:
    """Takes from a score what its roll leaves out.

    Args:
      score: a piece with N notes.
      grid: its grid.
      roll: [M, 4] int32 roll notes.
      of_note: [N] int64, the roll note that stands for each note of the score.
      multiplicity: [M] int64, how many notes of the score each roll note stands for.
      transposition: semitones by which the pitched notes were moved.
    """
    num_steps = int((roll[:, 0] + roll[:, 3]).max(initial=0))
    bars = quantization.bar_steps(score, num_steps, grid.steps_per_beat)
    num_bars = max(len(bars) - 1, 1)
    bar = np.clip(np.searchsorted(bars, roll[:, 0], side="right") - 1, 0, num_bars - 1)
    part = roll[:, 1].astype(np.int64)
    keys = _copy_keys(bar, part, roll[:, 2] // REGISTER_SEMITONES)
    copy_keys, copy_counts = _best_copies(keys, multiplicity)
    return RollContext(
        ticks_per_beat=score.ticks_per_beat,
        offset_ticks=grid.offset_ticks,
        tempos=score.tempos,
        meters=score.meters,
        keys=score.keys,
        transposition=transposition,
        tracks=_part_tracks(score, part[of_note]),
        bars=bars,
        velocities=_mean_velocities(bar[of_note], part[of_note], score.notes.velocity, num_bars),
        copy_keys=copy_keys,
        copy_counts=copy_counts,
    )


def _in_force(changes: Sequence[_Change], tick: int) -> _Change | None:
    """Returns the last of the changes up to a tick, if there is one."""
    return next((one for one in reversed(changes) if one.tick <= tick), None)


def _copy_keys(bar: np.ndarray, part: np.ndarray, register: np.ndarray) -> np.ndarray:
    return bar * _COPY_KEY[0] + part * _COPY_KEY[1] + register * _COPY_KEY[2]


def _best_copies(keys: np.ndarray, multiplicity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds for each key the number of copies with the best F1 against the notes' own; returns those above 1."""
    unique, cell = np.unique(keys, return_inverse=True)
    reference = np.bincount(cell, multiplicity, minlength=len(unique))
    num_notes = np.bincount(cell, minlength=len(unique))
    f1 = [
        2
        * np.bincount(cell, np.minimum(multiplicity, copies), minlength=len(unique))
        / (reference + copies * num_notes)
        for copies in range(1, _MAX_COPIES + 1)
    ]
    best = 1 + np.argmax(np.stack(f1), axis=0)
    return unique[best > 1].astype(np.int64), best[best > 1].astype(np.uint8)


def _part_tracks(score: Score, parts: np.ndarray) -> tuple[tuple[PartTrack, ...], ...]:
    """Lists each part's programs, the most common first, each with the name of the track that plays most of it."""
    notes = score.notes.replace(program=instruments.line_programs(score))
    tracks = []
    for part in range(instruments.NUM_PARTS):
        mine = notes.select(parts == part)
        counts = np.bincount(mine.program, minlength=128)
        names = []
        for program in np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)].tolist():
            track = int(np.bincount(mine.track[mine.program == program]).argmax())
            names.append(PartTrack(instruments.original_name(score.track_names[track]), program))
        tracks.append(tuple(names))
    return tuple(tracks)


def _mean_velocities(bar: np.ndarray, part: np.ndarray, velocity: np.ndarray, num_bars: int) -> np.ndarray:
    """Mean velocity of each bar and part, [num_bars, NUM_PARTS] uint8."""
    size = num_bars * instruments.NUM_PARTS
    cell = bar * instruments.NUM_PARTS + part
    count = np.bincount(cell, minlength=size).reshape(num_bars, instruments.NUM_PARTS)
    total = np.bincount(cell, velocity, minlength=size).reshape(num_bars, instruments.NUM_PARTS)
    part_count = count.sum(axis=0)
    part_mean = np.where(part_count > 0, total.sum(axis=0) / np.maximum(part_count, 1), DEFAULT_VELOCITY)
    mean = np.where(count > 0, total / np.maximum(count, 1), part_mean)
    return np.clip(np.round(mean), 1, 127).astype(np.uint8)
