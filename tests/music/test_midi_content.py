"""Programs, keys, meters, names and the pedal of MIDI files; and programs as readers of both kinds find them."""

from __future__ import annotations

import io
import warnings

import pretty_midi
import pytest
from midi_bytes import NOTE, meta, off, on, program, rows, smf, tempo, track

from vae_jax.music import midi
from vae_jax.music.score import KeySignature, Meter, Score, make_notes, make_score
from vae_jax.runtime import files

SUSTAIN = 64


def port(number: int) -> bytes:
    return meta(0, 0x21, bytes([number]))


def key(fifths: int, mode: int, delta: int = 0) -> bytes:
    return meta(delta, 0x59, bytes([fifths & 0xFF, mode]))


def pedal(delta: int, value: int, channel: int = 0) -> bytes:
    return on(delta, SUSTAIN, value, channel).replace(bytes([0x90 | channel]), bytes([0xB0 | channel]), 1)


def programs(data: bytes) -> list[tuple[int, int, int]]:
    """(onset, track, program) of each note."""
    return [(onset, in_track, of_note) for onset, _, in_track, _, _, _, of_note in rows(midi.read_midi(data).score)]


PROGRAMS = {
    "ports": (
        smf(track(port(0), program(0, 71), NOTE), track(port(1), program(0, 41), NOTE)),
        [(0, 0, 71), (0, 1, 41)],
    ),
    "a port without a program": (smf(track(program(0, 71), NOTE), track(port(1), NOTE)), [(0, 0, 71), (0, 1, 0)]),
    "two tracks of one port and channel": (
        smf(track(port(1), program(0, 71), NOTE), track(port(1), NOTE)),
        [(0, 0, 71), (0, 1, 71)],
    ),
    "one channel, a program in each track": (
        smf(track(program(0, 0), NOTE), track(program(0, 40), NOTE), track(program(0, 56), NOTE)),
        [(0, 0, 0), (0, 1, 40), (0, 2, 56)],
    ),
    "one channel, a program in each track, changed later": (
        smf(track(program(0, 1), NOTE, program(0, 2), NOTE), track(program(0, 40), NOTE, NOTE, program(0, 41), NOTE)),
        [(0, 0, 1), (0, 1, 40), (480, 0, 2), (480, 1, 40), (960, 1, 41)],
    ),
    "one channel, two programs and a track without": (
        smf(track(program(0, 1), NOTE), track(program(0, 40), NOTE), track(NOTE)),
        [(0, 0, 1), (0, 1, 40), (0, 2, 40)],
    ),
    "two staves of one instrument that changes": (
        smf(track(program(0, 1), NOTE, program(0, 2), NOTE), track(program(0, 1), NOTE, NOTE)),
        [(0, 0, 1), (0, 1, 1), (480, 0, 2), (480, 1, 2)],
    ),
    "a program change after the notes of its track": (
        smf(track(program(0, 1), NOTE, NOTE), track(NOTE, program(0, 40))),
        [(0, 0, 1), (0, 1, 1), (480, 0, 1)],
    ),
    "two ports in one track": (
        smf(track(program(0, 1), port(1), program(0, 2), port(0), NOTE, port(1), NOTE), midi_format=0),
        [(0, 0, 1), (480, 0, 2)],
    ),
}


@pytest.mark.parametrize("case", PROGRAMS)
def test_a_note_has_the_program_of_its_port_and_channel_or_track(case: str):
    data, expected = PROGRAMS[case]
    assert programs(data) == expected
    score = midi.read_midi(data).score
    assert midi.read_midi(midi.write_midi(score)).score == score


def test_the_programs_of_decoded_scores_are_found_track_by_track_and_in_the_whole_file():
    """pretty_midi looks for programs in each track by itself, a synthesiser in the channel, in order of time."""
    score = make_score(
        480,
        make_notes(
            [0, 0, 480, 480, 960], [480] * 5, [60, 62, 64, 65, 67], track=[0, 1, 0, 1, 0], program=[1, 2, 1, 2, 3]
        ),
    )
    data = midi.write_midi(score)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        oracle = pretty_midi.PrettyMIDI(io.BytesIO(data))
    assert sorted((note.pitch, one.program) for one in oracle.instruments for note in one.notes) == [
        (60, 1), (62, 2), (64, 1), (65, 2), (67, 3),
    ]  # fmt: skip
    in_force, found = 0, []
    for _, _, message in sorted(messages(data), key=lambda item: item[:2]):
        if message[0] == 0xC0:
            in_force = message[1]
        elif message[0] == 0x90:
            found.append((message[1], in_force))
    assert found == [(60, 1), (62, 2), (64, 1), (65, 2), (67, 3)]


def messages(data: bytes) -> list[tuple[int, int, list[int]]]:
    """Tick, track and bytes of the channel messages, by mido."""
    import mido

    found = []
    for n, one in enumerate(mido.MidiFile(file=io.BytesIO(data)).tracks):
        tick = 0
        for message in one:
            tick += message.time
            if not message.is_meta:
                found.append((tick, n, message.bytes()))
    return found


def test_a_program_is_written_in_every_track_that_uses_a_channel():
    notes = make_notes([0, 0, 480], [480] * 3, [60, 64, 62], track=[0, 1, 0], program=40)
    changes = [
        (tick, in_track) for tick, in_track, one in messages(midi.write_midi(make_score(480, notes))) if one[0] == 0xC0
    ]
    assert changes == [(0, 0), (0, 1)]


KEYS = {
    "minor": (key(-3, 1), (KeySignature(0, -3, minor=True),), ()),
    "a mode of 255": (key(-3, 255), (KeySignature(0, -3),), ("key signature of mode 255 read as major",)),
    "no mode": (meta(0, 0x59, b"\x02"), (KeySignature(0, 2),), ("key signature without a mode read as major",)),
    "127 sharps": (key(127, 0), (), ("key signature of 127 sharps ignored",)),
    "8 flats": (key(-8, 0), (), ("key signature of 8 flats ignored",)),
    "nothing": (meta(0, 0x59), (), ("key signature of no content ignored",)),
}


@pytest.mark.parametrize("case", KEYS)
def test_a_valid_count_of_sharps_or_flats_is_kept(case: str):
    content, keys, expected = KEYS[case]
    reading = midi.read_midi(smf(track(content, NOTE)))
    assert (reading.score.keys, reading.warnings) == (keys, expected)


DRUMS = on(0, 36, channel=9) + off(480, 36, 9)


@pytest.mark.parametrize("drums_first", [False, True])
def test_a_drum_tracks_default_key_gives_way(drums_first: bool):
    tracks = [track(key(-3, 0), NOTE), track(key(0, 0), key(2, 0, 480), DRUMS)]
    score = midi.read_midi(smf(*(tracks[::-1] if drums_first else tracks))).score
    assert score.keys == (KeySignature(0, -3), KeySignature(480, 2))


def test_of_keys_of_pitched_tracks_the_last_counts():
    assert midi.read_midi(smf(track(key(-3, 0), NOTE), track(key(1, 0), NOTE))).score.keys == (KeySignature(0, 1),)


METERS = {
    "two bytes": (b"\x03\x02", (Meter(0, 3, 4),), ("time signature event of length 2 read as 3/4",)),
    "four bytes": (b"\x06\x03\x24\x08", (Meter(0, 6, 8),), ()),
    "one byte": (b"\x03", (), ("time signature event without a time signature ignored",)),
    "0/4": (b"\x00\x02\x18\x08", (), ("time signature 0/2^2 ignored",)),
    "4/128": (b"\x04\x07\x18\x08", (), ("time signature 4/2^7 ignored",)),
}


@pytest.mark.parametrize("case", METERS)
def test_meters_are_read_or_named(case: str):
    content, meters, expected = METERS[case]
    reading = midi.read_midi(smf(track(meta(0, 0x58, content), NOTE)))
    assert (reading.score.meters, reading.warnings) == (meters, expected)


NAMES = {
    "UTF-8": ("Мелодия ♪".encode(), "Мелодия ♪"),
    "Shift-JIS": ("メロディ".encode("shift_jis"), "\x83\x81\x83\x8d\x83f\x83B"),
    "GBK": ("旋律".encode("gbk"), "ÐýÂÉ"),
    "KOI8-R": ("Мелодия".encode("koi8-r"), "íÅÌÏÄÉÑ"),
    "Latin-1": ("Droits © d'été".encode("latin1"), "Droits © d'été"),
    "a broken UTF-8 sequence": (b"caf\xc3", "cafÃ"),
    "controls": (b"A\x00B\x1b[31mred", "A\x00B\x1b[31mred"),
}


@pytest.mark.parametrize("case", NAMES)
def test_names_are_written_back_byte_for_byte_and_shown_as_latin1_where_they_are_not_utf8(case: str):
    content, shown = NAMES[case]
    data = smf(track(meta(0, 0x03, content), tempo(0, 400_000), NOTE))
    score = midi.read_midi(data).score
    written = midi.write_midi(score)
    assert b"\xff\x03" + bytes([len(content)]) + content in written
    assert midi.read_midi(written).score == score
    (name,) = score.track_names
    assert files.printable(name) == files.printable(shown)
    files.printable(name).encode("utf-8")


PEDALS = {
    "held over all": (track(pedal(0, 127), NOTE, NOTE, pedal(0, 0)), 100),
    "held over half": (track(pedal(0, 127), NOTE, pedal(0, 0), NOTE), 50),
    "held over a third": (track(pedal(0, 127), NOTE, pedal(0, 0), NOTE, NOTE), None),
    "released first": (track(pedal(0, 0), NOTE, NOTE), None),
    "on another channel": (track(pedal(0, 127, channel=1), NOTE, NOTE), None),
    "pressed halfway is not": (track(pedal(0, 63), NOTE), None),
    "pressed after the notes": (track(NOTE, pedal(0, 127)), None),
}


@pytest.mark.parametrize("case", PEDALS)
def test_a_file_that_relies_on_the_sustain_pedal_gets_a_note(case: str):
    content, share = PEDALS[case]
    expected = () if share is None else (f"sustain pedal ignored, which prolongs {share} of 100 notes",)
    assert midi.read_midi(smf(content)).warnings == expected


def test_the_pedal_of_another_track_counts_for_the_channel():
    reading = midi.read_midi(smf(track(pedal(0, 127)), track(NOTE)))
    assert reading.warnings == ("sustain pedal ignored, which prolongs 100 of 100 notes",)


def test_notes_past_the_longest_piece_are_left_out():
    steps = meta(9_000 * 480, 0x01) * 12
    reading = midi.read_midi(smf(track(NOTE, steps, NOTE), track(on(480, 62), steps, off(0, 62))))
    score: Score = reading.score
    assert [row[:2] for row in rows(score)] == [(0, 480), (480, (midi.MAX_BEATS - 1) * 480)]
    assert reading.warnings == ("note past the limit on the length of a piece: left out",)
