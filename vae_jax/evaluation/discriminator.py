"""A discriminator: classifiers that try to tell composed pieces from real ones, and the features they use.

A balanced accuracy of 0.5 is chance: composed music has the features of real music. Well below 0.5 the composed pieces
are copies, which resemble real pieces of the training folds. The test is most sensitive with as many composed as real
pieces; with few, the trees call nearly everything real.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vae_jax.evaluation.bar_grid import BarGrid
from vae_jax.evaluation.discriminator_features import discriminator_features
from vae_jax.evaluation.intervals import interval_95, resample_group_sums

# From features and classes to train on, those to test on and a seed to the test pieces recognized and feature weights.
TrainAndTest = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]
NUM_FOLDS, NUM_REPEATS = 5, 3
NUM_TOP_FEATURES = 10
_MIN_GROUPS = 4  # Of each class: with fewer, nothing can be learnt from the folds.


def evaluate_discriminator(
    real: Sequence[BarGrid],
    composed: Sequence[BarGrid],
    *,
    real_tunes: Sequence[int] | np.ndarray,
    seed: int,
    num_samples: int = 1000,
) -> dict[str, Any] | None:
    """Trains classifiers to tell composed from real pieces, by repeated cross-validation.

    Folds are stratified and keep the pieces of a tune together (scikit-learn's StratifiedGroupKFold); each composed
    piece is a tune of its own. Both classes weigh the same. The seed is that of folds, models and resampling.

    Returns:
      For "logistic" (regression on standardized features) and "boosting" (gradient-boosted trees):
        balanced_accuracy: mean of the shares of real and of composed pieces that are recognized; 0.5 is chance.
        balanced_accuracy_interval: 95%, by resampling tunes.
        top_features: the most discriminative features, each with its `name`, its `weight` (logistic: the mean
          standardized coefficient, above zero where composed pieces have more of it; boosting: what balanced accuracy
          loses on the test fold when the feature is permuted), and its mean over `real` and over `composed` pieces.
      None where either class has fewer than four tunes.
    """
    tunes, real_groups = np.unique(np.asarray(real_tunes, dtype=np.int64), return_inverse=True)
    groups = np.concatenate([real_groups, len(tunes) + np.arange(len(composed))])
    num_groups = min(len(tunes), len(composed))
    if num_groups < _MIN_GROUPS:
        return None
    rows = [discriminator_features(grid) for grid in [*real, *composed]]
    names, x = list(rows[0]), np.array([list(row.values()) for row in rows])
    is_composed = np.repeat([False, True], [len(real), len(composed)])
    results = {}
    for name, train_and_test in (("logistic", _logistic), ("boosting", _boosting)):
        correct, weights = _cross_validate(train_and_test, x, is_composed, groups, min(NUM_FOLDS, num_groups), seed)
        importance = np.abs(weights) if name == "logistic" else weights
        rng, recalls = np.random.default_rng(seed), []
        for mine in (is_composed, ~is_composed):
            sums = resample_group_sums([correct[mine], np.ones(mine.sum())], groups[mine], rng, num_samples)
            recalls.append(sums[0] / sums[1])
        results[name] = {
            "balanced_accuracy": _balanced_accuracy(correct, is_composed),
            "balanced_accuracy_interval": interval_95(np.mean(recalls, axis=0)),
            "top_features": [
                {
                    "name": names[n],
                    "weight": float(weights[n]),
                    "real": float(x[~is_composed, n].mean()),
                    "composed": float(x[is_composed, n].mean()),
                }
                for n in np.argsort(-importance, kind="stable")[:NUM_TOP_FEATURES]
            ],
        }
    return results


def _cross_validate(
    train_and_test: TrainAndTest, x: np.ndarray, y: np.ndarray, groups: np.ndarray, num_folds: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns how often each piece is recognized in the test fold, [N], and the mean weight of each feature, [F]."""
    from sklearn.model_selection import StratifiedGroupKFold

    recognized, total = np.zeros(len(x)), np.zeros(x.shape[1])
    for repeat in range(NUM_REPEATS):
        folds = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed + repeat)
        for train, test in folds.split(x, y, groups):
            correct, weights = train_and_test(x[train], y[train], x[test], y[test], seed)
            recognized[test] += correct
            total += weights
    return recognized / NUM_REPEATS, total / (NUM_REPEATS * num_folds)


def _logistic(x: np.ndarray, y: np.ndarray, test_x: np.ndarray, test_y: np.ndarray, seed: int):
    """Logistic regression; weights are standardized coefficients."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # With about a hundred features and as many pieces, less shrinkage than this overfits.
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000)).fit(x, y)
    return model.predict(test_x) == test_y, model[-1].coef_[0]


def _boosting(x: np.ndarray, y: np.ndarray, test_x: np.ndarray, test_y: np.ndarray, seed: int):
    """Gradient-boosted trees; weights are permutation importances on the test pieces."""
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.utils.class_weight import compute_sample_weight

    model = GradientBoostingClassifier(
        n_estimators=100, max_depth=3, min_samples_leaf=3, subsample=0.8, max_features="sqrt", random_state=seed
    ).fit(x, y, sample_weight=compute_sample_weight("balanced", y))
    correct = model.predict(test_x) == test_y
    rng, (num_pieces, num_features) = np.random.default_rng(seed), test_x.shape
    permuted = np.repeat(test_x[None], num_features, axis=0)
    for n in range(num_features):
        permuted[n, :, n] = rng.permutation(test_x[:, n])
    predicted = model.predict(permuted.reshape(-1, num_features)).reshape(num_features, num_pieces)
    accuracy = _balanced_accuracy(correct, test_y)
    return correct, np.array([accuracy - _balanced_accuracy(row == test_y, test_y) for row in predicted])


def _balanced_accuracy(correct: np.ndarray, is_composed: np.ndarray) -> float:
    return float((correct[is_composed].mean() + correct[~is_composed].mean()) / 2)
