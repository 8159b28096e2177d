"""A Score: its tempo map, its normal form, and the values that it refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from vae_jax.music import midi
from vae_jax.music import score as score_lib
from vae_jax.music.score import KeySignature, Meter, Tempo, make_notes, make_score


def rows(notes: score_lib.Notes) -> list[tuple[int, ...]]:
    """(onset, duration, track, pitch) of each note."""
    columns = (notes.onset_ticks, notes.duration_ticks, notes.track, notes.pitch)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_seconds_follow_the_tempo_map():
    tempos = [Tempo(0, 500_000), Tempo(960, 1_000_000), Tempo(1440, 250_000)]
    score = make_score(480, make_notes([], [], []), tempos=tempos)
    ticks = np.array([0, 240, 960, 1200, 1440, 1920, 2400])
    np.testing.assert_allclose(score.seconds(ticks), [0, 0.25, 1.0, 1.5, 2.0, 2.25, 2.5], rtol=1e-12)


def test_seconds_before_the_first_tempo_are_those_of_120_beats_a_minute():
    late = make_score(100, make_notes([], [], []), tempos=[Tempo(200, 1_000_000)])
    np.testing.assert_allclose(late.seconds([0, 100, 200, 300]), [0, 0.5, 1.0, 2.0], rtol=1e-12)
    without = make_score(100, make_notes([], [], []))
    assert float(without.seconds(300)) == pytest.approx(1.5)


def test_duration_is_the_end_of_the_note_that_ends_last():
    score = make_score(480, make_notes([0, 480], [1920, 480], [60, 62]), tempos=[Tempo(0, 1_000_000)])
    assert score.end_tick == 1920
    assert score.duration_sec == pytest.approx(4.0)
    assert make_score(480, make_notes([], [], [])).duration_sec == 0


def test_notes_are_ordered_by_onset_then_track_then_as_given():
    notes = make_notes([480, 0, 480, 480], [10, 20, 30, 40], [60, 61, 62, 50], track=[1, 3, 0, 1])
    assert rows(notes) == [(0, 20, 3, 61), (480, 30, 0, 62), (480, 10, 1, 60), (480, 40, 1, 50)]


def test_of_equal_pitches_the_first_to_start_is_the_first_to_end():
    notes = make_notes([10, 0], [5, 100], [60, 60])
    assert rows(notes) == [(0, 15, 0, 60), (10, 90, 0, 60)]


def test_notes_of_other_tracks_and_channels_keep_their_own_ends():
    columns = {"track": [0, 1, 1], "channel": [0, 0, 5]}
    notes = make_notes([0, 10, 20], [100, 5, 5], [60, 60, 60], **columns)
    assert rows(notes) == [(0, 100, 0, 60), (10, 5, 1, 60), (20, 5, 1, 60)]


def test_of_changes_at_one_tick_the_last_counts():
    tempos = [Tempo(480, 300_000), Tempo(0, 400_000), Tempo(480, 200_000)]
    score = make_score(480, make_notes([], [], []), tempos=tempos)
    assert score.tempos == (Tempo(0, 400_000), Tempo(480, 200_000))


def test_every_track_has_a_name_and_a_track_without_notes_keeps_its_place():
    score = make_score(480, make_notes([0], [1], [60], track=2), track_names=["title"])
    assert score.track_names == ("title", "", "")
    assert score.note_bearing_tracks().tolist() == [2]
    assert make_score(480, make_notes([], [], [])).num_tracks == 1


def test_transpose_moves_pitched_notes_only():
    notes = make_notes([0, 0], [1, 1], [60, 60], channel=[0, score_lib.DRUM_CHANNEL])
    assert score_lib.transpose(make_score(480, notes), 5).notes.pitch.tolist() == [65, 60]
    assert notes.pitch.tolist() == [60, 60]


@pytest.mark.parametrize(
    ("pitch", "semitones", "expected"),
    [(127, 1, 116), (127, 12, 127), (127, 24, 127), (120, 20, 116), (0, -1, 11), (0, -13, 11), (5, -12, 5), (3, -3, 0)],
)
def test_transpose_brings_a_pitch_back_by_octaves(pitch: int, semitones: int, expected: int):
    score = make_score(480, make_notes([0], [1], [pitch]))
    assert score_lib.transpose(score, semitones).notes.pitch.tolist() == [expected]


def test_a_transposed_score_is_in_normal_form():
    score = make_score(480, make_notes([0, 10], [100, 5], [115, 127]))
    transposed = score_lib.transpose(score, 3)
    assert transposed.notes.pitch.tolist() == [118, 118]
    assert midi.read_midi(midi.write_midi(transposed)).score == transposed


def test_scores_are_equal_by_value():
    def build(pitch: int) -> score_lib.Score:
        return make_score(480, make_notes([0], [1], [pitch]), keys=[KeySignature(0, -3, minor=True)])

    assert build(60) == build(60)
    assert build(60) != build(61)
    assert build(60) != dataclasses.replace(build(60), ticks_per_beat=240)


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"onset_ticks": [-1]}, "onset_ticks"),
        ({"duration_ticks": [0]}, "duration_ticks"),
        ({"pitch": [128]}, "pitch"),
        ({"pitch": [-1]}, "pitch"),
        ({"velocity": 0}, "velocity"),
        ({"velocity": 128}, "velocity"),
        ({"channel": 16}, "channel"),
        ({"program": 128}, "program"),
        ({"track": -1}, "track"),
    ],
)
def test_a_note_out_of_range_is_refused_by_the_name_of_its_column(columns: dict, named: str):
    with pytest.raises(ValueError, match=named):
        make_notes(**{"onset_ticks": [0], "duration_ticks": [1], "pitch": [60]} | columns)


def test_columns_of_other_lengths_are_refused():
    with pytest.raises(ValueError):
        make_notes([0, 1], [1, 1], [60, 61, 62])


@pytest.mark.parametrize(
    "build",
    [
        lambda: Tempo(0, 0),
        lambda: Tempo(0, 0x1000000),
        lambda: Tempo(-1, 500_000),
        lambda: Meter(0, 0, 4),
        lambda: Meter(0, 4, 3),
        lambda: KeySignature(0, 8),
        lambda: KeySignature(-1, 0),
        lambda: make_score(0, make_notes([], [], [])),
        lambda: make_score(0x8000, make_notes([], [], [])),
    ],
)
def test_changes_and_resolutions_that_no_file_can_hold_are_refused(build):
    with pytest.raises(ValueError):
        build()


def test_mean_tempo_by_hand():
    """Two beats at 60 a minute, then two at 240."""
    score = make_score(100, make_notes([0], [400], [60]), tempos=[Tempo(0, 1_000_000), Tempo(200, 250_000)])
    assert score.mean_tempo(0, 200) == pytest.approx(60)
    assert score.mean_tempo(200, 400) == pytest.approx(240)
    assert score.mean_tempo(0, 400) == pytest.approx(4 / 2.5 * 60)


def test_cut_ends_held_notes_and_leaves_out_what_starts_later():
    tempos, meters = [Tempo(0, 1), Tempo(100, 2)], [Meter(50, 3, 4), Meter(99, 4, 4)]
    score = make_score(100, make_notes([0, 40, 99, 100], [10, 90, 5, 5], 60), tempos=tempos, meters=meters)
    short = score_lib.cut(score, 100)
    assert short.notes == make_notes([0, 40, 99], [10, 60, 1], 60)
    assert (short.tempos, short.meters) == ((Tempo(0, 1),), tuple(meters))
    assert score_lib.cut(score, 1000) == score
