"""The likelihoods of a run's held-out pieces by every model that has one, for `metrics.json` and the terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from vae_jax.composer.stage import TrainedComposer
from vae_jax.data.corpus import Corpus
from vae_jax.data.splits import Split
from vae_jax.evaluation.intervals import interval_95, resample_group_sums
from vae_jax.evaluation.likelihood.composer import GRID, ComposerLikelihood
from vae_jax.evaluation.likelihood.frequencies import Frequencies
from vae_jax.evaluation.likelihood.latent import RollLikelihood
from vae_jax.evaluation.likelihood.ngram import NGram
from vae_jax.evaluation.likelihood.post import PostLikelihood
from vae_jax.evaluation.likelihood.target import TERMS, GridPiece, LikelihoodModel, PieceNats, make_grid_piece
from vae_jax.evaluation.tables import Cell, format_table
from vae_jax.models.base import Variables
from vae_jax.models.conv_vae import ConvVAE
from vae_jax.models.pianoroll_vae import RollVAE
from vae_jax.representations import arrays
from vae_jax.representations.note_matrix import NoteMatrixRepresentation
from vae_jax.representations.pianoroll.config import RollConfig
from vae_jax.representations.pianoroll.representation import RollRepresentation
from vae_jax.runtime.files import Json
from vae_jax.training.experiment import Experiment

_KEY_STREAM = 3  # Folded into the seed's key, so that the keys differ from those of training.
_NUM_RESAMPLES = 1000
_MAX_PIECES = 200  # Held-out pieces that are scored, evenly spaced.
_COLUMNS = (*TERMS, "kl", "all", "all_but_durations", "importance_weighted")


def evaluate(
    experiment: Experiment, variables: Variables, corpus: Corpus, split: Split, composer: TrainedComposer | None
) -> Json:
    """Scores the held-out pieces of a run by training frequencies, the n-gram model, the run's model and its composer.

    Returns `likelihood` in docs/metrics.md. A row that cannot be made is named under `left_out` with the reason.
    """
    representation = experiment.representation
    config = representation if isinstance(representation, RollRepresentation) else RollConfig()
    training, tunes = _grid_pieces(corpus, split.train, config)
    index = [split.held_out[n] for n in arrays.subsample_rows(len(split.held_out), _MAX_PIECES)]
    held_out, held_out_tunes = _grid_pieces(corpus, index, config)
    grid = {name: getattr(config, name) for name in ("steps_per_beat", "min_pitch", "num_pitches", "normalize_tonic")}
    if not (training and held_out):
        missing = "held-out" if training else "training"
        return {"grid": grid, "pieces": [], "rows": {}, "left_out": {"all": f"no {missing} piece holds a note"}}

    frequencies, key = Frequencies(training), jax.random.fold_in(experiment.key(), _KEY_STREAM)
    models: dict[str, LikelihoodModel] = {"frequencies": frequencies, "ngram": NGram(training, tunes)}
    left_out = {}
    if isinstance(experiment.model, RollVAE) and isinstance(representation, RollRepresentation):
        models["vae"] = RollLikelihood(experiment.model, representation, variables, frequencies, key)
    elif isinstance(experiment.model, ConvVAE) and isinstance(representation, NoteMatrixRepresentation):
        models["post"] = PostLikelihood(experiment.model, representation, variables, training, key)
    else:
        left_out["vae"] = "the likelihood of this model is not one of notes"
    if composer is not None:
        if all(getattr(config, name) == value for name, value in GRID.items()):
            models["composer"] = ComposerLikelihood(composer, frequencies)
            models["composer_with_form"] = ComposerLikelihood(composer, frequencies, with_form=True)
            models["composer_with_latents"] = ComposerLikelihood(composer, frequencies, latent_key=key)
        else:
            left_out["composer"] = "its grid is not that of the representation"
    else:
        left_out["composer"] = "this run has none"
    scored = score_models(models, held_out, held_out_tunes, experiment.seed)
    paths = [corpus.pieces[n].path for n in index if corpus.pieces[n].score.notes]
    for path, piece in zip(paths, scored["pieces"], strict=True):
        piece["path"] = path
    return {"grid": grid} | scored | {"left_out": left_out | scored["left_out"]}


def score_models(
    models: Mapping[str, LikelihoodModel], pieces: Sequence[GridPiece], tunes: Sequence[int], seed: int
) -> Json:
    """Scores pieces, at least one, by models; the tunes of the pieces are resampled for the intervals.

    Returns "pieces", "rows" and "left_out" of `likelihood` in docs/metrics.md.
    """
    beats = np.array([piece.num_beats for piece in pieces])
    notes = np.array([len(piece.step) for piece in pieces])
    described = [
        {"tune": int(tune), "beats": float(length), "notes": int(count), "drum_hits": len(piece.drum_step)}
        for tune, length, count, piece in zip(tunes, beats, notes, pieces, strict=True)
    ]
    rows, left_out = {}, {}
    for name, model in models.items():
        costs = [_with_sums(one) for one in model.nats(pieces)]
        columns = {column: [cost[column] for cost in costs] for column in _COLUMNS}
        known = {column: np.array(values) for column, values in columns.items() if values[0] is not None}
        if not all(np.isfinite(values).all() for values in known.values()):
            left_out[name] = "not a finite number: the model's training has failed"
            continue
        row: Json = {"given": list(model.given), "remarks": list(model.remarks)}
        for unit, size in (("nats_per_beat", beats), ("nats_per_note", notes)):
            row[unit] = {
                column: float(known[column].sum() / size.sum()) if column in known and size.sum() else None
                for column in _COLUMNS
            }
        row["nats_per_beat_interval"] = {
            column: _interval(values, beats, tunes, seed) for column, values in known.items()
        }
        row["pieces"] = [{column: cost[column] for column in known} for cost in costs]
        rows[name] = row
    return {"pieces": described, "rows": rows, "left_out": left_out}


def summarise(results: Json) -> str:
    """Formats the likelihoods as a table for the terminal."""
    pieces, reasons = results["pieces"], [f"{name}: {reason}" for name, reason in results["left_out"].items()]
    beats, notes = (sum(piece[size] for piece in pieces) for size in ("beats", "notes"))
    head = f"nats a beat ({len(pieces)} held-out)"
    table: list[Sequence[Cell]] = [
        (head, *TERMS, "KL", "all", "no durations", "95% interval", "IW bound", "no dur./note")
    ]
    for name, row in results["rows"].items():
        per_beat, main = row["nats_per_beat"], "all_but_durations"
        cells = [_cell(per_beat[column]) for column in (*TERMS, "kl", "all", main)]
        low, high = row["nats_per_beat_interval"].get(main, (None, None))
        interval = "-" if low is None else f"{low:.1f} .. {high:.1f}"
        note = _cell(row["nats_per_note"][main])
        table.append((name.replace("_", " "), *cells, interval, _cell(per_beat["importance_weighted"]), note))
    lines = [format_table(table, (31, 9, 11, 8, 8, 8, 8, 14, 16, 10, 14))] if pieces else ["likelihood"]
    lines.append(f"{beats:g} beats, {notes} notes; length, meter and key are given to all")
    return "\n".join([*lines, *describe_models(results["rows"]), *(f"left out: {reason}" for reason in reasons)])


def describe_models(rows: Json) -> list[str]:
    """Returns what models are given and the remarks on them, a line each, with the names of the models concerned."""
    named: dict[str, list[str]] = {}
    for name, row in rows.items():
        for text in (*(f"given {one}" for one in row["given"]), *row["remarks"]):
            named.setdefault(text, []).append(name.replace("_", " "))
    return [f"{', '.join(names)}: {text}" for text, names in named.items()]


def _grid_pieces(corpus: Corpus, index: Sequence[int], config: RollConfig) -> tuple[list[GridPiece], list[int]]:
    """The targets of pieces and their tunes; pieces that hold no note are left out."""
    kept = [n for n in index if len(corpus.pieces[n].score.notes)]
    return [make_grid_piece(corpus.pieces[n].score, config) for n in kept], [corpus.tune_groups[n] for n in kept]


def _with_sums(nats: PieceNats) -> dict[str, float | None]:
    """The costs of a piece with their sums, None where a term is missing."""
    costs: dict[str, float | None] = dataclasses.asdict(nats)
    for name, terms in (("all", TERMS), ("all_but_durations", [term for term in TERMS if term != "durations"])):
        known = [cost for term in terms if (cost := costs[term]) is not None]
        costs[name] = sum(known) + (costs["kl"] or 0.0) if len(known) == len(terms) else None
    return costs


def _interval(nats: np.ndarray, beats: np.ndarray, tunes: Sequence[int], seed: int) -> list[float]:
    total, length = resample_group_sums((nats, beats), tunes, np.random.default_rng(seed), _NUM_RESAMPLES)
    return interval_95(total / length)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
