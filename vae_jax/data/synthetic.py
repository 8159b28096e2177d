"""Small tonal pieces generated from a seed: music for tests, the smoke config and benchmarks of scale.

A piece has a key, a meter, perhaps a pick-up, an ensemble and a form of four-bar phrases. A phrase is a chord a bar and
a melody over them; a phrase that the form names again returns note for note, or with passing notes added. The other
tracks follow from the phrase and from a few patterns drawn once a piece. Piece `index` of corpus `seed` depends on
these two numbers only; all draws are integers, so that every machine makes the same notes.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from vae_jax.music import score as score_lib
from vae_jax.music import theory
from vae_jax.music.score import KeySignature, Meter, Score, Tempo

STEPS_PER_BEAT = 4
PHRASE_BARS = 4

_T = TypeVar("_T")
_Motif = Sequence[tuple[int, int]]  # Length in steps and scale steps from the note before, of each note of a bar.


class _Rhythms(NamedTuple):
    """A time signature and rhythms that fit it, in steps; an accent falls on the start of each cell."""

    numerator: int
    denominator: int
    pulse: int
    bar_steps: int
    cell_steps: int
    cells: tuple[tuple[int, ...], ...]
    pickups: tuple[int, ...]


class _Event(NamedTuple):
    """A note in steps from the start of its phrase; `pitch` is a scale degree, 0 the tonic above G3, or a MIDI note."""

    start: int
    steps: int
    pitch: int


class _Phrase(NamedTuple):
    """Four bars: the scale degree (0..6) of each bar's triad, and the melody, whose pick-up starts below zero."""

    chords: tuple[int, ...]
    melody: tuple[_Event, ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is drawn once a piece."""

    fifths: int  # The key signature.
    minor: bool
    meter: _Rhythms
    pickup: int  # Steps before the first bar line, and by which each phrase starts before its own.
    form: tuple[str, ...]  # Names of the phrases in order, see `_FORMS`.
    ensemble: tuple[tuple[str, int, str], ...]  # Name, program and role of each track.
    rhythms: dict[str, tuple[int, ...]]  # Note lengths of each accompanying role in a bar.
    voicings: tuple[int, ...]  # The lowest scale degree that the chord of each bar of a phrase may have.
    bass: tuple[int, ...]  # Scale steps above the root that the bass plays in turn.
    arpeggio: tuple[int, ...]  # Which notes of the chord (0 to 3, from below) an arpeggio plays in turn.
    ticks_per_beat: int
    beats_per_minute: int
    jitter_ticks: int  # The largest deviation of an onset from its step.

    def pitch(self, degree: int, chord: int) -> int:
        """Returns the MIDI note of a scale degree; the dominant of a minor key has the raised seventh."""
        scale = theory.MAJOR_SCALE
        if self.minor:
            scale = theory.HARMONIC_MINOR_SCALE if chord == 4 else theory.NATURAL_MINOR_SCALE
        tonic = 55 + (theory.tonic_pitch_class(self.fifths, self.minor) - 55) % 12
        return tonic + 12 * (degree // 7) + scale[degree % 7]


_DUPLE = ((8,), (4, 4), (6, 2), (4, 2, 2), (2, 2, 4), (3, 1, 4), (2, 2, 2, 2))
_TRIPLE = ((12,), (8, 4), (4, 8), (4, 4, 4), (6, 2, 4), (4, 2, 2, 4), (4, 4, 2, 2), (2, 2, 4, 4))
_COMPOUND = ((6,), (4, 2), (2, 2, 2), (3, 1, 2), (2, 4))
_METERS = (
    *[_Rhythms(4, 4, 4, 16, 8, _DUPLE, (0, 0, 2, 4))] * 5,
    *[_Rhythms(3, 4, 4, 12, 12, _TRIPLE, (0, 0, 4))] * 3,
    _Rhythms(2, 4, 4, 8, 8, _DUPLE, (0, 2)),
    _Rhythms(6, 8, 6, 12, 6, _COMPOUND, (0, 2)),
)
# A phrase's name: its letter; "-" where it ends on the dominant, "." on the tonic; "*" where passing notes are added.
# Phrases of one letter share their first half; one name is one phrase, note for note.
_FORMS = (
    "A- A. B- A.",
    "A- B. A- B.*",
    "A- A. B- A.*",
    "A- A. B- A. C- D.",
    "A- B. A- B. C- D. C- D.",
    "A- A. B- C. A- A.*",
    "A- A. B- A. C- C. B- A.*",
)
_MOTIFS_OF_LETTER = {"A": (0, 1, 0), "B": (2, 0, 2), "C": (1, 3, 1), "D": (3, 2, 3)}  # In the first three bars.
_OPENINGS = ((0, 3), (0, 4), (0, 5), (5, 0), (3, 0), (0, 1), (0, 2), (4, 0))  # Chords of the first two bars.
_CLOSINGS = {"-": ((1, 4), (3, 4), (0, 4)), ".": ((4, 0),)}  # Of the last two.
_LAST_DEGREES = {"-": (1, 4, 6), ".": (0,)}  # Of the last note, modulo an octave.
_TRIAD = (0, 2, 4)
_HIGHEST_DEGREE = 11  # Of the melody; its lowest is 0.
_MOTIF_STEPS = (-2, -1, -1, -1, 1, 1, 1, 2, 0, 3, -3)

# Name, General MIDI program and role of each track.
_ENSEMBLES: tuple[tuple[tuple[str, int, str], ...], ...] = (
    (("trumpet", 56, "melody"), ("horn", 60, "second"), ("trombone", 57, "chords"), ("tuba", 58, "bass"),
     ("strings", 48, "pad"), ("drums", 0, "drums")),
    (("flute", 73, "melody"), ("piano R.H.", 0, "arpeggio"), ("piano L.H.", 0, "bass"), ("strings", 49, "pad"),
     ("drums", 0, "drums")),
    (("choir", 52, "melody"), ("organ", 19, "chords"), ("clarinet", 71, "second"), ("pedal", 19, "bass"),
     ("cello", 42, "tenor")),
    (("violin", 40, "melody"), ("viola", 41, "second"), ("cello", 42, "tenor"), ("contrabass", 43, "bass"),
     ("harp", 46, "arpeggio")),
    (("lead", 80, "melody"), ("guitar", 25, "arpeggio"), ("organ", 16, "pad"), ("bass", 33, "bass"),
     ("brass", 61, "second"), ("drums", 0, "drums")),
)  # fmt: skip
_VELOCITIES = {"melody": 92, "second": 80, "chords": 76, "arpeggio": 72, "pad": 66, "tenor": 70, "bass": 84}
_BASS_DRUM, _SNARE, _CLOSED_HAT, _CRASH = 36, 38, 42, 49


def make_score(seed: int, index: int) -> Score:
    """Generates piece `index` of the corpus of `seed`; the first track holds the title alone. Raises ValueError where
    seed or index is negative."""
    rng = _generator(seed, index)
    plan = _draw_plan(rng)
    phrases = _compose_phrases(rng, plan)
    rows: list[tuple[int, int, int, int]] = []  # Track, start, steps, pitch.
    for track, (_, _, role) in enumerate(plan.ensemble, start=1):
        parts = {name: _make_part(role, phrase, plan) for name, phrase in phrases.items()}
        for n, name in enumerate(plan.form):
            begin = plan.pickup + n * PHRASE_BARS * plan.meter.bar_steps
            rows += [(track, begin + start, steps, pitch) for start, steps, pitch in parts[name]]
    return _to_score(rng, plan, np.array(rows, dtype=np.int64), _title(plan, index))


def piece_name(seed: int, index: int) -> str:
    """Names the file of a piece, such as "synthetic_0007_G_major.mid"; unique within its corpus."""
    return f"{_title(make_plan(seed, index), index)}.mid"


def make_corpus(num_pieces: int, seed: int) -> list[tuple[str, Score]]:
    """Generates pieces 0 to num_pieces - 1 of a seed; returns (name, score) of each."""
    return [(piece_name(seed, index), make_score(seed, index)) for index in range(num_pieces)]


def make_plan(seed: int, index: int) -> Plan:
    """Returns the plan of a piece; see `make_score`."""
    return _draw_plan(_generator(seed, index))


def _generator(seed: int, index: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, index]))


def _title(plan: Plan, index: int) -> str:
    return f"synthetic_{index:04d}_{theory.key_name(plan.fifths, plan.minor).replace(' ', '_')}"


def _pick(rng: np.random.Generator, options: Sequence[_T]) -> _T:
    return options[int(rng.integers(len(options)))]


def _draw_plan(rng: np.random.Generator) -> Plan:
    meter = _pick(rng, _METERS)
    ticks_per_beat = _pick(rng, (480, 480, 192, 384))
    return Plan(
        fifths=int(rng.integers(-5, 3)),  # No sharp in a tonic: it becomes part of file names.
        minor=int(rng.integers(4)) == 0,
        meter=meter,
        pickup=_pick(rng, meter.pickups),
        form=tuple(_pick(rng, _FORMS).split()),
        ensemble=_pick(rng, _ENSEMBLES),
        rhythms={
            "chords": _draw_bar(rng, meter),
            "bass": _draw_bar(rng, meter),
            "pad": (meter.bar_steps,),
            "tenor": (meter.pulse,) * (meter.bar_steps // meter.pulse),
            "arpeggio": (2,) * (meter.bar_steps // 2),
        },
        voicings=tuple(rng.integers(-8, -3, size=PHRASE_BARS).tolist()),
        bass=tuple(_pick(rng, (0, 2, 4, 7)) for _ in range(13)),
        arpeggio=tuple(rng.integers(4, size=int(rng.integers(5, 14))).tolist()),
        ticks_per_beat=ticks_per_beat,
        beats_per_minute=int(rng.integers(72, 133)),
        jitter_ticks=_pick(rng, (0, 1, 2)) * ticks_per_beat // 192,
    )


def _draw_bar(rng: np.random.Generator, meter: _Rhythms) -> tuple[int, ...]:
    """Draws a rhythm that fills one bar."""
    return tuple(n for _ in range(meter.bar_steps // meter.cell_steps) for n in _pick(rng, meter.cells))


def _compose_phrases(rng: np.random.Generator, plan: Plan) -> dict[str, _Phrase]:
    """Composes each phrase of the form once; maps its name to it."""
    motifs = [[(steps, _pick(rng, _MOTIF_STEPS)) for steps in _draw_bar(rng, plan.meter)] for _ in range(4)]
    openings: dict[str, _Phrase] = {}
    phrases: dict[str, _Phrase] = {}
    for name in plan.form:
        letter, cadence, varied = name[0], name[1], name[2:]
        mine = [motifs[n] for n in _MOTIFS_OF_LETTER[letter]]
        if letter not in openings:
            openings[letter] = _open(rng, plan, mine)
        if letter + cadence not in phrases:
            phrases[letter + cadence] = _close(rng, plan, openings[letter], cadence, mine[2])
        if varied:
            phrases[name] = _add_passing_notes(phrases[letter + cadence])
    return phrases


def _open(rng: np.random.Generator, plan: Plan, motifs: Sequence[_Motif]) -> _Phrase:
    """Composes the pick-up and the first two bars of a phrase."""
    chords = _pick(rng, _OPENINGS)
    first = _follow_motif(plan, 0, chords[0], motifs[0], int(rng.integers(3, 8)))
    second = _follow_motif(plan, 1, chords[1], motifs[1], first[-1].pitch)
    num_before = plan.pickup // 2  # Eighths that climb to the first note.
    before = [_Event(2 * (n - num_before), 2, first[0].pitch + n - num_before) for n in range(num_before)]
    return _Phrase(chords, (*before, *first, *second))


def _close(rng: np.random.Generator, plan: Plan, opening: _Phrase, cadence: str, motif: _Motif) -> _Phrase:
    """Adds the last two bars of a phrase."""
    chords = _pick(rng, _CLOSINGS[cadence])
    third = _follow_motif(plan, 2, chords[0], motif, opening.melody[-1].pitch)
    goal = _nearest(third[-1].pitch, _LAST_DEGREES[cadence])
    last = _Event(3 * plan.meter.bar_steps, plan.meter.bar_steps - plan.pickup, goal)
    return _Phrase(opening.chords + chords, (*opening.melody, *third, last))


def _follow_motif(plan: Plan, bar: int, chord: int, motif: _Motif, degree: int) -> list[_Event]:
    """Sets a bar to a motif from the degree before it; accented notes move to the nearest note of the chord."""
    events, start = [], bar * plan.meter.bar_steps
    for steps, change in motif:
        degree += change if 0 <= degree + change <= _HIGHEST_DEGREE else -change
        if start % plan.meter.cell_steps == 0:
            degree = _nearest(degree, [(chord + third) % 7 for third in _TRIAD])
        events.append(_Event(start, steps, degree))
        start += steps
    return events


def _nearest(degree: int, allowed: Sequence[int]) -> int:
    """Returns the nearest degree in range that is one of the allowed modulo an octave, the lower on a tie."""
    options = [other for other in range(_HIGHEST_DEGREE + 1) if other % 7 in allowed]
    return min(options, key=lambda other: abs(other - degree))


def _add_passing_notes(phrase: _Phrase) -> _Phrase:
    """Fills thirds between notes of the melody, where the first lasts a beat or more."""
    melody: list[_Event] = []
    for event, following in zip(phrase.melody, (*phrase.melody[1:], phrase.melody[-1]), strict=True):
        half = event.steps // 2
        if event.steps >= STEPS_PER_BEAT and abs(following.pitch - event.pitch) == 2:
            passing = _Event(event.start + half, event.steps - half, (event.pitch + following.pitch) // 2)
            melody += [_Event(event.start, half, event.pitch), passing]
        else:
            melody.append(event)
    return _Phrase(phrase.chords, tuple(melody))


def _make_part(role: str, phrase: _Phrase, plan: Plan) -> list[_Event]:
    """Returns what a track of a role plays in a phrase, as MIDI notes."""
    bar_steps = plan.meter.bar_steps
    if role == "drums":
        return [event for bar in range(PHRASE_BARS) for event in _drum_bar(bar, plan)]
    events = []
    if role in ("melody", "second"):
        for start, steps, degree in phrase.melody:
            chord = phrase.chords[max(start, 0) // bar_steps]
            if role == "melody":
                events.append(_Event(start, steps, plan.pitch(degree, chord)))
            elif start >= 0:  # A third below, or the next chord note below a chord note.
                below = next(
                    n for n in range(degree - 2, degree - 9, -1) if not _is_of(degree, chord) or _is_of(n, chord)
                )
                events.append(_Event(start, steps, plan.pitch(below, chord)))
        return events
    for bar, chord in enumerate(phrase.chords):
        is_close = bar == PHRASE_BARS - 1 and chord == 0  # All come to rest on the tonic.
        events += [
            _Event(bar * bar_steps + start, steps, plan.pitch(degree, chord))
            for start, steps, degree in _accompany(role, bar, chord, plan, is_close)
        ]
    return events


def _is_of(degree: int, chord: int) -> bool:
    return (degree - chord) % 7 in _TRIAD


def _accompany(role: str, bar: int, chord: int, plan: Plan, is_close: bool) -> list[_Event]:
    """Returns a bar of accompaniment in scale degrees; where a phrase closes, its notes are held."""
    rhythm = (plan.meter.bar_steps,) if is_close else plan.rhythms[role]
    starts = [sum(rhythm[:n]) for n in range(len(rhythm))]
    lowest = plan.voicings[bar]
    voicing = [degree for degree in range(lowest, lowest + 7) if _is_of(degree, chord)]
    if role in ("chords", "pad"):
        return [_Event(start, steps, note) for start, steps in zip(starts, rhythm, strict=True) for note in voicing]
    first = bar * len(rhythm)
    if role == "bass":
        line = [chord - 14 + (plan.bass[(first + n) % len(plan.bass)] if n else 0) for n in range(len(rhythm))]
    else:
        notes = [*voicing, voicing[0] + 7]
        line = [notes[plan.arpeggio[(first + n) % len(plan.arpeggio)]] for n in range(len(rhythm))]
    return [_Event(*note) for note in zip(starts, rhythm, line, strict=True)]


def _drum_bar(bar: int, plan: Plan) -> list[_Event]:
    meter = plan.meter
    accents = range(0, meter.bar_steps, meter.cell_steps)
    hits = {(step, _BASS_DRUM) for step in accents}
    hits |= {(step, _SNARE) for step in range(0, meter.bar_steps, meter.pulse) if step not in accents}
    hits |= {(step, _CLOSED_HAT) for step in range(0, meter.bar_steps, 2)}
    hits |= {(0, _CRASH)} if bar == 0 else set()
    return [_Event(bar * meter.bar_steps + step, 2, pitch) for step, pitch in sorted(hits)]


def _to_score(rng: np.random.Generator, plan: Plan, rows: np.ndarray, title: str) -> Score:
    """Turns rows [N, 4] of track, start, steps and pitch into a score."""
    track, start, steps, pitch = rows.T
    meter, step_ticks = plan.meter, plan.ticks_per_beat // STEPS_PER_BEAT
    jitter = rng.integers(-plan.jitter_ticks, plan.jitter_ticks + 1, len(rows))
    # Notes are shortened by more than twice the jitter: repeated ones do not overlap.
    duration = steps * step_ticks * np.where(steps >= 8, 96, 90) // 100
    in_bar = (start - plan.pickup) % meter.bar_steps
    accent = 5 * (in_bar == 0) + 5 * (in_bar % meter.cell_steps == 0)
    names, programs, roles = zip(*plan.ensemble, strict=True)
    velocity = np.array([_VELOCITIES.get(role, 86) for role in roles])[track - 1]
    channel = np.array([score_lib.DRUM_CHANNEL if role == "drums" else n for n, role in enumerate(roles)])
    notes = score_lib.make_notes(
        np.maximum(start * step_ticks + jitter, 0),
        duration,
        pitch,
        track=track,
        channel=channel[track - 1],
        velocity=velocity + accent + rng.integers(-5, 6, len(rows)),
        program=np.array(programs)[track - 1],
    )
    beat = 60_000_000 // plan.beats_per_minute
    last_bar = step_ticks * (plan.pickup + (len(plan.form) * PHRASE_BARS - 1) * meter.bar_steps)
    meters = [Meter(plan.pickup * step_ticks, meter.numerator, meter.denominator)]
    return score_lib.make_score(
        plan.ticks_per_beat,
        notes,
        track_names=(title, *names),
        tempos=[Tempo(0, beat), Tempo(last_bar, beat * 140 // 100)],
        meters=[Meter(0, plan.pickup // 2, 8), *meters] if plan.pickup else meters,  # A pick-up is a short first bar.
        keys=[KeySignature(0, plan.fifths, plan.minor)],
    )
