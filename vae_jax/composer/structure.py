"""The form of a piece: which of its windows returns to which earlier one, and how closely. Learnt from a corpus.

A form is a chain over the windows of a piece. A window either goes on with the return that the window before was in
(its source is the window after that one's source) or starts another; how likely that is, from how far back the new one
comes and how closely it follows its source depend on how closely the window before followed its own. All of it is
counted in the training pieces.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from vae_jax.composer.dataset import best_returns
from vae_jax.music import quantization as grid_lib
from vae_jax.representations.pianoroll.encoding import RollPiece

_BUCKETS = (0.35, 0.6, 0.85)  # Similarities that part unlike, related, alike and nearly equal windows.


@dataclasses.dataclass(frozen=True, eq=False)
class Form:
    """The form of U windows that follow one another.

    Attributes:
      back: int64 [U], how many windows back the source of each lies; 0 where it has none.
      similarity: float64 [U], how closely it follows the source, 0 to 1.
    """

    back: np.ndarray
    similarity: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class FormModel:
    """Transitions seen in a corpus, R of them, each from one window with a source to the next.

    Attributes:
      similarity_before, similarity: [R], of the two windows.
      back: [R] int64, how far back the source of the second lies.
      goes_on: [R] bool, whether its source follows the source of the first.
    """

    similarity_before: np.ndarray
    similarity: np.ndarray
    back: np.ndarray
    goes_on: np.ndarray

    def draw(self, num_windows: int, nearest: int, rng: np.random.Generator) -> Form:
        """Draws a form of so many windows, whose sources lie at least `nearest` windows back."""
        back, similarity = np.zeros(num_windows, dtype=np.int64), np.zeros(num_windows)
        for n in range(nearest, num_windows):
            mine = self._rows_like(similarity[n - 1])
            going_on = back[n - 1] > 0 and mine.any() and rng.random() < self.goes_on[mine].mean()
            back[n] = back[n - 1] if going_on else self._draw_back(mine, nearest, n, rng)
            pool = self.similarity[mine & (self.goes_on == going_on)]
            similarity[n] = rng.choice(pool) if len(pool) else similarity[n - 1]
        return Form(back, similarity)

    def pack(self) -> dict[str, Any]:
        """Turns the model into what JSON can hold."""
        return {field.name: getattr(self, field.name).tolist() for field in dataclasses.fields(self)}

    def _rows_like(self, similarity_before: float) -> np.ndarray:
        buckets = np.searchsorted(_BUCKETS, self.similarity_before)
        mine = buckets == np.searchsorted(_BUCKETS, similarity_before)
        return mine if mine.any() else np.ones(len(buckets), dtype=bool)

    def _draw_back(self, mine: np.ndarray, nearest: int, n: int, rng: np.random.Generator) -> int:
        pool = self.back[mine & ~self.goes_on]
        pool = pool[(pool >= nearest) & (pool <= n)]
        return int(rng.choice(pool)) if len(pool) else int(rng.integers(nearest, n + 1))


def unpack(packed: dict[str, Any]) -> FormModel:
    """Turns JSON back into a model."""
    kinds = {"similarity_before": np.float64, "similarity": np.float64, "back": np.int64, "goes_on": bool}
    return FormModel(**{name: np.array(packed[name], dtype=kind) for name, kind in kinds.items()})


def read_form(piece: RollPiece) -> Form:
    """Reads the form of a piece, in windows of as many whole bars as fit."""
    starts = window_starts(piece)
    link, similarity = best_returns(piece, starts, np.zeros(len(starts)))
    return Form(np.where(link >= 0, np.arange(len(starts)) - link, 0), similarity.astype(np.float64))


def window_starts(piece: RollPiece) -> np.ndarray:
    """Where the windows of a piece start, int64: from the first downbeat on, each a whole number of its usual bars."""
    first, end = grid_lib.first_downbeat(piece.bars), int(piece.bars[-1])
    lengths = np.diff(piece.bars[piece.bars >= first])
    if not len(lengths):
        return np.zeros(0, dtype=np.int64)
    return np.arange(first, end, phrase_steps(int(np.bincount(lengths).argmax()), piece.config.window_steps))


def phrase_steps(bar_steps: int, window_steps: int) -> int:
    """Steps of as many whole bars as fit into a window; of a window where not one does."""
    return window_steps // bar_steps * bar_steps if bar_steps <= window_steps else window_steps


def fit_forms(forms: Sequence[Form]) -> FormModel:
    """Counts the transitions of forms."""
    rows = [
        (form.similarity[n - 1], form.similarity[n], form.back[n], form.back[n - 1] == form.back[n])
        for form in forms
        for n in range(1, len(form.back))
        if form.back[n] > 0
    ]
    before, similarity, back, goes_on = zip(*rows, strict=True) if rows else ((), (), (), ())
    return FormModel(
        np.array(before, dtype=np.float64),
        np.array(similarity, dtype=np.float64),
        np.array(back, dtype=np.int64),
        np.array(goes_on, dtype=bool),
    )
