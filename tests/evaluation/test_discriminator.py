"""The discriminator finds what is made differently, and nothing where there is nothing to find."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from vae_jax.data import synthetic
from vae_jax.data.corpus import Corpus
from vae_jax.evaluation import discriminator
from vae_jax.evaluation.bar_grid import BarGrid, PieceSet, make_bar_grid
from vae_jax.music.score import make_notes, make_score


@pytest.fixture(autouse=True)
def one_repeat(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(discriminator, "NUM_REPEATS", 1)


@pytest.fixture(scope="module")
def pieces() -> list[BarGrid]:
    return [make_bar_grid(score) for _, score in synthetic.make_corpus(48, seed=2)]


def evaluate(real: Sequence, composed: Sequence, tunes: Sequence[int] = (), **arguments) -> dict[str, Any] | None:
    """Real pieces have these tunes, or each its own."""
    sets = PieceSet(real, tunes or range(len(real))), PieceSet(composed, range(len(composed)))
    return discriminator.evaluate_discriminator(*sets, **arguments)


def noise(seed: int) -> BarGrid:
    rng = np.random.default_rng(seed)
    notes = make_notes(rng.integers(0, 64, 300) * 240, 240, rng.integers(40, 90, 300))
    return make_bar_grid(make_score(480, notes))


def test_noise_is_recognized_by_what_differs(pieces: list[BarGrid]):
    found = evaluate(pieces[:20], [noise(seed) for seed in range(20)], seed=0)
    assert found is not None
    for name in ("logistic", "boosting"):
        assert found[name]["balanced_accuracy"] > 0.95
        low, high = found[name]["balanced_accuracy_interval"]
        assert 0.9 < low <= found[name]["balanced_accuracy"] <= high <= 1
    top = {feature["name"]: feature for feature in found["logistic"]["top_features"]}
    assert len(top) == discriminator.NUM_TOP_FEATURES
    for feature in top.values():
        assert (feature["weight"] > 0) == (feature["composed"] > feature["real"])
    json.dumps(found, allow_nan=False)


def test_music_of_one_composer_is_not_recognized(pieces: list[BarGrid]):
    """Within three standard errors of a coin's: sqrt(0.25 / 48)."""
    found = evaluate(pieces[:24], pieces[24:], seed=0)
    assert found is not None
    for name in ("logistic", "boosting"):
        assert found[name]["balanced_accuracy"] == pytest.approx(0.5, abs=0.22)


def test_other_pieces_of_a_tune_do_not_help(monkeypatch: pytest.MonkeyPatch):
    """Features that are noise but the same within a tune: a classifier trained on one piece would know the others."""
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(size=(30, 20)), 4, axis=0)
    monkeypatch.setattr(
        discriminator, "discriminator_features", lambda n: {f"f{k}": float(value) for k, value in enumerate(values[n])}
    )
    # Fifteen real tunes of four files; the composed pieces are independent noise.
    values[60:] = rng.normal(size=(60, 20))
    found = evaluate(list(range(60)), list(range(60, 120)), [n // 4 for n in range(60)], seed=0)
    assert found is not None
    assert found["logistic"]["balanced_accuracy"] < 0.65
    leaky = evaluate(list(range(60)), list(range(60, 120)), seed=0)
    assert leaky is not None
    assert leaky["boosting"]["balanced_accuracy"] > found["boosting"]["balanced_accuracy"] + 0.1


def test_the_same_seed_gives_the_same_scores(pieces: list[BarGrid]):
    first, second = (evaluate(pieces[:8], pieces[8:16], seed=3, num_samples=20) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(("num_real", "num_composed"), [(0, 0), (20, 1), (3, 10), (10, 3)])
def test_too_few_pieces_have_no_scores(pieces: list[BarGrid], num_real: int, num_composed: int):
    composed = pieces[num_real : num_real + num_composed]
    assert evaluate(pieces[:num_real], composed, seed=0) is None


def test_tunes_of_unequal_size_are_recognized_by_the_feature_that_differs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(discriminator, "discriminator_features", lambda n: {"constant": 1.0, "sign": float(n >= 0)})
    for sizes in ([30, 1, 1, 1], [1, 1, 1, 1], [9, 9, 1, 1, 1, 1], [2, 2, 2, 2, 2]):
        tunes = np.repeat(range(len(sizes)), sizes).tolist()
        found = evaluate(range(len(tunes)), [-1] * 4, tunes, seed=0, num_samples=10)
        assert found is not None
        assert found["logistic"]["balanced_accuracy"] == 1
        first, last = found["logistic"]["top_features"]
        assert (first["name"], first["real"], first["composed"]) == ("sign", 1, 0) and first["weight"] < 0
        assert (last["name"], last["weight"]) == ("constant", 0)


def test_real_anthems_are_not_recognized_among_real_anthems(anthem_corpus: Corpus):
    """One file of each tune, every other one called composed."""
    firsts = sorted(set(anthem_corpus.tune_groups))
    grids = [make_bar_grid(anthem_corpus.pieces[n].score) for n in np.random.default_rng(0).permutation(firsts)]
    found = evaluate(grids[::2], grids[1::2], seed=0)
    assert found is not None
    for name in ("logistic", "boosting"):
        assert found[name]["balanced_accuracy"] == pytest.approx(0.5, abs=0.13)
