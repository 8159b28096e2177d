"""Reads the tracks of a MIDI file, also of a damaged one, in time linear in its bytes whatever they are.

What is done with malformed input is in the table of `midi.py`. Two rules decide what is music:

  A track ends where its length says if a chunk or the end of the file follows there. Otherwise it ends at its
  end-of-track event, at the latest before the next `MTrk`.

  After an event that cannot be read, or past a wrong length, reading goes on at the next place that reads as events
  (`_reads_on`). Random bytes and text do not.
"""

import collections
import dataclasses
import functools
import re

Repairs = collections.Counter[str]  # How often each repair was made.
MAX_DELTA_BEATS = 10_000  # A longer delta time is damage: 83 minutes at 120 beats per minute.
META_PORT, META_END_OF_TRACK = 0x21, 0x2F
_DATA_BYTES = {0x8: 2, 0x9: 2, 0xA: 2, 0xB: 2, 0xC: 1, 0xD: 1, 0xE: 2}
_SYSTEM_DATA_BYTES = {0xF1: 1, 0xF2: 2, 0xF3: 1}
_SUSTAIN = 64  # The controller of the sustain pedal.
_NUM_PLAUSIBLE = 12  # Events in a row; about 2 in a billion random places read as so many.
_MAX_RESUMED_BEATS = 64
_MAX_BYTES_INTO_META = 3  # How far into a meta event whose length may be wrong its successor is looked for.
_EVENT_START = re.compile(
    rb"[\x80-\xff]{0,3}[\x00-\x7f]"  # A delta time and a status byte, with data where it needs some.
    rb"(?=[\x80-\xbf\xe0-\xef][\x00-\x7f]{2}|[\xc0-\xdf][\x00-\x7f]|\xff[\x00-\x7f]|[\xf0\xf7])"
)
_ENDED = ""
_CUT_EVENT = "a track ends inside an event"
_NO_END = "a track has no end-of-track event"
_LONG_DELTA = f"a delta time of more than {MAX_DELTA_BEATS:,} beats"


class _BrokenEventError(Exception):
    """An event cannot be understood."""


@dataclasses.dataclass
class Track:
    """What one chunk holds, in the chunk's order. A channel here is 16 * port + channel.

    Attributes:
      notes: onset, duration, channel, pitch, velocity and place in the chunk of each note.
      programs: tick, channel, program and place in the chunk of each program change.
      pedals: tick, channel and whether it is pressed, of each message of the sustain pedal.
      metas: tick, type and content of each meta event.
      open_notes: indices of the notes of a (channel, pitch) that have not ended, oldest first.
    """

    end_tick: int = 0  # Of the last event read.
    port: int = 0  # In force, times 16.
    notes: list[list[int]] = dataclasses.field(default_factory=list)
    programs: list[tuple[int, int, int, int]] = dataclasses.field(default_factory=list)
    pedals: list[tuple[int, int, bool]] = dataclasses.field(default_factory=list)
    metas: list[tuple[int, int, bytes]] = dataclasses.field(default_factory=list)
    open_notes: dict[tuple[int, int], collections.deque[int]] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def is_drums(self) -> bool:
        """Whether the track holds notes and all are percussion."""
        return bool(self.notes) and all(note[2] % 16 == 9 for note in self.notes)

    def add(self, status: int, first: int, second: int, repairs: Repairs) -> bool:
        """Adds a channel message at `end_tick`; what a Score has no place for is passed over. Returns False for the end
        of a note that had not begun."""
        kind, channel = status >> 4, status & 0x0F | self.port
        if kind == 0x9 and second > 0:
            self.open_notes.setdefault((channel, first), collections.deque()).append(len(self.notes))
            self.notes.append([self.end_tick, 0, channel, first, second, len(self.notes) + len(self.programs)])
        elif kind in (0x8, 0x9):
            return self._end_note(channel, first, repairs)
        elif kind == 0xC:
            self.programs.append((self.end_tick, channel, first, len(self.notes) + len(self.programs)))
        elif kind == 0xB and first == _SUSTAIN:
            self.pedals.append((self.end_tick, channel, second >= 64))
        return True

    def add_system(self, status: int, kind: int | None, content: bytes, repairs: Repairs) -> None:
        """Adds a meta event at `end_tick`; system-exclusive messages are passed over."""
        if kind == META_PORT and content:
            self.port = 16 * content[0]
        elif kind is not None:
            self.metas.append((self.end_tick, kind, content))
        elif status not in (0xF0, 0xF7):
            repairs[f"system message 0x{status:02X} skipped: it does not belong in a file"] += 1

    def _end_note(self, channel: int, pitch: int, repairs: Repairs) -> bool:
        """Ends the oldest open note of a pitch at `end_tick`; returns whether there is one."""
        waiting = self.open_notes.get((channel, pitch))
        if not waiting:
            return False
        note = self.notes[waiting.popleft()]
        if self.end_tick == note[0]:
            repairs["zero-length note: lengthened to one tick"] += 1
        note[1] = max(1, self.end_tick - note[0])
        return True

    def end_open_notes(self, repairs: Repairs) -> None:
        """Ends what still sounds at `end_tick`."""
        for waiting in self.open_notes.values():
            for n in waiting:
                repairs["hanging note: ended where its track ends"] += 1
                self.notes[n][1] = max(1, self.end_tick - self.notes[n][0])
                self.end_tick = max(self.end_tick, self.notes[n][0] + 1)


def read_tracks(data: bytes, position: int, ticks_per_beat: int, repairs: Repairs, *, in_turn: bool) -> list[Track]:
    """Reads the MTrk chunks from `position` on; `in_turn`: each starts where the one before it ended (format 2)."""
    tracks: list[Track] = []
    while position + 8 <= len(data):
        end = _chunk_end(data, position)
        if data[position : position + 4] == b"MTrk":
            tracks.append(Track(end_tick=tracks[-1].end_tick if tracks and in_turn else 0))
            position = _read_track(data, position + 8, end, tracks[-1], ticks_per_beat, repairs)
        elif _is_named(data, position) and _is_boundary(data, end):
            position = end
        else:
            following = data.find(b"MTrk", position + 4)
            if following < 0:
                break
            repairs["bytes between two chunks skipped"] += 1
            position = following
    if tracks and position < len(data):
        repairs[f"{len(data) - position} bytes after the last track skipped"] += 1
    return tracks


def _chunk_end(data: bytes, position: int) -> int:
    return position + 8 + int.from_bytes(data[position + 4 : position + 8], "big")


def _is_named(data: bytes, position: int) -> bool:
    return all(0x20 <= byte < 0x7F for byte in data[position : position + 4])


def _is_boundary(data: bytes, position: int) -> bool:
    """Whether the file ends here, or a chunk starts that fits into it."""
    if position >= len(data) or data[position : position + 4] == b"MTrk":
        return position <= len(data)
    return position + 8 <= len(data) and _is_named(data, position) and _chunk_end(data, position) <= len(data)


def _read_track(data: bytes, start: int, stated_end: int, track: Track, ticks_per_beat: int, repairs: Repairs) -> int:
    """Adds the events of a chunk to its track; returns the position after it."""
    limit = stated_end if _is_boundary(data, stated_end) else _next_track(data, start, len(data))
    end = min(stated_end, limit)
    max_delta = MAX_DELTA_BEATS * ticks_per_beat
    position, fault = _read_events(data, start, end, track, max_delta, repairs)
    limit = _next_track(data, position, limit)
    while fault != _LONG_DELTA and not (fault == _ENDED and track.notes):
        resumed = _find_events(data, position, limit, track, _MAX_RESUMED_BEATS * ticks_per_beat)
        if resumed is None:
            break
        if fault == _ENDED:
            repairs["events after an end-of-track event: read"] += 1
        elif end == limit or fault not in (_CUT_EVENT, _NO_END):  # Else the stated length alone is wrong.
            repairs[f"{fault}: skipped to the next event"] += 1
        end = limit
        position, fault = _read_events(data, resumed, end, track, max_delta, repairs)
    track.end_open_notes(repairs)
    if fault == _ENDED and limit != stated_end:
        if position != stated_end:
            repairs["a track's stated length is wrong: read up to its end-of-track event"] += 1
        return position
    if fault == _ENDED:
        if position < limit:
            repairs["bytes after a track's end skipped"] += 1
        return limit
    if stated_end > len(data):
        repairs["a track is cut short by the end of the file"] += 1
    consequence = {_NO_END: "", _LONG_DELTA: ": the track ends before it"}.get(fault, ": the rest of it is left out")
    repairs[fault + consequence] += 1
    return max(position, min(stated_end, limit))


def _next_track(data: bytes, position: int, limit: int) -> int:
    """Returns where the next MTrk chunk starts, at most `limit`."""
    following = data.find(b"MTrk", position, limit)
    return limit if following < 0 else following


def _read_events(
    data: bytes, position: int, end: int, track: Track, max_delta: int, repairs: Repairs
) -> tuple[int, str]:
    """Adds events to a track up to its end-of-track event or one that cannot be read.

    Returns the position after the first or before the second, and `_ENDED` or the fault.
    """
    status, is_interrupted, event = 0, False, position
    meta_start = position  # Of the content of the last meta event.
    try:
        while position < end:
            event = position
            delta = data[position]
            if delta < 0x80:  # As most are: a call takes longer than the rest of this loop's head.
                position += 1
            else:
                delta, position = _read_variable_length(data, position, end)
                if delta > max_delta:
                    return event, _LONG_DELTA
            if position >= end:
                return event, _CUT_EVENT
            byte = data[position]
            if byte >= 0xF0:
                kind, meta_start, position = _find_content(data, position, end)
                track.end_tick += delta
                is_interrupted = True
                if kind == META_END_OF_TRACK:
                    return position, _ENDED
                track.add_system(byte, kind, data[meta_start:position], repairs)
                continue
            if byte >= 0x80:
                status, position, is_interrupted = byte, position + 1, False
            elif not status:
                return event, "a track has data without a status byte"
            elif is_interrupted:
                if not _reads_on(data, event, end, status, track, max_delta, None):
                    return max(meta_start, event - _MAX_BYTES_INTO_META), "a meta event has a wrong length"
                repairs["running status kept across a meta or system message"] += 1
                is_interrupted = False
            size = _DATA_BYTES[status >> 4]
            if position + size > end:
                return event, _CUT_EVENT
            first, second = data[position], data[position + 1] if size == 2 else 0
            position += size
            track.end_tick += delta
            if first > 127 or second > 127:
                started = (status & 0x0F | track.port, first)
                if not _reads_on(data, position, end, status, track, max_delta, started):
                    track.end_tick -= delta
                    return event, "a track has a data byte above 127"
                if first > 127 and status < 0xA0:
                    repairs["note number above 127: dropped"] += 1
                    continue
                repairs["data byte above 127 read as 127"] += 1
                first, second = min(first, 127), min(second, 127)
            if not track.add(status, first, second, repairs):
                if byte < 0x80 and not _reads_on(data, event, end, status, track, max_delta, None):
                    track.end_tick -= delta
                    return event, "a track ends notes that had not begun"
                repairs["note off without a note: ignored"] += 1
    except _BrokenEventError as error:
        return event, str(error)
    return position, _NO_END


def _read_variable_length(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Reads a variable-length quantity of at most four bytes; returns it and the position after it."""
    value = 0
    for length in range(4):
        if position + length >= end:
            raise _BrokenEventError(_CUT_EVENT)
        byte = data[position + length]
        value = (value << 7) | (byte & 0x7F)
        if byte < 0x80:
            return value, position + length + 1
    raise _BrokenEventError("a track has a variable-length quantity of more than four bytes")


def _find_content(data: bytes, position: int, end: int) -> tuple[int | None, int, int]:
    """Returns the type of a meta event (None for other system messages) and where its content starts and ends."""
    status = data[position]
    position += 1
    kind = None
    if status == 0xFF:
        if position >= end:
            raise _BrokenEventError(_CUT_EVENT)
        kind = data[position]
        position += 1
    if status in (0xF0, 0xF7, 0xFF):
        size, position = _read_variable_length(data, position, end)
    else:
        size = _SYSTEM_DATA_BYTES.get(status, 0)
    if position + size > end:
        raise _BrokenEventError(_CUT_EVENT)
    return kind, position, position + size


def _find_events(data: bytes, position: int, end: int, track: Track, max_delta: int) -> int | None:
    """Returns the first position from which bytes read as music, the first event with a status byte.

    That is twelve events, or fewer up to the end-of-track event and without a note that hangs over it; or a whole note
    on a channel that the track has used, whatever follows.
    """
    while (match := _EVENT_START.search(data, position, end)) is not None:
        position = match.start()
        outlook = _look_ahead(data, position, end, 0, track, max_delta)
        if (outlook.outcome == _ENDED and not outlook.sounding) or outlook.outcome == _NO_END:
            if outlook.is_musical:
                return position
        elif outlook.known_notes and not outlook.num_unmatched:
            return position
        position += 1
    return None


@dataclasses.dataclass
class _Outlook:
    """What the next events would be, read but not added to the track.

    Attributes:
      outcome: `_NO_END` if all can be read, `_ENDED` if an end-of-track event is among them, else the fault.
      sounding: (channel, pitch) of the notes that would go on.
      known_notes: number of notes that start and end, on channels that the track has used before.
      num_unmatched: number of ends of notes that had not begun.
    """

    outcome: str = _NO_END
    sounding: set[tuple[int, int]] = dataclasses.field(default_factory=set)
    num_events: int = 0  # Of notes.
    known_notes: int = 0
    num_unmatched: int = 0

    @property
    def is_musical(self) -> bool:
        """Whether fewer than half of the note events are ends of notes that had not begun."""
        return 2 * self.num_unmatched < max(1, self.num_events)

    def add(self, status: int, pitch: int, velocity: int, track: Track) -> None:
        """Adds a note on or off."""
        key = (status & 0x0F | track.port, pitch)
        self.num_events += 1
        if status >= 0x90 and velocity:
            self.sounding.add(key)
        elif key in self.sounding:
            self.sounding.remove(key)
            self.known_notes += any(note[2] == key[0] for note in track.notes[-_NUM_PLAUSIBLE:])
        else:
            self.num_unmatched += not track.open_notes.get(key)


def _reads_on(
    data: bytes, position: int, end: int, status: int, track: Track, max_delta: int, started: tuple[int, int] | None
) -> bool:
    """Whether the next events can be read, as far as there are any, and are music; `started`: a note before them."""
    outlook = _look_ahead(data, position, end, status, track, max_delta, started)
    return outlook.outcome in (_NO_END, _ENDED, _CUT_EVENT) and outlook.is_musical


def _look_ahead(
    data: bytes,
    position: int,
    end: int,
    status: int,
    track: Track,
    max_delta: int,
    started: tuple[int, int] | None = None,
) -> _Outlook:
    """Reads up to `_NUM_PLAUSIBLE` events."""
    outlook = _Outlook(sounding=set() if started is None else {started})
    try:
        for _ in range(_NUM_PLAUSIBLE):
            delta, position = _read_variable_length(data, position, end)
            if delta > max_delta:
                raise _BrokenEventError(_LONG_DELTA)
            if position >= end:
                raise _BrokenEventError(_CUT_EVENT)
            if data[position] >= 0xF0:
                kind, _, position = _find_content(data, position, end)
                if kind == META_END_OF_TRACK:
                    outlook.outcome = _ENDED
                    break
                continue
            if data[position] >= 0x80:
                status, position = data[position], position + 1
            size = _DATA_BYTES[status >> 4] if status else 0
            if position + size > end:
                raise _BrokenEventError(_CUT_EVENT)
            content = data[position : position + size]
            position += size
            if max(content, default=128) > 127:
                raise _BrokenEventError("no event")
            if status < 0xA0:
                outlook.add(status, content[0], content[1], track)
    except _BrokenEventError as error:
        outlook.outcome = str(error)
    return outlook
