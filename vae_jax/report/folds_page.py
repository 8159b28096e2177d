"""The page of a cross-validation, beside the folders of its folds: their scores, and links to their pages."""

from vae_jax.evaluation import comparison, folds
from vae_jax.evaluation.tables import format_cell
from vae_jax.report import page
from vae_jax.runtime import files
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.files import Json
from vae_jax.training import run_dir
from vae_jax.training.run_dir import RunFolder


def write_page(folder: RunFolder) -> int:
    """Writes the page and returns its size in bytes. Raises UserError where the folds are not summed up yet."""
    _, config, description = run_dir.load_run(str(folder.path), allow_folds=True)
    if not folder.metrics.exists():
        raise UserError(f"{folder.path}: no {folder.metrics.name} yet; let run.py finish")
    metrics = files.read_json(folder.metrics)
    numbers = range(metrics["num_folds"])
    variables = {
        "title": f"{config['name']} on {description['corpus']['name']}",
        "metrics": metrics,
        "links": [f"{folder.fold(n).path.name}/{folder.report.name}" for n in numbers],
        "rows": _rows(metrics),
        "cell": format_cell,
    }
    text = page.render("folds.html.j2", variables, scripts=()).encode("utf-8", "replace")
    files.write_bytes(folder.report, text)
    return len(text)


def _rows(metrics: Json) -> list[Json]:
    """Returns the label of every main figure, its value and interval over tunes, and what the folds have."""
    rows = [dict(zip(("label", "pooled", "interval", "folds"), row, strict=True)) for row in folds.main_scores(metrics)]
    shown = [place for place in metrics["over_folds"] if comparison.is_shown(place)]
    return rows + [
        {"label": place, "pooled": None, "interval": None, "folds": metrics["over_folds"][place]} for place in shown
    ]
