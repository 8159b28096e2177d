"""Runs compared: differences paired by tune and by fold, and runs that cannot be compared."""

from __future__ import annotations

import numpy as np
import pytest
from scored_pieces import ACCURACY, metrics, piece

from vae_jax.evaluation import comparison, folds
from vae_jax.evaluation.held_out import read_held_out
from vae_jax.runtime.errors import UserError

NAMES = ("runs/one", "runs/two")


def test_a_constant_gain_is_certain_although_the_scores_are_not():
    """The scores vary from 0.1 to 0.9 over tunes, but one run finds one note in ten more in every tune."""
    first = metrics(*(piece(f"{n}.mid", n) for n in range(1, 9)))
    second = metrics(*(piece(f"{n}.mid", n + 1) for n in range(8, 0, -1)))
    found = comparison.compare(first, second, NAMES)
    assert (found.num_tunes, found.num_pieces) == (8, 8)
    f1 = found.held_out["note_f1_50ms"]
    assert (f1.first, f1.second, f1.difference) == (pytest.approx(0.45), pytest.approx(0.55), pytest.approx(0.1))
    assert f1.interval == pytest.approx([0.1, 0.1])
    assert (f1.num_higher, f1.size) == (8, 8)
    low, high = read_held_out(first, "one").interval("note_f1_50ms")
    assert high - low > 0.2
    assert found.held_out["kl_nats"].num_higher == 0
    assert "drum_f1_50ms" not in found.held_out  # Nothing to score.


def test_the_interval_of_a_difference_covers_the_truth():
    """Of 100 pairs of runs with the same distribution of scores, about five intervals miss zero."""
    rng = np.random.default_rng(3)
    missed = 0
    for seed in range(100):
        runs = [metrics(*(piece(f"{n}.mid", int(rng.binomial(50, 0.6)), notes=50) for n in range(20))) for _ in NAMES]
        low, high = comparison.compare(*runs, NAMES, seed).held_out["note_f1_50ms"].interval
        missed += not low <= 0 <= high
    assert 1 <= missed <= 14


def test_only_what_both_hold_out_is_compared():
    first = metrics(piece("a.mid", 9), piece("b.mid", 1), piece("c.mid", 5))
    second = metrics(piece("d.mid", 0), piece("c.mid", 6), piece("b.mid", 3), piece("a.mid", 10, part="training"))
    found = comparison.compare(first, second, NAMES)
    assert (found.num_tunes, found.num_pieces) == (2, 2)
    assert found.held_out["note_f1_50ms"].first == pytest.approx(0.3)
    assert found.held_out["note_f1_50ms"].second == pytest.approx(0.45)


def test_files_of_a_tune_count_as_one():
    tunes = ["tune", "tune", "tune", "other"]
    rows = [[piece(f"{n}.mid", gain + n, tune=tune) for n, tune in enumerate(tunes)] for gain in (0, 2)]
    found = comparison.compare(metrics(*rows[0]), metrics(*rows[1]), NAMES)
    assert (found.num_tunes, found.num_pieces) == (2, 4)
    assert found.held_out["note_f1_50ms"].size == 2


def test_figures_of_folds_are_paired_by_fold():
    runs = []
    for gain in (0.0, 0.05):
        parts = [metrics(piece(f"{n}.mid", 5), accuracy=0.6 + 0.1 * n + gain) for n in range(3)]
        runs.append(folds.sum_up(parts))
    found = comparison.compare(*runs, NAMES)
    figure = found.figures[ACCURACY]
    assert figure.difference == pytest.approx(0.05)
    assert figure.interval == pytest.approx([0.05, 0.05])
    assert (figure.num_higher, figure.size) == (3, 3)
    # A fold alone against all folds: the same tunes, no pairs of folds.
    single = metrics(piece("1.mid", 7), accuracy=0.5)
    found = comparison.compare(runs[0], single, NAMES)
    assert (found.num_tunes, found.held_out["note_f1_50ms"].difference) == (1, pytest.approx(0.2))
    assert found.held_out["note_f1_50ms"].interval is None
    assert found.figures[ACCURACY].interval is None


def test_runs_that_cannot_be_compared_are_refused_by_name():
    first = metrics(piece("a.mid", 9))
    with pytest.raises(UserError, match=r"runs/one and runs/two hold out other tunes.*split_seed"):
        comparison.compare(first, metrics(piece("b.mid", 9)), NAMES)
    with pytest.raises(UserError, match="runs/one and runs/two are on other files of the same names"):
        comparison.compare(first, metrics(piece("a.mid", 9, notes=11)), NAMES)


def test_scores_on_another_grid_are_left_out_by_name():
    runs = [metrics(piece("a.mid", 9), piece("b.mid", 4)) for _ in NAMES]
    for run, notes in zip(runs, (10, 9), strict=True):
        for row in run["pieces"]:
            row["counts"]["note_f1_grid"] = [5, notes, 10]
    found = comparison.compare(*runs, NAMES)
    assert found.left_out == ["note_f1_grid"] and "note_f1_grid" not in found.held_out
    text = comparison.summarise(NAMES, [found])
    assert "counts other notes in B: note_f1_grid" in text
    assert "A: runs/one\nB: runs/two" in text
    (row,) = (line for line in text.splitlines() if line.startswith("note F1 at 50 ms "))
    assert row.split()[5:] == ["0.6500", "0.6500", "+0.0000", "0.000", "..", "0.000", "0", "of", "2"]
    (row,) = (line for line in text.splitlines() if "balanced_accuracy" in line)
    assert row.split()[1:] == ["0.7500", "0.7500", "+0.0000", "-", "-"]


def with_likelihood(run, nats: float, steps_per_beat: int = 12):
    """Each piece has ten beats, and its number as many nats more."""
    pieces = [{"path": row["path"], "beats": 10.0} for row in run["pieces"]]
    costs = [{"onsets": None, "all": nats + n, "kl": 1.0} for n in range(len(pieces))]
    rows = {"vae": {"pieces": costs, "nats_per_beat": {"all": 1.0, "onsets": None}}}
    return run | {"likelihood": {"grid": {"steps_per_beat": steps_per_beat}, "pieces": pieces, "rows": rows}}


def test_likelihoods_are_compared_in_nats_a_beat_on_one_grid():
    first, second = (with_likelihood(metrics(piece("a.mid", 9), piece("b.mid", 4)), nats) for nats in (200, 150))
    found = comparison.compare(first, second, NAMES)
    assert "likelihood.vae.onsets" not in found.held_out
    nats = found.held_out["likelihood.vae.all"]
    assert (nats.first, nats.second) == (pytest.approx(20.05), pytest.approx(15.05))
    assert nats.interval == pytest.approx([-5, -5]) and nats.num_higher == 0
    assert "vae: all (nats a beat)" in comparison.summarise(NAMES, [found])
    other = with_likelihood(metrics(piece("a.mid", 9), piece("b.mid", 4)), 150, steps_per_beat=4)
    found = comparison.compare(first, other, NAMES)
    assert found.left_out == ["likelihood.vae.all"] and "likelihood.vae.all" not in found.held_out
    # Folds have them as well.
    runs = [folds.sum_up([first, with_likelihood(metrics(piece("c.mid", 9)), nats)]) for nats in (100, 130)]
    assert runs[0]["held_out"]["likelihood.vae.all"] == pytest.approx((200 + 201 + 100) / 30)
    assert comparison.compare(*runs, NAMES).held_out["likelihood.vae.all"].difference == pytest.approx(1)
    (row,) = (line for line in folds.summarise(runs[0]).splitlines() if line.startswith("vae: all (nats a beat)"))
    assert row.split()[5] == "16.7000"
