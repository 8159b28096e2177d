"""Reads the events of one track of a MIDI file, in time linear in its bytes whatever they are.

What it does with malformed events is in the table of `midi.py`.
"""

import collections
import dataclasses

Repairs = collections.Counter[str]  # How often each repair was made.
META_END_OF_TRACK = 0x2F
_CHANNEL_DATA_BYTES = {0x8: 2, 0x9: 2, 0xA: 2, 0xB: 2, 0xC: 1, 0xD: 1, 0xE: 2}
_SYSTEM_DATA_BYTES = {0xF1: 1, 0xF2: 2, 0xF3: 1}


class _BrokenTrackError(Exception):
    """The rest of a track's bytes cannot be understood."""


@dataclasses.dataclass
class Track:
    """What one chunk holds, in the chunk's order.

    Attributes:
      notes: onset, duration, channel, pitch, velocity and place in the chunk of each note.
      programs: tick, channel, program and place in the chunk of each program change.
      metas: tick, type and content of each meta event.
      open_notes: indices of the notes of a (channel, pitch) that have not ended, oldest first.
    """

    name: str = ""  # Set by the caller from the meta events.
    end_tick: int = 0  # Of the last event read.
    notes: list[list[int]] = dataclasses.field(default_factory=list)
    programs: list[tuple[int, int, int, int]] = dataclasses.field(default_factory=list)
    metas: list[tuple[int, int, bytes]] = dataclasses.field(default_factory=list)
    open_notes: dict[tuple[int, int], collections.deque[int]] = dataclasses.field(default_factory=dict)

    def start_note(self, channel: int, pitch: int, velocity: int) -> None:
        """Starts a note at `end_tick`."""
        self.open_notes.setdefault((channel, pitch), collections.deque()).append(len(self.notes))
        self.notes.append([self.end_tick, 0, channel, pitch, velocity, len(self.notes) + len(self.programs)])

    def end_note(self, channel: int, pitch: int, repairs: Repairs) -> None:
        """Ends the oldest open note of a pitch at `end_tick`."""
        waiting = self.open_notes.get((channel, pitch))
        if not waiting:
            repairs["note off without a note: ignored"] += 1
            return
        note = self.notes[waiting.popleft()]
        if self.end_tick == note[0]:
            repairs["zero-length note: lengthened to one tick"] += 1
        note[1] = max(1, self.end_tick - note[0])


def _read_variable_length(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Reads a variable-length quantity of at most four bytes; returns it and the position after it."""
    value = 0
    for length in range(4):
        if position + length >= end:
            raise _BrokenTrackError("a track ends inside an event")
        byte = data[position + length]
        value = (value << 7) | (byte & 0x7F)
        if byte < 0x80:
            return value, position + length + 1
    raise _BrokenTrackError("a track has a variable-length quantity of more than four bytes")


def read_track(data: bytes, start: int, end: int, repairs: Repairs, start_tick: int) -> Track:
    """Reads the events of one chunk as far as they can be understood."""
    track = Track(end_tick=start_tick)
    try:
        _read_events(data, start, end, repairs, track)
    except _BrokenTrackError as error:
        repairs[f"{error}: the rest of it is left out"] += 1
    for waiting in track.open_notes.values():
        for n in waiting:
            repairs["hanging note: ended where its track ends"] += 1
            track.notes[n][1] = max(1, track.end_tick - track.notes[n][0])
            track.end_tick = max(track.end_tick, track.notes[n][0] + 1)
    return track


def _read_events(data: bytes, position: int, end: int, repairs: Repairs, track: Track) -> None:
    """Adds the chunk's events to `track`."""
    status, is_interrupted = 0, False
    while position < end:
        delta = data[position]
        if delta < 0x80:  # As most are: a call takes longer than the rest of this loop's head.
            position += 1
        else:
            delta, position = _read_variable_length(data, position, end)
        track.end_tick += delta
        if position >= end:
            raise _BrokenTrackError("a track ends inside an event")
        byte = data[position]
        if byte >= 0xF0:
            is_interrupted = True
            kind, content, position = _read_system_event(data, position, end)
            if kind == META_END_OF_TRACK:
                if position < end:
                    repairs["bytes after a track's end skipped"] += 1
                return
            if kind is not None:
                track.metas.append((track.end_tick, kind, content))
            continue
        if byte >= 0x80:
            status, position, is_interrupted = byte, position + 1, False
        elif not status:
            raise _BrokenTrackError("a track has data without a status byte")
        elif is_interrupted:
            repairs["running status kept across a meta or system message"] += 1
            is_interrupted = False
        size = _CHANNEL_DATA_BYTES[status >> 4]
        if position + size > end:
            raise _BrokenTrackError("a track ends inside an event")
        first, second = data[position], data[position + 1] if size == 2 else 0
        position += size
        if first > 127 or second > 127:
            repairs["data byte above 127 read as 127"] += 1
            first, second = min(first, 127), min(second, 127)
        _add_channel_event(track, status, first, second, repairs)
    repairs["a track has no end-of-track event"] += 1


def _add_channel_event(track: Track, status: int, first: int, second: int, repairs: Repairs) -> None:
    """Adds a note on, note off or program change; other channel messages are skipped."""
    kind, channel = status >> 4, status & 0x0F
    if kind == 0x9 and second > 0:
        track.start_note(channel, first, second)
    elif kind in (0x8, 0x9):
        track.end_note(channel, first, repairs)
    elif kind == 0xC:
        track.programs.append((track.end_tick, channel, first, len(track.notes) + len(track.programs)))


def _read_system_event(data: bytes, position: int, end: int) -> tuple[int | None, bytes, int]:
    """Reads a meta or system event; returns the meta type (None for others), its content and the position after it."""
    status = data[position]
    position += 1
    kind = None
    if status == 0xFF:
        if position >= end:
            raise _BrokenTrackError("a track ends inside an event")
        kind = data[position]
        position += 1
    if status in (0xF0, 0xF7, 0xFF):
        size, position = _read_variable_length(data, position, end)
    else:
        size = _SYSTEM_DATA_BYTES.get(status, 0)
    if position + size > end:
        raise _BrokenTrackError("a track ends inside an event")
    return kind, data[position : position + size], position + size
