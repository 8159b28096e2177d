"""Reading damaged MIDI: how many notes survive, and how many of those that are read are right.

    python -m benchmarks.damage --path=NationalAnthems.zip [--every=4] [--copies=2] [--noise=1000]

damages copies of every n-th file at random places (seeded) in each of several ways, reads them, and compares the
notes (track, channel, pitch, velocity, length) with those of the whole file. Then it reads tracks of 20 kB of random
bytes after a broken event and counts those in which a note is found.
"""

from __future__ import annotations

import collections
import random
from collections.abc import Callable

from absl import app, flags

from vae_jax.data import sources
from vae_jax.music import midi

_PATH = flags.DEFINE_string("path", None, "A zip or folder of MIDI files.", required=True)
_EVERY = flags.DEFINE_integer("every", 4, "Every n-th file of it.", lower_bound=1)
_COPIES = flags.DEFINE_integer("copies", 2, "Damaged copies of each file for each kind of damage.", lower_bound=1)
_NOISE = flags.DEFINE_integer("noise", 1000, "Tracks of noise.", lower_bound=0)
_FIRST = 14  # Bytes of the header, which are left alone.


def main(_: list[str]) -> None:
    """Prints the table."""
    blobs = [data for _, data in sources.read_files(sources.list_source(_PATH.value)) if isinstance(data, bytes)]
    print(f"{'damage':<24} {'files':>6} {'read':>6} {'kept':>8} {'right':>8}")
    for kind, damage in DAMAGES.items():
        num_files = num_read = num_notes = num_found = num_right = 0
        for n, data in enumerate(blobs[:: _EVERY.value]):
            whole = notes(data)
            for copy in range(_COPIES.value):
                found = notes(damage(data, random.Random(f"{kind} {n} {copy}")))
                num_files, num_read = num_files + 1, num_read + bool(found)
                num_notes, num_found = num_notes + whole.total(), num_found + found.total()
                num_right += (whole & found).total()
        kept, right = num_right / max(num_notes, 1), num_right / max(num_found, 1)
        print(f"{kind:<24} {num_files:6d} {num_read:6d} {kept:8.4f} {right:8.4f}")
    print(f"tracks of noise with a note: {sum(map(reads_noise, range(_NOISE.value)))} of {_NOISE.value}")


def notes(data: bytes) -> collections.Counter[tuple[int, ...]]:
    """The notes of a file; none where it is refused."""
    try:
        table = midi.read_midi(data).score.notes
    except midi.MidiError:
        return collections.Counter()
    columns = (table.track, table.channel, table.pitch, table.velocity, table.duration_ticks)
    return collections.Counter(zip(*(column.tolist() for column in columns), strict=True))


def change_length(data: bytes, rng: random.Random) -> bytes:
    """Changes the stated length of one track by a few bytes."""
    starts = [place for place in range(len(data)) if data.startswith(b"MTrk", place)]
    place = rng.choice(starts) + 4
    size = int.from_bytes(data[place : place + 4], "big") + rng.choice([-9, -3, -1, 1, 3, 9, 200])
    return data[:place] + max(size, 0).to_bytes(4, "big") + data[place + 4 :]


def splice(num_removed: int, num_added: int, times: int = 1) -> Callable[[bytes, random.Random], bytes]:
    """Returns a function that replaces bytes by random ones, in so many places."""

    def damage(data: bytes, rng: random.Random) -> bytes:
        for _ in range(times):
            place = rng.randrange(_FIRST, len(data))
            data = data[:place] + rng.randbytes(num_added) + data[place + num_removed :]
        return data

    return damage


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "length of a track": change_length,
    "a byte lost": splice(1, 0),
    "a byte added": splice(0, 1),
    "a byte changed": splice(1, 1),
    "ten bytes changed": splice(1, 1, times=10),
    "20 bytes in a row": splice(20, 20),
}


def reads_noise(seed: int) -> bool:
    """Whether a track of a broken event and random bytes is read with a note."""
    content = b"\x81\x80\x80\x80\x80" + random.Random(seed).randbytes(20_000) + b"\x00\xff\x2f\x00"
    header = b"MThd\x00\x00\x00\x06\x00\x01\x00\x01\x01\xe0"
    return bool(notes(header + b"MTrk" + len(content).to_bytes(4, "big") + content))


if __name__ == "__main__":
    app.run(main)
