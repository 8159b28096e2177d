"""The form of a piece: which of its phrases of two bars repeats which earlier music, and how closely.

It is a Markov chain over phrases. A phrase either continues the repetition of the phrase before it (its source follows
that one's source) or starts another; the probability of this, the distance of a new source and the similarity depend
on the similarity of the phrase before. All are relative frequencies in the training pieces.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vae_jax.music import quantization

PHRASE_BARS = 2
_BUCKETS = (0.35, 0.6, 0.85)  # Limits of similarity between different, related, alike and nearly equal phrases.


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

    similarity_before: NDArray[np.float64]  # [R], of the first phrase.
    similarity: NDArray[np.float64]  # [R], of the second.
    back: NDArray[np.int64]  # [R], how far back the source of the second lies.
    continues: NDArray[np.bool_]  # [R], whether its source follows the source of the first.

    def sample(self, num: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Samples how far back the sources of `num` phrases lie, and their similarities."""
        back, similarity = np.zeros(num, dtype=np.int64), np.zeros(num)
        buckets = np.searchsorted(_BUCKETS, self.similarity_before)
        for n in range(1, num):
            rows = buckets == np.searchsorted(_BUCKETS, similarity[n - 1])
            rows = rows if rows.any() else np.ones_like(rows)
            if not rows.any():
                continue
            continues = back[n - 1] > 0 and rng.random() < self.continues[rows].mean()
            pool = self.back[rows & ~self.continues]
            pool = pool[pool <= n]
            back[n] = back[n - 1] if continues else rng.choice(pool) if len(pool) else rng.integers(1, n + 1)
            pool = self.similarity[rows & (self.continues == continues)]
            similarity[n] = rng.choice(pool) if len(pool) else similarity[n - 1]
        return back, similarity


def fit_forms(forms: Sequence[Form]) -> FormModel:
    """Collects the transitions of forms."""
    rows = [
        (form.similarity[n - 1], form.similarity[n], form.back[n], form.back[n - 1] == form.back[n])
        for form in forms
        for n in range(1, len(form.back))
        if form.back[n] > 0
    ]
    before, similarity, back, continues = zip(*rows, strict=True) if rows else ((), (), (), ())
    return FormModel(
        np.array(before, np.float64),
        np.array(similarity, np.float64),
        np.array(back, np.int64),
        np.array(continues, bool),
    )
