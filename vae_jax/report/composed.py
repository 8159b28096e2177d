"""The scores of composed music as the page of a run shows them: statistics, two-sample tests, tables of the rest."""

from collections.abc import Iterator, Mapping, Sequence

from vae_jax.runtime.files import Json, printable

_ACCURACY = "balanced_accuracy"
_SHOWN = ("features", "musicology", "two_sample", "discriminator")  # What is described apart from the other scores.
_MEASURES = {
    "logistic": "Logistic regression: balanced accuracy",
    "boosting": "Gradient boosting: balanced accuracy",
    "auc_distance": "Mean over features of |AUC − 0.5|",
}


def describe(composed: Json) -> Json:
    """Returns the `statistics` of composed pieces, the `judges` of composed and real ones with the `measures` of all
    two-sample tests by view, and `tables` of the other scores."""
    features, musicology = composed.get("features", {}), composed.get("musicology", {})
    tests = {name: test for name, test in (composed.get("two_sample") or {}).items() if test and "views" in test}
    rest = {name: value for name, value in composed.items() if name not in _SHOWN}
    overlaps = {
        name: {key: value for key, value in found.items() if key.startswith("overlap_")}
        for name, found in features.items()
    }
    groups = [("Musicology", musicology.get("rows", {}), musicology.get("left_out", {})), ("Features", features, {})]
    main = next(iter(tests.values()))["views"] if tests else composed.get("discriminator") or {}
    return {
        "statistics": [_statistics(*group) for group in groups if group[1] or group[2]],
        "judges": list(_judges(main)),
        "measures": [_measure(name, title, tests) for name, title in _MEASURES.items() if tests],
        "tables": _tables(({"features": overlaps} if overlaps else {}) | rest),
    }


def _statistics(title: str, rows: Mapping[str, Json], left_out: Mapping[str, str]) -> Json:
    """Describes a table of statistics; those that could not be computed are named."""
    described = {name: _statistic(name, row) for name, row in rows.items()}
    unknown = {name: "too few pieces" for name, row in described.items() if row is None} | dict(left_out)
    return {
        "title": title,
        "rows": [row for row in described.values() if row],
        "left_out": [f"{_text(name)} ({_text(reason)})" for name, reason in unknown.items()],
    }


def _statistic(name: str, found: Json) -> Json | None:
    """Describes a statistic with the places of its interval and its composed value on a strip, in percent; None where
    it has none of both."""
    value, interval = found.get("composed"), found.get("interval", found.get("mean_interval"))
    if value is None or interval is None:
        return None
    low, high = min(value, interval[0]), max(value, interval[1])
    scale = 90 / (high - low) if high > low else 0.0
    left, right, mark = (5 + scale * (one - low) for one in (*interval, value))
    return {
        "name": found.get("label", _text(name)),
        "training": _cell(found.get("training")),
        "held_out": _cell(found.get("held_out")),
        "interval": _cell(interval),
        "composed": _cell(value),
        "inside": found.get("inside", found.get("mean_inside")),
        "strip": {"left": left, "width": right - left, "mark": mark},
    }


def _judges(group: Json, place: Sequence[str] = ()) -> Iterator[Json]:
    """Describes every classifier below a JSON object: its place, its balanced accuracy, its features."""
    for name, found in group.items():
        if not isinstance(found, dict):
            continue
        if found.get(_ACCURACY) is None:
            yield from _judges(found, (*place, name))
            continue
        yield {
            "name": ", ".join(map(_text, (*place, name))),
            "accuracy": found[_ACCURACY],
            "interval": found.get("interval", found.get(f"{_ACCURACY}_interval")),
            "features": ", ".join(_text(one["name"]) for one in found.get("top_features", [])[:3]),
        }


def _measure(name: str, title: str, tests: Mapping[str, Json]) -> Json:
    """Describes a table of one measure: a row for each two-sample test, a column for each view."""
    views = list(dict.fromkeys(view for test in tests.values() for view in test["views"]))
    rows = {_text(test): [_view(found["views"].get(view), name) for view in views] for test, found in tests.items()}
    return {"title": title, "columns": [_text(view) for view in views], "rows": rows}


def _view(view: Json | None, measure: str) -> Json:
    """Describes a cell: the value, what it is beside, and whether it lies above chance."""
    if view is None:
        return {"value": "–", "beside": "", "above": False}
    if measure == "auc_distance":
        value, chance = view[measure], view["chance"]
        return {"value": _cell(value), "beside": f"chance to {_cell(chance[1])}", "above": value > chance[1]}
    found = view[measure]
    return {"value": _cell(found[_ACCURACY]), "beside": _cell(found["interval"]), "above": found["above_chance"]}


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
