"""What is known at each note of a small piece, by hand; crops of it."""

from __future__ import annotations

import numpy as np
import pytest
from note_pieces import CHORDS, no_form, note_piece

from vae_jax.composer import crops as crops_lib
from vae_jax.composer.crops import END, NOTE, PADDING, START
from vae_jax.composer.notes import MAX_GAP, MAX_TRACKS, NUM_DURATIONS, NUM_PITCHES
from vae_jax.representations.pianoroll.durations import duration_classes

NONE = NUM_PITCHES
LINES = np.zeros((MAX_TRACKS, 15), np.float32)
CLASS_12, CLASS_24 = duration_classes(np.array([12, 24])).tolist()


@pytest.fixture(scope="module")
def features() -> dict[str, np.ndarray]:
    """Tokens: two starts, soprano, bass and inner of a chord, a soprano, soprano, bass and inner, and the end."""
    return crops_lib.make_features(note_piece(CHORDS, form=no_form()))


def pitches(bits: np.ndarray) -> list[int]:
    return np.flatnonzero(np.unpackbits(bits, count=NUM_PITCHES, bitorder="little")).tolist()


def test_tokens(features):
    assert features["kind"].tolist() == [START, START, *[NOTE] * 7, END]
    assert features["pitch"].tolist() == [NONE, NONE, 40, 20, 30, 42, 40, 20, 32, NONE]
    assert features["role"].tolist() == [0, 0, 0, 1, 2, 0, 0, 1, 2, 0]
    assert features["gap"].tolist() == [MAX_GAP + 1, 0, 12, 12, 12, 12, *[MAX_GAP + 1] * 4]
    assert features["size"].tolist() == [1, 1, 3, 3, 3, 1, 3, 3, 3, 1]
    assert features["left"].tolist() == [24, 24, 24, 24, 24, 12, 0, 0, 0, 0]


def test_far_chords_are_at_the_longest_time(features):
    far = crops_lib.make_features(note_piece([(5, 40, 12), (150, 40, 12)], range(0, 241, 48)))
    assert far["gap"].tolist() == [MAX_GAP + 1, 5, MAX_GAP, MAX_GAP + 1, MAX_GAP + 1]


def test_references_are_the_notes_before_and_those_held(features):
    last_bass = features["references"][7].tolist()
    # The last of its role, the note before, soprano, bass, highest and lowest held, the last but one of its role; the
    # last two notes of the melody and the last of the bass line. The first soprano was the bass until one came.
    assert last_bass == [20, 40, 40, 20, NONE, NONE, 40, 40, 42, 20]
    assert features["references"][5].tolist() == [40, 30, 40, 20, 20, 20, NONE, 40, NONE, 20]
    assert features["references"][6].tolist() == [42, 42, 42, 20, NONE, NONE, 40, 42, 40, 20]
    assert pitches(features["held"][5]) == [20] and pitches(features["held"][6]) == []
    assert features["lengths"][4].tolist() == [NUM_DURATIONS, CLASS_24, CLASS_12, features["lengths"][4, 3]]
    assert features["lengths"][8, :3].tolist() == [CLASS_12, CLASS_24, CLASS_24]


def test_a_bass_note_alone_under_a_held_melody_is_no_melody():
    features = crops_lib.make_features(note_piece([(0, 40, 36), (0, 20, 12), (12, 22, 12), (24, 18, 12), (36, 41, 12)]))
    assert features["references"][6, -3:].tolist() == [40, NONE, 18]


def test_a_single_note_is_the_bass_until_one_follows():
    features = crops_lib.make_features(note_piece([(0, 40, 12), (12, 42, 12)]))
    assert features["references"][3].tolist()[:4] == [40, 40, 40, 40]


def test_what_started_a_beat_before(features):
    aligned = [pitches(features["aligned"][n, 0]) for n in range(10)]
    assert aligned == [[], [], [], [], [], [20, 30, 40], [42], [42], [42], []]
    assert features["aligned_role"][:, 0].tolist() == [*[NONE] * 5, 40, 42, NONE, NONE, NONE]
    assert features["aligned_size"][:, 0].tolist() == [0, 0, 0, 0, 0, 3, 1, 1, 1, 0]
    assert set(features["aligned_duration"][:, 0].tolist()) == {NUM_DURATIONS}  # No pitch comes twice in a row.


def test_what_started_at_the_lag_of_the_form():
    notes = [*CHORDS, *((96 + step, pitch, length) for step, pitch, length in CHORDS)]
    features = crops_lib.make_features(note_piece(notes, range(0, 193, 48)))
    assert features["plan"][[2, 9]].tolist() == [[0] * 6, [1] * 6]
    for n in range(7):
        assert features["aligned_role"][9 + n, -1] == features["pitch"][9 + n]
        assert features["aligned_duration"][9 + n, -1] == features["duration"][9 + n]
        assert features["aligned_duration"][9 + n, 2] == features["duration"][9 + n]  # Two bars are that far too.


def test_chords_a_beat_before_later_steps_are_known_as_far_as_they_are_past(features):
    ahead = np.unpackbits(features["onsets"], axis=-1, bitorder="little")[:, 0, : MAX_GAP + 1]
    assert [np.flatnonzero(row).tolist() for row in ahead] == [
        *([], []),  # Nothing is known where the piece starts, not even whether a chord starts there.
        *([12],) * 3,  # That of the token itself.
        [0, 12],
        *([0, 12],) * 3,
        [],
    ]


def test_crops_cover_a_piece_and_its_end():
    piece = note_piece([(12 * n, 40 + n % 3, 12) for n in range(16)], range(0, 193, 48))
    crops = crops_lib.crop(crops_lib.make_features(piece), piece, LINES, 8, 6)
    assert crops.step[:, 2:].tolist()[0] == [0, 12, 24, 36, 48, 60]
    assert crops.kind[-1].tolist() == [NOTE] * 7 + [END] and crops.kind[0, :2].tolist() == [START, START]
    seen = {int(step) for step, kind in zip(crops.step.ravel(), crops.kind.ravel(), strict=True) if kind == NOTE}
    assert seen == set(range(0, 192, 12))
    assert (crops.phrase[:, 0] == 0).all() and crops.phrase.max() >= 1
    assert crops.ending[-1].tolist() == (crops.step[-1] >= 96).tolist()


def test_a_short_piece_is_padded():
    crops = crops_lib.whole(note_piece(CHORDS), LINES, round_to=16)
    assert crops.kind[0].tolist() == [START, START, *[NOTE] * 7, END, *[PADDING] * 6]
    assert {len(values) for values in crops} == {1}
