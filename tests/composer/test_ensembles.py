"""Ensembles of scores made by hand, and back from JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from vae_jax.composer import conditioning
from vae_jax.composer.conditioning import Ensemble
from vae_jax.data import synthetic
from vae_jax.music import instruments
from vae_jax.music.score import Meter, Score, Tempo, make_notes, make_score
from vae_jax.representations.pianoroll import encoding
from vae_jax.representations.pianoroll.config import RollConfig
from vae_jax.representations.pianoroll.context import DEFAULT_PROGRAMS, DEFAULT_VELOCITY


def ensemble_of(score: Score) -> Ensemble:
    return conditioning.read_ensemble(score, encoding.encode(score, RollConfig(normalise_tonic=True)))


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
        ((Tempo(0, 2_000_000),), 40.0),
        ((Tempo(0, 100_000),), 200.0),
    ],
)
def test_the_tempo_over_the_whole_piece(tempos, expected):
    assert ensemble_of(scale(tempos=tempos)).beats_per_minute == pytest.approx(expected, abs=0.05)


def test_programs_and_velocities_of_its_parts():
    """A flute and a softer oboe, both winds; a loud bass; drums."""
    tracks, channels, programs, velocities = [0, 0, 1, 2], [0, 0, 1, 2], [73, 73, 68, 33], [90, 100, 50, 127]
    pitched = make_notes([0, 480, 0, 0], 480, [67, 71, 74, 43], track=tracks, channel=channels, program=programs)
    notes = pitched.replace(velocity=np.array(velocities)[np.lexsort((tracks, [0, 480, 0, 0]))])
    found = ensemble_of(make_score(480, notes))
    assert found.programs[instruments.WINDS] == 73
    assert found.programs[instruments.BASS] == 33
    assert found.programs[instruments.KEYS] == DEFAULT_PROGRAMS[instruments.KEYS]
    assert found.velocities[instruments.WINDS] == 80  # Of 90, 100 and 50.
    assert found.velocities[instruments.BASS] == 127
    assert found.velocities[instruments.KEYS] == DEFAULT_VELOCITY
    assert np.flatnonzero(found.style.shares).tolist() == [instruments.WINDS, instruments.BASS]


def test_the_key():
    assert (ensemble_of(scale()).pitch_class, ensemble_of(scale()).style.minor) == (7, False)
    harmonic = make_notes(np.arange(8) * 480, 480, [69, 71, 72, 74, 76, 77, 80, 81])
    found = ensemble_of(make_score(480, harmonic))
    assert (found.pitch_class, found.style.minor) == (9, True)


@pytest.mark.parametrize("index", range(3))
def test_packed_ensembles_come_back_whole(index):
    found = ensemble_of(synthetic.make_score(1, index))
    again = conditioning.unpack(json.loads(json.dumps(conditioning.pack(found))))
    assert again == found
    np.testing.assert_array_equal(again.style.vector(), found.style.vector())


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
    found = ensemble_of(scale(num_beats=num_beats, meters=meters))
    assert (found.meter, found.num_bars) == expected


def test_a_score_without_notes_has_an_ensemble():
    found = ensemble_of(make_score(480, make_notes([], [], [])))
    assert found.programs == DEFAULT_PROGRAMS
    assert not any(found.style.shares)
