"""Two-sample tests find what is made differently, nothing where there is nothing, and the faults of a broken judge."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
import sklearn.dummy
import sklearn.metrics
from sklearn.model_selection import StratifiedKFold

from vae_jax.data import synthetic
from vae_jax.data.corpus import Corpus
from vae_jax.evaluation import bots, two_sample
from vae_jax.evaluation.pieces import PieceSet, feature_index, make_piece_set
from vae_jax.music.score import Score, make_notes, make_score

EMPTY = make_piece_set([make_score(480, make_notes([], [], []))])


@pytest.fixture(autouse=True)
def few_views_and_trees(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    if "slow" not in request.keywords:
        monkeypatch.setattr(two_sample, "ALL_VIEWS", ("all",))
        monkeypatch.setattr(two_sample, "NUM_TREES", 10)


@pytest.fixture(scope="module")
def scores() -> list[Score]:
    return [score for _, score in synthetic.make_corpus(24, seed=2)]


@pytest.fixture(scope="module")
def pieces(scores: list[Score]) -> PieceSet:
    return make_piece_set(scores)


def with_values(values: np.ndarray, tunes: Sequence[int] | None = None) -> PieceSet:
    """Pieces whose first features have these values, all others 0."""
    table = np.zeros((len(values), len(feature_index())))
    table[:, : values.shape[1]] = values
    numbers = range(len(values)) if tunes is None else tunes
    return PieceSet([*EMPTY.grids] * len(values), [*EMPTY.voices] * len(values), numbers, table)


def noise(seed: int) -> Score:
    rng = np.random.default_rng(seed)
    return make_score(480, make_notes(rng.integers(0, 64, 300) * 240, 240, rng.integers(40, 90, 300)))


def accuracies(found: two_sample.Comparison | None, view: str = "all") -> list[two_sample.Accuracy]:
    assert found is not None
    return [found.views[view].logistic, found.views[view].boosting]


def test_noise_is_recognised_by_what_differs(pieces: PieceSet):
    found = two_sample.compare(pieces.select(range(15)), make_piece_set([noise(seed) for seed in range(15)]), seed=0)
    for one in accuracies(found):
        assert one.above_chance and one.balanced_accuracy > 0.95
        assert 0.8 < one.interval[0] <= one.balanced_accuracy <= one.interval[1] <= 1
    assert found is not None
    view = found.views["all"]
    assert view.chance[1] < view.auc_distance
    for feature in found.top_features:
        assert abs(feature["auc"] - 0.5) > 0.4 and (feature["auc"] > 0.5) == (feature["second"] > feature["first"])


def test_music_of_one_composer_is_at_chance(pieces: PieceSet):
    found = two_sample.compare(pieces.select(range(0, 24, 2)), pieces.select(range(1, 24, 2)), seed=0)
    for one in accuracies(found):
        assert not one.above_chance and one.interval[0] < 0.5


def test_aucs_are_those_of_scikit_learn_with_missing_values_left_out():
    rng = np.random.default_rng(0)
    x, labels = rng.integers(0, 6, (30, 3)).astype(float), rng.random((2, 30)) < 0.4
    x[rng.random(x.shape) < 0.2] = np.nan
    x[:, 2] = np.nan
    found = two_sample.compute_aucs(x, labels)
    for row, mine in zip(found, labels, strict=True):
        for n in range(2):
            known = ~np.isnan(x[:, n])
            assert row[n] == pytest.approx(sklearn.metrics.roc_auc_score(mine[known], x[known, n]))
    assert found[:, 2].tolist() == [0.5, 0.5]


def test_chance_of_the_auc_is_that_of_two_normal_samples():
    """95% of |AUC - 0.5| of one feature lies below 1.96 sqrt((n + m + 1) / (12 n m))."""
    rng = np.random.default_rng(1)
    columns = two_sample.view_columns()["melody"][:1]
    first, second = (with_values(rng.normal(size=(size, 1))) for size in (60, 40))
    trial = two_sample._run_trial(first, second, 0, False, ["all"])
    permuted = np.abs(trial.permuted[:, columns[0]] - 0.5)
    assert np.percentile(permuted, 95) == pytest.approx(1.96 * (101 / (12 * 60 * 40)) ** 0.5, rel=0.2)


def test_other_pieces_of_a_tune_do_not_help():
    """Features that are noise but the same within a tune: a classifier trained on one piece would know the others."""
    rng = np.random.default_rng(0)
    real, composed = np.repeat(rng.normal(size=(15, 20)), 4, axis=0), rng.normal(size=(60, 20))
    tunes = [n // 4 for n in range(60)]
    found = two_sample.compare(with_values(real, tunes), with_values(composed), seed=0)
    leaky = two_sample.compare(with_values(real), with_values(composed), seed=0)
    assert accuracies(found)[0].balanced_accuracy < 0.65
    assert accuracies(leaky)[1].balanced_accuracy > accuracies(found)[1].balanced_accuracy + 0.1


def test_a_missing_value_does_not_give_a_piece_away():
    """Missing in half of both samples."""
    rng = np.random.default_rng(3)
    first, second = (with_values(rng.normal(size=(40, 3))) for _ in range(2))
    for one in (first, second):
        one.values[::2, 0] = np.nan
        one.values[:, 1] = np.nan
    found = two_sample.compare(first, second, seed=0)
    assert not any(one.above_chance for one in accuracies(found))
    assert json.dumps([vars(one) for one in accuracies(found)], allow_nan=False)


def test_the_same_seed_gives_the_same_scores(pieces: PieceSet):
    sets = pieces.select(range(8)), pieces.select(range(8, 16))
    assert two_sample.compare(*sets, seed=3) == two_sample.compare(*sets, seed=3)


@pytest.mark.parametrize("sizes", [[30, 1, 1, 1, 1], [1, 1, 1, 1, 1], [9, 9, 1, 1, 1, 1], [2, 2, 2, 2, 2]])
def test_tunes_of_unequal_size_are_recognised_by_the_feature_that_differs(sizes: list[int]):
    tunes = np.repeat(range(len(sizes)), sizes).tolist()
    found = two_sample.compare(with_values(np.ones((len(tunes), 1)), tunes), with_values(-np.ones((5, 1))), seed=0)
    assert accuracies(found)[0].balanced_accuracy == 1
    assert found is not None
    first, second = found.top_features[:2]
    assert (first["auc"], first["first"], first["second"]) == (0, 1, -1) and second["auc"] == 0.5


@pytest.mark.parametrize(("training", "held_out", "composed"), [(0, 0, 0), (12, 0, 4), (4, 2, 12), (1, 0, 1)])
def test_fewer_tunes_than_folds_are_left_out_by_name(pieces: PieceSet, training: int, held_out: int, composed: int):
    bot = {"shuffled_bars": pieces.select(range(4))}
    sets = (
        pieces.select(range(first, first + size)) for first, size in ((0, training), (12, held_out), (10, composed))
    )
    found = two_sample.run_tests(*sets, bot, seed=0).to_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert {"held_out", "shuffled_bars"} <= set(found["left_out"])
    assert ("composed" in found) == (composed == 12) and ("halves" in found) == (training == 12)
    text = two_sample.summarise(found)
    assert "left out: held out (a sample has fewer tunes than the 5 folds)" in text and "nan" not in text


def test_a_judge_passes_its_own_test(scores: list[Score], pieces: PieceSet, monkeypatch: pytest.MonkeyPatch):
    """Halves of the real pieces at chance, a bot recognised."""
    monkeypatch.setattr(two_sample, "ALL_VIEWS", ("structure",))
    shuffled = make_piece_set(bots.shuffle_bars(scores, seed=0))
    found = two_sample.run_tests(
        pieces.select(range(18)), pieces.select(range(18, 24)), shuffled, {"shuffled_bars": shuffled}, seed=0
    )
    assert found.faults == {"logistic": [], "boosting": []}
    lines = two_sample.summarise(found.to_json()).splitlines()
    assert max(map(len, lines)) <= 100
    row = next(line for line in lines if line.startswith("structure"))
    halves = found.comparisons["halves"].views["structure"]
    assert f"{halves.logistic.balanced_accuracy:.3f}  {halves.boosting.balanced_accuracy:.3f}" in row
    assert f"{found.comparisons['shuffled_bars'].views['structure'].logistic.balanced_accuracy:.3f}*" in row


def test_a_judge_that_is_blind_fails_its_own_test(
    scores: list[Score], pieces: PieceSet, monkeypatch: pytest.MonkeyPatch
):
    blind = sklearn.dummy.DummyClassifier(strategy="most_frequent")
    monkeypatch.setattr(two_sample, "_make_model", lambda name, seed: sklearn.pipeline.Pipeline([(name, blind)]))
    shuffled = make_piece_set(bots.shuffle_bars(scores[:10], seed=0))
    comparison = two_sample.compare(pieces.select(range(10)), shuffled, seed=0, share_tunes=True)
    assert two_sample.find_faults(None, {"shuffled_bars": comparison}) == {
        name: ["recognises no shuffled_bars"] for name in two_sample.CLASSIFIERS
    }


def test_a_judge_that_leaks_fails_its_own_test(monkeypatch: pytest.MonkeyPatch):
    """Folds that part the files of a tune let it know halves of the real tunes."""
    rng = np.random.default_rng(0)
    real = with_values(np.repeat(rng.normal(size=(50, 20)), 3, axis=0), [n // 3 for n in range(150)])
    assert two_sample.find_faults(two_sample.compare_halves(real, seed=0), {}) == {"logistic": [], "boosting": []}

    def split(is_second: np.ndarray, tunes: np.ndarray, seed: int):
        return [*StratifiedKFold(5, shuffle=True, random_state=seed).split(tunes[:, None], is_second)]

    monkeypatch.setattr(two_sample, "_split", split)
    faults = two_sample.find_faults(two_sample.compare_halves(real, seed=0), {})
    assert all("tells real halves apart: all" in found for found in faults.values())


@pytest.mark.slow
def test_real_anthems_are_at_chance_and_every_bot_is_recognised(anthem_corpus: Corpus):
    """One file of each tune, and all views."""
    firsts = sorted(set(anthem_corpus.tune_groups))
    scores = [anthem_corpus.pieces[n].score for n in firsts]
    real = make_piece_set(scores)
    made = {name: make_piece_set(make(scores, 0)) for name, make in bots.BOTS.items()}
    found = two_sample.run_tests(real.select(range(100)), real.select(range(100, len(firsts))), real, made, seed=0)
    assert found.faults == {"logistic": [], "boosting": []}
    for bot in bots.BOTS:
        assert min(one.balanced_accuracy for one in accuracies(found.comparisons[bot], "structure")) > 0.85
