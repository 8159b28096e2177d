"""The form of a piece: which of its windows repeats which earlier one, and how closely.

It is a Markov chain over windows. A window either continues the repetition of the window before it (its source is the
window after that one's source) or starts another; the probability of this, the distance of a new source and the
similarity depend on the similarity of the window before. All are relative frequencies in the training pieces.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vae_jax.composer.conditioning import usual_bar_steps
from vae_jax.composer.dataset import most_similar
from vae_jax.composer.windows import WindowedRoll
from vae_jax.music.quantization import first_downbeat
from vae_jax.representations.pianoroll.encoding import RollPiece

_BUCKETS = (0.35, 0.6, 0.85)  # Limits of similarity between different, related, alike and nearly equal windows.


@dataclasses.dataclass(frozen=True, eq=False)
class Form:
    """The form of U consecutive windows."""

    back: np.ndarray  # int64 [U], how many windows back the source lies; 0 where there is none.
    similarity: np.ndarray  # float64 [U], to the source, 0 to 1.


@dataclasses.dataclass(frozen=True, eq=False)
class FormModel:
    """Transitions in a corpus, R of them, each to a window with a source from the one before it."""

    similarity_before: NDArray[np.float64]  # [R], of the first window.
    similarity: NDArray[np.float64]  # [R], of the second.
    back: NDArray[np.int64]  # [R], how far back the source of the second lies.
    continues: NDArray[np.bool_]  # [R], whether its source follows the source of the first.

    def sample(self, num_windows: int, nearest: int, rng: np.random.Generator) -> Form:
        """Samples a form of so many windows, whose sources lie at least `nearest` windows back."""
        back, similarity = np.zeros(num_windows, dtype=np.int64), np.zeros(num_windows)
        buckets = np.searchsorted(_BUCKETS, self.similarity_before)
        for n in range(nearest, num_windows):
            rows = buckets == np.searchsorted(_BUCKETS, similarity[n - 1])
            rows = rows if rows.any() else np.ones_like(rows)
            continues = back[n - 1] > 0 and rows.any() and rng.random() < self.continues[rows].mean()
            if continues:
                back[n] = back[n - 1]
            else:
                pool = self.back[rows & ~self.continues]
                pool = pool[(pool >= nearest) & (pool <= n)]
                back[n] = rng.choice(pool) if len(pool) else rng.integers(nearest, n + 1)
            pool = self.similarity[rows & (self.continues == continues)]
            similarity[n] = rng.choice(pool) if len(pool) else similarity[n - 1]
        return Form(back, similarity)


def read_form(piece: RollPiece, representation: WindowedRoll) -> Form:
    """Reads the form of a piece, in phrases of as many whole bars as fit into a window."""
    starts = phrase_starts(piece, representation)
    windows = representation.encode_at(piece, starts)
    link, similarity = most_similar(representation, windows, starts, np.zeros(len(starts)))
    return Form(np.where(link >= 0, np.arange(len(starts)) - link, 0), similarity.astype(np.float64))


def phrase_starts(piece: RollPiece, representation: WindowedRoll) -> np.ndarray:
    """Returns the steps at which phrases of whole bars start, int64, from the first downbeat on."""
    phrase = phrase_steps(usual_bar_steps(piece), representation.window_steps)
    return np.arange(first_downbeat(piece.bars), int(piece.bars[-1]), phrase)


def phrase_steps(bar_steps: int, window_steps: int) -> int:
    """Returns the steps of as many whole bars as fit into a window; of a window where not one does."""
    return window_steps // bar_steps * bar_steps if bar_steps <= window_steps else window_steps


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
