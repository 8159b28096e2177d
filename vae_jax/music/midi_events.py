"""The events of one track of a MIDI file: their sizes, and what is kept of them."""

import bisect
import collections
import dataclasses
import functools

from vae_jax.music.score import DRUM_CHANNEL

Repairs = collections.Counter[str]  # How often each repair was made.
DATA_BYTES = {0x8: 2, 0x9: 2, 0xA: 2, 0xB: 2, 0xC: 1, 0xD: 1, 0xE: 2}  # Of channel messages.
META_PORT, META_END_OF_TRACK = 0x21, 0x2F
CUT_EVENT = "a track ends inside an event"
_SYSTEM_DATA_BYTES = {0xF1: 1, 0xF2: 2, 0xF3: 1}
_SUSTAIN = 64  # The controller of the sustain pedal.


class BrokenEventError(Exception):
    """An event cannot be understood."""


@dataclasses.dataclass
class Track:
    """What one chunk holds, in the chunk's order. A channel here is 16 * port + channel.

    Attributes:
      notes: onset, duration, channel, pitch, velocity and place in the chunk of each note.
      programs: tick, channel, program and place in the chunk of each program change.
      pedals: tick, channel and whether it is pressed, of each message of the sustain pedal.
      metas: tick, type and content of each meta event.
      open_notes: the notes of a (channel, pitch) that have not ended, oldest first.
    """

    repairs: Repairs  # What was mended.
    end_tick: int = 0  # Of the last event read.
    port: int = 0  # In force, times 16.
    status: int = 0  # The running status; 0 before the first.
    num_looks: int = 0  # How often the reader has looked ahead.
    notes: list[list[int]] = dataclasses.field(default_factory=list)
    programs: list[tuple[int, int, int, int]] = dataclasses.field(default_factory=list)
    pedals: list[tuple[int, int, bool]] = dataclasses.field(default_factory=list)
    metas: list[tuple[int, int, bytes]] = dataclasses.field(default_factory=list)
    open_notes: dict[tuple[int, int], collections.deque[list[int]]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(collections.deque)
    )

    @functools.cached_property
    def is_drums(self) -> bool:
        """Whether the track holds notes and all are percussion."""
        return bool(self.notes) and all(note[2] % 16 == DRUM_CHANNEL for note in self.notes)

    def add(self, status: int, first: int, second: int) -> bool:
        """Adds a channel message at `end_tick`; what a Score has no place for is passed over. Returns False for the end
        of a note that had not begun, and for the start of one that sounds already."""
        kind, channel = status >> 4, status & 0x0F | self.port
        if kind <= 0x9:
            waiting = self.open_notes[channel, first]
            if kind == 0x9 and second:
                note = [self.end_tick, 0, channel, first, second, len(self.notes) + len(self.programs)]
                self.notes.append(note)
                waiting.append(note)
                return len(waiting) == 1
            if not waiting:
                self.repairs["note off without a note: ignored"] += 1
                return False
            note = waiting.popleft()
            note[1] = self.end_tick - note[0]
            if not note[1]:
                self.repairs["zero-length note: lengthened to one tick"] += 1
                note[1] = 1
        elif kind == 0xC:
            self.programs.append((self.end_tick, channel, first, len(self.notes) + len(self.programs)))
        elif kind == 0xB and first == _SUSTAIN:
            self.pedals.append((self.end_tick, channel, second >= 64))
        return True

    def add_clipped(self, status: int, first: int, second: int) -> None:
        """Adds a channel message with a data byte above 127."""
        if first > 127 and status < 0xA0:
            self.repairs["note number above 127: dropped"] += 1
            return
        self.repairs["data byte above 127 read as 127"] += 1
        self.add(status, min(first, 127), min(second, 127))

    def add_system(self, status: int, kind: int | None, content: bytes) -> None:
        """Adds a meta event at `end_tick`; system-exclusive messages are passed over."""
        if kind == META_PORT and content:
            self.port = 16 * content[0]
        elif kind is not None:
            self.metas.append((self.end_tick, kind, content))
        elif status not in (0xF0, 0xF7):
            self.repairs[f"system message 0x{status:02X} skipped: it does not belong in a file"] += 1

    def end_open_notes(self) -> None:
        """Ends what still sounds at `end_tick`."""
        for waiting in self.open_notes.values():
            for note in waiting:
                self.repairs["hanging note: ended where its track ends"] += 1
                note[1] = max(1, self.end_tick - note[0])
                self.end_tick = max(self.end_tick, note[0] + 1)

    def pair_again(self) -> None:
        """Pairs the notes of the pitches of which one still sounds by another rule, because an end was lost: a note
        ends with the first end after its start, at the latest where the next note of its pitch starts."""
        by_key: dict[tuple[int, int], list[list[int]]] = {
            key: [] for key, waiting in self.open_notes.items() if waiting
        }
        for note in self.notes:
            if (key := (note[2], note[3])) in by_key:
                by_key[key].append(note)
        for key, notes in by_key.items():
            ends = sorted(onset + duration for onset, duration, *_ in notes if duration)
            for note, following in zip(notes, [*(later[0] for later in notes[1:]), None], strict=True):
                place = bisect.bisect_right(ends, note[0])
                candidates = ends[place : place + 1] + ([] if following is None else [following])
                note[1] = max(1, min(candidates) - note[0]) if candidates else 0
            self.open_notes[key] = collections.deque([] if notes[-1][1] else notes[-1:])


def read_variable_length(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Reads a variable-length quantity of at most four bytes; returns it and the position after it."""
    value, limit = 0, position + 4
    while position < limit and position < end:
        byte = data[position]
        position += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, position
    raise BrokenEventError(
        CUT_EVENT if position < limit else "a track has a variable-length quantity of more than four bytes"
    )


def find_content(data: bytes, position: int, end: int) -> tuple[int | None, int, int]:
    """Returns the type of a meta event (None for other system messages) and where its content starts and ends."""
    status = data[position]
    position += 1
    kind = None
    if status == 0xFF:
        if position >= end:
            raise BrokenEventError(CUT_EVENT)
        kind = data[position]
        position += 1
    if status in (0xF0, 0xF7, 0xFF):
        size, position = read_variable_length(data, position, end)
    else:
        size = _SYSTEM_DATA_BYTES.get(status, 0)
    if position + size > end:
        raise BrokenEventError(CUT_EVENT)
    return kind, position, position + size
