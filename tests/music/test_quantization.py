"""The grid: offset to the beat, steps and bars, against values worked out by hand and against symusic."""

import numpy as np
import pytest
import symusic

from vae_jax.data import synthetic
from vae_jax.music import midi
from vae_jax.music import quantization as grid_lib
from vae_jax.music.quantization import Grid
from vae_jax.music.score import Meter, Score, Tempo, make_notes, make_score


def _score(onset_ticks, *, ticks_per_beat=480, pitch=60, meters=(), track=0, seconds_per_beat=0.5):
    notes = make_notes(onset_ticks, [10], np.broadcast_to(pitch, np.shape(onset_ticks)), track=track)
    tempos = [Tempo(0, int(seconds_per_beat * 1e6))]
    return make_score(ticks_per_beat, notes, tempos=tempos, meters=meters)


def test_ticks_and_steps_are_inverse():
    grid = Grid(480, 12, -30)
    steps = np.arange(1, 200)
    np.testing.assert_array_equal(grid.ticks(steps), steps * 40 - 30)
    np.testing.assert_array_equal(grid.nearest_steps(grid.ticks(steps)), steps)
    assert grid.ticks(np.array([0]))[0] == 0  # Not before the start of the piece.


@pytest.mark.parametrize("positions", [[0, 120, 240, 360], [0, 160, 320], [160, 320], [120, 360], [240], [40, 80]])
@pytest.mark.parametrize("ticks_per_beat", [96, 192, 480])
def test_a_piece_entered_by_step_has_no_offset(positions, ticks_per_beat):
    onsets = np.add.outer(np.arange(40) * 480, positions).reshape(-1) * ticks_per_beat // 480
    assert grid_lib.estimate_offset(onsets, ticks_per_beat) == 0


@pytest.mark.parametrize("offset", [-40, -25, -7, 0, 13, 30])
@pytest.mark.parametrize("triplets", [False, True])
def test_the_offset_of_a_played_piece_is_found(offset, triplets):
    rng = np.random.default_rng(0)
    positions = [0, 160, 320] if triplets else [0, 240, 360]
    onsets = np.add.outer(np.arange(1, 120) * 480, positions).reshape(-1)
    onsets = onsets + offset + np.round(rng.normal(0, 12, len(onsets))).astype(int)
    onsets[::17] += 73  # Strays, which a mean would follow by four ticks.
    assert abs(grid_lib.estimate_offset(onsets, 480) - offset) <= 5


def test_the_offset_of_nothing_is_zero():
    assert grid_lib.estimate_offset(np.zeros(0, dtype=np.int64), 480) == 0


@pytest.mark.parametrize(
    ("meters", "expected"),
    [
        ((), [0, 1920, 3840]),
        ((Meter(0, 3, 4),), [0, 1440, 2880]),
        ((Meter(0, 6, 8),), [0, 1440, 2880]),
        ((Meter(0, 5, 4),), [0, 2400]),
        ((Meter(0, 1, 4), Meter(480, 4, 4)), [0, 480, 2400]),
        ((Meter(0, 1, 8), Meter(240, 3, 4)), [0, 240, 1680, 3120]),
        ((Meter(0, 4, 4), Meter(1000, 2, 4)), [0, 1000, 1960, 2920]),  # A change inside a bar cuts it.
        ((Meter(960, 3, 4),), [0, 960, 2400]),  # 4/4 until the first one.
        ((Meter(0, 2, 4), Meter(9600, 3, 4)), [0, 960, 1920, 2880]),  # A change after the end.
    ],
)
def test_bars_follow_the_time_signatures(meters, expected):
    score = _score([0], meters=meters)
    np.testing.assert_array_equal(grid_lib.bar_ticks(score, expected[-1] - 100), expected)
    np.testing.assert_array_equal(grid_lib.bar_steps(score, expected[-1] // 40 - 1, 12), np.array(expected) // 40)


def test_nothing_has_no_bar():
    np.testing.assert_array_equal(grid_lib.bar_steps(_score([]), 0, 12), [0])


def test_bars_shorter_than_a_step_are_joined():
    bars = grid_lib.bar_steps(_score([0], meters=[Meter(0, 1, 64)]), 5, 4)
    np.testing.assert_array_equal(bars, [0, 1, 2, 3, 4, 5])


def test_the_first_downbeat_follows_a_pick_up():
    assert grid_lib.first_downbeat(np.array([0, 12, 60, 108])) == 12
    assert grid_lib.first_downbeat(np.array([0, 48, 96])) == 0
    assert grid_lib.first_downbeat(np.array([0, 36, 60, 96])) == 0
    assert grid_lib.first_downbeat(np.array([0, 12])) == 0
    assert grid_lib.first_downbeat(np.array([0])) == 0


@pytest.mark.parametrize("steps_per_beat", [4, 6, 8, 12, 24])
@pytest.mark.parametrize("ticks_per_beat", [96, 100, 480])
def test_an_onset_on_a_step_stays_there(steps_per_beat, ticks_per_beat):
    grid = Grid(ticks_per_beat, steps_per_beat)
    steps = np.arange(5 * steps_per_beat)
    score = _score(grid.ticks(steps), ticks_per_beat=ticks_per_beat, pitch=steps % 100, seconds_per_beat=0.2)
    np.testing.assert_array_equal(grid_lib.snap_onsets(score, grid, 0.045), steps)


def test_a_loose_chord_shares_a_step():
    # The last note lies nearest to step 11 of the beat before: plain rounding tears the chord apart.
    onsets = np.array([0, 460, 470, 480, 455])
    score = _score(onsets, pitch=np.array([60, 60, 64, 67, 72]))
    grid = Grid(480, 12)
    assert grid.nearest_steps(np.array([455]))[0] == 11
    np.testing.assert_array_equal(grid_lib.snap_onsets(score, grid, 0.045), [0, 12, 12, 12, 12])


def test_the_tolerance_binds():
    # 25 ticks are 52 ms at a second a beat: too far to move; and 26 ms at half a second.
    onsets, pitch = np.array([0, 455, 480]), np.array([60, 62, 64])
    slow, fast = _score(onsets, pitch=pitch, seconds_per_beat=1.0), _score(onsets, pitch=pitch, seconds_per_beat=0.5)
    np.testing.assert_array_equal(grid_lib.snap_onsets(slow, Grid(480, 12), 0.045), [0, 11, 12])
    np.testing.assert_array_equal(grid_lib.snap_onsets(fast, Grid(480, 12), 0.045), [0, 12, 12])


def test_each_beat_is_read_in_sixteenths_or_triplets():
    onsets = np.array([0, 120, 240, 360, 480, 640, 800]) + np.array([9, -12, 8, 11, -9, 12, -8])
    score = _score(onsets, pitch=np.arange(60, 67))
    np.testing.assert_array_equal(grid_lib.snap_onsets(score, Grid(480, 12), 0.045), [0, 3, 6, 9, 12, 16, 20])


def test_triplets_count_from_the_bar_line():
    # After a pick-up of an eighth, beats start half a beat off.
    onsets = 240 + 480 + np.array([0, 185, 295])
    score = _score(onsets, pitch=np.arange(60, 63), meters=[Meter(0, 1, 8), Meter(240, 4, 4)])
    np.testing.assert_array_equal(grid_lib.snap_onsets(score, Grid(480, 12), 0.045), [18, 22, 26])


def test_repeats_around_a_beat_are_kept_apart():
    onsets = np.array([0, 442, 490, 960])  # Both in reach of the beat; nearest to the last step before it and to it.
    steps = grid_lib.snap_onsets(_score(onsets, seconds_per_beat=0.25), Grid(480, 12), 0.045)
    np.testing.assert_array_equal(steps, [0, 11, 12, 24])


def test_fast_repeats_are_kept_apart():
    onsets = np.array([0, 60, 120, 180])  # Thirty-seconds of one pitch: coarse steps would swallow two.
    steps = grid_lib.snap_onsets(_score(onsets, seconds_per_beat=0.25), Grid(480, 12), 0.045)
    assert len(set(steps.tolist())) == 4


def _symusic_steps(score: Score, steps_per_beat: int) -> list[tuple[int, int, int]]:
    """(track, step, pitch) of each note of a score as symusic resamples it, from the bytes of its file."""
    read = symusic.Score.from_midi(midi.write_midi(score)).resample(steps_per_beat, 1)
    # symusic drops tracks without notes.
    tracks = zip(
        score.note_bearing_tracks().tolist(), (track for track in read.tracks if len(track.notes)), strict=True
    )
    return sorted((number, note.time, note.pitch) for number, track in tracks for note in track.notes)


def _our_steps(score: Score, steps: np.ndarray) -> list[tuple[int, int, int]]:
    return sorted(zip(score.notes.track.tolist(), steps.tolist(), score.notes.pitch.tolist(), strict=True))


@pytest.mark.parametrize("ticks_per_beat", [96, 192, 480, 960])
@pytest.mark.parametrize("steps_per_beat", [4, 6, 12, 24])
def test_symusic_finds_the_same_nearest_steps(ticks_per_beat, steps_per_beat):
    onsets = np.unique(np.random.default_rng(0).integers(0, 100 * ticks_per_beat, 500))
    score = _score(onsets, ticks_per_beat=ticks_per_beat, pitch=30 + np.arange(len(onsets)) % 60)
    steps = Grid(ticks_per_beat, steps_per_beat).nearest_steps(score.notes.onset_ticks)
    assert _our_steps(score, steps) == _symusic_steps(score, steps_per_beat)


@pytest.mark.parametrize("meter", [Meter(0, 4, 4), Meter(0, 3, 4), Meter(0, 6, 8)])
@pytest.mark.parametrize("spread", [0, 8])
def test_symusic_snaps_sixteenths_and_triplets_alike(meter, spread):
    # Beats of sixteenths and beats of triplets, every onset nearer to its step (of 40 ticks) than to another.
    rng = np.random.default_rng(1)
    positions = [[(0, 120, 240, 360), (0, 160, 320)][kind] for kind in rng.integers(2, size=60)]
    onsets = np.array([480 * beat + tick for beat, ticks in enumerate(positions) for tick in ticks])
    moved = np.maximum(onsets + rng.integers(-spread, spread + 1, len(onsets)), 0)
    score = _score(moved, pitch=30 + np.arange(len(moved)) % 60, meters=[meter])
    steps = grid_lib.snap_onsets(score, Grid(480, 12), 0.045)
    np.testing.assert_array_equal(steps, onsets // 40)
    assert _our_steps(score, steps) == _symusic_steps(score, 12)


@pytest.mark.parametrize("index", range(10))
def test_symusic_snaps_whole_pieces_alike(index):
    score = synthetic.make_score(3, index)
    steps = grid_lib.snap_onsets(score, Grid(score.ticks_per_beat, 12), 0.045)
    assert _our_steps(score, steps) == _symusic_steps(score, 12)
