"""Scores of composed music against real music: features, musicology, memorization, two-sample tests.

Each figure is reported beside that of real music against real music, because a small sample of a corpus differs from
the rest too. Of forty statistics with 95% intervals, real music itself misses two.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from vae_jax.evaluation import memorization, two_sample
from vae_jax.evaluation.features import FEATURES, overlapping_area
from vae_jax.evaluation.intervals import interval_95
from vae_jax.evaluation.musicology import table
from vae_jax.evaluation.pieces import PieceSet
from vae_jax.evaluation.tables import Cell, format_table
from vae_jax.runtime.files import Json

_SUBSETS = ("training", "held_out", "composed")


def score_compositions(
    training: PieceSet,
    held_out: PieceSet,
    composed: PieceSet,
    seed: int,
    bots: Mapping[str, PieceSet] | None = None,
    num_samples: int = 200,
) -> Json:
    """Scores composed pieces against the pieces that the composer was trained on and held-out ones of other tunes.

    Returns the scores under `composed` in docs/metrics.md; a figure that cannot be computed (too few pieces) is None or
    left out by name. The seed is that of all resampling and of the classifiers. Each of the `num_samples` draws has n
    tunes, the `sample_size`: as many as are held out; as many as are composed, where these are fewer or none is held
    out; half the real tunes at most. `bots`, made of real pieces, are what two-sample tests must recognise.
    """
    sets = dict(zip(_SUBSETS, (training, held_out, composed), strict=True))
    results = {"pieces": {subset: len(pieces.grids) for subset, pieces in sets.items()}}
    results |= score_statistics(training, held_out, composed, seed, num_samples)
    results["memorization"] = memorization.score_memorization(training, held_out, composed, seed)
    results["two_sample"] = two_sample.run_tests(training, held_out, composed, bots or {}, seed).to_json()
    return results


def score_statistics(
    training: PieceSet, held_out: PieceSet, composed: PieceSet, seed: int, num_samples: int = 200
) -> Json:
    """Scores composed pieces by features and musicology alone.

    For each feature, `mean_interval` is 95% of the means of n real tunes, `overlap_interval` 95% of the overlapping
    areas of n real tunes with all others, and `overlap_composed` the median overlapping area of n composed pieces with
    the training pieces.
    """
    sets, real = dict(zip(_SUBSETS, (training, held_out, composed), strict=True)), training.join(held_out)
    num_held_out, num_composed = len(set(held_out.tunes)), len(composed.grids)
    size = min(num_held_out or num_composed, num_composed, len(set(real.tunes)) // 2)
    features = {}
    for n, name in enumerate(FEATURES):
        values, rng = {subset: pieces.column(name) for subset, pieces in sets.items()}, np.random.default_rng([seed, n])
        features[name] = _compare_feature(values, np.array(real.tunes, dtype=np.int64), size, rng, num_samples)
    statistics = table.compare_statistics(training, held_out, composed, size, seed)
    return {"sample_size": size, "features": features, "musicology": statistics.to_json()}


def summarise_compositions(results: Json) -> str:
    """Formats the scores as tables for the terminal; a figure that could not be computed is "-"."""
    rows: list[Sequence[Cell]] = [("pieces", *(results["pieces"][subset] for subset in _SUBSETS)), ()]
    rows.append(("feature: mean", "training", "held-out", "composed", f"{results['sample_size']} real tunes", "inside"))
    for name, found in results["features"].items():
        rows.append((name, *(found[subset] for subset in _SUBSETS), found["mean_interval"], found["mean_inside"]))
    rows += [(), ("overlap with training", "", "held-out", "composed", "real with real", "inside")]
    for name, found in results["features"].items():
        areas = [found["overlap_held_out"], found["overlap_composed"]]
        rows.append((name, "", *areas, found["overlap_interval"], found["overlap_inside"]))
    rows += [(), ("memorization", "", "held-out", "composed", "held-out 95%", "exceeds")]
    for kind, found in results["memorization"].items():
        unit = "notes in a run" if kind == "melody" else "best F1"
        for figure in [name for name in found["held_out"] if f"{name}_interval" in found["held_out"]]:
            cells = [found["held_out"][figure], found["composed"][figure], found["held_out"][f"{figure}_interval"]]
            cells.append(found["exceeds_real"] if figure == "mean" else "")
            rows.append((f"{kind.replace('_', ' ')}: {unit}, {figure.replace('_', ' ')}", "", *cells))
    blocks = format_table(rows, (38, 9, 9, 9, 20, 9)), table.summarise(results["musicology"])
    return "\n\n".join([*blocks, two_sample.summarise(results["two_sample"])])


def _compare_feature(
    values: Mapping[str, np.ndarray], real_tunes: np.ndarray, size: int, rng: np.random.Generator, num_samples: int
) -> Json:
    """Compares one feature of composed and real pieces, each subset [N]."""
    real, tunes = np.concatenate([values["training"], values["held_out"]]), np.unique(real_tunes)
    means, areas, composed_areas = [], [], []
    for _ in range(num_samples if size else 0):
        drawn = np.isin(real_tunes, rng.choice(tunes, size, replace=False))
        means.append(real[drawn].mean())
        areas.append(overlapping_area(real[drawn], real[~drawn]) if size > 1 else None)
        composed_areas.append(overlapping_area(rng.choice(values["composed"], size, replace=False), values["training"]))
    known = [area for area in composed_areas if area is not None]
    described: Json = {subset: float(mine.mean()) if len(mine) else None for subset, mine in values.items()}
    described["mean_interval"] = interval_95(means) if means else None
    described["overlap_held_out"] = overlapping_area(values["held_out"], values["training"])
    described["overlap_composed"] = float(np.median(known)) if known else None
    described["overlap_interval"] = interval_95([area for area in areas if area is not None]) if size > 1 else None
    for kind, name in (("mean", "composed"), ("overlap", "overlap_composed")):
        value, interval = described[name], described[f"{kind}_interval"]
        known_both = value is not None and interval is not None
        described[f"{kind}_inside"] = interval[0] <= value <= interval[1] if known_both else None
    return described
