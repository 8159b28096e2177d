"""The form of a piece: which of its phrases of two bars repeats which earlier music, and how closely.

It is a Markov chain over phrases. A phrase either continues the repetition of the phrase before it (its source follows
that one's source), starts another, or repeats nothing. Which, how far back its source lies and how similar it is are
those of a transition drawn from the training pieces: of those whose first phrase has a source about as far back and is
about as similar to it, from the nearest in number of pieces of about that length.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vae_jax.music import quantization

PHRASE_BARS = 2
_BUCKETS = (0.35, 0.6, 0.85)  # Limits of similarity between different, related, alike and nearly equal phrases.
_DISTANCES = (0, 1, 2, 4, 8)  # Largest distances in phrases of the classes of sources; none is the first.
_NUM_NEAREST = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Form:
    """The form of U consecutive phrases."""

    start: int  # Step of the first downbeat, where the first phrase starts.
    phrase: int  # Steps of a phrase.
    back: np.ndarray  # int64 [U], how many phrases back the source lies; 0 where there is none.
    similarity: np.ndarray  # float64 [U], F1 of the onsets with the source's, 0 to 1.

    def _at(self, values: np.ndarray, steps: np.ndarray) -> np.ndarray:
        index = (steps - self.start) // self.phrase
        inside = (index >= 0) & (index < len(values))
        return np.where(inside, values[np.clip(index, 0, max(len(values) - 1, 0))] if len(values) else 0, 0)

    def lag_at(self, steps: np.ndarray) -> np.ndarray:
        """Returns the distance in steps to the source at steps, int64; 0 where there is none."""
        return self._at(self.back, steps) * self.phrase

    def similarity_at(self, steps: np.ndarray) -> np.ndarray:
        """Returns the similarity at steps."""
        return self._at(self.similarity, steps)


def phrase_similarities(step: np.ndarray, pitch: np.ndarray, phrase: int, num: int) -> np.ndarray:
    """Returns the F1 of the onsets of each pair of `num` phrases of so many steps, [num, num], of notes [N] whose steps
    are counted from the first phrase."""
    index = step // phrase
    inside = (step >= 0) & (index < num)
    cells = np.zeros((num, phrase * 128), np.float32)
    cells[index[inside], (step % phrase)[inside] * 128 + pitch[inside]] = 1
    counts = cells.sum(1)
    return 2 * (cells @ cells.T) / np.maximum(counts[:, None] + counts, 1)


def measure_form(step: np.ndarray, pitch: np.ndarray, bars: np.ndarray, bar: int) -> Form:
    """Measures the form of notes [N] of a piece."""
    start, phrase = int(quantization.first_downbeat(bars)), PHRASE_BARS * bar
    num = max(-(-(int(bars[-1]) - start) // phrase), 0)
    f1 = np.tril(phrase_similarities(step - start, pitch, phrase, num), -1)
    best = f1.max(axis=1, initial=0.0) if num else np.zeros(0)
    # The nearest of equals, but sources that continue the phrase before first.
    back = np.zeros(num, np.int64)
    for n in range(1, num):
        if best[n] > 0:
            equal = np.flatnonzero(f1[n, :n] >= best[n] - 1e-3)
            continues = n - back[n - 1]
            back[n] = back[n - 1] if back[n - 1] and continues in equal else n - equal[-1]
    return Form(start, phrase, back, np.where(back > 0, best, 0.0).astype(np.float64))


@dataclasses.dataclass(frozen=True, eq=False)
class FormModel:
    """Transitions in a corpus, R of them, each to a phrase with a source from the one before it."""

    number: NDArray[np.int64]  # [R], of the second phrase in its piece.
    length: NDArray[np.int64]  # [R], phrases of the piece.
    similarity_before: NDArray[np.float64]  # [R], of the first phrase.
    back_before: NDArray[np.int64]  # [R], how far back its source lies, 0 for none.
    similarity: NDArray[np.float64]  # [R], of the second.
    back: NDArray[np.int64]  # [R], how far back its source lies; that of the first where its source follows that one's.

    def sample(self, num: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Samples how far back the sources of `num` phrases lie, and their similarities."""
        back, similarity = np.zeros(num, dtype=np.int64), np.zeros(num)
        continues = (self.back == self.back_before) & (self.back > 0)
        closeness, distance = np.searchsorted(_BUCKETS, self.similarity_before), _distance(self.back_before)
        for n in range(1, num):
            possible = np.where(continues, back[n - 1] > 0, self.back <= n)
            alike = possible & (closeness == np.searchsorted(_BUCKETS, similarity[n - 1]))
            choices = (alike & (distance == _distance(back[n - 1])), alike, possible)
            rows = next((np.flatnonzero(rows) for rows in choices if rows.any()), np.zeros(0, np.int64))
            if len(rows):
                apart = np.abs(self.number[rows] - n) + np.abs(self.length[rows] - num)
                row = rng.choice(rows[np.argsort(apart, kind="stable")[:_NUM_NEAREST]])
                back[n] = back[n - 1] if continues[row] else self.back[row]
                similarity[n] = self.similarity[row]
        return back, similarity


def _distance(back: np.ndarray) -> np.ndarray:
    """Classes of how far back sources lie."""
    return np.searchsorted(_DISTANCES, back)


def fit_forms(forms: Sequence[Form]) -> FormModel:
    """Collects the transitions of forms."""
    rows = [
        (n, len(form.back), form.similarity[n - 1], form.back[n - 1], form.similarity[n], form.back[n])
        for form in forms
        for n in range(1, len(form.back))
    ]
    number, length, similarity_before, back_before, similarity, back = zip(*rows, strict=True) if rows else ((),) * 6
    return FormModel(
        np.array(number, np.int64),
        np.array(length, np.int64),
        np.array(similarity_before, np.float64),
        np.array(back_before, np.int64),
        np.array(similarity, np.float64),
        np.array(back, np.int64),
    )
