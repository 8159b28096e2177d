"""Scores as piano rolls: round trips, hand-made cases, and the report of what encoding changes."""

from __future__ import annotations

import pathlib
import zipfile
from typing import Any

import mir_eval
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_jax.music import instruments, midi
from vae_jax.music import key as key_lib
from vae_jax.music.quantization import Grid
from vae_jax.music.score import KeySignature, Meter, Notes, Tempo, make_notes, make_score
from vae_jax.representations.pianoroll import encoding
from vae_jax.representations.pianoroll.config import RollConfig
from vae_jax.representations.pianoroll.context import PartTrack, default_context
from vae_jax.representations.pianoroll.encoding import RollPiece, RollReport

CONFIG = RollConfig(normalize_tonic=False)
# One line a part: (channel, program), the strings twice in the registers that tell them apart.
LINES = [(0, 56), (1, 57), (2, 48), (3, 43), (4, 0), (5, 19), (6, 32), (9, 0)]


def line_score(rows, ticks_per_beat=480, **changes):
    """A score of (onset tick, duration, pitch, line) rows, each line a track."""
    onset, duration, pitch, line = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    channel, program = np.array(LINES).T
    notes = make_notes(onset, duration, pitch, track=line, channel=channel[line], program=program[line])
    return make_score(ticks_per_beat, notes, track_names=[f"line {n}" for n in range(len(LINES))], **changes)


def note_set(score):
    """The score's notes as sorted (onset, duration, pitch, part) rows."""
    columns = score.notes.onset_ticks, score.notes.duration_ticks, score.notes.pitch, instruments.assign_parts(score)
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


def assert_accounts(score, piece):
    """The report's counts join the score's notes, the roll's and the decoded ones."""
    report = piece.report
    decoded = encoding.decode(piece)
    assert report.num_notes == len(score.notes) == len(piece.notes) + report.num_collapsed
    assert 0 <= report.num_lost <= report.num_collapsed
    assert len(decoded.notes) >= report.num_notes - report.num_lost
    assert len(np.unique(piece.notes[:, :3], axis=0)) == len(piece.notes)
    assert len(piece.notes) == 0 or piece.num_steps >= (piece.notes[:, 0] + piece.notes[:, 3]).max()
    assert decoded.tempos == score.tempos and decoded.meters == score.meters and decoded.keys == score.keys
    assert decoded.ticks_per_beat == score.ticks_per_beat


@st.composite
def grid_scores(draw):
    """Scores on the grid, at most one note for each (step, part, pitch)."""
    ticks_per_beat, steps_per_beat = draw(
        st.sampled_from([(480, 12), (192, 12), (100, 12), (480, 4), (96, 24), (384, 8)])
    )
    cells = st.tuples(st.integers(0, 300), st.integers(0, len(LINES) - 1), st.integers(24, 107))
    chosen = draw(st.lists(st.tuples(cells, st.integers(1, 90)), unique_by=lambda row: row[0], max_size=60))
    grid = Grid(ticks_per_beat, steps_per_beat)
    rows = []
    for (step, line, pitch), duration in chosen:
        onset, end = grid.ticks(np.array([step, step + duration])).tolist()
        low_strings = LINES[line][1] == 43
        pitch = 24 + (pitch - 24) % 24 if low_strings else 60 + pitch % 40 if LINES[line][1] == 48 else pitch
        rows.append((onset, end - onset, pitch, line))
    rows = list(
        {(onset, pitch, line): (onset, duration, pitch, line) for onset, duration, pitch, line in rows}.values()
    )
    meter = draw(st.sampled_from([(4, 4), (3, 4), (6, 8), (5, 4), (2, 2)]))
    return line_score(rows, ticks_per_beat, meters=[Meter(0, *meter)], tempos=[Tempo(0, 400_000)]), steps_per_beat


@settings(max_examples=60)
@given(grid_scores())
def test_scores_on_the_grid_come_back(case):
    score, steps_per_beat = case
    piece = encoding.encode(score, RollConfig(steps_per_beat=steps_per_beat, normalize_tonic=False))
    assert note_set(encoding.decode(piece)) == note_set(score)
    assert piece.report == RollReport(num_notes=len(score.notes))
    assert piece.context.offset_ticks == 0
    assert_accounts(score, piece)


@st.composite
def any_scores(draw):
    """Scores of any tick, pitch, program, channel and meter, doublings included."""
    row = st.tuples(
        st.integers(0, 9000), st.integers(1, 4000), st.integers(0, 3), st.sampled_from([0, 1, 9]), st.integers(0, 127)
    )
    rows = draw(st.lists(st.tuples(row, st.integers(0, 127), st.integers(1, 127)), max_size=80))
    columns = [*zip(*((*row, program, velocity) for row, program, velocity in rows), strict=True)] or [()] * 7
    onset, duration, track, channel, pitch, program, velocity = columns
    notes = make_notes(onset, duration, pitch, track=track, channel=channel, program=program, velocity=velocity)
    meters = draw(
        st.lists(st.builds(Meter, st.integers(0, 8000), st.integers(1, 9), st.sampled_from([1, 2, 4, 8, 16])))
    )
    return make_score(draw(st.sampled_from([1, 7, 96, 480])), notes, meters=meters, keys=[KeySignature(0, -3, True)])


@settings(max_examples=80)
@given(any_scores(), st.sampled_from([1, 4, 12]), st.booleans())
def test_every_note_is_encoded_or_counted(score, steps_per_beat, normalize):
    config = RollConfig(steps_per_beat=steps_per_beat, normalize_tonic=normalize, num_pitches=24)
    piece = encoding.encode(score, config)
    assert_accounts(score, piece)
    decoded = encoding.decode(piece)
    assert midi.read_midi(midi.write_midi(decoded)).score == decoded
    assert set((decoded.notes.pitch % 12).tolist()) == set((score.notes.pitch % 12).tolist())
    assert set(instruments.assign_parts(decoded).tolist()) == set(piece.notes[:, encoding.PART].tolist())


def test_an_empty_score():
    score = make_score(480, make_notes([], [], []))
    piece = encoding.encode(score, CONFIG)
    assert piece.notes.shape == (0, 4) and piece.notes.dtype == np.int32 and piece.num_steps == 0
    assert piece.report == RollReport()
    assert len(encoding.decode(piece).notes) == 0


def test_one_note_by_hand():
    score = line_score([(960 + 160, 240, 61, 0)], meters=[Meter(0, 3, 4)])
    piece = encoding.encode(score, CONFIG)
    # The seventh triplet of the piece: step 2 * 12 + 4, index 61 - 24, half a beat, in one bar of 3/4.
    np.testing.assert_array_equal(piece.notes, [[28, instruments.WINDS, 37, 6]])
    assert piece.num_steps == 36
    assert note_set(encoding.decode(piece)) == [(1120, 240, 61, instruments.WINDS)]


def test_drums_only():
    score = line_score([(0, 5, 36, 7), (480, 5, 38, 7), (480, 5, 42, 7)])
    piece = encoding.encode(score, RollConfig(normalize_tonic=True))
    assert piece.context.transposition == 0
    decoded = encoding.decode(piece)
    assert decoded.notes.is_drum.all() and decoded.notes.pitch.tolist() == [36, 38, 42]


def test_pitches_outside_the_range_are_folded_and_counted():
    score = line_score([(0, 480, pitch, 0) for pitch in (0, 23, 24, 107, 108, 127)])
    piece = encoding.encode(score, CONFIG)
    assert piece.report.num_folded == 4
    # 0 -> 24 and 24 meet: a doubling. 23 -> 35, 108 -> 96, 127 -> 103.
    assert sorted((piece.notes[:, 2] + 24).tolist()) == [24, 35, 96, 103, 107]
    assert piece.report.num_collapsed == 1
    assert_accounts(score, piece)


def test_fold_pitches_moves_as_little_as_it_must():
    folded = encoding.fold_pitches(np.arange(128), 60, 12)
    np.testing.assert_array_equal(folded, 60 + np.arange(128) % 12)


def test_a_doubled_line_is_one_line_for_two_instruments():
    # Two organs play the same chords; the second, with another program, a tick late.
    onset = np.repeat(np.arange(16) * 240, 3)
    pitch = np.tile([60, 64, 67], 16)
    notes = make_notes(
        np.concatenate([onset, onset + 1]),
        [200],
        np.tile(pitch, 2),
        track=np.repeat([0, 1], 48),
        channel=np.repeat([0, 1], 48),
        program=np.repeat([19, 20], 48),
    )
    score = make_score(480, notes, track_names=["great", "swell"])
    piece = encoding.encode(score, CONFIG)
    assert len(piece.notes) == 48 and piece.report.num_collapsed == 48 and piece.report.num_lost == 0
    decoded = encoding.decode(piece)
    assert len(decoded.notes) == 96
    assert decoded.track_names == ("[organ] great", "[organ] swell")
    np.testing.assert_array_equal(decoded.notes.program, 19 + decoded.notes.track)
    again = encoding.decode(encoding.encode(decoded, CONFIG))
    assert again.track_names == decoded.track_names and note_set(again) == note_set(decoded)


@pytest.mark.parametrize(
    ("num_single", "num_doubled", "copies", "num_lost"), [(10, 1, 1, 1), (1, 10, 2, 0), (0, 1, 2, 0)]
)
def test_doublings_are_kept_a_bar_and_register_as_most_of_its_notes_are(num_single, num_doubled, copies, num_lost):
    # All of one bar and register, which the first of two organs plays whole.
    onset = np.concatenate([np.arange(num_single + num_doubled), np.arange(num_doubled)]) * 120
    track = np.repeat([0, 1], [num_single + num_doubled, num_doubled])
    piece = encoding.encode(make_score(480, make_notes(onset, 100, 60, track=track, program=19)), CONFIG)
    assert piece.report.num_collapsed == num_doubled
    assert piece.report.num_lost == num_lost
    assert len(encoding.decode(piece).notes) == copies * (num_single + num_doubled)


def test_notes_that_meet_in_a_part_by_hand():
    # Two organs: a doubled note lasts as long as the longer; of two that overlap the first to start ends first.
    notes = make_notes([0, 0, 960, 1200], [480, 240, 960, 240], [60, 60, 62, 62], track=[0, 1, 0, 1], program=19)
    piece = encoding.encode(make_score(480, notes), CONFIG)
    np.testing.assert_array_equal(piece.notes[:, [0, 2, 3]], [[0, 36, 12], [24, 38, 12], [30, 38, 18]])


def test_a_late_program_change_does_not_split_a_track():
    notes = make_notes([0, 480, 960], [100], [60, 62, 64], program=[0, 56, 56])
    score = make_score(480, notes)
    assert instruments.assign_parts(score).tolist() == [instruments.WINDS] * 3
    piece = encoding.encode(score, CONFIG)
    assert piece.context.tracks[instruments.WINDS] == (PartTrack("", 56),)
    assert encoding.decode(piece).notes.program.tolist() == [56] * 3


def test_a_piece_played_ahead_of_the_beat_keeps_its_offset():
    onsets = 480 + np.arange(64) * 120 - 30
    rows = [(onset + spread, 100, 60 + voice, voice) for onset in onsets for voice, spread in [(0, -3), (1, 0), (2, 3)]]
    piece = encoding.encode(line_score(rows), CONFIG)
    assert abs(piece.context.offset_ticks + 30) <= 6
    np.testing.assert_array_equal(np.unique(piece.notes[:, 0]), 12 + np.arange(64) * 3)
    # A tick is 1.04 ms; the three voices lie 3, 0 and 3 ticks from their common time, which is rounded to a tick.
    assert 2.0 <= piece.report.mean_timing_error_ms <= 2.1 + abs(piece.context.offset_ticks + 30) * 1.05
    assert set(np.diff(np.unique(encoding.decode(piece).notes.onset_ticks)).tolist()) == {120}


def test_tonic_of_scales_and_its_undoing():
    major, minor = np.array([0, 2, 4, 5, 7, 9, 11, 12]), np.array([0, 2, 3, 5, 7, 8, 10, 12])
    for root in range(60, 72):
        weights = np.array([3, 1, 2, 1, 3, 1, 1, 3]) * 100
        for scale, is_minor in [(major, False), (minor, True)]:
            rows = [
                (n * 480, weight, root + pitch, 0) for n, (pitch, weight) in enumerate(zip(scale, weights, strict=True))
            ]
            score = line_score([*rows, (0, 9999, 41, 7)])
            found = key_lib.estimate_tonic(score.notes)
            assert (found.pitch_class, found.minor) == (root % 12, is_minor)
            shift = key_lib.semitones_to(found)
            assert -6 <= shift <= 5 and (root + shift) % 12 == 0
            piece = encoding.encode(score, RollConfig(normalize_tonic=True))
            assert piece.context.transposition == shift
            assert (piece.notes[piece.notes[:, 1] == instruments.WINDS, 2][0] + 24) % 12 == 0
            assert sorted(encoding.decode(piece).notes.pitch.tolist()) == sorted(score.notes.pitch.tolist())
    assert key_lib.estimate_tonic(make_notes([], [], [])) == key_lib.Tonic(0, False, 0.0)


def test_velocities_are_the_means_of_bar_and_part():
    notes = make_notes([0, 480, 1920], [100], [60, 60, 60], velocity=[40, 61, 100], program=19)
    piece = encoding.encode(make_score(480, notes), CONFIG)
    assert piece.context.velocities[:, instruments.ORGAN].tolist() == [50, 100]
    assert encoding.decode(piece).notes.velocity.tolist() == [50, 50, 100]


def test_twenty_minutes():
    # 2,400 beats at 120 a minute, a pick-up, and changes of meter.
    rng = np.random.default_rng(0)
    cells = rng.choice(28_800 * 84, 20_000, replace=False)
    step, pitch = np.divmod(cells, 84)
    rows = np.stack(
        [step * 40, rng.integers(1, 40, len(cells)) * 40, pitch + 24, rng.integers(0, 2, len(cells))], axis=1
    )
    meters = [Meter(0, 1, 4), Meter(480, 4, 4), *(Meter(480 + 9600 * n, 3 + n % 4, 4) for n in range(1, 100))]
    score = line_score(rows, meters=meters)
    piece = encoding.encode(score, CONFIG)
    assert note_set(encoding.decode(piece)) == note_set(score)


def test_music_without_an_original():
    notes = np.array(
        [[0, instruments.WINDS, 40, 12], [0, instruments.DRUMS, 12, 1], [100, instruments.ORGAN, 30, 500]],
        dtype=np.int32,
    )
    piece = RollPiece(notes, 144, default_context(144, 12), RollReport(), CONFIG)
    decoded = encoding.decode(piece)
    assert decoded.track_names == ("[winds]", "[organ]", "[drums]")
    assert decoded.notes.program.tolist() == [56, 0, 19] and decoded.notes.pitch.tolist() == [64, 36, 54]


@pytest.mark.parametrize("field", ["steps_per_beat", "num_pitches"])
def test_a_wrong_shape_is_refused(field):
    wrong: dict[str, Any] = {field: 0}
    with pytest.raises(ValueError, match=field):
        RollConfig(**wrong)


def test_a_range_past_the_last_midi_note_is_refused():
    RollConfig(min_pitch=24, num_pitches=104)
    with pytest.raises(ValueError, match="num_pitches must be at most 104, got 105"):
        RollConfig(min_pitch=24, num_pitches=105)


def _match_count(reference_keys, reference_sec, estimate_keys, estimate_sec):
    """Most pairs of equal key within 50 ms, each used once: in one key, the earliest that fits is the best."""
    matched = 0
    for key in np.intersect1d(reference_keys, estimate_keys):
        mine = np.sort(reference_sec[reference_keys == key]).tolist()
        theirs = np.sort(estimate_sec[estimate_keys == key]).tolist()
        while mine and theirs:
            distance = round(mine[-1] - theirs[-1], 4)
            matched += abs(distance) <= 0.05
            if distance >= -0.05:
                mine.pop()
            if distance <= 0.05:
                theirs.pop()
    return matched


def _mir_eval_count(reference, reference_notes: Notes, estimate, estimate_notes: Notes):
    def sides(score, notes):
        intervals = np.stack([score.seconds(notes.onset_ticks), score.seconds(notes.end_ticks)], axis=1)
        return intervals, mir_eval.util.midi_to_hz(notes.pitch)

    reference_side, estimate_side = sides(reference, reference_notes), sides(estimate, estimate_notes)
    return len(mir_eval.transcription.match_notes(*reference_side, *estimate_side, offset_ratio=None))


def test_the_ceiling_on_the_real_corpus(anthems: pathlib.Path):
    matched, total = np.zeros(2), np.zeros(2)  # Pitched tracks merged, and every part by itself.
    with zipfile.ZipFile(anthems) as members:
        names = [name for name in members.namelist() if name.endswith(".mid")]
        for n, name in enumerate(names):
            score = midi.read_midi(members.read(name)).score
            piece = encoding.encode(score, CONFIG)
            assert_accounts(score, piece)
            decoded = encoding.decode(piece)
            sides = [score.notes.select(~score.notes.is_drum), decoded.notes.select(~decoded.notes.is_drum)]
            merged = _match_count(
                sides[0].pitch,
                score.seconds(sides[0].onset_ticks),
                sides[1].pitch,
                decoded.seconds(sides[1].onset_ticks),
            )
            if n % 30 == 0:
                assert merged == _mir_eval_count(score, sides[0], decoded, sides[1]), name
            by_part = _match_count(
                instruments.assign_parts(score) * 128 + score.notes.pitch,
                score.seconds(score.notes.onset_ticks),
                instruments.assign_parts(decoded) * 128 + decoded.notes.pitch,
                decoded.seconds(decoded.notes.onset_ticks),
            )
            matched += [merged, by_part]
            total += [len(sides[0]) + len(sides[1]), len(score.notes) + len(decoded.notes)]
    f1 = 2 * matched / total
    assert f1.min() >= 0.99, f"note F1 at 50 ms: merged {f1[0]:.4f}, with instruments {f1[1]:.4f}"
