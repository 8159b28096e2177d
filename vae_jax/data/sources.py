"""The MIDI files of a corpus, listed before they are read: in a folder, in a zip, or made by the generator."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import stat
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from vae_jax.data import synthetic
from vae_jax.music import midi
from vae_jax.runtime.errors import UserError

MIDI_SUFFIXES = (".mid", ".midi", ".rmi")
MAX_FILES = 200_000
MAX_ZIP_MEMBERS = 50_000
MAX_ZIP_RATIO = 200  # A MIDI file packs to a third or a tenth; a bomb packs to a thousandth.
MAX_ZIP_TOTAL_BYTES = 2**30
SYNTHETIC_NAME = "synthetic"


@dataclasses.dataclass(frozen=True)
class Listed:
    """A MIDI file that was found and not read yet.

    Attributes:
      path: its path inside its folder or zip, with forward slashes.
      size: in bytes.
      stamp: what changes with its content: the time of its last change in ns, its checksum in a zip.
      place: its number among a zip's members or the generated pieces.
      refusal: why it is not even opened; empty where it is.
    """

    path: str
    size: int = 0
    stamp: int = 0
    place: int = 0
    refusal: str = ""


@dataclasses.dataclass(frozen=True)
class Source:
    """The files of a corpus, in order of their paths.

    Attributes:
      name: what reports call the corpus.
      path: the folder, zip or file; empty for the synthetic corpus.
      kind: "folder", "zip", "file" or "synthetic".
      seed: of the synthetic corpus.
      files: what was found; empty in what is handed to those who only read.
    """

    name: str
    path: str
    kind: str
    seed: int = 0
    files: tuple[Listed, ...] = dataclasses.field(default=(), repr=False)

    def describe(self) -> dict[str, Any]:
        """What JSON needs to hold for `list_again`."""
        return {"kind": self.kind, "path": self.path, "seed": self.seed, "num": len(self.files)}


def list_source(path: str) -> Source:
    """Lists the MIDI files of a folder (recursively) or a zip, or a single file.

    Raises:
      UserError: where the path cannot be read, or holds no file that looks like MIDI, or too many.
    """
    source = pathlib.Path(path).expanduser()
    name = source.name or source.resolve().name
    try:
        if source.is_dir():
            kind, files = "folder", _list_folder(source)
        elif not source.exists():
            raise UserError(f"{path}: no such file or folder")
        elif not source.is_file():
            raise UserError(f"{path}: neither a file nor a folder")
        elif zipfile.is_zipfile(source):
            kind, files = "zip", _list_zip(source)
        else:
            kind, files = "file", [_list_file(source, source.name)]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not files:
        raise UserError(f"{path}: no MIDI file found (looked for {', '.join(MIDI_SUFFIXES)})")
    return Source(name, str(source.resolve()), kind, files=tuple(sorted(files, key=lambda file: file.path)))


def list_synthetic(num_pieces: int, seed: int) -> Source:
    """Lists the synthetic corpus."""
    files = [Listed(synthetic.piece_name(seed, n), stamp=seed, place=n) for n in range(num_pieces)]
    return Source(SYNTHETIC_NAME, "", SYNTHETIC_NAME, seed, tuple(sorted(files, key=lambda file: file.path)))


def list_again(described: Mapping[str, Any], path: str = "") -> Source:
    """Lists what `Source.describe` described, or what lies at another path now.

    Raises:
      UserError: as `list_source`.
    """
    if path or described["kind"] != SYNTHETIC_NAME:
        return list_source(path or described["path"])
    return list_synthetic(described["num"], described["seed"])


def read_listed(source: Source, files: Sequence[Listed]) -> Iterator[tuple[Listed, bytes | str]]:
    """Reads files of a source one by one: gives the bytes of each, or the reason why there are none.

    Raises:
      UserError: where the zip itself cannot be read.
    """
    with _opened(source) as read:
        for file in files:
            yield file, file.refusal or read(file)


@contextlib.contextmanager
def _opened(source: Source) -> Iterator[Callable[[Listed], bytes | str]]:
    if source.kind == SYNTHETIC_NAME:
        yield lambda file: midi.write_midi(synthetic.make_score(source.seed, file.place))
    elif source.kind == "zip":
        try:
            with zipfile.ZipFile(source.path) as archive:
                members = archive.infolist()
                yield lambda file: _read_member(archive, members[file.place])
        except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError, IndexError) as error:
            raise UserError(f"{source.path}: a damaged zip archive ({error})") from error
    else:
        folder = pathlib.Path(source.path)
        yield lambda file: _read_file(folder / file.path if source.kind == "folder" else folder)


def _read_file(path: pathlib.Path) -> bytes | str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return "not a regular file"
        with path.open("rb") as file:
            return file.read(midi.MAX_FILE_BYTES + 1)  # One more than the reader takes, which refuses it by its size.
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes | str:
    try:
        with archive.open(member) as file:
            return file.read(midi.MAX_FILE_BYTES + 1)
    except Exception as error:  # Each way of packing raises types of its own on damage.
        return f"cannot be unpacked ({str(error) or type(error).__name__})"


def _is_midi(name: str) -> bool:
    return name.lower().endswith(MIDI_SUFFIXES) and not name.startswith("._")


def _list_file(path: pathlib.Path, relative: str) -> Listed:
    try:
        status = path.stat()
    except OSError as error:
        return Listed(relative, refusal=f"cannot be read ({error.strerror or error})")
    if not stat.S_ISREG(status.st_mode):  # Opening a FIFO would wait for ever.
        return Listed(relative, refusal="not a regular file")
    return Listed(relative, status.st_size, status.st_mtime_ns)


def _list_folder(folder: pathlib.Path) -> list[Listed]:
    files: list[Listed] = []
    for directory, subfolders, names in os.walk(folder):
        subfolders.sort()
        for name in filter(_is_midi, sorted(names)):
            if len(files) == MAX_FILES:
                raise UserError(f"{folder}: more than {MAX_FILES} MIDI files; give a smaller folder")
            path = pathlib.Path(directory, name)
            files.append(_list_file(path, path.relative_to(folder).as_posix()))
    return files


def _list_zip(source: pathlib.Path) -> list[Listed]:
    try:
        with zipfile.ZipFile(source) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise UserError(f"{source}: a damaged zip archive ({error})") from error
    if sum(not member.is_dir() for member in members) > MAX_ZIP_MEMBERS:
        raise UserError(f"{source}: more than {MAX_ZIP_MEMBERS} members; unpack it and give the folder")
    files, total, taken = [], 0, set()
    for place, member in enumerate(members):
        name = member.filename
        if member.is_dir() or not _is_midi(name.rsplit("/", 1)[-1]):
            continue
        refusal = _member_refusal(member)
        if name in taken:
            refusal = "the archive has another member of this name before it"
        elif not refusal and total + member.file_size > MAX_ZIP_TOTAL_BYTES:
            refusal = "the archive's members pass the limit on their total size"
        taken.add(name)
        total += 0 if refusal else member.file_size
        files.append(Listed(name, member.file_size, member.CRC, place, refusal))
    return files


def _member_refusal(member: zipfile.ZipInfo) -> str:
    """Returns why a zip member is not even opened; empty where it is."""
    if member.flag_bits & 0x1:
        return "encrypted"
    if member.file_size > midi.MAX_FILE_BYTES:
        return f"{member.file_size} bytes, more than the limit of {midi.MAX_FILE_BYTES}"
    if member.file_size > 2**16 and member.file_size > MAX_ZIP_RATIO * max(1, member.compress_size):
        return f"packed more than {MAX_ZIP_RATIO} times, as only a zip bomb is"
    return ""
