"""Scores given to other ensembles."""

from __future__ import annotations

import numpy as np
import pytest

from vae_jax.data.orchestration import orchestrate
from vae_jax.music.score import Score, make_notes, make_score

PITCHES = (72, 67, 60, 48)  # From the highest voice to the lowest.


def four_voices(track: list[int]) -> Score:
    """Eight chords of four notes; `track` says which track holds each voice."""
    rows = [(480 * beat, voice) for beat in range(8) for voice in range(4)]
    onset, voice = np.array(rows).T
    return make_score(
        480, make_notes(onset, 480, np.array(PITCHES)[voice] + onset // 480, track=np.array(track)[voice])
    )


def sounding(score: Score) -> set[tuple[int, int]]:
    """Starts and pitch classes."""
    return set(zip(score.notes.onset_ticks.tolist(), (score.notes.pitch % 12).tolist(), strict=True))


def played(score: Score) -> list[tuple[int, int, int]]:
    """Tracks, starts and pitches, in order."""
    notes = score.notes
    return sorted(zip(notes.track.tolist(), notes.onset_ticks.tolist(), notes.pitch.tolist(), strict=True))


@pytest.mark.parametrize("track", [[0, 1, 2, 3], [3, 1, 0, 2], [0, 0, 0, 0]])
def test_every_voice_is_played_and_nothing_else(track: list[int]):
    score = four_voices(track)
    for seed in range(40):
        other = orchestrate(score, np.random.default_rng(seed))
        assert sounding(other) == sounding(score)
        assert other.notes.channel.max() < 16 and not other.notes.is_drum.any()
        assert other.num_tracks == len(other.note_bearing_tracks()) <= 13


def test_voices_of_tracks_and_of_chords_are_found_alike():
    for seed in range(20):
        of_tracks, of_chords = (
            orchestrate(four_voices(track), np.random.default_rng(seed)) for track in ([2, 0, 3, 1], [0] * 4)
        )
        if of_chords.num_tracks > 1:
            assert played(of_tracks) == played(of_chords)


def test_ensembles_differ_and_a_seed_gives_the_same():
    found = [orchestrate(four_voices([0, 1, 2, 3]), np.random.default_rng(seed)) for seed in range(30)]
    again = [orchestrate(four_voices([0, 1, 2, 3]), np.random.default_rng(seed)) for seed in range(30)]
    assert found == again
    assert len({one.num_tracks for one in found}) > 3
    assert any(one == four_voices([0, 1, 2, 3]) for one in found)  # Some stay as they are.


def test_notes_of_a_length_are_held_alike():
    """Quarters and halves for shares of their own, from 0.65 to 1."""
    start = np.arange(8) * 960
    voices = np.concatenate([start, start]), [480] * 8 + [960] * 8, [74] * 8 + [48] * 8
    score, found = make_score(480, make_notes(*voices, track=[0] * 8 + [1] * 8)), []
    for seed in range(30):
        notes = orchestrate(score, np.random.default_rng(seed)).notes
        quarters, halves = (
            set((notes.duration_ticks[notes.pitch % 12 == one] / full).tolist()) for one, full in ((2, 480), (0, 960))
        )
        assert len(quarters) == len(halves) == 1
        found.append((*quarters, *halves))
    assert np.min(found) >= 0.65 and np.max(found) == 1
    assert len({one for one, _ in found}) > 10 and sum(a != b for a, b in found) > 10


def test_single_lines_and_pieces_with_drums_stay():
    line = make_score(480, make_notes([0, 480, 960], 480, [60, 62, 64]))
    drums = make_score(480, make_notes([0, 0, 480], 480, [60, 38, 64], channel=[0, 9, 0], track=[0, 1, 0]))
    silence = make_score(480, make_notes([], [], []))
    for seed in range(10):
        for score in (line, drums, silence):
            assert orchestrate(score, np.random.default_rng(seed)) is score
