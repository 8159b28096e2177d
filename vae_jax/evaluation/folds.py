"""The scores of all folds of a cross-validation, summed up."""

from collections.abc import Iterator, Sequence

import numpy as np

from vae_jax.evaluation import reconstruction
from vae_jax.evaluation.held_out import held_out_rows, read_held_out
from vae_jax.evaluation.intervals import fold_interval_95
from vae_jax.evaluation.tables import Cell, format_table
from vae_jax.runtime.files import Json, printable


def sum_up(metrics: Sequence[Json]) -> Json:
    """Sums up the `metrics.json` of every fold's run, at least two.

    Returns under `held_out` the scores of the held-out pieces of all folds, as if they were those of one run, with 95%
    intervals over their tunes; under `over_folds` for every other figure that all folds have the values of the folds,
    their mean, and its 95% interval over folds (`fold_interval_95`), by its place in a fold's file: "training.kl_nats".
    """
    rows = [row | {"fold": n} for n, one in enumerate(metrics) for row in held_out_rows(one)]
    pieces = read_held_out({"pieces": rows}, "the folds")
    scores: Json = {"pieces": len(rows), "tunes": len(set(pieces.tunes))}
    for name in pieces.ratios:
        scores |= {name: pieces.score(name), f"{name}_interval": pieces.interval(name)}
    leaves = [dict(_leaves(one)) for one in metrics]
    shared = [place for place in leaves[0] if all(place in one for one in leaves)]
    test_share = float(np.mean([one["held_out"]["pieces"] / one["training"]["pieces"] for one in metrics]))
    return {
        "corpus": metrics[0]["corpus"],
        "num_folds": len(metrics),
        "held_out": scores,
        "over_folds": {place: describe_folds([one[place] for one in leaves], test_share) for place in shared},
        "test_share": test_share,
        "likelihood_grid": metrics[0].get("likelihood", {}).get("grid"),
        "pieces": rows,
    }


def describe_folds(values: Sequence[float], test_share: float) -> Json:
    """Returns the mean of a figure over folds, [K] with K at least 2, its interval, and the values."""
    mean, interval = float(np.mean(values)), fold_interval_95(values, test_share)
    return {"mean": mean, "interval": interval, "values": list(values)}


def read_figures(metrics: Json) -> dict[str, list[float]]:
    """Returns every figure of a run's `metrics.json` by its place: its values in all folds, or its one value."""
    if "over_folds" in metrics:
        return {place: found["values"] for place, found in metrics["over_folds"].items()}
    return {place: [value] for place, value in _leaves(metrics)}


def main_scores(results: Json) -> Iterator[tuple[str, float | None, list[float] | None, Json]]:
    """Gives the label of every main score, its value for all tunes, its interval over them, and that of the folds."""
    scores, over_folds = results["held_out"], results["over_folds"]
    places = {f"held_out.{name}": (label, name) for label, name in reconstruction.SUMMARY.items()}
    for name in scores:
        if name.startswith("likelihood.") and not name.endswith("_interval"):
            _, model, term = name.split(".")
            places[f"likelihood.rows.{model}.nats_per_beat.{term}"] = (score_label(name), name)
    for place, (label, name) in places.items():
        if place in over_folds and not name.startswith(("pieces", "notes", "latent_dim")):
            yield label, scores.get(name), scores.get(f"{name}_interval"), over_folds[place]


def score_label(name: str) -> str:
    """Returns what a score of held-out pieces is called in tables."""
    if name.startswith("likelihood."):
        _, model, term = name.replace("_", " ").split(".")
        return f"{model}: {term} (nats a beat)"
    return {of: label for label, of in reconstruction.SUMMARY.items()}.get(name, name)


def summarise(results: Json) -> str:
    """Formats the main figures as a table for the terminal."""
    size = f"{results['num_folds']} folds, {results['held_out']['tunes']} tunes held out once"
    header = (f"corpus: {printable(results['corpus'])}", "all tunes", "95% over tunes", "mean fold", "95% over folds")
    rows: list[Sequence[Cell]] = [(size,), header]
    rows += [(*scores, found["mean"], found["interval"]) for *scores, found in main_scores(results)]
    return format_table(rows, (46, 10, 20, 11, 20))


def _leaves(group: Json, place: str = "") -> Iterator[tuple[str, float]]:
    """Every number below a JSON object, with its place."""
    for name, value in group.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{place}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{place}{name}", value
