"""Conditions of pieces made by hand: style, place, instruments, key, tempo and meter."""

from __future__ import annotations

import json
from unittest.mock import ANY

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from vae_jax.composer import conditioning
from vae_jax.composer.conditioning import PieceConditions, Style
from vae_jax.composer.network import PLACE_SIZES, STYLE_SIZE
from vae_jax.data import synthetic
from vae_jax.music import instruments
from vae_jax.music.score import Meter, Score, Tempo, make_notes, make_score
from vae_jax.representations.pianoroll import encoding
from vae_jax.representations.pianoroll.config import RollConfig
from vae_jax.representations.pianoroll.context import DEFAULT_PROGRAMS, DEFAULT_VELOCITY, default_context
from vae_jax.representations.pianoroll.encoding import RollPiece, RollReport
from vae_jax.runtime.json_dataclass import from_json, to_json


def conditions_of(score: Score) -> PieceConditions:
    return conditioning.read_conditions(score, encoding.encode(score, RollConfig()))


def test_style_by_hand():
    shape = RollConfig(steps_per_beat=2, min_pitch=48, num_pitches=24)
    notes = [
        (0, instruments.KEYS, 5, 4),
        (0, instruments.KEYS, 9, 4),
        (0, instruments.BASS, 5, 1),
        (4, instruments.KEYS, 7, 16),
        (6, instruments.DRUMS, 3, 100),
    ]
    piece = RollPiece(np.array(notes), 8, default_context(8, 2), RollReport(), shape)
    style = conditioning.measure_style(piece, minor=True)
    shares = np.zeros(instruments.NUM_PARTS)
    shares[[instruments.KEYS, instruments.BASS, instruments.DRUMS]] = 0.6, 0.2, 0.2
    assert style == Style(
        tuple(shares), minor=True, density=3 / 4, chord_size=3 / 2, chord_deviation=1 / 2, register=48 + 7, length=ANY
    )
    assert style.length == pytest.approx(2)
    vector = style.vector()
    assert vector.dtype == np.float32 and vector.shape == (STYLE_SIZE,)
    np.testing.assert_allclose(vector[:9] ** 2, [*shares, 1], rtol=1e-6)
    assert vector[-1] == pytest.approx(1)  # Octaves of length: two beats.


def test_places_by_hand():
    found = conditioning.encode_place(
        since_bar=np.array([0, 4]),
        bar_steps=np.array([6, 7]),
        until_end=np.array([48, 20]),
        since_start=np.array([0, 28]),
        steps_per_beat=2,
    )
    # Beat of the bar, half beats in it, beats to the end, half windows (four beats) since the beginning.
    np.testing.assert_array_equal(found, [[0, 6, 24, 0], [2, 7, 10, 3]])
    assert found.dtype == np.int16


@hypothesis.given(*(st.integers(-5000, 5000) for _ in range(4)), st.integers(1, 24))
def test_places_stay_in_their_tables(since_bar, bar, until_end, since_start, steps_per_beat):
    columns = (np.array([value]) for value in (since_bar, bar, until_end, since_start))
    (row,) = conditioning.encode_place(*columns, steps_per_beat)
    assert all(0 <= value < size for value, size in zip(row.tolist(), PLACE_SIZES, strict=True))


def scale(*, tempos: tuple[Tempo, ...] = (), meters: tuple[Meter, ...] = (), num_beats: int = 8) -> Score:
    """G major from its tonic and back, a note a beat."""
    pitches = np.resize([67, 69, 71, 72, 74, 76, 78, 79], num_beats)
    notes = make_notes(np.arange(num_beats) * 480, 480, pitches)
    return make_score(480, notes, tempos=tempos, meters=meters)


@pytest.mark.parametrize(
    ("tempos", "expected"),
    [
        ((), 120.0),
        ((Tempo(0, 750_000),), 80.0),
        ((Tempo(0, 600_000), Tempo(4 * 480, 300_000)), 8 / (4 * 0.6 + 4 * 0.3) * 60),
        ((Tempo(0, 2_000_000),), 30.0),
        ((Tempo(0, 100_000),), 600.0),
    ],
)
def test_the_tempo_over_the_whole_piece(tempos, expected):
    assert conditions_of(scale(tempos=tempos)).beats_per_minute == pytest.approx(expected, abs=0.05)


def test_programs_and_velocities_of_its_parts():
    """A flute and a softer oboe, both winds; a loud bass; drums."""
    tracks, channels, programs, velocities = [0, 0, 1, 2], [0, 0, 1, 2], [73, 73, 68, 33], [90, 100, 50, 127]
    pitched = make_notes([0, 480, 0, 0], 480, [67, 71, 74, 43], track=tracks, channel=channels, program=programs)
    notes = pitched.replace(velocity=np.array(velocities)[np.lexsort((tracks, [0, 480, 0, 0]))])
    found = conditions_of(make_score(480, notes))
    assert found.programs[instruments.WINDS] == 73
    assert found.programs[instruments.BASS] == 33
    assert found.programs[instruments.KEYS] == DEFAULT_PROGRAMS[instruments.KEYS]
    assert found.velocities[instruments.WINDS] == 80  # Of 90, 100 and 50.
    assert found.velocities[instruments.BASS] == 127
    assert found.velocities[instruments.KEYS] == DEFAULT_VELOCITY
    assert np.flatnonzero(found.style.shares).tolist() == [instruments.WINDS, instruments.BASS]


def test_the_key():
    assert (conditions_of(scale()).pitch_class, conditions_of(scale()).style.minor) == (7, False)
    harmonic = make_notes(np.arange(8) * 480, 480, [69, 71, 72, 74, 76, 77, 80, 81])
    found = conditions_of(make_score(480, harmonic))
    assert (found.pitch_class, found.style.minor) == (9, True)


def test_conditions_come_back_from_json():
    found = conditions_of(synthetic.make_score(1, 0))
    again = from_json(PieceConditions, json.loads(json.dumps(to_json(found))))
    assert again == found


@pytest.mark.parametrize(
    ("meters", "num_beats", "expected"),
    [
        ((), 16, ((4, 4), 4)),
        ((Meter(0, 3, 4),), 24, ((3, 4), 8)),
        ((Meter(0, 6, 8),), 24, ((6, 8), 8)),
        ((Meter(0, 1, 4), Meter(480, 2, 4)), 17, ((2, 4), 8)),  # After a pick-up.
        ((Meter(0, 2, 4), Meter(960, 4, 4)), 22, ((4, 4), 5)),
        ((Meter(0, 3, 4), Meter(5 * 1440, 4, 4)), 15 + 4, ((3, 4), 6)),  # Its last bar counts as a usual one.
    ],
)
def test_its_usual_bars(meters, num_beats, expected):
    found = conditions_of(scale(num_beats=num_beats, meters=meters))
    assert (found.meter, found.num_bars) == expected


def test_a_score_without_notes_has_conditions():
    found = conditions_of(make_score(480, make_notes([], [], [])))
    assert found.programs == DEFAULT_PROGRAMS
    assert not any(found.style.shares) and found.style.density == 0 and np.all(np.isfinite(found.style.vector()))
