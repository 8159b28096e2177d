"""MIDI bytes to Score and back, against hand-made bytes, pretty_midi and the real anthems."""

from __future__ import annotations

import io
import pathlib
import sys
import types
import warnings
from collections.abc import Callable

import numpy as np
import pretty_midi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midi_bytes import END, NOTE, ROW, chunk, meta, off, on, program, rmid, rows, smf, tempo, track

from vae_jax.data.corpus import Corpus
from vae_jax.music import midi
from vae_jax.music.score import KeySignature, Meter, Score, Tempo, make_notes, make_score

NUM_ANTHEM_NOTES, NUM_ANTHEM_DRUM_NOTES = 153_617, 4_451
ANY_WARNING = None

CASES = {
    "plain": (smf(track(NOTE)), [ROW], ()),
    "velocity-0 note on is a note off": (smf(track(on(0, 60), on(480, 60, 0))), [ROW], ()),
    "velocity of a note off does not matter": (smf(track(on(0, 60), b"\x83\x60\x80\x3c\x7f")), [ROW], ()),
    "unmatched note off": (smf(track(off(240, 62), NOTE)), [(240, *ROW[1:])], ("note off without a note: ignored",)),
    "note off of another channel": (
        smf(track(on(0, 60), off(240, 60, channel=1), off(240, 60))),
        [ROW],
        ("note off without a note: ignored",),
    ),
    "hanging note": (
        smf(track(on(0, 60), end=b"\x83\x60\xff\x2f\x00")),
        [ROW],
        ("hanging note: ended where its track ends",),
    ),
    "hanging note at the track's very end": (
        smf(track(on(0, 60), on(480, 62), off(0, 60))),
        [ROW, (480, 1, 0, 0, 62, 64, 0)],
        ("hanging note: ended where its track ends",),
    ),
    "hanging notes are counted": (
        smf(track(on(0, 60), on(0, 62), end=b"\x83\x60\xff\x2f\x00")),
        [ROW, (0, 480, 0, 0, 62, 64, 0)],
        ("hanging note: ended where its track ends (2 times)",),
    ),
    "a note does not end in another track": (
        smf(track(on(0, 60), end=b"\x83\x60\xff\x2f\x00"), track(off(240, 60))),
        [ROW],
        ("note off without a note: ignored", "hanging note: ended where its track ends"),
    ),
    "overlapping same pitch": (
        smf(track(on(0, 60, 50), on(100, 60, 90), off(100, 60), off(280, 60))),
        [(0, 200, 0, 0, 60, 50, 0), (100, 380, 0, 0, 60, 90, 0)],
        (),
    ),
    "same pitch on two channels": (
        smf(track(on(0, 60), on(100, 60, channel=1), off(100, 60, channel=1), off(280, 60))),
        [ROW, (100, 100, 0, 1, 60, 64, 0)],
        (),
    ),
    "zero-length note": (
        smf(track(on(0, 60), off(0, 60), on(480, 62), off(480, 62))),
        [(0, 1, 0, 0, 60, 64, 0), (480, 480, 0, 0, 62, 64, 0)],
        ("zero-length note: lengthened to one tick",),
    ),
    "running status": (
        smf(track(on(0, 60), b"\x83\x60\x3c\x00", b"\x00\x3e\x40", b"\x83\x60\x3e\x00")),
        [ROW, (480, 480, 0, 0, 62, 64, 0)],
        (),
    ),
    "running status across a meta message": (
        smf(track(on(0, 60), meta(0, 0x01, b"text"), b"\x83\x60\x3c\x00")),
        [ROW],
        ("running status kept across a meta or system message",),
    ),
    "running status across a system message": (
        smf(track(on(0, 60), b"\x00\xf0\x03\x01\x02\xf7", b"\x83\x60\x3c\x00")),
        [ROW],
        ("running status kept across a meta or system message",),
    ),
    "a new status after a meta message is no repair": (smf(track(on(0, 60), meta(0, 0x01), off(480, 60))), [ROW], ()),
    "data byte above 127": (
        smf(track(on(0, 60, 0xC8), off(480, 60))),
        [(*ROW[:5], 127, 0)],
        ("data byte above 127 read as 127",),
    ),
    "tracks beyond the header's count": (
        smf(track(NOTE), track(on(0, 62), off(10, 62)), count=1),
        [ROW, (0, 10, 1, 0, 62, 64, 0)],
        ("number of tracks: 1 in the header, 2 in the file",),
    ),
    "fewer tracks than the header counts": (
        smf(track(NOTE), count=65535),
        [ROW],
        ("number of tracks: 65535 in the header, 1 in the file",),
    ),
    "unknown meta event": (smf(track(meta(100, 0x60, b"?!"), NOTE)), [(100, *ROW[1:])], ()),
    "long unknown meta event": (smf(track(meta(100, 0x7F, b"\xff" * 200), NOTE)), [(100, *ROW[1:])], ()),
    "tempo with too few bytes": (
        smf(track(meta(100, 0x51, b"\x07"), NOTE)),
        [(100, *ROW[1:])],
        ("tempo event without a tempo ignored",),
    ),
    "tempo of zero": (smf(track(tempo(100, 0), NOTE)), [(100, *ROW[1:])], ("tempo of 0 ignored",)),
    "SMPTE offset with a frame rate that mido does not know": (
        smf(track(meta(0, 0x54, b"\x80\x00\x00\x00\x00"), NOTE)),
        [ROW],
        (),
    ),
    "unknown chunk": (smf(chunk(b"XFIH", b"\x00\x01\x02"), track(NOTE), chunk(b"junk", b"")), [ROW], ()),
    "bytes between two chunks": (
        smf(track(NOTE), b"\x00\x01\x02\x03\x04\x05\x06\x07\x08", track(on(0, 62), off(10, 62)), count=2),
        [ROW, (0, 10, 1, 0, 62, 64, 0)],
        ("bytes between two chunks skipped",),
    ),
    "event cut by the chunk's end": (
        smf(track(NOTE, end=b"\x00\x90\x3e")),
        [ROW],
        ("a track ends inside an event: the rest of it is left out",),
    ),
    "delta time cut by the chunk's end": (
        smf(track(NOTE, end=b"\x81")),
        [ROW],
        ("a track ends inside an event: the rest of it is left out",),
    ),
    "data without a status byte": (
        smf(track(b"\x00\x3c\x40", NOTE), track(NOTE)),
        [ROW, (0, 480, 1, 0, 60, 64, 0)],
        ("a track has data without a status byte: skipped to the next event",),
    ),
    "variable-length quantity of five bytes": (
        smf(track(NOTE, b"\x81\x80\x80\x80\x00\x90\x3e\x40")),
        [ROW],
        ("a track has a variable-length quantity of more than four bytes: skipped to the next event",),
    ),
    "track cut by the end of the file": (
        smf(track(NOTE))[:-2],
        [ROW],
        (
            "a track is cut short by the end of the file",
            "a track ends inside an event: the rest of it is left out",
        ),
    ),
    "no end-of-track event": (smf(track(NOTE, end=b"")), [ROW], ("a track has no end-of-track event",)),
    "bytes after a track's end": (smf(track(NOTE, end=END + b"\x00")), [ROW], ("bytes after a track's end skipped",)),
    "format 0": (smf(track(NOTE, on(0, 62, channel=1), off(1, 62, channel=1)), midi_format=0), ANY_WARNING, ()),
    "format 1 plays its tracks together": (
        smf(track(NOTE), track(NOTE)),
        [ROW, (0, 480, 1, 0, 60, 64, 0)],
        (),
    ),
    "format 2 plays its patterns one after the other": (
        smf(track(NOTE, end=b"\x83\x60\xff\x2f\x00"), track(tempo(0, 250_000), NOTE), midi_format=2),
        [ROW, (960, 480, 1, 0, 60, 64, 0)],
        ("format 2: its patterns are played one after the other",),
    ),
    "unknown format": (
        smf(track(NOTE), midi_format=7),
        [ROW],
        ("format 7 does not exist: read as format 1",),
    ),
    "RMID wrapper": (rmid(smf(track(NOTE))), [ROW], ()),
    "bytes before the header": (b"\x00" * 128 + smf(track(NOTE)), [ROW], ("bytes skipped before the header: 128",)),
    "header with more bytes than six": (
        chunk(b"MThd", b"\x00\x01\x00\x01\x01\xe0\xab\xcd") + track(NOTE),
        [ROW],
        (),
    ),
    "program changes count from their place on": (
        smf(track(program(0, 40), on(0, 60), program(0, 41), off(480, 60), on(0, 60), off(480, 60))),
        [(0, 480, 0, 0, 60, 64, 40), (480, 480, 0, 0, 60, 64, 41)],
        (),
    ),
    "program changes hold for the channel in every track": (
        smf(
            track(program(100, 7, 3)),
            track(on(0, 60, channel=3), off(100, 60, 3), on(0, 60, channel=3), off(1, 60, 3)),
        ),
        [(0, 100, 1, 3, 60, 64, 0), (100, 1, 1, 3, 60, 64, 7)],
        (),
    ),
    "other channel messages are passed over": (
        smf(track(b"\x00\xb0\x07\x64\x0a\xe0\x00\x40\x0a\xa0\x3c\x10\x0a\xd0\x7f", NOTE)),
        [(30, *ROW[1:])],
        (),
    ),
    "system-exclusive messages are passed over": (
        smf(track(b"\x0a\xf0\x02\x7e\xf7\x0a\xf7\x01\x00", NOTE)),
        [(20, *ROW[1:])],
        (),
    ),
    "other system messages are named": (
        smf(track(b"\x0a\xf1\x00\x0a\xf2\x00\x00\x0a\xf3\x00\x0a\xf8", NOTE)),
        [(40, *ROW[1:])],
        [f"system message 0x{status} skipped: it does not belong in a file" for status in ("F1", "F2", "F3", "F8")],
    ),
    "format 0 with two tracks": (
        smf(track(NOTE), track(NOTE), midi_format=0),
        [ROW, (0, 480, 1, 0, 60, 64, 0)],
        ("format 0 with 2 tracks: read as format 1",),
    ),
    "bytes after the last track": (
        smf(track(NOTE)) + b"<html>404 not found</html>",
        [ROW],
        ("bytes skipped after the last track: 26",),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_doubtful_files_have_one_meaning(case: str):
    data, expected, expected_warnings = CASES[case]
    reading = midi.read_midi(data)
    if expected is not ANY_WARNING:
        assert rows(reading.score) == expected
    assert sorted(reading.warnings) == sorted(expected_warnings)


def test_format_0_keeps_its_channels_in_one_track():
    reading = midi.read_midi(CASES["format 0"][0])
    assert rows(reading.score) == [ROW, (480, 1, 0, 1, 62, 64, 0)]


def test_format_2_moves_changes_with_their_pattern():
    reading = midi.read_midi(CASES["format 2 plays its patterns one after the other"][0])
    assert reading.score.tempos == (Tempo(960, 250_000),)


@pytest.mark.parametrize(
    ("division", "ticks_per_beat", "microseconds"),
    [(0xE7_28, 1000, 1_000_000), (0xE8_04, 96, 1_000_000), (0xE3_02, 60, 1_001_000), (0xE2_50, 2400, 1_000_000)],
)
def test_smpte_division_makes_a_beat_of_a_second(division: int, ticks_per_beat: int, microseconds: int):
    reading = midi.read_midi(smf(track(tempo(0, 250_000), NOTE), division=division))
    assert reading.score.ticks_per_beat == ticks_per_beat
    assert reading.score.tempos == (Tempo(0, microseconds),)
    assert reading.warnings == ("SMPTE division: one beat is one second, tempo events do not apply",)
    frames = 480 / (division & 0xFF)
    rate = {0xE7: 25, 0xE8: 24, 0xE3: 30 / 1.001, 0xE2: 30}[division >> 8]
    assert reading.score.duration_sec == pytest.approx(frames / rate)


def test_changes_and_names_are_read():
    data = smf(
        track(
            meta(0, 0x03, b"Anthem"),
            tempo(0, 600_000),
            meta(0, 0x58, b"\x03\x02\x18\x08"),
            meta(0, 0x59, b"\xfd\x01"),
            tempo(480, 300_000),
            meta(480, 0x58, b"\x06\x03\x18\x08"),
            meta(0, 0x59, b"\x02\x00"),
        ),
        track(meta(0, 0x03, "Flöte".encode()), meta(0, 0x03, b"a second name"), NOTE),
        track(meta(0, 0x03, "Flöte \0".encode("latin1"))),
        division=96,
    )
    score, repairs = midi.read_midi(data).score, midi.read_midi(data).warnings
    assert repairs == ()
    assert score.ticks_per_beat == 96
    assert score.track_names == ("Anthem", "Flöte", "Fl\udcf6te")
    assert score.tempos == (Tempo(0, 600_000), Tempo(480, 300_000))
    assert score.meters == (Meter(0, 3, 4), Meter(960, 6, 8))
    assert score.keys == (KeySignature(0, -3, minor=True), KeySignature(960, 2))


REFUSED = {
    "empty": (b"", "empty"),
    "text": (b"Dear diary,\n" * 300, "not a MIDI file"),
    "web page": (b"<!DOCTYPE html><html>404</html>", "not a MIDI file"),
    "header only": (smf(), "no track"),
    "header cut": (smf(track(NOTE))[:13], "cut short"),
    "header too small": (chunk(b"MThd", b"\x00\x01\x00\x01") + track(NOTE), "cut short"),
    "zero ticks": (smf(track(NOTE), division=0), "zero ticks"),
    "SMPTE rate that does not exist": (smf(track(NOTE), division=0xF0_10), "SMPTE division"),
    "SMPTE without ticks": (smf(track(NOTE), division=0xE7_00), "SMPTE division"),
    "too many bytes": (smf(track(NOTE)) + bytes(midi.MAX_FILE_BYTES), "more than the limit"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_music_is_refused_in_one_line(case: str):
    data, reason = REFUSED[case]
    with pytest.raises(midi.MidiError, match=reason) as caught:
        midi.read_midi(data)
    assert len(str(caught.value).splitlines()) == 1


def whole_file() -> bytes:
    return smf(
        track(
            meta(0, 0x03, b"name"), tempo(0, 400_000), meta(0, 0x58, b"\x04\x02\x18\x08"), meta(0, 0x59, b"\x01\x00")
        ),
        track(program(0, 3), NOTE, b"\x00\xf0\x02\x01\xf7", on(0, 64), b"\x60\x40\x00", meta(3, 0x7F, b"xyz")),
        chunk(b"XFKM", b"1234"),
        track(on(0, 36, channel=9), off(480, 36, channel=9)),
    )


def test_a_file_cut_anywhere_is_read_or_refused():
    data = rmid(whole_file())
    assert midi.read_midi(data).warnings == ()
    num_read = 0
    for size in range(len(data)):
        try:
            reading = midi.read_midi(data[:size])
        except midi.MidiError:
            continue
        num_read += 1
        assert reading.warnings
    assert num_read > 100


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_file_with_flipped_bytes_is_read_or_refused(changes: list[tuple[int, int]]):
    data = bytearray(whole_file())
    for place, value in changes:
        data[place % len(data)] = value
    try:
        score = midi.read_midi(bytes(data)).score
    except midi.MidiError:
        return
    assert midi.read_midi(midi.write_midi(score)).score == score


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_a_track_of_any_bytes_is_read(content: bytes):
    assert ROW in rows(midi.read_midi(smf(track(NOTE), chunk(b"MTrk", content))).score)


@pytest.mark.parametrize(
    ("content", "max_lines"),
    [(bytes([filler]) * 2**14, 500) for filler in (0x80, 0xFF, 0x00, 0xF7)] + [(b"\x00\xf6" * 2**12, 60 * 2**12)],
)
def test_work_is_bounded_by_the_size_of_the_file(content: bytes, max_lines: int):
    """Counts the lines that the reader executes: few where it gives up, as many as there are events elsewhere."""
    num_lines = 0

    def count(frame: types.FrameType, event: str, _: object) -> Callable | None:
        nonlocal num_lines
        num_lines += event == "line"
        return count if pathlib.Path(frame.f_code.co_filename).name.startswith("midi_") else None

    before = sys.gettrace()
    sys.settrace(count)
    try:
        reading = midi.read_midi(smf(chunk(b"MTrk", content), track(NOTE)))
    finally:
        sys.settrace(before)
    assert len(reading.score.notes) >= 1
    assert 0 < num_lines < max_lines


def performed_file(seed: int) -> tuple[bytes, int]:
    """A valid file of random music without overlaps of a pitch, which pretty_midi reads in another way."""
    rng = np.random.default_rng(seed)
    conductor = [meta(0, 0x03, b"conductor"), tempo(0, int(rng.integers(200_000, 900_000)))]
    conductor += [tempo(int(rng.integers(1, 900)), int(rng.integers(200_000, 900_000))) for _ in range(5)]
    tracks = [track(*conductor)]
    num_notes = 0
    for channel in rng.permutation(16)[:5]:
        events = [meta(0, 0x03, f"part {channel}".encode()), program(0, int(rng.integers(128)), int(channel))]
        for _ in range(rng.integers(1, 30)):
            chord = rng.permutation(128)[: rng.integers(1, 4)].tolist()
            num_notes += len(chord)
            delay, length = rng.integers(1, 700, size=2).tolist()
            velocities = rng.integers(1, 128, size=len(chord)).tolist()
            for n, pitch in enumerate(chord):
                events.append(on(0 if n else delay, pitch, velocities[n], channel=int(channel)))
            for n, pitch in enumerate(chord):
                events.append(off(length if n == 0 else 5, pitch, channel=int(channel)))
        tracks.append(track(*events))
    return smf(*tracks, division=int(rng.integers(24, 960))), num_notes


def described(score: Score) -> tuple[list[tuple], np.ndarray]:
    """What each note is, and its start and end in seconds."""
    notes = score.notes
    start, end = score.seconds(notes.onset_ticks), score.seconds(notes.end_ticks)
    name = [score.track_names[n] for n in notes.track]
    columns = (name, notes.is_drum, notes.program, notes.pitch, start, end, notes.velocity)
    return in_order(list(zip(*columns, strict=True)))


def described_by_pretty_midi(data: bytes) -> tuple[list[tuple], np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        oracle = pretty_midi.PrettyMIDI(io.BytesIO(data))
    return in_order(
        [
            (one.name, one.is_drum, one.program, note.pitch, note.start, note.end, note.velocity)
            for one in oracle.instruments
            for note in one.notes
        ]
    )


def in_order(table: list[tuple]) -> tuple[list[tuple], np.ndarray]:
    table = sorted(table)
    return [(*row[:4], row[6]) for row in table], np.array([row[4:6] for row in table])


def assert_same_music(score: Score, data: bytes) -> None:
    (notes, seconds), (expected_notes, expected_seconds) = described(score), described_by_pretty_midi(data)
    assert notes == expected_notes
    np.testing.assert_allclose(seconds, expected_seconds, atol=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_pretty_midi_reads_the_same_from_a_file(seed: int):
    data, num_notes = performed_file(seed)
    reading = midi.read_midi(data)
    assert reading.warnings == ()
    assert len(reading.score.notes) == num_notes
    assert_same_music(reading.score, data)


@pytest.mark.parametrize("seed", range(8, 12))
def test_pretty_midi_reads_from_our_file_what_we_wrote(seed: int):
    score = midi.read_midi(performed_file(seed)[0]).score
    assert_same_music(score, midi.write_midi(score))


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
BYTES = st.binary(max_size=20).map(lambda content: content.decode("utf-8", "surrogateescape"))
NAMES = st.one_of(TEXTS, BYTES).map(lambda name: name.strip("\0 \t\r\n"))
TICKS = st.integers(0, 50_000)
DENOMINATORS = st.sampled_from([1, 2, 4, 8, 16, 32, 64])


@st.composite
def scores(draw: st.DrawFn) -> Score:
    columns = {
        "onset_ticks": st.one_of(st.integers(0, 8), TICKS),
        "duration_ticks": st.one_of(st.integers(1, 8), st.integers(1, 40_000)),
        "pitch": st.one_of(st.integers(60, 61), st.integers(0, 127)),
        "track": st.integers(0, 3),
        "channel": st.one_of(st.integers(0, 1), st.integers(0, 15)),
        "velocity": st.integers(1, 127),
        "program": st.one_of(st.integers(0, 1), st.integers(0, 127)),
    }
    table = draw(st.lists(st.tuples(*columns.values()), max_size=24))
    notes = make_notes(**{name: [row[n] for row in table] for n, name in enumerate(columns)})
    return make_score(
        draw(st.integers(1, 0x7FFF)),
        notes,
        track_names=draw(st.lists(NAMES, max_size=5)),
        tempos=draw(st.lists(st.builds(Tempo, TICKS, st.integers(1, 0xFFFFFF)), max_size=4)),
        meters=draw(st.lists(st.builds(Meter, TICKS, st.integers(1, 255), DENOMINATORS), max_size=4)),
        keys=draw(st.lists(st.builds(KeySignature, TICKS, st.integers(-7, 7), st.booleans()), max_size=4)),
    )


@settings(max_examples=300)
@given(scores())
def test_a_score_is_read_as_it_was_written(score: Score):
    reading = midi.read_midi(midi.write_midi(score))
    assert reading.score == score
    assert reading.warnings == ()


def test_a_repeated_note_ends_before_it_starts_again():
    score = make_score(480, make_notes([0, 480, 960], [480, 480, 480], [60, 60, 60], velocity=[10, 20, 30]))
    data = midi.write_midi(score)
    assert_same_music(score, data)
    # The velocities of the note events in the order of the file; 0 is an end.
    assert [data[n + 2] for n in range(len(data)) if data[n : n + 2] in (b"\x90\x3c", b"\x80\x3c")] == [
        10,
        0,
        20,
        0,
        30,
        0,
    ]


def test_a_pause_longer_than_a_delta_time_is_read_as_it_was_written():
    score = make_score(0x7FFF, make_notes([0, 600_000_000], [1, 300_000_000], [60, 60]))
    reading = midi.read_midi(midi.write_midi(score))
    assert reading.score == score
    assert reading.warnings == ()


def test_anthems_are_read_as_they_were_written(anthem_corpus: Corpus):
    for piece in anthem_corpus.pieces[::9]:
        reading = midi.read_midi(midi.write_midi(piece.score))
        assert reading.score == piece.score, piece.label
        assert reading.warnings == (), piece.label


def test_all_anthems_are_read_with_no_note_lost(anthem_corpus: Corpus):
    files = anthem_corpus.files
    assert len(files) == 135
    assert {file.path: file.reasons for file in files if file.status != "loaded"} == {
        "NationalAnthems/Mongolia.mid": ("data byte above 127 read as 127 (3 times)",)
    }
    notes = [piece.score.notes for piece in anthem_corpus.pieces]
    assert sum(map(len, notes)) == NUM_ANTHEM_NOTES
    assert sum(int(one.is_drum.sum()) for one in notes) == NUM_ANTHEM_DRUM_NOTES
    assert (min(one.pitch.min() for one in notes), max(one.pitch.max() for one in notes)) == (24, 101)
    assert {piece.score.ticks_per_beat for piece in anthem_corpus.pieces} == {192, 384, 480}
