"""The scores of composed music on the page."""

from __future__ import annotations

import pytest

from vae_jax.report import composed


def test_the_strip_of_a_statistic_holds_the_interval_and_the_composed_value():
    feature = {"training": 2.0, "held_out": 2.5, "composed": 5.0, "mean_interval": [2.0, 3.0], "mean_inside": False}
    (row,) = composed.describe({"features": {"note_density": feature}})["statistics"][0]["rows"]
    assert row["name"] == "note density" and row["inside"] is False
    # From 2 at 5% to 5 at 95% of the width.
    assert row["strip"] == {"left": 5, "width": pytest.approx(30), "mark": pytest.approx(95)}
    point = feature | {"composed": 2.0, "mean_interval": [2.0, 2.0]}
    (row,) = composed.describe({"features": {"x": point}})["statistics"][0]["rows"]
    assert row["strip"] == {"left": 5, "width": 0, "mark": 5}


def test_a_run_without_a_composer_has_no_scores():
    described = composed.describe({})
    assert not any(described.values())


def test_the_musicology_table_is_shown_by_its_labels():
    row = {
        "label": "tracks",
        "training": 6.7,
        "held_out": None,
        "composed": 3.5,
        "interval": [5.8, 7.4],
        "inside": False,
    }
    table = {"sample_size": 13, "rows": {"tracks": row}, "left_out": {"upbeat": "no composed piece has one"}}
    (group,) = composed.describe({"musicology": table | {"inside": 0, "of": 1}})["statistics"]
    assert group["title"] == "Musicology"
    assert [(row["name"], row["held_out"], row["interval"], row["inside"]) for row in group["rows"]] == [
        ("tracks", "–", "5.800 to 7.400", False)
    ]
    assert group["left_out"] == ["upbeat (no composed piece has one)"]


def view(accuracy: float, distance: float):
    judged = {
        "balanced_accuracy": accuracy,
        "interval": [accuracy - 0.1, accuracy + 0.1],
        "above_chance": accuracy > 0.6,
    }
    return {"logistic": judged, "boosting": judged, "auc_distance": distance, "chance": [0.02, 0.08]}


def test_two_sample_tests_stand_side_by_side_by_view():
    top = {"name": "melody_steps", "auc": 0.125, "first": 0.6, "second": 0.4}
    tests = {
        "composed": {"views": {"melody": view(0.9, 0.2), "bass": view(0.5, 0.05)}, "top_features": [top]},
        "halves": {"views": {"melody": view(0.52, 0.04)}, "top_features": []},
    }
    described = composed.describe({
        "two_sample": {**tests, "left_out": {"markov": "one tune"}, "faults": {"boosting": ["no bot"]}},
        "vae_prior": {"two_sample": {"views": {"bass": view(1.0, 0.4)}}, "musicology": {"rows": {}}},
    })  # fmt: skip
    assert [(row["name"], row["above"]) for row in described["judges"]] == [
        ("melody, logistic", True), ("melody, boosting", True), ("bass, logistic", False), ("bass, boosting", False),
    ]  # fmt: skip
    logistic, _, distance = described["measures"]
    assert logistic["columns"] == ["melody", "bass"]
    assert {name: [cell["value"] for cell in cells] for name, cells in logistic["rows"].items()} == {
        "composed, real": ["0.900", "0.500"], "real, in halves": ["0.520", "–"], "vae prior, real": ["–", "1.000"],
    }  # fmt: skip
    assert {name: [cell["above"] for cell in cells] for name, cells in distance["rows"].items()} == {
        "composed, real": [True, False], "real, in halves": [False, False], "vae prior, real": [False, True],
    }  # fmt: skip
    assert distance["rows"]["composed, real"][0]["beside"] == "chance to 0.080"
    assert described["top_features"] == [["melody steps", "0.125", "0.600", "0.400"]]
    assert described["remarks"] == ["markov: one tune", "boosting: no bot"]
    assert described["tables"] == []
