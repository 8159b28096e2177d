"""What each instrument plays: the lines that can be drawn from a phrase, and the ensembles that share them out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from vae_jax.data.builtin.harmony import Span
from vae_jax.data.builtin.plan import PHRASE_BARS, Plan, pick
from vae_jax.data.builtin.tune import Event, Phrase

BASS_DRUM, SNARE, CLOSED_HAT, CRASH, RIDE = 36, 38, 42, 49, 51


@dataclasses.dataclass(frozen=True)
class Passage:
    """A phrase at its place in the piece.

    Attributes:
      phrase: the four bars.
      texture, bass: the figures of chords and bass.
      snare: the snare drum's rhythm in each bar, in steps from the bar line.
      intensity: 0 (few and soft) to 3 (all and loud).
      resting: indices of the parts that are silent whatever the intensity.
      opens, closes: whether it is the first or the last of its section.
      is_last: whether the piece ends with it.
    """

    phrase: Phrase
    texture: str
    bass: str
    snare: tuple[int, ...]
    intensity: int
    resting: tuple[int, ...]
    opens: bool
    closes: bool
    is_last: bool


@dataclasses.dataclass(frozen=True)
class Part:
    """One track.

    Attributes:
      name: as the file states it.
      programs: General MIDI programs to choose from.
      lines: the lines that it plays, each with the semitones that it is moved by.
      entry: intensity from which on it plays.
      level: velocity above or below the others.
      held_percent: how much of its written length a note sounds.
      chance_percent: how often the part is there at all.
    """

    name: str
    programs: tuple[int, ...]
    lines: tuple[tuple[str, int], ...]
    entry: int = 0
    level: int = 0
    held_percent: int = 93
    chance_percent: int = 100

    @property
    def is_drum(self) -> bool:
        """Whether the part is percussion without pitch."""
        return self.lines[0][0] in ("kick", "snare", "cymbals")


def melody_line(passage: Passage, plan: Plan) -> list[Event]:
    """The tune."""
    return list(passage.phrase.melody)


def second_line(passage: Passage, plan: Plan) -> list[Event]:
    """A second voice under the tune: the next chord note at least a third below, or a third below a passing note."""
    phrase = passage.phrase
    events = []
    for start, steps, pitch in phrase.melody:
        if start < 0:
            continue
        chord = phrase.spans[phrase.span_index(start)].chord
        if (pitch - plan.tonic) % 12 in chord.pitch_classes:
            below = max(chord.pitches(plan.tonic, pitch - 12, pitch - 3))
        else:
            below = chord.scale_pitch(chord.degree(pitch, plan.tonic) - 2, plan.tonic)
        events.append(Event(start, steps, below))
    return events


def tenor_line(passage: Passage, plan: Plan) -> list[Event]:
    """The tenor in the rhythm of the texture."""
    return _struck(passage, plan, passage.phrase.tenor)


def alto_line(passage: Passage, plan: Plan) -> list[Event]:
    """The alto in the rhythm of the texture."""
    return _struck(passage, plan, passage.phrase.alto)


def held_alto_line(passage: Passage, plan: Plan) -> list[Event]:
    """The alto, held as long as its chord."""
    return [Event(s.start, s.steps, pitch) for s, pitch in zip(passage.phrase.spans, passage.phrase.alto, strict=True)]


def held_tenor_line(passage: Passage, plan: Plan) -> list[Event]:
    """The tenor, held as long as its chord."""
    return [Event(s.start, s.steps, pitch) for s, pitch in zip(passage.phrase.spans, passage.phrase.tenor, strict=True)]


def bass_line(passage: Passage, plan: Plan) -> list[Event]:
    """The bass: each chord's bass note on its first beat, and what the figure adds after it."""
    spans = passage.phrase.spans
    events = []
    for n, span in enumerate(spans):
        following = spans[n + 1].bass if n + 1 < len(spans) else span.bass
        pulse = plan.metre.pulse_steps
        if _is_cadence(passage, span, plan) or span.steps < 2 * pulse or passage.bass == "roots":
            events.append(Event(span.start, span.steps, span.bass))
        elif passage.bass == "pulse":
            events += [Event(start, pulse, span.bass) for start in range(span.start, span.start + span.steps, pulse)]
        elif passage.bass == "march":
            other = _other_bass(span, plan)
            starts = range(span.start, span.start + span.steps, pulse)
            events += [Event(start, pulse, (span.bass, other)[k % 2]) for k, start in enumerate(starts)]
        else:
            passing = _between(span, following, plan) or (_other_bass(span, plan) if following == span.bass else None)
            last = pulse if passing else 0
            events.append(Event(span.start, span.steps - last, span.bass))
            if passing:
                events.append(Event(span.start + span.steps - last, last, passing))
    return events


def descant_line(passage: Passage, plan: Plan) -> list[Event]:
    """A counter-melody of long notes above the tune, joined by passing notes."""
    phrase, pulse = passage.phrase, plan.metre.pulse_steps
    pitches: list[int] = []
    for span in phrase.spans:
        tune = {(e.pitch - plan.tonic) % 12 for e in phrase.melody if e.start <= span.start < e.start + e.steps}
        notes = span.chord.pitches(plan.tonic, plan.high_pitch - 4, plan.high_pitch + 9)
        notes = [p for p in notes if (p - plan.tonic) % 12 not in tune and (p - plan.tonic) % 12 != 11] or notes
        previous = pitches[-1] if pitches else plan.high_pitch + 3
        pitches.append(min(notes, key=lambda pitch: abs(pitch - previous)))
    events = []
    for n, (span, pitch) in enumerate(zip(phrase.spans, pitches, strict=True)):
        following = pitches[n + 1] if n + 1 < len(pitches) else pitch
        passing = _between(dataclasses.replace(span, bass=pitch), following, plan) if span.steps >= 2 * pulse else None
        last = pulse if passing else 0
        events.append(Event(span.start, span.steps - last, pitch))
        if passing:
            events.append(Event(span.start + span.steps - last, last, passing))
    return events


def arpeggio_line(passage: Passage, plan: Plan) -> list[Event]:
    """Broken chords in eighths, from the tenor up and back."""
    events = []
    for span, tenor, alto in zip(passage.phrase.spans, passage.phrase.tenor, passage.phrase.alto, strict=True):
        if _is_cadence(passage, span, plan):
            events += [Event(span.start, span.steps, tenor), Event(span.start, span.steps, alto)]
            continue
        above = span.chord.pitches(plan.tonic, alto + 3, alto + 12)[0]
        figure = (tenor, alto, above) if plan.metre.pulse_steps == 18 else (tenor, alto, above, alto)
        starts = range(span.start, span.start + span.steps, 6)
        events += [Event(start, 6, figure[k % len(figure)]) for k, start in enumerate(starts)]
    return events


def timpani_line(passage: Passage, plan: Plan) -> list[Event]:
    """Tonic and dominant where the harmony has them at its root, and a roll before and on a close."""
    tonic = 41 + (plan.tonic - 41) % 12
    drums = {0: tonic, 7: tonic + 7 if tonic < 46 else tonic - 5}
    events = []
    for span in passage.phrase.spans:
        if span.chord.bass not in drums:
            continue
        pitch = drums[span.chord.bass]
        if _is_cadence(passage, span, plan) and passage.is_last:
            events += [Event(start, 2, pitch) for start in range(span.start, span.start + span.steps - 2, 2)]
            events.append(Event(span.start + span.steps - 2, 2, pitch))
        elif passage.closes and span.chord.bass == 7 and span.steps >= 12:
            events += [Event(start, 3, pitch) for start in range(span.start, span.start + span.steps, 3)]
        elif plan.metre.accent(span.start) >= 1:
            events.append(Event(span.start, min(span.steps, plan.metre.pulse_steps), pitch))
    return events


def kick_line(passage: Passage, plan: Plan) -> list[Event]:
    """Bass drum on the strong beats."""
    strong = [step for step in range(0, plan.phrase_steps, plan.metre.pulse_steps) if plan.metre.accent(step) >= 2]
    return [Event(step, 6, BASS_DRUM) for step in strong]


def snare_line(passage: Passage, plan: Plan) -> list[Event]:
    """The snare's march rhythm, and a roll into the last bar of a section."""
    bar = plan.metre.bar_steps
    roll_start = (PHRASE_BARS - 1) * bar - 2 * plan.metre.pulse_steps if passage.closes else plan.phrase_steps
    starts = [n * bar + step for n in range(PHRASE_BARS) for step in passage.snare]
    if passage.closes:
        starts = [step for step in starts if step < roll_start]
        starts += [*range(roll_start, (PHRASE_BARS - 1) * bar, 3), (PHRASE_BARS - 1) * bar]
    return [Event(step, 3, SNARE) for step in starts]


def cymbal_line(passage: Passage, plan: Plan) -> list[Event]:
    """A crash where a section starts and where it arrives at its close, the ride on the beats at full strength."""
    arrival = (PHRASE_BARS - 1) * plan.metre.bar_steps
    crashes = [0] * passage.opens + [arrival] * passage.closes
    events = [Event(step, 12, CRASH) for step in crashes]
    if passage.intensity >= 3 and plan.style.name != "hymn":
        beats = range(0, arrival, plan.metre.pulse_steps)
        events += [Event(step, 6, RIDE) for step in beats if step not in crashes]
    return events


LINES: dict[str, Callable[[Passage, Plan], list[Event]]] = {
    "melody": melody_line, "second": second_line, "alto": alto_line, "tenor": tenor_line, "held alto": held_alto_line,
    "held tenor": held_tenor_line, "bass": bass_line, "descant": descant_line, "arpeggio": arpeggio_line,
    "timpani": timpani_line, "kick": kick_line, "snare": snare_line, "cymbals": cymbal_line,
}  # fmt: skip


def draw_snare(rng: np.random.Generator, plan: Plan) -> tuple[int, ...]:
    """Draws the snare's rhythm in one bar, in steps from the bar line."""
    if plan.metre.pulse_steps == 18:
        return pick(rng, (((0, 12, 18, 30), 1), ((0, 6, 12, 18, 24, 27, 30), 1), ((12, 18, 30), 1)))
    if plan.metre.bar_steps == 36:
        return pick(rng, (((12, 24), 2), ((0, 12, 18, 24), 1), ((12, 21, 24, 33), 1)))
    halves = (((12,), 2), ((0, 9, 12), 1), ((0, 12, 18), 1), ((0, 12, 15, 18), 1), ((12, 21), 1), ((0, 4, 8, 12), 1))
    starts: tuple[int, ...] = ()
    for half in range(0, plan.metre.bar_steps, 24):
        starts += tuple(half + step for step in pick(rng, halves))
    return starts


def _is_cadence(passage: Passage, span: Span, plan: Plan) -> bool:
    """Whether a chord is the tonic that closes its phrase: there all figures come to rest."""
    bar = plan.metre.bar_steps
    return span.start == (PHRASE_BARS - 1) * bar and span.steps == bar and span.chord.bass == 0


def _struck(passage: Passage, plan: Plan, pitches: tuple[int, ...]) -> list[Event]:
    return [
        Event(start, steps, pitch)
        for span, pitch in zip(passage.phrase.spans, pitches, strict=True)
        for start, steps in _strikes(passage, span, plan)
    ]


def _strikes(passage: Passage, span: Span, plan: Plan) -> list[tuple[int, int]]:
    """When the texture strikes a chord: (start, steps) of each time."""
    metre, end = plan.metre, span.start + span.steps
    if passage.texture == "held" or _is_cadence(passage, span, plan):
        return [(span.start, span.steps)]
    if passage.texture == "pulse":
        return [(start, metre.pulse_steps) for start in range(span.start, end, metre.pulse_steps)]
    if passage.texture == "eighths":
        return [(start, 6) for start in range(span.start, end, 6)]
    if passage.texture == "afterbeat":
        if metre.rhythms == "triple":
            return [(start, 12) for start in range(span.start, end, 12) if metre.accent(start) < 3]
        return [(start, 6) for start in range(span.start, end, 6) if start % metre.pulse_steps != 0]
    # "tutti" strikes with every note of the tune, "hymn" with those on a beat.
    least = 0 if passage.texture == "tutti" else 1
    onsets = [event.start for event in passage.phrase.melody if span.start < event.start < end]
    starts = [span.start, *(start for start in onsets if metre.accent(start) >= least)]
    return [(start, following - start) for start, following in zip(starts, [*starts[1:], end], strict=True)]


def _other_bass(span: Span, plan: Plan) -> int:
    """The bass's other note in a chord: the fifth of a root, the root of an inversion; a six-four stays where it is."""
    root, _, fifth = span.chord.pitch_classes[:3]
    if span.chord.bass == fifth:
        return span.bass
    wanted = fifth if span.chord.bass == root else root
    below = span.bass - (span.chord.bass - wanted) % 12
    return below if below >= 33 else below + 12


def _between(span: Span, following: int, plan: Plan) -> int | None:
    """The scale note between the span's bass and a following note that lies a third away, if it does."""
    start, end = (span.chord.degree(pitch, plan.tonic) for pitch in (span.bass, following))
    return span.chord.scale_pitch((start + end) // 2, plan.tonic) if abs(start - end) == 2 else None


_DRUM_KIT = Part("drums", (0,), (("kick", 0), ("snare", 0), ("cymbals", 0)), entry=2, level=-8, chance_percent=70)
_TIMPANI = Part("timpani", (47,), (("timpani", 0),), entry=2, level=-4)

_BAND_AND_STRINGS = (
    Part("trumpet(s)", (56,), (("melody", 0), ("second", 0)), entry=1, level=4, held_percent=90),
    Part("fr. horn(s)", (60,), (("tenor", 0), ("alto", 0)), level=-3),
    Part("trombone(s)", (57,), (("tenor", 0), ("bass", 12)), entry=2, held_percent=91),
    Part("tuba(s)", (58,), (("bass", 0),), entry=1, held_percent=90),
    Part("strings (hi)", (48, 49), (("melody", 0), ("melody", 12)), level=-4, held_percent=97),
    Part("strings (mid)", (48, 49), (("held alto", 0), ("held tenor", 0)), level=-8, held_percent=98),
    Part("strings (bass)", (48, 43), (("bass", 0), ("bass", -12)), level=-6, held_percent=96),
    _TIMPANI,
    dataclasses.replace(_DRUM_KIT, name="cymbals", chance_percent=95),
)
_PARADE_BAND = (
    Part("Flute/Melody 8va up", (73, 72), (("melody", 12),), entry=1, level=-4, chance_percent=85),
    Part("clarinets", (71, 66), (("melody", 0), ("second", 0)), level=-2),
    Part("trumpet", (56, 59), (("melody", 0),), entry=2, level=5, held_percent=88),
    Part("french horn", (60,), (("alto", 0), ("tenor", 0)), level=-4, held_percent=90),
    Part("trombones", (57,), (("held tenor", 0), ("held alto", 0)), entry=1, held_percent=92),
    Part("tuba", (58,), (("bass", 0), ("bass", -12)), held_percent=85),
    Part("glockenspiel", (9, 14), (("melody", 12),), entry=3, level=-14, chance_percent=60),
    _TIMPANI,
    dataclasses.replace(_DRUM_KIT, name="drums/perc", entry=1, chance_percent=100),
)
_ORGAN_AND_SOLO = (
    Part("Melody", (60, 56, 68, 73), (("melody", 0),), level=6),
    Part("R.H.", (19, 17, 18), (("melody", 0), ("alto", 0), ("second", 0)), level=-4, held_percent=97),
    Part("L.H.", (19, 17), (("tenor", 0), ("bass", 0)), level=-6, held_percent=97),
    Part("BASS", (32, 33), (("bass", -12),), entry=1, held_percent=88),
    Part("Strings", (48, 50), (("held alto", 0), ("held tenor", 12)), entry=1, level=-10, held_percent=98),
    Part("Celeste", (8, 14, 10), (("descant", 0),), entry=2, level=-10, chance_percent=60),
    Part("Kick (c3)", (0,), (("kick", 0),), entry=1, level=-4, chance_percent=85),
    Part("Snare (d3)", (0,), (("snare", 0),), entry=1, level=-12, chance_percent=85),
    Part("Crash Cymbal (c#4)", (0,), (("cymbals", 0),), entry=2, level=-8, chance_percent=85),
)
_CHOIR_AND_PIANO = (
    Part("choir (soprano/alto)", (52, 53), (("melody", 0), ("alto", 0)), level=3, held_percent=96),
    Part("choir (tenor/bass)", (52,), (("tenor", 0), ("bass", 0)), held_percent=96),
    Part("piano R.H.", (0, 1), (("arpeggio", 0), ("melody", 12)), level=-6),
    Part("piano L.H.", (0,), (("bass", 0), ("bass", -12)), level=-6),
    Part("strings 8va", (48, 49), (("melody", 12), ("held alto", 12)), entry=1, level=-8, held_percent=97),
    Part("flute", (73, 75), (("descant", 0),), entry=2, level=-6, chance_percent=75),
    Part("f.horn", (60, 61), (("second", 0), ("tenor", 0)), entry=1, level=-5, chance_percent=75),
    dataclasses.replace(_TIMPANI, chance_percent=80),
    dataclasses.replace(_DRUM_KIT, chance_percent=60),
)
_BRASS_SECTION = (
    Part("MELODY", (61, 56), (("melody", 0), ("second", 0)), level=5, held_percent=89),
    Part("Chords", (61, 60), (("tenor", 0), ("alto", 0)), held_percent=88),
    Part("tuba", (58, 57), (("bass", 0), ("bass", -12)), held_percent=88),
    Part("Organ", (19, 16), (("melody", 0), ("held alto", 0), ("held tenor", 0)), entry=1, level=-8, held_percent=98),
    Part("strings (hi)", (48, 49), (("descant", 0), ("melody", 12)), entry=2, level=-6, held_percent=97),
    Part("harp", (46, 11), (("arpeggio", 12),), level=-14, chance_percent=60),
    _TIMPANI,
    dataclasses.replace(_DRUM_KIT, entry=1, chance_percent=90),
)
_ENSEMBLES = (
    (_BAND_AND_STRINGS, 5), (_PARADE_BAND, 3), (_ORGAN_AND_SOLO, 3), (_CHOIR_AND_PIANO, 2), (_BRASS_SECTION, 2),
)  # fmt: skip


def draw_parts(rng: np.random.Generator) -> tuple[Part, ...]:
    """Draws the ensemble of a piece: who is there, each with one program."""
    present = [part for part in pick(rng, _ENSEMBLES) if int(rng.integers(100)) < part.chance_percent]
    programs = [part.programs[int(rng.integers(len(part.programs)))] for part in present]
    return tuple(
        dataclasses.replace(part, programs=(program,)) for part, program in zip(present, programs, strict=True)
    )
