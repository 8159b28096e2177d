"""The evaluation of reconstructions: scored against their originals, beside ceilings and baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from vae_jax.data.corpus import Corpus, Split
from vae_jax.data.dataset import Examples
from vae_jax.evaluation import baselines, note_matching, pianoroll_baselines
from vae_jax.models.inference import Reconstruction
from vae_jax.models.losses import gaussian_kl_nats
from vae_jax.models.posterior import Posterior
from vae_jax.music.match_counts import MatchCounts
from vae_jax.music.score import Score
from vae_jax.representations import arrays as arrays_lib
from vae_jax.representations.base import Arrays, Encoded
from vae_jax.representations.pianoroll.representation import RollRepresentation, WindowedContext
from vae_jax.runtime.files import printable
from vae_jax.training.experiment import Experiment

_BASELINE_EXAMPLES = 100_000  # All of them, except of a corpus too large for memory.
_PIECE_SCORES = ("note_f1_50ms", "note_f1_instrument")
_SUMMARY = {
    "pieces": "pieces",
    "note F1 at 50 ms": "note_f1_50ms",
    "  ceiling of the representation": "ceiling_note_f1_50ms",
    "  baseline: mean of the training arrays": "baseline_mean_note_f1_50ms",
    "  baseline: PCA, as many latents, as MIDI": "baseline_pca_note_f1_50ms",
    "note F1 at 50 ms, unisons counted once": "note_f1_50ms_unison",
    "  ceiling of the representation, unisons once": "ceiling_note_f1_50ms_unison",
    "note F1 at 50 ms, with instruments": "note_f1_instrument",
    "  ceiling of the representation, instruments": "ceiling_note_f1_instrument",
    "  baseline: PCA, as MIDI with instruments": "baseline_pca_note_f1_instrument",
    "note F1 at 50 ms, with offsets": "note_f1_50ms_offset",
    "drum F1 at 50 ms": "drum_f1_50ms",
    "note F1 on the grid, parts merged": "note_f1_grid",
    "  baseline: PCA, as many latents": "baseline_pca_note_f1_grid",
    "  baseline: nearest training window": "baseline_nearest_window_note_f1_grid",
    "  baseline: the bar before": "baseline_previous_bar_note_f1_grid",
    "note F1 on the grid, within parts": "note_f1_grid_part",
    "  baseline: PCA, as many latents, parts": "baseline_pca_note_f1_grid_part",
    "notes in the files": "notes",
    "  past the last slot of their track": "notes_past_the_last_slot",
    "  in tracks past the last": "notes_in_tracks_past_the_last",
    "  that double another of their part": "notes_collapsed",
    "  moved by octaves into the range": "notes_folded",
    "KL (nats an example)": "kl_nats",
    "active units": "active_units",
    "latents an example": "latent_dim",
}
Pairs = Iterable[tuple[Score, Score]]

SCORES: dict[str, Callable[[Score, Score], MatchCounts]] = {
    "note_f1_50ms": lambda original, score: note_matching.count_matches(original, score),
    "note_f1_50ms_offset": lambda original, score: note_matching.count_matches(original, score, offsets=True),
    "note_f1_50ms_unison": lambda original, score: note_matching.count_matches(
        note_matching.without_doublings(original), note_matching.without_doublings(score)
    ),
    "note_f1_instrument": note_matching.count_instrument_matches,
    "drum_f1_50ms": lambda original, score: note_matching.count_matches(original, score, drums=True),
}


def evaluate(
    experiment: Experiment,
    corpus: Corpus,
    split: Split,
    reconstructions: Sequence[Reconstruction],
    examples: Examples,
) -> dict[str, Any]:
    """Scores the reconstructions of all pieces of a corpus, part by part of the split, for `metrics.json`.

    Args:
      experiment: what the run's config describes.
      corpus: the corpus of the run.
      split: its split.
      reconstructions: one for each piece of the corpus.
      examples: the examples that the model was trained on, for the baselines that are fitted.
    """
    parts = {"held_out": split.held_out, "training": split.train}
    pieces = {part: [reconstructions[n] for n in index] for part, index in parts.items() if index}
    tunes = {part: [corpus.tune_groups[n] for n in index] for part, index in parts.items() if index}
    representation = experiment.representation
    on_grid = isinstance(representation, RollRepresentation)
    baseline_scores = (_roll_baselines if on_grid else _events_baselines)(
        experiment, pieces, examples.sample(_BASELINE_EXAMPLES)
    )
    results: dict[str, Any] = {"corpus": corpus.name, "pieces": _per_piece(corpus, parts, reconstructions)}
    for part, mine in pieces.items():
        results[part] = {"pieces": len(mine)} | _model_scores(mine, tunes[part]) | _ceiling_scores(mine)
        if isinstance(representation, RollRepresentation):
            results[part] |= _grid_scores(representation, mine, tunes[part])
        empty = [(one.original, baselines.empty_score(one.original)) for one in mine]
        results[part] |= {f"baseline_empty_{name}": value for name, value in _total_f1(empty).items()}
        results[part] |= baseline_scores[part]
        results[part] |= describe_posterior([one.posterior for one in mine])
        results[part] |= {name: sum(one.encoded.report[name] for one in mine) for name in mine[0].encoded.report}
    return results


def summarise(results: dict[str, Any]) -> str:
    """Shows the main figures of an evaluation as a table."""
    parts = [part for part in ("held_out", "training") if part in results]
    lines = [
        f"{'corpus: ' + printable(results['corpus']):<46}" + "".join(f"{part.replace('_', '-'):>10}" for part in parts)
    ]
    for label, name in _SUMMARY.items():
        values = [results[part].get(name) for part in parts]
        if any(value is not None for value in values):
            lines.append(f"{label:<46}" + "".join(_column(value) for value in values))
    return "\n".join(lines)


def _column(value: float | None) -> str:
    if value is None:
        return f"{'-':>10}"
    return f"{value:>10}" if isinstance(value, int) else f"{value:>10.4f}"


def describe_posterior(posteriors: Sequence[Posterior]) -> dict[str, float]:
    """Returns the KL in nats an example, the number of active units and the size of the latent space."""
    joined = Posterior(*(np.concatenate(rows) for rows in zip(*posteriors, strict=True)))
    return {
        "kl_nats": float(jnp.mean(gaussian_kl_nats(joined))),
        "active_units": note_matching.count_active_units(joined.mean),
        "latent_dim": joined.mean.shape[1],
    }


def _per_piece(
    corpus: Corpus, parts: Mapping[str, Sequence[int]], reconstructions: Sequence[Reconstruction]
) -> list[dict[str, Any]]:
    """Every piece with its own scores, ceilings and what its representation lost; the worst reconstructed first."""
    described = []
    for part, index in parts.items():
        for n in index:
            one = reconstructions[n]
            scores = {name: SCORES[name](one.original, one.score).f1 for name in _PIECE_SCORES}
            ceilings = {f"ceiling_{name}": SCORES[name](one.original, one.ceiling).f1 for name in _PIECE_SCORES}
            row = {"path": corpus.pieces[n].path, "part": part} | scores | ceilings | one.encoded.report
            if isinstance(one.encoded.context, WindowedContext):
                row["mean_timing_error_ms"] = one.encoded.context.piece.report.mean_timing_error_ms
            described.append(row)
    return sorted(described, key=lambda piece: piece["note_f1_50ms"])


def _model_scores(pieces: Sequence[Reconstruction], tunes: Sequence[int]) -> dict[str, Any]:
    scored: dict[str, Any] = {}
    for name, count in SCORES.items():
        counts = [count(one.original, one.score) for one in pieces]
        total = sum(counts, MatchCounts())
        scored |= {
            name: total.f1,
            f"{name}_interval": list(note_matching.bootstrap_f1(counts, tunes)),
            name.replace("_f1_", "_precision_"): total.precision,
            name.replace("_f1_", "_recall_"): total.recall,
        }
    return scored


def _ceiling_scores(pieces: Sequence[Reconstruction]) -> dict[str, float]:
    pairs = [(one.original, one.ceiling) for one in pieces]
    return {f"ceiling_{name}": value for name, value in _total_f1(pairs).items()}


def _grid_scores(
    representation: RollRepresentation, pieces: Sequence[Reconstruction], tunes: Sequence[int]
) -> dict[str, Any]:
    scored: dict[str, Any] = {}
    for name, by_part in (("note_f1_grid", False), ("note_f1_grid_part", True)):
        counts = [representation.grid_matches(one.encoded, one.decoded, by_part=by_part) for one in pieces]
        scored[name] = sum(counts, MatchCounts()).f1
        scored[f"{name}_interval"] = list(note_matching.bootstrap_f1(counts, tunes))
    return scored


def _events_baselines(
    experiment: Experiment, pieces: Mapping[str, Sequence[Reconstruction]], train_arrays: Arrays
) -> dict[str, dict[str, float]]:
    """The mean of the training arrays as a constant: its note F1 and its loss."""
    representation = experiment.representation
    mean_arrays = baselines.mean_of_training(train_arrays)
    scores: dict[str, dict[str, float]] = {}
    for part, mine in pieces.items():
        constant = [
            (one.original, representation.decode(Encoded(mean_arrays, one.encoded.context, one.encoded.report)))
            for one in mine
        ]
        scores[part] = {f"baseline_mean_{name}": value for name, value in _total_f1(constant).items()}
        x = representation.rasterise(_on_device(arrays_lib.concatenate([one.encoded.arrays for one in mine])))
        outputs = jnp.broadcast_to(representation.rasterise(_on_device(mean_arrays)), x.shape)
        nothing = jnp.zeros((len(x), 1))
        terms = experiment.objective(outputs, x, Posterior(nothing, nothing))
        scores[part]["baseline_mean_loss"] = float(jnp.mean(terms["loss"]))
    return scores


def _roll_baselines(
    experiment: Experiment, pieces: Mapping[str, Sequence[Reconstruction]], train_arrays: Arrays
) -> dict[str, dict[str, float]]:
    """PCA, the bar before and the nearest training window, on the windows that the model reconstructs."""
    representation = experiment.representation
    assert isinstance(representation, RollRepresentation)
    encoded = {part: [one.encoded for one in mine] for part, mine in pieces.items()}
    return pianoroll_baselines.score_baselines(
        representation,
        train_arrays,
        encoded["training"],
        encoded,
        {part: [one.original for one in mine] for part, mine in pieces.items()},
        latent_dim=experiment.model.latent_dim,
        seed=experiment.config["seed"],
    )


def _total_f1(pairs: Pairs) -> dict[str, float]:
    pairs = list(pairs)
    return {name: sum((count(*pair) for pair in pairs), MatchCounts()).f1 for name, count in SCORES.items()}


def _on_device(arrays: Arrays) -> dict[str, Any]:
    return {name: jnp.asarray(rows, jnp.float32) for name, rows in arrays.items()}
