"""What the events of MIDI tracks say: names, tempo, meter and key, and the program of each note."""

import collections

import numpy as np

from vae_jax.music import score as score_lib
from vae_jax.music.midi_events import Repairs, Track
from vae_jax.music.score import KeySignature, Meter, Notes, Tempo

TRACK_NAME, TEMPO, METER, KEY = 0x03, 0x51, 0x58, 0x59  # Types of meta events.
_MAX_DENOMINATOR_POWER = 6
_PEDALLED_SHARE = 0.5  # Share of notes that end under the sustain pedal from which a file relies on it.


def read_changes(tracks: list[Track], repairs: Repairs) -> dict[str, list]:
    """Returns the tempos, meters and keys. Of several at one tick the last counts; a key of a track of percussion,
    which is often a default, counts less than any other."""
    tempos: list[Tempo] = []
    meters: list[Meter] = []
    keys: dict[bool, list[KeySignature]] = {True: [], False: []}  # By whether the track is of percussion alone.
    for track in tracks:
        for tick, kind, content in track.metas:
            if kind == TEMPO:
                tempos += _tempo(tick, content, repairs)
            elif kind == METER:
                meters += _meter(tick, content, repairs)
            elif kind == KEY:
                keys[track.is_drums] += _key(tick, content, repairs)
    return {"tempos": tempos, "meters": meters, "keys": keys[True] + keys[False]}


def read_name(track: Track) -> str:
    """Returns the first name of a track that is not empty, without padding. Bytes that are not UTF-8 become surrogate
    escapes (PEP 383), which `encode_name` turns back."""
    names = (content for _, kind, content in track.metas if kind == TRACK_NAME)
    decoded = (content.decode("utf-8", "surrogateescape").strip("\0 \t\r\n") for content in names)
    return next(filter(None, decoded), "")


def encode_name(name: str) -> bytes:
    """The inverse of `read_name`."""
    return name.encode("utf-8", "surrogateescape")


def _tempo(tick: int, content: bytes, repairs: Repairs) -> list[Tempo]:
    microseconds = int.from_bytes(content[:3], "big")
    if len(content) >= 3 and microseconds:
        return [Tempo(tick, microseconds)]
    repairs["tempo of 0 ignored" if len(content) >= 3 else "tempo event without a tempo ignored"] += 1
    return []


def _meter(tick: int, content: bytes, repairs: Repairs) -> list[Meter]:
    numerator, power = content[0] if content else 0, content[1] if len(content) > 1 else 0
    if len(content) < 2:
        repairs["time signature event without a time signature ignored"] += 1
    elif not numerator or power > _MAX_DENOMINATOR_POWER:
        repairs[f"time signature {numerator}/2^{power} ignored"] += 1
    else:
        meter = Meter(tick, numerator, 2**power)
        if len(content) < 4:
            repairs[f"time signature event of length {len(content)} read as {numerator}/{meter.denominator}"] += 1
        return [meter]
    return []


def _key(tick: int, content: bytes, repairs: Repairs) -> list[KeySignature]:
    fifths = int.from_bytes(content[:1], "big", signed=True)
    mode = content[1] if len(content) > 1 else None
    if not content or not -7 <= fifths <= 7:
        count = f"{abs(fifths)} {'sharps' if fifths > 0 else 'flats'}" if content else "no content"
        repairs[f"key signature of {count} ignored"] += 1
        return []
    if mode not in (0, 1):
        repairs[f"key signature {'without a mode' if mode is None else f'of mode {mode}'} read as major"] += 1
    return [KeySignature(tick, fifths, mode == 1)]


def collect_notes(tracks: list[Track], max_tick: int, repairs: Repairs) -> Notes:
    """Joins the tracks' notes up to `max_tick` and gives each the program in force when it starts.

    A program holds for its port and channel, in every track. But where tracks that share these start with different
    programs, each keeps its own: so notation software writes more instruments than there are channels.
    """
    notes = np.array([(*note, n) for n, track in enumerate(tracks) for note in track.notes], dtype=np.int64)
    changes = np.array([(*change, n) for n, track in enumerate(tracks) for change in track.programs], dtype=np.int64)
    notes, changes = notes.reshape(-1, 7), changes.reshape(-1, 5)
    late = notes[:, 0] >= max_tick
    if late.any():
        repairs["note past the limit on the length of a piece: left out"] += int(late.sum())
        notes = notes[~late]
    note_voice, change_voice, changes = _voices(notes, changes)
    # Voice, tick, track and place of each change and note, sorted: a note has the program of the change before it.
    events = np.concatenate(
        [np.column_stack([change_voice, changes[:, [0, 4, 3]]]), np.column_stack([note_voice, notes[:, [0, 6, 5]]])]
    )
    order = np.lexsort(events.T[::-1])
    latest = order[np.maximum.accumulate(np.where(order < len(changes), np.arange(len(order)), 0))]
    has_change = (latest < len(changes)) & (events[latest, 0] == events[order, 0])
    program = np.zeros(len(events), dtype=np.int64)
    program[order[has_change]] = changes[latest[has_change], 2]
    onset, duration, channel, pitch, velocity, _, track = notes.T
    return score_lib.make_notes(
        onset,
        np.minimum(duration, max_tick - onset),
        pitch,
        track=track,
        channel=channel % 16,
        velocity=velocity,
        program=program[len(changes) :],
    )


def _voices(notes: np.ndarray, changes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers what shares its programs: (voice of each note, voice of each change, changes). A change of a track that
    keeps its own programs is listed twice: for its track, and for the tracks of its channel that have none."""
    note_voice, change_voice = (
        table[:, column] << 32 | table[:, -1] + 1 for table, column in ((notes, 2), (changes, 1))
    )
    own = _with_own_programs(note_voice, change_voice, notes, changes)
    note_is_own, change_is_own = np.isin(note_voice, own), np.isin(change_voice, own)
    note_voice = np.where(note_is_own, note_voice, notes[:, 2] << 32)
    change_voice = np.concatenate([changes[:, 1] << 32, change_voice[change_is_own]])
    return note_voice, change_voice, np.concatenate([changes, changes[change_is_own]])


def _with_own_programs(
    note_voice: np.ndarray, change_voice: np.ndarray, notes: np.ndarray, changes: np.ndarray
) -> list[int]:
    """Returns the (channel, track) pairs that keep their own programs."""
    if len(np.unique(change_voice)) == len(np.unique(changes[:, 1])):
        return []
    voices, index = np.unique(note_voice, return_index=True)
    first_place = dict(zip(voices.tolist(), notes[index, 5].tolist(), strict=True))
    starts: dict[int, dict[int, int]] = collections.defaultdict(dict)  # Channel -> pair -> program at its first note.
    for voice, (_, channel, program, place, _) in zip(change_voice.tolist(), changes.tolist(), strict=True):
        if place < first_place.get(voice, -1):
            starts[channel][voice] = program
    return [voice for of in starts.values() if len(set(of.values())) > 1 for voice in of]


def check_pedal(tracks: list[Track], repairs: Repairs) -> None:
    """Adds a remark where a file relies on the sustain pedal: half of its notes or more end while it is pressed."""
    presses, ends = collections.defaultdict(list), collections.defaultdict(list)
    for track in tracks:
        for tick, channel, is_pressed in track.pedals:
            presses[channel].append((tick, is_pressed))
    if not any(is_pressed for of in presses.values() for _, is_pressed in of):
        return
    for track in tracks:
        for onset, duration, channel, *_ in track.notes:
            ends[channel].append(onset + duration)
    num_held, num_notes = 0, sum(map(len, ends.values()))
    for channel, of in presses.items():
        of.sort(key=lambda press: press[0])
        state = np.array([False, *(is_pressed for _, is_pressed in of)])  # Before, and from each message on.
        num_held += int(state[np.searchsorted([tick for tick, _ in of], ends[channel])].sum())
    if num_held and num_held >= _PEDALLED_SHARE * num_notes:
        share = round(100 * num_held / num_notes)
        repairs[f"sustain pedal ignored, which prolongs {share} of 100 notes"] += 1
