"""Which files hold the same tune."""

from __future__ import annotations

import collections
import itertools

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
    """The runs of intervals of a score with one line, unpacked byte by byte."""
    packed = deduplication.pack_shingles(score)
    assert packed.dtype == np.uint64 and np.all(packed[1:] > packed[:-1])
    return {tuple(byte - 128 for byte in int(one).to_bytes(6, "little")) for one in packed}


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


def test_shingles_are_runs_of_six_intervals():
    pitches = [60, 64, 62, 65, 67, 60, 72, 71]
    assert shingles_of(line(pitches)) == {(4, -2, 3, 2, -7, 12), (-2, 3, 2, -7, 12, -1)}
    assert shingles_of(line(pitches[:6])) == set()


def test_each_line_has_its_number_and_a_doubled_one_counts_once():
    pitches = [60, 64, 62, 65, 67, 60, 72]
    onsets = np.arange(7) * 480
    doubled = [*pitches, *(pitch - 12 for pitch in pitches), *reversed(pitches)]
    score = make_score(480, make_notes(np.tile(onsets, 3), 400, doubled, track=np.repeat([0, 1, 2], 7)))
    packed = deduplication.pack_shingles(score)
    assert [int(one) >> 48 for one in packed] == [0, 1]


def walk(seed: int, num_notes: int = 60) -> list[int]:
    """A melody that no other seed has."""
    moves = np.random.default_rng(seed).choice([-5, -4, -3, -2, -1, 1, 2, 3, 4, 5], num_notes)
    return (60 + np.cumsum(moves) % 24).tolist()


def test_groups_do_not_chain():
    """The second piece quotes the first, the third the second, and so on: every group has pieces that agree only."""
    melodies = [walk(n) for n in range(12)]
    medleys = [line(one + other) for one, other in itertools.pairwise(melodies)]
    groups = group(medleys)
    assert len(set(groups)) < len(medleys)
    assert all(n - first in (0, 1) for n, first in enumerate(groups))


def test_more_copies_than_a_shingle_may_have_are_one_tune():
    copies = [line([pitch + n % 12 for pitch in walk(1)], 480 + n) for n in range(150)]
    assert group([line(walk(2)), *copies, line(walk(3))]) == [0, *[1] * 150, 151]


def test_a_setting_with_ornaments_is_found():
    """One note in ten has a turn before it."""
    pitches, other = walk(4), []
    for n, pitch in enumerate(pitches):
        other += [pitch + 2, pitch] if n % 10 == 9 else [pitch]
    assert group([line(walk(5)), line(pitches), line(other)]) == [0, 1, 1]


def test_a_shared_bass_figure_makes_no_tune():
    """A short line, as of timpani, that two pieces have in common is not their melody."""
    figure = [40, 45, 43, 40, 35, 40, 47, 45, 40, 43, 38, 40]
    pieces = []
    for seed in (6, 7):
        melody, onsets = walk(seed), np.arange(60) * 480
        track = [0] * 60 + [1] * 12
        pieces.append(make_score(480, make_notes([*onsets, *onsets[:12]], 400, [*melody, *figure], track=track)))
    assert group(pieces) == [0, 1]


def test_comparisons_grow_with_the_number_of_pieces(monkeypatch: pytest.MonkeyPatch):
    """A figure that every piece has is not compared: of pieces with nothing else in common no pair is formed."""
    figure = [60, 64, 67, 72, 71, 67, 64, 62, 60, 55]
    pieces = [line([*walk(n, 20), *figure]) for n in range(120)]
    shingles = [deduplication.pack_shingles(piece) for piece in pieces]
    _, agreeing = deduplication._compare(shingles)
    assert len(agreeing) == 0
    assert len(deduplication._compare(shingles[:90])[1]) > 0  # Fewer than the limit are compared.


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
