from __future__ import annotations

import json

import numpy as np
import pytest

from vae_jax.composer import lines as lines_lib
from vae_jax.composer.dynamics import Dynamics, TrackDynamics, read_dynamics, sample_velocities
from vae_jax.composer.lines import Line
from vae_jax.composer.notes import NotePiece, read_piece
from vae_jax.music import key as key_lib
from vae_jax.music.score import DRUM_CHANNEL, Score, make_notes, make_score
from vae_jax.runtime.json_dataclass import from_json, to_json

NUM_BARS = 60


def duet(first, second, drums=()) -> Score:
    """Two tracks of quavers in 4/4 and a drum track on the beats, with a velocity for each note."""
    onsets = [240 * np.arange(len(first)), 240 * np.arange(len(second)), 480 * np.arange(len(drums))]
    sizes = [len(one) for one in onsets]
    pitches = [60 + np.arange(sizes[0]) % 5, 48 + np.arange(sizes[1]) % 5, 36 + 2 * (np.arange(sizes[2]) % 2)]
    notes = make_notes(
        np.concatenate(onsets),
        240,
        np.concatenate(pitches),
        track=np.repeat([0, 1, 2], sizes),
        channel=np.repeat([0, 1, DRUM_CHANNEL], sizes),
        velocity=np.concatenate([first, second, drums]).astype(np.int64),
    )
    return make_score(480, notes, track_names=["a", "b", "c"])


def read(score: Score) -> tuple[Dynamics, NotePiece, tuple[Line, ...]]:
    tonic = key_lib.estimate_tonic(score.notes)
    piece = read_piece(score, tonic)
    return read_dynamics(score, piece), piece, lines_lib.read_lines(score, piece, tonic)


def sample_like(score: Score, seed: int = 0) -> np.ndarray:
    """Velocities for the very notes of a score."""
    dynamics, piece, lines = read(score)
    step = score.notes.onset_ticks * 12 // 480
    return sample_velocities(
        dynamics, piece, lines, (step, score.notes.track, score.notes.pitch), np.random.default_rng(seed)
    )


def test_constant_velocities_stay_constant():
    score = duet(np.full(64, 90), np.full(64, 70), np.tile([100, 50], 16))
    np.testing.assert_array_equal(sample_like(score), score.notes.velocity)
    assert read(score)[0].drums == ((36, 100), (38, 50))


def test_only_the_track_that_varies_varies():
    rng = np.random.default_rng(0)
    score = duet(np.full(8 * NUM_BARS, 90), rng.normal(80, 8, 8 * NUM_BARS).round())
    velocity = sample_like(score)
    assert set(velocity[score.notes.track == 0]) == {90}
    assert velocity[score.notes.track == 1].std() == pytest.approx(8, rel=0.2)


def test_parts_of_the_variance_are_found():
    rng = np.random.default_rng(0)
    wave = np.zeros(NUM_BARS)
    for n in range(1, NUM_BARS):
        wave[n] = 0.8 * wave[n - 1] + 3 * rng.standard_normal()
    accent = np.tile([6, -3, 0, -3, 0, -3, 0, -3], NUM_BARS)
    tracks = [60 + accent + np.repeat(wave, 8) + 2 * rng.standard_normal(8 * NUM_BARS) for _ in range(2)]
    score = duet(*(one.round() for one in tracks))
    dynamics, _, _ = read(score)
    for track in dynamics.tracks[:2]:
        assert track.gain == pytest.approx(1, abs=0.1) and track.residual == pytest.approx(2, abs=0.4)
        assert np.diff(track.accents).tolist() == pytest.approx([-6, -3], abs=1)
        assert track.level < 1
    assert dynamics.common == pytest.approx(wave.std(), rel=0.15) and 0.6 < dynamics.persistence < 0.95
    spread = [sample_like(score, seed)[score.notes.track == 0].std() for seed in range(20)]
    assert np.mean(spread) == pytest.approx(tracks[0].std(), rel=0.15)


def test_the_last_bars_are_as_loud_as_those_measured():
    velocity = np.repeat([60, 60, 60, 60, 60, 60, 70, 110], 8)
    score = duet(velocity, velocity)
    sampled = sample_like(score)[score.notes.track == 0].reshape(8, 8).mean(axis=1)
    assert sampled[7] - sampled[6] == pytest.approx(40, abs=1)


def test_values_stay_in_range_and_survive_json():
    rng = np.random.default_rng(1)
    score = duet(rng.integers(1, 128, 80), rng.integers(1, 128, 64), rng.integers(1, 128, 30))
    dynamics = read(score)[0]
    assert from_json(Dynamics, json.loads(json.dumps(to_json(dynamics)))) == dynamics
    velocity = sample_like(score)
    assert velocity.dtype == np.int64 and velocity.min() >= 1 and velocity.max() <= 127
    np.testing.assert_array_equal(velocity, sample_like(score))


@pytest.mark.parametrize("drums", [(), (64, 64)])
def test_pieces_without_pitched_notes(drums):
    score = duet((), (), drums)
    dynamics, piece, lines = read(score)
    assert lines == () and dynamics.tracks == (TrackDynamics((0.0, 0.0, 0.0), 0.0, 0.0, 0.0),)
    # A drum that the piece does not have is as loud as those that it has.
    notes = np.array([0]), np.array([0]), np.array([49])
    assert sample_velocities(dynamics, piece, lines, notes, np.random.default_rng(0)).tolist() == [64 if drums else 100]
