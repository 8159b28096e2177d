"""Which files hold the same tune."""

from __future__ import annotations

import collections

import numpy as np
import pytest

from vae_jax.data import deduplication, synthetic
from vae_jax.data.corpus import Corpus
from vae_jax.music import score as score_lib
from vae_jax.music.score import Score, make_notes, make_score


@pytest.fixture(scope="module")
def pieces() -> list[Score]:
    return [score for _, score in synthetic.make_corpus(20, seed=1)]


def group(scores: list[Score]) -> list[int]:
    shingles = [deduplication.pack_shingles(score) for score in scores]
    return deduplication.group_tunes(shingles, [str(n) for n in range(len(scores))])


def shingles_of(score: Score) -> set[tuple[int, ...]]:
    """The runs of intervals, unpacked byte by byte."""
    packed = deduplication.pack_shingles(score)
    assert packed.dtype == np.uint64 and np.all(packed[1:] > packed[:-1])
    return {tuple(byte - 128 for byte in int(one).to_bytes(7, "little")) for one in packed}


def line(pitches: list[int], ticks_per_beat: int = 480) -> Score:
    return make_score(ticks_per_beat, make_notes(np.arange(len(pitches)) * ticks_per_beat, ticks_per_beat, pitches))


def test_duplicate_anthems_are_found_and_nothing_else(anthem_corpus: Corpus):
    groups = collections.defaultdict(set)
    for piece, number in zip(anthem_corpus.pieces, anthem_corpus.tune_groups, strict=True):
        groups[number].add(piece.label)
    assert sorted(sorted(labels) for labels in groups.values() if len(labels) > 1) == [
        ["China", "Hong_Kong"],
        ["Cyprus", "Greece"],
        ["Estonia", "Finland"],
        ["Fiji", "United_Kingdom"],
        ["Guam", "United_States"],
        ["Moldova", "Romania"],
        ["South_Africa", "Tanzania", "Zambia"],
    ]


def test_different_pieces_are_not_grouped(pieces: list[Score]):
    assert group(pieces) == list(range(20))


@pytest.mark.parametrize("semitones", [-5, 1, 6])
def test_a_transposed_copy_is_found(pieces: list[Score], semitones: int):
    copies = [score_lib.transpose(pieces[n], semitones) for n in (0, 7, 19)]
    assert group([*pieces, *copies]) == [*range(20), 0, 7, 19]


def test_a_copy_at_another_speed_and_resolution_is_found(pieces: list[Score]):
    notes = pieces[3].notes
    doubled = notes.replace(onset_ticks=notes.onset_ticks * 2, duration_ticks=notes.duration_ticks * 2)
    fine = make_score(pieces[3].ticks_per_beat * 2, doubled, tempos=[score_lib.Tempo(0, 300_000)])
    assert group([*pieces, fine])[-1] == 3


def test_a_copy_with_other_instruments_and_without_its_drums_is_found(pieces: list[Score]):
    notes = pieces[4].notes
    arranged = notes.select(~notes.is_drum).replace()
    arranged = arranged.replace(program=np.full(len(arranged), 52))
    assert group([*pieces, make_score(pieces[4].ticks_per_beat, arranged)])[-1] == 4


def test_equal_files_are_one_tune_whatever_their_notes():
    assert deduplication.group_tunes([np.zeros(0, np.uint64)] * 3, ["x", "y", "x"]) == [0, 1, 0]


def test_shingles_are_runs_of_seven_intervals():
    pitches = [60, 64, 62, 65, 67, 60, 72, 71, 69]
    assert shingles_of(line(pitches)) == {(4, -2, 3, 2, -7, 12, -1), (-2, 3, 2, -7, 12, -1, -2)}
    assert shingles_of(line(pitches[:7])) == set()


def test_trills_and_drums_give_no_shingles():
    assert shingles_of(line([60, 62] * 20)) == set()
    drums = make_notes(np.arange(9), 1, [60, 62, 64, 65, 67, 69, 71, 72, 60], channel=score_lib.DRUM_CHANNEL)
    assert shingles_of(make_score(1, drums)) == set()


def test_the_top_note_of_a_chord_is_the_melody():
    melody = [60, 62, 64, 65, 67, 69, 71, 72, 60]
    onsets = np.arange(len(melody)) * 480
    # The lower notes are struck a little before and after the upper ones.
    chords = make_notes(
        np.concatenate([onsets, onsets + 20, np.maximum(onsets - 20, 0)]),
        400,
        [*melody, *range(40, 49), *[40, 36, 43] * 3],
    )
    assert shingles_of(make_score(480, chords)) == shingles_of(line(melody))


def test_grouping_no_pieces_gives_no_groups():
    assert group([]) == []
    assert group([make_score(480, make_notes([], [], []))] * 2) == [0, 1]
