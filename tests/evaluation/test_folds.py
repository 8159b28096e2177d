"""The sum of folds, against values computed by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.stats
from scored_pieces import ACCURACY, metrics, piece

from vae_jax.evaluation import folds
from vae_jax.evaluation.intervals import fold_interval_95


def test_the_sum_has_all_tunes_and_the_mean_of_the_folds():
    runs = [
        metrics(piece("a.mid", 8), piece("b.mid", 10), piece("x.mid", 1, part="training"), accuracy=0.9),
        metrics(piece("c.mid", 3, notes=30), piece("a.mid", 10, part="training"), accuracy=0.8),
        metrics(piece("d.mid", 5), accuracy=1.0),
    ]
    results = json.loads(json.dumps(folds.sum_up(runs), allow_nan=False))
    assert (results["num_folds"], results["held_out"]["tunes"], results["held_out"]["pieces"]) == (3, 4, 4)
    assert [(row["path"], row["fold"]) for row in results["pieces"]] == [
        ("a.mid", 0), ("b.mid", 0), ("c.mid", 1), ("d.mid", 2),
    ]  # fmt: skip
    assert results["held_out"]["note_f1_50ms"] == pytest.approx(26 / 60)
    low, high = results["held_out"]["note_f1_50ms_interval"]
    assert 0.1 <= low < 26 / 60 < high <= 1
    f1 = results["over_folds"]["held_out.note_f1_50ms"]
    assert f1["values"] == pytest.approx([0.9, 0.1, 0.5]) and f1["mean"] == pytest.approx(0.5)
    accuracy = results["over_folds"][ACCURACY]
    assert accuracy["mean"] == pytest.approx(0.9)
    # t = 4.303 for two degrees of freedom, sd = 0.1, variance of the mean (1/3 + 1/3) of it.
    assert accuracy["interval"] == pytest.approx([0.9 - 4.3027 * 0.1 * (2 / 3) ** 0.5, 0.9 + 0.35131], abs=1e-4)
    assert ACCURACY.replace("balanced_accuracy", "above_chance") not in results["over_folds"]
    assert "drum_f1_50ms" in results["held_out"] and results["held_out"]["drum_f1_50ms"] is None


def test_a_figure_that_a_fold_lacks_is_left_out():
    runs = [metrics(piece("a.mid", 8)), metrics(piece("b.mid", 10))]
    runs[1]["composed"]["two_sample"] = {}
    assert ACCURACY not in folds.sum_up(runs)["over_folds"]


def test_the_table_has_a_row_for_each_score():
    text = folds.summarise(folds.sum_up([metrics(piece("a.mid", 8)), metrics(piece("b.mid", 6))]))
    assert "2 folds, 2 tunes held out once" in text
    (row,) = (line for line in text.splitlines() if line.startswith("note F1 at 50 ms  "))
    assert row.split()[5:] == ["0.7000", "0.600", "..", "0.800", "0.7000", *row.split()[-3:]]


def test_without_shared_training_pieces_the_interval_is_that_of_students_t():
    values = np.random.default_rng(0).normal(size=7)
    found = scipy.stats.ttest_1samp(values, 0).confidence_interval()
    assert fold_interval_95(values, 0) == pytest.approx([found.low, found.high])
    wider = fold_interval_95(values, 0.25)
    assert (wider[1] - wider[0]) / (found.high - found.low) == pytest.approx(((1 / 7 + 0.25) * 7) ** 0.5)
