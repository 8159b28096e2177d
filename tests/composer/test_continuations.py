"""What the composer learns from: returns against a brute-force search, latents that say which window they are of."""

from __future__ import annotations

import dataclasses
import itertools

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from vae_jax.composer import dataset, onset_encoding
from vae_jax.composer.dataset import Style, best_returns, describe_place, describe_style
from vae_jax.composer.network import NO_LINK, PLACE_SIZES, STYLE_SIZE
from vae_jax.composer.onset_encoding import OnsetShape
from vae_jax.music import instruments
from vae_jax.music.score import make_notes, make_score
from vae_jax.representations.pianoroll import context
from vae_jax.representations.pianoroll.encoding import DURATION, PART, PITCH, STEP, RollPiece, RollReport
from vae_jax.representations.pianoroll.representation import RollRepresentation

ROLL = RollRepresentation(steps_per_beat=2, window_beats=4, min_pitch=48, num_pitches=24, max_notes=32)
SHAPE = OnsetShape(window_steps=8, num_pitches=24, max_onsets=8, max_pitches=4, num_drums=2)
KIT = np.array([3, 11], dtype=np.int32)

Note = tuple[int, int, int]  # Step, part, pitch index.


def piece_of(rows: list[Note], num_steps: int, bars: list[int] | None = None, config=ROLL.config) -> RollPiece:
    """A piece of notes of one step, in 4/4 unless bar lines are given."""
    made = context.default_context(num_steps, config.steps_per_beat)
    if bars is not None:
        made = dataclasses.replace(made, bars=np.array(bars, dtype=np.int64))
    notes = np.array([(step, part, pitch, 1) for step, part, pitch in sorted(set(rows))], np.int32).reshape(-1, 4)
    return RollPiece(notes, num_steps, made, RollReport(), config)


def random_piece(seed: int, bars: list[int]) -> RollPiece:
    """Bars drawn from three patterns, so that there is much to return to."""
    rng = np.random.default_rng(seed)
    patterns = [
        {(int(rng.integers(0, 8)), int(rng.integers(0, 8)), int(rng.integers(0, 24))) for _ in range(9)}
        for _ in range(3)
    ]
    rows = [
        (start + step, part, pitch)
        for start, end in itertools.pairwise(bars)
        for step, part, pitch in patterns[rng.integers(0, 3)]
        if start + step < end and rng.random() < 0.9
    ]
    return piece_of(rows, bars[-1], bars)


def cells(piece: RollPiece, start: int) -> set[tuple[int, int]]:
    """The pitched onsets of a window."""
    inside = [(step - start, pitch) for step, part, pitch, _ in piece.notes.tolist() if part != instruments.DRUMS]
    return {(step, pitch) for step, pitch in inside if 0 <= step < piece.config.window_steps}


def f1(one: set, other: set) -> float:
    return 2 * len(one & other) / max(len(one) + len(other), 1)


def fingerprint(arrays) -> np.ndarray:
    """Latents that say what a window holds: two sums over its notes."""
    step, part, pitch = (np.where(arrays["mask"], arrays["notes"][..., n].astype(int), 0) for n in (STEP, PART, PITCH))
    own = arrays["mask"] & (arrays["notes"][..., STEP] >= 0)
    mixed = np.where(own, (step + 1) * 31 + pitch * 7 + part * 3, 0)
    return np.stack([mixed.sum(axis=1) % 1009, (mixed**2).sum(axis=1) % 1013], axis=1).astype(np.float32)


def examples_of(piece: RollPiece, encode=fingerprint) -> dict[str, np.ndarray]:
    style = describe_style(piece, minor=False)
    return dataset.make_examples([piece], [style], ROLL, encode, KIT, SHAPE)


def fingerprint_at(piece: RollPiece, start: int) -> np.ndarray:
    return fingerprint(ROLL.encode_at(piece, np.array([start])))[0]


@pytest.mark.parametrize("seed", range(5))
def test_returns_against_a_search_of_all_pairs(seed):
    piece = random_piece(seed, list(range(0, 81, 8)))
    starts = np.arange(-8, 80, 2)
    alike = starts % 8 // 2 % 3
    link, similarity = best_returns(piece, starts, alike)
    for n, start in enumerate(starts.tolist()):
        scores = [
            f1(cells(piece, start), cells(piece, other)) if other + 8 <= start and alike[m] == alike[n] else 0.0
            for m, other in enumerate(starts.tolist())
        ]
        assert similarity[n] == pytest.approx(max(scores))
        assert link[n] == (scores.index(max(scores)) if max(scores) > 0 else -1)
    assert np.any(link >= 0) and np.any(link < 0)


def test_unisons_and_drums_do_not_change_a_likeness():
    plain = [(0, instruments.KEYS, 5), (2, instruments.KEYS, 9), (8, instruments.KEYS, 5), (10, instruments.KEYS, 8)]
    noisy = [*plain, (0, instruments.BASS, 5), (1, instruments.DRUMS, 3), (9, instruments.DRUMS, 3)]
    for rows in (plain, noisy):
        link, similarity = best_returns(piece_of(rows, 16), np.array([0, 8]), np.zeros(2))
        assert link.tolist() == [-1, 0]
        assert similarity.tolist() == [0, 0.5]


def test_a_piece_of_drums_alone_returns_nowhere():
    piece = piece_of([(step, instruments.DRUMS, 3) for step in range(16)], 16)
    link, similarity = best_returns(piece, np.array([0, 8]), np.zeros(2))
    assert link.tolist() == [-1, -1] and similarity.tolist() == [0, 0]
    none = best_returns(piece, np.zeros(0, np.int64), np.zeros(0))
    assert [values.shape for values in none] == [(0,), (0,)]


def test_places_by_hand():
    starts, first, end = np.array([10, 38]), 10, 58
    found = describe_place(starts, np.array([0, 4]), np.array([6, 7]), first, end, steps_per_beat=2)
    # Beat of the bar, half beats in it, beats to the end, half windows (four beats) since the beginning.
    np.testing.assert_array_equal(found, [[0, 6, 24, 0], [2, 7, 10, 3]])
    assert found.dtype == np.int16


@hypothesis.given(*(st.integers(-5000, 5000) for _ in range(5)), st.integers(1, 24))
def test_places_stay_in_their_tables(start, phase, bar, first, end, steps_per_beat):
    (row,) = describe_place(np.array([start]), np.array([phase]), np.array([bar]), first, end, steps_per_beat)
    assert all(0 <= value < size for value, size in zip(row.tolist(), PLACE_SIZES, strict=True))


def test_style_by_hand():
    rows = [
        (0, instruments.KEYS, 5),
        (0, instruments.BASS, 5),
        (0, instruments.KEYS, 9),
        (4, instruments.KEYS, 7),
        (6, instruments.DRUMS, 3),
    ]
    piece = piece_of(rows, 8)
    piece.notes[:, DURATION] = [4, 1, 4, 16, 100]
    style = describe_style(piece, minor=True)
    shares = tuple(
        {instruments.KEYS: 0.6, instruments.BASS: 0.2, instruments.DRUMS: 0.2}.get(part, 0.0) for part in range(8)
    )
    assert style == Style(
        shares,
        minor=True,
        density=3 / 4,
        chord_size=3 / 2,
        chord_deviation=1 / 2,
        register=48 + 7,
        length=pytest.approx(2),
    )
    vector = style.vector()
    assert vector.dtype == np.float32 and vector.shape == (STYLE_SIZE,)
    np.testing.assert_allclose(vector[:9] ** 2, [*shares, 1], rtol=1e-6)
    assert vector[-1] == pytest.approx(1)  # Octaves of length: two beats.
    silent = describe_style(piece_of([], 8), minor=False)
    assert not any(silent.shares) and silent.density == 0 and np.all(np.isfinite(silent.vector()))


def test_the_mode_of_a_scale():
    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12])
    weights = np.array([4, 1, 2, 1, 3, 1, 1, 4]) * 240
    assert not dataset.is_minor(make_score(480, make_notes(np.arange(8) * 480, weights, 60 + scale)))
    minor = scale - np.isin(scale, (4, 9, 11))
    assert dataset.is_minor(make_score(480, make_notes(np.arange(8) * 480, weights, 60 + minor)))


def test_shapes_of_examples():
    piece = random_piece(0, list(range(0, 49, 8)))
    arrays = examples_of(piece)
    count = 24  # One for every beat.
    assert {name: (rows.dtype, rows.shape) for name, rows in arrays.items()} == {
        "steps": (np.uint8, (count, 8)),
        "pitches": (np.uint8, (count, 8, 4)),
        "durations": (np.uint8, (count, 8, 4)),
        "parts": (np.uint8, (count, 8, 4)),
        "drums": (np.uint16, (count, 8)),
        "previous": (np.float16, (count, 2)),
        "link": (np.float16, (count, 2)),
        "similarity": (np.float32, (count,)),
        "place": (np.int16, (count, 4)),
        "style": (np.float32, (count, STYLE_SIZE)),
    }


@pytest.mark.parametrize("bars", [list(range(0, 65, 8)), [0, 2, *range(10, 67, 8)], [0, 6, 12, 18, 26, 34, 42, 48, 54]])
@pytest.mark.parametrize("seed", [0, 1])
def test_examples_against_the_windows_of_the_piece(bars, seed):
    """In a steady meter, after a pick-up and through changes of meter."""
    piece = random_piece(seed, bars)
    arrays = examples_of(piece)
    first = 2 if bars[1] == 2 else 0
    starts = list(range(first, bars[-1], 2))
    assert len(arrays["steps"]) == len(starts)
    own = onset_encoding.to_notes(arrays, KIT, SHAPE)
    num_linked = 0
    for n, start in enumerate(starts):
        assert {(step, pitch) for step, part, pitch, _ in own[n].tolist() if part < instruments.DRUMS} <= cells(
            piece, start
        )
        np.testing.assert_array_equal(arrays["previous"][n], fingerprint_at(piece, start - 8))
        bar = max(line for line in bars[:-1] if line <= start)
        kind = (start - bar, bars[bars.index(bar) + 1] - bar)
        earlier = []
        for other in range(first, start - 8 + 1, 2):
            line = max(line for line in bars[:-1] if line <= other)
            if (other - line, bars[bars.index(line) + 1] - line) == kind:
                earlier.append((f1(cells(piece, start), cells(piece, other)), other))
        best = max((score for score, _ in earlier), default=0.0)
        if best == 0:
            assert arrays["similarity"][n] == NO_LINK
            assert not arrays["link"][n].any()
        else:
            num_linked += 1
            assert arrays["similarity"][n] == pytest.approx(best)
            source = min(other for score, other in earlier if score == best)
            np.testing.assert_array_equal(arrays["link"][n], fingerprint_at(piece, source))
        assert arrays["place"][n].tolist() == [
            kind[0] // 2,
            kind[1],
            min((bars[-1] - start) // 2, 24),
            min((start - first) // 8, 12),
        ]
    assert 0 < num_linked < len(starts)


def test_examples_of_several_pieces_are_those_of_each():
    pieces = [random_piece(seed, list(range(0, 41, 8))) for seed in (1, 2, 3)]
    styles = [describe_style(piece, minor) for piece, minor in zip(pieces, (True, False, True), strict=True)]
    together = dataset.make_examples(pieces, styles, ROLL, fingerprint, KIT, SHAPE)
    apart = [
        dataset.make_examples([piece], [style], ROLL, fingerprint, KIT, SHAPE)
        for piece, style in zip(pieces, styles, strict=True)
    ]
    for name, rows in together.items():
        np.testing.assert_array_equal(rows, np.concatenate([arrays[name] for arrays in apart]))


def test_a_link_neither_overlaps_its_window_nor_follows_it():
    """The latents are where a window starts; every bar is alike, so that any window would do."""
    piece = piece_of([(step, instruments.KEYS, step % 8) for step in range(80)], 80)

    def count_windows(arrays):
        return np.arange(len(arrays["mask"]), dtype=np.float32)[:, None] * 2 - 8

    arrays = examples_of(piece, count_windows)
    starts = np.arange(0, 80, 2)
    linked = arrays["similarity"] >= 0
    assert linked.tolist() == [start >= 8 for start in starts.tolist()]
    assert np.all(arrays["link"][linked, 0] + 8 <= starts[linked])
    assert np.all(arrays["link"][linked, 0] >= 0)  # Not the silence before the piece.
    assert np.all((starts[linked] - arrays["link"][linked, 0]) % 8 == 0)
    np.testing.assert_array_equal(arrays["previous"][:, 0], starts - 8)


def test_a_long_piece_is_cut_short():
    piece = piece_of([(0, instruments.KEYS, 5), (2399, instruments.KEYS, 5)], 2400)
    assert len(examples_of(piece)["steps"]) == 1024 - 4


def test_thinned_pieces_keep_whole_parts():
    rows = [
        (step, part, 5 + part)
        for step in range(0, 64, 2)
        for part in (instruments.WINDS, instruments.KEYS, instruments.BASS)
    ]
    piece = piece_of([*rows, *((step, instruments.DRUMS, 3) for step in range(64))], 64)
    kept, drums = set(), 0
    for seed in range(60):
        thinned = dataset.thin(piece, np.random.default_rng(seed))
        present = np.flatnonzero(thinned.parts_present)
        assert np.any(present != instruments.DRUMS)
        np.testing.assert_array_equal(thinned.notes, piece.notes[np.isin(piece.notes[:, PART], present)])
        assert (thinned.num_steps, thinned.config) == (piece.num_steps, piece.config)
        kept.add(tuple(part for part in present.tolist() if part != instruments.DRUMS))
        drums += instruments.DRUMS in present
    assert len(kept) == 7  # Every set of three but the empty one.
    assert 0.5 < drums / 60 < 0.9
    again = dataset.thin(piece, np.random.default_rng(7))
    np.testing.assert_array_equal(again.notes, dataset.thin(piece, np.random.default_rng(7)).notes)


def test_drums_alone_cannot_be_thinned():
    piece = piece_of([(step, instruments.DRUMS, 3) for step in range(8)], 8)
    for seed in range(5):
        np.testing.assert_array_equal(dataset.thin(piece, np.random.default_rng(seed)).notes, piece.notes)
