"""Statistics of form: what returns, how phrases are long, how the piece begins and ends."""

import itertools

import numpy as np

from vae_jax.evaluation.musicology.melody import phrase_ends
from vae_jax.evaluation.musicology.shares import share
from vae_jax.evaluation.musicology.voices import SIXTEENTHS, Voices
from vae_jax.music.chords import estimate_chords
from vae_jax.music.key import Tonic
from vae_jax.music.quantization import has_pickup
from vae_jax.music.theory import HARMONIC_MINOR_SCALE, MAJOR_SCALE

Bar = tuple[tuple[int, int], ...]  # The notes of the melody in a bar: start from the bar line, pitch.
_MIN_SEQUENCE_NOTES = 3


def describe_form(voices: Voices) -> dict[str, float]:
    """Returns the statistics by name; NaN where the piece has too few bars, or no notes.

    melody_distinct_bars: different bars among those in which the melody has a note.
    melody_returns_1, _2, _4: those bars that lie in a run of so many that is equal to an earlier one in starts and
      pitches.
    rhythm_returns_2: the same for two bars by starts alone.
    melody_sequences: bars of three notes and more that are the bar one or two before, moved by scale steps.
    phrase_lengths_even: distances between phrase ends that are an even number of bars.
    ends_dominant_tonic: whether the last change of root is from the fifth of the key to the tonic, V-I.
    ends_on_tonic, ends_on_tonic_bass: whether melody and bass end on the tonic.
    ends_on_strong_beat: whether the last note starts on a strong beat.
    upbeat: whether the piece starts with a short bar, or a beat or more after the first bar line.
    """
    names = ("ends_dominant_tonic", "ends_on_tonic", "ends_on_tonic_bass", "ends_on_strong_beat", "upbeat")
    bars = melody_bars(voices)
    filled = [bar for bar in bars if bar]
    found = {"melody_distinct_bars": len(set(filled)) / len(filled) if filled else np.nan}
    for length in (1, 2, 4):
        found[f"melody_returns_{length}"] = returning_share(bars, length)
    found["rhythm_returns_2"] = returning_share([tuple(start for start, _ in bar) for bar in bars], 2)
    ends = voices.bar_of(voices.melody[0][phrase_ends(voices)])
    found |= {
        "melody_sequences": _sequence_share(bars, voices.tonic),
        "phrase_lengths_even": share(np.diff(ends) % 2 == 0),
    }
    if not len(voices.start):
        return found | dict.fromkeys(names, np.nan)
    roots = estimate_chords(voices.pitch_class_weights(voices.beats)).root
    roots = roots[roots >= 0]
    changed = np.flatnonzero(np.diff(roots))
    last, tonic = voices.start[-1], voices.tonic.pitch_class
    by_dominant = len(changed) > 0 and (roots[changed[-1]] - tonic) % 12 == 7
    bass = voices.pitch[voices.end > last].min()
    first, first_bar_end = voices.start[0], voices.bars[1]
    values = (
        by_dominant and roots[-1] == tonic,
        voices.melody[1][-1] % 12 == tonic,
        bass % 12 == tonic,
        last in voices.strong,
        has_pickup(voices.bars) or SIXTEENTHS <= first < first_bar_end,
    )
    return found | {name: float(value) for name, value in zip(names, values, strict=True)}


def melody_bars(voices: Voices) -> list[Bar]:
    """Returns the notes of the melody that start in each bar."""
    start, pitch = voices.melody
    bar_of = voices.bar_of(start)
    bounds = np.searchsorted(bar_of, np.arange(len(voices.bars)))
    offset = start - voices.bars[bar_of]
    notes = [*zip(offset.tolist(), pitch.tolist(), strict=True)]
    return [tuple(notes[first:last]) for first, last in itertools.pairwise(bounds)]


def returning_share(bars: list[Bar] | list[tuple[int, ...]], length: int) -> float:
    """Returns the share of the bars with notes that lie in a run of `length` such bars equal to an earlier run, which
    may not overlap it; NaN where no run is that long."""
    runs = [tuple(bars[n : n + length]) for n in range(len(bars) - length + 1)]
    seen: dict[tuple, int] = {}
    returning: set[int] = set()
    known = [n for n, run in enumerate(runs) if all(run)]
    for n in known:
        if seen.setdefault(runs[n], n) <= n - length:
            returning.update(range(n, n + length))
    return len(returning) / sum(map(bool, bars)) if known else np.nan


def _sequence_share(bars: list[Bar], tonic: Tonic) -> float:
    """The share of the bars with enough notes, and a bar before them, that move one of the two bars before by steps."""
    scale = np.array(HARMONIC_MINOR_SCALE if tonic.minor else MAJOR_SCALE)

    def scale_steps(bar: Bar) -> np.ndarray:
        octave, semitones = np.divmod(np.array([pitch for _, pitch in bar]) - tonic.pitch_class, 12)
        # A note between two degrees is half a step above the lower one.
        degree = np.searchsorted(scale, semitones, side="right") - 1
        return 7 * octave + degree + 0.5 * (scale[degree] != semitones)

    def is_moved(bar: Bar, other: Bar) -> bool:
        if [start for start, _ in bar] != [start for start, _ in other]:
            return False
        moved = scale_steps(bar) - scale_steps(other)
        return bool(np.ptp(moved) == 0 and moved[0] != 0)

    candidates = [n for n in range(1, len(bars)) if len(bars[n]) >= _MIN_SEQUENCE_NOTES]
    return share(np.array([any(is_moved(bars[n], bars[m]) for m in range(max(n - 2, 0), n)) for n in candidates]))
