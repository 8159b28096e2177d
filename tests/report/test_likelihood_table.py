"""The table of likelihoods on the page."""

from __future__ import annotations

from vae_jax.report import likelihood


def test_every_model_has_a_row_and_what_it_is_given_is_told():
    columns = {"onsets": 20.0, "parts": 3.0, "drums": 1.0, "all": None, "all_but_durations": 24.0}
    row = {
        "given": ["the number of notes"],
        "remarks": ["dithered"],
        "nats_per_beat": columns,
        "nats_per_note": {"all_but_durations": 2.5},
        "nats_per_beat_interval": {"all_but_durations": [20.0, 30.0]},
    }
    plain = row | {"given": [], "nats_per_beat_interval": {}}
    results = {"pieces": [{}, {}], "rows": {"vae": row, "n_gram": plain}, "left_out": {"composer": "this run has none"}}
    found = likelihood.describe(results)
    assert found["pieces"] == 2
    assert dict(zip(found["columns"], found["rows"]["vae"], strict=True)) == {
        "onsets": "20.00", "durations": "–", "parts": "3.00", "drums": "1.00", "kl": "–", "all": "–",
        "all but durations": "24.00", "95% interval": "20.00 to 30.00", "IW bound": "–",
        "per note, but durations": "2.50",
    }  # fmt: skip
    assert found["rows"]["n gram"][7] == "–"
    assert found["remarks"] == [
        "composer: left out, this run has none.", "vae: given the number of notes.", "vae, n gram: dithered.",
    ]  # fmt: skip


def test_without_rows_there_is_no_table():
    assert likelihood.describe({}) is None
    assert (
        likelihood.describe({"pieces": [], "rows": {}, "left_out": {"all": "no held-out piece holds a note"}}) is None
    )
