"""Reading MIDI: files and notes a second, beside mido, pretty_midi and symusic.

    pip install -r requirements.txt -r benchmarks/requirements.txt
    python -m benchmarks.reading --path=NationalAnthems.zip [--num_files=10000] [--rounds=5] [--peer_files=135]

prints the machine, then a table a corpus: for each reader the files it could read, the seconds of the whole corpus,
files and notes a second, and how often its speed goes into that of this project's reader on one core. The first corpus
is the path given, the second so many generated files, which are transpositions of the synthetic corpus's pieces. In
each round every reader reads once, one after the other; a figure is the median over the rounds. Readers that need
minutes for ten thousand files read the first `peer_files` of them, and their seconds are scaled up.
"""

from __future__ import annotations

import dataclasses
import io
import pathlib
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator

from absl import app, flags

from benchmarks import machine
from vae_jax.data import corpus, parallel, sources, synthetic
from vae_jax.music import midi
from vae_jax.music.score import transpose

_PATH = flags.DEFINE_string("path", "", "The national anthems, or another zip or folder; empty for the second alone.")
_NUM_FILES = flags.DEFINE_integer("num_files", 10_000, "Generated files; 0 for none.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "How often every reader reads.")
_PEER_FILES = flags.DEFINE_integer("peer_files", 135, "Files that a slow reader reads of the generated ones.")
_COPIES = 20
_PEERS = ("mido", "pretty_midi", "symusic")


@dataclasses.dataclass(frozen=True)
class Reader:
    """A way to read: of a corpus's path, or of the bytes of one file after the other."""

    name: str
    whole: Callable[[str], int] | None = None
    one: Callable[[bytes], object] | None = None
    is_slow: bool = False


def main(_: list[str]) -> None:
    """Prints the tables."""
    print(f"{machine.describe(_PEERS)}; medians of {_ROUNDS.value} interleaved rounds")
    with tempfile.TemporaryDirectory() as folder:
        if _PATH.value:
            measure(_PATH.value)
        if _NUM_FILES.value:
            songs = pathlib.Path(folder, "songs")
            songs.mkdir()
            write_songs(songs, _NUM_FILES.value)
            measure(str(songs))


def write_songs(folder: pathlib.Path, count: int) -> None:
    """Writes generated files: each piece in up to twenty keys."""
    for n in range(-(-count // _COPIES)):
        score = synthetic.make_score(0, n)
        for copy in range(min(_COPIES, count - n * _COPIES)):
            data = midi.write_midi(transpose(score, copy - _COPIES // 2))
            (folder / f"{n:05d}_{copy:02d}.mid").write_bytes(data)


def measure(path: str) -> None:
    """Prints the table of one corpus."""
    blobs = dict(read_bytes(path))
    notes_of = {file.path: len(file.score.notes) for file in corpus.load_corpus(path).files if file.score is not None}
    num_bytes = sum(map(len, blobs.values()))
    print(f"\n{pathlib.Path(path).name}: {len(blobs)} files, {num_bytes:,} bytes, {sum(notes_of.values()):,} notes")
    seconds: dict[str, list[float]] = {}
    could: dict[str, list[str]] = {}
    readers = make_readers(len(blobs))
    for _ in range(_ROUNDS.value):
        for reader in readers:
            names = list(blobs)
            if reader.is_slow:
                names = names[: max(1, _PEER_FILES.value)]
            could[reader.name] = names
            started = time.perf_counter()
            if reader.whole is not None:
                reader.whole(path)
            else:
                could[reader.name] = [name for name in names if is_read(reader, blobs[name])]
            scale = num_bytes / sum(len(blobs[name]) for name in names)
            seconds.setdefault(reader.name, []).append((time.perf_counter() - started) * scale)
    reference = statistics.median(seconds[readers[0].name])
    print(f"{'':<40} {'read':>12} {'seconds':>8} {'files/s':>8} {'notes/s':>12} {'speed':>7}")
    for reader in readers:
        median = statistics.median(seconds[reader.name])
        tried = len(blobs) if not reader.is_slow else min(len(blobs), _PEER_FILES.value)
        read = f"{len(could[reader.name])} of {tried}"
        rates = f"{len(blobs) / median:8,.0f} {sum(notes_of.values()) / median:12,.0f}"
        print(f"{reader.name:<40} {read:>12} {median:8.3f} {rates} {reference / median:6.2f}x")


def make_readers(num_files: int) -> list[Reader]:
    """This project's ways to read, the first of them the reference, and the peers' that are installed."""
    import mido

    readers = [
        Reader("vae_jax, one core", whole=lambda path: load(path, cores=1)),
        Reader("vae_jax, all cores", whole=load),
        Reader("mido", one=lambda data: mido.MidiFile(file=io.BytesIO(data)), is_slow=num_files > 1000),
    ]
    try:
        import pretty_midi

        name = "pretty_midi"
        readers.append(
            Reader(name, one=lambda data: pretty_midi.PrettyMIDI(io.BytesIO(data)), is_slow=num_files > 1000)
        )
    except ImportError:
        print("pretty_midi is not installed", file=sys.stderr)
    try:
        import symusic

        readers.append(Reader("symusic", one=symusic.Score.from_midi))
        readers.append(Reader("symusic, note columns as NumPy arrays", one=lambda data: columns(symusic, data)))
    except ImportError:
        print("symusic is not installed", file=sys.stderr)
    return readers


def columns(symusic, data: bytes) -> list[dict]:
    """What a caller needs before there can be a table of notes."""
    return [track.notes.numpy() for track in symusic.Score.from_midi(data).tracks]


def load(path: str, *, cores: int | None = None) -> int:
    """Reads a corpus as a command does; returns the number of pieces."""
    number = parallel.num_cores
    if cores is not None:
        parallel.num_cores = lambda: cores
    try:
        return len(corpus.load_corpus(path).pieces)
    finally:
        parallel.num_cores = number


def is_read(reader: Reader, data: bytes) -> bool:
    """Whether a peer reads a file; its exceptions are of many types."""
    assert reader.one is not None
    try:
        reader.one(data)
    except Exception:
        return False
    return True


def read_bytes(path: str) -> Iterator[tuple[str, bytes]]:
    """The bytes of the MIDI files of a zip or folder."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                if member.lower().endswith(sources.MIDI_SUFFIXES):
                    yield member, archive.read(member)
    else:
        for file in sorted(pathlib.Path(path).rglob("*.mid")):
            yield file.relative_to(path).as_posix(), file.read_bytes()


if __name__ == "__main__":
    app.run(main)
