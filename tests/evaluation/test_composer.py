"""The scores of composed pieces and of their attributes in a run."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

from vae_jax.composer.attributes import ATTRIBUTES
from vae_jax.evaluation import composer


def test_ranks_of_pieces_that_rise_fall_and_stay():
    table = np.array([[1.0, 3.0, 2.0], [2.0, 2.0, 2.0], [5.0, 1.0, 2.0]])
    assert composer._rank_correlations(table) == pytest.approx([1, -1, 0])


def test_a_run_scores_its_pieces_the_prior_and_the_attributes(small_run: pathlib.Path):
    results = json.loads((small_run / "metrics.json").read_text())
    composed, attributes = results["composed"], results["attributes"]
    assert composed["musicology"]["of"] > 0 and composed[composer.BASELINE]["musicology"]["of"] > 0
    assert list(attributes["effect"]) == list(ATTRIBUTES) and attributes["amounts"] == list(composer.AMOUNTS)
    for found in attributes["effect"].values():
        assert set(found["means"]) == set(ATTRIBUTES)
        assert found["monotone"] in (True, False, None)
        assert found["rank_correlation"] is None or -1 <= found["rank_correlation"] <= 1
    still = [found["means"][name][2] for name, found in attributes["effect"].items() if found["means"][name]]
    assert all(np.isfinite(still))
    text = composer.summarise(results)
    assert "prior of the VAE" in text and "attribute moved by" in text
