"""The scores of composed music as the page of a run shows them: statistics, two-sample tests, tables of the rest."""

from collections.abc import Callable, Mapping

from vae_jax.runtime.files import Json, printable

_ACCURACY = "balanced_accuracy"
_SHOWN = ("features", "musicology", "two_sample")  # What is described apart from the other scores.
_PAIRS = {"held_out": "held-out, training", "halves": "real, in halves"}
_MEASURES = {
    "logistic": "Logistic regression: balanced accuracy",
    "boosting": "Gradient boosting: balanced accuracy",
    "auc_distance": "Mean over features of |AUC − 0.5|",
}


def describe(composed: Json) -> Json:
    """Returns the `statistics` of composed pieces, what `_two_sample_tests` returns, and `tables` of all else."""
    features, musicology = composed.get("features", {}), composed.get("musicology", {})
    baseline = composed.get("vae_prior", {})
    groups = [("Musicology", musicology.get("rows", {}), musicology.get("left_out", {})), ("Features", features, {})]
    tables = {
        "features": {name: _select(found, lambda key: key.startswith("overlap_")) for name, found in features.items()},
        **_select(composed, lambda key: key not in (*_SHOWN, "vae_prior")),
        "vae_prior": _select(baseline, lambda key: key not in ("musicology", "two_sample")),
    }
    return {
        "statistics": [_statistics(*group) for group in groups if group[1] or group[2]],
        **_two_sample_tests(composed.get("two_sample", {}), baseline.get("two_sample")),
        "tables": _tables({name: value for name, value in tables.items() if value != {}}),
    }


def _two_sample_tests(results: Json, baseline: Json | None) -> Json:
    """Returns the `judges` of composed and real pieces by view, the `top_features` that tell them apart, the `measures`
    of all tests, that of the baseline's pieces too, and `remarks` on them."""
    tests = {name: found for name, found in results.items() if "views" in found}
    tests |= {"vae_prior": baseline} if baseline else {}
    composed = tests.get("composed", {"views": {}, "top_features": []})
    classifiers = [(view, name) for view in composed["views"] for name in ("logistic", "boosting")]
    faults = [(name, fault) for name, found in results.get("faults", {}).items() for fault in found]
    return {
        "judges": [_judge(view, name, composed["views"][view][name]) for view, name in classifiers],
        "top_features": [
            [_text(one["name"]), *(_cell(one[key]) for key in ("auc", "first", "second"))]
            for one in composed["top_features"]
        ],
        "measures": [_measure(name, title, tests) for name, title in _MEASURES.items() if tests],
        "remarks": [f"{_text(name)}: {_text(why)}" for name, why in (*results.get("left_out", {}).items(), *faults)],
    }


def _select(group: Json, is_wanted: Callable[[str], bool]) -> Json:
    return {name: value for name, value in group.items() if is_wanted(name)}


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


def _judge(view: str, classifier: str, found: Json) -> Json:
    """Describes how well a classifier tells composed from real pieces in one view."""
    name, interval = f"{_text(view)}, {_text(classifier)}", found["interval"]
    return {"name": name, "accuracy": found[_ACCURACY], "interval": interval, "above": found["above_chance"]}


def _measure(name: str, title: str, tests: Mapping[str, Json]) -> Json:
    """Describes a table of one measure: a row for each two-sample test, a column for each view."""
    views = list(dict.fromkeys(view for test in tests.values() for view in test["views"]))
    rows = {
        _PAIRS.get(test, f"{_text(test)}, real"): [_view(found["views"].get(view), name) for view in views]
        for test, found in tests.items()
    }
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
