"""Classifier two-sample tests: whether composed pieces can be told from real ones, by what can be seen of a piece.

The test of Lopez-Paz and Oquab (2017), "Revisiting classifier two-sample tests": a balanced accuracy of 0.5 on pieces
of other tunes is chance. Well below 0.5 the composed pieces are copies, like real pieces of the training folds.
Accuracy saturates where a single feature gives the pieces away; the mean over features of |AUC - 0.5| does not. It is
above zero for samples of one population, and the more so the smaller they are: `chance` says how far.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.stats

from vae_jax.evaluation.intervals import interval_95, resample_group_sums
from vae_jax.evaluation.pieces import VIEWS, PieceSet, feature_index, feature_names
from vae_jax.evaluation.tables import Cell, format_table
from vae_jax.runtime.files import Json

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

NUM_FOLDS, NUM_TREES = 5, 60
CLASSIFIERS = ("logistic", "boosting")
ALL_VIEWS = (*VIEWS, "all_but_performance", "all")
_NUM_TOP_FEATURES = 10
_NUM_PERMUTATIONS, _NUM_RESAMPLES, _NUM_HALVINGS = 200, 1000, 2


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """The balanced accuracy of a classifier on the pieces of test folds."""

    balanced_accuracy: float
    interval: list[float]  # 95%, over tunes.
    above_chance: bool  # Whether the interval at 95% for all views together (Bonferroni) lies above 0.5.


@dataclasses.dataclass(frozen=True)
class View:
    """What can be told from one view of the pieces."""

    logistic: Accuracy
    boosting: Accuracy
    auc_distance: float  # Mean over features of |AUC - 0.5|.
    chance: list[float]  # 95% of it where the labels are permuted over tunes.


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two samples by view; `top_features` have the largest |AUC - 0.5|."""

    views: dict[str, View]
    top_features: list[Json]


@dataclasses.dataclass(frozen=True)
class Table:
    """Composed against real pieces, and beside them what must be at chance, or recognised; left out by name if too few.

    Attributes:
      comparisons: "composed": real and composed pieces; "held_out": training and held-out ones; "halves": halves of the
        real ones; real pieces and each bot.
      left_out: the reason, by the name of the comparison.
      faults: what disqualifies each classifier (`find_faults`).
    """

    comparisons: dict[str, Comparison]
    left_out: dict[str, str]
    faults: dict[str, list[str]]

    def to_json(self) -> Json:
        """Returns the table as `two_sample` in docs/metrics.md."""
        comparisons = {name: dataclasses.asdict(one) for name, one in self.comparisons.items()}
        return comparisons | {"left_out": self.left_out, "faults": self.faults}


def run_tests(
    training: PieceSet, held_out: PieceSet, composed: PieceSet, bots: Mapping[str, PieceSet], seed: int
) -> Table:
    """Compares composed with real pieces, and these with each other and with bots made of them, which share tunes."""
    real = training.join(held_out)
    found = {
        "composed": compare(real, composed, seed),
        "held_out": compare(training, held_out, seed),
        "halves": compare_halves(real, seed),
    } | {name: compare(real, pieces, seed, share_tunes=True) for name, pieces in bots.items()}
    reason = f"a sample has fewer tunes than the {NUM_FOLDS} folds"
    left_out = {name: reason for name, comparison in found.items() if comparison is None}
    faults = find_faults(found["halves"], {name: found[name] for name in bots})
    return Table({name: one for name, one in found.items() if one is not None}, left_out, faults)


def summarise(table: Json) -> str:
    """Formats the table for the terminal."""
    comparisons = {name: one for name, one in table.items() if name not in ("left_out", "faults")}
    columns = [name.removesuffix("_bars").replace("_", " ") for name in comparisons]
    rows: list[Sequence[Cell]] = [("balanced accuracy of logistic regression and boosting (chance 0.5, * above it)",)]
    rows.append(("", *columns))
    views = list(dict.fromkeys(view for one in comparisons.values() for view in one["views"]))
    for view in views:
        found = [one["views"][view] for one in comparisons.values()]
        rows.append((view.replace("_", " "), *(" ".join(_mark(one[name]) for name in CLASSIFIERS) for one in found)))
    rows += [(), ("mean of |AUC - 0.5| over features / where chance ends",)]
    for view in views:
        found = [one["views"][view] for one in comparisons.values()]
        cells = (f"{one['auc_distance']:.3f} / {one['chance'][1]:.3f}" for one in found)
        rows.append((view.replace("_", " "), *cells))
    rows += [(f"left out: {name.replace('_', ' ')} ({reason})",) for name, reason in table["left_out"].items()]
    rows += [(f"{name}: {fault}",) for name, faults in table["faults"].items() for fault in faults]
    blocks = [format_table(rows, (20, *[15] * len(columns)))]
    if "composed" in comparisons:
        top: list[Sequence[Cell]] = [("features that tell most", "AUC", "real", "composed")]
        features = comparisons["composed"]["top_features"]
        top += [(one["name"], one["auc"], one["first"], one["second"]) for one in features]
        blocks.append(format_table(top, (28, 10, 12, 12)))
    return "\n\n".join(blocks)


def _mark(accuracy: Json) -> str:
    return f"{accuracy['balanced_accuracy']:.3f}{'*' if accuracy['above_chance'] else ' '}"


def compare(
    first: PieceSet, second: PieceSet, seed: int, *, share_tunes: bool = False, views: Sequence[str] | None = None
) -> Comparison | None:
    """Trains classifiers to recognise the pieces of the second sample, by cross-validation.

    Folds are stratified and keep the pieces of a tune together; both samples weigh the same. `share_tunes` says that
    equal numbers in both samples are one tune. The seed is that of folds, classifiers, resampling and permutation.
    Returns None where either sample has fewer tunes than there are folds. `views` are all by default.
    """
    if min(len(set(first.tunes)), len(set(second.tunes))) < NUM_FOLDS:
        return None
    return _sum_up([_run_trial(first, second, seed, share_tunes, views)], seed)


def compare_halves(real: PieceSet, seed: int) -> Comparison | None:
    """Compares random halves of the tunes of real pieces, twice, on average; None for under ten tunes."""
    names = np.unique(np.asarray(real.tunes, dtype=np.int64))
    if len(names) < 2 * NUM_FOLDS:
        return None
    trials = []
    for repeat in range(_NUM_HALVINGS):
        chosen = np.random.default_rng([seed, repeat]).permutation(names)[: len(names) // 2]
        is_second = np.isin(real.tunes, chosen)
        halves = real.select(np.flatnonzero(~is_second)), real.select(np.flatnonzero(is_second))
        trials.append(_run_trial(*halves, seed + repeat, share_tunes=True))
    return _sum_up(trials, seed)


def view_columns() -> dict[str, np.ndarray]:
    """Returns the columns of the features that each view shows."""
    index, names = feature_index(), feature_names()
    columns = {view: np.array([index[name] for name in names[view]]) for view in VIEWS}
    columns["all_but_performance"] = np.concatenate([columns[view] for view in VIEWS if view != "performance"])
    return columns | {"all": np.arange(len(index))}


def find_faults(halves: Comparison | None, bots: Mapping[str, Comparison | None]) -> dict[str, list[str]]:
    """Returns what disqualifies each classifier: that it tells halves of the real pieces apart, in which views; that it
    recognises a bot in no view, which bot. A classifier without faults has an empty list."""
    faults: dict[str, list[str]] = {}
    for classifier in CLASSIFIERS:
        apart = [view for view, found in _accuracies(halves, classifier) if found.above_chance]
        faults[classifier] = [f"tells real halves apart: {view}" for view in apart]
        for bot, comparison in bots.items():
            caught = any(found.above_chance for _, found in _accuracies(comparison, classifier))
            if comparison is not None and not caught:
                faults[classifier].append(f"recognises no {bot}")
    return faults


def _accuracies(comparison: Comparison | None, classifier: str) -> list[tuple[str, Accuracy]]:
    views = comparison.views if comparison is not None else {}
    return [(name, view.logistic if classifier == "logistic" else view.boosting) for name, view in views.items()]


class _Trial(NamedTuple):
    """Two samples, N pieces in all, compared once."""

    x: np.ndarray  # [N, F]
    is_second: np.ndarray  # [N] bool
    tunes: np.ndarray  # [N], equal within a tune.
    recognised: dict[str, dict[str, np.ndarray]]  # By view and classifier, 1.0 for each piece that is, [N] float64.
    aucs: np.ndarray  # [F]
    permuted: np.ndarray  # [num_permutations, F], with permuted labels.


def _run_trial(
    first: PieceSet, second: PieceSet, seed: int, share_tunes: bool, views: Sequence[str] | None = None
) -> _Trial:
    x = np.concatenate([first.values, second.values])
    is_second = np.repeat([False, True], [len(first.values), len(second.values)])
    tunes = np.array([*first.tunes, *second.tunes], dtype=np.int64)
    if not share_tunes:
        tunes = tunes * 2 + is_second
    splits, columns = _split(is_second, tunes, seed), view_columns()
    recognised = {
        view: {name: _cross_validate(name, x[:, columns[view]], is_second, splits, seed) for name in CLASSIFIERS}
        for view in views or ALL_VIEWS
    }
    labels = _permute_labels(is_second, tunes, np.random.default_rng(seed))
    aucs = compute_aucs(x, np.concatenate([is_second[None], labels]))
    return _Trial(x, is_second, tunes, recognised, aucs[0], aucs[1:])


def _sum_up(trials: Sequence[_Trial], seed: int) -> Comparison:
    """The accuracies over all trials, the means of their |AUC - 0.5|."""
    is_second, tunes = (np.concatenate([getattr(one, name) for one in trials]) for name in ("is_second", "tunes"))
    distances = np.mean([np.abs(one.aucs - 0.5) for one in trials], axis=0)
    permuted = np.mean([np.abs(one.permuted - 0.5) for one in trials], axis=0)
    views, columns = {}, view_columns()
    for view in trials[0].recognised:
        accuracies = {
            name: _accuracy(np.concatenate([one.recognised[view][name] for one in trials]), is_second, tunes, seed)
            for name in CLASSIFIERS
        }
        chance = interval_95(permuted[:, columns[view]].mean(axis=1))
        views[view] = View(**accuracies, auc_distance=float(distances[columns[view]].mean()), chance=chance)
    return Comparison(views, _top_features(trials[0]))


def _split(is_second: np.ndarray, tunes: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Indices to train and to test on, of each fold; folds whose training part lacks a sample are left out."""
    from sklearn.model_selection import StratifiedGroupKFold

    folds = StratifiedGroupKFold(NUM_FOLDS, shuffle=True, random_state=seed)
    splits = folds.split(np.zeros((len(tunes), 1)), is_second, tunes)
    return [(train, test) for train, test in splits if len(set(is_second[train])) == 2 and len(test)]


def _cross_validate(
    classifier: str, x: np.ndarray, is_second: np.ndarray, splits: Sequence[tuple[np.ndarray, np.ndarray]], seed: int
) -> np.ndarray:
    """1 for the pieces that are recognised in the test fold, 0 for others, NaN for those of no fold, [N] float64."""
    from sklearn.utils.class_weight import compute_sample_weight

    correct = np.full(len(x), np.nan)
    for train, test in splits:
        model = _make_model(classifier, seed)
        weights = {f"{classifier}__sample_weight": compute_sample_weight("balanced", is_second[train])}
        model.fit(x[train], is_second[train], **weights)
        correct[test] = model.predict(x[test]) == is_second[test]
    return correct


def _make_model(classifier: str, seed: int) -> Pipeline:
    """A pipeline whose last step has the classifier's name; a missing value becomes the median of the training part."""
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    impute = ("impute", SimpleImputer(strategy="median", keep_empty_features=True))
    if classifier == "boosting":
        trees = GradientBoostingClassifier(
            learning_rate=0.15,
            n_estimators=NUM_TREES,
            min_samples_leaf=3,
            subsample=0.8,
            max_features="sqrt",
            random_state=seed,
        )
        return Pipeline([impute, (classifier, trees)])
    # With about a hundred features and as many pieces, less shrinkage than this overfits.
    return Pipeline(
        [impute, ("scale", StandardScaler()), (classifier, LogisticRegression(C=0.1, solver="newton-cholesky"))]
    )


def _accuracy(correct: np.ndarray, is_second: np.ndarray, tunes: np.ndarray, seed: int) -> Accuracy:
    """The mean of the recalls of both samples, resampled over tunes.

    Pieces are tested by models whose training pieces overlap, which resampling does not see: deviations grow by the
    root of 1 + K / (K - 1) for K folds (Nadeau and Bengio 2003).
    """
    rng = np.random.default_rng(seed)
    tested, hits = ~np.isnan(correct), np.nan_to_num(correct)
    columns = [column * mine for mine in (is_second, ~is_second) for column in (hits, tested.astype(np.float64))]
    above, size, other_above, other_size = resample_group_sums(columns, tunes, rng, _NUM_RESAMPLES)
    known = (size > 0) & (other_size > 0)
    drawn = (above[known] / size[known] + other_above[known] / other_size[known]) / 2
    accuracy = float(np.mean([correct[tested & mine].mean() for mine in (is_second, ~is_second)]))
    drawn = np.clip(accuracy + np.sqrt(1 + NUM_FOLDS / (NUM_FOLDS - 1)) * (drawn - accuracy), 0, 1)
    lowest = np.percentile(drawn, 2.5 / len(ALL_VIEWS))
    return Accuracy(accuracy, interval_95(drawn), bool(lowest > 0.5))


def compute_aucs(x: np.ndarray, is_second: np.ndarray) -> np.ndarray:
    """Returns the areas under the ROC curve of features [N, F] for labels [L, N] bool, [L, F]: the probability that a
    piece of the second sample has the higher value (Mann and Whitney 1947). 0.5 where a sample has no value; NaN in `x`
    is none."""
    ranks = scipy.stats.rankdata(x, axis=0, nan_policy="omit")
    known = ~np.isnan(ranks)
    second = is_second.astype(np.float64)
    total, size = second @ np.where(known, ranks, 0.0), second @ known
    pairs = size * (known.sum(axis=0) - size)
    return np.where(pairs > 0, (total - size * (size + 1) / 2) / np.maximum(pairs, 1), 0.5)


def _permute_labels(is_second: np.ndarray, tunes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels as they would be by chance, [num_permutations, N] bool: tunes of one sample exchange their labels, tunes
    of both samples exchange the labels of their pieces."""
    names, index = np.unique(tunes, return_inverse=True)
    labels = np.zeros(len(names), dtype=bool)
    labels[index] = is_second
    is_shared = np.bincount(index, is_second) * np.bincount(index, ~is_second) > 0
    drawn = np.tile(labels, (_NUM_PERMUTATIONS, 1))
    drawn[:, ~is_shared] = rng.permuted(drawn[:, ~is_shared], axis=1)
    flips = rng.random(drawn.shape) < 0.5
    return np.where(is_shared[index], flips[:, index] ^ is_second, drawn[:, index])


def _top_features(trial: _Trial) -> list[Json]:
    names = list(feature_index())
    top = np.argsort(-np.abs(trial.aucs - 0.5), kind="stable")[:_NUM_TOP_FEATURES]
    found = []
    for n in top:
        samples = [trial.x[mine, n] for mine in (~trial.is_second, trial.is_second)]
        means = [float(np.mean(values[~np.isnan(values)])) for values in samples if not np.isnan(values).all()]
        if len(means) == 2:
            found.append({"name": names[n], "auc": float(trial.aucs[n]), "first": means[0], "second": means[1]})
    return found
