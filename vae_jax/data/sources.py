"""The files of a corpus, listed before they are read: of a folder, of a zip, that music21 ships, or synthetic."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import pathlib
import stat
import zipfile
from collections.abc import Iterator

from vae_jax.data import synthetic
from vae_jax.music import midi, notation
from vae_jax.runtime import files as files_lib
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.files import OUTPUT_MARK

MIDI_SUFFIXES = (".mid", ".midi", ".rmi", ".kar")
SUFFIXES = (*MIDI_SUFFIXES, *notation.SUFFIXES)
MAX_FILES = 200_000
MAX_ZIP_MEMBERS = 50_000
MAX_ZIP_RATIO = 200  # Music is compressed to a third or a thirtieth of its size, a bomb to a thousandth.
MAX_ZIP_TOTAL_BYTES = 2**30
SYNTHETIC_NAME, CHORALES_NAME = "synthetic", "chorales"  # In place of a path.
# What music21 ships, in place of a path: the folders of its corpus in which it lies.
SHIPPED = {CHORALES_NAME: ("bach",), "quartets": ("beethoven", "haydn", "mozart"), "madrigals": ("monteverdi",)}
_NUM_VOICES = 4  # Of the chorales.


@dataclasses.dataclass(frozen=True)
class ListedFile:
    """A file that was found and not read yet.

    Attributes:
      stamp: changes with the content: the modification time in ns, a zip's checksum, the seed of a synthetic piece.
    """

    path: str  # Its path inside its folder or zip, with forward slashes.
    size: int = 0  # In bytes.
    stamp: int = 0
    index: int = 0  # Its number among a zip's members or the synthetic pieces.
    refusal: str = ""  # Why it is not even opened; empty if it is.


@dataclasses.dataclass(frozen=True)
class Source:
    """The files of a corpus, in order of their paths, or some of them."""

    name: str  # The corpus's name in reports.
    path: str  # The folder, zip or file, absolute; a name of `SHIPPED`; empty for the synthetic corpus.
    files: tuple[ListedFile, ...] = dataclasses.field(repr=False)  # The files that were found.

    def to_config(self) -> dict[str, str | int]:
        """The fields of a config's `data` section that find these files again."""
        if self.path:
            return {"path": self.path}
        return {"path": SYNTHETIC_NAME, "num_synthetic": len(self.files), "synthetic_seed": self.files[0].stamp}

    def split(self, chunk_files: int) -> list[Source]:
        """Returns sources of so many of the files each."""
        starts = range(0, len(self.files), chunk_files)
        return [dataclasses.replace(self, files=self.files[start : start + chunk_files]) for start in starts]


def list_source(path: str) -> Source:
    """Lists the files of a folder (recursively) or a zip with one of `SUFFIXES`, or a single file. Folders inside it
    that hold a run, or what a command has written, are passed over. Raises UserError if the path cannot be read, or
    holds no such file, or too many."""
    source = files_lib.expand_home(path)
    try:
        if source.is_dir():
            files = _list_folder(source)
        elif not source.exists():
            raise UserError(f"{path}: no such file or folder")
        elif not source.is_file():
            raise UserError(f"{path}: neither a file nor a folder")
        elif _is_archive(source):
            files = _list_zip(source)
        else:
            files = [_list_file(source, source.name)]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not files:
        raise UserError(f"{path}: no music file found (looked for {', '.join(SUFFIXES)})")
    root = source.resolve()
    return Source(source.name or root.name, str(root), tuple(sorted(files, key=lambda file: file.path)))


def list_shipped(name: str) -> Source:
    """Lists the files of a corpus that music21 ships, of the chorales those in four voices. Raises UserError if music21
    was installed without them."""
    root, files = _music21_corpus(), list[ListedFile]()
    for folder in SHIPPED[name]:
        files += [dataclasses.replace(file, path=f"{folder}/{file.path}") for file in _list_folder(root / folder)]
    if name == CHORALES_NAME:
        files = [file for file in files if _is_chorale(root / file.path)]
    if not files:
        raise UserError(f"music21 is installed without its {name} ({root}); install it again")
    return Source(name, name, tuple(sorted(files, key=lambda file: file.path)))


def list_synthetic(num_pieces: int, seed: int) -> Source:
    """Lists the synthetic corpus."""
    files = [ListedFile(synthetic.piece_name(seed, n), stamp=seed, index=n) for n in range(num_pieces)]
    return Source(SYNTHETIC_NAME, "", tuple(sorted(files, key=lambda file: file.path)))


def read_files(source: Source) -> Iterator[tuple[str, bytes | str]]:
    """Reads the files of a source one by one: yields the path of each and its bytes, or the reason why there are none;
    of an ABC tune book, each tune as a file. Raises UserError if the zip itself cannot be read."""
    for path, data in _read_whole_files(source):
        if isinstance(data, bytes) and notation.suffix_of(path) == ".abc":
            for number, tune in notation.split_tunes(data):
                yield (f"{path[:-4]}.{number}.abc" if number else path), tune
        else:
            yield path, data


def _read_whole_files(source: Source) -> Iterator[tuple[str, bytes | str]]:
    root = _music21_corpus() if source.path in SHIPPED else pathlib.Path(source.path)
    if not source.path:
        for file in source.files:
            yield file.path, midi.write_midi(synthetic.make_score(file.stamp, file.index))
    elif _is_archive(root):
        yield from _read_zip(source)
    else:
        is_folder = root.is_dir()
        for file in source.files:
            yield file.path, file.refusal or _read_file(root / file.path if is_folder else root)


def _read_file(path: pathlib.Path) -> bytes | str:
    try:
        with path.open("rb") as file:
            return file.read(midi.MAX_FILE_BYTES + 1)  # The parser refuses the one byte more.
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def _read_zip(source: Source) -> Iterator[tuple[str, bytes | str]]:
    try:
        with zipfile.ZipFile(source.path) as archive:
            members = archive.infolist()
            for file in source.files:
                yield file.path, file.refusal or _read_member(archive, members[file.index])
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError, IndexError) as error:
        raise UserError(f"{source.path}: a damaged zip archive ({error})") from error


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes | str:
    try:
        with archive.open(member) as file:
            return file.read(midi.MAX_FILE_BYTES + 1)
    except Exception as error:  # Every compression method raises types of its own on damage.
        return f"cannot be unpacked ({str(error) or type(error).__name__})"


def _is_music(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith("._")


def _is_archive(path: pathlib.Path) -> bool:
    """Whether a path is a zip of files; compressed MusicXML is a zip of one score."""
    return not notation.suffix_of(path.name) and zipfile.is_zipfile(path)


def _music21_corpus() -> pathlib.Path:
    """The folder of the scores that music21 ships."""
    found = importlib.util.find_spec("music21")  # Finding it does not import it.
    if found is None or found.origin is None:
        raise UserError(f"{', '.join(SHIPPED)} are those of music21, which is not installed: pip install music21")
    return pathlib.Path(found.origin).parent / "corpus"


def _is_chorale(path: pathlib.Path) -> bool:
    if not path.name.startswith("bwv") or path.suffix != ".mxl":
        return False
    data = _read_file(path)
    return isinstance(data, bytes) and notation.count_parts(data) == _NUM_VOICES


def _list_file(path: pathlib.Path, relative: str) -> ListedFile:
    try:
        status = path.stat()
    except OSError as error:
        return ListedFile(relative, refusal=f"cannot be read ({error.strerror or error})")
    if not stat.S_ISREG(status.st_mode):  # Opening a FIFO would block.
        return ListedFile(relative, refusal="not a regular file")
    return ListedFile(relative, status.st_size, status.st_mtime_ns)


def _list_folder(folder: pathlib.Path) -> list[ListedFile]:
    files: list[ListedFile] = []
    for directory, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not os.path.lexists(os.path.join(directory, name, OUTPUT_MARK))]
        for name in filter(_is_music, names):
            if len(files) == MAX_FILES:
                raise UserError(f"{folder}: more than {MAX_FILES} music files; give a smaller folder")
            path = pathlib.Path(directory, name)
            files.append(_list_file(path, path.relative_to(folder).as_posix()))
    return files


def _list_zip(source: pathlib.Path) -> list[ListedFile]:
    try:
        with zipfile.ZipFile(source) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise UserError(f"{source}: a damaged zip archive ({error})") from error
    if sum(not member.is_dir() for member in members) > MAX_ZIP_MEMBERS:
        raise UserError(f"{source}: more than {MAX_ZIP_MEMBERS} members; unpack it and give the folder")
    files: list[ListedFile] = []
    total, names = 0, set()
    marks = [member.filename for member in members if member.filename.endswith(f"/{OUTPUT_MARK}")]
    outputs = tuple(mark.removesuffix(OUTPUT_MARK) for mark in marks)
    for index, member in enumerate(members):
        name, size, refusal = member.filename, member.file_size, ""
        if member.is_dir() or not _is_music(name.rsplit("/", 1)[-1]) or name.startswith(outputs):
            continue
        if name in names:
            refusal = "the archive has another member of this name before it"
        elif member.flag_bits & 0x1:
            refusal = "encrypted"
        elif size > midi.MAX_FILE_BYTES:
            refusal = f"{size} bytes, more than the limit of {midi.MAX_FILE_BYTES}"
        elif size > 2**16 and size > MAX_ZIP_RATIO * max(1, member.compress_size):
            refusal = f"packed more than {MAX_ZIP_RATIO} times, as only a zip bomb is"
        elif total + size > MAX_ZIP_TOTAL_BYTES:
            refusal = "the archive's members pass the limit on their total size"
        else:
            total += size
        names.add(name)
        files.append(ListedFile(name, size, member.CRC, index, refusal))
    return files
