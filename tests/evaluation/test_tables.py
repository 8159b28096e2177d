"""Tables by hand."""

from __future__ import annotations

from vae_jax.evaluation.tables import format_table


def test_cells_are_aligned_and_lines_end_with_their_last_character():
    rows = [("name", "mean", "95%", ""), (), ("a", 1.0, [0.25, 1], True), ("b", 3, None, False)]
    assert format_table(rows, (6, 8, 16, 5)).splitlines() == [
        "name      mean             95%",
        "",
        "a       1.0000  0.250 .. 1.000  yes",
        "b            3               -   no",
    ]
