"""The table of statistics: intervals by resampling tunes, values inside and outside, rows left out."""

from __future__ import annotations

import json

import numpy as np
import pytest
from beat_scores import score_of
from described import melody_of

from vae_jax.evaluation.musicology.statistics import STATISTICS
from vae_jax.evaluation.musicology.table import compare_statistics, summarise
from vae_jax.evaluation.pieces import PieceSet, feature_index, make_piece_set


def with_column(name: str, values: list[float], tunes: list[int] | None = None) -> PieceSet:
    """Pieces that have one feature."""
    table = np.full((len(values), len(feature_index())), np.nan)
    table[:, feature_index()[name]] = values
    return PieceSet([], [], tunes or range(len(values)), table)


def test_every_statistic_is_a_feature():
    assert set(STATISTICS) <= set(feature_index())


def test_the_interval_is_that_of_means_of_so_many_tunes():
    """Means of 4 of 100 values, drawn without replacement, have the standard deviation s / 2 sqrt(96 / 99)."""
    values = np.random.default_rng(0).normal(10, 2, 100)
    sets = with_column("tracks", values.tolist()), with_column("tracks", [9.0]), with_column("tracks", [8.5, 9.5])
    found = compare_statistics(*sets, sample_size=4, seed=0, num_samples=4000)
    row, half = found.rows["tracks"], 1.96 * values.std() / 2 * (96 / 99) ** 0.5
    assert row.interval == pytest.approx([values.mean() - half, values.mean() + half], abs=0.12)
    assert (row.held_out, row.composed, row.inside) == (9, 9, True)
    assert row.training == pytest.approx(values.mean())
    outside = compare_statistics(*sets[:2], with_column("tracks", [20.0]), sample_size=4, seed=0)
    assert not outside.rows["tracks"].inside and outside.num_inside == 0
    assert set(found.rows) == {"tracks"} and len(found.left_out) == len(STATISTICS) - 1


def test_pieces_of_a_tune_are_drawn_together():
    """Two tunes, one of them in three files: means of one tune are 1 or 5."""
    training = with_column("tracks", [1, 5, 5, 5], [0, 1, 1, 1])
    row = compare_statistics(training, with_column("tracks", []), with_column("tracks", [3]), 1, seed=0).rows["tracks"]
    assert row.interval == [1, 5] and row.held_out is None and row.training == 4


def test_a_piece_without_a_value_does_not_count():
    nan = float("nan")
    sets = with_column("tracks", [2, nan, 4]), with_column("tracks", [nan]), with_column("tracks", [nan, 3])
    row = compare_statistics(*sets, sample_size=2, seed=0).rows["tracks"]
    assert (row.training, row.held_out, row.composed) == (3, None, 3)


@pytest.mark.parametrize("num_training", [0, 1, 4])
def test_what_cannot_be_computed_is_left_out_by_name(num_training: int):
    """All drums against melodies, and the other way round; nothing at all."""
    drums = make_piece_set([score_of((0, 1, 36), channel=9)] * num_training)
    melodies, nothing = make_piece_set([melody_of(60, 62, 64, 67, 60)] * num_training), make_piece_set([])
    for sets in ((drums, nothing, melodies), (melodies, nothing, drums), (nothing, nothing, nothing)):
        found = compare_statistics(*sets, sample_size=num_training // 2, seed=0).to_json()
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        assert (
            not found["rows"] and set(found["left_out"]) == set(STATISTICS) and (found["inside"], found["of"]) == (0, 0)
        )
        text = summarise(found)
        assert "inside: 0 of 0" in text and "left out (" in text and "melody_steps" in text


def test_the_table_shows_label_value_interval_and_count():
    sets = with_column("tracks", [1, 2, 3, 4]), with_column("tracks", [2]), with_column("tracks", [9])
    lines = summarise(compare_statistics(*sets, sample_size=2, seed=0).to_json()).splitlines()
    assert lines[0].split() == [
        "musicology:",
        "mean",
        "training",
        "held-out",
        "composed",
        "2",
        "real",
        "tunes",
        "inside",
    ]
    assert lines[1].split() == ["tracks", "2.5000", "2.0000", "9.0000", "1.500", "..", "3.500", "no"]
    assert lines[2] == "inside: 0 of 1"
