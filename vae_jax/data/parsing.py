"""What a file's bytes are: a score with its repairs, or the reason for refusing them; and that as bytes.

Worker processes import this room: nothing in it may import more than NumPy and mido.
"""

from __future__ import annotations

import dataclasses
import json
import struct

from vae_jax.music import midi, serialization
from vae_jax.music.score import Score

_LENGTH = struct.Struct("<I")  # Of the reasons in bytes.


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of the bytes of a file.

    Attributes:
      score: the music; None where they were refused.
      reasons: what was repaired, or why they were refused.
    """

    score: Score | None
    reasons: tuple[str, ...]


def judge(data: bytes) -> Verdict:
    """Reads the bytes of a file."""
    try:
        reading = midi.read_midi(data)
    except midi.MidiError as error:
        return Verdict(None, (str(error),))
    if not len(reading.score.notes):
        return Verdict(None, (*reading.warnings, "the file holds no note"))
    return Verdict(reading.score, reading.warnings)


def pack(verdict: Verdict) -> bytes:
    """Packs a verdict: the length of the reasons, the reasons as JSON, the packed score where there is one."""
    reasons = json.dumps(verdict.reasons).encode()
    score = b"" if verdict.score is None else serialization.pack_score(verdict.score)
    return b"".join([_LENGTH.pack(len(reasons)), reasons, score])


def unpack(data: bytes) -> Verdict:
    """Turns packed bytes back into the equal verdict.

    Raises:
      ValueError: where they are not what `pack` made.
    """
    try:
        (length,) = _LENGTH.unpack_from(data)
    except struct.error as error:
        raise ValueError(f"not a packed verdict ({error})") from error
    start = _LENGTH.size + length
    reasons = tuple(json.loads(data[_LENGTH.size : start]))
    return Verdict(serialization.unpack_score(data[start:]) if len(data) > start else None, reasons)
