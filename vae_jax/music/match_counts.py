"""MatchCounts of matched notes, from which precision, recall and F1 are computed."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike


@dataclasses.dataclass(frozen=True)
class MatchCounts:
    """Notes matched, in the original and in the estimate; counts add up over pieces, F1 is taken from the sums."""

    matched: int = 0
    reference: int = 0
    estimate: int = 0

    def __add__(self, other: MatchCounts) -> MatchCounts:
        return MatchCounts(
            self.matched + other.matched, self.reference + other.reference, self.estimate + other.estimate
        )

    @property
    def precision(self) -> float:
        """Share of the estimate's notes that match; 0 where it has none."""
        return self.matched / self.estimate if self.estimate else 0.0

    @property
    def recall(self) -> float:
        """Share of the original's notes that are matched; 0 where it has none."""
        return self.matched / self.reference if self.reference else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where nothing matches."""
        return float(f1_score(self.matched, self.reference, self.estimate))


def f1_score(matched: ArrayLike, reference: ArrayLike, estimate: ArrayLike) -> np.ndarray:
    """Returns the F1 of counts, elementwise; 0 where there is nothing to match."""
    total = np.add(reference, estimate)
    return np.multiply(2, matched) / np.maximum(total, 1)
