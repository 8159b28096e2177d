"""Music and files that several test modules make."""

from __future__ import annotations

import pathlib
import zipfile

from vae_jax.music import midi
from vae_jax.music.score import Score, make_notes, make_score


def tune(seed: int) -> Score:
    """A melody of forty notes that no other seed has."""
    pitches = [60 + (seed * 37 + n * n * (seed + 3) + n * 7) % 24 for n in range(40)]
    return make_score(480, make_notes([480 * n for n in range(40)], 480, pitches))


def tune_bytes(seed: int = 0) -> bytes:
    return midi.write_midi(tune(seed))


def write_zip(path: pathlib.Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> pathlib.Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path
