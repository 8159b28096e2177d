"""The scores of composed music on the page."""

from __future__ import annotations

import pytest

from vae_jax.report import composed


def test_the_strip_of_a_statistic_holds_the_interval_and_the_composed_value():
    feature = {"training": 2.0, "held_out": 2.5, "composed": 5.0, "mean_interval": [2.0, 3.0], "mean_inside": False}
    (row,) = composed.describe({"features": {"note_density": feature}})["statistics"]
    assert row["name"] == "note density" and row["inside"] is False
    # From 2 at 5% to 5 at 95% of the width.
    assert row["strip"] == {"left": 5, "width": pytest.approx(30), "mark": pytest.approx(95)}
    point = feature | {"composed": 2.0, "mean_interval": [2.0, 2.0]}
    (row,) = composed.describe({"features": {"x": point}})["statistics"]
    assert row["strip"] == {"left": 5, "width": 0, "mark": 5}


def test_discriminators_are_found_at_any_depth():
    accuracy = {"balanced_accuracy": 0.75, "balanced_accuracy_interval": [0.5, 1.0]}
    described = composed.describe(
        {"discriminator": {"logistic": accuracy, "by_view": {"bass_line": {"boosting": accuracy, "trees": 7}}}}
    )
    assert [row["name"] for row in described["judges"]] == ["logistic", "by view, bass line, boosting"]
    assert composed.describe({"discriminator": None})["judges"] == []


def test_a_run_without_a_composer_has_no_scores():
    described = composed.describe({})
    assert not any(described.values())
