"""Features of the bar grid and all others: by hand, finite for any score, the same in every key and file."""

from __future__ import annotations

import dataclasses

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from beat_scores import score_of

from vae_jax.data import synthetic
from vae_jax.evaluation import features
from vae_jax.evaluation.bar_grid import make_bar_grid
from vae_jax.evaluation.pieces import feature_index, feature_names, make_piece_set
from vae_jax.music import score as score_lib
from vae_jax.music.score import Meter, Score, make_notes, make_score
from vae_jax.representations.pianoroll import encoding
from vae_jax.representations.pianoroll.config import RollConfig


def features_of(score: Score) -> dict[str, float]:
    return {
        name: value for view in features.grid_features(make_bar_grid(score)).values() for name, value in view.items()
    }


def feature_names_of_the_grid() -> set[str]:
    return set(features_of(score_of()))


def all_features_of(score: Score) -> dict[str, float]:
    return dict(zip(feature_index(), make_piece_set([score]).values[0].tolist(), strict=True))


@st.composite
def scores(draw: st.DrawFn) -> Score:
    count = draw(st.integers(0, 12))

    def column(low: int, high: int) -> list[int]:
        return draw(st.lists(st.integers(low, high), min_size=count, max_size=count))

    notes = make_notes(column(0, 3000), column(1, 1500), column(0, 127), channel=column(8, 9), track=column(0, 2))
    changes = draw(st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 9), st.sampled_from([2, 4, 8, 16]))))
    return make_score(draw(st.sampled_from([24, 96, 480])), notes, meters=[Meter(*change) for change in changes])


@hypothesis.given(scores())
@hypothesis.settings(max_examples=60)
def test_every_feature_is_a_number(score: Score):
    found, of_grid = all_features_of(score), feature_names_of_the_grid()
    assert set(features.FEATURES) <= of_grid <= set(found)
    assert np.isfinite([found[name] for name in of_grid]).all()
    assert not np.isinf(list(found.values())).any()


def test_no_feature_is_of_two_views():
    assert sum(map(len, feature_names().values())) == len(feature_index())


def test_a_piece_without_pitched_notes_has_values():
    for score in (score_of(), score_of((0, 1, 38), (9, 1, 38), channel=9)):
        assert np.isfinite(list(features_of(score).values())).all()


@pytest.mark.parametrize("semitones", [-4, 1, 5])
def test_features_do_not_depend_on_the_key(semitones: int):
    score = synthetic.make_score(0, 4)  # No string track changes its instrument group, which depends on the register.
    before, after = all_features_of(score), all_features_of(score_lib.transpose(score, semitones))
    octaves = (after.pop("pitch_mean") - before.pop("pitch_mean")) / 12
    assert after == pytest.approx(before, nan_ok=True) and octaves == pytest.approx(round(octaves))


def test_features_do_not_depend_on_the_file():
    """Neither on the resolution nor the tempo, nor does encoding as a roll and decoding change them."""
    score = synthetic.make_score(0, 5)
    notes = score.notes
    twice = make_score(
        score.ticks_per_beat * 2,
        notes.replace(onset_ticks=notes.onset_ticks * 2, duration_ticks=notes.duration_ticks * 2),
        meters=[dataclasses.replace(change, tick=change.tick * 2) for change in score.meters],
        tempos=[dataclasses.replace(change, tick=change.tick * 2) for change in score.tempos],
    )
    decoded = encoding.decode(encoding.encode(score, RollConfig(normalize_tonic=False)))
    assert all_features_of(twice) == pytest.approx(all_features_of(score), nan_ok=True)
    assert features_of(decoded) == pytest.approx(features_of(score))


def test_drums_have_features_of_their_own():
    found = features_of(score_of((0, 1, 60), (1, 1, 64), (5, 2, 67), *((beat, 1, 36) for beat in (0, 2, 4, 6)),
                                 channel=[0, 0, 0, 9, 9, 9, 9]))  # fmt: skip
    assert found["drum_hits_per_beat"] == 4 / 8 and found["share_drums"] == 4 / 7 and found["num_parts"] == 2


def test_a_scale():
    """C major up and down in quarters, each note held for half of its beat, to a long last C."""
    pitches = [60, 62, 64, 65, 67, 69, 71, 72, 71, 69, 67, 65, 64, 62, 59]
    found = features_of(score_of(*((beat, 0.5, pitch) for beat, pitch in enumerate(pitches)), (15, 2, 60)))
    assert found["out_of_scale"] == 0 and found["is_minor"] == 0
    assert found["pitch_range"] == 13
    assert found["onset_on_beat"] == 1 and found["onset_on_downbeat"] == pytest.approx(4 / 16)
    assert found["gap_log_mean"] == 0 and found["gap_entropy"] == 0 and found["gap_repeats"] == 1
    assert found["duration_of_gap_mean"] == pytest.approx(0.5) and found["staccato"] == 1
    assert found["silence"] == pytest.approx(7.5 / 17)
    assert found["ends_on_triad"] == 1
    assert found["final_log_length"] == pytest.approx(np.log2(2 / ((15 * 0.5 + 2) / 16)))
    assert found["num_parts"] == 1 and found["share_keys"] == 1 and found["doubling"] == 1
    # One note, the A, stands in its place in the next bar too; the last note rings on into a fifth bar.
    assert found["num_bars"] == 5 and found["rhythm_lag_1"] == 1
    assert found["similarity_lag_1"] == pytest.approx((0 + 2 / 8 + 0) / 3)


def test_chords():
    found = features_of(score_of((0, 1, 60), (0, 1, 64), (0, 1, 67), (1, 1, 59), (1, 1, 60)))
    assert found["chord_size_mean"] == 2.5 and found["onset_chord_size_sd"] == 0.5
    pairs = {name: value for name, value in found.items() if name.startswith("harmonic_interval") and value}
    assert pairs == {f"harmonic_interval_{n}": 0.25 for n in (1, 3, 4, 7)}
    assert found["consonance"] == 0.75  # The thirds and the fifth, not the semitone.
    # E and G go, B comes.
    assert found["chord_change"] == 3


def test_gaps_are_measured_within_an_instrument_group():
    """The piano's notes last to its next onset, the trumpet's half as long; the last of each has no gap."""
    piano, trumpet = [(beat, 1, 60) for beat in range(4)], [(0.5, 1, 72), (2.5, 1, 72)]
    found = features_of(score_of(*piano, *trumpet, track=[0] * 4 + [1] * 2, program=[0] * 4 + [56] * 2))
    assert found["duration_of_gap_mean"] == pytest.approx((3 * 1 + 1 * 0.5) / 4)
    assert (found["legato"], found["staccato"], found["overlapping"]) == (0.75, 0.25, 0)
    assert features_of(score_of(*trumpet, program=56))["duration_of_gap_mean"] == 0.5
