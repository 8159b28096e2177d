"""The figures of a run for its page, in plain words: what it is, how well it does beside what, and what it read."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping
from typing import Any

from vae_jax.report.pieces import Shelf, shown_name
from vae_jax.report.run_record import Record
from vae_jax.runtime.files import printable

_POSTS_PLOTS = {
    "corpus.png": "The corpus: notes per track, length, shortest, lowest and highest note",
    "losses.png": "Losses beside the best constant, and the KL",
    "latents.png": "The latent map",
    "elbow.png": "Within-cluster sum of squares by the number of clusters",
    "dendrogram.png": "The complete-linkage tree of the pieces",
}
_ALREADY_DRAWN = ("losses.png", "latents.png")  # By the page itself.
_MAX_PLOT_BYTES = 600_000
_NUM_WORST = 10


@dataclasses.dataclass(frozen=True)
class Measure:
    """A score as the page explains it.

    Attributes:
      name: its name in `metrics.json`.
      title, meaning: what it is called and what it says.
      beside: names of the figures to show beside it by what they are called.
      goal: the figure to reach; None where none was set.
      goal_over: a figure of the run that the goal is counted from.
    """

    name: str
    title: str
    meaning: str
    beside: Mapping[str, str] = dataclasses.field(default_factory=dict)
    goal: float | None = None
    goal_over: str | None = None


# The goals are those set for the national anthems.
MEASURES = (
    Measure(
        "note_f1_50ms",
        "Whole tunes",
        "Right pitch, started within 50 ms of the file.",
        {
            "PCA": "baseline_pca_note_f1_50ms",
            "average tune": "baseline_mean_note_f1_50ms",
            "ceiling": "ceiling_note_f1_50ms",
        },
        goal=0.90,
    ),
    Measure(
        "note_f1_instrument",
        "Whole tunes, by the right instruments",
        "The same, and played by the right part.",
        {
            "PCA": "baseline_pca_note_f1_instrument",
            "average tune": "baseline_mean_note_f1_instrument",
            "ceiling": "ceiling_note_f1_instrument",
        },
        goal=0.90,
    ),
    Measure(
        "note_f1_50ms_unison",
        "Whole tunes, unisons counted once",
        "A note that several instruments double counts as one.",
        {"ceiling": "ceiling_note_f1_50ms_unison"},
    ),
    Measure(
        "note_f1_50ms_offset",
        "Whole tunes, with the ends of notes",
        "The note must end in time as well.",
        {"ceiling": "ceiling_note_f1_50ms_offset"},
    ),
    Measure("drum_f1_50ms", "Drums", "The right drum within 50 ms.", {"ceiling": "ceiling_drum_f1_50ms"}),
    Measure(
        "note_f1_grid",
        "Two-bar windows",
        "Right pitch on the right step of the grid, parts merged.",
        {
            "PCA": "baseline_pca_note_f1_grid",
            "nearest training window": "baseline_nearest_window_note_f1_grid",
            "the bar before": "baseline_previous_bar_note_f1_grid",
        },
        goal=0.05,
        goal_over="baseline_pca_note_f1_grid",
    ),
    Measure(
        "note_f1_grid_part",
        "Two-bar windows, by the right instruments",
        "The same within each part.",
        {"PCA": "baseline_pca_note_f1_grid_part"},
        goal=0.90,
    ),
    Measure(
        "ceiling_note_f1_50ms",
        "What the representation can hold",
        "Encoded and decoded with no model between.",
        goal=0.99,
    ),
)


def describe(run: Record, shelf: Shelf) -> dict[str, Any]:
    """Everything that the page says in words and tables."""
    return {
        "title": f"{printable(run.config['name'])} on {printable(run.description['corpus']['name'])}",
        "run": _facts(run),
        "latent_dim": run.config["model"]["latent_dim"],
        "squeezed": _squeezed(run.config["representation"]),
        "part": next((part for part in ("held_out", "training") if part in run.metrics), None),
        "metrics": run.metrics,
        "measures": [row for measure in MEASURES if (row := _measured(measure, run.metrics))],
        "composed": _tables(run.metrics.get("composed")),
        "ceiling": _ceiling(run, shelf),
        "ingest": run.ingest,
        "complaints": shelf.complaints,
        "with_music": sum(piece.original is not None for piece in shelf.pieces),
        "plots": _plots(run),
    }


def curves(run: Record) -> dict[str, Any]:
    """The learning curves and the lines to draw beside them."""
    constants = {
        f"best constant, {part.replace('_', '-')}": run.metrics[part]["baseline_mean_loss"]
        for part in ("training", "held_out")
        if "baseline_mean_loss" in run.metrics.get(part, {})
    }
    return {"log": list(run.log), "constants": constants, "distortion": "distortion"}


def _facts(run: Record) -> dict[str, Any]:
    config, described = run.config, run.description
    totals = run.ingest.get("totals", {})
    last = run.log[-1] if run.log else {}
    model, representation, data = config["model"], config["representation"], config["data"]
    what = f"{model['name']} VAE with {model['latent_dim']:,} latents"
    if "window_beats" in representation:
        what += f" for every {representation['window_beats']} beats, {representation['steps_per_beat']} steps a beat"
    else:
        what += f" for a piece of {representation['num_tracks']} tracks of {representation['num_notes']} notes"
    held_out = f"{len(described['split']['held_out'])} held out, {len(described['split']['train'])} to train on"
    device = described["device"]
    kind = "" if device["kind"] == device["platform"] else f" ({printable(device['platform'])})"
    minutes, seconds = divmod(round(run.timing.get("seconds", 0)), 60)
    return {
        "Corpus": f"{printable(described['corpus']['name'])}: {described['corpus']['pieces']:,} pieces"
        + (f", {totals['notes']:,} notes, {totals['tunes']:,} tunes" if totals else ""),
        "Split": f"{held_out}, split by {data['split_by']}, seed {data['split_seed']}",
        "Model": what,
        "Training": f"{last['step']:,} steps, {last['epoch']} of {config['train']['num_epochs']} epochs"
        if last
        else "not begun",
        "Device": f"{device['count']} × {printable(device['kind'])}{kind}",
        "Time": f"{minutes} min {seconds} s from its last start to its end" if run.timing else "the run has not ended",
        "Made by": f"run {described['run_id']}, seed {described['seed']}, JAX {described['versions']['jax']}, "
        f"commit {(described['git_commit'] or 'unknown')[:10]}",
    }


def _squeezed(representation: Mapping[str, Any]) -> str:
    """What the latents stand for, at the start of a sentence."""
    return f"Every {representation['window_beats']} beats" if "window_beats" in representation else "Each tune"


def _measured(measure: Measure, metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """A measure with its figures: of held-out pieces where there are some, the training figure beside it."""
    parts = [part for part in ("held_out", "training") if measure.name in metrics.get(part, {})]
    if not parts:
        return None
    scores = metrics[parts[0]]
    marks = {label: scores[name] for label, name in measure.beside.items() if name in scores}
    goal, words = measure.goal, f"{measure.goal:.2f}" if measure.goal is not None else ""
    if goal is not None and measure.goal_over is not None:
        base = scores.get(measure.goal_over)
        goal, words = (base + goal, f"PCA + {goal:.2f}") if base is not None else (None, "")
    return {
        "title": measure.title,
        "meaning": measure.meaning,
        "value": scores[measure.name],
        "interval": scores.get(f"{measure.name}_interval"),
        "training": metrics["training"][measure.name] if parts == ["held_out", "training"] else None,
        "marks": marks,
        "goal": goal,
        "goal_words": words,
    }


def _ceiling(run: Record, shelf: Shelf) -> dict[str, Any] | None:
    """What the representation loses, file by file: the worst ones, and how many lie where."""
    names = {row["path"]: piece.name for piece in shelf.pieces if (row := piece.scores)}
    rows = [row for row in run.metrics.get("pieces", []) if "ceiling_note_f1_50ms" in row and row["path"] in names]
    if not rows:
        return None
    score = "ceiling_note_f1_instrument"
    worst = sorted(rows, key=lambda row: row[score])[:_NUM_WORST]
    losses = [key for key in worst[0] if key.startswith("notes_") and any(row[key] for row in rows)]
    return {
        "count": len(rows),
        "exact": sum(row[score] == 1 for row in rows),
        "below_98": sum(row[score] < 0.98 for row in rows),
        "below_95": sum(row[score] < 0.95 for row in rows),
        "columns": [key.replace("notes_", "").replace("_", " ") for key in losses],
        "worst": [
            {
                "name": names[row["path"]],
                "ceiling": row[score],
                "score": row["note_f1_instrument"],
                "notes": row["notes"],
                "losses": [row[key] for key in losses],
                "timing": row.get("mean_timing_error_ms"),
            }
            for row in worst
        ],
    }


def _plots(run: Record) -> list[dict[str, str]]:
    """Pictures of the run: the post's for the post's representation, elsewhere those that the page does not draw."""
    is_posts = run.config["representation"]["name"] == "note_matrix"
    pictures = []
    for name, title in _POSTS_PLOTS.items():
        path = run.folder.plots / name
        wanted = (is_posts or name not in _ALREADY_DRAWN) and path.exists()
        if wanted:
            pictures.append((title, path))
    if is_posts:
        lines = sorted(run.folder.reconstructions.glob("*.png"))[:1]
        pictures[1:1] = [(f"{shown_name(path.stem)}: note against time, a line a track", path) for path in lines]
    return [
        {"title": title, "data": base64.b64encode(path.read_bytes()).decode("ascii")}
        for title, path in pictures
        if path.stat().st_size <= _MAX_PLOT_BYTES
    ]


def _tables(nested: Any, title: str = "") -> list[dict[str, Any]]:
    """Any nest of figures as tables: a group whose groups hold figures alone is one table, a row a group."""
    if not isinstance(nested, Mapping):
        return []
    groups = {name: value for name, value in nested.items() if isinstance(value, Mapping)}
    figures = {name: {"value": value} for name, value in nested.items() if name not in groups}
    tables = [_table(figures, title)] if figures else []
    if any(isinstance(value, Mapping) for group in groups.values() for value in group.values()):
        for name, group in groups.items():
            tables += _tables(group, ": ".join(filter(None, [title, _words(name)])))
    elif groups:
        tables.insert(0, _table(groups, title))
    return tables


def _table(rows: Mapping[str, Mapping[str, Any]], title: str) -> dict[str, Any]:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    return {
        "title": title,
        "columns": [_words(column) for column in columns],
        "rows": [
            {"name": _words(name), "cells": [_cell(row.get(column, "")) for column in columns]}
            for name, row in rows.items()
        ],
    }


def _words(name: Any) -> str:
    return printable(str(name)).replace("_", " ")


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list) and len(value) == 2 and all(isinstance(end, int | float) for end in value):
        return f"{value[0]:.3f} to {value[1]:.3f}"
    if isinstance(value, list):
        return f"{len(value)} values"
    return printable(str(value))
