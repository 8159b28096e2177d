"""Chords, the progressions of a phrase, and the voices below its tune.

Pitch classes in a `Chord` are semitones above the tonic; pitches elsewhere are MIDI note numbers.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import numpy as np

from vae_jax.data.builtin.plan import PHRASE_BARS, Plan, pick

_MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)
_MINOR_SCALE = (0, 2, 3, 5, 7, 8, 10)
_DOMINANTS = {"V": (7, 11, 2), "V7": (7, 11, 2, 5), "V7/V": (2, 6, 9, 0), "V7/IV": (0, 4, 7, 10)}
_MAJOR_CHORDS = _DOMINANTS | {
    "I": (0, 4, 7), "II": (2, 5, 9), "III": (4, 7, 11), "IV": (5, 9, 0), "VI": (9, 0, 4), "V7/VI": (4, 8, 11, 2),
}  # fmt: skip
_MINOR_CHORDS = _DOMINANTS | {
    "I": (0, 3, 7), "II": (2, 5, 8), "III": (3, 7, 10), "IV": (5, 8, 0), "VI": (8, 0, 3), "V7/VI": (3, 7, 10, 1),
}  # fmt: skip

# Two bars each; ^1 and ^2 are inversions. A phrase is an opening and a closing.
_OPENINGS = {
    "statement": (
        ("I | IV I", 4), ("I V7^1 | I", 3), ("I | V7^2 I^1", 3), ("I VI | IV I^1", 3), ("I IV | I V", 3),
        ("I | VI III", 2), ("I | V7/IV IV", 1), ("I V | VI III", 2),
    ),
    "contrast": (
        ("V | I", 3), ("IV | I^1", 3), ("VI | III IV", 3), ("V7/IV | IV", 2), ("V7/VI | VI", 2), ("VI | IV I^1", 2),
        ("V V7 | VI", 2),
    ),
}  # fmt: skip
_CLOSINGS = {
    "-": (
        ("II^1 V7/V | V", 2), ("VI V7/V | V", 1), ("IV II^1 | V", 3), ("I^1 IV | I^2 V", 3), ("I V7/V | V", 1),
        ("VI II^1 | V", 3), ("I IV | V", 2),
    ),
    ".": (("II^1 V7 | I", 3), ("IV I^2 V7 | I", 4), ("II^1 I^2 V7 | I", 3), ("IV V7 | I", 2), ("VI II^1 V7 | I", 2)),
}  # fmt: skip

_BASS_LOW, _BASS_HIGH, _BASS_CENTRE = 36, 50, 43
_TENOR_LOW, _ALTO_LOW, _ALTO_HIGH = 47, 52, 72


@dataclasses.dataclass(frozen=True)
class Chord:
    """A chord in its key.

    Attributes:
      pitch_classes: semitones above the tonic, the root first.
      bass: the one of them that lies lowest.
      scale: the key's seven notes as this chord colours them, ascending.
    """

    pitch_classes: tuple[int, ...]
    bass: int
    scale: tuple[int, ...]

    def pitches(self, tonic: int, low: int, high: int) -> list[int]:
        """Returns the chord's notes from low to high, both included."""
        return [pitch for pitch in range(low, high + 1) if (pitch - tonic) % 12 in self.pitch_classes]

    def degree(self, pitch: int, tonic: int) -> int:
        """Counts scale notes below a pitch: neighbours in the scale differ by one."""
        octave, above = divmod(pitch - tonic, 12)
        return 7 * octave + sum(note < above for note in self.scale)

    def scale_pitch(self, degree: int, tonic: int) -> int:
        """Returns the pitch of a degree: the inverse of `degree` for notes of the scale."""
        octave, note = divmod(degree, 7)
        return tonic + 12 * octave + self.scale[note]


@dataclasses.dataclass(frozen=True)
class Span:
    """A chord in a phrase: where it starts, how long it holds (both in steps), and its bass pitch."""

    start: int
    steps: int
    chord: Chord
    bass: int


@functools.cache
def chord(symbol: str, minor: bool) -> Chord:
    """Returns the chord of a symbol such as "I", "V7/V" or, in first inversion, "II^1"."""
    name, _, inversion = symbol.partition("^")
    pitch_classes = (_MINOR_CHORDS if minor else _MAJOR_CHORDS)[name]
    scale = list(_MINOR_SCALE if minor else _MAJOR_SCALE)
    for place, note in enumerate(pitch_classes):
        if note not in scale:
            # A flat seventh lowers its scale note, any other chromatic note raises it.
            scale[scale.index((note + 1 if place == 3 else note - 1) % 12)] = note
    if minor and name == "I":
        scale[6] = 11  # The leading note, so that a tune that turns around the tonic sounds in minor and not modal.
    return Chord(pitch_classes, pitch_classes[int(inversion or 0)], tuple(sorted(scale)))


def draw_chords(rng: np.random.Generator, opening: str, closing: str, fixed_opening: str | None = None) -> str:
    """Draws the chords of four bars; `fixed_opening` keeps the first two bars of a phrase that this one answers."""
    first = fixed_opening or pick(rng, _OPENINGS[opening])
    return f"{first} | {pick(rng, _CLOSINGS[closing])}"


def opening_of(progression: str) -> str:
    """Returns the first two bars of a progression."""
    return " | ".join(bar.strip() for bar in progression.split("|")[: PHRASE_BARS // 2])


def lay_out(progression: str, plan: Plan) -> tuple[Span, ...]:
    """Gives each chord of a progression its place in the bars and a bass pitch near the one before."""
    spans: list[Span] = []
    previous = _BASS_CENTRE
    for bar, symbols in enumerate(progression.split("|")):
        names = symbols.split()
        start = bar * plan.metre.bar_steps
        for name, steps in zip(names, plan.metre.splits[len(names) - 1], strict=True):
            here = chord(name, plan.minor)
            places = [p for p in range(_BASS_LOW, _BASS_HIGH + 1) if (p - plan.tonic - here.bass) % 12 == 0]
            previous = min(places, key=lambda pitch: 2 * abs(pitch - previous) + abs(pitch - _BASS_CENTRE))
            spans.append(Span(start, steps, here, previous))
            start += steps
    return tuple(spans)


def inner_voices(
    spans: Sequence[Span], tops: Sequence[int], floors: Sequence[int], tonic: int
) -> list[tuple[int, int]]:
    """Leads tenor and alto from chord to chord, each time by the cheapest pair of chord notes.

    Args:
      spans: the chords.
      tops: the tune's pitch at the start of each chord.
      floors: the tune's lowest pitch during each chord; the alto stays below it.
      tonic: pitch class of the key.

    Returns:
      (tenor, alto) of each chord.
    """
    voices: list[tuple[int, int]] = []
    before: tuple[int, int, int, int] | None = None
    for span, top, floor in zip(spans, tops, floors, strict=True):
        # However low the tune, the two have room for chord notes, if need be by crossing it.
        highest = max(_ALTO_LOW + 8, min(_ALTO_HIGH, floor - 1))
        notes = span.chord.pitches(tonic, max(_TENOR_LOW, span.bass + 1), highest)
        pairs = [pair for pair in itertools.combinations(notes, 2) if pair[1] >= _ALTO_LOW]
        chords = [(span.bass, tenor, alto, top) for tenor, alto in pairs]
        before = min(chords, key=lambda voicing: _voicing_cost(voicing, before, span.chord, tonic))
        voices.append(before[1:3])
    return voices


def _voicing_cost(
    voicing: tuple[int, int, int, int], before: tuple[int, int, int, int] | None, here: Chord, tonic: int
) -> int:
    bass, tenor, alto, top = voicing
    heard = [(pitch - tonic) % 12 for pitch in voicing]
    third, leading = here.pitch_classes[1], 11
    cost = 30 * (third not in heard) + 3 * (here.pitch_classes[2] not in heard)
    cost += 10 * (len(here.pitch_classes) == 4 and here.pitch_classes[3] not in heard)
    cost += 25 * (heard.count(leading) > 1) + 6 * (heard.count(third) > 1)
    cost += 12 * (alto - tenor > 12) + 8 * (top - alto > 12) + 12 * (tenor - bass < 4) + abs(tenor - 55) // 3
    if before is None:
        return cost + abs(alto - top + 5)
    cost += 2 * (abs(tenor - before[1]) + abs(alto - before[2]))
    for low, high in itertools.combinations(range(4), 2):
        cost += 20 * is_parallel(before[low], voicing[low], before[high], voicing[high])
    return cost


def is_parallel(low_before: int, low: int, high_before: int, high: int) -> bool:
    """Whether two voices move together in fifths or octaves."""
    interval = (high - low) % 12
    is_same = interval == (high_before - low_before) % 12
    return is_same and interval in (0, 7) and low != low_before
