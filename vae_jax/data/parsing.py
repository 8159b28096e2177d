"""Bytes of files to scores. Worker processes import this module: it rests on NumPy and mido, and on music21 only where
a file is not MIDI."""

import dataclasses
import hashlib

from vae_jax.data import conversion, parallel, sources
from vae_jax.data.sources import Source
from vae_jax.music import midi, notation
from vae_jax.music.score import Score


@dataclasses.dataclass(frozen=True)
class ParsedFile:
    """A file of a corpus and what was read from it."""

    path: str  # Its path inside its folder or zip, with forward slashes.
    sha256: str = ""  # Hash of its bytes; empty if they could not be read.
    score: Score | None = None  # The music; None if the file was refused.
    reasons: tuple[str, ...] = ()  # What was repaired, or why it was refused.
    remarks: tuple[str, ...] = ()  # What was left out of a sound file.

    @property
    def status(self) -> str:
        """One of loaded, repaired, refused."""
        loaded = "repaired" if self.reasons else "loaded"
        return "refused" if self.score is None else loaded

    @property
    def notes(self) -> int:
        """Number of notes."""
        return 0 if self.score is None else len(self.score.notes)


@dataclasses.dataclass(frozen=True, slots=True)
class FileRow:
    """A `ParsedFile` without its music, as shards list it, with the number of its examples and its tune."""

    path: str
    sha256: str
    status: str
    reasons: list[str]
    notes: int
    examples: int = 0
    tune: int = -1
    remarks: list[str] = dataclasses.field(default_factory=list)


def parse(path: str, data: bytes | str) -> ParsedFile:
    """Parses the bytes of a file, MIDI unless its suffix is that of another notation; a str is the reason why there are
    none."""
    if isinstance(data, str):
        return ParsedFile(path, reasons=(data,))
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        suffix = notation.suffix_of(path)
        reading = conversion.read(data, suffix) if suffix else midi.read_midi(data)
    except (midi.MidiError, notation.NotationError) as error:
        return ParsedFile(path, sha256, reasons=(str(error),))
    if len(reading.score.notes):
        return ParsedFile(path, sha256, reading.score, reading.warnings, reading.remarks)
    return ParsedFile(path, sha256, reasons=(*reading.warnings, "the file holds no note"))


def parse_all(source: Source) -> list[ParsedFile]:
    """Reads and parses the files of a source in their order."""
    parsed = []
    for path, data in sources.read_files(source):
        parallel.raise_if_closing()
        parsed.append(parse(path, data))
    return parsed
