"""What music21 parsed, read part by part and measure by measure: notes, changes of tempo, meter and key, repeats.

No other module but `repeats` touches music21's objects; what `read_content` returns is plain.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple, TypeVar

from music21 import dynamics, expressions, harmony, instrument, meter, note, spanner, tempo
from music21 import key as key_lib
from music21.base import Music21Object
from music21.chord import ChordBase
from music21.stream import Measure, Stream, Voice

from vae_jax.music import repeats
from vae_jax.music.score import DRUM_CHANNEL, KeySignature, Meter, Tempo

Change = Tempo | Meter | KeySignature
_Kind = TypeVar("_Kind", Tempo, Meter, KeySignature)
_VELOCITY = 64  # Where no dynamic is written.
_DRUM_PITCH = 60  # Where a drum is not named, as music21 has it.
_MAX_DENOMINATOR = 2**16


class NotatedNote(NamedTuple):
    """A note of a measure; onset and duration in quarter notes."""

    onset: Fraction
    duration: Fraction
    pitch: int
    velocity: int
    program: int
    is_drum: bool
    tie: str  # "start", "continue", "stop"; empty for none.


@dataclasses.dataclass
class Bar:
    """A measure of one part; offsets in quarter notes."""

    start: Fraction  # In the part as written.
    length: Fraction = Fraction(0)  # Up to the end of its last note or rest.
    notes: list[NotatedNote] = dataclasses.field(default_factory=list)
    changes: list[tuple[Fraction, Change]] = dataclasses.field(default_factory=list)  # With ticks of 0.

    def changes_of(self, kind: type[_Kind]) -> list[tuple[Fraction, _Kind]]:
        """Returns the changes of one kind, in order."""
        return [(offset, change) for offset, change in self.changes if isinstance(change, kind)]


@dataclasses.dataclass
class NotatedPart:
    """A part; one without bar lines has a single bar."""

    name: str
    bars: list[Bar]


@dataclasses.dataclass
class Content:
    """A piece as it is written."""

    parts: list[NotatedPart]
    order: list[int]  # The measures as they are played, the same for all parts.
    has_measures: bool
    remarks: collections.Counter[str]  # What was left out, and how often.
    warnings: tuple[str, ...]


@dataclasses.dataclass
class _Sound:
    """What holds for the notes that follow in a part."""

    program: int = 0
    is_drum: bool = False
    drum_pitch: int = _DRUM_PITCH
    velocity: int = _VELOCITY


def read_content(stream: Stream) -> Content:
    """Reads a score of music21 at sounding pitch."""
    parts = list(stream.getElementsByClass("Part")) or [stream]
    measures = [list(part.getElementsByClass(Measure)) for part in parts]
    remarks: collections.Counter[str] = collections.Counter()
    content = [_read_part(part, column, remarks) for part, column in zip(parts, measures, strict=True)]
    length = max(len(part.bars) for part in content)
    order: list[int] | None = None
    if all(len(column) == length for column in measures):
        order = repeats.playing_order(parts, measures)
    elif not any(repeats.has_signs(measure) for column in measures for measure in column):
        order = list(range(length))
    warnings = ("repeats that contradict each other: played once",) if order is None else ()
    return Content(content, order or list(range(length)), any(measures), remarks, warnings)


def _read_part(part: Stream, measures: Sequence[Measure], remarks: collections.Counter[str]) -> NotatedPart:
    streams: Sequence[Stream] = measures or [part]
    bars = [Bar(_exact(part.elementOffset(measure)) if measures else Fraction(0)) for measure in streams]
    loose: dict[int, list[tuple[Fraction, Music21Object]]] = collections.defaultdict(list)  # Beside the measures.
    for offset, element in _elements(part) if measures else ():
        n = max(bisect.bisect_right(bars, _exact(offset), key=lambda bar: bar.start) - 1, 0)
        loose[n].append((_exact(offset) - bars[n].start, element))
    sound = _Sound()
    for n, measure in enumerate(streams):
        mine = loose[n] + [(_exact(offset), element) for offset, element in _elements(measure)]
        for offset, element in sorted(mine, key=lambda item: (item[0], isinstance(item[1], note.GeneralNote))):
            _read_element(bars[n], offset, element, sound, remarks)
    return NotatedPart(_name(part), bars)


def _elements(stream: Stream) -> Iterator[tuple[float | Fraction, Music21Object]]:
    """Yields the elements of a measure, those of its voices too, with their offsets in it."""
    for element in stream.elements:
        if isinstance(element, Voice):
            start = stream.elementOffset(element)
            yield from ((start + offset, one) for offset, one in _elements(element))
        elif not isinstance(element, (Stream, spanner.Spanner)):
            yield stream.elementOffset(element), element


def _read_element(
    bar: Bar, offset: Fraction, element: Music21Object, sound: _Sound, remarks: collections.Counter[str]
) -> None:
    if isinstance(element, harmony.Harmony):
        remarks["chord symbols left out"] += 1
        return
    if isinstance(element, note.GeneralNote):
        bar.length = max(bar.length, offset + _exact(element.duration.quarterLength))
    if isinstance(element, note.NotRest):
        if element.duration.isGrace or not element.duration.quarterLength:
            remarks["grace notes left out"] += len(element.pitches) or 1
            return
        remarks["ornaments left out"] += sum(isinstance(one, expressions.Ornament) for one in element.expressions)
        bar.notes += _read_notes(offset, element, sound)
    elif isinstance(element, instrument.Instrument):
        sound.is_drum = element.midiChannel == DRUM_CHANNEL or isinstance(element, instrument.UnpitchedPercussion)
        sound.program = _program(element)
        sound.drum_pitch = _drum_pitch(element, _DRUM_PITCH)
    elif isinstance(element, dynamics.Dynamic):
        sound.velocity = min(max(round(127 * element.volumeScalar), 1), 127)
    elif (change := _read_change(element)) is not None:
        bar.changes.append((offset, change))


def _read_notes(offset: Fraction, element: note.NotRest, sound: _Sound) -> list[NotatedNote]:
    """Reads a note or a chord."""
    velocity = element.volume.velocity if element.hasVolumeInformation() else None
    velocity = sound.velocity if velocity is None else min(max(round(velocity), 1), 127)
    duration = _exact(element.duration.quarterLength)
    read = []
    for one in element.notes if isinstance(element, ChordBase) else [element]:
        unpitched = isinstance(one, note.Unpitched)
        pitch = _drum_pitch(one.storedInstrument, sound.drum_pitch) if unpitched else one.pitches[0].midi
        tie = one.tie or element.tie
        kind = tie.type if tie is not None and tie.type in ("start", "continue", "stop") else ""
        is_drum = sound.is_drum or unpitched
        program = 0 if is_drum else sound.program
        read.append(NotatedNote(offset, duration, pitch, velocity, program, is_drum, kind))
    return read


def _read_change(element: Music21Object) -> Change | None:
    """Reads a tempo, meter or key; None for anything else, and for what a MIDI file cannot say."""
    try:
        if isinstance(element, tempo.MetronomeMark):
            beats_per_minute = element.getQuarterBPM()
            return Tempo(0, round(60e6 / beats_per_minute)) if beats_per_minute else None
        if isinstance(element, meter.TimeSignature):
            return Meter(0, element.numerator, element.denominator)
        if isinstance(element, key_lib.KeySignature) and element.sharps is not None:
            return KeySignature(0, element.sharps, getattr(element, "mode", None) in ("minor", "aeolian"))
    except (ValueError, ArithmeticError):  # Out of range.
        pass
    return None


def _name(part: Stream) -> str:
    played = part.getElementsByClass(instrument.Instrument).first()
    names = [getattr(part, "partName", None), played.bestName() if played is not None else None]
    return next((" ".join(name.split()) for name in names if name), "")


def _program(played: instrument.Instrument) -> int:
    """The General MIDI program of an instrument, by its name where it states none; 0 for a name that says nothing."""
    named = [_program_of_name(name) for name in (played.instrumentName, played.partName) if name]
    found = [one for one in (played.midiProgram, *named) if one is not None]
    return found[0] if found and 0 <= found[0] <= 127 else 0


def _drum_pitch(played: instrument.Instrument | None, otherwise: int) -> int:
    pitch = played.percMapPitch if isinstance(played, instrument.UnpitchedPercussion) else None
    return pitch if pitch is not None and 0 <= pitch <= 127 else otherwise


@functools.lru_cache(maxsize=1024)
def _program_of_name(name: str) -> int | None:
    try:
        return instrument.fromString(name).midiProgram
    except instrument.InstrumentException:
        return None


def _exact(offset: float | Fraction) -> Fraction:
    return Fraction(offset).limit_denominator(_MAX_DENOMINATOR)
