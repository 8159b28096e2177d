"""Scores as the page stores them: eight bytes per note in base64, and the names of tracks."""

from __future__ import annotations

import base64

import numpy as np

from vae_jax.music import instruments
from vae_jax.music.score import Score
from vae_jax.runtime.files import Json, printable

_VELOCITY_STEP = 4  # The instrument group takes three of eight bits.


def pack_notes(score: Score) -> str:
    """Packs N notes, ordered by onset, as base64 of little-endian columns.

    Onset in milliseconds, N uint32; duration in milliseconds, N uint16; pitch, N uint8; group * 32 + velocity // 4,
    N uint8. Values beyond the range of a column are clipped.
    """
    onset = np.round(1000 * score.seconds(score.notes.onset_ticks))
    duration = np.round(1000 * score.seconds(score.notes.end_ticks)) - onset
    columns = [
        np.clip(onset, 0, 2**32 - 1).astype("<u4"),
        np.clip(duration, 1, 2**16 - 1).astype("<u2"),
        score.notes.pitch.astype(np.uint8),
        (instruments.assign_parts(score) * 32 + score.notes.velocity // _VELOCITY_STEP).astype(np.uint8),
    ]
    return base64.b64encode(b"".join(column.tobytes() for column in columns)).decode("ascii")


def pack_music(score: Score, url: str | None = None) -> Json:
    """Packs a score; `url` is that of its MIDI file relative to the page, None where the page makes the file itself."""
    return {"notes": pack_notes(score), "sec": round(score.duration_sec, 3), "url": url}


def pack_tracks(score: Score) -> list[Json]:
    """Packs the name, main instrument group and number of notes of each track that has notes."""
    part_of = instruments.assign_parts(score)
    tracks = []
    for track in score.note_bearing_tracks():
        mine = part_of[score.notes.track == track]
        name = printable(score.track_names[track]) or f"track {track + 1}"
        tracks.append({"name": name, "group": int(np.bincount(mine).argmax()), "notes": len(mine)})
    return tracks
