"""The split of a corpus into training and held-out pieces."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from vae_jax.data.config import DataConfig
from vae_jax.data.corpus import Corpus
from vae_jax.data.splits import Split, split_pieces
from vae_jax.runtime import config
from vae_jax.runtime.errors import UserError

SPLIT_SEEDS = range(20)


def split(tune_groups: Sequence[int], **fields: int | str) -> Split:
    return split_pieces(tune_groups, DataConfig(**fields))


@pytest.mark.parametrize("by", ["tune", "file"])
@pytest.mark.parametrize("num_held_out", [0, 1, 3])
def test_a_split_is_disjoint_and_complete(by: str, num_held_out: int):
    made = split(range(8), num_held_out=num_held_out, split_by=by)
    assert len(made.held_out) == num_held_out
    assert sorted((*made.train, *made.held_out)) == list(range(8))
    assert list(made.train) == sorted(made.train)
    assert list(made.held_out) == sorted(made.held_out)


def test_a_split_holds_out_a_half_at_most():
    assert len(split(range(7), num_held_out=100).held_out) == 3
    assert split([0], num_held_out=100).held_out == ()


def test_the_seed_decides_the_split():
    splits = [split(range(8), num_held_out=3, split_seed=seed) for seed in SPLIT_SEEDS]
    assert splits == [split(range(8), num_held_out=3, split_seed=seed) for seed in SPLIT_SEEDS]
    assert len({made.held_out for made in splits}) > 10
    assert {n for made in splits for n in made.held_out} == set(range(8))


def test_a_split_by_tune_holds_out_tunes_whole():
    groups = [0, 1, 0, 3, 4, 1, 6, 7]
    for seed in SPLIT_SEEDS:
        made = split(groups, num_held_out=2, split_seed=seed)
        held_out = {groups[n] for n in made.held_out}
        assert len(held_out) == 2
        assert held_out.isdisjoint(groups[n] for n in made.train)


def test_a_split_of_the_anthems_by_tune_keeps_duplicates_together(anthem_corpus: Corpus):
    index = {piece.label: n for n, piece in enumerate(anthem_corpus.pieces)}
    families = [("China", "Hong_Kong"), ("Cyprus", "Greece"), ("South_Africa", "Tanzania", "Zambia")]
    leaks_by_file = 0
    for seed in SPLIT_SEEDS:
        fields = {"num_held_out": 10, "split_seed": seed}
        by_tune, by_file = (
            set(split(anthem_corpus.tune_groups, split_by=by, **fields).held_out) for by in ("tune", "file")
        )
        assert len(by_file) == 10
        for family in families:
            assert len({index[label] in by_tune for label in family}) == 1, (seed, family)
            leaks_by_file += len({index[label] in by_file for label in family}) > 1
    assert leaks_by_file  # Otherwise the lines above could not have failed.


def test_the_split_of_the_anthems_stays_as_it_is(anthem_corpus: Corpus):
    made = split(anthem_corpus.tune_groups, num_held_out=13, split_seed=19)
    labels = [anthem_corpus.pieces[n].label for n in made.held_out]
    assert len(labels) == 13 and labels[0] == "Afghanistan"


@pytest.mark.parametrize(
    ("field", "value"), [("split_by", "country"), ("num_held_out", -1), ("num_folds", -1), ("num_synthetic", 0)]
)
def test_a_split_that_does_not_exist_is_refused(field: str, value: int | str):
    with pytest.raises(UserError, match=f"config.data.{field} must"):
        config.make_section(DataConfig, {field: value}, "config.data")


@pytest.mark.parametrize(("num_tunes", "num_held_out", "sizes"), [(130, 13, [13] * 5), (12, 13, [3, 3, 2, 2, 2])])
def test_folds_are_disjoint_and_hold_out_as_many_tunes_as_a_split(num_tunes: int, num_held_out: int, sizes: list[int]):
    fields = {"split_seed": 5, "num_held_out": num_held_out}
    folds = [split(range(num_tunes), num_folds=5, fold=fold, **fields) for fold in range(5)]
    assert [len(made.held_out) for made in folds] == sizes
    held_out = [n for made in folds for n in made.held_out]
    assert len(set(held_out)) == len(held_out) == sum(sizes)
    for made in folds:
        assert sorted(made.train + made.held_out) == list(range(num_tunes))
    assert split(range(num_tunes), num_folds=5, fold=-1, **fields).held_out == tuple(sorted(held_out))
    if num_tunes == 130:
        assert folds[0] == split(range(num_tunes), **fields)


def test_folds_hold_out_tunes_whole():
    groups = [0, 1, 0, 3, 4, 1, 6, 7]
    for fold in range(3):
        made = split(groups, num_held_out=2, num_folds=3, fold=fold)
        assert {groups[n] for n in made.held_out}.isdisjoint(groups[n] for n in made.train)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_folds": 3, "fold": 3}, "num_folds must lie in 2..7, the number of tunes, and fold below it, got 3, 3"),
        ({"num_folds": 8}, "num_folds must lie in 2..7"),
        ({"num_folds": 1}, "num_folds must lie in 2..7"),
        ({"num_folds": 3, "num_held_out": 0}, "num_held_out, the tunes of a fold, must be at least 1"),
    ],
)
def test_folds_that_do_not_exist_are_refused(fields: dict[str, int], message: str):
    with pytest.raises(UserError, match=message):
        split(range(7), **fields)
