"""A score as the page carries it: eight bytes a note, in base64, beside its tracks' names."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from vae_jax.music import instruments
from vae_jax.music.score import Score
from vae_jax.runtime.files import printable

_VELOCITY_STEP = 4  # Five bits are left beside the three of the part.


def pack_notes(score: Score) -> str:
    """Packs N notes, ordered by onset, into base64 of one column after another, little-endian.

    Onset in milliseconds, N uint32; duration in milliseconds, N uint16; pitch, N uint8; part * 32 + velocity // 4,
    N uint8. Times beyond a column's range are cut to it.
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


def pack_music(score: Score, url: str | None = None) -> dict[str, Any]:
    """Packs a score for the page.

    Args:
      score: the music.
      url: where its MIDI file lies relative to the page; None where the page makes one from the notes.
    """
    return {"notes": pack_notes(score), "sec": round(score.duration_sec, 3), "url": url}


def track_list(score: Score) -> list[dict[str, Any]]:
    """The tracks that hold notes: their names, parts and numbers of notes."""
    part_of = instruments.assign_parts(score)
    tracks = []
    for track in score.note_bearing_tracks():
        mine = part_of[score.notes.track == track]
        name = printable(score.track_names[track]) or f"track {track + 1}"
        tracks.append({"name": name, "part": int(np.bincount(mine).argmax()), "notes": len(mine)})
    return tracks
