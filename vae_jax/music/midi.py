"""MIDI bytes to Score and back.

mido writes the files. Reading is done here (`midi_reader.py`, `midi_content.py`), in place of mido's own `read_track`:
that one raises on a quarter of real files, loses the delta time of unknown meta events and the tracks beyond the
header's count, and puts no bound on a variable-length quantity. No other module imports mido.

How unusual and malformed input is read (repairs are named warnings); docs/input.md says it for users:

  velocity-0 note on          a note off
  unmatched note off          ignored
  hanging note                ends where its track ends
  overlapping same pitch      the first to start is the first to end, within one track and channel (no warning)
  zero-length note            lengthened to one tick
  note number above 127       dropped; other data above 127 is read as 127
  running status              kept across meta and system messages, which the standard forbids and files do
  unknown meta event, chunk   skipped; its delta time counts (no warning)
  unreadable tempo, meter     ignored
  key without a mode          major
  keys at one tick            a key of a track of percussion alone counts less than any other (no warning)
  wrong length of a chunk     read up to the end-of-track event, or to the next MTrk
  broken event                left out, with what follows up to the next place that reads as twelve events
  end of track before notes   read on
  delta of over 10,000 beats  the track ends before it
  ports                       programs belong to a port and channel (no warning)
  tracks beyond the header    read as well
  SMPTE division              one beat is one second; tempo events do not apply and are dropped
  format 2                    its patterns are played one after the other
  sustain pedal               ignored; named where it prolongs half of the notes or more
"""

import collections
import dataclasses
import io
import os
import pathlib

import mido

from vae_jax.music import midi_content, midi_reader, theory
from vae_jax.music import score as score_lib
from vae_jax.music.midi_events import Repairs
from vae_jax.music.score import Notes, Score, Tempo

MAX_FILE_BYTES = 16 * 2**20
MAX_BEATS = 100_000  # About fourteen hours at 120 beats per minute; notes after them are left out.
_MAX_VARIABLE_LENGTH = 0x0FFFFFFF
_MAX_HEADER_OFFSET = 1024
_KEY_NAMES = {  # As mido spells them, such as "Ebm".
    (fifths, minor): theory.tonic_name(fifths, minor) + "m" * minor
    for minor in (False, True)
    for fifths in range(-7, 8)
}
_TimedMessage = tuple[int, int, mido.Message | mido.MetaMessage]  # Tick, rank among messages of a tick, message.


class MidiError(ValueError):
    """A file that cannot be read as MIDI; the message is the reason, in one line."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """A score, the repairs made in reading it, and what was left out of a sound file, each a line of text."""

    score: Score
    warnings: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def read_midi(data: bytes) -> Reading:
    """Reads the bytes of a Standard MIDI File (.mid), also in an RMID wrapper (.rmi). Raises MidiError where nothing
    can be read."""
    if not data:
        raise MidiError("the file is empty")
    if len(data) > MAX_FILE_BYTES:
        raise MidiError(f"the file has {len(data)} bytes, more than the limit of {MAX_FILE_BYTES}")
    repairs: Repairs = collections.Counter()
    data = _unwrap(data, repairs)
    midi_format, num_tracks, division, start = _read_header(data, repairs)
    ticks_per_beat, smpte_tempo = _ticks_per_beat(division, repairs)
    tracks = midi_reader.read_tracks(data, start, ticks_per_beat, repairs, in_turn=midi_format == 2)
    if not tracks:
        raise MidiError("the file has a MIDI header but no track")
    if num_tracks != len(tracks):
        repairs[f"number of tracks: {num_tracks} in the header, {len(tracks)} in the file"] += 1
    if midi_format == 0 and len(tracks) > 1:
        repairs[f"format 0 with {len(tracks)} tracks: read as format 1"] += 1
    if midi_format == 2 and len(tracks) > 1:
        repairs["format 2: its patterns are played one after the other"] += 1
    changes = midi_content.read_changes(tracks, repairs)
    if smpte_tempo:
        changes["tempos"] = [Tempo(0, smpte_tempo)]
    notes = midi_content.collect_notes(tracks, MAX_BEATS * ticks_per_beat, repairs)
    midi_content.check_pedal(tracks, repairs)
    names = [midi_content.read_name(track) for track in tracks]
    score = score_lib.make_score(ticks_per_beat, notes, track_names=names, **changes)
    return Reading(score, tuple(text if n == 1 else f"{text} ({n} times)" for text, n in repairs.items()))


def write_midi(score: Score) -> bytes:
    """Writes a score as a format 1 file: a chunk a track, with names, programs, tempo, meter and key.

    Reading the bytes again gives an equal score without a warning, where it lasts at most `MAX_BEATS` beats.
    """
    tracks: list[list[_TimedMessage]] = [[] for _ in range(score.num_tracks)]
    for track, name in enumerate(score.track_names):
        if name:
            text = midi_content.encode_name(name).decode("latin1")  # mido encodes texts as latin1.
            tracks[track].append((0, 0, mido.MetaMessage("track_name", name=text)))
    for tempo in score.tempos:
        tracks[0].append((tempo.tick, 0, mido.MetaMessage("set_tempo", tempo=tempo.microseconds_per_beat)))
    for meter in score.meters:
        fraction = {"numerator": meter.numerator, "denominator": meter.denominator}
        tracks[0].append((meter.tick, 0, mido.MetaMessage("time_signature", **fraction)))
    for key in score.keys:
        tracks[0].append((key.tick, 0, mido.MetaMessage("key_signature", key=_KEY_NAMES[key.fifths, key.minor])))
    _add_notes(tracks, score.notes)
    file = mido.MidiFile(type=1, ticks_per_beat=score.ticks_per_beat)
    max_delta = min(midi_reader.MAX_DELTA_BEATS * score.ticks_per_beat, _MAX_VARIABLE_LENGTH)
    file.tracks.extend(_with_delta_times(track, max_delta) for track in tracks)
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def load(path: str | os.PathLike[str]) -> Score:
    """Reads a MIDI file.

    Raises:
      OSError: where it cannot be read.
      MidiError: where it holds no MIDI.
    """
    return read_midi(pathlib.Path(path).read_bytes()).score


def save(score: Score, path: str | os.PathLike[str]) -> None:
    """Writes a score as a MIDI file."""
    pathlib.Path(path).write_bytes(write_midi(score))


def _add_notes(tracks: list[list[_TimedMessage]], notes: Notes) -> None:
    """Adds the messages of notes and program changes; at a tick, ends come before starts.

    A program is written where its channel has another one, and where its track has not: some readers look for it in the
    whole file in order of time, others in each track by itself.
    """
    programs: dict[int | tuple[int, int], int] = {}  # The latest of each channel, and of each track and channel.
    columns = [getattr(notes, name).tolist() for name in score_lib.NOTE_COLUMNS]
    for onset, duration, track, channel, pitch, velocity, program in zip(*columns, strict=True):
        if programs.get(channel) != program or programs.get((track, channel)) != program:
            programs[channel] = programs[track, channel] = program
            tracks[track].append((onset, 2, mido.Message("program_change", channel=channel, program=program)))
        note = {"channel": channel, "note": pitch, "skip_checks": True}  # A score's notes are in range.
        tracks[track].append((onset, 2, mido.Message("note_on", velocity=velocity, **note)))
        tracks[track].append((onset + duration, 1, mido.Message("note_off", velocity=0, **note)))


def _unwrap(data: bytes, repairs: Repairs) -> bytes:
    """Returns the bytes from the MThd chunk on."""
    if data[:4] == b"RIFF" and data[8:12] == b"RMID":
        position = 12
        while position + 8 <= len(data):
            size = int.from_bytes(data[position + 4 : position + 8], "little")
            if data[position : position + 4] == b"data":
                data = data[position + 8 : position + 8 + size]
                break
            position += 8 + size + size % 2
    offset = data.find(b"MThd", 0, _MAX_HEADER_OFFSET + 4)
    if offset < 0:
        raise MidiError("not a MIDI file (no MThd header)")
    if offset > 0:
        repairs[f"bytes skipped before the header: {offset}"] += 1
    return data[offset:]


def _read_header(data: bytes, repairs: Repairs) -> tuple[int, int, int, int]:
    """Returns format, track count, division and where the first chunk after the header starts."""
    size = int.from_bytes(data[4:8], "big")
    if len(data) < 14 or size < 6:
        raise MidiError("the MIDI header is cut short")
    midi_format, num_tracks, division = (int.from_bytes(data[n : n + 2], "big") for n in (8, 10, 12))
    if midi_format > 2:
        repairs[f"format {midi_format} does not exist: read as format 1"] += 1
    return midi_format, num_tracks, division, 8 + size


def _ticks_per_beat(division: int, repairs: Repairs) -> tuple[int, int | None]:
    """Returns ticks per beat and, for an SMPTE division, the one tempo that keeps its seconds."""
    if division == 0:
        raise MidiError("the header gives zero ticks per beat")
    if division < 0x8000:
        return division, None
    frames_per_second, ticks_per_frame = 256 - (division >> 8), division & 0xFF
    if frames_per_second not in (24, 25, 29, 30) or ticks_per_frame == 0:
        raise MidiError(
            f"the header gives an SMPTE division of {frames_per_second} x {ticks_per_frame}, which does not exist"
        )
    repairs["SMPTE division: one beat is one second, tempo events do not apply"] += 1
    if frames_per_second == 29:  # 30 drop-frame: 30 frames in 1.001 seconds.
        return 30 * ticks_per_frame, 1_001_000
    return frames_per_second * ticks_per_frame, 1_000_000


def _with_delta_times(messages: list[_TimedMessage], max_delta: int) -> mido.MidiTrack:
    """Orders messages and turns ticks into delta times; empty texts divide those that pass the limit of readers."""
    track = mido.MidiTrack()
    previous = 0
    for tick, _, message in sorted(messages, key=lambda item: item[:2]):
        delta = tick - previous
        while delta > max_delta:
            track.append(mido.MetaMessage("text", text="", time=max_delta))
            delta -= max_delta
        message.time = delta
        track.append(message)
        previous = tick
    return track
