"""Looks ahead in a damaged track: where it reads as music again, and whether it still does."""

import dataclasses
import re

from vae_jax.music.midi_events import (
    CUT_EVENT,
    DATA_BYTES,
    META_END_OF_TRACK,
    BrokenEventError,
    Track,
    find_content,
    read_variable_length,
)

_NUM_EVENTS = 12  # So many in a row are music; random bytes read as so many in one of a billion places.
_MAX_RUNNING_BYTES = 24
_MAX_LOOKS = 50_000  # Of one track: a second of work, and more than damage takes.
_READABLE, _ENDED = "", "end of track"  # Outcomes beside the faults.
_EVENT_START = re.compile(
    rb"[\x80-\xff]{0,3}[\x00-\x7f]"  # A delta time and a status byte, with data where it needs some.
    rb"(?=[\x80-\xbf\xe0-\xef][\x00-\x7f]{2}|[\xc0-\xdf][\x00-\x7f]|\xff[\x00-\x7f]|[\xf0\xf7])"
)
_RUNNING_EVENTS = re.compile(rb"(?:[\x80-\xff]{0,3}[\x00-\x7f]{3}){2}")  # Two of them, of two data bytes each.


@dataclasses.dataclass
class _Outlook:
    """What the next events would be, read but not added to the track.

    Attributes:
      outcome: `_READABLE` if all can be read, `_ENDED` if an end-of-track event is among them, else the fault.
      sounding: (channel, pitch) of the notes that would go on.
      channels: channels of all events.
      num_events: number of starts and ends of notes.
      num_whole: number of notes that start and end.
      num_ended: number of ends of notes that the track holds.
      num_unmatched: number of ends of notes that had not begun.
    """

    outcome: str = _READABLE
    sounding: set[tuple[int, int]] = dataclasses.field(default_factory=set)
    channels: set[int] = dataclasses.field(default_factory=set)
    num_events: int = 0
    num_whole: int = 0
    num_ended: int = 0
    num_unmatched: int = 0

    @property
    def is_musical(self) -> bool:
        """Whether fewer than half of the note events are ends of notes that had not begun."""
        return 2 * self.num_unmatched < max(1, self.num_events)

    @property
    def is_aligned(self) -> bool:
        """Whether these are events in the running status rather than the same bytes shifted."""
        num_ends = self.num_whole + self.num_ended
        if self.outcome == _ENDED:
            return not self.sounding and num_ends > 2 * self.num_unmatched
        return self.outcome == _READABLE and num_ends > 2 * max(1, self.num_unmatched)

    def is_found(self, track: Track) -> bool:
        """Whether a track may go on with these events, after it has lost its place."""
        new_channels = self.channels - {note[2] for note in track.notes[-_NUM_EVENTS:]}
        if self.outcome == _READABLE:
            return self.is_musical and (self.num_whole > 0 or len(new_channels) <= 1)
        if self.outcome == _ENDED:
            return self.is_musical and not self.sounding
        return self.num_whole > 0 and not self.num_unmatched and not new_channels

    def add(self, status: int, pitch: int, velocity: int, track: Track) -> None:
        """Adds a note on or off."""
        key = (status & 0x0F | track.port, pitch)
        self.num_events += 1
        if status >= 0x90 and velocity:
            self.sounding.add(key)
        elif key in self.sounding:
            self.sounding.remove(key)
            self.num_whole += 1
        elif track.open_notes.get(key):
            self.num_ended += 1
        else:
            self.num_unmatched += 1


def find_events(data: bytes, position: int, end: int, track: Track, max_delta: int) -> tuple[int, int] | None:
    """Returns the first position from which bytes read as music, and the running status there.

    With a status byte at first that is twelve events; or fewer up to the end-of-track event without a note that hangs
    over it; or fewer up to another fault, with a whole note among them and all on channels that the track has used.
    In the running status of the notes, at most `_MAX_RUNNING_BYTES` on, it is notes with hardly an end too many.
    """
    if (aligned := _find_aligned(data, position, end, track, max_delta)) is not None:
        return aligned
    while track.num_looks < _MAX_LOOKS and (match := _EVENT_START.search(data, position, end)) is not None:
        position = match.start()
        if _look_ahead(data, position, end, 0, track, max_delta).is_found(track):
            return position, 0
        position += 1
    return None


def _find_aligned(data: bytes, position: int, end: int, track: Track, max_delta: int) -> tuple[int, int] | None:
    """Returns the first position near by from which bytes are notes in the running status, and that status."""
    if track.notes:
        status = 0x90 | track.notes[-_NUM_EVENTS:][0][2] % 16  # Of a note from before the fault.
        for start in range(position, min(position + _MAX_RUNNING_BYTES, end)):
            if not _RUNNING_EVENTS.match(data, start, end):
                continue
            if _look_ahead(data, start, end, status, track, max_delta).is_aligned:
                return start, status
    return None


def is_shifted(data: bytes, position: int, end: int, track: Track, max_delta: int) -> bool:
    """Whether the next events, read in the running status, begin notes and end none, but would if it were shifted."""
    outlook = _look_ahead(data, position, end, track.status, track, max_delta)
    if outlook.num_whole or outlook.num_ended or outlook.num_events < _NUM_EVENTS:
        return False
    return _find_aligned(data, position, end, track, max_delta) is not None


def reads_on(
    data: bytes,
    position: int,
    end: int,
    status: int,
    track: Track,
    max_delta: int,
    started: tuple[int, int] | None = None,
) -> bool:
    """Whether the next events can be read, as far as there are any, and are music; `started`: a note before them."""
    outlook = _look_ahead(data, position, end, status, track, max_delta, started)
    return outlook.outcome in (_READABLE, _ENDED, CUT_EVENT) and outlook.is_musical


def _look_ahead(
    data: bytes,
    position: int,
    end: int,
    status: int,
    track: Track,
    max_delta: int,
    started: tuple[int, int] | None = None,
) -> _Outlook:
    """Reads up to `_NUM_EVENTS` events."""
    track.num_looks += 1
    outlook = _Outlook(sounding=set() if started is None else {started})
    try:
        for _ in range(_NUM_EVENTS):
            delta, position = read_variable_length(data, position, end)
            if delta > max_delta:
                raise BrokenEventError("a long delta time")
            if position >= end:
                raise BrokenEventError(CUT_EVENT)
            if data[position] >= 0xF0:
                kind, _, position = find_content(data, position, end)
                if kind == META_END_OF_TRACK:
                    outlook.outcome = _ENDED
                    break
                continue
            if data[position] >= 0x80:
                status, position = data[position], position + 1
            size = DATA_BYTES[status >> 4] if status else 0
            if position + size > end:
                raise BrokenEventError(CUT_EVENT)
            content = data[position : position + size]
            position += size
            if max(content, default=128) > 127:
                raise BrokenEventError("a data byte above 127")
            outlook.channels.add(status & 0x0F | track.port)
            if status < 0xA0:
                outlook.add(status, content[0], content[1], track)
    except BrokenEventError as error:
        outlook.outcome = str(error)
    return outlook
