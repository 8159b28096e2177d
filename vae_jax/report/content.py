"""The numbers and plots of a run that the template of its page needs beside the files of the run."""

import base64
from typing import NamedTuple

from vae_jax.report import composed, likelihood
from vae_jax.report.pieces import ReportPieces, RunRecord, display_name
from vae_jax.runtime.files import Json

SUBSETS = ("held_out", "training")
_PLOTS = {
    "corpus": "The corpus: notes per track, length, shortest, lowest and highest note",
    "losses": "Losses with the best constant prediction, and the KL",
    "latents": "Posterior means",
    "elbow": "Within-cluster sum of squares by number of clusters",
    "dendrogram": "Complete-linkage tree of the pieces",
}
# Prefixes of the scores that are listed beside a score.
_REFERENCES = {
    "baseline_pca_": "PCA",
    "baseline_mean_": "mean of the training arrays",
    "baseline_nearest_window_": "nearest training window",
    "baseline_previous_bar_": "previous bar",
    "ceiling_": "ceiling",
}


class _Measure(NamedTuple):
    """A score of `metrics.json`, what it means, and the goal, which may be a distance from the score of PCA."""

    name: str
    title: str
    meaning: str
    goal: float | None = None
    over_pca: bool = False


# The goals are those for the national anthems.
_MEASURES = (
    _Measure("note_f1_50ms", "Notes", "Same pitch, onset within 50 ms.", 0.90),
    _Measure("note_f1_instrument", "Notes and instruments", "Also the same instrument group.", 0.90),
    _Measure("note_f1_50ms_unison", "Notes, unisons merged", "Notes that several instruments double count once."),
    _Measure("note_f1_50ms_offset", "Notes with offsets", "The offset must match as well."),
    _Measure("drum_f1_50ms", "Drums", "Same drum, onset within 50 ms."),
    _Measure("note_f1_grid", "Grid cells", "Same pitch and step of the grid, instrument groups merged.", 0.05, True),
    _Measure("note_f1_grid_part", "Grid cells and instruments", "The same within each instrument group.", 0.90),
    _Measure("ceiling_note_f1_50ms", "Ceiling", "The representation alone: encoded and decoded without a model.", 0.99),
)


def describe(run: RunRecord, pieces: ReportPieces) -> Json:
    """Returns the variables of the page's template."""
    subset = next((subset for subset in SUBSETS if subset in run.metrics), None)
    return {
        "run": run,
        "subset": subset,
        "scores": run.metrics[subset] if subset else None,
        "measures": [row for measure in _MEASURES if (row := _compare(measure, run.metrics))],
        "likelihood": likelihood.describe(run.metrics.get("likelihood") or {}),
        "composed": composed.describe(run.metrics.get("composed", {})),
        "ceiling": _ceiling(run, pieces),
        "unreadable": pieces.unreadable,
        "has_music": any("original" in piece.music for piece in pieces.pieces),
        "plots": _plots(run),
    }


def _compare(measure: _Measure, metrics: Json) -> Json | None:
    """Returns a score of held-out pieces, or of training pieces where none are held out, with its references."""
    subsets = [subset for subset in SUBSETS if measure.name in metrics.get(subset, {})]
    if not subsets:
        return None
    scores = metrics[subsets[0]]
    base = scores.get(f"baseline_pca_{measure.name}") if measure.over_pca else 0.0
    goal = None if measure.goal is None or base is None else base + measure.goal
    goal_text = f"{'PCA + ' if measure.over_pca else ''}{measure.goal or 0:.2f}"
    references = {label: scores.get(prefix + measure.name) for prefix, label in _REFERENCES.items()}
    return {
        "title": measure.title,
        "meaning": measure.meaning,
        "value": scores[measure.name],
        "interval": scores.get(f"{measure.name}_interval"),
        "training": metrics["training"][measure.name] if subsets == list(SUBSETS) else None,
        "references": {label: score for label, score in references.items() if score is not None},
        "goal": goal,
        "goal_text": goal_text,
    }


def _ceiling(run: RunRecord, pieces: ReportPieces) -> Json | None:
    """Returns what the representation loses: how many files exceed some ceilings, and those with the lowest."""
    names = {piece.scores["path"]: piece.name for piece in pieces.pieces if piece.scores}
    rows = [row for row in run.metrics.get("pieces", []) if "ceiling_note_f1_50ms" in row and row["path"] in names]
    if not rows:
        return None
    rows.sort(key=lambda row: row["ceiling_note_f1_instrument"])
    ceilings = [row["ceiling_note_f1_instrument"] for row in rows]
    return {
        "count": len(rows),
        "exact": sum(ceiling == 1 for ceiling in ceilings),
        "below_98": sum(ceiling < 0.98 for ceiling in ceilings),
        "below_95": sum(ceiling < 0.95 for ceiling in ceilings),
        "losses": [key for key in rows[0] if key.startswith("notes_") and any(row[key] for row in rows)],
        "names": names,
        "lowest": rows[:10],
    }


def _plots(run: RunRecord) -> list[dict[str, str]]:
    """Returns the plots of the run; of a piano-roll run without those that the page draws itself."""
    omitted = ("losses", "latents") if "crop_beats" in run.config["representation"] else ()
    paths = {title: run.folder.plots / f"{name}.png" for name, title in _PLOTS.items() if name not in omitted}
    if not omitted:
        lines = sorted(run.folder.reconstructions.glob("*.png"))[:1]
        paths |= {f"{display_name(path.stem)}: pitch against time, one line per track": path for path in lines}
    return [
        {"title": title, "data": base64.b64encode(path.read_bytes()).decode("ascii")}
        for title, path in paths.items()
        if path.exists() and path.stat().st_size <= 600_000
    ]
