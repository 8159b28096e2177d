"""A piece as it is written, laid out in time: measures in the order in which they are played, ties joined."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TypeVar

from vae_jax.music.midi import MAX_BEATS, Reading
from vae_jax.music.notation import NotationError
from vae_jax.music.notation_content import Content, NotatedNote, NotatedPart
from vae_jax.music.score import (
    DRUM_CHANNEL,
    PITCHED_CHANNELS,
    KeySignature,
    Meter,
    Notes,
    Tempo,
    make_notes,
    make_score,
)

_TICKS_PER_BEAT, _FINE_TICKS_PER_BEAT = 480, 10_080  # The second one, music21's own, also divides a beat by 7 and 9.
_MAX_NOTES = 1_000_000
_Placed = list[tuple[int, Fraction]]  # Measures as they are played: the index of each, its start in quarter notes.
_Kind = TypeVar("_Kind", Tempo, Meter, KeySignature)


@dataclasses.dataclass
class _Sounding:
    """A note in time, with its ties joined; in quarter notes."""

    onset: Fraction
    end: Fraction
    part: int
    note: NotatedNote


def lay_out(content: Content) -> Reading:
    """Turns what a file holds into a score. Raises NotationError where it is longer than any piece."""
    metered = _metered(content.parts)
    nominal = _nominal_meters(metered)
    lengths = _lengths(content.parts, nominal)
    starts = list(itertools.accumulate((lengths[n] for n in content.order), initial=Fraction(0)))
    placed = list(zip(content.order, starts, strict=False))
    parts = [(part, placed if len(part.bars) == len(lengths) else _as_written(part)) for part in content.parts]
    if sum(len(part.bars[n].notes) for part, mine in parts for n, _ in mine) > _MAX_NOTES:
        raise NotationError(f"more than {_MAX_NOTES} notes")
    sounding = [one for n, (part, mine) in enumerate(parts) for one in _join_ties(n, part, mine)]
    last = max([starts[-1], *(one.end for one in sounding)])
    if last > MAX_BEATS:
        raise NotationError(f"the piece lasts {int(last)} beats, more than the limit of {MAX_BEATS}")
    ticks = _ticks_per_beat(sounding)
    tempos = [change for part, mine in reversed(parts) for change in _changes(part, mine, Tempo)]
    keys = next((found for part, mine in parts if (found := list(_changes(part, mine, KeySignature)))), [])
    meters = _bar_meters(nominal, placed, lengths) if content.has_measures else list(_changes(metered, placed, Meter))
    score = make_score(
        ticks,
        _make_notes(sounding, ticks),
        track_names=[part.name for part in content.parts],
        tempos=_in_ticks(tempos, ticks),
        meters=_in_ticks(meters, ticks),
        keys=_in_ticks(keys, ticks),
    )
    remarks = tuple(f"{text} ({n})" if n > 1 else text for text, n in content.remarks.items() if n)
    return Reading(score, content.warnings, remarks)


def _as_written(part: NotatedPart) -> _Placed:
    return [(n, bar.start) for n, bar in enumerate(part.bars)]


def _metered(parts: Sequence[NotatedPart]) -> NotatedPart:
    """The part that says the meters: the first one that does, of those with the most measures."""
    num_bars = max(len(part.bars) for part in parts)
    longest = [part for part in parts if len(part.bars) == num_bars]
    return next((part for part in longest if any(bar.changes_of(Meter) for bar in part.bars)), longest[0])


def _nominal_meters(part: NotatedPart) -> list[Meter | None]:
    """The meter that is written for each measure."""
    before = _in_force_before(part, Meter)
    return [
        next((change for offset, change in bar.changes_of(Meter) if not offset), before[n])
        for n, bar in enumerate(part.bars)
    ]


def _lengths(parts: Sequence[NotatedPart], nominal: Sequence[Meter | None]) -> list[Fraction]:
    """The lengths of the measures, the same for all parts: as the meter says where one of the parts agrees or all are
    empty, else that of the longest."""
    lengths = []
    for n, current in enumerate(nominal):
        filled = {part.bars[n].length for part in parts if len(part.bars) == len(nominal)}
        full = _length_of(current) if current is not None else Fraction(0)
        lengths.append(full if full in filled or not any(filled) else max(filled))
    return lengths


def _length_of(meter: Meter) -> Fraction:
    return Fraction(4 * meter.numerator, meter.denominator)


def _join_ties(number: int, part: NotatedPart, placed: _Placed) -> list[_Sounding]:
    sounding: list[_Sounding] = []
    tied: dict[tuple[int, Fraction], _Sounding] = {}  # By pitch and end: what a tie may prolong.
    for n, start in placed:
        for note in part.bars[n].notes:
            onset = start + note.onset
            one = tied.pop((note.pitch, onset), None)  # Not every program writes where a tie ends.
            if one is None:
                one = _Sounding(onset, onset, number, note)
                sounding.append(one)
            one.end = onset + note.duration
            if note.tie in ("start", "continue"):
                tied[note.pitch, one.end] = one
    return sounding


def _ticks_per_beat(sounding: Sequence[_Sounding]) -> int:
    times = {time.denominator for one in sounding for time in (one.onset, one.end)}
    return _TICKS_PER_BEAT if all(_TICKS_PER_BEAT % time == 0 for time in times) else _FINE_TICKS_PER_BEAT


def _make_notes(sounding: Sequence[_Sounding], ticks: int) -> Notes:
    notes = [one.note for one in sounding]
    onsets = [round(one.onset * ticks) for one in sounding]
    ends = [round(one.end * ticks) for one in sounding]
    return make_notes(
        onsets,
        [max(end - onset, 1) for onset, end in zip(onsets, ends, strict=True)],
        [note.pitch for note in notes],
        track=[one.part for one in sounding],
        channel=_channels(sounding),
        velocity=[note.velocity for note in notes],
        program=[note.program for note in notes],
    )


def _channels(sounding: Sequence[_Sounding]) -> list[int]:
    """A channel for each pitched part; where there are more parts than channels, one for each program."""
    parts = sorted({one.part for one in sounding if not one.note.is_drum})
    programs = sorted({one.note.program for one in sounding if not one.note.is_drum})
    by_part = len(parts) <= len(PITCHED_CHANNELS)
    return [
        DRUM_CHANNEL
        if one.note.is_drum
        else PITCHED_CHANNELS[(parts.index(one.part) if by_part else programs.index(one.note.program)) % 15]
        for one in sounding
    ]


def _changes(part: NotatedPart, placed: _Placed, kind: type[_Kind]) -> Iterator[tuple[Fraction, _Kind]]:
    """Yields the changes of a kind; what holds in a measure that is jumped to is stated again."""
    before = _in_force_before(part, kind)
    previous = -1
    for n, start in placed:
        if n != previous + 1 and (change := before[n]) is not None:
            yield start, change
        yield from ((start + offset, change) for offset, change in part.bars[n].changes_of(kind))
        previous = n


def _in_force_before(part: NotatedPart, kind: type[_Kind]) -> list[_Kind | None]:
    """What holds where each measure starts, before its own changes."""
    found: list[_Kind | None] = [None]
    for bar in part.bars:
        changes = bar.changes_of(kind)
        found.append(changes[-1][1] if changes else found[-1])
    return found


def _bar_meters(
    nominal: Sequence[Meter | None], placed: _Placed, lengths: Sequence[Fraction]
) -> list[tuple[Fraction, Meter]]:
    """The meters of the bars as they are played. A bar of another length than its meter, such as a pick-up, has a meter
    of its own; two measures that make up one bar, on both sides of a repeat sign, are one."""
    meters: list[tuple[Fraction, Meter]] = []
    filled, bar_start = Fraction(0), Fraction(0)
    for place, (n, start) in enumerate(placed):
        current = nominal[n]
        if current is None:
            continue
        if not filled:
            bar_start = start
        filled += lengths[n]
        full = _length_of(current)
        is_last = place + 1 == len(placed)
        if not is_last and place > 0:
            following = placed[place + 1][0]
            if nominal[following] == current and filled + lengths[following] <= full:
                continue
        meters.append((bar_start, current if is_last and filled < full else _meter_of(filled, current)))
        filled = Fraction(0)
    return meters


def _meter_of(length: Fraction, nominal: Meter) -> Meter:
    """The meter of a bar of so many quarter notes: the nominal one where it fits, or none that can be written does."""
    for denominator in (nominal.denominator, 4, 8, 16, 32, 64):
        numerator = length * denominator / 4
        if numerator.denominator == 1 and 1 <= numerator <= 255:
            return Meter(0, int(numerator), denominator)
    return nominal


def _in_ticks(changes: Sequence[tuple[Fraction, _Kind]], ticks: int) -> list[_Kind]:
    """Gives the changes their ticks, and leaves out those that change nothing."""
    placed = {round(start * ticks): change for start, change in changes}
    kept: list[_Kind] = []
    for tick in sorted(placed):
        change = dataclasses.replace(placed[tick], tick=tick)
        if not kept or dataclasses.replace(kept[-1], tick=tick) != change:
            kept.append(change)
    return kept
