"""Scores as compact bytes and back, exactly: the form in which shards store pieces."""

import dataclasses
import json
import struct

import numpy as np

from vae_jax.music.score import NOTE_COLUMNS, KeySignature, Meter, Notes, Score, Tempo

_LENGTHS = struct.Struct("<II")  # Of the header in bytes and of the note table in notes.
_DTYPES = (np.uint8, np.uint16, np.uint32, np.int64)


def pack_score(score: Score) -> bytes:
    """Packs a score: lengths, a header of JSON, then the note columns one after the other, little-endian, each in the
    smallest integer type that holds its values."""
    columns = [_smallest(getattr(score.notes, name)) for name in NOTE_COLUMNS]
    header = {
        "ticks_per_beat": score.ticks_per_beat,
        "track_names": score.track_names,
        **{
            name: [dataclasses.astuple(change) for change in getattr(score, name)]
            for name in ("tempos", "meters", "keys")
        },
        "dtypes": [column.dtype.str for column in columns],
    }
    text = json.dumps(header, separators=(",", ":")).encode()  # ASCII: track names may hold half a surrogate pair.
    return b"".join([_LENGTHS.pack(len(text), len(score.notes)), text, *(column.tobytes() for column in columns)])


def unpack_score(data: bytes) -> Score:
    """Turns packed bytes back into the equal score. Raises ValueError where they are not what `pack_score` made."""
    try:
        header_length, num_notes = _LENGTHS.unpack_from(data)
        position = _LENGTHS.size + header_length
        header = json.loads(data[_LENGTHS.size : position])
        columns = []
        for name in header["dtypes"]:
            dtype = np.dtype(name)
            columns.append(np.frombuffer(data, dtype, num_notes, position).astype(np.int64))
            position += num_notes * dtype.itemsize
        if position != len(data):
            raise ValueError(f"{len(data)} bytes instead of {position}")
        return Score(
            ticks_per_beat=header["ticks_per_beat"],
            notes=Notes(*columns),
            track_names=tuple(header["track_names"]),
            tempos=tuple(Tempo(*values) for values in header["tempos"]),
            meters=tuple(Meter(*values) for values in header["meters"]),
            keys=tuple(KeySignature(*values) for values in header["keys"]),
        )
    except (KeyError, TypeError, ValueError, struct.error) as error:
        raise ValueError(f"not a packed score ({error})") from error


def _smallest(values: np.ndarray) -> np.ndarray:
    top = int(values.max(initial=0))
    dtype = next(one for one in _DTYPES if top <= np.iinfo(one).max)
    return values.astype(np.dtype(dtype).newbyteorder("<"))
