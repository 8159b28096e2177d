"""Scores of composed music against real music: features, memorization and a discriminator.

Each figure is reported beside that of real music against real music, because a small sample of a corpus differs from
the rest too. Of eight features with 95% intervals, real music itself misses one now and then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vae_jax.evaluation.bar_grid import make_bar_grid
from vae_jax.evaluation.discriminator import evaluate_discriminator
from vae_jax.evaluation.distribution_overlap import overlapping_area
from vae_jax.evaluation.features import FEATURES, piece_features
from vae_jax.evaluation.intervals import interval_95
from vae_jax.evaluation.memorization import score_memorization
from vae_jax.evaluation.tables import Cell, format_table
from vae_jax.music.score import Score

_WIDTHS = (28, 10, 10, 10, 20, 9)
_SUBSETS = ("training", "held_out", "composed")
_NUM_LISTED = 5  # Discriminative features in the summary.


def score_compositions(
    training: Sequence[Score],
    held_out: Sequence[Score],
    composed: Sequence[Score],
    *,
    training_tunes: Sequence[int],
    held_out_tunes: Sequence[int],
    seed: int,
    num_samples: int = 200,
) -> dict[str, Any]:
    """Scores composed pieces against the pieces that the composer was trained on and held-out ones of other tunes.

    The seed is that of all resampling and of the discriminator; `num_samples` are drawn for the intervals of features.

    Returns:
      A dict for JSON, in which a figure that cannot be computed (too few pieces) is None:
        pieces: the number of "training", "held_out" and "composed" pieces.
        sample_size: n, the tunes in a draw: as many as are held out; as many as are composed, where these are fewer or
          none is held out; half the real tunes at most.
        features: for each name in `features.FEATURES`
          training, held_out, composed: the mean over the pieces.
          mean_interval: 95% interval of the mean of n real tunes drawn from all real pieces.
          mean_inside: whether the mean of the composed pieces lies in it.
          overlap_held_out: overlapping area of held-out against training.
          overlap_composed: median overlapping area of n composed pieces, drawn again and again, against training.
          overlap_interval: 95% interval of the overlapping area of n real tunes against all the others.
          overlap_inside: whether overlap_composed lies in it.
        memorization: see `score_memorization`.
        discriminator: see `evaluate_discriminator`; real pieces are the training and the held-out ones.
    """
    real_tunes = np.array([*training_tunes, *held_out_tunes], dtype=np.int64)
    scores = dict(zip(_SUBSETS, (training, held_out, composed), strict=True))
    grids = {subset: [make_bar_grid(score) for score in mine] for subset, mine in scores.items()}
    tables = {
        subset: np.array([[*piece_features(grid).values()] for grid in mine]).reshape(-1, len(FEATURES))
        for subset, mine in grids.items()
    }
    size = min(len(set(held_out_tunes)) or len(composed), len(composed), len(np.unique(real_tunes)) // 2)
    compared = {}
    for n, name in enumerate(FEATURES):
        values = {subset: table[:, n] for subset, table in tables.items()}
        compared[name] = _compare_feature(values, real_tunes, size, np.random.default_rng([seed, n]), num_samples)
    real = [*grids["training"], *grids["held_out"]]
    return {
        "pieces": {subset: len(mine) for subset, mine in scores.items()},
        "sample_size": size,
        "features": compared,
        "memorization": score_memorization(*grids.values(), held_out_tunes=held_out_tunes, seed=seed),
        "discriminator": evaluate_discriminator(real, grids["composed"], real_tunes=real_tunes, seed=seed),
    }


def summarise_compositions(results: Mapping[str, Any]) -> str:
    """Formats the scores as a table for the terminal; a figure that could not be computed is "-"."""
    rows: list[Sequence[Cell]] = [("pieces", *(results["pieces"][subset] for subset in _SUBSETS)), ()]
    rows.append(("feature: mean", "training", "held-out", "composed", f"{results['sample_size']} real tunes", "inside"))
    for name, found in results["features"].items():
        rows.append((name, *(found[subset] for subset in _SUBSETS), found["mean_interval"], found["mean_inside"]))
    rows += [(), ("overlap with training", "", "held-out", "composed", "real with real", "inside")]
    for name, found in results["features"].items():
        areas = [found["overlap_held_out"], found["overlap_composed"]]
        rows.append((name, "", *areas, found["overlap_interval"], found["overlap_inside"]))
    rows += [(), ("memorization: best F1", "", "held-out", "composed", "held-out 95%", "exceeds")]
    for window, found in results["memorization"].items():
        for label, figure in (("mean", "mean"), ("95th percentile", "p95"), ("near-exact share", "near_exact")):
            cells = [found["held_out"][figure], found["composed"][figure], found["held_out"][f"{figure}_interval"]]
            exceeds = found["exceeds_real"] if figure == "mean" else ""
            rows.append((f"{window.replace('_', ' ')}: {label}", "", *cells, exceeds))
    classifiers = results["discriminator"] or {}
    columns = ("accuracy", "95% interval") if classifiers else (None, None)
    rows += [(), ("discriminator (chance 0.5)", "", "", *columns)]
    for name, found in classifiers.items():
        rows.append((name, "", "", found["balanced_accuracy"], found["balanced_accuracy_interval"]))
    for name, found in classifiers.items():
        rows += [(), (f"top features ({name})", "", "real", "composed", "weight")]
        for feature in found["top_features"][:_NUM_LISTED]:
            rows.append((feature["name"], "", feature["real"], feature["composed"], f"{feature['weight']:+.3f}"))
    return format_table(rows, _WIDTHS)


def _compare_feature(
    values: Mapping[str, np.ndarray], real_tunes: np.ndarray, size: int, rng: np.random.Generator, num_samples: int
) -> dict[str, Any]:
    """Compares one feature of composed and real pieces, each subset [N]."""
    real, tunes = np.concatenate([values["training"], values["held_out"]]), np.unique(real_tunes)
    means, areas, composed_areas = [], [], []
    for _ in range(num_samples if size else 0):
        drawn = np.isin(real_tunes, rng.choice(tunes, size, replace=False))
        means.append(real[drawn].mean())
        areas.append(overlapping_area(real[drawn], real[~drawn]) if size > 1 else None)
        composed_areas.append(overlapping_area(rng.choice(values["composed"], size, replace=False), values["training"]))
    known = [area for area in composed_areas if area is not None]
    described: dict[str, Any] = {subset: float(mine.mean()) if len(mine) else None for subset, mine in values.items()}
    described["mean_interval"] = interval_95(means) if means else None
    described["overlap_held_out"] = overlapping_area(values["held_out"], values["training"])
    described["overlap_composed"] = float(np.median(known)) if known else None
    described["overlap_interval"] = interval_95([area for area in areas if area is not None]) if size > 1 else None
    for kind, name in (("mean", "composed"), ("overlap", "overlap_composed")):
        value, interval = described[name], described[f"{kind}_interval"]
        known_both = value is not None and interval is not None
        described[f"{kind}_inside"] = interval[0] <= value <= interval[1] if known_both else None
    return described
