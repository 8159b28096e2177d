"""Lines: what is known of the tracks before each note, and who plays it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from beat_scores import score_of

from vae_jax.composer import lines as lines_lib
from vae_jax.composer.lines import LINE_SIZE, Line, LineNet, LineState, NoteRow
from vae_jax.composer.notes import MAX_TRACKS, in_order, read_piece
from vae_jax.music.key import Tonic

NUM_LINES, BATCH, NUM_NOTES = 3, 2, 24
C = Tonic(0, False, 1.0)


def line(pitch: float, part: int = 0) -> Line:
    return Line(0, part, 80, pitch, 3.0, 0.5, 1.2, (0.5, 0.2, 0.3))


LINES = jnp.asarray(np.stack([lines_lib.line_table(tuple(line(p) for p in (72, 60, 48)))] * BATCH))


def random_notes(seed: int) -> tuple[NoteRow, jax.Array]:
    """Notes in chords of one to four, and who plays them."""
    rng = np.random.default_rng(seed)
    step = np.sort(rng.integers(0, 10, (BATCH, NUM_NOTES)) * 6, axis=1)
    pitch = rng.permuted(np.tile(np.arange(84), (BATCH, 1)), axis=1)[:, :NUM_NOTES]
    rows = []
    for b in range(BATCH):
        order, role = in_order(step[b], pitch[b])
        size = np.unique(step[b], return_counts=True)
        sizes = size[1][np.searchsorted(size[0], step[b])]
        rows.append((step[b], pitch[b][order], step[b] + rng.integers(1, 24, NUM_NOTES), role, sizes))
    plays = rng.random((BATCH, NUM_NOTES, MAX_TRACKS)) < 0.4
    plays[..., NUM_LINES:] = False
    columns = (jnp.asarray(np.stack(column), jnp.int32) for column in zip(*rows, strict=True))
    return NoteRow(*columns), jnp.asarray(plays)


def test_all_states_at_once_are_those_note_after_note():
    notes, plays = random_notes(0)
    found = jax.jit(lines_lib.states_before)(notes, plays, LINES)
    take, state = jax.jit(lines_lib.take), LineState.start(LINES)
    for n in range(NUM_NOTES):
        for name in LineState._fields:
            mine, expected = getattr(found, name)[:, n], getattr(state, name)
            if name == "taken":  # Counts only at the step of the line's last note.
                is_now = np.asarray(state.step == notes.step[:, n, None])
                mine, expected = np.where(is_now, mine, 0), np.where(is_now, expected, 0)
            assert np.array_equal(mine[..., :NUM_LINES], expected[..., :NUM_LINES]), (name, n)
        state = take(state, NoteRow(*(column[:, n] for column in notes)), plays[:, n], jnp.int32(n))


@pytest.fixture(scope="module")
def net_and_params():
    """A network whose output depends on all of its input."""
    net = LineNet(8)
    notes, plays = random_notes(0)
    shapes = jax.eval_shape(net.init, jax.random.key(0), notes, plays, LINES)["params"]
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.5, leaf.shape), jnp.float32), shapes)
    params["layers_2"]["bias"] += 0.4  # So that about half of the lines play.
    return net, params


@pytest.fixture(scope="module")
def sampled(net_and_params):
    """Who plays, sampled near temperature 0 and at 1, the first five notes given."""
    net, params = net_and_params
    notes, plays = random_notes(1)
    given = plays.at[:, :, 0].set(plays[:, :, 0] | ~plays.any(-1)), jnp.array([5, 0], jnp.int32)
    sample = jax.jit(lines_lib.sample_lines, static_argnames="net")
    inputs = net, params, notes, notes.step.shape[1], LINES, given, jax.random.split(jax.random.key(0), len(LINES))
    found = [np.asarray(sample(*inputs, jnp.float32(temperature))) for temperature in (1e-4, 1.0)]
    return notes, given, found


def test_every_note_is_played_by_a_line_that_exists(sampled):
    for plays in sampled[2]:
        assert plays.any(axis=-1).all() and not plays[..., NUM_LINES:].any()
    assert not np.array_equal(*sampled[2])


def test_given_notes_keep_their_lines(sampled):
    _, (given, _), found = sampled
    for plays in found:
        assert np.array_equal(plays[0, :5], given[0, :5])
        assert not np.array_equal(plays[0], given[0])


def test_sampling_is_the_network_that_was_trained(net_and_params, sampled):
    """Near temperature 0 a line plays where its log odds are positive; where none would, one that is unlikely does."""
    net, params = net_and_params
    notes, _, (plays, _) = sampled
    logits = np.asarray(jax.jit(net.apply)({"params": params}, notes, jnp.asarray(plays), LINES))[..., :NUM_LINES]
    plays, free = plays[..., :NUM_LINES], np.arange(NUM_NOTES) >= np.array([[5], [0]])
    as_trained = (plays == (logits > 0)).all(axis=-1)
    left_over = (plays.sum(axis=-1) == 1) & ((logits * plays).sum(axis=-1) <= 0)
    assert (as_trained | left_over)[free].all()
    assert as_trained[free].mean() > 0.4 and 0.1 < plays[free].mean() < 0.9


def test_a_network_sees_no_later_note(net_and_params):
    net, params = net_and_params
    notes, plays = random_notes(2)
    apply = jax.jit(net.apply)
    changed = NoteRow(*(column.at[:, 15:].add(100 if n in (0, 2) else 0) for n, column in enumerate(notes)))
    one, other = (apply({"params": params}, rows, plays, LINES)[:, :, :NUM_LINES] for rows in (notes, changed))
    assert np.array_equal(one[:, :15], other[:, :15]) and not np.array_equal(one[:, 15:], other[:, 15:])
    # Nor what the lines after a line do with the same note.
    last = plays.at[:, :, NUM_LINES - 1].set(~plays[:, :, NUM_LINES - 1])
    mine = apply({"params": params}, notes, last, LINES)
    assert np.array_equal(mine[:, 0, :NUM_LINES], one[:, 0])


def test_reading_lines_by_hand():
    score = score_of(
        *((0, 1, 72), (1, 1, 74), (0, 2, 48), (1, 1, 60), (2, 1, 38)),
        track=[0, 0, 1, 1, 2],
        channel=[0, 0, 1, 1, 9],
        program=[40, 40, 32, 32, 0],
        velocity=[80, 90, 60, 70, 100],
    )
    piece = read_piece(score, C)
    melody, bass = lines_lib.read_lines(score, piece, C)
    assert (melody.program, melody.velocity, melody.pitch, melody.spread) == (40, 85, 73.0, 1.0)
    assert (melody.activity, melody.chord, melody.roles) == (1.0, 1.0, (1.0, 0.0, 0.0))
    assert (bass.program, bass.velocity, bass.pitch, bass.roles) == (32, 65, 54.0, (0.0, 1.0, 0.0))
    assert melody.part != bass.part
    table = lines_lib.line_table((melody, bass))
    assert table.shape == (MAX_TRACKS, LINE_SIZE) and table[:2, 0].all() and not table[2:].any()


def test_more_tracks_than_there_is_room_for():
    notes = [(n, 1, 60 + n % 12) for n in range(20)]
    score = score_of(*notes, track=list(range(20)), channel=[n % 9 for n in range(20)])
    piece = read_piece(score, C)
    assert len(lines_lib.read_lines(score, piece, C)) == MAX_TRACKS
