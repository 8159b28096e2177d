"""MIDI files byte by byte, and the notes of a score as rows."""

from __future__ import annotations

from vae_jax.music.score import NOTE_COLUMNS, Score

END = b"\x00\xff\x2f\x00"


def vlq(value: int) -> bytes:
    """A variable-length quantity."""
    out = [value & 0x7F]
    while value := value >> 7:
        out.append(0x80 | (value & 0x7F))
    return bytes(reversed(out))


def on(delta: int, pitch: int, velocity: int = 64, channel: int = 0) -> bytes:
    return vlq(delta) + bytes([0x90 | channel, pitch, velocity])


def off(delta: int, pitch: int, channel: int = 0) -> bytes:
    return vlq(delta) + bytes([0x80 | channel, pitch, 0])


def program(delta: int, number: int, channel: int = 0) -> bytes:
    return vlq(delta) + bytes([0xC0 | channel, number])


def meta(delta: int, kind: int, content: bytes = b"") -> bytes:
    return vlq(delta) + bytes([0xFF, kind]) + vlq(len(content)) + content


def tempo(delta: int, microseconds: int) -> bytes:
    return meta(delta, 0x51, microseconds.to_bytes(3, "big"))


def chunk(name: bytes, content: bytes, size: int | None = None) -> bytes:
    """A chunk; `size` is the length that it states."""
    return name + (len(content) if size is None else size).to_bytes(4, "big") + content


def track(*events: bytes, end: bytes = END, size: int | None = None) -> bytes:
    return chunk(b"MTrk", b"".join(events) + end, size)


def smf(*chunks: bytes, midi_format: int = 1, division: int = 480, count: int | None = None) -> bytes:
    count = sum(one.startswith(b"MTrk") for one in chunks) if count is None else count
    numbers = (midi_format, count, division)
    return chunk(b"MThd", b"".join(number.to_bytes(2, "big") for number in numbers)) + b"".join(chunks)


def rmid(data: bytes) -> bytes:
    content = (
        b"RMID" + b"DISP" + (3).to_bytes(4, "little") + b"abc\0" + b"data" + len(data).to_bytes(4, "little") + data
    )
    return b"RIFF" + len(content).to_bytes(4, "little") + content


def rows(score: Score) -> list[tuple[int, ...]]:
    """(onset, duration, track, channel, pitch, velocity, program) of each note."""
    return list(zip(*(getattr(score.notes, name).tolist() for name in NOTE_COLUMNS), strict=True))


NOTE = on(0, 60) + off(480, 60)
ROW = (0, 480, 0, 0, 60, 64, 0)
