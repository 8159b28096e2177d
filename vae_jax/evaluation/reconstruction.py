"""The evaluation of reconstructions: scored against their originals, beside ceilings and baselines."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from vae_jax.data.corpus import Corpus
from vae_jax.data.dataset import Examples
from vae_jax.data.splits import Split
from vae_jax.evaluation import baselines
from vae_jax.evaluation.note_matching import SCORES, bootstrap_f1, total_f1
from vae_jax.evaluation.tables import Cell, format_table
from vae_jax.models.inference import Reconstruction
from vae_jax.music.match_counts import MatchCounts
from vae_jax.representations.base import AnyGrid, B
from vae_jax.runtime.files import Json, printable
from vae_jax.runtime.text import shorten
from vae_jax.training.experiment import Experiment

_BASELINE_EXAMPLES = 100_000  # All of them, except of a corpus too large for memory.
SUMMARY = {  # Labels of the main scores.
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
    experiment: Experiment, corpus: Corpus, split: Split, pieces: Sequence[Reconstruction], examples: Examples[B]
) -> Json:
    """Scores the reconstructions of all pieces of a corpus, by subset of the split, for `metrics.json`.

    The baselines are fitted to `examples`, those that the model was trained on.
    """
    subsets = {"held_out": split.held_out, "training": split.train}
    grid, sample = experiment.representation.grid, examples.sample(_BASELINE_EXAMPLES)
    if grid is not None:
        score_baselines = baselines.fit_grid_baselines(experiment, grid, [pieces[n] for n in split.train], sample)
    else:
        score_baselines = baselines.fit_constant(experiment, sample)
    counts = {n: _count(grid, pieces[n]) for index in subsets.values() for n in index}
    results: Json = {"corpus": corpus.name, "pieces": _per_piece(corpus, subsets, pieces, counts)}
    for name, index in subsets.items():
        if not index:
            continue
        mine, tunes = [pieces[n] for n in index], [corpus.tune_groups[n] for n in index]
        scores: Json = {"pieces": len(mine)}
        for score in counts[index[0]]:
            of_pieces = [counts[n][score] for n in index]
            total = sum(of_pieces, MatchCounts())
            scores |= {score: total.f1, f"{score}_interval": bootstrap_f1(of_pieces, tunes)}
            if score in SCORES:
                scores[score.replace("_f1_", "_precision_")] = total.precision
                scores[score.replace("_f1_", "_recall_")] = total.recall
        scores |= total_f1([(one.original, one.ceiling) for one in mine], "ceiling_")
        # An empty reconstruction matches nothing.
        scores |= dict.fromkeys((f"baseline_empty_{score}" for score in SCORES), 0.0)
        scores |= score_baselines(mine, name) | describe_posterior(mine)
        results[name] = scores | {key: sum(one.encoded.report[key] for one in mine) for key in mine[0].encoded.report}
    return results


def summarise(results: Json) -> str:
    """Formats the main figures of an evaluation as a table."""
    subsets = [subset for subset in ("held_out", "training") if subset in results]
    rows: list[Sequence[Cell]] = [
        (f"corpus: {shorten(printable(results['corpus']), 36)}", *(subset.replace("_", "-") for subset in subsets))
    ]
    for label, name in SUMMARY.items():
        values = [results[subset].get(name) for subset in subsets]
        if any(value is not None for value in values):
            rows.append((label, *values))
    return format_table(rows, (46, 10, 10))


def describe_posterior(pieces: Sequence[Reconstruction]) -> dict[str, float]:
    """Returns the KL in nats an example, the number of active units and the size of the latent space.

    A latent is active where its posterior mean varies over the data by more than 0.01 (Burda, Grosse and Salakhutdinov
    2016, section 5.2).
    """
    mean = np.concatenate([one.posterior.mean for one in pieces])
    return {
        "kl_nats": float(np.mean(np.concatenate([one.kl_nats for one in pieces]))),
        "active_units": int(np.sum(np.var(mean, axis=0) > 0.01)),
        "latent_dim": mean.shape[1],
    }


def _count(grid: AnyGrid | None, one: Reconstruction) -> dict[str, MatchCounts]:
    """The matches of a piece by every score."""
    counts = {name: count(one.original, one.score) for name, count in SCORES.items()}
    if grid is not None:
        for name, by_part in (("note_f1_grid", False), ("note_f1_grid_part", True)):
            counts[name] = grid.count_matches(one.encoded, one.decoded, by_part=by_part)
    return counts


def _per_piece(
    corpus: Corpus,
    subsets: Mapping[str, Sequence[int]],
    reconstructions: Sequence[Reconstruction],
    counts: Mapping[int, Mapping[str, MatchCounts]],
) -> list[Json]:
    """Every piece with its scores, ceilings and what its representation lost; the worst reconstructed first. A piece of
    drums alone has their score only, and comes last."""
    described = []
    for subset, n in [(subset, n) for subset, index in subsets.items() for n in index]:
        one, mine = reconstructions[n], counts[n]
        tune = corpus.pieces[corpus.tune_groups.index(corpus.tune_groups[n])].path
        row: Json = {"path": corpus.pieces[n].path, "part": subset, "tune": tune}
        is_pitched = not one.original.notes.is_drum.all()
        for name in ("note_f1_50ms", "note_f1_instrument") if is_pitched else ("drum_f1_50ms",):
            row[name] = mine[name].f1
            row[f"ceiling_{name}"] = SCORES[name](one.original, one.ceiling).f1
        row |= dict(one.encoded.report) | dict(one.encoded.diagnostics)
        row["counts"] = {name: list(dataclasses.astuple(count)) for name, count in mine.items()}
        row["sums"] = {"kl_nats": [float(np.sum(one.kl_nats)), len(one.kl_nats)]}
        described.append(row)
    return sorted(described, key=lambda piece: piece.get("note_f1_50ms", 1.0))
