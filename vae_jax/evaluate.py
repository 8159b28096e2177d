"""The final evaluation of a run: reconstructions scored against their originals, beside ceilings and baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from vae_jax import baselines, batches, metrics
from vae_jax.corpus import Corpus, Split
from vae_jax.experiment import Experiment
from vae_jax.files import plain
from vae_jax.inference import Reconstruction
from vae_jax.losses import gaussian_kl_nats
from vae_jax.metrics import Counts
from vae_jax.models.posterior import Posterior
from vae_jax.representations import Arrays, Encoded
from vae_jax.score import Score

Pairs = Iterable[tuple[Score, Score]]

SCORES: dict[str, Callable[[Score, Score], Counts]] = {
    "note_f1_50ms": lambda original, score: metrics.count_matches(original, score),
    "note_f1_50ms_offset": lambda original, score: metrics.count_matches(original, score, offsets=True),
    "drum_f1_50ms": lambda original, score: metrics.count_matches(original, score, drums=True),
}


def evaluate(
    experiment: Experiment, corpus: Corpus, split: Split, reconstructions: Sequence[Reconstruction]
) -> dict[str, Any]:
    """Scores the reconstructions of all pieces of a corpus, part by part of the split, for `metrics.json`."""
    mean_arrays = baselines.mean_of_training([reconstructions[n].encoded for n in split.train])
    results: dict[str, Any] = {"corpus": corpus.name}
    for part, index in [("held_out", split.held_out), ("training", split.train)]:
        pieces = [reconstructions[n] for n in index]
        if pieces:
            results[part] = (
                {"pieces": len(pieces)}
                | _model_scores(pieces, [corpus.tune_groups[n] for n in index])
                | _ceiling_scores(pieces)
                | _baseline_scores(experiment, pieces, mean_arrays)
                | describe_posterior([one.posterior for one in pieces])
                | {name: sum(one.encoded.report[name] for one in pieces) for name in pieces[0].encoded.report}
            )
    return results


def summarise(results: dict[str, Any]) -> str:
    """Shows the main figures of an evaluation as a table."""
    parts = [part for part in ("held_out", "training") if part in results]
    rows = {
        "pieces": "pieces",
        "note F1 at 50 ms": "note_f1_50ms",
        "  ceiling of the representation": "ceiling_note_f1_50ms",
        "  baseline: mean of the training arrays": "baseline_mean_note_f1_50ms",
        "note F1 with offsets": "note_f1_50ms_offset",
        "KL (nats an example)": "kl_nats",
        "active units": "active_units",
    }
    lines = [
        f"{'corpus: ' + plain(results['corpus']):<42}" + "".join(f"{part.replace('_', '-'):>10}" for part in parts)
    ]
    for label, name in rows.items():
        values = [results[part][name] for part in parts]
        lines.append(
            f"{label:<42}"
            + "".join(f"{value:>10}" if isinstance(value, int) else f"{value:>10.4f}" for value in values)
        )
    return "\n".join(lines)


def describe_posterior(posteriors: Sequence[Posterior]) -> dict[str, float]:
    """Returns the KL in nats an example, the number of active units and the size of the latent space."""
    joined = Posterior(*(np.concatenate(rows) for rows in zip(*posteriors, strict=True)))
    return {
        "kl_nats": float(jnp.mean(gaussian_kl_nats(joined))),
        "active_units": metrics.count_active_units(joined.mean),
        "latent_dim": joined.mean.shape[1],
    }


def _model_scores(pieces: Sequence[Reconstruction], tunes: Sequence[int]) -> dict[str, Any]:
    scored: dict[str, Any] = {}
    for name, count in SCORES.items():
        counts = [count(one.original, one.score) for one in pieces]
        total = sum(counts, Counts())
        scored |= {
            name: total.f1,
            f"{name}_interval": list(metrics.bootstrap_f1(counts, tunes)),
            name.replace("_f1_", "_precision_"): total.precision,
            name.replace("_f1_", "_recall_"): total.recall,
        }
    return scored


def _ceiling_scores(pieces: Sequence[Reconstruction]) -> dict[str, float]:
    pairs = [(one.original, one.ceiling) for one in pieces]
    return {f"ceiling_{name}": value for name, value in _total_f1(pairs).items()}


def _baseline_scores(experiment: Experiment, pieces: Sequence[Reconstruction], mean_arrays: Arrays) -> dict[str, float]:
    representation = experiment.representation
    empty = [(one.original, baselines.empty_score(one.original)) for one in pieces]
    scored = {f"baseline_empty_{name}": value for name, value in _total_f1(empty).items()}
    constant = [
        (one.original, representation.decode(Encoded(mean_arrays, one.encoded.context, one.encoded.report)))
        for one in pieces
    ]
    scored |= {f"baseline_mean_{name}": value for name, value in _total_f1(constant).items()}
    x = representation.rasterise(_on_device(batches.concatenate([one.encoded.arrays for one in pieces])))
    outputs = jnp.broadcast_to(representation.rasterise(_on_device(mean_arrays)), x.shape)
    nothing = jnp.zeros((len(x), 1))
    terms = experiment.objective(outputs, x, Posterior(nothing, nothing))
    return scored | {"baseline_mean_loss": float(jnp.mean(terms["loss"]))}


def _total_f1(pairs: Pairs) -> dict[str, float]:
    pairs = list(pairs)
    return {name: sum((count(*pair) for pair in pairs), Counts()).f1 for name, count in SCORES.items()}


def _on_device(arrays: Arrays) -> dict[str, Any]:
    return {name: jnp.asarray(rows, jnp.float32) for name, rows in arrays.items()}
