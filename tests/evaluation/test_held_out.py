"""Scores of held-out pieces as ratios of sums, and their intervals over tunes."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from scored_pieces import metrics, piece

from vae_jax.evaluation import held_out
from vae_jax.runtime.errors import UserError

PIECES = [piece("a.mid", 9), piece("b.mid", 5, nats=3), piece("c.mid", 0), piece("d.mid", 10, part="training")]


def test_scores_are_ratios_of_sums_over_held_out_pieces():
    read = held_out.read_held_out(metrics(*PIECES), "run")
    assert read.paths == ["a.mid", "b.mid", "c.mid"]
    assert read.score("note_f1_50ms") == pytest.approx(14 / 30)
    assert read.score("kl_nats") == pytest.approx(5 / 6)
    assert read.score("drum_f1_50ms") is None
    assert read.interval("drum_f1_50ms") is None
    assert read.select([1]).score("note_f1_50ms") == 0.5
    assert read.select([1]).interval("note_f1_50ms") is None


def test_the_interval_is_that_of_scipy_over_tunes():
    rng = np.random.default_rng(0)
    sizes, shares = rng.integers(20, 200, 30), rng.beta(4, 2, 30)
    pieces = [
        piece(f"{n}.mid", round(size * share), notes=int(size))
        for n, (size, share) in enumerate(zip(sizes, shares, strict=True))
    ]
    read = held_out.read_held_out(metrics(*pieces), "run")
    found = scipy.stats.bootstrap(
        tuple(read.ratios["note_f1_50ms"]),
        lambda above, below, axis: above.sum(axis=axis) / below.sum(axis=axis),
        paired=True,
        method="percentile",
        rng=1,
    ).confidence_interval
    assert read.interval("note_f1_50ms") == pytest.approx([found.low, found.high], abs=0.01)
    assert found.high - found.low > 0.05


def test_pieces_of_one_tune_are_drawn_together():
    rows = [piece(f"{n}.mid", 10 * (n % 2), tune="one" if n < 6 else "two") for n in range(12)]
    read = held_out.read_held_out(metrics(*rows), "run")
    assert read.interval("note_f1_50ms") == [0.5, 0.5]  # Both tunes score the same, whatever is drawn.


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([piece("a.mid", 1, part="training")], "run: holds out nothing"),
        ([{"path": "a.mid", "part": "held_out", "note_f1_50ms": 0.5}], "run: evaluated by an older version"),
    ],
)
def test_a_run_without_the_sums_is_refused(rows, message: str):
    with pytest.raises(UserError, match=message):
        held_out.read_held_out({"pieces": rows}, "run")
