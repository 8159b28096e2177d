"""Bots: pieces put together from real ones without knowing any music, which a two-sample test must recognise.

Each takes the bars, meters, key and tracks of a real piece. What comes from another piece is moved to that key, its
tracks to those of the same rank by mean pitch.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from vae_jax.evaluation.bar_grid import STEPS_PER_BEAT
from vae_jax.music import key, quantization
from vae_jax.music.key import Tonic
from vae_jax.music.score import Meter, Notes, Score, make_notes, make_score
from vae_jax.representations.pianoroll import encoding


@dataclasses.dataclass(frozen=True, eq=False)
class _Source:
    """A real piece in steps, twelve to the beat."""

    notes: Notes  # In steps in place of ticks, ordered by onset.
    lines: np.ndarray  # [L, 3], track, channel and program of each pitched line, by mean pitch.
    rank: np.ndarray  # [N] float64, from 0 (lowest line) to 1; NaN for drums.
    bars: np.ndarray  # [num_bars + 1]
    tonic: Tonic
    meters: tuple[Meter, ...]
    track_names: tuple[str, ...]

    def span(self, first: int, last: int) -> np.ndarray:
        """The notes that start in some steps."""
        return np.arange(*np.searchsorted(self.notes.onset_ticks, [first, last]))

    @property
    def units(self) -> list[tuple[int, int]]:
        """The beats, counted from each bar line, as (first step, step after the last)."""
        found = []
        for first, last in itertools.pairwise(self.bars.tolist()):
            edges = [*range(first, last, STEPS_PER_BEAT), last]
            found += [*itertools.pairwise(edges)]
        return found


# A stretch of a source, (source, first step, step after the last), for each stretch of the piece, (first, last).
_Stretch = tuple[_Source, int, int]


def shuffle_bars(scores: Sequence[Score], seed: int) -> list[Score]:
    """Returns every piece with its bars of one length in random order."""
    pieces = []
    for n, source in enumerate(map(_read, scores)):
        rng, length, order = np.random.default_rng([seed, n]), np.diff(source.bars), np.arange(len(source.bars) - 1)
        for one in np.unique(length):
            order[length == one] = rng.permutation(order[length == one])
        pieces.append(_assemble(source, [(source, *source.bars[m : m + 2].tolist()) for m in order], source.bars[:-1]))
    return pieces


def recombine_bars(scores: Sequence[Score], seed: int) -> list[Score]:
    """Returns for every piece one whose bars are drawn from all pieces of its mode, bars of the same length each."""
    sources = [*map(_read, scores)]
    pools: dict[tuple[int, bool], list[_Stretch]] = {}
    for source in sources:
        for first, last in itertools.pairwise(source.bars.tolist()):
            pools.setdefault((last - first, source.tonic.minor), []).append((source, first, last))
    pieces = []
    for n, source in enumerate(sources):
        rng = np.random.default_rng([seed, n])
        drawn = [pools[length, source.tonic.minor] for length in np.diff(source.bars).tolist()]
        pieces.append(_assemble(source, [pool[rng.integers(len(pool))] for pool in drawn], source.bars[:-1]))
    return pieces


def sample_markov_chain(scores: Sequence[Score], seed: int) -> list[Score]:
    """Returns for every piece one that is sampled beat by beat from a first-order Markov chain over all pieces.

    The state of a beat is its place in the bar, the bar's length, and the highest and the lowest pitch class that start
    in it, counted from the tonic. The next beat is a copy of one that follows a beat of the same state somewhere; where
    none does, of the beat that follows in the piece itself.
    """
    sources = [*map(_read, scores)]
    states = [[_beat_state(source, first, last) for first, last in source.units] for source in sources]
    following: dict[tuple, list[_Stretch]] = {}
    for source, mine in zip(sources, states, strict=True):
        for state, beat in zip(mine, source.units[1:], strict=False):
            following.setdefault(state, []).append((source, *beat))
    pieces = []
    for n, source in enumerate(sources):
        rng, beats = np.random.default_rng([seed, n]), source.units
        chosen: list[_Stretch] = [(source, *beat) for beat in beats[:1]]
        for m in range(1, len(beats)):
            pool = following.get(_beat_state(*chosen[-1]), [])
            place, length = _place(source, beats[m][0])
            fitting = [one for one in pool if _place(one[0], one[1]) == (place, length)]
            chosen.append(fitting[rng.integers(len(fitting))] if fitting else (source, *beats[m]))
        pieces.append(_assemble(source, chosen, np.array([first for first, _ in beats], dtype=np.int64)))
    return pieces


BOTS: dict[str, Callable[[Sequence[Score], int], list[Score]]] = {
    "shuffled_bars": shuffle_bars,
    "recombined_bars": recombine_bars,
    "markov_chain": sample_markov_chain,
}


def _read(score: Score) -> _Source:
    notes = score.notes
    _, onset, duration = encoding.quantize_notes(score, STEPS_PER_BEAT)
    order = np.argsort(onset, kind="stable")
    notes = notes.replace(onset_ticks=onset, duration_ticks=duration).select(order)
    bars = quantization.bar_steps(score, int((onset + duration).max(initial=0)), STEPS_PER_BEAT)
    pitched = np.flatnonzero(~notes.is_drum)
    names, first, of_note = np.unique(notes.line[pitched], return_index=True, return_inverse=True)
    height = np.bincount(of_note, notes.pitch[pitched]) / np.maximum(np.bincount(of_note), 1)
    by_height = np.argsort(height, kind="stable")
    lines = np.stack([notes.track, notes.channel, notes.program], axis=1)[pitched[first]][by_height]
    rank = np.full(len(notes), np.nan)
    rank[pitched] = np.argsort(by_height)[of_note] / max(len(names) - 1, 1)
    meters = [
        dataclasses.replace(one, tick=round(one.tick * STEPS_PER_BEAT / score.ticks_per_beat)) for one in score.meters
    ]
    return _Source(notes, lines, rank, bars, key.estimate_tonic(notes), tuple(meters), score.track_names)


def _place(source: _Source, step: int) -> tuple[int, int]:
    """Where a step lies in its bar, and the length of the bar."""
    bar = np.searchsorted(source.bars, step, side="right") - 1
    return int(step - source.bars[bar]), int(source.bars[bar + 1] - source.bars[bar])


def _beat_state(source: _Source, first: int, last: int) -> tuple:
    span = source.span(first, last)
    pitches = source.notes.pitch[span][~source.notes.is_drum[span]]
    classes = (
        [int(extreme - source.tonic.pitch_class) % 12 for extreme in (pitches.min(), pitches.max())]
        if len(pitches)
        else []
    )
    return *_place(source, first), source.tonic.minor, *classes


def _assemble(piece: _Source, stretches: Sequence[_Stretch], starts: np.ndarray) -> Score:
    """Puts stretches one after another into the bars and tracks of a piece."""
    columns: list[np.ndarray] = []
    drums = piece.notes.select(piece.notes.is_drum)
    for (source, first, last), start in zip(stretches, starts.tolist(), strict=True):
        span = source.span(first, last)
        notes, rank, is_drum = source.notes.select(span), source.rank[span], source.notes.is_drum[span]
        moved = key.semitones_to(source.tonic, piece.tonic.pitch_class)
        pitch = notes.pitch + np.where(is_drum, 0, moved)
        pitch += 12 * ((pitch < 0).astype(np.int64) - (pitch > 127))
        line = np.stack([notes.track, notes.channel, notes.program])
        if source is not piece and len(piece.lines):
            mapped = piece.lines[np.round(np.nan_to_num(rank) * (len(piece.lines) - 1)).astype(np.int64)].T
            line = np.where(is_drum, line, mapped)
        if source is not piece and len(drums):
            line = np.where(is_drum, [[drums.track[0]], [drums.channel[0]], [drums.program[0]]], line)
        has_place = is_drum & (len(drums) > 0) | ~is_drum & (len(piece.lines) > 0)
        row = np.stack([notes.onset_ticks - first + start, notes.duration_ticks, pitch, notes.velocity, *line])
        columns.append(row[:, has_place])
    onset, duration, pitch, velocity, track, channel, program = np.concatenate(
        columns or [np.zeros((7, 0), int)], axis=1
    )
    notes = make_notes(onset, duration, pitch, track=track, channel=channel, velocity=velocity, program=program)
    return make_score(STEPS_PER_BEAT, notes, track_names=piece.track_names, meters=piece.meters)
