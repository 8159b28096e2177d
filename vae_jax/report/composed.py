"""The scores of composed music as the page of a run shows them: statistics, discriminators, and tables of the rest."""

from collections.abc import Iterator, Mapping

from vae_jax.runtime.files import Json, printable

_ACCURACY = "balanced_accuracy"


def describe(composed: Json) -> Json:
    """Returns the `statistics` of composed pieces, the names of the `unknown` ones, the `judges`, and `tables` of the
    other scores."""
    rest = {name: value for name, value in composed.items() if name not in ("features", "discriminator")}
    features = composed.get("features", {})
    rows = [row for name, found in features.items() if (row := _statistic(name, found))]
    overlaps = {
        name: {key: value for key, value in found.items() if key.startswith("overlap_")}
        for name, found in features.items()
    }
    return {
        "statistics": rows,
        "unknown": [_text(name) for name in features if _text(name) not in {row["name"] for row in rows}],
        "judges": list(_judges(composed.get("discriminator") or {})),
        "tables": _tables(({"features": overlaps} if overlaps else {}) | rest),
    }


def _statistic(name: str, found: Json) -> Json | None:
    """Describes a row of the table of statistics, with the places of its interval and its composed value on a strip, in
    percent; None where the composed pieces have no value."""
    value, interval = found.get("composed"), found.get("mean_interval")
    if value is None or interval is None:
        return None
    low, high = min(value, interval[0]), max(value, interval[1])
    scale = 90 / (high - low) if high > low else 0.0
    left, right, mark = (5 + scale * (one - low) for one in (*interval, value))
    return {
        "name": _text(name),
        "training": _cell(found.get("training")),
        "held_out": _cell(found.get("held_out")),
        "interval": _cell(interval),
        "composed": _cell(value),
        "inside": found["mean_inside"],
        "strip": {"left": left, "width": right - left, "mark": mark},
    }


def _judges(group: Json, place: tuple[str, ...] = ()) -> Iterator[Json]:
    """Describes every discriminator below a JSON object: its place, its balanced accuracy, its features."""
    for name, found in group.items():
        if not isinstance(found, dict):
            continue
        if found.get(_ACCURACY) is None:
            yield from _judges(found, (*place, name))
            continue
        top = [_text(one["name"]) for one in found.get("top_features", [])[:3]]
        yield {
            "name": ", ".join(map(_text, (*place, name))),
            "accuracy": found[_ACCURACY],
            "interval": found.get(f"{_ACCURACY}_interval"),
            "features": ", ".join(top),
        }


def _tables(group: Json, title: str = "") -> list[Json]:
    """Turns nested mappings into tables: one of a group's values, one with a row for each mapping of values in it."""
    values = {name: {"value": value} for name, value in group.items() if not isinstance(value, dict)}
    groups = {name: value for name, value in group.items() if isinstance(value, dict)}
    flat = {name: one for name, one in groups.items() if not any(isinstance(cell, dict) for cell in one.values())}
    tables = [_table(title, rows) for rows in (values, flat) if rows]
    for name, one in groups.items():
        if name not in flat:
            tables += _tables(one, f"{title}: {_text(name)}" if title else _text(name))
    return tables


def _table(title: str, rows: Mapping[str, Json]) -> Json:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    cells = {_text(name): [_cell(row.get(column, "")) for column in columns] for name, row in rows.items()}
    return {"title": title, "columns": [_text(column) for column in columns], "rows": cells}


def _text(name: object) -> str:
    return printable(str(name)).replace("_", " ")


def _cell(value: object) -> str:
    if isinstance(value, list):
        ends = [_cell(one.get("name") if isinstance(one, Mapping) else one) for one in value[:3]]
        return (" to " if len(ends) == 2 and isinstance(value[0], float) else ", ").join(ends)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    return f"{value:.3f}" if isinstance(value, float) else _text(value)
