"""The table of likelihoods: sums, rates and intervals by hand; what cannot be scored is named."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from beat_scores import score_of
from grid_pieces import grid_piece

from vae_jax.data.splits import Split
from vae_jax.evaluation.likelihood import table
from vae_jax.evaluation.likelihood.target import PieceNats
from vae_jax.music.score import Score
from vae_jax.representations.note_matrix import NoteMatrixRepresentation

PIECES = [grid_piece(4, [(0, 1, 0, 1)]), grid_piece(8, [(0, 0, 0, 1), (5, 1, 0, 1), (5, 0, 0, 1)], [(3, 0)])]


@dataclasses.dataclass
class Known:
    """A model of known costs."""

    costs: list[PieceNats]
    given: tuple[str, ...] = ("the weather",)
    remarks: tuple[str, ...] = ()

    def nats(self, pieces):
        return self.costs


def test_rates_by_hand():
    exact = Known([PieceNats(1, 2, 3, 4), PieceNats(5, 6, 7, 8)])
    bound = Known([PieceNats(1, None, 3, 4, 10, 15), PieceNats(5, None, 7, 8, 20, 30)])
    found = table.score_models({"exact": exact, "bound": bound}, PIECES, [0, 1], seed=0)
    assert found["pieces"] == [
        {"tune": 0, "beats": 4.0, "notes": 1, "drum_hits": 0},
        {"tune": 1, "beats": 8.0, "notes": 3, "drum_hits": 1},
    ]
    exact_row, bound_row = found["rows"].values()
    assert exact_row["nats_per_beat"] == pytest.approx(
        dict(onsets=6 / 12, durations=8 / 12, parts=10 / 12, drums=1, all=3, all_but_durations=28 / 12)
        | {"kl": None, "importance_weighted": None}
    )
    assert exact_row["nats_per_note"]["all"] == 36 / 4
    assert bound_row["nats_per_beat"]["all"] is None
    assert bound_row["nats_per_beat"]["all_but_durations"] == pytest.approx(58 / 12)
    assert bound_row["nats_per_note"]["importance_weighted"] == 45 / 4
    # Resamples hold the first tune twice, the second twice, or both.
    assert exact_row["nats_per_beat_interval"]["all"] == pytest.approx([10 / 4, 26 / 8])
    assert [piece["all"] for piece in exact_row["pieces"]] == [10, 26]
    assert "durations" not in bound_row["pieces"][0]
    text = table.summarise(found)
    assert "exact, bound: given the weather" in text and "3.00" in text


def test_a_model_whose_training_has_failed_is_left_out_by_name():
    broken = Known([PieceNats(1, 2, 3, 4), PieceNats(float("nan"), 6, 7, 8)])
    found = table.score_models({"broken": broken}, PIECES, [0, 1], seed=0)
    assert found["rows"] == {} and "finite" in found["left_out"]["broken"]
    assert "left out: broken" in table.summarise(found)


def evaluate(scores: list[Score], split: Split) -> dict[str, Any]:
    """Of an experiment whose model has no likelihood of notes."""
    experiment: Any = SimpleNamespace(
        representation=NoteMatrixRepresentation(), model=None, seed=0, key=lambda: jax.random.key(0)
    )
    pieces = [SimpleNamespace(path=f"{n}.mid", score=score) for n, score in enumerate(scores)]
    corpus: Any = SimpleNamespace(pieces=pieces, tune_groups=list(range(len(scores))))
    found = table.evaluate(experiment, {}, corpus, split, None)
    json.dumps(found, allow_nan=False)
    assert table.summarise(found)
    return found


DRUMS = score_of((0, 1, 38), (1, 1, 42), (3, 1, 38), channel=9)
TUNE = score_of((0, 1, 60), (1, 1, 62), (2, 2, 64))
SILENT = score_of()


def test_drums_alone_have_no_figure_a_note():
    found = evaluate([DRUMS, DRUMS], Split((0,), (1,)))
    assert list(found["rows"]) == ["frequencies", "ngram"]
    for row in found["rows"].values():
        assert row["nats_per_note"]["all"] is None and row["nats_per_beat"]["drums"] > 0
    assert set(found["left_out"]) == {"vae", "composer"}


@pytest.mark.parametrize(
    ("scores", "split", "missing"),
    [
        ([TUNE], Split((0,), ()), "held-out"),
        ([TUNE, SILENT], Split((0,), (1,)), "held-out"),
        ([SILENT, TUNE], Split((0,), (1,)), "training"),
    ],
)
def test_nothing_to_score_is_said(scores, split, missing):
    found = evaluate(scores, split)
    assert found["rows"] == {} and missing in found["left_out"]["all"]


def test_pieces_without_notes_are_left_out_and_paths_stay_with_theirs():
    found = evaluate([TUNE, SILENT, DRUMS, TUNE], Split((0,), (1, 2, 3)))
    assert [piece["path"] for piece in found["pieces"]] == ["2.mid", "3.mid"]
    assert [piece["notes"] for piece in found["pieces"]] == [0, 3]
    per_piece = [piece["onsets"] for piece in found["rows"]["ngram"]["pieces"]]
    total = found["rows"]["ngram"]["nats_per_beat"]["onsets"] * sum(piece["beats"] for piece in found["pieces"])
    assert np.sum(per_piece) == pytest.approx(total)


def test_a_run_of_the_flagship_has_all_rows(small_run: pathlib.Path):
    found = json.loads((small_run / "metrics.json").read_text())["likelihood"]
    assert list(found["rows"]) == [
        *("frequencies", "ngram", "vae", "composer", "composer_with_form", "composer_with_latents"),
    ]
    assert found["left_out"] == {}
    for name, row in found["rows"].items():
        per_beat = row["nats_per_beat"]
        assert (per_beat["kl"] is None) == (name not in ("vae", "composer_with_latents"))
        assert all(0 <= cost < 1000 for cost in per_beat.values() if cost is not None)
    vae = found["rows"]["vae"]["nats_per_beat"]
    assert vae["importance_weighted"] <= vae["all"]
