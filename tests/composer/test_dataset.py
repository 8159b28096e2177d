"""Training examples: similar windows against a brute-force search, latents that say which window they are of."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from vae_jax.composer import dataset, onset_encoding
from vae_jax.composer.conditioning import measure_style
from vae_jax.composer.dataset import ComposerExamples
from vae_jax.composer.network import NO_LINK
from vae_jax.composer.onset_encoding import OnsetShape
from vae_jax.composer.windows import NoteLists, WindowedRoll
from vae_jax.music import instruments
from vae_jax.representations.pianoroll import context
from vae_jax.representations.pianoroll.config import PART, PITCH, STEP
from vae_jax.representations.pianoroll.encoding import RollPiece, RollReport

ROLL = WindowedRoll(steps_per_beat=2, window_beats=4, min_pitch=48, num_pitches=24, max_notes=32)
SHAPE = OnsetShape(window_steps=8, num_pitches=24, max_onsets=8, max_pitches=4, num_drums=2)
DRUM_PITCHES = np.array([3, 11], dtype=np.int32)

Note = tuple[int, int, int]  # Step, part, pitch index.


def piece_of(rows: list[Note], num_steps: int, bars: list[int] | None = None) -> RollPiece:
    """A piece of notes of one step, in 4/4 unless bar lines are given."""
    made = context.default_context(num_steps, ROLL.steps_per_beat)
    if bars is not None:
        made = dataclasses.replace(made, bars=np.array(bars, dtype=np.int64))
    notes = np.array([(step, part, pitch, 1) for step, part, pitch in sorted(set(rows))], np.int32).reshape(-1, 4)
    return RollPiece(notes, num_steps, made, RollReport(), ROLL)


def random_piece(seed: int, bars: list[int]) -> RollPiece:
    """Bars drawn from three patterns, so that there are many repetitions."""
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
    return {(step, pitch) for step, pitch in inside if 0 <= step < ROLL.window_steps}


def f1(one: set, other: set) -> float:
    return 2 * len(one & other) / max(len(one) + len(other), 1)


def fingerprint(lists: NoteLists) -> np.ndarray:
    """Latents that say what a window holds: two sums over its notes."""
    step, part, pitch = (lists.notes[..., n].astype(int) for n in (STEP, PART, PITCH))
    mixed = np.where(lists.mask, (step + 1) * 31 + pitch * 7 + part * 3, 0)
    return np.stack([mixed.sum(axis=1) % 1009, (mixed**2).sum(axis=1) % 1013], axis=1).astype(np.float32)


def most_similar(piece: RollPiece, starts: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return dataset.most_similar(ROLL, ROLL.encode_at(piece, starts), starts, position)


def examples_of(piece: RollPiece, encode=fingerprint) -> ComposerExamples:
    style = measure_style(piece, minor=False)
    return dataset.make_examples([piece], [style], ROLL, encode, DRUM_PITCHES, SHAPE)


def fingerprint_at(piece: RollPiece, start: int) -> np.ndarray:
    return fingerprint(ROLL.encode_at(piece, np.array([start])))[0]


@pytest.mark.parametrize("seed", range(5))
def test_similar_windows_against_a_search_of_all_pairs(seed):
    piece = random_piece(seed, list(range(0, 81, 8)))
    starts = np.arange(-8, 80, 2)
    position = starts % 8 // 2 % 3
    link, similarity = most_similar(piece, starts, position)
    for n, start in enumerate(starts.tolist()):
        scores = [
            f1(cells(piece, start), cells(piece, other)) if other + 8 <= start and position[m] == position[n] else 0.0
            for m, other in enumerate(starts.tolist())
        ]
        assert similarity[n] == pytest.approx(max(scores))
        assert link[n] == (scores.index(max(scores)) if max(scores) > 0 else -1)
    assert np.any(link >= 0) and np.any(link < 0)


def test_unisons_and_drums_do_not_change_similarity():
    plain = [(0, instruments.KEYS, 5), (2, instruments.KEYS, 9), (8, instruments.KEYS, 5), (10, instruments.KEYS, 8)]
    noisy = [*plain, (0, instruments.BASS, 5), (1, instruments.DRUMS, 3), (9, instruments.DRUMS, 3)]
    for rows in (plain, noisy):
        link, similarity = most_similar(piece_of(rows, 16), np.array([0, 8]), np.zeros(2))
        assert link.tolist() == [-1, 0]
        assert similarity.tolist() == [0, 0.5]


def test_windows_of_drums_alone_are_like_no_other():
    piece = piece_of([(step, instruments.DRUMS, 3) for step in range(16)], 16)
    link, similarity = most_similar(piece, np.array([0, 8]), np.zeros(2))
    assert link.tolist() == [-1, -1] and similarity.tolist() == [0, 0]
    none = most_similar(piece, np.zeros(0, np.int64), np.zeros(0))
    assert [values.shape for values in none] == [(0,), (0,)]


def test_shapes_of_examples():
    piece = random_piece(0, list(range(0, 49, 8)))
    examples = examples_of(piece)
    assert {len(rows) for rows in jax.tree.leaves(examples)} == {24}  # One for every beat.
    assert [rows.dtype for rows in examples.onsets] == [np.uint8] * 4 + [np.uint16]
    assert [rows.dtype for rows in examples.conditions] == [np.float16, np.float16, np.float32, np.int16, np.float32]


@pytest.mark.parametrize("bars", [list(range(0, 65, 8)), [0, 2, *range(10, 67, 8)], [0, 6, 12, 18, 26, 34, 42, 48, 54]])
@pytest.mark.parametrize("seed", [0, 1])
def test_examples_against_the_windows_of_the_piece(bars, seed):
    """In a steady meter, after a pick-up and through changes of meter."""
    piece = random_piece(seed, bars)
    onsets, conditions = examples_of(piece)
    first = 2 if bars[1] == 2 else 0
    starts = list(range(first, bars[-1], 2))
    assert len(onsets.steps) == len(starts)
    own = onset_encoding.to_notes(onsets, DRUM_PITCHES, SHAPE)
    num_linked = 0
    for n, start in enumerate(starts):
        assert {(step, pitch) for step, part, pitch, _ in own[n].tolist() if part < instruments.DRUMS} <= cells(
            piece, start
        )
        np.testing.assert_array_equal(conditions.previous[n], fingerprint_at(piece, start - 8))
        bar = max(line for line in bars[:-1] if line <= start)
        kind = (start - bar, bars[bars.index(bar) + 1] - bar)
        earlier = []
        for other in range(first, start - 8 + 1, 2):
            line = max(line for line in bars[:-1] if line <= other)
            if (other - line, bars[bars.index(line) + 1] - line) == kind:
                earlier.append((f1(cells(piece, start), cells(piece, other)), other))
        best = max((score for score, _ in earlier), default=0.0)
        if best == 0:
            assert conditions.similarity[n] == NO_LINK
            assert not conditions.link[n].any()
        else:
            num_linked += 1
            assert conditions.similarity[n] == pytest.approx(best)
            source = min(other for score, other in earlier if score == best)
            np.testing.assert_array_equal(conditions.link[n], fingerprint_at(piece, source))
        assert conditions.place[n].tolist() == [
            kind[0] // 2,
            kind[1],
            min((bars[-1] - start) // 2, 24),
            min((start - first) // 8, 12),
        ]
    assert 0 < num_linked < len(starts)


def test_examples_of_several_pieces_are_those_of_each():
    pieces = [random_piece(seed, list(range(0, 41, 8))) for seed in (1, 2, 3)]
    styles = [measure_style(piece, minor) for piece, minor in zip(pieces, (True, False, True), strict=True)]
    together = dataset.make_examples(pieces, styles, ROLL, fingerprint, DRUM_PITCHES, SHAPE)
    apart = [
        dataset.make_examples([piece], [style], ROLL, fingerprint, DRUM_PITCHES, SHAPE)
        for piece, style in zip(pieces, styles, strict=True)
    ]
    jax.tree.map(lambda rows, *each: np.testing.assert_array_equal(rows, np.concatenate(each)), together, *apart)


def test_a_link_neither_overlaps_its_window_nor_follows_it():
    """The latents are where a window starts; every bar is alike, so that any window would do."""
    piece = piece_of([(step, instruments.KEYS, step % 8) for step in range(80)], 80)

    def count_windows(lists):
        return np.arange(len(lists.mask), dtype=np.float32)[:, None] * 2 - 8

    conditions = examples_of(piece, count_windows).conditions
    starts = np.arange(0, 80, 2)
    linked = conditions.similarity >= 0
    assert linked.tolist() == [start >= 8 for start in starts.tolist()]
    assert np.all(conditions.link[linked, 0] + 8 <= starts[linked])
    assert np.all(conditions.link[linked, 0] >= 0)  # Not the silence before the piece.
    assert np.all((starts[linked] - conditions.link[linked, 0]) % 8 == 0)
    np.testing.assert_array_equal(conditions.previous[:, 0], starts - 8)


def test_a_long_piece_is_cut_short():
    piece = piece_of([(0, instruments.KEYS, 5), (2399, instruments.KEYS, 5)], 2400)
    assert len(examples_of(piece).onsets.steps) == 1024 - 4


def test_pieces_keep_whole_parts():
    rows = [
        (step, part, 5 + part)
        for step in range(0, 64, 2)
        for part in (instruments.WINDS, instruments.KEYS, instruments.BASS)
    ]
    piece = piece_of([*rows, *((step, instruments.DRUMS, 3) for step in range(64))], 64)
    kept, drums = set(), 0
    for seed in range(60):
        fewer = dataset.drop_parts(piece, np.random.default_rng(seed))
        present = np.flatnonzero(fewer.parts_present)
        assert np.any(present != instruments.DRUMS)
        np.testing.assert_array_equal(fewer.notes, piece.notes[np.isin(piece.notes[:, PART], present)])
        assert (fewer.num_steps, fewer.config) == (piece.num_steps, piece.config)
        kept.add(tuple(part for part in present.tolist() if part != instruments.DRUMS))
        drums += instruments.DRUMS in present
    assert len(kept) == 7  # Every set of three but the empty one.
    assert 0.5 < drums / 60 < 0.9


def test_drums_alone_are_kept():
    piece = piece_of([(step, instruments.DRUMS, 3) for step in range(8)], 8)
    for seed in range(5):
        np.testing.assert_array_equal(dataset.drop_parts(piece, np.random.default_rng(seed)).notes, piece.notes)
