"""Small scores in MusicXML, ABC and Humdrum kern."""

from __future__ import annotations

import io
import zipfile

ABC = b"X:1\nT:One\nM:3/4\nL:1/4\nQ:1/4=90\nK:Dm\nA|d2 f|e>^c A|d3-|d2 z|]\n"
KERN = b"**kern\t**kern\n*M2/4\t*M2/4\n*k[b-]\t*k[b-]\n=1\t=1\n4F\t8f\n.\t8g\n4C\t4e\n=2\t=2\n2FF\t2f\n==\t==\n*-\t*-\n"
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<score-partwise version="4.0">'


def note(pitch: str, duration: int = 4, *, tie: str = "", inside: str = "", before: str = "") -> str:
    """A note such as "C4", "Bb3" or "F#5", or a rest (""); 4 divisions are a quarter note."""
    kind = "<rest/>"
    if pitch:
        alter = {"b": "<alter>-1</alter>", "#": "<alter>1</alter>"}.get(pitch[1:-1], "")
        kind = f"<pitch><step>{pitch[0]}</step>{alter}<octave>{pitch[-1]}</octave></pitch>"
    ties = "".join(f'<tie type="{one}"/>' for one in tie.split())
    return f"<note>{before}{kind}<duration>{duration}</duration>{ties}{inside}</note>"


def attributes(*, meter: str = "4/4", fifths: int = 0, mode: str = "major", more: str = "") -> str:
    beats, beat_type = meter.split("/")
    key = f"<key><fifths>{fifths}</fifths><mode>{mode}</mode></key>"
    time = f"<time><beats>{beats}</beats><beat-type>{beat_type}</beat-type></time>"
    return f"<attributes><divisions>4</divisions>{key}{time}{more}</attributes>"


def barline(location: str, inside: str) -> str:
    return f'<barline location="{location}">{inside}</barline>'


START = barline("left", '<repeat direction="forward"/>')
END = barline("right", '<repeat direction="backward"/>')


def musicxml(*parts: list[str], names: tuple[str, ...] = (), midi: tuple[str, ...] = ()) -> bytes:
    """A score of parts, each the content of its measures; `midi` are the contents of the parts' <midi-instrument>."""
    listed, content = "", ""
    for n, measures in enumerate(parts):
        name = names[n] if names else f"Part {n}"
        played = f'<midi-instrument id="I{n}">{midi[n]}</midi-instrument>' if midi else ""
        sound = f'<score-instrument id="I{n}"><instrument-name>{name}</instrument-name></score-instrument>{played}'
        listed += f'<score-part id="P{n}"><part-name>{name}</part-name>{sound}</score-part>'
        body = "".join(f'<measure number="{m}">{text}</measure>' for m, text in enumerate(measures, 1))
        content += f'<part id="P{n}">{body}</part>'
    return f"{_HEAD}<part-list>{listed}</part-list>{content}</score-partwise>".encode()


def mxl(score: bytes, *, name: str = "score.xml", container: bool = True) -> bytes:
    """Compressed MusicXML."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/vnd.recordare.musicxml")
        if container:
            root = f'<container><rootfiles><rootfile full-path="{name}"/></rootfiles></container>'
            archive.writestr("META-INF/container.xml", root)
        archive.writestr(name, score)
    return buffer.getvalue()


def tune_xml(seed: int = 0) -> bytes:
    """A melody of forty quarter notes that no other seed has."""
    notes = [note("CDEFGAB"[(seed + n * n + n) % 7] + str(4 + (seed + n) % 2)) for n in range(40)]
    return musicxml(["".join([attributes() * (n == 0), *notes[n : n + 4]]) for n in range(0, 40, 4)])
