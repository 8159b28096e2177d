"""MIDI bytes to Score and back.

mido decodes the meta messages and writes the files. The chunks and events are read here, in place of mido's own
`read_track`: that one raises on a quarter of real files, loses the delta time of unknown meta events and the tracks
beyond the header's count, and puts no bound on a variable-length quantity. No other module imports mido.

How unusual and malformed input is read (repairs are named warnings):

  velocity-0 note on          a note off
  unmatched note off          ignored
  hanging note                ends where its track ends
  overlapping same pitch      the first to start is the first to end, within one track and channel (no warning)
  zero-length note            lengthened to one tick
  running status              kept across meta and system messages, which the standard forbids and files do
  unknown meta event, chunk   skipped; its delta time counts (no warning)
  unreadable meta event       skipped; its delta time counts
  broken event, chunk end     the track ends there; what came before is kept
  tracks beyond the header    read as well
  SMPTE division              one beat is one second; tempo events do not apply and are dropped
  format 2                    its patterns are played one after the other
"""

import collections
import dataclasses
import io
import os
import pathlib

import mido
import numpy as np
from mido.midifiles.meta import build_meta_message

from vae_jax.music import midi_reader, theory
from vae_jax.music import score as score_lib
from vae_jax.music.midi_reader import Repairs, Track
from vae_jax.music.score import KeySignature, Meter, Notes, Score, Tempo

MAX_FILE_BYTES = 16 * 2**20
MAX_BEATS = 100_000  # About fourteen hours at 120 beats per minute; a longer piece is a broken delta time.
_MAX_VARIABLE_LENGTH = 0x0FFFFFFF
_MAX_HEADER_OFFSET = 1024

_META_TRACK_NAME, _META_TEMPO, _META_METER, _META_KEY = 0x03, 0x51, 0x58, 0x59
_KEY_NAMES = {  # As mido spells them, such as "Ebm".
    (fifths, minor): theory.tonic_name(fifths, minor) + "m" * minor
    for minor in (False, True)
    for fifths in range(-7, 8)
}
_KEYS = {name: key for key, name in _KEY_NAMES.items()}
_TimedMessage = tuple[int, int, mido.Message | mido.MetaMessage]  # Tick, rank among messages of a tick, message.


class MidiError(ValueError):
    """A file that cannot be read as MIDI; the message is the reason, in one line."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """A score and the repairs made in reading it, each a line of text."""

    score: Score
    warnings: tuple[str, ...]


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
    tracks: list[Track] = []
    for chunk_start, chunk_end in _track_chunks(data, start, repairs):
        start_tick = tracks[-1].end_tick if tracks and midi_format == 2 else 0
        tracks.append(midi_reader.read_track(data, chunk_start, chunk_end, repairs, start_tick))
    _check_tracks(tracks, midi_format, num_tracks, ticks_per_beat, repairs)
    changes = _read_changes(tracks, repairs)
    if smpte_tempo:
        changes["tempos"] = [Tempo(0, smpte_tempo)]
    score = score_lib.make_score(
        ticks_per_beat, _collect_notes(tracks), track_names=[track.name for track in tracks], **changes
    )
    return Reading(score, tuple(text if n == 1 else f"{text} ({n} times)" for text, n in repairs.items()))


def write_midi(score: Score) -> bytes:
    """Writes a score as a format 1 file: a chunk a track, with names, programs, tempo, meter and key.

    Reading the bytes again gives an equal score without a warning.
    """
    tracks: list[list[_TimedMessage]] = [[] for _ in range(score.num_tracks)]
    for track, name in enumerate(score.track_names):
        if name:
            text = name.encode("utf-8").decode("latin1")  # mido encodes texts as latin1: the file holds UTF-8.
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
    file.tracks.extend(map(_with_delta_times, tracks))
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
    """Adds the messages of notes and program changes; at a tick, ends come before starts."""
    programs: dict[int, int] = {}
    columns = [getattr(notes, name).tolist() for name in score_lib.NOTE_COLUMNS]
    for onset, duration, track, channel, pitch, velocity, program in zip(*columns, strict=True):
        if programs.get(channel) != program:
            programs[channel] = program
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
        repairs[f"{offset} bytes before the header skipped"] += 1
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


def _track_chunks(data: bytes, start: int, repairs: Repairs) -> list[tuple[int, int]]:
    """Returns the bounds of every MTrk chunk's content."""
    chunks = []
    while start + 8 <= len(data):
        name, size = data[start : start + 4], int.from_bytes(data[start + 4 : start + 8], "big")
        end = start + 8 + size
        if name == b"MTrk":
            if end > len(data):
                repairs["a track is cut short by the end of the file"] += 1
            chunks.append((start + 8, min(end, len(data))))
        elif not name.isascii() or not name.decode("ascii").isprintable():
            following = data.find(b"MTrk", start)
            repairs["bytes between two chunks skipped"] += 1
            if following < 0:
                break
            end = following
        start = end
    return chunks


def _check_tracks(
    tracks: list[Track], midi_format: int, num_tracks: int, ticks_per_beat: int, repairs: Repairs
) -> None:
    """Compares the tracks with the header; raises MidiError where they hold no piece."""
    if not tracks:
        raise MidiError("the file has a MIDI header but no track")
    if num_tracks != len(tracks):
        repairs[f"the header counts {num_tracks} tracks, the file holds {len(tracks)}"] += 1
    if midi_format == 2 and len(tracks) > 1:
        repairs["format 2: its patterns are played one after the other"] += 1
    end_tick = max(track.end_tick for track in tracks)
    if end_tick > MAX_BEATS * ticks_per_beat:
        raise MidiError(f"the piece lasts {end_tick // ticks_per_beat} beats, more than the limit of {MAX_BEATS}")


def _read_changes(tracks: list[Track], repairs: Repairs) -> dict[str, list]:
    """Decodes the meta events that a Score keeps and sets the tracks' names."""
    changes: dict[str, list] = {"tempos": [], "meters": [], "keys": []}
    for track in tracks:
        for tick, kind, content in track.metas:
            if kind not in (_META_TRACK_NAME, _META_TEMPO, _META_METER, _META_KEY):
                continue
            try:
                message = build_meta_message(kind, content)
                if kind == _META_TRACK_NAME:
                    track.name = track.name or _decode_text(content)
                elif kind == _META_TEMPO:
                    changes["tempos"].append(Tempo(tick, message.tempo))
                elif kind == _META_METER:
                    changes["meters"].append(Meter(tick, message.numerator, message.denominator))
                else:
                    changes["keys"].append(KeySignature(tick, *_KEYS[message.key]))
            except Exception as error:  # mido raises IndexError, KeyError, ValueError and types of its own here.
                repairs[f"unreadable meta event 0x{kind:02x} skipped ({type(error).__name__})"] += 1
    return changes


def _decode_text(content: bytes) -> str:
    """Decodes a name: UTF-8 where it is that, else Latin-1, which takes any byte; padding is taken off."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin1")
    return text.strip("\0 \t\r\n")


def _collect_notes(tracks: list[Track]) -> Notes:
    """Joins the tracks' notes and gives each the program that its channel has when it starts."""
    notes = np.array([(*note, n) for n, track in enumerate(tracks) for note in track.notes], dtype=np.int64)
    changes = np.array([(*change, n) for n, track in enumerate(tracks) for change in track.programs], dtype=np.int64)
    notes, changes = notes.reshape(-1, 7), changes.reshape(-1, 5)
    # Channel, tick, track and place of each change and note, sorted: a note has the program of the change before it.
    events = np.concatenate([changes[:, [1, 0, 4, 3]], notes[:, [2, 0, 6, 5]]])
    order = np.lexsort(events.T[::-1])
    latest = order[np.maximum.accumulate(np.where(order < len(changes), np.arange(len(order)), 0))]
    has_change = (latest < len(changes)) & (events[latest, 0] == events[order, 0])
    program = np.zeros(len(events), dtype=np.int64)
    program[order[has_change]] = changes[latest[has_change], 2]
    program = program[len(changes) :]
    onset, duration, channel, pitch, velocity, _, track = notes.T
    return score_lib.make_notes(
        onset, duration, pitch, track=track, channel=channel, velocity=velocity, program=program
    )


def _with_delta_times(messages: list[_TimedMessage]) -> mido.MidiTrack:
    """Orders messages and turns ticks into delta times that fit a file."""
    track = mido.MidiTrack()
    previous = 0
    for tick, _, message in sorted(messages, key=lambda item: item[:2]):
        delta = tick - previous
        while delta > _MAX_VARIABLE_LENGTH:
            track.append(mido.MetaMessage("text", text="", time=_MAX_VARIABLE_LENGTH))
            delta -= _MAX_VARIABLE_LENGTH
        message.time = delta
        track.append(message)
        previous = tick
    return track
