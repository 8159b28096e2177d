"""The scores of one piece against its original, by their names in `metrics.json` (docs/metrics.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vae_jax.evaluation import note_matching
from vae_jax.music.match_counts import MatchCounts
from vae_jax.music.score import Score

SCORES: dict[str, Callable[[Score, Score], MatchCounts]] = {
    "note_f1_50ms": lambda original, score: note_matching.count_matches(original, score),
    "note_f1_50ms_offset": lambda original, score: note_matching.count_matches(original, score, offsets=True),
    "note_f1_50ms_unison": lambda original, score: note_matching.count_matches(
        note_matching.without_doublings(original), note_matching.without_doublings(score)
    ),
    "note_f1_instrument": note_matching.count_instrument_matches,
    "drum_f1_50ms": lambda original, score: note_matching.count_matches(original, score, drums=True),
}


def total_f1(pairs: Iterable[tuple[Score, Score]]) -> dict[str, float]:
    """Returns every score of (original, estimate) pairs, from the counts summed over them."""
    pairs = list(pairs)
    return {name: sum((count(*pair) for pair in pairs), MatchCounts()).f1 for name, count in SCORES.items()}
