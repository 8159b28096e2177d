"""What is settled about a built-in piece before its first note: key, metre, style, form, tempo and manner of playing.

Lengths are in steps, twelve to a quarter note: sixteenths (3), triplet eighths (4) and dotted eighths (9) are whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

STEPS_PER_BEAT = 12
PHRASE_BARS = 4

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Metre:
    """A metre and what is usual in it.

    Attributes:
      numerator, denominator: of the time signature.
      pulse_steps: what a conductor beats: a quarter, in 6/8 a dotted quarter.
      rhythms: name of the bank of rhythms that fit.
      splits: steps of the chords in a bar that holds 1, 2 or 3 chords.
      pickups: rhythms of the notes before the first bar, with weights.
      long_forms: of four pieces, how many have one of the longer forms.
    """

    numerator: int
    denominator: int
    pulse_steps: int
    rhythms: str
    splits: tuple[tuple[int, ...], ...]
    pickups: tuple[tuple[tuple[int, ...], int], ...]
    long_forms: int

    @property
    def bar_steps(self) -> int:
        """Steps in one bar."""
        return self.numerator * 4 * STEPS_PER_BEAT // self.denominator

    def accent(self, step: int) -> int:
        """Weight of a step counted from a bar line: 3 first beat, 2 middle of a bar, 1 other beats, 0 between."""
        step %= self.bar_steps
        if step == 0:
            return 3
        if step * 2 == self.bar_steps and self.bar_steps // self.pulse_steps != 3 and self.bar_steps > 24:
            return 2
        return 1 if step % self.pulse_steps == 0 else 0


@dataclasses.dataclass(frozen=True)
class Style:
    """A character: which rhythms, speeds and accompaniments suit it, each with weights.

    Attributes:
      rhythm_weights: weight of each kind of rhythm in the bank.
      beats_per_minute: slowest and fastest.
      textures: figures of the accompanying chords.
      basses: figures of the bass.
    """

    name: str
    rhythm_weights: tuple[tuple[str, int], ...]
    beats_per_minute: tuple[int, int]
    textures: tuple[tuple[str, int], ...]
    basses: tuple[tuple[str, int], ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """The decisions about one piece.

    Attributes:
      key_name: such as "Bb_major".
      tonic: pitch class of the tonic, 0 to 11.
      fifths, minor: the key signature.
      metre, style: see there.
      pickup: rhythm in steps of the notes before each phrase; empty where phrases start on the bar line.
      sections: phrases of each section; a letter and "-" for a half or "." for a full cadence, such as "A-".
      has_introduction: whether the last phrase is played in front.
      low_pitch, high_pitch: range of the tune.
      ticks_per_beat, beats_per_minute: of the file.
      rubato: "strict", "phrases" (slower at the ends of phrases) or "beats" (every beat differs a little).
      offset_ticks: how far all notes lie behind the beat; negative is ahead of it, as in most played files.
      spread_ticks: largest further deviation of one note is twice this.
    """

    key_name: str
    tonic: int
    fifths: int
    minor: bool
    metre: Metre
    style: Style
    pickup: tuple[int, ...]
    sections: tuple[tuple[str, ...], ...]
    has_introduction: bool
    low_pitch: int
    high_pitch: int
    ticks_per_beat: int
    beats_per_minute: int
    rubato: str
    offset_ticks: int
    spread_ticks: int

    @property
    def pickup_steps(self) -> int:
        """Steps of the short first bar."""
        return sum(self.pickup)

    @property
    def phrase_steps(self) -> int:
        """Steps of one phrase without its pick-up."""
        return PHRASE_BARS * self.metre.bar_steps


_NO_PICKUP: tuple[int, ...] = ()
_COMMON = Metre(
    4, 4, 12, "duple", ((48,), (24, 24), (24, 12, 12)),
    ((_NO_PICKUP, 9), ((12,), 4), ((9, 3), 4), ((6, 6), 1), ((12, 12), 1), ((12, 9, 3), 1)), 1,
)  # fmt: skip
_WALTZ = Metre(
    3, 4, 12, "triple", ((36,), (24, 12), (12, 12, 12)),
    ((_NO_PICKUP, 3), ((12,), 2), ((9, 3), 1), ((6, 6), 1)), 2,
)  # fmt: skip
_MARCH = Metre(
    2, 4, 12, "duple", ((24,), (12, 12), (12, 6, 6)),
    ((_NO_PICKUP, 3), ((6,), 1), ((12,), 1), ((9, 3), 2)), 4,
)  # fmt: skip
_COMPOUND = Metre(
    6, 8, 18, "compound", ((36,), (18, 18), (18, 12, 6)),
    ((_NO_PICKUP, 2), ((6,), 3)), 2,
)  # fmt: skip
_METRES = ((_COMMON, 12), (_WALTZ, 3), (_MARCH, 3), (_COMPOUND, 2))

_STYLES = (
    (
        Style(
            "march", (("plain", 3), ("dotted", 6), ("running", 1), ("triplet", 1), ("long", 1)), (96, 120),
            (("afterbeat", 3), ("tutti", 3), ("pulse", 2), ("hymn", 1)), (("march", 4), ("walk", 2)),
        ), 3,
    ),
    (
        Style(
            "hymn", (("plain", 6), ("dotted", 2), ("running", 1), ("triplet", 0), ("long", 3)), (70, 92),
            (("hymn", 5), ("tutti", 2), ("held", 2)), (("walk", 4), ("pulse", 2), ("roots", 1)),
        ), 3,
    ),
    (
        Style(
            "song", (("plain", 4), ("dotted", 2), ("running", 3), ("triplet", 2), ("long", 2)), (76, 104),
            (("held", 2), ("pulse", 2), ("eighths", 1), ("hymn", 2)), (("walk", 3), ("roots", 2), ("march", 1)),
        ), 2,
    ),
)  # fmt: skip

# Names and fifths, with weights: the flat keys that brass bands play in are the frequent ones.
_MAJOR_KEYS = (
    (("C", 0), 5), (("G", 1), 5), (("F", -1), 5), (("Bb", -2), 6), (("Eb", -3), 5), (("D", 2), 3), (("Ab", -4), 3),
    (("A", 3), 2),
)  # fmt: skip
_MINOR_KEYS = ((("A", 0), 3), (("D", -1), 3), (("G", -2), 3), (("C", -3), 3), (("E", 1), 2), (("F", -4), 1))

_SHORT_FORMS = (
    ("A- A. B- A.", 3),
    ("A- A. B- A. | C.", 2),
    ("A- B. A- B. | C- D.", 3),
    ("A- A. B- A. | C- A.", 2),
    ("A- A. | C- D. C- D.", 2),
)
_LONG_FORMS = (
    ("A- A. B- A. | C- D. C- D.", 4),
    ("A- B. A- B. | C- C. D- C.", 2),
    ("A- A. B- A. | C- D. | A- A. B- A.", 2),
    ("A- A. B- A. | C- D. | A- A. B- A. | C- D.", 1),
    ("A- A. | B- A. | C- D. C- D.", 2),
)


def pick(rng: np.random.Generator, weighted: Sequence[tuple[_T, int]]) -> _T:
    """Draws one item by integer weights; integers alone, so that every machine draws the same."""
    remaining = int(rng.integers(sum(weight for _, weight in weighted)))
    for item, weight in weighted:
        remaining -= weight
        if remaining < 0:
            return item
    raise AssertionError("the draw lies below the sum of the weights")


def draw_plan(rng: np.random.Generator) -> Plan:
    """Draws the plan of one piece."""
    minor = pick(rng, ((False, 4), (True, 1)))
    name, fifths = pick(rng, _MINOR_KEYS if minor else _MAJOR_KEYS)
    metre = pick(rng, _METRES)
    style = pick(rng, _STYLES)
    # The shorter the bar, the more of them: all metres give pieces of about the same length.
    is_long = pick(rng, ((True, metre.long_forms), (False, 4 - metre.long_forms)))
    form = pick(rng, _LONG_FORMS if is_long else _SHORT_FORMS)
    sections = tuple(tuple(section.split()) for section in form.split("|"))
    num_phrases = sum(len(section) for section in sections)
    ticks_per_beat = pick(rng, ((480, 6), (192, 3), (384, 2)))
    ahead = pick(rng, ((-1, 5), (0, 4), (1, 1)))
    low_pitch = 57 + int(rng.integers(4))
    return Plan(
        key_name=f"{name}_{'minor' if minor else 'major'}",
        tonic=(fifths * 7 + (9 if minor else 0)) % 12,
        fifths=fifths,
        minor=minor,
        metre=metre,
        style=style,
        pickup=pick(rng, metre.pickups),
        sections=sections,
        # Forty-eight bars are the longest piece.
        has_introduction=num_phrases < 12 and pick(rng, ((True, 1), (False, 1))),
        low_pitch=low_pitch,
        high_pitch=low_pitch + 16 + int(rng.integers(2)),
        ticks_per_beat=ticks_per_beat,
        beats_per_minute=int(rng.integers(style.beats_per_minute[0], style.beats_per_minute[1] + 1)),
        rubato=pick(rng, (("strict", 2), ("phrases", 4), ("beats", 3))),
        offset_ticks=ahead * int(rng.integers(20, 41)) * ticks_per_beat // 480,
        spread_ticks=int(rng.integers(2, 7)) * ticks_per_beat // 480 if ahead else 0,
    )
