"""The tune: motifs, and phrases whose pitches are the cheapest path through what a singer would find natural."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vae_jax.data.builtin import harmony
from vae_jax.data.builtin.harmony import Chord, Span
from vae_jax.data.builtin.plan import PHRASE_BARS, Plan, pick

# Rhythms in steps; those of "duple" fill half a bar of 4/4 or a bar of 2/4, the others a bar.
_RHYTHMS: dict[str, tuple[tuple[str, tuple[int, ...]], ...]] = {
    "duple": (
        ("long", (24,)), ("plain", (12, 12)), ("plain", (12, 12)), ("plain", (12, 6, 6)), ("running", (6, 6, 12)),
        ("running", (6, 6, 6, 6)), ("dotted", (18, 6)), ("dotted", (9, 3, 12)), ("dotted", (12, 9, 3)),
        ("dotted", (9, 3, 9, 3)), ("triplet", (4, 4, 4, 12)), ("triplet", (12, 4, 4, 4)),
    ),
    "triple": (
        ("long", (24, 12)), ("plain", (12, 12, 12)), ("plain", (12, 12, 12)), ("plain", (24, 12)),
        ("running", (12, 12, 6, 6)), ("running", (12, 6, 6, 6, 6)), ("dotted", (18, 6, 12)),
        ("dotted", (12, 9, 3, 12)), ("dotted", (9, 3, 12, 12)), ("triplet", (12, 12, 4, 4, 4)),
    ),
    "compound": (
        ("long", (18, 18)), ("plain", (12, 6, 12, 6)), ("plain", (12, 6, 18)), ("plain", (18, 12, 6)),
        ("running", (6, 6, 6, 12, 6)), ("running", (6, 6, 6, 6, 6, 6)), ("dotted", (9, 3, 6, 12, 6)),
        ("dotted", (9, 3, 6, 18)),
    ),
}  # fmt: skip
_DIRECTED_STEPS = ((1, 8), (0, 2), (-1, 1), (2, 4), (3, 2))

# Which motifs the first three bars of a phrase use, and where its line should lie: start, peak and end in sixteenths of
# the range, and the bar of the peak. "B" and "D" hold the climax: about three quarters through their sections.
_PHRASE_MOTIFS = {"A": (0, 1, 0), "B": (2, 2, 1), "C": (3, 0, 3), "D": (2, 3, 1)}
_PHRASE_CONTOURS = {"A": (4, 11, 4, 1), "B": (9, 16, 6, 2), "C": (9, 12, 5, 0), "D": (11, 17, 4, 1)}

_FORBIDDEN = 10_000
# Cost of an interval by its size in semitones: steps are free, then thirds; tritones and sevenths are not sung.
_INTERVAL_COSTS = np.array([4, 0, 0, 3, 3, 5, 60, 6, 12, 13, 70, 80, 14] + [_FORBIDDEN] * 12, dtype=np.int64)


class Event(NamedTuple):
    """A written note: start and length in steps, and a MIDI pitch; a pick-up starts below zero."""

    start: int
    steps: int
    pitch: int


@dataclasses.dataclass(frozen=True)
class Motif:
    """One bar of rhythm in steps, and the scale steps from each of its notes to the next."""

    rhythm: tuple[int, ...]
    scale_steps: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Phrase:
    """Four bars in four voices; tenor and alto hold one pitch for each chord."""

    progression: str
    spans: tuple[Span, ...]
    melody: tuple[Event, ...]
    tenor: tuple[int, ...]
    alto: tuple[int, ...]

    def span_index(self, step: int) -> int:
        """Index of the chord that sounds at a step; the first chord's for the pick-up."""
        return max(0, sum(span.start <= step for span in self.spans) - 1)


@dataclasses.dataclass(frozen=True)
class _Slot:
    """A note of the tune that waits for its pitch.

    `motif_step` is the scale step from the note before that the motif asks for; `fixed` are the only pitch classes
    above the tonic that it may take, `pitch` the only pitch.
    """

    start: int
    steps: int
    span: Span
    accent: int
    target: int
    motif_step: int | None
    fixed: tuple[int, ...] = ()
    pitch: int | None = None


def draw_motifs(rng: np.random.Generator, plan: Plan) -> list[Motif]:
    """Draws the four motifs that all of a piece's phrases are built from."""
    weights = dict(plan.style.rhythm_weights)
    bank = [(rhythm, weights[kind]) for kind, rhythm in _RHYTHMS[plan.metre.rhythms]]
    motifs = []
    for _ in range(4):
        rhythm: tuple[int, ...] = ()
        while sum(rhythm) < plan.metre.bar_steps:
            rhythm += pick(rng, bank)
        direction = pick(rng, ((1, 1), (-1, 1)))
        turn = int(rng.integers(1, len(rhythm) + 1))
        scale_steps = tuple(
            direction * (1 if n < turn else -1) * pick(rng, _DIRECTED_STEPS) for n in range(len(rhythm) - 1)
        )
        motifs.append(Motif(rhythm, scale_steps))
    return motifs


def compose_phrase(
    rng: np.random.Generator, plan: Plan, name: str, motifs: Sequence[Motif], answered: Phrase | None
) -> Phrase:
    """Composes four bars.

    Args:
      rng: consumed.
      plan: of the piece.
      name: a letter and its cadence, such as "A-" or "A.".
      motifs: the piece's motifs.
      answered: a phrase of the same letter with another cadence; its first half is kept.
    """
    letter, closing = name[0], name[1]
    opening = "statement" if letter == "A" else "contrast"
    fixed_opening = harmony.opening_of(answered.progression) if answered else None
    progression = harmony.draw_chords(rng, opening, closing, fixed_opening)
    spans = harmony.lay_out(progression, plan)
    slots = _make_slots(rng, plan, letter, closing, motifs, spans)
    if answered:
        half = PHRASE_BARS // 2 * plan.metre.bar_steps
        kept = {event.start: event.pitch for event in answered.melody if event.start < half}
        slots = [dataclasses.replace(slot, pitch=kept.get(slot.start)) for slot in slots]
    pitches = _find_pitches(rng, slots, plan)
    melody = tuple(Event(slot.start, slot.steps, pitch) for slot, pitch in zip(slots, pitches, strict=True))
    tops = [_sounding(melody, span.start).pitch for span in spans]
    floors = [
        min([top, *(event.pitch for event in melody if span.start <= event.start < span.start + span.steps)])
        for span, top in zip(spans, tops, strict=True)
    ]
    voices = harmony.inner_voices(spans, tops, floors, plan.tonic)
    return Phrase(progression, spans, melody, tuple(tenor for tenor, _ in voices), tuple(alto for _, alto in voices))


def decorate(phrase: Phrase, plan: Plan) -> Phrase:
    """Fills thirds between even notes of the tune with a passing note, as a second verse may."""
    melody: list[Event] = []
    for event, following in zip(phrase.melody, [*phrase.melody[1:], None], strict=True):
        span = phrase.spans[phrase.span_index(event.start)]
        from_degree = span.chord.degree(event.pitch, plan.tonic)
        to_degree = span.chord.degree(following.pitch, plan.tonic) if following else from_degree
        if event.start >= 0 and event.steps == 12 and abs(to_degree - from_degree) == 2:
            passing = span.chord.scale_pitch((from_degree + to_degree) // 2, plan.tonic)
            melody += [event._replace(steps=6), Event(event.start + 6, 6, passing)]
        else:
            melody.append(event)
    return dataclasses.replace(phrase, melody=tuple(melody))


def _sounding(melody: Sequence[Event], step: int) -> Event:
    return next(event for event in reversed(melody) if event.start <= step)


def _make_slots(
    rng: np.random.Generator, plan: Plan, letter: str, closing: str, motifs: Sequence[Motif], spans: Sequence[Span]
) -> list[_Slot]:
    """Lays the rhythm of pick-up, three bars of motifs and a cadence, with the targets of the line."""
    metre = plan.metre
    bars: list[tuple[tuple[int, ...], tuple[int | None, ...]]] = []
    for index in _PHRASE_MOTIFS[letter]:
        bars.append((motifs[index].rhythm, (None, *motifs[index].scale_steps)))
    cadence = _cadence_rhythm(rng, plan, closing)
    bars.append((cadence, (None,) * len(cadence)))

    slots = []
    start = -plan.pickup_steps
    # A pick-up is sung in the key, whatever chord it leads to.
    before = dataclasses.replace(spans[0], chord=harmony.chord("I", plan.minor))
    for steps in plan.pickup:
        # The dominant is the usual pick-up and belongs to both chords that may still sound from the phrase before.
        fixed = (7,) if start % metre.pulse_steps == 0 or start == -plan.pickup_steps else ()
        slots.append(_Slot(start, steps, before, 0, _target(plan, letter, start), None, fixed))
        start += steps
    for rhythm, motif_steps in bars:
        for steps, motif_step in zip(rhythm, motif_steps, strict=True):
            span = next(span for span in reversed(spans) if span.start <= start)
            target = _target(plan, letter, start)
            slots.append(_Slot(start, steps, span, metre.accent(start), target, motif_step))
            start += steps
    goal = (0,) if closing == "." else (2, 7, 11)
    return [*slots[:-1], dataclasses.replace(slots[-1], fixed=goal)]


def _cadence_rhythm(rng: np.random.Generator, plan: Plan, closing: str) -> tuple[int, ...]:
    """Rhythm of a phrase's last bar, which leaves room for the next pick-up."""
    room = plan.metre.bar_steps - plan.pickup_steps
    pulse = plan.metre.pulse_steps
    if closing == "." or room <= 2 * pulse:
        return (room,)
    return pick(rng, (((room,), 1), ((pulse, room - pulse), 2), ((2 * pulse, room - 2 * pulse), 2)))


def _target(plan: Plan, letter: str, step: int) -> int:
    """Pitch that the line should be near at a step: from start to peak to end of the phrase's contour."""
    first, peak, last, peak_bar = _PHRASE_CONTOURS[letter]
    peak_step = peak_bar * plan.metre.bar_steps + plan.metre.bar_steps // 2
    if step < peak_step:
        sixteenths = first * 64 + (peak - first) * 64 * max(step, 0) // peak_step
    else:
        sixteenths = peak * 64 + (last - peak) * 64 * (step - peak_step) // (plan.phrase_steps - peak_step)
    return plan.low_pitch + (plan.high_pitch - plan.low_pitch) * sixteenths // (16 * 64)


def _find_pitches(rng: np.random.Generator, slots: Sequence[_Slot], plan: Plan) -> list[int]:
    """Finds the cheapest tune: dynamic programming over pairs of successive pitches, in integers throughout.

    A pair is the state so that a leap can be judged together with what follows it.
    """
    pitches = np.arange(plan.low_pitch, plan.high_pitch + 1)
    interval = pitches[None, :] - pitches[:, None]
    turn = _turn_costs(interval)
    nodes = np.stack([_node_costs(slot, pitches, plan) for slot in slots])
    nodes += rng.integers(0, 7, nodes.shape)  # Whim: without it a progression and a motif had one tune.
    pairs = [_pair_costs(before, slot, interval, pitches, plan) for before, slot in itertools.pairwise(slots)]
    total = nodes[0][:, None] + pairs[0] + nodes[1][None, :]
    choices = []
    for node, pair in zip(nodes[2:], pairs[1:], strict=True):
        options = total[:, :, None] + turn
        choices.append(options.argmin(axis=0))
        total = options.min(axis=0) + pair + node[None, :]
    second, last = (int(index) for index in np.unravel_index(total.argmin(), total.shape))
    path = [last, second]
    for choice in reversed(choices):
        path.append(int(choice[path[-1], path[-2]]))
    return [int(pitches[index]) for index in reversed(path)]


def _is_chord_note(chord: Chord, pitches: np.ndarray, tonic: int) -> np.ndarray:
    return np.isin((pitches - tonic) % 12, chord.pitch_classes)


def _node_costs(slot: _Slot, pitches: np.ndarray, plan: Plan) -> np.ndarray:
    """Cost of each pitch by itself, [P]."""
    above_tonic = (pitches - plan.tonic) % 12
    chord = slot.span.chord
    # Motifs shape the line from note to note; its target only keeps it on course.
    costs = np.abs(pitches - slot.target) * 3 // 2
    # Passing notes belong between the beats, may fall on a light one, and do not start a bar.
    outside = 2 + 5 * (slot.accent > 0) + 45 * (slot.accent > 1) + 5 * (slot.steps >= 12) + 30 * (slot.steps > 12)
    costs += np.where(_is_chord_note(chord, pitches, plan.tonic), 0, outside)
    costs += np.where(np.isin(above_tonic, chord.scale), 0, _FORBIDDEN)
    if slot.accent and len(chord.pitch_classes) == 4:
        costs += 6 * (above_tonic == chord.pitch_classes[3])
    if slot.fixed:
        costs += np.where(np.isin(above_tonic, slot.fixed), 0, _FORBIDDEN)
    if slot.pitch is not None:
        costs += np.where(pitches == slot.pitch, 0, _FORBIDDEN)
    return costs


def _pair_costs(before: _Slot, slot: _Slot, interval: np.ndarray, pitches: np.ndarray, plan: Plan) -> np.ndarray:
    """Cost of going from one pitch to the next, [P, P]."""
    costs = _INTERVAL_COSTS[np.abs(interval)].copy()
    is_step = (np.abs(interval) >= 1) & (np.abs(interval) <= 2)
    # A note outside its chord is reached by step (or held over) and left by step.
    foreign = ~_is_chord_note(slot.span.chord, pitches, plan.tonic)
    costs += 60 * (foreign[None, :] & ~(is_step | (interval == 0)))
    foreign_before = ~_is_chord_note(before.span.chord, pitches, plan.tonic)
    costs += 60 * (foreign_before[:, None] & ~is_step)
    leading = (pitches - plan.tonic) % 12 == 11
    costs += 9 * (leading[:, None] & (interval != 1) & (interval != 0))
    if slot.motif_step is not None:
        degrees = np.array([slot.span.chord.degree(int(pitch), plan.tonic) for pitch in pitches])
        degrees_before = np.array([before.span.chord.degree(int(pitch), plan.tonic) for pitch in pitches])
        costs += 5 * np.abs(degrees[None, :] - degrees_before[:, None] - slot.motif_step)
    if before.span.bass != slot.span.bass:
        to_bass, to_bass_before = (pitches - slot.span.bass) % 12, (pitches - before.span.bass) % 12
        same = to_bass_before[:, None] == to_bass[None, :]
        costs += 30 * (same & np.isin(to_bass, (0, 7))[None, :] & (interval != 0))
    return costs


def _turn_costs(interval: np.ndarray) -> np.ndarray:
    """Cost of three pitches in a row, [P, P, P]: a leap wants a step back, two leaps one way are an arpeggio."""
    first, second = interval[:, :, None], interval[None, :, :]
    leap, opposite = np.abs(first) >= 5, first * second < 0
    after_leap = np.where(opposite & (np.abs(second) <= 4), 0, np.where(np.abs(second) <= 2, 4, 18))
    both_thirds = (np.abs(first) >= 3) & (np.abs(second) >= 3) & ~opposite & (second != 0)
    repeats = (first == 0) & (second == 0)
    returns = (first == -second) & (first != 0)
    return leap * after_leap + 4 * both_thirds + 9 * repeats + 4 * returns
