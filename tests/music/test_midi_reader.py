"""Damaged tracks: what is intact is kept, and noise does not become notes."""

from __future__ import annotations

import collections
import random

import numpy as np
import pytest
from midi_bytes import END, NOTE, ROW, chunk, meta, off, on, program, rows, smf, tempo, track, vlq

from vae_jax.music import midi
from vae_jax.music.score import Meter, Tempo, make_notes, make_score
from vae_jax.representations.pianoroll.representation import RollRepresentation

A, B, C = (60, 62, 64, 65), (67, 69, 71, 72), (48, 50, 52, 53)
HUGE = 0x0FFFFFF0  # Ticks.
LONG_DELTA = "a delta time of more than 10,000 beats: the track ends before it"
WRONG_LENGTH = "a track's stated length is wrong: read up to its end-of-track event"


def tune(pitches: tuple[int, ...], channel: int = 0) -> bytes:
    """Quarter notes of 96 ticks."""
    return b"".join(on(0, pitch, 80, channel) + off(96, pitch, channel) for pitch in pitches)


def running(pitches: tuple[int, ...]) -> bytes:
    """The same in the running status."""
    return b"\x00\x90" + b"".join(b"\x00%c\x50\x60%c\x00" % (pitch, pitch) for pitch in pitches)[1:]


def tune_rows(pitches: tuple[int, ...], in_track: int = 0, start: int = 0, program: int = 0) -> list[tuple[int, ...]]:
    return [(start + 96 * n, 96, in_track, 0, pitch, 80, program) for n, pitch in enumerate(pitches)]


def three(size: int) -> bytes:
    """Three tracks, the first of which states a length of its own."""
    return smf(track(tune(A), size=size), track(tune(B)), track(tune(C)), division=96)


def one(*events: bytes) -> bytes:
    return smf(track(*events), division=96)


ALL_THREE = sorted(tune_rows(A) + tune_rows(B, 1) + tune_rows(C, 2))
BEFORE, AFTER = tune(A[:2]), tune(A[2:])
DAMAGED = {
    "length one too long": (three(37), ALL_THREE, [WRONG_LENGTH]),
    "length three too long": (three(39), ALL_THREE, [WRONG_LENGTH]),
    "length that takes in the next track": (three(36 + 44), ALL_THREE, [WRONG_LENGTH]),
    "length one too short": (three(35), ALL_THREE, [WRONG_LENGTH]),
    "length that ends inside a note": (three(12), ALL_THREE, [WRONG_LENGTH]),
    "length zero": (three(0), ALL_THREE, [WRONG_LENGTH]),
    "length far too long": (three(10_000), ALL_THREE, [WRONG_LENGTH]),
    "length of 4 GiB": (three(2**32 - 1), ALL_THREE, [WRONG_LENGTH]),
    "length too short and trailing bytes": (
        one(tune(A)).replace(b"\x24\x00\x90", b"\x20\x00\x90") + b"\x1a" * 20,
        tune_rows(A),
        [WRONG_LENGTH, "bytes skipped after the last track: 20"],
    ),
    "length of an unknown chunk too long": (
        smf(chunk(b"XFIH", b"1234", size=40), track(tune(A)), division=96),
        tune_rows(A),
        ["bytes between two chunks skipped"],
    ),
    "no end-of-track event and a length too long": (
        smf(track(tune(A), end=b"", size=37), track(tune(B)), division=96),
        sorted(tune_rows(A) + tune_rows(B, 1)),
        ["a track has no end-of-track event"],
    ),
    "broken event before a swallowed track": (
        smf(track(tune(A), b"\x81\x80\x80\x80\x80", size=41 + 44), track(tune(B)), division=96),
        sorted(tune_rows(A) + tune_rows(B, 1)),
        ["a track has a variable-length quantity of more than four bytes: skipped to the next event", WRONG_LENGTH],
    ),
    "text length one short": (
        one(BEFORE, b"\x00\xff\x01\x04hello", AFTER),
        tune_rows(A),
        ["a meta event has a wrong length: skipped to the next event"],
    ),
    "text length one long": (
        one(BEFORE, b"\x00\xff\x01\x06hello", AFTER),
        tune_rows(A),
        ["a meta event has a wrong length: skipped to the next event"],
    ),
    "text length that passes the end": (
        one(BEFORE, b"\x00\xff\x01\x7fhello", AFTER),
        tune_rows(A),
        ["a track ends inside an event: skipped to the next event"],
    ),
    "every text length one short": (
        one(*(tune((pitch,)) + b"\x00\xff\x05\x02lal" for pitch in A)),
        tune_rows(A),
        ["a meta event has a wrong length: skipped to the next event (4 times)"],
    ),
    "a note without its status byte at the start": (
        one(b"\x00\x3c\x50", tune(A)),
        tune_rows(A),
        ["a track has data without a status byte: skipped to the next event"],
    ),
    "bytes of another format inside a track": (
        one(BEFORE, b"\x00\xf0\x81\x82\x83\x84\x85" + b"<html>not found</html>\x00\xff\xff", AFTER),
        tune_rows(A),
        ["a track has a variable-length quantity of more than four bytes: skipped to the next event"],
    ),
    "note number above 127": (
        one(BEFORE, b"\x00\x90\xc8\x50", AFTER),
        tune_rows(A),
        ["note number above 127: dropped"],
    ),
    "note number above 127, on and off": (
        one(BEFORE, b"\x00\x90\xc8\x50\x00\x80\xc8\x00", AFTER),
        tune_rows(A),
        ["a track has a data byte above 127: skipped to the next event"],
    ),
    "end of track before the notes": (one(END, tune(A)), tune_rows(A), ["events after an end-of-track event: read"]),
    "end of track after the notes": (one(BEFORE, END, AFTER), tune_rows(A[:2]), ["bytes after a track's end skipped"]),
    "running status after a system message": (
        one(on(0, 60, 80), b"\x60\xf0\x03\x43\x10\xf7", b"\x00\x3c\x00"),
        tune_rows(A[:1]),
        ["running status kept across a meta or system message"],
    ),
    "huge delta before the end": (
        smf(track(tune(A), end=vlq(0x0FFFFFFF) + END[1:]), division=96),
        tune_rows(A),
        [LONG_DELTA],
    ),
    "huge delta before a text": (one(tune(A), meta(HUGE, 0x01, b"by me")), tune_rows(A), [LONG_DELTA]),
    "huge delta before a note": (
        smf(track(tune(A), on(HUGE, 60, 80), off(96, 60)), track(tune(B)), division=96),
        sorted(tune_rows(A) + tune_rows(B, 1)),
        [LONG_DELTA],
    ),
    "a note that is never ended and a far end": (
        one(tune(A[:1]), on(0, 62, 80), meta(96, 0x01), vlq(HUGE) + END[1:]),
        tune_rows(A[:2]),
        ["hanging note: ended where its track ends", LONG_DELTA],
    ),
    "two ports": (
        smf(
            track(meta(0, 0x21, b"\x00"), program(0, 71), tune(A)),
            track(meta(0, 0x21, b"\x01"), program(0, 41), tune(B)),
            division=96,
        ),
        sorted(tune_rows(A, program=71) + tune_rows(B, 1, program=41)),
        [],
    ),
    "a key of mode 255": (
        one(meta(0, 0x59, b"\xfd\xff"), tune(A)),
        tune_rows(A),
        ["key signature of mode 255 read as major"],
    ),
    "a minor key": (one(meta(0, 0x59, b"\xfd\x01"), tune(A)), tune_rows(A), []),
    "a meter of two bytes": (
        one(meta(0, 0x58, b"\x03\x02"), tune(A)),
        tune_rows(A),
        ["time signature event of length 2 read as 3/4"],
    ),
    "a tempo past the last note": (one(tune(A), tempo(96 * 9_999, 400_000)), tune_rows(A), []),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_what_is_intact_in_a_damaged_file_is_read(case: str):
    data, expected, warnings = DAMAGED[case]
    reading = midi.read_midi(data)
    assert rows(reading.score) == expected
    assert sorted(reading.warnings) == sorted(warnings)
    assert midi.read_midi(midi.write_midi(reading.score)).score == reading.score


def test_a_far_event_does_not_lengthen_the_piece():
    score = midi.read_midi(one(tune(A), meta(96 * 9_000, 0x01), meta(96 * 9_000, 0x01))).score
    assert score.end_tick == 4 * 96


@pytest.mark.parametrize("channel", [0, 9])
def test_a_stray_note_makes_no_windows_of_silence(channel: int):
    """Twenty-four bars of music and one note at beat 90,000."""
    music = tune(A * 24, channel)
    stray = on(96 * 90_000, 60, channel=channel) + off(96, 60, channel)
    representation = RollRepresentation()
    clean, damaged = (midi.read_midi(one(music, *more)).score for more in ([], [stray]))
    assert damaged == clean
    assert len(representation.encode_training(damaged).mask) == len(representation.encode_training(clean).mask) < 100
    assert len(representation.encode(damaged).examples.mask) == 24 * 4


NOISES = {
    "any bytes": range(256),
    "bytes without a status": range(128),
    "sound of eight bits": range(0x70, 0x90),
    "fillers": (0x00, 0x40, 0x7F, 0x80, 0xFF),
}


@pytest.mark.parametrize("kind", NOISES)
def test_noise_after_a_broken_event_adds_no_note(kind: str):
    """At the end of a track, without an end-of-track event, from the start of a track, and in the running status."""
    for seed in range(40):
        noise = b"\x81\x80\x80\x80\x80" + bytes(random.Random(seed).choices(NOISES[kind], k=1000))
        assert rows(midi.read_midi(one(tune(A), noise, END)).score) == tune_rows(A)
        assert rows(midi.read_midi(smf(track(tune(A), noise, end=b""), division=96)).score) == tune_rows(A)
        assert rows(midi.read_midi(one(b"\x40", noise)).score) == []
        assert rows(midi.read_midi(one(running(A), noise)).score) == tune_rows(A)


@pytest.mark.parametrize("has_running_status", [False, True])
@pytest.mark.parametrize("num_bytes", [-2, -1, 1, 2])
def test_bytes_lost_or_added_anywhere_cost_few_notes(num_bytes: int, has_running_status: bool):
    """So many bytes are taken out or put in at each place of a track: what is lost stands nearby."""
    content = running(A * 8) if has_running_status else tune(A * 8)
    for place in range(2, len(content)):  # Before it stands the only status byte of the running status.
        damaged = content[:place] + b"\x53" * max(num_bytes, 0) + content[place + max(-num_bytes, 0) :]
        score = midi.read_midi(one(damaged)).score
        kept = collections.Counter(score.notes.pitch.tolist()) & collections.Counter(A * 8)
        assert kept.total() >= 24, place
        assert len(score.notes) <= 41, place


def test_events_other_than_notes_survive_a_broken_event():
    broken = b"\x81\x80\x80\x80\x80"
    data = one(tempo(0, 400_000), broken, meta(0, 0x58, b"\x03\x02\x18\x08"), program(0, 7), tune(A))
    score = midi.read_midi(data).score
    assert (score.tempos, score.meters) == ((Tempo(0, 400_000),), (Meter(0, 3, 4),))
    assert rows(score) == tune_rows(A, program=7)


def test_two_faults_in_one_track_lose_what_lies_between_bad_bytes_alone():
    broken = b"\x81\x80\x80\x80\x80"
    reading = midi.read_midi(smf(track(NOTE, broken, NOTE, NOTE, broken, NOTE)))
    assert rows(reading.score) == [(480 * n, *ROW[1:]) for n in range(4)]


def test_a_track_that_can_be_read_to_its_end_is_left_as_it_is():
    """A hundred notes of four pitches over each other are no sign of damage."""
    rng = np.random.default_rng(1)
    onsets, durations = np.sort(rng.integers(0, 300, 120)), 2000 + rng.integers(0, 500, 120)
    score = make_score(480, make_notes(onsets, durations, rng.integers(60, 64, 120)))
    reading = midi.read_midi(midi.write_midi(score))
    assert reading.warnings == ()
    assert reading.score == score
