"""MIDI bytes to Score and back. The only room that imports mido.

mido decodes the meta messages and writes the files. The walk over a file's bytes is ours, at the seam of mido's own
`read_track`: that one ends in bare exceptions on a quarter of real files, loses the delta time of unknown meta events
and the tracks beyond the header's count, and puts no bound on a variable-length quantity.

What each doubtful thing means (each repair is a named warning):

  velocity-0 note on          a note off
  unmatched note off          ignored (warning)
  hanging note                ends where its track ends (warning)
  overlapping same pitch      the first to start is the first to end, within one track and channel
  zero-length note            lengthened to one tick (warning)
  running status              kept across meta and system messages, which the standard forbids and files do (warning)
  data byte above 127         read as 127 (warning)
  tracks beyond the header    read as well; a count that is wrong either way is a warning
  unknown meta event          skipped; its delta time counts
  unreadable meta event       skipped; its delta time counts (warning)
  unknown chunk               skipped, as the standard says
  broken event, chunk end     the track ends there; what came before is kept (warning)
  no end-of-track event       accepted (warning)
  SMPTE division              one beat is one second; tempo events do not apply and are dropped (warning)
  format 0, 1                 one track; tracks that sound together
  format 2                    its patterns are played one after the other (warning)
  RMID wrapper                taken off
  bytes before the header     skipped (warning)
"""

from __future__ import annotations

import collections
import dataclasses
import io

import mido
import numpy as np
from mido.midifiles.meta import build_meta_message

from vae_jax.music import midi_reader
from vae_jax.music import score as score_lib
from vae_jax.music.midi_reader import Track
from vae_jax.music.score import KeySignature, Meter, Notes, Score, Tempo

MAX_FILE_BYTES = 16 * 2**20
MAX_BEATS = 100_000  # About fourteen hours at 120 beats per minute; a longer piece is a broken delta time.
_MAX_VARIABLE_LENGTH = 0x0FFFFFFF
_MAX_HEADER_OFFSET = 1024

_META_TRACK_NAME, _META_TEMPO, _META_METER, _META_KEY = 0x03, 0x51, 0x58, 0x59
_KEY_NAMES = {
    False: "Cb Gb Db Ab Eb Bb F C G D A E B F# C#".split(),
    True: "Abm Ebm Bbm Fm Cm Gm Dm Am Em Bm F#m C#m G#m D#m A#m".split(),
}
_KEYS = {name: (n - 7, minor) for minor, names in _KEY_NAMES.items() for n, name in enumerate(names)}


class MidiError(ValueError):
    """A file that cannot be read as MIDI; the message is the reason, in one line."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """A Score and the repairs that reading it took, each a line of text; no warnings means an untouched file."""

    score: Score
    warnings: tuple[str, ...]


def read_midi(data: bytes) -> Reading:
    """Reads a Standard MIDI File (.mid) or one in an RMID wrapper (.rmi).

    Args:
      data: the bytes of the file.

    Returns:
      The score and the repairs made.

    Raises:
      MidiError: where nothing can be read; the message says why.
    """
    if not data:
        raise MidiError("the file is empty")
    if len(data) > MAX_FILE_BYTES:
        raise MidiError(f"the file has {len(data)} bytes, more than the limit of {MAX_FILE_BYTES}")
    repairs: collections.Counter[str] = collections.Counter()
    data = _unwrap(data, repairs)
    midi_format, num_tracks, division, start = _read_header(data)
    if midi_format > 2:
        repairs[f"format {midi_format} does not exist: read as format 1"] += 1
    ticks_per_beat, smpte_tempo = _ticks_per_beat(division, repairs)

    tracks = []
    track_start = 0
    for chunk_start, chunk_end in _track_chunks(data, start, repairs):
        track = midi_reader.read_track(data, chunk_start, chunk_end, repairs, track_start)
        if midi_format == 2:
            track_start = track.end_tick
        tracks.append(track)
    if not tracks:
        raise MidiError("the file has a MIDI header but no track")
    if num_tracks != len(tracks):
        repairs[f"the header counts {num_tracks} tracks, the file holds {len(tracks)}"] += 1
    if midi_format == 2 and len(tracks) > 1:
        repairs["format 2: its patterns are played one after the other"] += 1
    end_tick = max(track.end_tick for track in tracks)
    if end_tick > MAX_BEATS * ticks_per_beat:
        raise MidiError(f"the piece lasts {end_tick // ticks_per_beat} beats, more than the limit of {MAX_BEATS}")
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
    tracks: list[list[tuple[int, int, mido.Message | mido.MetaMessage]]] = [[] for _ in range(score.num_tracks)]
    for track, name in enumerate(score.track_names):
        if name:
            text = name.encode("utf-8").decode("latin1")  # mido encodes texts as latin1: the file holds UTF-8.
            tracks[track].append((0, 0, mido.MetaMessage("track_name", name=text)))
    for tempo in score.tempos:
        tracks[0].append((tempo.tick, 0, mido.MetaMessage("set_tempo", tempo=tempo.microseconds_per_beat)))
    for meter in score.meters:
        message = mido.MetaMessage("time_signature", numerator=meter.numerator, denominator=meter.denominator)
        tracks[0].append((meter.tick, 0, message))
    for key in score.keys:
        name = _KEY_NAMES[key.minor][key.fifths + 7]
        tracks[0].append((key.tick, 0, mido.MetaMessage("key_signature", key=name)))

    programs: dict[int, int] = {}
    columns = [getattr(score.notes, name).tolist() for name in score_lib.NOTE_COLUMNS]
    for onset, duration, track, channel, pitch, velocity, program in zip(*columns, strict=True):
        # Offs come before ons at a tick, so that a repeated note ends before it starts again.
        if programs.get(channel) != program:
            programs[channel] = program
            tracks[track].append((onset, 2, mido.Message("program_change", channel=channel, program=program)))
        note = {"channel": channel, "note": pitch, "skip_checks": True}  # A score's notes are in range.
        tracks[track].append((onset, 2, mido.Message("note_on", velocity=velocity, **note)))
        tracks[track].append((onset + duration, 1, mido.Message("note_off", velocity=0, **note)))

    file = mido.MidiFile(type=1, ticks_per_beat=score.ticks_per_beat)
    for messages in tracks:
        file.tracks.append(_with_delta_times(messages))
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def _unwrap(data: bytes, repairs: collections.Counter[str]) -> bytes:
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


def _read_header(data: bytes) -> tuple[int, int, int, int]:
    """Returns format, track count, division and where the first chunk after the header starts."""
    size = int.from_bytes(data[4:8], "big")
    if len(data) < 14 or size < 6:
        raise MidiError("the MIDI header is cut short")
    midi_format, num_tracks, division = (int.from_bytes(data[n : n + 2], "big") for n in (8, 10, 12))
    return midi_format, num_tracks, division, 8 + size


def _ticks_per_beat(division: int, repairs: collections.Counter[str]) -> tuple[int, int | None]:
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


def _track_chunks(data: bytes, start: int, repairs: collections.Counter[str]) -> list[tuple[int, int]]:
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


def _read_changes(tracks: list[Track], repairs: collections.Counter[str]) -> dict[str, list]:
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
    rows = [(*note, n) for n, track in enumerate(tracks) for note in track.notes]
    onset, duration, channel, pitch, velocity, place, track_index = (
        np.array(column, dtype=np.int64) for column in (zip(*rows, strict=True) if rows else [[]] * 7)
    )
    program = np.zeros(len(rows), dtype=np.int64)
    changes = [(*change, n) for n, track in enumerate(tracks) for change in track.programs]
    if changes and rows:
        tick, change_channel, change_program, change_place, change_track = (
            np.array(column, dtype=np.int64) for column in zip(*changes, strict=True)
        )
        order = np.lexsort(
            (
                np.concatenate([change_place, place]),
                np.concatenate([change_track, track_index]),
                np.concatenate([tick, onset]),
            )
        )
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        change_rank, note_rank = rank[: len(changes)], rank[len(changes) :]
        for c in np.unique(change_channel):
            of_channel = np.flatnonzero(change_channel == c)
            of_channel = of_channel[np.argsort(change_rank[of_channel])]
            mine = np.flatnonzero(channel == c)
            latest = np.searchsorted(change_rank[of_channel], note_rank[mine]) - 1
            program[mine] = np.where(latest >= 0, change_program[of_channel[np.maximum(latest, 0)]], 0)
    return score_lib.make_notes(
        onset, duration, pitch, track=track_index, channel=channel, velocity=velocity, program=program
    )


def _with_delta_times(messages: list[tuple[int, int, mido.Message | mido.MetaMessage]]) -> mido.MidiTrack:
    """Orders (tick, rank, message) and turns ticks into delta times that fit a file."""
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
