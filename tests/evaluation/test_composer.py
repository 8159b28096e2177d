"""Attributes of composed pieces measured at each move, and the text of the scores."""

from __future__ import annotations

import copy
import json
import pathlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from beat_scores import score_of

from vae_jax.composer.attributes import ATTRIBUTES
from vae_jax.evaluation import composer
from vae_jax.music.score import Score


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A composer whose pieces have as many notes a beat as their density is moved to, and a pitch of no influence."""
    request = composer.requests.Request(SimpleNamespace(pitch_class=0), np.array([0, 48]), None)  # type: ignore[arg-type]

    def generate(_composer, moved, seed: int) -> list[Score]:
        return [score_of(*((n / one, 1 / one, 64) for n in range(8 * one))) for one in moved]

    monkeypatch.setattr(composer.requests, "sample_request", lambda *_, **__: request)
    monkeypatch.setattr(composer.attributes, "move", lambda _, __, moves: 4 + int(moves.get("density", 0)))
    monkeypatch.setattr(composer.generate, "generate_pieces", generate)
    return SimpleNamespace(stage=SimpleNamespace(config=SimpleNamespace(num_scored=3)))


def test_attributes_by_hand(known):
    found = composer.measure_attributes(known, seed=0)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["pieces"], found["amounts"]) == (3, [-2, -1, 0, 1, 2])
    density, register = found["effect"]["density"], found["effect"]["register"]
    assert density["means"]["density"] == pytest.approx([2, 3, 4, 5, 6])
    assert density["means"]["register"] == pytest.approx([64] * 5)
    assert density["monotone"] and density["rank_correlation"] == pytest.approx(1)
    assert not register["monotone"] and register["rank_correlation"] == 0
    assert found["effect"]["mode"]["means"]["mode"] == [0] * 5 and not found["effect"]["mode"]["monotone"]
    assert set(found["effect"]) == set(ATTRIBUTES)


def test_rank_correlations_are_spearmans():
    import scipy.stats

    table = np.random.default_rng(0).integers(0, 4, (5, 20)).astype(float)
    expected = [scipy.stats.spearmanr(np.arange(5), column).statistic for column in table.T if np.ptp(column)]
    found = composer._rank_correlations(table)
    assert found[np.ptp(table, axis=0) > 0] == pytest.approx(np.array(expected))


def test_the_scores_of_a_run_as_text(small_run: pathlib.Path):
    results = json.loads((small_run / "metrics.json").read_text())
    assert results["composed"]["pieces"]["composed"] == 4 and results["composed"]["seed"] == 0
    assert results["composed"][composer.BASELINE]["two_sample"] is None, "too few pieces"
    text = composer.summarise(results)
    assert "composer:" in text and "prior of the VAE:" in text and "attribute moved by" in text
    without = copy.deepcopy(results)
    del without["attributes"]
    assert "attribute moved by" not in composer.summarise(without)
