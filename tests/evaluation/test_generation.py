"""Composed music scored against real music, with the synthetic corpus in place of both."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from vae_jax.data import synthetic
from vae_jax.data.config import DataConfig
from vae_jax.data.corpus import Corpus
from vae_jax.data.splits import split_pieces
from vae_jax.evaluation import features, two_sample
from vae_jax.evaluation.bar_grid import make_bar_grid
from vae_jax.evaluation.generation import score_compositions, summarise_compositions
from vae_jax.evaluation.pieces import make_piece_set
from vae_jax.music import score as score_lib
from vae_jax.music.score import Score


@pytest.fixture(autouse=True, scope="module")
def one_view():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(two_sample, "ALL_VIEWS", ("all",))
        patch.setattr(two_sample, "NUM_TREES", 10)
        yield


@pytest.fixture(scope="module")
def pieces() -> list[Score]:
    return [score for _, score in synthetic.make_corpus(40, seed=6)]


def scored(
    training: list[Score], held_out: list[Score], composed: list[Score], num_samples: int = 60
) -> dict[str, Any]:
    held_out_tunes = range(len(training), len(training) + len(held_out))
    sets = make_piece_set(training), make_piece_set(held_out, held_out_tunes), make_piece_set(composed)
    return score_compositions(*sets, seed=0, num_samples=num_samples)


@pytest.fixture(scope="module")
def like_to_like(pieces: list[Score]) -> dict[str, Any]:
    return scored(pieces[:22], pieces[22:30], pieces[30:])


def half_speed(score: Score) -> Score:
    """Every note for twice as many beats, and a second above: half as dense, and out of the register."""
    notes = score.notes
    slow = notes.replace(onset_ticks=notes.onset_ticks * 2, duration_ticks=notes.duration_ticks * 2)
    return dataclasses.replace(score, notes=slow, meters=score.meters[:1])


def test_music_of_the_same_make_lies_inside(like_to_like: dict[str, Any]):
    """Of sixteen 95% intervals a few may be missed."""
    found = like_to_like["features"]
    assert tuple(found) == features.FEATURES
    flags = [feature[flag] for feature in found.values() for flag in ("mean_inside", "overlap_inside")]
    assert sum(flags) >= 12
    assert not like_to_like["memorization"]["bar"]["exceeds_real"]
    assert not like_to_like["two_sample"]["composed"]["views"]["all"]["logistic"]["above_chance"]
    table = like_to_like["musicology"]
    assert table["of"] + len(table["left_out"]) == 40 and table["inside"] >= 0.8 * table["of"]


def test_the_results_are_json_and_the_table_shows_them(like_to_like: dict[str, Any]):
    assert json.loads(json.dumps(like_to_like, allow_nan=False)) == like_to_like
    assert like_to_like["pieces"] == {"training": 22, "held_out": 8, "composed": 10}
    assert like_to_like["sample_size"] == 8
    table = summarise_compositions(like_to_like)
    lines = table.splitlines()
    for name in features.FEATURES:
        assert sum(line.startswith(name + " ") for line in lines) >= 2
    entropy = like_to_like["features"]["pitch_class_entropy"]
    row = next(line for line in lines if line.startswith("pitch_class_entropy")).split()
    assert row[1:4] == [f"{entropy[part]:.4f}" for part in ("training", "held_out", "composed")]
    assert row[-1] == ("yes" if entropy["mean_inside"] else "no")
    assert max(map(len, lines)) <= 110 and not any(line != line.rstrip() for line in lines)


def test_the_means_are_those_of_the_pieces(pieces: list[Score], like_to_like: dict[str, Any]):
    for part, mine in (("training", pieces[:22]), ("held_out", pieces[22:30]), ("composed", pieces[30:])):
        expected = np.mean([features.piece_features(make_bar_grid(score))["note_density"] for score in mine])
        assert like_to_like["features"]["note_density"][part] == pytest.approx(expected)


def test_other_music_is_recognized_by_what_differs(pieces: list[Score]):
    found = scored(pieces[:22], pieces[22:30], [half_speed(piece) for piece in pieces[30:]])
    density, entropy = found["features"]["note_density"], found["features"]["pitch_class_entropy"]
    assert not density["mean_inside"] and not density["overlap_inside"]
    assert density["overlap_composed"] < density["overlap_interval"][0]
    assert entropy["mean_inside"]
    assert found["two_sample"]["composed"]["views"]["all"]["logistic"]["balanced_accuracy"] > 0.9


def test_copies_are_inside_every_interval_and_are_found(pieces: list[Score]):
    copies = [score_lib.transpose(piece, 3) for piece in pieces[:22]]
    found = scored(pieces[:22], pieces[22:30], copies)
    assert sum(feature["mean_inside"] for feature in found["features"].values()) >= 7
    assert all(kind["exceeds_real"] for kind in found["memorization"].values())


@pytest.mark.parametrize(
    ("training", "held_out", "composed"), [(0, 0, 0), (3, 0, 1), (6, 2, 1), (6, 0, 5), (1, 1, 0), (0, 2, 3), (1, 0, 4)]
)
def test_a_figure_that_cannot_be_had_is_a_dash(pieces: list[Score], training: int, held_out: int, composed: int):
    found = scored(pieces[:training], pieces[10 : 10 + held_out], pieces[20 : 20 + composed], num_samples=5)
    json.dumps(found, allow_nan=False)
    for feature in found["features"].values():
        assert (feature["composed"] is None) == (composed == 0)
        assert (feature["held_out"] is None) == (held_out == 0)
        if composed < 2:
            assert feature["overlap_composed"] is None and feature["overlap_inside"] is None
    table = summarise_compositions(found)
    assert " -" in table and "None" not in table and " nan" not in table


def test_without_held_out_music_the_intervals_are_of_training_music(pieces: list[Score]):
    found = scored(pieces[:12], [], pieces[30:34], num_samples=20)
    assert found["sample_size"] == 4
    assert found["features"]["polyphony"]["mean_interval"] is not None
    assert found["features"]["polyphony"]["overlap_held_out"] is None


def test_the_same_seed_gives_the_same_scores(pieces: list[Score]):
    first, second = (scored(pieces[:6], pieces[6:10], pieces[10:15], num_samples=10) for _ in range(2))
    assert first == second


def test_real_anthems_pass_as_real(anthem_corpus: Corpus):
    """Thirteen tunes of the training part take the composer's place."""
    split = split_pieces(anthem_corpus.tune_groups, DataConfig(num_held_out=13, split_seed=19))
    tunes = anthem_corpus.tune_groups
    chosen = set(np.random.default_rng(0).choice(sorted({tunes[n] for n in split.train}), 13, replace=False).tolist())
    index = {
        "training": [n for n in split.train if tunes[n] not in chosen],
        "held_out": list(split.held_out),
        "composed": [n for n in split.train if tunes[n] in chosen],
    }
    sets = {
        subset: make_piece_set([anthem_corpus.pieces[n].score for n in mine], [tunes[n] for n in mine])
        for subset, mine in index.items()
    }
    found = score_compositions(**sets, seed=0)
    flags = [feature[flag] for feature in found["features"].values() for flag in ("mean_inside", "overlap_inside")]
    assert sum(flags) >= 13
    assert not found["memorization"]["bar"]["exceeds_real"]
    assert not found["two_sample"]["composed"]["views"]["all"]["logistic"]["above_chance"]
    assert found["musicology"]["inside"] >= 0.85 * found["musicology"]["of"]
