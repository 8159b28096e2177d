"""The judge: can a classifier tell composed pieces from real ones, and by what?

50% balanced accuracy is chance: the composer's music has the features of real music. Real pieces of one tune stand on
one side of every split, so that the judge cannot know a piece by its sister. Well below 50% the composed pieces are
copies: the judge has learnt that such a piece is real. It is at its sharpest with as many composed as real pieces; with
few, the trees call nearly everything real.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vae_jax.evaluation.discriminator_features import judge_features
from vae_jax.music.score import Score

NUM_FOLDS, NUM_REPEATS = 5, 3
NUM_GIVEAWAYS = 10
_MIN_GROUPS = 4  # Of each class: with fewer, nothing can be learnt from the folds.


def judge(
    real: Sequence[Score],
    composed: Sequence[Score],
    *,
    real_tunes: Sequence[int],
    seed: int,
    num_samples: int = 1000,
) -> dict[str, Any] | None:
    """Trains classifiers to tell composed from real pieces, by cross-validation.

    Folds are stratified and keep tunes together (scikit-learn's StratifiedGroupKFold); each composed piece is a tune of
    its own. Both classes weigh the same. The cross-validation is repeated with other folds and averaged.

    Args:
      real: real pieces, usually the training and the held-out ones.
      composed: composed pieces.
      real_tunes: the tune of each real piece.
      seed: of folds, models and resampling.
      num_samples: resamples for the intervals.

    Returns:
      For "logistic" (regression on standardised features) and "boosting" (gradient-boosted trees):
        balanced_accuracy: mean of the shares of real and of composed pieces that are recognised; 0.5 is chance.
        balanced_accuracy_interval: 95%, by resampling tunes (percentile bootstrap, Efron 1979).
        giveaways: the features that tell most, each with its `name`, its `weight` (logistic: the mean standardised
          coefficient, above zero where composed pieces have more of it; boosting: what balanced accuracy loses on the
          test fold when the feature is permuted), and its mean over real and over composed pieces.
      None where either class has fewer than four tunes.
    """
    rows = [judge_features(score) for score in [*real, *composed]]
    is_composed = np.arange(len(rows)) >= len(real)
    tunes = np.concatenate([np.asarray(real_tunes, dtype=np.int64), np.zeros(len(composed), dtype=np.int64)])
    tunes[is_composed] = tunes.max(initial=0) + 1 + np.arange(len(composed))
    groups = np.unique(tunes, return_inverse=True)[1]
    num_groups = min(len(set(groups[is_composed])), len(set(groups[~is_composed])))
    if num_groups < _MIN_GROUPS:
        return None
    names = list(rows[0])
    x = np.array([[row[name] for name in names] for row in rows])
    results = {}
    for name in ("logistic", "boosting"):
        correct, weights = _cross_validate(name, x, is_composed, groups, min(NUM_FOLDS, num_groups), seed)
        telling = np.abs(weights) if name == "logistic" else weights
        order = np.argsort(-telling, kind="stable")[:NUM_GIVEAWAYS]
        results[name] = {
            "balanced_accuracy": _balanced(correct, is_composed),
            "balanced_accuracy_interval": _interval(correct, is_composed, groups, seed, num_samples),
            "giveaways": [
                {
                    "name": names[n],
                    "weight": float(weights[n]),
                    "real": float(x[~is_composed, n].mean()),
                    "composed": float(x[is_composed, n].mean()),
                }
                for n in order
            ],
        }
    return results


def _cross_validate(
    name: str, x: np.ndarray, is_composed: np.ndarray, groups: np.ndarray, num_folds: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns how often each piece is recognised when it is held out, [N], and the weight of each feature, [F]."""
    from sklearn.model_selection import StratifiedGroupKFold

    correct, weights = np.zeros(len(x)), np.zeros(x.shape[1])
    for repeat in range(NUM_REPEATS):
        folds = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed + repeat)
        for train, test in folds.split(x, is_composed, groups):
            model = _fit(name, x[train], is_composed[train], seed)
            correct[test] += model.predict(x[test]) == is_composed[test]
            weights += _weights(name, model, x[test], is_composed[test], seed)
    return correct / NUM_REPEATS, weights / (NUM_REPEATS * num_folds)


def _fit(name: str, x: np.ndarray, is_composed: np.ndarray, seed: int) -> Any:
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils.class_weight import compute_sample_weight

    if name == "logistic":
        # With about a hundred features and as many pieces, less shrinkage than this overfits.
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000))
        return model.fit(x, is_composed)
    trees = GradientBoostingClassifier(
        n_estimators=100, max_depth=3, min_samples_leaf=3, subsample=0.8, max_features="sqrt", random_state=seed
    )
    return trees.fit(x, is_composed, sample_weight=compute_sample_weight("balanced", is_composed))


def _weights(name: str, model: Any, x: np.ndarray, is_composed: np.ndarray, seed: int) -> np.ndarray:
    if name == "logistic":
        return model[-1].coef_[0]
    rng = np.random.default_rng(seed)
    before = _balanced(model.predict(x) == is_composed, is_composed)
    shuffled = np.repeat(x[None], x.shape[1], axis=0)
    for n in range(x.shape[1]):
        shuffled[n, :, n] = rng.permutation(x[:, n])
    predicted = model.predict(shuffled.reshape(-1, x.shape[1])).reshape(x.shape[1], len(x))
    return np.array([before - _balanced(row == is_composed, is_composed) for row in predicted])


def _balanced(correct: np.ndarray, is_composed: np.ndarray) -> float:
    return float((correct[is_composed].mean() + correct[~is_composed].mean()) / 2)


def _interval(
    correct: np.ndarray, is_composed: np.ndarray, groups: np.ndarray, seed: int, num_samples: int
) -> list[float]:
    rng = np.random.default_rng(seed)
    recalls = []
    for mine in (is_composed, ~is_composed):
        tunes, of_piece = np.unique(groups[mine], return_inverse=True)
        recognised, size = np.bincount(of_piece, correct[mine]), np.bincount(of_piece)
        picks = rng.integers(0, len(tunes), size=(num_samples, len(tunes)))
        recalls.append(recognised[picks].sum(axis=1) / size[picks].sum(axis=1))
    return [float(value) for value in np.percentile(np.mean(recalls, axis=0), [2.5, 97.5])]
