"""The table of likelihoods as the page of a run shows it."""

from vae_jax.evaluation.likelihood.table import describe_models
from vae_jax.runtime.files import Json, printable

_TERMS = ("onsets", "durations", "parts", "drums", "kl")
_MAIN = "all_but_durations"  # Every model of notes has it.


def describe(results: Json) -> Json | None:
    """Returns the number of `pieces`, the `columns`, the `rows` by model and the `remarks` of the `likelihood` of
    `metrics.json`; None where there is no row."""
    if not results.get("rows"):
        return None
    columns = (*_TERMS, "all", "all but durations", "95% interval", "IW bound", "per note, but durations")
    remarks = [f"{_text(name)}: left out, {printable(why)}." for name, why in results["left_out"].items()]
    remarks += [f"{printable(line)}." for line in describe_models(results["rows"])]
    return {
        "pieces": len(results["pieces"]),
        "columns": [_text(column) for column in columns],
        "rows": {_text(name): _cells(row) for name, row in results["rows"].items()},
        "remarks": remarks,
    }


def _cells(row: Json) -> list[str]:
    per_beat, interval = row["nats_per_beat"], row["nats_per_beat_interval"].get(_MAIN)
    values = [per_beat.get(column) for column in (*_TERMS, "all", _MAIN)]
    range_text = f"{interval[0]:.2f} to {interval[1]:.2f}" if interval else "–"
    others = (per_beat.get("importance_weighted"), row["nats_per_note"].get(_MAIN))
    return [*map(_cell, values), range_text, *map(_cell, others)]


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _text(name: str) -> str:
    return printable(name).replace("_", " ")
