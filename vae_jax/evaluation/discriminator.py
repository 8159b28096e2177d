"""A discriminator: classifiers of composed and real pieces, and the features that they use.

A balanced accuracy of 0.5 is chance: composed music has the features of real music. Well below 0.5 the composed pieces
are copies, which resemble real pieces of the training folds. The test is most sensitive with as many composed as real
pieces; with few, the trees classify nearly everything as real.
"""

from collections.abc import Callable

import numpy as np

from vae_jax.evaluation.bar_grid import PieceSet
from vae_jax.evaluation.features import discriminator_features
from vae_jax.evaluation.intervals import interval_95, resample_group_sums
from vae_jax.runtime.files import Json

# Features [N, F] and classes [N] to train on, then those to test on.
Fold = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
TrainAndTest = Callable[[Fold, int], tuple[np.ndarray, np.ndarray]]
NUM_FOLDS, NUM_REPEATS = 5, 3
NUM_TOP_FEATURES = 10


def evaluate_discriminator(real: PieceSet, composed: PieceSet, seed: int, num_samples: int = 1000) -> Json | None:
    """Trains classifiers to recognize composed pieces, by repeated cross-validation.

    Folds are stratified and keep the pieces of a tune together. Both classes weigh the same. The seed is that of folds,
    models and resampling. Returns for "logistic" (regression on standardized features) and "boosting" (gradient-boosted
    trees) the scores in docs/metrics.md; None where either class has fewer than four tunes. The `weight` of a feature
    is the mean standardized coefficient, above zero where composed pieces have more of it, or what the balanced
    accuracy loses on the test fold when the feature is permuted.
    """
    real_tunes, real_groups = np.unique(real.tunes, return_inverse=True)
    composed_tunes, composed_groups = np.unique(composed.tunes, return_inverse=True)
    num_groups = min(len(real_tunes), len(composed_tunes))
    if num_groups < 4:  # Too few to train on in each fold.
        return None
    groups = np.concatenate([real_groups, len(real_tunes) + composed_groups])
    is_composed = np.repeat([False, True], [len(real.grids), len(composed.grids)])
    rows = [discriminator_features(grid) for grid in [*real.grids, *composed.grids]]
    names, x = [*rows[0]], np.array([[*row.values()] for row in rows])
    results = {}
    for name, train_and_test in (("logistic", _logistic), ("boosting", _boosting)):
        correct, weights = _cross_validate(train_and_test, x, is_composed, groups, min(NUM_FOLDS, num_groups), seed)
        top = np.argsort(-(np.abs(weights) if name == "logistic" else weights), kind="stable")[:NUM_TOP_FEATURES]
        rng, recalls = np.random.default_rng(seed), []
        for mine in (is_composed, ~is_composed):
            sums = resample_group_sums([correct[mine], np.ones(mine.sum())], groups[mine], rng, num_samples)
            recalls.append(sums[0] / sums[1])
        results[name] = {
            "balanced_accuracy": _balanced_accuracy(correct, is_composed),
            "balanced_accuracy_interval": interval_95(np.mean(recalls, axis=0)),
            "top_features": [
                {"name": names[n], "weight": float(weights[n])}
                | {"real": float(x[~is_composed, n].mean()), "composed": float(x[is_composed, n].mean())}
                for n in top
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
            correct, weights = train_and_test((x[train], y[train], x[test], y[test]), seed)
            recognized[test] += correct
            total += weights
    return recognized / NUM_REPEATS, total / (NUM_REPEATS * num_folds)


def _logistic(fold: Fold, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns which test pieces are recognized, [M], and the standardized coefficients, [F]."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y, test_x, test_y = fold
    # With about a hundred features and as many pieces, less shrinkage than this overfits.
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000)).fit(x, y)
    return model.predict(test_x) == test_y, model[-1].coef_[0]


def _boosting(fold: Fold, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns which test pieces are recognized, [M], and the permutation importance of each feature on them, [F]."""
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.utils.class_weight import compute_sample_weight

    x, y, test_x, test_y = fold
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
