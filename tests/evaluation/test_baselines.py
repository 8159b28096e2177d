"""Baselines on the beat grid: a transposed copy is found, PCA of full rank is exact, the bar before by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vae_jax.data import synthetic
from vae_jax.evaluation import baselines
from vae_jax.music.score import Score, make_notes, make_score, transpose
from vae_jax.representations.pianoroll.representation import RollRepresentation

REPRESENTATION = RollRepresentation(normalize_tonic=False)


def encoded(score: Score) -> Any:
    return SimpleNamespace(original=score, encoded=REPRESENTATION.encode(score))


def scores_of(training: Score, scored: Score, latent_dim: int, subset: str) -> dict[str, float]:
    experiment: Any = SimpleNamespace(
        representation=REPRESENTATION, model=SimpleNamespace(latent_dim=latent_dim), seed=0
    )
    library = encoded(training)
    fitted = baselines.fit_grid_baselines(experiment, REPRESENTATION.grid, [library], library.encoded.examples)
    return fitted([encoded(scored)], subset)


def test_the_nearest_window_may_be_transposed():
    piece = synthetic.make_score(2, 0)
    scores = scores_of(transpose(piece, 3), piece, 4, "held_out")
    assert scores["baseline_nearest_window_note_f1_grid"] == 1
    assert 0 < scores["baseline_pca_note_f1_grid"] < 1


def test_a_corpus_of_drums_alone_has_no_pitched_baselines():
    drums = make_score(480, make_notes(np.arange(16) * 480, 100, 38, channel=9))
    assert scores_of(drums, drums, 4, "held_out") == {}


def test_pca_of_full_rank_is_exact_and_the_bar_before_is_counted_by_hand():
    # Two equal bars, then a third with one other note of two.
    onset = np.array([0, 480, 1920, 2400, 3840, 4320])
    score = make_score(480, make_notes(onset, 240, [60, 64, 60, 64, 60, 65]))
    scores = scores_of(score, score, 50, "training")
    assert "baseline_nearest_window_note_f1_grid" not in scores  # A training window is its own nearest.
    assert scores["baseline_pca_note_f1_grid"] == scores["baseline_pca_note_f1_grid_part"] == 1
    assert scores["baseline_pca_note_f1_50ms"] == scores["baseline_pca_note_f1_instrument"] == 1
    # Copied: bars 1 and 2 as their predecessors, four notes, of which three are right; six notes in all.
    assert scores["baseline_previous_bar_note_f1_grid"] == pytest.approx(2 * 3 / (6 + 4))


def test_one_window_is_enough():
    """Warnings of the libraries, of variances of nothing, are errors here."""
    score = make_score(480, make_notes([0, 480], 480, [60, 62]))
    assert scores_of(score, score, 4, "held_out")["baseline_pca_note_f1_50ms"] == 1
