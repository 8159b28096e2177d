"""Scores of composed music against real music: features, memorisation, and a judge that tells them apart.

Every figure has beside it what real music scores against real music, because a small sample of anthems differs from the
others too. With eight features and 95% intervals, real music itself misses an interval now and then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vae_jax.evaluation import discriminator, features, memorization
from vae_jax.evaluation.distribution_overlap import overlapping_area
from vae_jax.music.score import Score


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
    """Scores composed pieces.

    Args:
      training: the real pieces that the composer learnt from.
      held_out: real pieces of other tunes.
      composed: the composed pieces.
      training_tunes: the tune of each training piece, numbered as `Corpus.tune_groups` does.
      held_out_tunes: the tune of each held-out piece.
      seed: of all resampling and of the judge.
      num_samples: draws for the intervals of the features.

    Returns:
      A dict for JSON, in which a figure that cannot be computed (too few pieces) is None:
        pieces: how many there are of "training", "held_out" and "composed".
        sample_size: n, the tunes in a draw: as many as are held out; as many as are composed, where these are fewer or
          none is held out; half the real tunes at most.
        features: for each name in `features.FEATURES`
          training, held_out, composed: the mean over the pieces.
          mean_interval: 95% interval of the mean of n real tunes drawn from all real pieces.
          mean_inside: whether the mean of the composed pieces lies in it.
          overlap_held_out: overlapping area of held-out against training (see `overlap.overlapping_area`).
          overlap_composed: median overlapping area of n composed pieces, drawn again and again, against training.
          overlap_interval: 95% interval of the overlapping area of n real tunes against all the others.
          overlap_inside: whether overlap_composed lies in it.
        memorisation: see `memorisation.score_memorisation`.
        judge: see `judge.judge`; real pieces are the training and the held-out ones.
    """
    real_tunes = np.array([*training_tunes, *held_out_tunes], dtype=np.int64)
    scores = {"training": training, "held_out": held_out, "composed": composed}
    values = {part: _feature_table(mine) for part, mine in scores.items()}
    size = _sample_size(len(set(real_tunes.tolist())), len(set(held_out_tunes)), len(composed))
    return {
        "pieces": {part: len(table) for part, table in values.items()},
        "sample_size": size,
        "features": {
            name: _compare_feature(
                {part: table[:, n] for part, table in values.items()},
                real_tunes,
                size,
                np.random.default_rng([seed, n]),
                num_samples,
            )
            for n, name in enumerate(features.FEATURES)
        },
        "memorisation": memorization.score_memorisation(
            training, held_out, composed, held_out_tunes=held_out_tunes, seed=seed
        ),
        "judge": discriminator.judge([*training, *held_out], composed, real_tunes=real_tunes.tolist(), seed=seed),
    }


def summarise_compositions(results: dict[str, Any]) -> str:
    """Shows the scores as a plain-text table; a figure that could not be computed is "-"."""
    pieces = results["pieces"]
    lines = [
        f"{'pieces':<28}{pieces['training']:>10}{pieces['held_out']:>10}{pieces['composed']:>10}",
        "",
        _row("feature: mean", "training", "held-out", "composed", f"{results['sample_size']} real tunes", "inside"),
    ]
    for name, feature in results["features"].items():
        means = [feature[part] for part in ("training", "held_out", "composed")]
        lines.append(_row(name, *means, feature["mean_interval"], feature["mean_inside"]))
    lines += ["", _row("overlap with training", "", "held-out", "composed", "real with real", "inside")]
    for name, feature in results["features"].items():
        areas = [feature["overlap_held_out"], feature["overlap_composed"]]
        lines.append(_row(name, "", *areas, feature["overlap_interval"], feature["overlap_inside"]))
    lines += ["", _row("memorisation: best F1", "", "held-out", "composed", "held-out 95%", "exceeds")]
    for window, found in results["memorisation"].items():
        for label, figure in (("mean", "mean"), ("95th percentile", "p95"), ("near-exact share", "near_exact")):
            values = [found[part][figure] for part in ("held_out", "composed")]
            exceeds = found["exceeds_real"] if figure == "mean" else ""
            name = f"{window.replace('_', ' ')}: {label}"
            lines.append(_row(name, "", *values, found["held_out"][f"{figure}_interval"], exceeds))
    lines += ["", *_judge_lines(results["judge"])]
    return "\n".join(line.rstrip() for line in lines)


def _feature_table(scores: Sequence[Score]) -> np.ndarray:
    """Features of each piece, [N, F]."""
    rows = [list(features.piece_features(score).values()) for score in scores]
    return np.array(rows, dtype=np.float64).reshape(-1, len(features.FEATURES))


def _sample_size(num_real_tunes: int, num_held_out_tunes: int, num_composed: int) -> int:
    wanted = min(num_held_out_tunes or num_composed, num_composed)
    return min(wanted, num_real_tunes // 2)


def _compare_feature(
    values: dict[str, np.ndarray], real_tunes: np.ndarray, size: int, rng: np.random.Generator, num_samples: int
) -> dict[str, Any]:
    """Compares one feature of composed and real pieces, each sample [N]."""
    real = np.concatenate([values["training"], values["held_out"]])
    tunes = np.unique(real_tunes)
    means, areas, composed_areas = [], [], []
    for _ in range(num_samples if size else 0):
        drawn = np.isin(real_tunes, rng.choice(tunes, size, replace=False))
        means.append(real[drawn].mean())
        areas.append(overlapping_area(real[drawn], real[~drawn]) if size > 1 else None)
        some = rng.choice(values["composed"], size, replace=False)
        composed_areas.append(overlapping_area(some, values["training"]))
    described: dict[str, Any] = {part: float(sample.mean()) if len(sample) else None for part, sample in values.items()}
    known = [area for area in composed_areas if area is not None]
    described |= {
        "mean_interval": _interval(means),
        "overlap_held_out": overlapping_area(values["held_out"], values["training"]),
        "overlap_composed": float(np.median(known)) if known else None,
        "overlap_interval": _interval([area for area in areas if area is not None]),
    }
    return described | {
        "mean_inside": _inside(described["composed"], described["mean_interval"]),
        "overlap_inside": _inside(described["overlap_composed"], described["overlap_interval"]),
    }


def _interval(samples: Sequence[float]) -> list[float] | None:
    return [float(value) for value in np.percentile(samples, [2.5, 97.5])] if samples else None


def _inside(value: float | None, interval: list[float] | None) -> bool | None:
    if value is None or interval is None:
        return None
    return interval[0] <= value <= interval[1]


def _judge_lines(judged: dict[str, Any] | None) -> list[str]:
    if judged is None:
        return [_row("judge", "", "", None, None, "")]
    lines = [_row("judge (chance 0.5)", "", "", "accuracy", "95% interval", "")]
    for name, found in judged.items():
        lines.append(_row(name, "", "", found["balanced_accuracy"], found["balanced_accuracy_interval"], ""))
    for name, found in judged.items():
        lines += ["", _row(f"told by ({name})", "", "real", "composed", "weight", "")]
        for feature in found["giveaways"][:5]:
            columns = [feature["real"], feature["composed"], f"{feature['weight']:+.3f}"]
            lines.append(_row(feature["name"], "", *columns, ""))
    return lines


def _row(label: str, *columns: Any) -> str:
    """One line: a label, three figures, an interval and a flag."""
    widths = (10, 10, 10, 20, 9)
    return f"{label:<28}" + "".join(f"{_text(column):>{width}}" for column, width in zip(columns, widths, strict=True))


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return f"{value[0]:.3f} .. {value[1]:.3f}"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
