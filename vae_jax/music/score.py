"""Score: a piece of music as an immutable table of notes with its tempo, meter, key and tracks.

A `Score` is the common interface of readers, writers, representations and metrics.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

DEFAULT_MICROSECONDS_PER_BEAT = 500_000  # 120 beats per minute, as a MIDI file without a tempo is played.
DRUM_CHANNEL = 9  # Channel 10 counted from one, the percussion channel of General MIDI.
PITCHED_CHANNELS = np.delete(np.arange(16), DRUM_CHANNEL)
NOTE_COLUMNS = ("onset_ticks", "duration_ticks", "track", "channel", "pitch", "velocity", "program")
_LIMITS: dict[str, tuple[int, int | None]] = {
    "onset_ticks": (0, None), "duration_ticks": (1, None), "track": (0, None), "channel": (0, 15), "pitch": (0, 127),
    "velocity": (1, 127), "program": (0, 127),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Tempo:
    """A tempo that holds from `tick` on; one beat is one quarter note."""

    tick: int
    microseconds_per_beat: int

    def __post_init__(self):
        _check_range("tick", self.tick, 0, None)
        _check_range("microseconds_per_beat", self.microseconds_per_beat, 1, 0xFFFFFF)


@dataclasses.dataclass(frozen=True)
class Meter:
    """A time signature that holds from `tick` on, such as 3/4."""

    tick: int
    numerator: int
    denominator: int

    def __post_init__(self):
        _check_range("tick", self.tick, 0, None)
        _check_range("numerator", self.numerator, 1, 255)
        if self.denominator not in (1, 2, 4, 8, 16, 32, 64):
            raise ValueError(f"denominator must be a power of two up to 64, got {self.denominator}")


@dataclasses.dataclass(frozen=True)
class KeySignature:
    """A key signature that holds from `tick` on: sharps (above zero) or flats (below), and the mode."""

    tick: int
    fifths: int
    minor: bool = False

    def __post_init__(self):
        _check_range("tick", self.tick, 0, None)
        _check_range("fifths", self.fifths, -7, 7)


@dataclasses.dataclass(frozen=True, eq=False)
class Notes:
    """N notes as int64 columns of shape [N], ordered by onset, then track, then the order in the file."""

    onset_ticks: np.ndarray  # Start of each note, counted from the start of the piece.
    duration_ticks: np.ndarray  # Length of each note, at least one.
    track: np.ndarray  # Index of the track that holds the note.
    channel: np.ndarray  # MIDI channel, 0 to 15; 9 is percussion.
    pitch: np.ndarray  # MIDI note number, 0 to 127; 60 is middle C.
    velocity: np.ndarray  # 1 to 127.
    program: np.ndarray  # General MIDI program in force on the note's channel when it starts, 0 to 127.

    def __len__(self) -> int:
        return len(self.onset_ticks)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Notes):
            return NotImplemented
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in NOTE_COLUMNS)

    @property
    def end_ticks(self) -> np.ndarray:
        """End of each note in ticks, [N] int64."""
        return self.onset_ticks + self.duration_ticks

    @property
    def line(self) -> np.ndarray:
        """Number of each note's pair of track and channel, [N] int64."""
        return self.track * 16 + self.channel

    @property
    def is_drum(self) -> np.ndarray:
        """Whether each note is percussion, [N] bool."""
        return self.channel == DRUM_CHANNEL

    def select(self, index: np.ndarray) -> Notes:
        """Returns the notes that a mask or an index array picks."""
        return Notes(*(getattr(self, name)[index] for name in NOTE_COLUMNS))

    def replace(self, **columns: np.ndarray) -> Notes:
        """Returns the notes with some columns replaced."""
        return dataclasses.replace(self, **columns)


@dataclasses.dataclass(frozen=True)
class Score:
    """One piece of music; build it with `make_score`."""

    ticks_per_beat: int  # Ticks in one quarter note.
    notes: Notes  # The note table.
    track_names: tuple[str, ...] = ("",)  # One name a track; a track without notes keeps its place.
    tempos: tuple[Tempo, ...] = ()  # Changes in order of their ticks, at most one a tick; may be empty.
    meters: tuple[Meter, ...] = ()
    keys: tuple[KeySignature, ...] = ()

    @property
    def num_tracks(self) -> int:
        """Number of tracks, those without notes included."""
        return len(self.track_names)

    @property
    def end_tick(self) -> int:
        """Tick at which the last note ends; 0 for an empty score."""
        return int(self.notes.end_ticks.max()) if len(self.notes) else 0

    def note_bearing_tracks(self) -> np.ndarray:
        """Returns the indices of the tracks that hold notes, ascending, [K] int64."""
        return np.unique(self.notes.track)

    def seconds(self, ticks: np.ndarray | int) -> np.ndarray:
        """Turns ticks into seconds from the start of the piece, float64, by the tempo map."""
        ticks = np.asarray(ticks, dtype=np.float64)
        tempos = self.tempos
        if not tempos or tempos[0].tick > 0:
            tempos = (Tempo(0, DEFAULT_MICROSECONDS_PER_BEAT), *tempos)
        change_ticks = np.array([tempo.tick for tempo in tempos], dtype=np.float64)
        seconds_per_tick = np.array([tempo.microseconds_per_beat for tempo in tempos]) * 1e-6 / self.ticks_per_beat
        change_seconds = np.concatenate([[0.0], np.cumsum(np.diff(change_ticks) * seconds_per_tick[:-1])])
        segment = np.maximum(np.searchsorted(change_ticks, ticks, side="right") - 1, 0)
        return change_seconds[segment] + (ticks - change_ticks[segment]) * seconds_per_tick[segment]

    def mean_tempo(self, start_tick: int, end_tick: int) -> float:
        """Returns the quarter notes a minute between two ticks; those at the first where nothing lies between."""
        end_tick = max(end_tick, start_tick + 1)
        start, end = self.seconds(np.array([start_tick, end_tick]))
        return 60 * (end_tick - start_tick) / self.ticks_per_beat / float(end - start)

    @property
    def duration_sec(self) -> float:
        """Seconds from the start of the piece to the end of its last note."""
        return float(self.seconds(self.end_tick))


def make_notes(
    onset_ticks: Sequence[int] | np.ndarray,
    duration_ticks: Sequence[int] | np.ndarray,
    pitch: Sequence[int] | np.ndarray,
    *,
    track: Sequence[int] | np.ndarray | int = 0,
    channel: Sequence[int] | np.ndarray | int = 0,
    velocity: Sequence[int] | np.ndarray | int = 64,
    program: Sequence[int] | np.ndarray | int = 0,
) -> Notes:
    """Builds a note table in its normal form; a single number fills a whole column.

    Normal form: notes are ordered by onset, then track, then as given; and among notes of one pitch, channel and track
    the first to start is the first to end, because a MIDI file cannot say otherwise.

    Raises:
      ValueError: where a column has another length or a value outside its range.
    """
    onset = np.asarray(onset_ticks, dtype=np.int64).reshape(-1)
    given = {"duration_ticks": duration_ticks, "track": track, "channel": channel, "pitch": pitch}
    given |= {"velocity": velocity, "program": program}
    columns = {"onset_ticks": onset}
    columns |= {name: np.broadcast_to(np.asarray(one, dtype=np.int64), onset.shape) for name, one in given.items()}
    for name, (low, high) in _LIMITS.items():
        if len(onset):
            _check_range(name, int(columns[name].min()), low, high)
            _check_range(name, int(columns[name].max()), low, high)
    order = np.lexsort((columns["track"], onset))
    return _in_normal_form(Notes(**{name: values[order] for name, values in columns.items()}))


def make_score(
    ticks_per_beat: int,
    notes: Notes,
    *,
    track_names: Sequence[str] = (),
    tempos: Sequence[Tempo] = (),
    meters: Sequence[Meter] = (),
    keys: Sequence[KeySignature] = (),
) -> Score:
    """Builds a Score: one name for every track, changes in order with the last of each tick kept. Raises ValueError
    where ticks_per_beat does not fit a MIDI file."""
    if not 1 <= ticks_per_beat <= 0x7FFF:
        raise ValueError(f"ticks_per_beat must lie in 1..32767, got {ticks_per_beat}")
    num_tracks = max(1, len(track_names), int(notes.track.max()) + 1 if len(notes) else 0)
    names = tuple(track_names) + ("",) * (num_tracks - len(track_names))

    def in_order(changes):
        return tuple(sorted({change.tick: change for change in changes}.values(), key=lambda change: change.tick))

    return Score(int(ticks_per_beat), notes, names, in_order(tempos), in_order(meters), in_order(keys))


def transpose(score: Score, semitones: int) -> Score:
    """Returns the score with its pitched notes moved; one that would leave 0..127 comes back inside by octaves."""
    pitch = score.notes.pitch + np.where(score.notes.is_drum, 0, semitones)
    pitch = np.where(pitch > 127, 116 + (pitch - 116) % 12, np.where(pitch < 0, pitch % 12, pitch))
    return dataclasses.replace(score, notes=_in_normal_form(score.notes.replace(pitch=pitch)))


def cut(score: Score, end_tick: int) -> Score:
    """Returns the score up to a tick, above 0: what starts later is left out, held notes end there."""
    notes = score.notes.select(score.notes.onset_ticks < end_tick)
    return dataclasses.replace(
        score,
        notes=notes.replace(duration_ticks=np.minimum(notes.duration_ticks, end_tick - notes.onset_ticks)),
        tempos=tuple(one for one in score.tempos if one.tick < end_tick),
        meters=tuple(one for one in score.meters if one.tick < end_tick),
        keys=tuple(one for one in score.keys if one.tick < end_tick),
    )


def _check_range(name: str, value: int, low: int, high: int | None) -> None:
    if value < low or (high is not None and value > high):
        raise ValueError(f"{name} must lie in {low}..{'' if high is None else high}, got {value}")


def pair_first_in_first_out(voice: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Pairs the n-th start with the n-th end within each voice, [N] int64; starts must ascend within a voice."""
    paired = np.empty_like(ends)
    paired[np.argsort(voice, kind="stable")] = ends[np.lexsort((ends, voice))]
    return paired


def _in_normal_form(notes: Notes) -> Notes:
    """Pairs starts and ends first in, first out within each pitch of a line; notes are ordered by onset."""
    ends = pair_first_in_first_out(notes.line * 128 + notes.pitch, notes.end_ticks)
    return notes.replace(duration_ticks=ends - notes.onset_ticks)


EMPTY = make_score(480, make_notes([], [], []))  # Silence.
