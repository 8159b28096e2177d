"""The split of a corpus into training and held-out pieces."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import pytest
from builders import tune, tune_bytes

from vae_jax.data.corpus import Corpus, load_corpus, make_corpus
from vae_jax.data.parsing import ParsedFile
from vae_jax.data.splits import split_groups
from vae_jax.runtime.errors import UserError

SPLIT_SEEDS = range(20)


def corpus_of(tunes: Sequence[int]) -> Corpus:
    """A corpus in which equal numbers are equal tunes."""
    scores = {number: tune(number) for number in set(tunes)}
    return make_corpus("test", [ParsedFile(f"{n:02d}.mid", str(n), scores[tunes[n]]) for n in range(len(tunes))])


@pytest.mark.parametrize("by", ["tune", "file"])
@pytest.mark.parametrize("num_held_out", [0, 1, 3])
def test_a_split_is_disjoint_and_complete(by: str, num_held_out: int):
    corpus = corpus_of(range(8))
    split = split_groups(corpus.tune_groups, num_held_out, seed=0, by=by)
    assert len(split.held_out) == num_held_out
    assert sorted((*split.train, *split.held_out)) == list(range(8))
    assert list(split.train) == sorted(split.train)
    assert list(split.held_out) == sorted(split.held_out)


def test_a_split_holds_out_a_half_at_most():
    assert len(split_groups(corpus_of(range(7)).tune_groups, 100, seed=0).held_out) == 3
    assert split_groups(corpus_of([0]).tune_groups, 100, seed=0).held_out == ()


def test_the_seed_decides_the_split():
    corpus = corpus_of(range(8))
    splits = [split_groups(corpus.tune_groups, 3, seed) for seed in SPLIT_SEEDS]
    assert splits == [split_groups(corpus.tune_groups, 3, seed) for seed in SPLIT_SEEDS]
    assert len({split.held_out for split in splits}) > 10
    assert {n for split in splits for n in split.held_out} == set(range(8))


def test_a_split_by_tune_holds_out_tunes_whole():
    corpus = corpus_of([0, 1, 0, 2, 3, 1, 4, 5])
    for seed in SPLIT_SEEDS:
        split = split_groups(corpus.tune_groups, 2, seed, by="tune")
        held_out = {corpus.tune_groups[n] for n in split.held_out}
        assert len(held_out) == 2
        assert held_out.isdisjoint(corpus.tune_groups[n] for n in split.train)


def test_a_split_of_the_anthems_by_tune_keeps_duplicates_together(anthem_corpus: Corpus):
    index = {piece.label: n for n, piece in enumerate(anthem_corpus.pieces)}
    families = [("China", "Hong_Kong"), ("Cyprus", "Greece"), ("South_Africa", "Tanzania", "Zambia")]
    leaks_by_file = 0
    for seed in SPLIT_SEEDS:
        by_tune, by_file = (
            set(split_groups(anthem_corpus.tune_groups, 10, seed, by).held_out) for by in ("tune", "file")
        )
        assert len(by_file) == 10
        for family in families:
            assert len({index[label] in by_tune for label in family}) == 1, (seed, family)
            leaks_by_file += len({index[label] in by_file for label in family}) > 1
    assert leaks_by_file  # Otherwise the lines above could not have failed.


def test_a_split_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match="split_by"):
        split_groups(corpus_of(range(2)).tune_groups, 1, 0, by="country")
    with pytest.raises(UserError, match="num_held_out"):
        split_groups(corpus_of(range(2)).tune_groups, -1, 0)


def test_folds_hold_out_every_tune_once(tmp_path: pathlib.Path):
    for n in range(7):
        (tmp_path / f"{n}.mid").write_bytes(tune_bytes(n))
    source = load_corpus(str(tmp_path))
    splits = [split_groups(source.tune_groups, 0, 5, num_folds=3, fold=fold) for fold in range(3)]
    held_out = [n for split in splits for n in split.held_out]
    assert sorted(held_out) == list(range(7))
    for split in splits:
        assert sorted(split.train + split.held_out) == list(range(7))
    with pytest.raises(UserError, match="num_folds must lie in"):
        split_groups(source.tune_groups, 0, 5, num_folds=3, fold=3)
