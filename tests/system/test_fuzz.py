"""Files from strangers: mutated, built at the limits of the format, and bounded in time and memory."""

from __future__ import annotations

import io
import json
import pathlib
import random
import subprocess
import sys
import time
import tracemalloc
import warnings

import numpy as np
import pretty_midi
import pytest
from command_line import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st
from midi_bytes import END, NOTE, chunk, smf, vlq

from vae_jax.data import synthetic
from vae_jax.music import midi
from vae_jax.music.score import KeySignature, Meter, Score, Tempo, make_notes, make_score

MAX_BYTES = 256 * 1024
MAX_SEC = 1.0
MAX_MEMORY = 300e6


# Mutations of valid files.


def seed_files() -> list[bytes]:
    """Valid files of several makes, up to 256 kB."""
    pieces = synthetic.make_corpus(3, 0)
    whole = [midi.write_midi(score) for _, score in pieces]
    metas = b"".join(
        b"\x01\xff" + bytes([kind]) + vlq(len(content)) + content
        for kind, content in [
            (0x00, b"\x00\x01"), (0x01, b"text"), (0x03, b"name"), (0x05, b"la"), (0x20, b"\x05"), (0x21, b"\x01"),
            (0x51, b"\x07\xa1\x20"), (0x54, b"\x80\x00\x00\x00\x00"), (0x58, b"\x03\x02\x18\x08"), (0x59, b"\xfd\x01"),
            (0x7F, b"\x00\x00\x41"),
        ]
    )  # fmt: skip
    rare = smf(
        chunk(b"MTrk", metas + END),
        chunk(b"MTrk", NOTE + b"\x00\xf0\x03\x01\x02\xf7" + b"\x00\xc0\x05\x00\xe0\x00\x40\x00\xb0\x07\x64" + END),
        chunk(b"XFIH", b"1234"),
        chunk(b"MTrk", b"\x00\x99\x24\x40\x20\x24\x00" + END),
    )
    big = smf(chunk(b"MTrk", NOTE * ((MAX_BYTES - 100) // len(NOTE)) + END))
    content = b"RMID" + b"data" + len(rare).to_bytes(4, "little") + rare
    return [*whole, rare, rare, rare, b"RIFF" + len(content).to_bytes(4, "little") + content, big]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Flips, overwrites, cuts, doubles, moves and inserts a few pieces of a file."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 16, 64])):
        place = rng.randrange(len(out) + 1) if rng.random() < 0.7 else rng.randrange(min(len(out), 64) + 1)
        length = rng.choice([1, 1, 2, 4, 16, 300])
        kind = rng.randrange(6)
        if kind == 0 and place < len(out):
            out[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[place : place + length] = rng.randbytes(length)
        elif kind == 2:
            out[place : place + length] = rng.choice([b"\x00", b"\x7f", b"\x80", b"\xff", b"\xf7"]) * length
        elif kind == 3:
            del out[place : place + length]
        elif kind == 4:
            out[place:place] = out[place : place + length]
        else:
            tokens = [b"MTrk", b"MThd", b"\xff\x2f\x00", b"\xff\xff\xff\xff", b"\xff\x51\x03", b"\xf0", b"\x90"]
            out[place:place] = rng.choice(tokens)
    if rng.random() < 0.05:
        del out[rng.randrange(len(out) + 1) :]
    return bytes(out[:MAX_BYTES])


def read_mutations(count: int, seed: int) -> dict[str, float]:
    """Reads so many mutated files; an exception other than a refusal ends it."""
    rng, originals = random.Random(seed), seed_files()
    counts = {"loaded": 0, "repaired": 0, "refused": 0, "one_line_reasons": 0, "notes": 0, "slowest_sec": 0.0}
    for n in range(count):
        # Most mutations are of small files: they hit something that matters.
        data = mutate(originals[-1] if n % 100 == 0 else rng.choice(originals[:-1]), rng)
        started = time.process_time()
        try:
            reading = midi.read_midi(data)
        except midi.MidiError as error:
            counts["refused"] += 1
            counts["one_line_reasons"] += len(str(error).splitlines()) == 1
            continue
        finally:
            counts["slowest_sec"] = max(counts["slowest_sec"], time.process_time() - started)
        counts["repaired" if reading.warnings else "loaded"] += 1
        counts["notes"] += len(reading.score.notes)
        if n % 10 == 0:
            assert midi.read_midi(midi.write_midi(reading.score)).score == reading.score
    return counts


def main() -> None:
    """Reads mutations in a process of its own, whose memory tells how much they took."""

    counts = read_mutations(int(sys.argv[1]), int(sys.argv[2]))
    print(json.dumps(counts | {"peak_bytes": peak_bytes()}))


def peak_bytes() -> int:
    """Peak memory of this process; ru_maxrss, where there is nothing better, starts at that of the parent."""
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        return 1024 * int(status.read_text(encoding="ascii").split("VmHWM:")[1].split()[0])
    import resource  # Windows has none.

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def fuzz(count: int) -> dict[str, float]:
    command = [sys.executable, __file__, str(count), "0"]
    environment = {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}", "PATH": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def assert_bounded(counts: dict[str, float], count: int) -> None:
    assert counts["loaded"] + counts["repaired"] + counts["refused"] == count
    assert counts["one_line_reasons"] == counts["refused"]
    assert counts["slowest_sec"] < MAX_SEC
    assert counts["peak_bytes"] < MAX_MEMORY
    # What is recoverable is recovered: most mutations leave the header alone.
    assert counts["repaired"] > counts["refused"]


def test_mutated_files_are_read_or_refused_by_name():
    assert_bounded(fuzz(300), 300)


@pytest.mark.slow
def test_ten_thousand_mutated_files_are_read_or_refused_by_name(capsys: pytest.CaptureFixture[str]):
    counts = fuzz(10_000)
    with capsys.disabled():
        print(f"\n{counts}")
    assert_bounded(counts, 10_000)


# Any structure.

EVENT = st.one_of(
    st.tuples(st.integers(0x80, 0xEF), st.binary(min_size=0, max_size=3)).map(lambda pair: bytes([pair[0]]) + pair[1]),
    st.tuples(st.integers(0, 255), st.integers(0, 2**28 - 1), st.binary(max_size=8)).map(
        lambda meta: b"\xff" + bytes([meta[0]]) + vlq(meta[1] % 12 if meta[1] % 3 else meta[1]) + meta[2]
    ),
    st.binary(max_size=6),
)
DELTA = st.one_of(st.integers(0, 500).map(vlq), st.integers(0, 2**28 - 1).map(vlq), st.binary(max_size=5))
TRACK = st.lists(st.tuples(DELTA, EVENT), max_size=12).map(lambda events: b"".join(a + b for a, b in events))
CHUNK = st.tuples(
    st.sampled_from([b"MTrk", b"MTrk", b"MTrk", b"MThd", b"XFIH", b"\0\0\0\0"]),
    TRACK,
    st.one_of(st.none(), st.none(), st.integers(0, 2**32 - 1)),
).map(lambda parts: chunk(*parts))


@settings(max_examples=500)
@given(st.lists(CHUNK, max_size=5), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_any_structure_is_read_or_refused(chunks: list[bytes], midi_format: int, count: int, division: int):
    for data in (smf(*chunks, midi_format=midi_format, count=count, division=division), smf(*chunks)):
        try:
            score = midi.read_midi(data).score
        except midi.MidiError:
            continue
        assert midi.read_midi(midi.write_midi(score)).score == score


# The limits of the format.

MANY = 200_000
LIMITS = {
    "a chunk of 4 GiB": (smf(chunk(b"MTrk", NOTE + END, size=2**32 - 1)), 1),
    "an unknown chunk of 4 GiB": (smf(chunk(b"XFIH", b"", size=2**32 - 1), chunk(b"MTrk", NOTE + END)), 1),
    "a header of 4 GiB": (b"MThd\xff\xff\xff\xff" + smf(chunk(b"MTrk", NOTE + END))[8:], "no track"),
    "a meta event of 256 MiB": (smf(chunk(b"MTrk", NOTE + b"\x00\xff\x01\xff\xff\xff\x7f" + END)), 1),
    "a system message of 256 MiB": (smf(chunk(b"MTrk", NOTE + b"\x00\xf0\xff\xff\xff\x7f" + END)), 1),
    "quantities without end": (smf(chunk(b"MTrk", NOTE + b"\xff" * MAX_BYTES)), 1),
    "meta lengths without end": (smf(chunk(b"MTrk", NOTE + b"\x00\xff\x01" + b"\xff" * MAX_BYTES)), 1),
    "the longest delta time, again and again": (
        smf(chunk(b"MTrk", NOTE + (b"\xff\xff\xff\x7f\x90\x3c\x40" * 30_000) + END)),
        1,
    ),
    "the longest delta time in empty events": (
        smf(chunk(b"MTrk", NOTE + (b"\xff\xff\xff\x7f\xff\x01\x00" * 30_000) + END)),
        1,
    ),
    "twice the length of a piece in steps that are read": (
        smf(chunk(b"MTrk", (vlq(9_999) + b"\xff\x01\x00") * 20 + NOTE + END), chunk(b"MTrk", NOTE + END), division=1),
        1,
    ),
    "a fault after every note": (smf(chunk(b"MTrk", (NOTE + b"\xff\xff\xff\xff\x7f") * 1_000 + END)), 1_000),
    "a wrong length of a meta event after every note": (
        smf(chunk(b"MTrk", (NOTE + b"\x00\xff\x01\x01ab") * 1_000 + END)),
        1_000,
    ),
    "3,000 tracks of a wrong length": (smf(*[chunk(b"MTrk", NOTE + END, size=5)] * 3_000), 3_000),
    "200,000 notes": (
        smf(chunk(b"MTrk", b"\x00\x90" + b"\x3c\x40\x01\x3c\x00\x00" * (MANY // 2) + END[1:])),
        MANY // 2,
    ),
    "200,000 hanging notes": (smf(chunk(b"MTrk", b"\x00\x90" + b"\x3c\x40\x00" * MANY + b"\xff\x2f\x00")), MANY),
    "200,000 program changes": (smf(chunk(b"MTrk", NOTE + b"\x00\xc0" + b"\x05\x00" * MANY + b"\xff\x2f\x00")), 1),
    "30,000 tempos": (smf(chunk(b"MTrk", NOTE + b"\x01\xff\x51\x03\x07\xa1\x20" * 30_000 + END)), 1),
    "30,000 tracks without content": (smf(chunk(b"MTrk", NOTE + END), *[chunk(b"MTrk", b"")] * 30_000, count=1), 1),
    "30,000 unknown chunks": (smf(*[chunk(b"XFIH", b"")] * 30_000, chunk(b"MTrk", NOTE + END)), 1),
    "30,000 chunks without a name": (smf(*[chunk(b"\0\0\0\0", b"")] * 30_000, chunk(b"MTrk", NOTE + END)), 1),
    "format 65535": (smf(chunk(b"MTrk", NOTE + END), midi_format=0xFFFF), 1),
    "65535 tracks promised": (smf(chunk(b"MTrk", NOTE + END), count=0xFFFF), 1),
    "no track promised": (smf(chunk(b"MTrk", NOTE + END), count=0), 1),
    "one tick a beat": (smf(chunk(b"MTrk", NOTE + END), division=1), 1),
    "32767 ticks a beat": (smf(chunk(b"MTrk", NOTE + END), division=0x7FFF), 1),
    "the largest SMPTE division": (smf(chunk(b"MTrk", NOTE + END), division=0xE2FF), 1),
    "a tempo of zero": (smf(chunk(b"MTrk", b"\x00\xff\x51\x03\x00\x00\x00" + NOTE + END)), 1),
    "the slowest tempo": (smf(chunk(b"MTrk", b"\x00\xff\x51\x03\xff\xff\xff" + NOTE + END)), 1),
    "a meter of 0/1": (smf(chunk(b"MTrk", b"\x00\xff\x58\x04\x00\x00\x00\x00" + NOTE + END)), 1),
    "a meter of 255/2**255": (smf(chunk(b"MTrk", b"\x00\xff\x58\x04\xff\xff\xff\xff" + NOTE + END)), 1),
    "a key of 127 sharps": (smf(chunk(b"MTrk", b"\x00\xff\x59\x02\x7f\x7f" + NOTE + END)), 1),
    "an SMPTE offset beyond every rate": (smf(chunk(b"MTrk", b"\x00\xff\x54\x05\x80\xff\xff\xff\xff" + NOTE + END)), 1),
    "the highest and lowest of every field": (
        smf(chunk(b"MTrk", b"\x00\xcf\x7f\x00\x9f\x7f\x7f\x01\x8f\x7f\x7f\x00\x90\x00\x01\x01\x80\x00\x00" + END)),
        2,
    ),
    "a name of 128 kB": (smf(chunk(b"MTrk", b"\x00\xff\x03" + vlq(2**17) + b"x" * 2**17 + NOTE + END)), 1),
    "RIFF chunks without content": (b"RIFF\xff\xff\xff\xffRMID" + b"LIST\0\0\0\0" * 30_000, "no MThd header"),
}


@pytest.mark.parametrize("case", LIMITS)
def test_every_field_at_its_limits_is_read_or_refused_in_bounded_work(case: str):
    data, expected = LIMITS[case]
    reading, reason = None, ""
    started = time.process_time()
    try:
        reading = midi.read_midi(data)
    except midi.MidiError as error:
        reason = str(error)
    elapsed = time.process_time() - started
    if isinstance(expected, str):
        assert expected in reason
    else:
        assert reason == ""
        assert reading is not None
        assert len(reading.score.notes) == expected
    assert elapsed < MAX_SEC * max(1, len(data) / MAX_BYTES) * 2  # This machine may be busy: twice the bound.


@pytest.mark.parametrize("case", [name for name, (data, _) in LIMITS.items() if len(data) <= MAX_BYTES])
def test_no_array_is_made_from_an_unchecked_number(case: str):
    tracemalloc.start()
    try:
        midi.read_midi(LIMITS[case][0])
    except midi.MidiError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 100e6


# What we write.


def random_score(rng: np.random.Generator) -> Score:
    """Any music, without two notes of a pitch that overlap, which pretty_midi pairs in another way."""
    count, num_tracks = int(rng.integers(0, 60)), int(rng.integers(1, 6))
    gaps = rng.integers(1, 500, count)
    onset = np.cumsum(gaps)
    duration = np.minimum(rng.integers(1, 900, count), np.append(gaps[1:], 900))
    track = rng.integers(0, num_tracks, count)
    changes = np.sort(rng.integers(0, 20_000, 5)).tolist()
    return make_score(
        int(rng.integers(1, 0x8000)),
        make_notes(
            onset, duration, rng.integers(0, 128, count), track=track, channel=(track * 3 + 1) % 16,
            velocity=rng.integers(1, 128, count), program=rng.integers(0, 128, num_tracks)[track],
        ),
        track_names=[f"Stimme {n} ü国"[: int(rng.integers(0, 12))].strip() for n in range(num_tracks)],
        tempos=[Tempo(tick, int(rng.integers(1, 2**24))) for tick in changes[:2]],
        meters=[Meter(tick, int(rng.integers(1, 256)), 2 ** int(rng.integers(0, 7))) for tick in changes[2:4]],
        keys=[KeySignature(changes[4], int(rng.integers(-7, 8)), bool(rng.integers(2)))],
    )  # fmt: skip


def test_a_thousand_random_scores_are_read_as_they_were_written_and_pretty_midi_agrees():
    rng = np.random.default_rng(0)
    for n in range(1000):
        score = random_score(rng)
        data = midi.write_midi(score)
        reading = midi.read_midi(data)
        assert reading.score == score, n
        assert reading.warnings == (), n
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            other = pretty_midi.PrettyMIDI(io.BytesIO(data))
        ours = sorted(zip(score.notes.pitch.tolist(), score.notes.velocity.tolist(), strict=True))
        assert sorted((note.pitch, note.velocity) for one in other.instruments for note in one.notes) == ours, n


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
    main()
