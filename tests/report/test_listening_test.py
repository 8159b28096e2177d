"""The blind listening test: excerpts that only notes and instruments tell apart, in an order of the seed."""

from __future__ import annotations

import base64
import json
import struct

import numpy as np
import pytest
import scipy.stats

from vae_jax.music.score import Meter, Score, Tempo, make_notes, make_score
from vae_jax.report.listening_test import NamedScore, make_test


def piece(
    name: str, num_beats: int = 80, *, beats_per_minute: float = 100, meter: int = 4, rubato: bool = False
) -> NamedScore:
    """A note on each beat whose pitch is the number of its bar; with rubato, played unevenly, loud and soft."""
    beats = np.arange(num_beats)
    rng = np.random.default_rng(num_beats)
    onsets = beats * 480 + (rng.integers(0, 30, num_beats) if rubato else 0)
    velocity = rng.integers(20, 127, num_beats) if rubato else 64
    changes = beats[::8] if rubato else [0]
    tempos = [Tempo(480 * int(n), round(6e7 / beats_per_minute * rng.uniform(0.8, 1.25))) for n in changes]
    if not rubato:
        tempos = [Tempo(0, round(6e7 / beats_per_minute))]
    notes = make_notes(onsets, 400, 40 + beats // meter, velocity=velocity, program=56)
    return NamedScore(name, make_score(480, notes, tempos=tempos, meters=[Meter(0, meter, 4)]))


def columns(music) -> tuple[np.ndarray, ...]:
    """Onsets and durations in milliseconds, pitches, groups with velocities."""
    data = base64.b64decode(music["notes"])
    count = len(data) // 8
    return tuple(map(np.array, (
        struct.unpack(f"<{count}I", data[: 4 * count]),
        struct.unpack(f"<{count}H", data[4 * count : 6 * count]),
        list(data[6 * count : 7 * count]),
        list(data[7 * count :]),
    )))  # fmt: skip


REAL = [piece(f"real {n}", 68 + 4 * n, rubato=True, beats_per_minute=80) for n in range(12)]
COMPOSED = [piece(f"composed {n}", 64 + 4 * n, beats_per_minute=125) for n in range(9)]


def test_playback_tells_nothing():
    """A real piece played with rubato and dynamics, and a mechanical one, become alike but for their notes."""
    test = make_test(REAL, COMPOSED, seed=0)
    assert len(test["pairs"]) == 8
    for pair in test["pairs"]:
        first, second = pair["music"]
        assert first["sec"] == second["sec"] == pytest.approx(32 * 60 / 100, rel=0.15)  # Between both tempos.
        assert first["url"] is second["url"] is None
        one, other = columns(first), columns(second)
        np.testing.assert_allclose(one[0], other[0], atol=1)
        np.testing.assert_allclose(one[0], np.arange(32) * 1000 * first["sec"] / 32, atol=1)
        assert set(one[3]) == set(other[3]) and len(set(one[3])) == 1
        assert one[0][-1] + one[1][-1] <= 1000 * first["sec"] + 1


def test_excerpts_start_at_bar_lines_at_the_same_relative_position():
    for pair in make_test(REAL, COMPOSED, seed=3)["pairs"]:
        places = []
        for music, name in zip(pair["music"], pair["names"], strict=True):
            score = next(one.score for one in [*REAL, *COMPOSED] if one.name == name)
            first_bar, num_starts = int(columns(music)[2][0]) - 40, (len(score.notes) - 32) // 4 + 1
            assert columns(music)[2][:4].tolist() == [40 + first_bar] * 4
            places.append(first_bar / (num_starts - 1))
        assert places[0] == pytest.approx(places[1], abs=0.11)


def test_every_pair_has_a_composed_and_a_real_piece_and_none_is_used_twice():
    test = make_test(REAL, COMPOSED, seed=1)
    for pair in test["pairs"]:
        kinds = [name.split()[0] for name in pair["names"]]
        assert kinds[pair["composed"]] == "composed" and kinds[1 - pair["composed"]] == "real"
    names = [name for pair in test["pairs"] for name in pair["names"]]
    assert len(set(names)) == 16


def test_the_seed_decides_pieces_and_order():
    tests = [make_test(REAL[:4], COMPOSED[:4], seed) for seed in range(15)]
    assert tests[4] == make_test(REAL[:4], COMPOSED[:4], 4)
    assert len({test["id"] for test in tests}) == 15
    composed_first = sum(pair["composed"] == 0 for test in tests for pair in test["pairs"])
    assert scipy.stats.binomtest(composed_first, 60).pvalue > 0.001


def test_pairs_share_a_meter_where_they_can():
    real = [piece("waltz", meter=3), piece("march", meter=4)]
    test = make_test(real, [piece("a march"), piece("a waltz", meter=3)], seed=0)
    assert {tuple(sorted(pair["names"])) for pair in test["pairs"]} == {("a waltz", "waltz"), ("a march", "march")}
    (mixed,) = make_test(real[:1], [piece("a march")], seed=0)["pairs"]
    assert [music["sec"] for music in mixed["music"]] == pytest.approx([18, 18])  # Whole bars of the real one.


@pytest.mark.parametrize("num_beats", [1, 3, 7])
def test_short_pieces_make_short_excerpts(num_beats: int):
    (pair,) = make_test([piece("short", num_beats, meter=2)], [piece("long", 90, meter=2)], seed=0)["pairs"]
    assert pair["music"][0]["sec"] == pair["music"][1]["sec"] == pytest.approx(0.6 * (num_beats + num_beats % 2))
    assert all(len(columns(music)[0]) for music in pair["music"])


def silence() -> Score:
    return make_score(480, make_notes([], [], []))


def drums() -> Score:
    return make_score(480, make_notes(np.arange(40) * 480, 100, 38, channel=9))


@pytest.mark.parametrize("score", [silence(), drums()], ids=["silence", "drums"])
def test_a_piece_without_pitched_notes_is_passed_over(score: Score):
    assert make_test([NamedScore("none", score)], COMPOSED, seed=0) is None
    assert make_test(REAL, [], seed=0) is None
    test = make_test([NamedScore("none", score), REAL[0]], COMPOSED, seed=0)
    assert len(test["pairs"]) == 1
    json.dumps(test, allow_nan=False)


def test_long_rests_are_skipped():
    """Notes only in bars 20 to 30 of the real piece: its excerpt starts there."""
    notes = make_notes((80 + np.arange(40)) * 480, 480, 60)
    end = make_notes([199 * 480], 480, 60)
    notes = make_notes(*(np.append(getattr(notes, name), getattr(end, name)) for name in
                         ("onset_ticks", "duration_ticks", "pitch")))  # fmt: skip
    (pair,) = make_test([NamedScore("rest", make_score(480, notes))], COMPOSED[:1], seed=2)["pairs"]
    (music,) = (one for one, name in zip(pair["music"], pair["names"], strict=True) if name == "rest")
    assert columns(music)[0][0] == 0


def test_results_are_those_of_the_binomial_distribution():
    results = make_test(REAL, COMPOSED, seed=0)["results"]
    assert len(results) == 9
    assert results[8]["p_value"] == pytest.approx(1 / 256)
    assert results[7]["p_value"] == pytest.approx(9 / 256)
    assert results[0]["p_value"] == 1
    low, high = results[7]["interval"]
    # Clopper and Pearson: at the ends of the interval 2.5% lie beyond what was observed.
    assert scipy.stats.binom.sf(6, 8, low) == pytest.approx(0.025)
    assert scipy.stats.binom.cdf(7, 8, high) == pytest.approx(0.025)
