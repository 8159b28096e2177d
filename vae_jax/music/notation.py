"""Scores in other notations: MusicXML, ABC and Humdrum kern, parsed by music21.

music21 is imported when the first such file is read. It is only given text: it opens no file and no address, and keeps
nothing on the disk. docs/input.md says what becomes of everything that such files hold.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import warnings
import zipfile
from typing import TYPE_CHECKING
from xml.parsers import expat

from vae_jax.music.midi import MAX_FILE_BYTES, Reading

if TYPE_CHECKING:
    from music21.stream import Stream

_FORMATS = {".musicxml": "musicxml", ".xml": "musicxml", ".mxl": "musicxml", ".abc": "abc", ".krn": "humdrum"}
SUFFIXES = tuple(_FORMATS)
_DECLARED = re.compile(rb"<\?xml[^>]{0,200}encoding=[\"'](iso-8859-\d+|windows-\d+|latin-?1)[\"']", re.IGNORECASE)
_XML_DECLARATION = re.compile(r"\A\s*<\?xml[^>]{0,200}\?>")
_ABC_NUMBER = re.compile(r"^X:", re.MULTILINE)
_MAX_MEMBERS = 1000
_MAX_TUNES, _MAX_HEADER_LETTERS = 20_000, 10_000  # Of an ABC tune book; the header stands above every tune.
_CONTAINER = "META-INF/container.xml"


class NotationError(ValueError):
    """A file that cannot be read as music; the message is the reason, in one line."""


def suffix_of(name: str) -> str:
    """Returns the suffix of a file in one of these notations, in lower case; empty for any other."""
    lower = name.lower()
    return next(suffix for suffix in SUFFIXES if lower.endswith(suffix)) if lower.endswith(SUFFIXES) else ""


def read_notation(data: bytes, suffix: str) -> Reading:
    """Reads the bytes of a file with one of `SUFFIXES`. Raises NotationError where nothing can be read."""
    from vae_jax.music import notation_content, notation_layout

    if not data:
        raise NotationError("the file is empty")
    if len(data) > MAX_FILE_BYTES:
        raise NotationError(f"the file has {len(data)} bytes, more than the limit of {MAX_FILE_BYTES}")
    text = _decode(_unpack(data) if suffix == ".mxl" or data.startswith(b"PK\x03\x04") else data)
    said = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stderr(said):
        warnings.simplefilter("ignore")
        content = notation_content.read_content(_parse(text, _FORMATS[suffix]))
    reading = notation_layout.lay_out(content)
    remarks = [_one_line(line) for line in said.getvalue().splitlines() if line.strip()]
    if remarks:
        first = remarks[0] if len(remarks) == 1 else f"{remarks[0]} (the first of {len(remarks)} warnings)"
        reading = dataclasses.replace(reading, warnings=(*reading.warnings, f"music21: {first}"))
    return reading


def split_tunes(data: bytes) -> list[tuple[str, bytes]]:
    """Splits an ABC tune book into its tunes, each below the file's header: numbers them 0001 and so on. A file of one
    tune is returned whole, without a number."""
    text = _decode(data)
    starts = [match.start() for match in _ABC_NUMBER.finditer(text)]
    if not 2 <= len(starts) <= _MAX_TUNES or starts[0] > _MAX_HEADER_LETTERS:
        return [("", data)]
    header = "".join(line for line in text[: starts[0]].splitlines(keepends=True) if re.match(r"[A-Za-z]:|%%", line))
    tunes = [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    return [(f"{n:04d}", _with_header(tune, header).encode()) for n, tune in enumerate(tunes, 1)]


def count_parts(data: bytes) -> int:
    """Returns the number of parts that the list at the head of a compressed MusicXML file names. Raises NotationError
    where it cannot be unpacked."""
    return len(re.findall(r"<score-part\s", _decode(_unpack(data))))


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))[:160]


def _with_header(tune: str, header: str) -> str:
    """Puts the fields that hold for the whole book behind a tune's number, which has to come first."""
    number, _, rest = tune.partition("\n")
    return f"{number}\n{header}{rest}"


def _decode(data: bytes) -> str:
    """Decodes a text: UTF-16 with its mark, UTF-8, else what an XML file declares, or Latin-1, which takes any byte."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        declared = _DECLARED.match(data)
        with contextlib.suppress(LookupError):  # No such encoding.
            return data.decode(declared[1].decode() if declared else "latin1", "replace")
        return data.decode("latin1")


def _unpack(data: bytes) -> bytes:
    """Returns the score in a compressed MusicXML file, the one that its container names."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > _MAX_MEMBERS:
                raise NotationError(f"the file has {len(members)} members, more than the limit of {_MAX_MEMBERS}")
            names = [member.filename for member in members]
            wanted = _named_score(archive) if _CONTAINER in names else ""
            if wanted not in names:
                scores = [name for name in names if name.lower().endswith((".xml", ".musicxml"))]
                wanted = next((name for name in scores if not name.startswith("META-INF/")), "")
            if not wanted:
                raise NotationError("no MusicXML in the archive")
            with archive.open(wanted) as file:
                unpacked = file.read(MAX_FILE_BYTES + 1)
    except NotationError:
        raise
    except Exception as error:  # Every compression method raises types of its own on damage.
        raise NotationError(f"cannot be unpacked ({str(error) or type(error).__name__})") from error
    if len(unpacked) > MAX_FILE_BYTES:
        raise NotationError(f"it unpacks to more than the limit of {MAX_FILE_BYTES} bytes")
    return unpacked


def _named_score(archive: zipfile.ZipFile) -> str:
    with archive.open(_CONTAINER) as file:
        named = re.search(rb"<rootfile\s[^>]*?full-path\s*=\s*[\"']([^\"']+)", file.read(2**16))
    return named[1].decode("utf-8", "replace") if named else ""


def _parse(text: str, kind: str) -> Stream:
    """Parses a text with music21, at sounding pitch."""
    from music21.converter.subConverters import ConverterABC, ConverterHumdrum, ConverterMusicXML

    if kind == "musicxml":
        text = _XML_DECLARATION.sub("", text, count=1)  # It names the encoding that the file had.
        _check_xml(text)
    converter = {"musicxml": ConverterMusicXML, "abc": ConverterABC, "humdrum": ConverterHumdrum}[kind]()
    try:
        converter.parseData(text)
        stream = converter.stream
        if len(pieces := stream.scores if "Opus" in stream.classSet else [stream]) == 1:
            return pieces[0].toSoundingPitch(inPlace=True) or pieces[0]
    except MemoryError:
        raise
    except Exception as error:  # Damage raises a dozen of its own classes, and ValueError to OverflowError.
        raise NotationError(f"music21 cannot read it ({type(error).__name__}: {_one_line(str(error))})") from error
    raise NotationError(f"{len(pieces)} pieces in one file; split it")


def _check_xml(text: str) -> None:
    """Refuses XML that is no score, or that declares entities: their expansion can be of any size."""
    if "<!ENTITY" in text:
        raise NotationError("declares XML entities, which no score needs")
    names: list[str] = []
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda name, _: names.append(name)
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise NotationError(f"not XML ({error})") from error
    if names[0] != "score-partwise":
        raise NotationError(f"no score in MusicXML's partwise form (its root is <{names[0][:40]}>)")
