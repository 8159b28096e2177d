"""The post's array: checked by hand, inverted, and what it loses of the real anthems."""

from __future__ import annotations

import collections

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_jax.data.corpus import Corpus
from vae_jax.music import midi
from vae_jax.music.score import KeySignature, Meter, Score, Tempo, make_notes, make_score
from vae_jax.representations.base import Encoded
from vae_jax.representations.factory import make_representation
from vae_jax.representations.note_matrix import NoteMatrixRepresentation
from vae_jax.runtime.errors import UserError

MAX_NOTES, MAX_TRACKS = 6, 4


def small_score() -> Score:
    """Track 0 is empty, tracks 1 and 3 hold notes; the first note of all stands at tick 0."""
    notes = make_notes(
        [0, 480, 480, 960], [240, 120, 60, 30], [60, 64, 36, 67], track=[1, 1, 3, 1], channel=[2, 2, 9, 2],
        velocity=[80, 80, 100, 80], program=[40, 40, 0, 40],
    )  # fmt: skip
    return make_score(
        480,
        notes,
        track_names=["title", "violin", "", "drums"],
        tempos=[Tempo(0, 600_000)],
        meters=[Meter(0, 3, 4)],
        keys=[KeySignature(0, -3)],
    )


def test_the_array_of_a_small_score():
    encoded = NoteMatrixRepresentation(num_notes=4, num_tracks=3).encode(small_score())
    values = encoded.examples.values
    assert values.shape == (1, 4, 3, 3)
    assert values.dtype == np.float32
    violin = [[60, 240, 1], [64, 120, 481], [67, 30, 961], [0, 0, 0]]
    drums = [[36, 60, 481], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal(values[0, :, :, 0], violin)
    np.testing.assert_array_equal(values[0, :, :, 1], drums)
    np.testing.assert_array_equal(values[0, :, :, 2], 0)
    assert encoded.report == {"notes": 4, "notes_past_the_last_slot": 0, "notes_in_tracks_past_the_last": 0}


def test_what_does_not_fit_is_left_out_and_counted():
    # Tracks of 5, 1, 3, 2 notes in an array of 2 tracks with 3 notes each.
    track = np.repeat([0, 1, 2, 3], [5, 1, 3, 2])
    score = make_score(480, make_notes(np.arange(11), 1, 60 + np.arange(11), track=track))
    encoded = NoteMatrixRepresentation(num_notes=3, num_tracks=2).encode(score)
    assert encoded.report == {"notes": 11, "notes_past_the_last_slot": 2, "notes_in_tracks_past_the_last": 5}
    np.testing.assert_array_equal(encoded.examples.values[0, :, 0], [[60, 65], [61, 0], [62, 0]])


def test_its_sizes_are_the_posts():
    representation = make_representation({"name": "note_matrix"})
    assert representation.example_shape == (150, 3, 9)


def test_an_unknown_representation_is_refused_by_name():
    with pytest.raises(UserError, match="'spectrogram'"):
        make_representation({"name": "spectrogram"})


def test_decoding_gives_the_tracks_back_with_their_names_instruments_tempo_and_meter():
    representation, score = NoteMatrixRepresentation(num_notes=4, num_tracks=3), small_score()
    decoded = representation.decode(representation.encode(score))
    assert decoded.track_names == ("violin", "drums")
    expected = score.notes.replace(track=np.array([0, 0, 1, 0]))
    assert decoded.notes == expected
    assert (decoded.ticks_per_beat, decoded.tempos) == (score.ticks_per_beat, score.tempos)
    assert (decoded.meters, decoded.keys) == (score.meters, score.keys)


@st.composite
def fitting_scores(draw: st.DrawFn) -> Score:
    """Scores that fit: every track plays one instrument on its channel at one velocity."""
    num_tracks = draw(st.integers(1, MAX_TRACKS))
    note = st.tuples(st.integers(0, 1_000_000), st.integers(1, 100_000), st.one_of(st.just(60), st.integers(1, 127)))
    tracks = [draw(st.lists(note, min_size=1, max_size=MAX_NOTES)) for _ in range(num_tracks)]
    played = [draw(st.tuples(st.integers(0, 15), st.integers(1, 127), st.integers(0, 127))) for _ in tracks]
    rows = [(*row, n, *played[n]) for n, track in enumerate(tracks) for row in track]
    onset, duration, pitch, track, channel, velocity, program = zip(*rows, strict=True)
    notes = make_notes(onset, duration, pitch, track=track, channel=channel, velocity=velocity, program=program)
    names = draw(st.lists(st.text(max_size=5), min_size=num_tracks, max_size=num_tracks))
    return make_score(draw(st.integers(1, 960)), notes, track_names=names, tempos=[Tempo(3, 123_456)])


@settings(max_examples=200)
@given(fitting_scores())
def test_a_piece_that_fits_comes_back_exactly(score: Score):
    representation = NoteMatrixRepresentation(MAX_NOTES, MAX_TRACKS)
    assert representation.decode(representation.encode(score)) == score


def test_outputs_are_rounded_and_slots_that_are_no_note_are_left_out():
    representation = NoteMatrixRepresentation(num_notes=6, num_tracks=1)
    outputs = np.array(
        [[60.4, 1.6, 10.5], [0.4, 5, 5], [61, 0.4, 5], [62, 5, 0.4], [128, 5, 5], [127.4, 0.6, 0.6]], dtype=np.float32
    )
    examples = representation.from_outputs(outputs.reshape(1, 6, 3, 1), {})
    assert examples.values.dtype == np.float32
    notes = representation.decode(Encoded(examples, representation.context_of_length(1))).notes
    assert notes.pitch.tolist() == [127, 60]
    assert notes.onset_ticks.tolist() == [0, 9]
    assert notes.duration_ticks.tolist() == [1, 2]


def test_any_output_of_a_model_becomes_a_piece_that_can_be_written():
    representation = NoteMatrixRepresentation()
    rng = np.random.default_rng(0)
    outputs = rng.uniform(0, 300, size=(1, 150, 3, 9)).astype(np.float32)
    encoded = Encoded(representation.from_outputs(outputs, {}), representation.context_of_length(1))
    score = representation.decode(encoded)
    assert len(score.notes) > 300
    assert midi.read_midi(midi.write_midi(score)).score == score


def test_the_default_context_leaves_the_percussion_channel_to_the_drums():
    context = NoteMatrixRepresentation(num_tracks=12).context_of_length(1)
    channels = [track.channel for track in context.tracks]
    assert channels == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12]


def test_training_examples_are_those_of_encode_and_a_piece_is_one_example():
    representation = NoteMatrixRepresentation(num_notes=4, num_tracks=3)
    encoded = representation.encode(small_score())
    np.testing.assert_array_equal(representation.encode_training(small_score()).values, encoded.examples.values)
    np.testing.assert_array_equal(representation.rasterize(encoded.examples), encoded.examples.values)
    assert representation.first_full_example(encoded.context) == 0
    with pytest.raises(ValueError, match="a piece is one example, got 2"):
        representation.context_of_length(2)


def test_there_is_no_augmentation():
    representation = NoteMatrixRepresentation()
    with pytest.raises(UserError, match=r"config\.augment has no field 'mix_probability'"):
        representation.make_augmentation({"mix_probability": 0.5})
    batch = representation.encode(small_score()).examples
    assert representation.make_augmentation({})(jax.random.key(0), batch) is batch


def test_a_third_of_the_anthems_notes_does_not_fit(anthem_corpus: Corpus):
    totals: collections.Counter[str] = collections.Counter()
    for piece in anthem_corpus.pieces:
        encoded = NoteMatrixRepresentation().encode(piece.score)
        totals.update(encoded.report)
        totals["in the array"] += int(np.count_nonzero(encoded.examples.values[0, :, 0]))
    assert totals["notes"] == 153_617
    assert totals["notes_past_the_last_slot"] == 45_620
    assert totals["notes_in_tracks_past_the_last"] == 8_351
    assert totals["in the array"] == 153_617 - 45_620 - 8_351
    assert round((45_620 + 8_351) / 153_617, 3) == 0.351
