"""MatchCounts of matched notes, from which precision, recall and F1 are computed."""

from __future__ import annotations

import dataclasses


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
        total = self.reference + self.estimate
        return 2 * self.matched / total if total else 0.0
