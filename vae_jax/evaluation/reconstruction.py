"""The evaluation of reconstructions: scored against their originals, beside ceilings and baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from vae_jax.data.corpus import Corpus
from vae_jax.data.dataset import Examples
from vae_jax.data.splits import Split
from vae_jax.evaluation import Metrics, baselines, grid_baselines, note_matching
from vae_jax.evaluation.piece_scores import SCORES, total_f1
from vae_jax.models.inference import Reconstruction
from vae_jax.models.losses import gaussian_kl_nats
from vae_jax.models.posterior import Posterior
from vae_jax.music.match_counts import MatchCounts
from vae_jax.representations.base import AnyGrid, B
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


def evaluate(
    experiment: Experiment,
    corpus: Corpus,
    split: Split,
    reconstructions: Sequence[Reconstruction],
    examples: Examples[B],
) -> Metrics:
    """Scores the reconstructions of all pieces of a corpus, by subset of the split, for `metrics.json`.

    Args:
      experiment: what the run's config describes.
      corpus: the corpus of the run.
      split: its split.
      reconstructions: one for each piece of the corpus.
      examples: the examples that the model was trained on, for the baselines that are fitted.
    """
    subsets = {"held_out": split.held_out, "training": split.train}
    pieces = {name: [reconstructions[n] for n in index] for name, index in subsets.items() if index}
    tunes = {name: [corpus.tune_groups[n] for n in index] for name, index in subsets.items() if index}
    grid = experiment.representation.grid
    sample = examples.sample(_BASELINE_EXAMPLES)
    if grid is not None:
        score_baselines = grid_baselines.fit_baselines(experiment, grid, pieces["training"], sample)
    else:
        score_baselines = baselines.fit_constant(experiment, sample)
    results: Metrics = {"corpus": corpus.name, "pieces": _per_piece(corpus, subsets, reconstructions)}
    for name, mine in pieces.items():
        results[name] = {"pieces": len(mine)} | _model_scores(mine, tunes[name]) | _ceiling_scores(mine)
        if grid is not None:
            results[name] |= _grid_scores(grid, mine, tunes[name])
        empty = [(one.original, baselines.empty_score(one.original)) for one in mine]
        results[name] |= {f"baseline_empty_{score}": value for score, value in total_f1(empty).items()}
        results[name] |= score_baselines(mine, name)
        results[name] |= describe_posterior([one.posterior for one in mine])
        results[name] |= {key: sum(one.encoded.report[key] for one in mine) for key in mine[0].encoded.report}
    return results


def summarise(results: Metrics) -> str:
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
    corpus: Corpus, subsets: Mapping[str, Sequence[int]], reconstructions: Sequence[Reconstruction]
) -> list[Metrics]:
    """Every piece with its scores, ceilings and what its representation lost; the worst reconstructed first."""
    described = []
    for subset, index in subsets.items():
        for n in index:
            one = reconstructions[n]
            scores = {name: SCORES[name](one.original, one.score).f1 for name in _PIECE_SCORES}
            ceilings = {f"ceiling_{name}": SCORES[name](one.original, one.ceiling).f1 for name in _PIECE_SCORES}
            row = {"path": corpus.pieces[n].path, "part": subset} | scores | ceilings | dict(one.encoded.report)
            described.append(row | dict(one.encoded.diagnostics))
    return sorted(described, key=lambda piece: piece["note_f1_50ms"])


def _model_scores(pieces: Sequence[Reconstruction], tunes: Sequence[int]) -> Metrics:
    scored: Metrics = {}
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
    return {f"ceiling_{name}": value for name, value in total_f1(pairs).items()}


def _grid_scores(grid: AnyGrid, pieces: Sequence[Reconstruction], tunes: Sequence[int]) -> Metrics:
    scored: Metrics = {}
    for name, by_part in (("note_f1_grid", False), ("note_f1_grid_part", True)):
        counts = [grid.count_matches(one.encoded, one.decoded, by_part=by_part) for one in pieces]
        scored[name] = sum(counts, MatchCounts()).f1
        scored[f"{name}_interval"] = list(note_matching.bootstrap_f1(counts, tunes))
    return scored
