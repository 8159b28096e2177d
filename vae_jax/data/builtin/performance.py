"""From written parts to a Score: ticks, velocities, articulation, timing and tempo as a player leaves them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from vae_jax.data.builtin.parts import LINES, Part, Passage
from vae_jax.data.builtin.plan import STEPS_PER_BEAT, Plan
from vae_jax.data.builtin.tune import Event
from vae_jax.music import score as score_lib
from vae_jax.music.score import KeySignature, Meter, Notes, Score, Tempo

_LEVELS = (74, 82, 91, 99)  # Velocity by intensity.
_ACCENTS = (-7, 0, 5, 10)  # Velocity by accent of the metre.
_SWELL = 6  # How much louder the third bar of a phrase is than its start.
_FINAL_TEMPO_PERCENT = (103, 106, 110, 115, 121, 128, 136, 145)  # Length of the last beats before the last bar.
_FERMATA_PERCENT = 165
_LOWEST_PITCH = 28  # Of a double bass; what would lie deeper is played an octave higher.


def perform(
    rng: np.random.Generator, plan: Plan, parts: Sequence[Part], passages: Sequence[Passage], title: str
) -> Score:
    """Plays the passages one after the other.

    Args:
      rng: consumed.
      plan: of the piece.
      parts: the ensemble; part n becomes track n + 1, after a track that holds the title alone.
      passages: the phrases in order.
      title: name of the first track.
    """
    rows = [row for n, part in enumerate(parts) for row in _written_notes(n, part, plan, passages)]
    columns = np.array(rows, dtype=np.int64)
    notes = _humanise(rng, plan, parts, passages, columns)
    return score_lib.make_score(
        plan.ticks_per_beat,
        notes,
        track_names=(title, *(part.name for part in parts)),
        tempos=_tempos(rng, plan, len(passages)),
        meters=_meters(plan),
        keys=(KeySignature(0, plan.fifths, plan.minor),),
    )


def _written_notes(index: int, part: Part, plan: Plan, passages: Sequence[Passage]) -> list[tuple[int, ...]]:
    """Returns (part, passage, start, steps, pitch) of all notes of a part; its start counts from the piece's."""
    found: dict[tuple[int, int], tuple[int, ...]] = {}
    for place, passage in enumerate(passages):
        if passage.intensity < part.entry or index in passage.resting:
            continue
        begin = plan.pickup_steps + place * plan.phrase_steps
        for name, shift in part.lines:
            for event in _held_to_the_end(LINES[name](passage, plan), part, passage, plan):
                start, pitch = begin + event.start, event.pitch + shift
                pitch += 12 if pitch < _LOWEST_PITCH else 0
                # Two lines of one part may meet on a pitch: it is played once, as long as the longer.
                other = found.get((start, pitch))
                if other is None or other[3] < event.steps:
                    found[start, pitch] = (index, place, start, event.steps, pitch)
    return [found[key] for key in sorted(found)]


def _held_to_the_end(events: list[Event], part: Part, passage: Passage, plan: Plan) -> list[Event]:
    """Holds the last chord of the piece for one more bar."""
    if not passage.is_last or part.is_drum:
        return events
    end, more = plan.phrase_steps, plan.metre.bar_steps
    reaching = max((event.start + event.steps for event in events), default=0)
    # The pick-up that the last bar has no use for is held as well.
    return [
        event._replace(steps=end + more - event.start) if event.start + event.steps == reaching else event
        for event in events
    ]


def _humanise(
    rng: np.random.Generator, plan: Plan, parts: Sequence[Part], passages: Sequence[Passage], columns: np.ndarray
) -> Notes:
    """Turns written notes [N, 5] into played ones."""
    part, place, start, steps, pitch = columns.T
    ticks_per_step = plan.ticks_per_beat // STEPS_PER_BEAT
    spread = plan.spread_ticks
    wander = rng.integers(-spread, spread + 1, len(start)) + rng.integers(-spread, spread + 1, len(start))
    onset = np.maximum(start * ticks_per_step + plan.offset_ticks + wander, 0)
    held_percent = np.array([p.held_percent for p in parts])[part] - rng.integers(0, 5, len(start))
    duration = np.maximum(steps * ticks_per_step * held_percent // 100, 1)
    duration = _cut_at_repeats(onset, duration, part * 128 + pitch)

    in_phrase = start - plan.pickup_steps - place * plan.phrase_steps
    accents = np.array([_ACCENTS[plan.metre.accent(step)] for step in in_phrase.tolist()])
    peak = plan.phrase_steps * 5 // 8
    swell = _SWELL - _SWELL * np.abs(in_phrase - peak) // peak
    loudness = np.array([_LEVELS[passage.intensity] for passage in passages])[place]
    level = np.array([p.level for p in parts])[part]
    velocity = loudness + level + accents + swell + rng.integers(-5, 6, len(start))
    channels = np.array(_channels(parts))
    return score_lib.make_notes(
        onset,
        duration,
        pitch,
        track=part + 1,
        channel=channels[part],
        velocity=np.clip(velocity, 24, 124),
        program=np.array([p.programs[0] for p in parts])[part],
    )


def _cut_at_repeats(onset: np.ndarray, duration: np.ndarray, voice: np.ndarray) -> np.ndarray:
    """Ends each note a tick before its own pitch starts again in its part (`voice`), so that both are heard."""
    order = np.lexsort((onset, voice))
    gaps = np.diff(onset[order])
    repeats = np.diff(voice[order]) == 0
    limits = np.where(repeats, np.maximum(gaps - 1, 1), np.iinfo(np.int64).max)
    cut = duration.copy()
    cut[order[:-1]] = np.minimum(duration[order[:-1]], limits)
    return cut


def _channels(parts: Sequence[Part]) -> list[int]:
    """Gives pitched parts channels 0, 1, ... without the drums' one, which all drum parts share."""
    free = (channel for channel in itertools.count() if channel != score_lib.DRUM_CHANNEL)
    return [score_lib.DRUM_CHANNEL if part.is_drum else next(free) for part in parts]


def _meters(plan: Plan) -> list[Meter]:
    """States a pick-up as a short first bar."""
    metre, steps = plan.metre, plan.pickup_steps
    if not steps:
        return [Meter(0, metre.numerator, metre.denominator)]
    short = Meter(0, steps // 12, 4) if steps % 12 == 0 else Meter(0, steps // 6, 8)
    return [short, Meter(steps * plan.ticks_per_beat // STEPS_PER_BEAT, metre.numerator, metre.denominator)]


def _tempos(rng: np.random.Generator, plan: Plan, num_phrases: int) -> list[Tempo]:
    """One tempo a beat where the plan asks for it; only changes are kept."""
    beat = 60_000_000 // plan.beats_per_minute
    end = plan.pickup_steps + num_phrases * plan.phrase_steps
    last_bar = end - plan.metre.bar_steps
    tempos: list[Tempo] = []
    # Beats are counted from the last bar line backwards, so that a pick-up of half a beat does not shift them.
    for start in [0, *range(last_bar % STEPS_PER_BEAT or STEPS_PER_BEAT, end, STEPS_PER_BEAT)]:
        percent = 100
        beats_to_go = -((start - last_bar) // STEPS_PER_BEAT)
        if beats_to_go <= 0:
            percent = _FERMATA_PERCENT
        elif beats_to_go <= len(_FINAL_TEMPO_PERCENT):
            percent = _FINAL_TEMPO_PERCENT[-beats_to_go]
        elif plan.rubato != "strict" and (start - plan.pickup_steps) % plan.phrase_steps >= plan.phrase_steps - 12:
            percent = 108
        elif plan.rubato == "beats":
            percent = 97 + int(rng.integers(7))
        if not tempos or tempos[-1].microseconds_per_beat != beat * percent // 100:
            tempos.append(Tempo(start * plan.ticks_per_beat // STEPS_PER_BEAT, beat * percent // 100))
    return tempos
