from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax.composer import drums as drums_lib
from vae_jax.composer.drums import DrumNet
from vae_jax.composer.notes import NotePiece, read_piece
from vae_jax.music.score import DRUM_CHANNEL, Meter, Score, make_notes, make_score

DRUMS = np.array([36, 38, 49])
drum_nats = jax.jit(drums_lib.drum_nats, static_argnames="net")


def march(num_bars: int = 5, pickup: bool = True) -> Score:
    """Drums on beats and off-beats under a scale in 3/4, after a beat of pick-up; a cymbal that no test reads."""
    start = 480 if pickup else 0
    beats = start + 480 * np.arange(3 * num_bars)
    hits = [(beat, 36 if n % 3 == 0 else 38) for n, beat in enumerate(beats)]
    hits += [(beats[-3] + 240, 38), (beats[0], 49), (beats[0], 57)]
    onsets = np.concatenate([np.arange(0, beats[-1] + 1, 480), [time for time, _ in hits]])
    num_pitched = len(onsets) - len(hits)
    pitches = np.concatenate([60 + np.arange(num_pitched) % 8, [pitch for _, pitch in hits]])
    channel = np.where(np.arange(len(onsets)) < num_pitched, 0, DRUM_CHANNEL)
    meters = [Meter(0, 1, 4), Meter(480, 3, 4)] if pickup else [Meter(0, 3, 4)]
    return make_score(480, make_notes(onsets, 480, pitches, channel=channel), meters=meters)


def rows_and_piece(**kwargs) -> tuple[np.ndarray, NotePiece]:
    score = march(**kwargs)
    piece = read_piece(score)
    return drums_lib.read_drums(score, piece, DRUMS), piece


@pytest.fixture(scope="module")
def net_and_params():
    """A network whose drums depend on all of its inputs."""
    net = DrumNet(len(DRUMS), hidden=8, shared=4)
    crops = drums_lib.crop_drums(drums_lib.make_drum_features(*rows_and_piece()), 24)
    params = jax.jit(net.init)(jax.random.key(0), *drums_lib.net_inputs(crops))["params"]
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(0)
    leaves = [jnp.asarray(rng.normal(0, 0.5, leaf.shape), jnp.float32) for leaf in leaves]
    return net, jax.tree.unflatten(tree, leaves)


def test_choose_drums_takes_the_most_common_and_fills_up():
    assert drums_lib.choose_drums([march()], 2).tolist() == [36, 38]
    assert drums_lib.choose_drums([march()], 6).tolist() == [35, 36, 37, 38, 49, 57]
    assert drums_lib.choose_drums([], 2).tolist() == [35, 36]


def test_read_drums_gives_the_steps_of_the_grid():
    rows, piece = rows_and_piece()
    assert rows.shape == (piece.end, 3) and piece.end == 12 * 16
    assert np.flatnonzero(rows[:, 0]).tolist() == [12, 48, 84, 120, 156]
    assert np.flatnonzero(rows[:, 2]).tolist() == [12]
    assert rows[:, 1].sum() == 11 and rows[162, 1]


def test_features_hold_the_rows_at_each_lag():
    rows, piece = rows_and_piece()
    _, past, counts, context = drums_lib.net_inputs(drums_lib.crop_drums(drums_lib.make_drum_features(rows, piece)))
    lags = drums_lib.drum_lags(piece)
    assert lags[48].tolist()[-6:-1] == [36, 0, 0, 0, 0], "the bars before the start are not there"
    for step, lag in itertools.product((13, 48, 90, 162), range(drums_lib.NUM_LAGS)):
        distance = int(lags[step, lag])
        expected = rows[step - distance] if distance else np.zeros(3, bool)
        np.testing.assert_array_equal(past[0, step, lag], expected)
    assert counts[0, 162].tolist() == [5, 8, 1]
    # A pick-up is the end of a bar of three beats; the first downbeat has five bars to go, and a new highest note.
    assert context.place[0, 0].tolist() == [0, 2, 3, 7, 6] and context.place[0, 12].tolist() == [0, 0, 3, 0, 5]
    assert context.notes[0, 12, :4].tolist() == [1, 1, 1, 12] and context.notes[0, 13, :4].tolist() == [0, 0, 0, 0]
    assert context.time[0, 12].tolist() == [12, 180]


def test_probabilities_of_a_step_sum_to_one(net_and_params):
    net, params = net_and_params
    features = drums_lib.make_drum_features(*rows_and_piece())
    crop = drums_lib.crop_drums(features, 200)
    every = np.array(list(itertools.product((0, 1), repeat=3)), np.uint8)
    crops = jax.tree.map(lambda x: np.repeat(x, 8, axis=0), crop)
    crops.rows[:, 90] = every
    total = np.exp(-np.asarray(drum_nats(net, params, crops)[:, 90], np.float64)).sum()
    assert total == pytest.approx(1, abs=1e-5)


def test_crops_cover_every_step_once(net_and_params):
    net, params = net_and_params
    features = drums_lib.make_drum_features(*rows_and_piece())
    whole, short = (drums_lib.crop_drums(features, length) for length in (200, 50))
    assert short.rows.shape == (4, 50, 3) and short.weight.sum() == 192
    nats = [float(drum_nats(net, params, crops).sum()) for crops in (whole, short)]
    assert nats[0] == pytest.approx(nats[1], rel=1e-5)


def test_thinning_keeps_what_starts_and_the_total_weight():
    features = drums_lib.make_drum_features(*rows_and_piece(num_bars=60))
    thin = drums_lib.thin_drums(features, np.random.default_rng(0), 4)
    assert thin.rows.sum() == features.rows.sum()
    assert set(thin.weight[thin.context.notes[:, 0] > 0]) == {1}
    assert len(thin.weight) < 0.4 * len(features.weight)
    assert thin.weight.sum() == pytest.approx(features.weight.sum(), rel=0.1)


def test_sampling_sees_what_teacher_forcing_sees(net_and_params):
    """A drum is sampled exactly where its log odds, given the sampled drums, and the noise of its step exceed 0."""
    net, params = net_and_params
    shapes = [rows_and_piece(), rows_and_piece(num_bars=3, pickup=False)]
    rates = [drums_lib.measure_drum_rates(*shapes[0]), np.zeros(4, np.float32)]
    frames = drums_lib.stack_frames([piece for _, piece in shapes], rates, 192)
    given = np.zeros((2, 192, 3), bool)
    given[0, :40] = shapes[0][0][:40]
    keys = jax.random.split(jax.random.key(1))
    sampled = drums_lib.sample_drums(net, params, frames, 192, keys, 1.0, (given, np.array([40, 0])))
    noise = np.array([[jax.random.logistic(jax.random.fold_in(key, n), (3,)) for key in keys] for n in range(192)])
    for number, (rows, known, num_given) in enumerate(zip(np.asarray(sampled), rates, (40, 0), strict=True)):
        piece = shapes[number][1]
        assert not rows[piece.end :].any()
        np.testing.assert_array_equal(rows[:num_given], given[number, :num_given])
        features = drums_lib.make_drum_features(rows[: piece.end], piece)
        features = features._replace(context=features.context._replace(drum_rates=known))
        inputs = drums_lib.net_inputs(drums_lib.crop_drums(features, piece.end))
        logits = jax.jit(net.apply)({"params": params}, *inputs)[0]
        starts = (logits + noise[: piece.end, number] > 0)[num_given:]
        np.testing.assert_array_equal(rows[num_given : piece.end], starts)
        assert 0.05 < starts.mean() < 0.95


def test_dropout_needs_a_key(net_and_params):
    net, params = net_and_params
    crops = drums_lib.crop_drums(drums_lib.make_drum_features(*rows_and_piece()), 200)
    plain, noisy = (drum_nats(net, params, crops, key) for key in (None, jax.random.key(0)))
    assert not np.allclose(plain, noisy) and np.isfinite(noisy).all()


def test_a_piece_without_pitched_notes_has_features():
    notes = make_notes([0, 480], 480, [36, 38], channel=[DRUM_CHANNEL] * 2)
    score = make_score(480, notes)
    piece = read_piece(score)
    features = drums_lib.make_drum_features(drums_lib.read_drums(score, piece, DRUMS), piece)
    assert features.rows.sum() == 2 and not features.context.notes[:, :4].any()
