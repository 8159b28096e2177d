"""Windows and dense rolls: what is cut is stitched without a seam, what is rasterised is what the notes say."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_jax.music import instruments
from vae_jax.music.score import Meter, make_notes, make_score
from vae_jax.representations.pianoroll import encoding, rasterize, windows
from vae_jax.representations.pianoroll.encoding import RollConfig

CONFIG = RollConfig()
STEP_TICKS = 40


def piece_of(rows, meters=(), config=CONFIG):
    """A piece of (step, duration in steps, pitch) rows, played by a trumpet."""
    step, duration, pitch = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    notes = make_notes(step * STEP_TICKS, duration * STEP_TICKS, pitch, program=56)
    return encoding.encode(make_score(480, notes, meters=meters), config)


def stitch(cut):
    return windows.stitch(cut.notes, cut.mask, cut.starts, cut.valid)


@pytest.mark.parametrize(
    ("meters", "bars", "starts"),
    [
        ((), [0, 48, 96, 144, 192, 240], [0, 96, 192]),
        ((Meter(0, 3, 4),), [0, 36, 72, 108, 144, 180, 216], [0, 72, 144]),
        ((Meter(0, 6, 8),), [0, 36, 72, 108, 144, 180, 216], [0, 72, 144]),
        ((Meter(0, 5, 4),), [0, 60, 120, 180, 240], [0, 60, 120, 180]),
        ((Meter(0, 1, 4), Meter(480, 4, 4)), [0, 12, 60, 108, 156, 204], [-84, 12, 108]),
        # The bar of 2/4 in the middle fits neither window: with bars aligned, the next starts on the downbeat after it.
        (
            (Meter(0, 4, 4), Meter(48 * 40, 2, 4), Meter(72 * 40, 4, 4)),
            [0, 48, 72, 120, 168, 216],
            [0, 72, 168],
        ),
        # A bar of ten beats is cut, and the next starts a window of its own.
        ((Meter(0, 10, 4), Meter(120 * 40, 3, 4)), [0, 120, 156, 192, 228], [0, 96, 120, 192]),
    ],
)
def test_bar_aligned_windows(meters, bars, starts):
    piece = piece_of([(0, 12, 60), (200, 3, 62)], meters)
    np.testing.assert_array_equal(piece.bars, bars)
    cut = windows.windows(piece, alignment="bars")
    np.testing.assert_array_equal(cut.starts, starts)
    assert cut.valid.sum() == piece.num_steps


def test_windows_follow_the_first_downbeat():
    piece = piece_of([(0, 12, 60), (12, 12, 64), (200, 3, 62)], (Meter(0, 2, 4), Meter(960, 3, 4)))
    cut = windows.windows(piece)
    np.testing.assert_array_equal(cut.starts, [24 - 96, 24, 120])
    np.testing.assert_array_equal(cut.valid.sum(axis=1), [24, 96, piece.num_steps - 120])
    assert cut.valid[0, -24:].all() and not cut.valid[0, :-24].any()
    np.testing.assert_array_equal(cut.notes[0, 0], [72, instruments.WINDS, 36, 12])


def test_a_pick_up_longer_than_a_window():
    piece = piece_of([(0, 12, 60), (700, 12, 64)], (Meter(0, 20, 4), Meter(9600, 21, 4)))
    cut = windows.windows(piece)
    np.testing.assert_array_equal(cut.starts[:4], [240 - 288, 240 - 192, 240 - 96, 240])
    np.testing.assert_array_equal(stitch(cut), piece.notes)
    assert cut.valid.sum() == piece.num_steps


def test_a_piece_shorter_than_a_window():
    cut = windows.windows(piece_of([(3, 9, 60)], (Meter(0, 3, 4),)))
    assert cut.valid.shape == (1, 96) and cut.valid[0, :36].all() and not cut.valid[0, 36:].any()
    np.testing.assert_array_equal(cut.notes, [[[3, instruments.WINDS, 36, 9]]])


def test_an_empty_piece_has_no_window():
    piece = piece_of([])
    for alignment in windows.ALIGNMENTS:
        cut = windows.windows(piece, alignment=alignment)
        assert cut.notes.shape == (0, 1, 4) and cut.mask.shape == (0, 1) and cut.valid.shape == (0, 96)
        assert stitch(cut).shape == (0, 4)


def test_an_unknown_alignment_is_refused():
    with pytest.raises(ValueError, match="beats, bars"):
        windows.windows(piece_of([(0, 1, 60)]), alignment="seconds")


def test_a_note_across_the_edge_is_listed_in_both_windows_and_stitched_once():
    piece = piece_of([(90, 120, 60), (100, 5, 62)])
    cut = windows.windows(piece)
    np.testing.assert_array_equal(cut.notes[0, cut.mask[0]], [[90, 0, 36, 120]])
    np.testing.assert_array_equal(cut.notes[1, cut.mask[1]], [[4, 0, 38, 5], [-6, 0, 36, 120]])
    np.testing.assert_array_equal(cut.notes[2, cut.mask[2]], [[-102, 0, 36, 120]])
    np.testing.assert_array_equal(stitch(cut), piece.notes)


def test_overflow_is_counted_and_room_can_grow():
    piece = piece_of([(0, 100, 60), (1, 100, 61), (2, 1, 62), (97, 1, 70)])
    assert windows.windows(piece).notes.shape[1] == 3
    tight = windows.windows(piece, max_notes=2)
    assert (tight.num_overflow, tight.num_sustain_overflow) == (1, 1)
    assert len(stitch(tight)) == 3
    roomy = windows.windows(piece, max_notes=8)
    assert (roomy.num_overflow, roomy.num_sustain_overflow) == (0, 0)
    chex.assert_trees_all_equal(vars(windows.with_room(windows.windows(piece), 8)), vars(roomy))
    with pytest.raises(ValueError, match="cannot shrink"):
        windows.with_room(roomy, 2)


def test_windows_where_the_caller_wants_them():
    piece = piece_of([(50, 10, 60), (60, 3, 62), (140, 4, 63)])
    cut = windows.windows(piece, starts=[55, -20, 500])
    assert cut.notes[0, cut.mask[0]].tolist() == [[5, 0, 38, 3], [85, 0, 39, 4], [-5, 0, 36, 10]]
    assert cut.notes[1, cut.mask[1]].tolist() == [[70, 0, 36, 10], [80, 0, 38, 3]]
    assert not cut.mask[2].any() and not cut.valid[2].any()
    assert cut.valid[1].tolist() == [False] * 20 + [True] * 76


note_rows = st.lists(
    st.tuples(st.integers(0, 500), st.integers(1, 200), st.integers(24, 107)),
    max_size=50,
    unique_by=lambda row: row[::2],
)
changes = st.lists(
    st.builds(Meter, st.integers(0, 100).map(lambda n: n * 120), st.integers(1, 12), st.sampled_from([2, 4, 8])),
    max_size=4,
)


@settings(max_examples=80, deadline=None)
@given(note_rows, changes, st.sampled_from(windows.ALIGNMENTS))
def test_stitching_undoes_cutting(rows, meters, alignment):
    piece = piece_of(rows, meters)
    cut = windows.windows(piece, alignment=alignment)
    assert cut.num_overflow == cut.num_sustain_overflow == 0
    np.testing.assert_array_equal(stitch(cut), piece.notes)
    step = cut.starts[:, None] + np.arange(96)
    np.testing.assert_array_equal(np.sort(step[cut.valid]), np.arange(piece.num_steps))


def _rasterise_slowly(notes, mask, shape):
    onsets, sustains = np.zeros(shape), np.zeros(shape)
    for b in range(shape[0]):
        for step, part, pitch, duration in notes[b][mask[b]].tolist():
            if 0 <= step < shape[1]:
                onsets[b, step, pitch, part] = 1
            sustains[b, max(step, 0) : max(step + duration, 0), pitch, part] = 1
    return onsets, sustains


def test_rasterise_against_a_loop():
    rng = np.random.default_rng(0)
    batch, num_notes, shape = 5, 64, (5, 24, 20, 4)
    columns = [(-30, 30), (0, 4), (0, 20), (1, 40)]
    notes = np.stack([rng.integers(*limits, (batch, num_notes)) for limits in columns], axis=-1).astype(np.int32)
    mask = rng.random((batch, num_notes)) < 0.7
    chex.clear_trace_counter()
    draw = jax.jit(
        chex.assert_max_traces(rasterize.rasterise, n=1),
        static_argnames=("num_steps", "num_pitches", "num_parts", "dtype"),
    )
    for _ in range(2):
        onsets, sustains = draw(notes, mask, num_steps=24, num_pitches=20, num_parts=4, dtype=jnp.bfloat16)
    assert onsets.dtype == sustains.dtype == jnp.bfloat16
    expected = _rasterise_slowly(notes, mask, shape)
    np.testing.assert_array_equal(onsets.astype(np.float32), expected[0])
    np.testing.assert_array_equal(sustains.astype(np.float32), expected[1])


def test_rasterise_leaves_out_what_lies_outside():
    notes = np.array(
        [[[0, 9, 0, 1], [0, 0, 99, 1], [0, -1, 0, 1], [0, 0, -1, 1], [99, 0, 0, 1], [-5, 0, 0, 5]]], dtype=np.int32
    )
    rolls = rasterize.rasterise(notes, np.ones((1, 6), dtype=bool), num_steps=8, num_pitches=12, num_parts=2)
    assert float(rolls[0].sum()) == float(rolls[1].sum()) == 0


@settings(max_examples=20, deadline=None)
@given(note_rows, st.sampled_from(windows.ALIGNMENTS))
def test_notes_read_back_from_rolls_pass_the_windows_edges(rows, alignment):
    rows = [row for n, row in enumerate(rows) if not any(_meet(row, other) for other in rows[:n])]
    piece = piece_of(rows, (Meter(0, 1, 4), Meter(480, 3, 4)))
    cut = windows.with_room(windows.windows(piece, alignment=alignment), 60)
    onsets, sustains = np.zeros((2, len(cut.starts), *CONFIG.roll_shape), dtype=bool)
    for w in range(len(cut.starts)):  # One at a time, so that one trace serves every number of windows.
        onsets[w], sustains[w] = (dense[0] for dense in _draw(cut.notes[w : w + 1], cut.mask[w : w + 1]))
    assert not onsets[~cut.valid].any()
    read = rasterize.notes_from_rolls(onsets, sustains, cut.starts, cut.valid)
    np.testing.assert_array_equal(read, piece.notes)


@jax.jit
def _draw(notes, mask):
    num_steps, num_pitches, num_parts = CONFIG.roll_shape
    return rasterize.rasterise(
        notes, mask, num_steps=num_steps, num_pitches=num_pitches, num_parts=num_parts, dtype=bool
    )


def _meet(one, other):
    return one[2] == other[2] and one[0] < other[0] + other[1] and other[0] < one[0] + one[1]


def test_notes_read_from_rolls_by_hand():
    onsets, sustains = np.zeros((2, 4, 2, 1), dtype=bool), np.zeros((2, 4, 2, 1), dtype=bool)
    onsets[0, 1, 0] = onsets[1, 2, 0] = onsets[0, 3, 1] = (
        True  # Struck again in the second window; one note without sustain.
    )
    sustains[0, 1:, 0] = sustains[1, :, 0] = True
    sustains[1, 1:3, 1] = True  # Sustain without an onset.
    valid = np.ones((2, 4), dtype=bool)
    valid[1, 3] = False
    notes = rasterize.notes_from_rolls(onsets, sustains, np.array([0, 4]), valid)
    np.testing.assert_array_equal(notes, [[1, 0, 0, 5], [3, 0, 1, 1], [6, 0, 0, 1]])


def test_a_model_s_notes_take_the_piece_s_context():
    piece = piece_of([(0, 12, 60), (24, 12, 64)], (Meter(0, 3, 4),))
    other = windows.stitched(piece, np.array([[6, instruments.BASS, 10, 6]]))
    decoded = encoding.decode(other)
    assert decoded.meters == (Meter(0, 3, 4),) and decoded.notes.pitch.tolist() == [34]
    assert decoded.notes.onset_ticks.tolist() == [240] and decoded.notes.program.tolist() == [32]
