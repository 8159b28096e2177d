"""Reads the tracks of a MIDI file, also of a damaged one, in time linear in its bytes whatever they are.

What is done with malformed input is in the table of `midi.py`. Two rules decide what is music:

  A track ends where its length says if a chunk or the end of the file follows there. Otherwise it ends at its
  end-of-track event, at the latest before the next `MTrk`.

  After an event that cannot be read, or past a wrong length, reading goes on at the next place that reads as music
  (`midi_lookahead.py`). Random bytes and text do not.
"""

from vae_jax.music.midi_events import (
    CUT_EVENT,
    DATA_BYTES,
    META_END_OF_TRACK,
    BrokenEventError,
    Repairs,
    Track,
    find_content,
    read_variable_length,
)
from vae_jax.music.midi_lookahead import find_events, is_shifted, reads_on

MAX_DELTA_BEATS = 10_000  # A longer delta time is damage: 83 minutes at 120 beats per minute.
_MAX_RESUMED_BEATS = 64
_MAX_DOUBTS = 20  # Looks ahead for notes that start twice, at most.
_MAX_BYTES_INTO_META = 3  # How far into a meta event whose length may be wrong its successor is looked for.
_ENDED = ""
_NO_END = "a track has no end-of-track event"
_LONG_DELTA = f"a delta time of more than {MAX_DELTA_BEATS:,} beats"


def read_tracks(data: bytes, position: int, ticks_per_beat: int, repairs: Repairs, *, in_turn: bool) -> list[Track]:
    """Reads the MTrk chunks from `position` on; `in_turn`: each starts where the one before it ended (format 2)."""
    tracks: list[Track] = []
    while position + 8 <= len(data):
        end = _chunk_end(data, position)
        if data[position : position + 4] == b"MTrk":
            first_tick = tracks[-1].end_tick if tracks and in_turn else 0
            track = _read_sound_track(data, position + 8, end, Track(Repairs(), first_tick), ticks_per_beat)
            if track is not None:
                repairs.update(track.repairs)
                position = end
            else:
                track = Track(repairs, first_tick)
                position = _read_damaged_track(data, position + 8, end, track, ticks_per_beat)
            tracks.append(track)
        elif _is_named(data, position) and _is_boundary(data, end):
            position = end
        else:
            following = data.find(b"MTrk", position + 4)
            if following < 0:
                break
            repairs["bytes between two chunks skipped"] += 1
            position = following
    if tracks and position < len(data):
        repairs[f"bytes skipped after the last track: {len(data) - position}"] += 1
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


def _read_sound_track(data: bytes, start: int, end: int, track: Track, ticks_per_beat: int) -> Track | None:
    """Adds the events of a chunk to its track and returns it if all can be read and the last one is its end-of-track
    event; else None. Notes that overlap, or ends without a note, are no damage then."""
    if not _is_boundary(data, end):
        return None
    read = _read_events(data, start, end, track, MAX_DELTA_BEATS * ticks_per_beat, True)
    if read != (end, _ENDED):
        return None
    track.end_open_notes()
    return track


def _read_damaged_track(data: bytes, start: int, stated_end: int, track: Track, ticks_per_beat: int) -> int:
    """Adds the events of a chunk to its track; returns the position after it."""
    limit = stated_end if _is_boundary(data, stated_end) else _next_track(data, start, len(data))
    end = min(stated_end, limit)
    max_delta = MAX_DELTA_BEATS * ticks_per_beat
    position, fault = _read_events(data, start, end, track, max_delta, False)
    limit = _next_track(data, position, limit)
    is_damaged = False
    while fault != _LONG_DELTA and not (fault == _ENDED and track.notes):
        found = find_events(data, position, limit, track, _MAX_RESUMED_BEATS * ticks_per_beat)
        if found is None:
            break
        if fault == _ENDED:
            track.repairs["events after an end-of-track event: read"] += 1
        elif end == limit or fault not in (CUT_EVENT, _NO_END):  # Else the stated length alone is wrong.
            track.repairs[f"{fault}: skipped to the next event"] += 1
        end = limit
        is_damaged = True
        position, track.status = found
        position, fault = _read_events(data, position, end, track, max_delta, False)
    if is_damaged:
        track.pair_again()
    track.end_open_notes()
    if fault == _ENDED and limit != stated_end:
        if position != stated_end:
            track.repairs["a track's stated length is wrong: read up to its end-of-track event"] += 1
        return position
    if fault == _ENDED:
        if position < limit:
            track.repairs["bytes after a track's end skipped"] += 1
        return limit
    if stated_end > len(data):
        track.repairs["a track is cut short by the end of the file"] += 1
    consequence = {_NO_END: "", _LONG_DELTA: ": the track ends before it"}.get(fault, ": the rest of it is left out")
    track.repairs[fault + consequence] += 1
    return max(position, min(stated_end, limit))


def _next_track(data: bytes, position: int, limit: int) -> int:
    """Returns where the next MTrk chunk starts, at most `limit`."""
    following = data.find(b"MTrk", position, limit)
    return limit if following < 0 else following


def _read_events(data: bytes, position: int, end: int, track: Track, max_delta: int, sound: bool) -> tuple[int, str]:
    """Adds events to a track up to its end-of-track event or one that cannot be read or, unless the track is sound,
    hardly reads as music. Returns the position after the first or before the second, and `_ENDED` or the fault."""
    status, is_interrupted, num_doubts, event, meta_start = track.status, False, 0, position, position
    try:
        while position < end:
            event = position
            delta = data[position]
            if delta < 0x80:  # As most are: a call takes longer than the rest of this loop's head.
                position += 1
            else:
                delta, position = read_variable_length(data, position, end)
                if delta > max_delta:
                    return event, _LONG_DELTA
            if position == end:
                return event, CUT_EVENT
            byte = data[position]
            if byte >= 0xF0:
                kind, meta_start, position = find_content(data, position, end)
                track.end_tick += delta
                is_interrupted = True
                if kind == META_END_OF_TRACK:
                    return position, _ENDED
                track.add_system(byte, kind, data[meta_start:position])
                continue
            if byte >= 0x80:
                track.status = status = byte
                position, is_interrupted = position + 1, False
            elif not status:
                return event, "a track has data without a status byte"
            elif is_interrupted:
                if not reads_on(data, event, end, status, track, max_delta):
                    return max(meta_start, event - _MAX_BYTES_INTO_META), "a meta event has a wrong length"
                track.repairs["running status kept across a meta or system message"] += 1
                is_interrupted = False
            size = DATA_BYTES[status >> 4]
            if position + size > end:
                return event, CUT_EVENT
            first, second = data[position], data[position + 1] if size == 2 else 0
            position += size
            track.end_tick += delta
            if first > 127 or second > 127:
                note = (status & 0x0F | track.port, first)
                if not reads_on(data, position, end, status, track, max_delta, note):
                    track.end_tick -= delta
                    return event, "a track has a data byte above 127"
                track.add_clipped(status, first, second)
            elif not track.add(status, first, second) and byte < 0x80 and not sound:
                is_start = status >= 0x90 and second > 0
                num_doubts += is_start
                if not is_start and not reads_on(data, event, end, status, track, max_delta):
                    track.end_tick -= delta
                    return event, "a track ends notes that had not begun"
                if is_start and num_doubts < _MAX_DOUBTS and is_shifted(data, position, end, track, max_delta):
                    return position, "a track starts notes that sound already"
        return position, _NO_END
    except BrokenEventError as error:
        return event, str(error)
