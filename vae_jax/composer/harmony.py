"""The harmony of a piece: the chord of each quarter note, planned before the notes are written.

The plan is a variable-order Markov model. What is known of the next chord is a list of contexts, each a refinement of
the one before it: the mode, how far the end is, the chord before, the place in the bar, the other chord before that,
how long the chord has lasted. Their relative frequencies are interpolated (Witten and Bell 1991, "The zero-frequency
problem", method C, with a constant). Where the form says that a phrase returns, its chords are copied with a
probability that depends on how closely it returns; not in the last quarter notes, which end the piece.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vae_jax.music.chords import estimate_chords

# Classes of chords: twice the root above the tonic, one more where the third is minor; that nothing sounds; unknown.
NUM_CHORDS, NO_CHORD, UNKNOWN = 25, 24, 25
STEPS = 12  # Of a quarter note, in which the grid has one chord.
# Limits of similarity between phrases whose chords are copied more and more often.
CLOSENESS = (0.35, 0.6, 0.85, 0.95, 0.999)

_NOVELTY = 2.0  # Of a context: how much an unseen chord weighs, for each chord seen.
_FAR = 6  # Quarter notes from the last chord that are told apart.
_LONG = 4  # Quarter notes that a chord has lasted.
_START_WEIGHT = 0.03  # Of the sequences of the model that a model starts from.
_NUM_PARTICLES = 64
_UNLIKELY = 1e-3  # That a melody sounds where no chord does.
_A = ord("A")
_DIGITS = 100 ** np.arange(6)[::-1]  # Of a context, whose values are at least -1, as one number.


class Beats(NamedTuple):
    """What is known of the B quarter notes of a piece before their chords, int64 [B] unless said otherwise."""

    minor: bool
    place: np.ndarray  # 0 at a bar line, 1 half way to the next, 2 elsewhere.
    left: np.ndarray  # Quarter notes to the last chord; -1 after it.
    source: np.ndarray  # Quarter note whose chord returns by the form; -1 for none.
    similarity: np.ndarray  # float64, how closely.

    @property
    def returns(self) -> np.ndarray:
        """Whether each chord may be that of its source, bool [B]; those that end the piece may not."""
        return (self.source >= 0) & (self.left >= _FAR)


def sounding(step: np.ndarray, pitch: np.ndarray, duration: np.ndarray, num: int) -> np.ndarray:
    """Returns how many of notes [N] of each pitch class sound in each of `num` quarter notes on average, [num, 12]."""
    changes = np.zeros((num * STEPS + 1, 12))
    np.add.at(changes, (np.minimum(step, num * STEPS), pitch % 12), 1)
    np.add.at(changes, (np.minimum(step + duration, num * STEPS), pitch % 12), -1)
    return changes.cumsum(axis=0)[:-1].reshape(num, STEPS, 12).mean(axis=1)


def measure_harmony(step: np.ndarray, pitch: np.ndarray, duration: np.ndarray, num: int) -> np.ndarray:
    """Returns the chord class of each of `num` quarter notes of notes [N] in C, int64 [num]."""
    chords = estimate_chords(sounding(step, pitch, duration, num))
    has_minor_third = chords.members[np.arange(num), (chords.root + 3) % 12]
    return np.where(chords.root < 0, NO_CHORD, 2 * chords.root + has_minor_third)


@dataclasses.dataclass(frozen=True)
class ChordSequence:
    """The chords of a piece, a letter each, and the places of its quarter notes."""

    chords: str
    places: str
    last: int  # Quarter note of the last chord.
    minor: bool
    weight: float


@dataclasses.dataclass(frozen=True, eq=False)
class HarmonyModel:
    """The chords of a corpus, and what they say about the next chord of a piece."""

    sequences: tuple[ChordSequence, ...]
    copies: tuple[float, ...]  # How often the chord of the source is copied, by `CLOSENESS`.
    melody: np.ndarray  # float64 [2, 12], shares of the top voice above the root of major and minor chords.

    @functools.cached_property
    def _rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Contexts of the quarter notes of all sequences as ascending numbers [R], their chords [R] and weights [R]."""
        contexts, chords, weights = [np.zeros((0, 6), np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
        for one in self.sequences:
            found = np.frombuffer(one.chords.encode(), np.uint8).astype(np.int64) - _A
            places = np.frombuffer(one.places.encode(), np.uint8).astype(np.int64) - _A
            contexts.append(_contexts(one.minor, places, one.last - np.arange(len(found)), found))
            chords.append(found)
            weights.append(np.full(len(found), one.weight))
        numbers = (np.concatenate(contexts) + 1) @ _DIGITS
        order = np.argsort(numbers, kind="stable")
        return numbers[order], np.concatenate(chords)[order], np.concatenate(weights)[order]

    @functools.cached_property
    def _counts(self) -> dict[tuple[int, int], np.ndarray]:
        """How often each chord follows the contexts of a range of `_rows`, float64 [NUM_CHORDS], as far as asked."""
        return {}

    def predict(self, context: np.ndarray) -> np.ndarray:
        """Returns the probabilities of the next chord in a context [6], float64 [NUM_CHORDS]."""
        numbers, chords, weights = self._rows
        found = np.full(NUM_CHORDS, 1 / NUM_CHORDS)
        for number, digit in zip(np.cumsum((context + 1) * _DIGITS), _DIGITS, strict=True):
            first, end = np.searchsorted(numbers, (number, number + digit)).tolist()  # Of those that begin so.
            if first == end:
                break
            if (counts := self._counts.get((first, end))) is None:
                counts = self._counts[first, end] = np.bincount(chords[first:end], weights[first:end], NUM_CHORDS)
            total = counts.sum()
            known = total / (total + _NOVELTY * np.count_nonzero(counts))
            found = known * counts / total + (1 - known) * found
        return found

    def copy_rate(self, similarity: float) -> float:
        """Returns how often chords are copied from a phrase of some similarity."""
        return self.copies[int(np.searchsorted(CLOSENESS, similarity))]

    def nats(self, beats: Beats, chords: np.ndarray) -> float:
        """Returns the negative log probability of the chords [B] of a piece."""
        contexts = _contexts(beats.minor, beats.place, beats.left, chords)
        return -sum(
            float(np.log(self._next(beats, contexts[n], chords[None], n)[0, chord])) for n, chord in enumerate(chords)
        )

    def _next(self, beats: Beats, context: np.ndarray, before: np.ndarray, n: int) -> np.ndarray:
        """Probabilities of the n-th chord in a context, for each of P rows of chords before it, [P, NUM_CHORDS]."""
        found = np.repeat(self.predict(context)[None], len(before), axis=0)
        if beats.returns[n]:
            copy = self.copy_rate(beats.similarity[n])
            found *= 1 - copy
            found[np.arange(len(before)), before[:, beats.source[n]]] += copy
        return found

    def sample(
        self,
        beats: Beats,
        rng: np.random.Generator,
        likelihood: np.ndarray | None = None,
        ending_temperature: float = 1.0,
    ) -> np.ndarray:
        """Samples the chords of a piece, int64 [B].

        Args:
          beats: the piece.
          rng: of all that is drawn.
          likelihood: float [B, NUM_CHORDS], of what is known of each quarter note, such as its melody, given its chord;
            the chords are then those of a particle filter (Gordon, Salmond and Smith 1993).
          ending_temperature: of the last quarter notes.
        """
        num, particles = len(beats.place), 1 if likelihood is None else _NUM_PARTICLES
        chords = np.full((particles, num), NO_CHORD)
        rows = np.arange(particles)
        for n in range(num):
            contexts = np.stack([_context(beats.minor, beats.place[n], beats.left[n], row[:n]) for row in chords])
            distinct, index = np.unique(contexts, axis=0, return_inverse=True)
            shares = np.zeros((particles, NUM_CHORDS))
            for k, context in enumerate(distinct):
                mine = index.ravel() == k
                shares[mine] = self._next(beats, context, chords[mine], n)
            if beats.left[n] < _FAR:
                shares **= 1 / ending_temperature
            if beats.left[n] < 0 and (likelihood is None or np.all(likelihood[n] == 1)):
                # Nothing starts: the chord sounds on or ends.
                shares *= (np.arange(NUM_CHORDS) == chords[:, n - 1, None]) | (np.arange(NUM_CHORDS) == NO_CHORD)
            if likelihood is not None:
                shares *= likelihood[n]
                weights = shares.sum(axis=1)
                chosen = rng.choice(rows, particles, p=weights / weights.sum())
                chords, shares = chords[chosen], shares[chosen]
            shares /= shares.sum(axis=1, keepdims=True)
            chords[:, n] = (shares.cumsum(axis=1) < rng.random((particles, 1))).sum(axis=1).clip(max=NUM_CHORDS - 1)
        return chords[0]

    def melody_likelihood(self, weights: np.ndarray) -> np.ndarray:
        """Returns the probability of a melody by the chord of each quarter note, [B, NUM_CHORDS]; `weights` [B, 12] is
        what `sounding` returns."""
        shares = [np.roll(self.melody[chord % 2], chord // 2) for chord in range(NUM_CHORDS - 1)]
        silent = np.where(weights.sum(axis=1, keepdims=True) > 0, np.log(_UNLIKELY), 0.0)
        return np.exp(np.concatenate([weights @ np.log(np.array(shares)).T, silent], axis=1))


def _context(minor: bool, place: int, left: int, before: np.ndarray) -> np.ndarray:
    """The context of the chord after others: mode, end, the last one, place, the last other one, how long it lasts."""
    last = int(before[-1]) if len(before) else UNKNOWN
    changes = np.flatnonzero(before != last)
    other, lasts = (int(before[changes[-1]]), len(before) - 1 - changes[-1]) if len(changes) else (UNKNOWN, len(before))
    return np.array([minor, min(max(left, -1), _FAR), last, place, other, min(lasts, _LONG)], np.int64)


def _contexts(minor: bool, places: np.ndarray, left: np.ndarray, chords: np.ndarray) -> np.ndarray:
    """The contexts of all chords [B] of a piece, int64 [B, 6]."""
    rows = [_context(minor, place, rest, chords[:n]) for n, (place, rest) in enumerate(zip(places, left, strict=True))]
    return np.array(rows, np.int64).reshape(-1, 6)


def fit_harmony(
    pieces: Sequence[tuple[Beats, np.ndarray, np.ndarray]], start: HarmonyModel | None = None
) -> HarmonyModel:
    """Fits the model to pieces: the quarter notes, their chords [B], what of the top voice sounds [B, 12].

    The sequences of a model to start from count for less.
    """
    sequences = [
        ChordSequence(
            _letters(chords), _letters(beats.place), int(beats.left[0]) if len(chords) else 0, beats.minor, 1.0
        )
        for beats, chords, _ in pieces
    ]
    earlier = () if start is None else start.sequences
    earlier = tuple(dataclasses.replace(one, weight=one.weight * _START_WEIGHT) for one in earlier)
    melody, equal, compared = np.ones((2, 12)), np.zeros(len(CLOSENESS) + 1), np.ones(len(CLOSENESS) + 1)
    for beats, chords, weights in pieces:
        known = chords < NO_CHORD
        intervals = (np.arange(12) + chords[known, None] // 2) % 12
        np.add.at(melody, chords[known] % 2, np.take_along_axis(weights[known], intervals, axis=1))
        closeness = np.searchsorted(CLOSENESS, beats.similarity[beats.returns])
        np.add.at(compared, closeness, 1)
        np.add.at(equal, closeness, chords[beats.returns] == chords[beats.source[beats.returns]])
    # Phrases that are no closer than others have equal chords by chance.
    rates = equal / compared
    copies = np.maximum.accumulate(np.clip((rates - rates[0]) / (1 - rates[0]), 0, 1))
    return HarmonyModel((*sequences, *earlier), tuple(copies.tolist()), melody / melody.sum(axis=1, keepdims=True))


def _letters(values: np.ndarray) -> str:
    return (values + _A).astype(np.uint8).tobytes().decode()
