"""Prints the tables of docs/evaluation.md and docs/composition.md as Markdown, from the scores of a run.

python -m vae_jax.evaluate --workdir=RUN --bots && python -m benchmarks.tables --workdir=RUN
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from absl import app, flags

from vae_jax.evaluate import read_metrics
from vae_jax.evaluation.likelihood.target import TERMS
from vae_jax.evaluation.two_sample import CLASSIFIERS

_WORKDIR = flags.DEFINE_string("workdir", "runs/anthems", "Folder of a finished run.")


def main(_: list[str]) -> None:
    """Prints one table after the other."""
    results = read_metrics(_WORKDIR.value)
    composed = results["composed"]
    tables = [
        likelihoods(results["likelihood"]["rows"]),
        features(composed),
        attributes(results["attributes"]),
        musicology(composed["musicology"], composed["sample_size"]),
        memorization(composed["memorization"]),
    ]
    tests = composed["two_sample"].get("composed")
    if tests is not None:
        tables += [accuracies(composed["two_sample"]), distances(composed["two_sample"])]
    for rows in tables:
        head, *others = rows
        print("\n".join([_line(head), "|---" * len(head) + "|", *map(_line, others)]), end="\n\n")
    found, prior = composed["musicology"], composed["vae_prior"]["musicology"]
    print(f"{found['inside']} of {found['of']} inside, of the prior of the VAE {prior['inside']}")
    if tests is not None:
        print(", ".join(f"{_words(one['name'])} ({one['auc']:.2f})" for one in tests["top_features"][:8]))


def likelihoods(rows: dict[str, Any]) -> Iterable[Sequence[str]]:
    """Nats a beat by term and model."""
    yield ("", *TERMS, "KL", "all", "without durations")
    for name, row in rows.items():
        beat, interval = row["nats_per_beat"], row["nats_per_beat_interval"]
        terms = (_number(beat[term], 2) for term in (*TERMS, "kl"))
        sums = (
            f"{_number(beat[column], 1)} ({_range(interval.get(column), 1)})" for column in ("all", "all_but_durations")
        )
        yield (_words(name), *terms, *sums)


def features(composed: dict[str, Any]) -> Iterable[Sequence[str]]:
    """The means of features, and those of the prior of the VAE."""
    size = composed["sample_size"]
    yield (
        "mean of the feature",
        "training",
        "held-out",
        "composed",
        f"{size} real tunes",
        "inside",
        "prior of the VAE",
    )
    for name, row in composed["features"].items():
        means = (_number(row[subset], 3) for subset in ("training", "held_out", "composed"))
        prior = composed["vae_prior"]["features"][name]
        last = f"{_number(prior['composed'], 3)} ({_yes(prior['mean_inside'])})"
        yield (_words(name), *means, _range(row["mean_interval"], 3), _yes(row["mean_inside"]), last)


def attributes(results: dict[str, Any]) -> Iterable[Sequence[str]]:
    """The mean of each attribute that was moved."""
    yield ("moved by", *(f"{amount:+g}" for amount in results["amounts"]))
    for name, row in results["effect"].items():
        yield (name, *(_number(mean, 2) for mean in row["means"][name] or [None] * len(results["amounts"])))


def musicology(results: dict[str, Any], size: int) -> Iterable[Sequence[str]]:
    """The statistics in a musician's terms, with intervals of `size` tunes."""
    yield ("mean", "training", "held-out", "composed", f"{size} real tunes", "inside")
    for row in results["rows"].values():
        mean = abs(row["training"] or 0.0)
        digits = 3 if mean < 1.9 else 2 if mean < 10 else 1
        means = (_number(row[subset], digits) for subset in ("training", "held_out", "composed"))
        yield (row["label"], *means, _range(row["interval"], digits), _yes(row["inside"]))


def accuracies(tests: dict[str, Any]) -> Iterable[Sequence[str]]:
    """Balanced accuracies of both classifiers by view; bold where both, or one, are above chance."""
    samples = [name for name in tests if name not in ("left_out", "faults")]
    yield ("view", *map(_words, samples))
    for view in tests["composed"]["views"]:
        cells = []
        for sample in samples:
            pair = [tests[sample]["views"][view][name] for name in CLASSIFIERS]
            texts, above = [f"{one['balanced_accuracy']:.2f}" for one in pair], [one["above_chance"] for one in pair]
            each = [f"**{text}**" if one and not all(above) else text for text, one in zip(texts, above, strict=True)]
            cells.append(f"**{' / '.join(each)}**" if all(above) else " / ".join(each))
        yield (_words(view), *cells)


def distances(tests: dict[str, Any]) -> Iterable[Sequence[str]]:
    """Means of |AUC - 0.5| and where chance ends."""
    samples = [name for name in tests if name not in ("left_out", "faults")]
    yield ("view", *map(_words, samples))
    for view in tests["composed"]["views"]:
        found = (tests[sample]["views"][view] for sample in samples)
        yield (_words(view), *(f"{one['auc_distance']:.3f} ({one['chance'][1]:.3f})" for one in found))


def memorization(results: dict[str, Any]) -> Iterable[Sequence[str]]:
    """Similarity to the training pieces."""
    yield ("", "held-out", "composed", "held-out 95%", "exceeds")
    for kind, row in results.items():
        for figure in (name for name in row["held_out"] if f"{name}_interval" in row["held_out"]):
            digits = 2 if kind == "melody" else 4 if figure == "near_exact" else 3
            means = (_number(row[subset][figure], digits) for subset in ("held_out", "composed"))
            interval = _range(row["held_out"][f"{figure}_interval"], digits)
            yield (f"{_words(kind)}: {_words(figure)}", *means, interval, _yes(row["exceeds_real"], bad=True))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _range(interval: Sequence[float] | None, digits: int) -> str:
    return "" if interval is None else f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}"


def _yes(value: bool | None, *, bad: bool = False) -> str:
    text = "-" if value is None else "yes" if value else "no"
    return f"**{text}**" if value is bad else text


if __name__ == "__main__":
    app.run(main)
