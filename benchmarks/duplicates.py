"""Which files hold one tune: recall on the Bach chorales, against an alignment of their sopranos, and time.

    python -m benchmarks.duplicates

The reference are the pairs of chorales of which a local alignment (Smith and Waterman, 1981) of the sopranos, one
interval a beat, scores at least 0.4 of the shorter one: 1 for an equal interval, -1 for another one and for a gap.
"""

from __future__ import annotations

import time

import numpy as np
from absl import app

from vae_jax.data import corpus, deduplication, sources, synthetic
from vae_jax.music.score import Score

_MIN_SHARE = 0.4
_SIZES = (250, 500, 1000, 2000)


def main(_: list[str]) -> None:
    """Prints the counts of pairs and the times."""
    chorales = corpus.read_source(sources.list_shipped(sources.CHORALES_NAME))
    share = alignment_shares([soprano(piece.score) for piece in chorales.pieces])
    upper = np.triu(np.ones(share.shape, dtype=bool), 1)
    reference = (share >= _MIN_SHARE) & upper
    groups = np.array(chorales.tune_groups)
    found = (groups[:, None] == groups) & upper
    print(f"{len(groups)} chorales, {reference.sum()} pairs of one tune by alignment, {found.sum()} found")
    print(
        f"recall {(found & reference).sum() / reference.sum():.3f}, beyond the reference {(found & ~reference).sum()}"
    )
    print(f"alignment of the pairs beyond it: {np.sort(share[found & ~reference]).round(2).tolist()}")
    scores = [synthetic.make_score(0, n) for n in range(max(_SIZES))]
    shingles = [deduplication.pack_shingles(score) for score in scores]
    for size in _SIZES:
        started = time.perf_counter()
        deduplication.group_tunes(shingles[:size], [str(n) for n in range(size)])
        print(f"{size} files: {time.perf_counter() - started:.2f} s")


def soprano(score: Score) -> np.ndarray:
    """The intervals from beat to beat of the first track, in semitones, int64 [B - 1]."""
    notes = score.notes.select(score.notes.track == score.notes.track.min())
    beats = np.arange(notes.onset_ticks[0], notes.end_ticks.max(), score.ticks_per_beat)
    return np.diff(notes.pitch[np.searchsorted(notes.onset_ticks, beats, side="right") - 1])


def alignment_shares(lines: list[np.ndarray]) -> np.ndarray:
    """The scores of the best local alignments of every two lines as shares of the shorter one, float [N, N]."""
    lengths = np.array([len(line) for line in lines])
    padded = np.full((len(lines), lengths.max()), -999)
    for row, line in zip(padded, lines, strict=True):
        row[: len(line)] = line
    column = np.arange(1, padded.shape[1] + 1)
    best = np.zeros((len(lines), len(lines)))
    for n, line in enumerate(lines):
        above = np.zeros((len(lines), padded.shape[1] + 1), dtype=np.int64)
        for interval in line:
            score = np.maximum(above[:, :-1] + np.where(padded == interval, 1, -1), above[:, 1:] - 1)
            # A gap in the row, of any length: the maximum of the scores before it less one a step.
            above[:, 1:] = np.maximum(np.maximum.accumulate(np.maximum(score, 0) + column, axis=1) - column, 0)
            best[n] = np.maximum(best[n], above.max(axis=1))
    return best / np.minimum(lengths, lengths[:, None])


if __name__ == "__main__":
    app.run(main)
