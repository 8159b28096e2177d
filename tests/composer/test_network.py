"""The composer as a distribution: it sums to one, is causal, and samples what it scores."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from vae_jax.composer import network as network_lib
from vae_jax.composer import onset_encoding
from vae_jax.composer.heads import MAX_LOGIT, NUM_DURATIONS, DecodedWindow, gather_by_interval
from vae_jax.composer.network import NO_LINK, PLACE_SIZES, STYLE_SIZE, Composer, WindowConditions
from vae_jax.composer.onset_encoding import NUM_PITCHED_PARTS, OnsetLists, OnsetShape
from vae_jax.composer.sampling import Temperatures, sample_window
from vae_jax.composer.windows import NoteLists
from vae_jax.music import instruments

QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # To compile.
jit = functools.partial(jax.jit, compiler_options=QUICKLY)
SHAPE = OnsetShape(window_steps=8, num_pitches=13, max_onsets=5, max_pitches=4, num_drums=3)
NEUTRAL = Temperatures(1.0, 1.0)
ONE = OnsetShape(window_steps=1, num_pitches=4, max_onsets=1, max_pitches=3, num_drums=1)
NUM_SETS = 2**NUM_PITCHED_PARTS
ALLOWED = np.ones(instruments.NUM_PARTS, bool)
SAMPLED = ("step_nats", "pitch_nats", "duration_nats", "drum_nats")  # The terms of what `sample_window` scores.


def network(shape: OnsetShape = SHAPE, **fields) -> Composer:
    return Composer(shape, window_beats=1 if shape.window_steps < 4 else 4, hidden=16, **fields)


def decoded(seed: int, batch: int, shape: OnsetShape = SHAPE) -> DecodedWindow:
    rng = np.random.default_rng(seed)
    length, pitches = shape.window_steps, shape.num_pitches
    sizes = ((6,), (length, pitches), (length, shape.num_drums), (length, pitches, NUM_PITCHED_PARTS))
    return DecodedWindow(*(jnp.asarray(rng.normal(0, 2, (batch, *size)), jnp.float32) for size in sizes))


def random_conditions(
    seed: int, batch: int, shape: OnsetShape = SHAPE, allowed: np.ndarray = ALLOWED
) -> WindowConditions[DecodedWindow]:
    rng = np.random.default_rng(seed)
    style = rng.normal(size=(batch, STYLE_SIZE))
    style[:, : instruments.NUM_PARTS] = allowed
    similarity = np.where(np.arange(batch) % 3 == 1, NO_LINK, rng.random(batch))
    return WindowConditions(
        previous=decoded(seed + 1, batch, shape),
        link=decoded(seed + 2, batch, shape),
        similarity=jnp.asarray(similarity, jnp.float32),
        place=jnp.asarray(np.stack([rng.integers(0, size, batch) for size in PLACE_SIZES], axis=1)),
        style=jnp.asarray(style, jnp.float32),
    )


def random_lists(seed: int, batch: int, shape: OnsetShape = SHAPE) -> OnsetLists[jax.Array]:
    """Onset lists of random windows, the last of them empty."""
    rng = np.random.default_rng(seed)
    count = rng.integers(2, 20, batch)
    count[-1] = 0
    mask = np.arange(20) < count[:, None]
    columns = (shape.window_steps, instruments.NUM_PARTS, shape.num_pitches)
    notes = np.stack(
        [*(rng.integers(0, size, mask.shape) for size in columns), rng.integers(1, 60, mask.shape)], axis=-1
    )
    lists = onset_encoding.from_windows(NoteLists(notes, mask), np.arange(shape.num_drums), shape)
    return jax.tree.map(jnp.asarray, lists)


@functools.cache
def parameters(shape: OnsetShape = SHAPE) -> Any:
    """Parameters drawn at random, biases too, so that no term is constant by chance."""
    key = jax.random.key(0)
    shapes = jax.eval_shape(network(shape).init, key, random_lists(0, 1, shape), random_conditions(0, 1, shape))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), shapes)


@functools.partial(jit, static_argnames="shape")
def score(variables, lists, conditions, shape=SHAPE) -> dict[str, jax.Array]:
    return network(shape).apply(variables, lists, conditions)


@functools.partial(jit, static_argnames="max_onsets")
def sample(variables, conditions, key, temperatures=NEUTRAL, max_onsets=8) -> tuple[OnsetLists, jax.Array]:
    return network().apply(variables, conditions, key, temperatures, max_onsets, method=sample_window)


def of_rows(tree: Any, rows: Any) -> Any:
    return jax.tree.map(lambda values: np.asarray(values)[np.asarray(rows)], tree)


@pytest.mark.parametrize(("size", "span"), [(7, 4), (4, 7)])
def test_values_by_interval_against_a_loop(size, span):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 6, span)).astype(np.float32)
    origin = rng.integers(-3, size + span + 3, (3, 6))
    expected = np.zeros((3, 6, size), np.float32)
    for b, n, p in np.ndindex(expected.shape):
        if 0 <= origin[b, n] - p < span:
            expected[b, n, p] = values[b, n, origin[b, n] - p]
    np.testing.assert_array_equal(gather_by_interval(jnp.asarray(values), jnp.asarray(origin), size, span), expected)
    # Finite differences; the function is linear, so that they are exact but for rounding.
    check_grads(
        lambda v: gather_by_interval(v, jnp.asarray(origin), size, span), (jnp.asarray(values),), order=2, modes=["rev"]
    )


def test_shapes_and_the_sum_of_the_terms():
    terms = score(parameters(), random_lists(0, 64), random_conditions(0, 64))
    assert set(terms) == {"loss", "step_nats", "pitch_nats", "part_nats", "drum_nats", "duration_nats"}
    chex.assert_shape(list(terms.values()), (64,))
    total = sum(terms[name] for name in terms if name != "loss")
    np.testing.assert_allclose(terms["loss"], total, rtol=1e-6)
    assert np.all(np.isfinite(terms["loss"]))
    for name in ("pitch_nats", "duration_nats", "part_nats", "drum_nats"):  # The last window is empty: it only ends.
        assert terms[name][-1] == 0
    assert terms["step_nats"][-1] > 0


def chords(num_pitches: int, max_pitches: int) -> list[list[int]]:
    """All sets of at most so many pitches, from high to low, padded."""
    sets = [
        list(chosen[::-1])
        for size in range(max_pitches + 1)
        for chosen in itertools.combinations(range(num_pitches), size)
    ]
    return [pitches + [num_pitches] * (max_pitches - len(pitches)) for pitches in sets]


def nats_of_one_onset(term: str, **lists: jax.Array) -> jax.Array:
    """A term of windows with one onset, which differ in the lists given, [N, M] each, and in nothing else."""
    count, total = len(next(iter(lists.values()))), NUM_SETS**2  # One size, so that one program serves all.
    rows = of_rows(random_lists(0, 1, ONE), [0] * total)
    rows = rows._replace(steps=jnp.zeros((total, 1), jnp.int32), pitches=jnp.tile(jnp.array([3, 1, 4]), (total, 1, 1)))
    rows = rows._replace(
        **{name: jnp.pad(values, ((0, total - count), (0, 0)))[:, None] for name, values in lists.items()}
    )
    return score(parameters(ONE), rows, of_rows(random_conditions(7, 1, ONE), [0] * total), ONE)[term][:count]


def test_the_chords_of_an_onset_sum_to_one():
    """Fifteen of four pitches, at most three at once; a full chord needs no end."""
    every = chords(4, 3)
    assert len(every) == 15
    nats = nats_of_one_onset("pitch_nats", pitches=jnp.asarray(every))
    assert jnp.sum(jnp.exp(-nats)) == pytest.approx(1, abs=1e-5)
    assert jnp.std(nats) > 0.1  # They are not all alike.


@pytest.mark.parametrize(
    ("name", "term", "choices"), [("durations", "duration_nats", NUM_DURATIONS), ("parts", "part_nats", NUM_SETS)]
)
def test_the_lengths_and_parts_of_a_chord_sum_to_one(name, term, choices):
    """Of two notes: the second may depend on the first."""
    first, second = (rows.ravel() for rows in jnp.meshgrid(jnp.arange(choices), jnp.arange(choices), indexing="ij"))
    nats = nats_of_one_onset(term, **{name: jnp.stack([first, second, jnp.zeros_like(first)], axis=-1)})
    probs = np.exp(-nats).reshape(choices, choices)
    assert probs.sum() == pytest.approx(1, abs=1e-4)
    conditional = probs / probs.sum(axis=1, keepdims=True)
    assert np.ptp(conditional, axis=0).max() > 1e-3


def test_all_windows_of_two_steps_sum_to_one():
    """Steps, pitches and drums of every window of two steps, two pitches and a drum: 81 of them."""
    max_onsets = 3
    shape = OnsetShape(window_steps=2, num_pitches=2, max_onsets=max_onsets, max_pitches=3, num_drums=1)
    contents = list(itertools.product(chords(2, 3)[:4], (0, 1)))
    every = []
    for steps in ((), (0,), (1,), (0, 1)):
        for chosen in itertools.product(contents, repeat=len(steps)):
            missing = max_onsets - len(steps)
            every.append(
                (
                    [*steps, *[2] * missing],
                    [*(pitches for pitches, _ in chosen), *[[2, 2, 2]] * missing],
                    [*(drum for _, drum in chosen), *[0] * missing],
                )
            )
    assert len(every) == 81
    steps, pitches, drums = (jnp.asarray(rows) for rows in zip(*every, strict=True))
    # Whatever the durations and parts are.
    lists = OnsetLists(steps, pitches, durations=5 - 2 * pitches, parts=jnp.where(pitches < 2, 5, 0), drums=drums)
    terms = score(parameters(shape), lists, of_rows(random_conditions(5, 1, shape), [0] * 81), shape)
    nats = terms["step_nats"] + terms["pitch_nats"] + terms["drum_nats"]
    assert jnp.sum(jnp.exp(-nats)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("max_onsets", [8, 2])
def test_samples_are_scored_as_they_were_sampled(max_onsets):
    """Teacher forcing and sampling are one model, whether a window ends before the list is full or with it.

    Sampling is causal, and so therefore is the likelihood.
    """
    conditions = random_conditions(1, 64)
    lists, sampled_nats = sample(parameters(), conditions, jax.random.key(3), max_onsets=max_onsets)
    terms = score(parameters(), lists, conditions)
    nats = sum(terms[name] for name in SAMPLED)
    np.testing.assert_allclose(nats, sampled_nats, rtol=1e-4, atol=1e-4)
    ended = np.asarray(lists.steps[:, -1] == SHAPE.window_steps)
    assert np.std(nats) > 1 and np.any(ended if max_onsets == 8 else ~ended)


def test_samples_are_windows():
    lists, _ = jax.device_get(sample(parameters(), random_conditions(1, 64), jax.random.key(5)))
    over = lists.steps == SHAPE.window_steps
    assert np.all((np.diff(lists.steps) > 0) | over[:, 1:])
    is_note = lists.pitches < SHAPE.num_pitches
    assert np.all((lists.durations < NUM_DURATIONS) & (is_note | (lists.durations == 0)))
    assert len(np.unique(lists.durations[is_note])) > 5
    assert np.all((np.diff(lists.pitches) < 0) | ~is_note[..., 1:])
    assert np.all(is_note[..., :-1] | ~is_note[..., 1:])
    assert not is_note[over].any() and not lists.parts[over].any() and not lists.drums[over].any()
    np.testing.assert_array_equal(lists.parts > 0, is_note)  # Every note has a part.
    assert is_note.any() and lists.drums.any()
    # And all of them become notes.
    notes = onset_encoding.to_notes(lists, np.arange(3), SHAPE)
    assert sum(map(len, notes)) == sum(int(bits).bit_count() for bits in [*lists.parts.flat, *lists.drums.flat])


def test_steps_are_sampled_as_often_as_they_are_scored():
    """The first step of four thousand windows against its probabilities by teacher forcing."""
    count = 4000
    one = random_conditions(2, 1)
    lists, _ = sample(parameters(), of_rows(one, [0] * count), jax.random.key(6), max_onsets=1)
    sampled = np.bincount(np.asarray(lists.steps[:, 0]), minlength=9) / count
    # Full with one onset: nothing follows.
    each = OnsetLists.empty(9, OnsetShape(8, 13, max_onsets=1, max_pitches=4, num_drums=3))
    each = each._replace(steps=np.arange(9, dtype=np.uint8)[:, None])
    probs = np.exp(-score(parameters(), each, of_rows(one, [0] * 9))["step_nats"])
    assert probs.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(sampled, probs, atol=5 * 0.5 / np.sqrt(count))


def test_parts_that_the_style_does_not_have_do_not_play():
    allowed = np.isin(np.arange(instruments.NUM_PARTS), (instruments.KEYS, instruments.BASS))
    lists, _ = jax.device_get(sample(parameters(), random_conditions(1, 64, allowed=allowed), jax.random.key(5)))
    assert not lists.drums.any()
    parts = lists.parts[lists.pitches < SHAPE.num_pitches]
    assert len(parts) and np.all(parts > 0)
    assert not np.any(parts & ~(2**instruments.KEYS | 2**instruments.BASS))


def test_windows_at_temperature_zero_are_all_alike_and_others_are_not():
    one = of_rows(random_conditions(2, 1), [0] * 64)
    cold, _ = sample(parameters(), one, jax.random.key(0), Temperatures(1e-5, 1e-5))
    warm, _ = sample(parameters(), one, jax.random.key(0))
    for cold_values, warm_values in zip(cold, warm, strict=True):
        assert np.all(cold_values == cold_values[:1])
        assert np.any(warm_values != warm_values[:1])


def test_the_gradient_of_an_onset_by_those_that_follow_is_zero():
    """Through the recurrent network: its output at onset k by the chords and drums of every onset."""
    net, conditions = network(), random_conditions(4, 64)
    onset, _ = network_lib.unpack_onsets(random_lists(8, 64), SHAPE)

    def outputs(pitches, drums):
        def run(module):
            encoded = module.encode_conditions(conditions)
            x = module.embed_onset(encoded, onset._replace(pitches=pitches, drums=drums)) + encoded.summary[:, None]
            return jnp.sum(module.rnn(x, initial_carry=nn.tanh(encoded.summary)) ** 2, axis=(0, 2))

        return net.apply(parameters(), method=run)

    for gradient in jit(jax.jacrev(outputs, argnums=(0, 1)))(onset.pitches, onset.drums):
        size = np.abs(gradient).sum(axis=(1, 3))  # [of onset, by onset]
        assert np.all(np.triu(size, 1) == 0)
        assert np.all(np.tril(size) + np.triu(np.ones((5, 5)), 1) > 0)


def test_without_a_link_its_content_does_not_matter():
    conditions, lists = random_conditions(4, 64), random_lists(8, 64)
    other = conditions._replace(link=decoded(99, 64))
    unlinked = np.asarray(conditions.similarity == NO_LINK)
    one, two = (np.asarray(score(parameters(), lists, each)["loss"]) for each in (conditions, other))
    np.testing.assert_array_equal(one[unlinked], two[unlinked])
    assert np.all(one[~unlinked] != two[~unlinked])
    samples = [sample(parameters(), each, jax.random.key(1)) for each in (conditions, other)]
    chex.assert_trees_all_equal(*(of_rows(each, np.flatnonzero(unlinked)) for each in samples))


@pytest.mark.parametrize("name", ["previous", "place", "style", "similarity"])
def test_all_other_conditions_matter(name):
    conditions, lists = random_conditions(4, 64), random_lists(8, 64)
    other = conditions._replace(**{name: getattr(random_conditions(40, 64), name)})
    one, two = (np.asarray(score(parameters(), lists, each)["loss"]) for each in (conditions, other))
    assert np.all(one[[0, 3, 6]] != two[[0, 3, 6]])


def test_padding_changes_nothing():
    conditions, lists = random_conditions(4, 64), random_lists(8, 64)
    ended = np.flatnonzero(lists.steps[:, -1] == SHAPE.window_steps)
    assert len(ended) > 1
    ended = np.resize(ended, 64)
    lists, conditions = of_rows(lists, ended), of_rows(conditions, ended)
    empty = of_rows(random_lists(8, 64), [-1] * 64)
    longer = jax.tree.map(lambda rows, more: jnp.concatenate([rows, more], axis=1), lists, empty)
    one, two = (score(parameters(), each, conditions) for each in (longer, lists))
    chex.assert_trees_all_close(one, two, rtol=1e-5, atol=1e-5)


def test_the_content_of_padding_does_not_count():
    """Pitches, durations, parts and drums after the end are ignored."""
    conditions, lists = random_conditions(4, 64), random_lists(8, 64)
    over = lists.steps == SHAPE.window_steps

    def replace(values, stray):
        return jnp.where(over.reshape(over.shape + (1,) * (values.ndim - 2)), stray[:1, :1], values)

    mixed = jax.tree.map(replace, lists, random_lists(10, 64))._replace(steps=lists.steps)
    one, two = (score(parameters(), each, conditions) for each in (mixed, lists))
    chex.assert_trees_all_close(one, two, rtol=1e-5, atol=1e-5)


def test_dropout_needs_a_key():
    net, lists, conditions = network(dropout=0.5), random_lists(8, 64), random_conditions(4, 64)

    @jit
    def loss(key):
        return net.apply(parameters(), lists, conditions, rngs={"dropout": key})["loss"]

    dropped = [np.asarray(loss(jax.random.key(seed))) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(dropped[0], dropped[1])
    assert np.all(dropped[0] != score(parameters(), lists, conditions)["loss"])
    assert np.all(dropped[0] != dropped[2])


def test_gradients_of_the_loss_against_finite_differences():
    """Along the gradient the loss climbs as steeply as the gradient is long."""
    lists, conditions = random_lists(8, 64), random_conditions(4, 64)
    flat, unravel = jax.flatten_util.ravel_pytree(parameters())

    def loss(values):
        return jnp.mean(network().apply(unravel(values), lists, conditions)["loss"])

    gradient = jit(jax.grad(loss))(flat)
    steepness = jnp.linalg.norm(gradient)
    ahead, behind = (jit(loss)(flat + step * gradient / steepness) for step in (0.01, -0.01))
    assert steepness > 1
    assert steepness == pytest.approx(float(ahead - behind) / 0.02, rel=0.02)


def test_held_pitches_against_a_loop():
    lists = random_lists(8, 16)
    onset, notes = network_lib.unpack_onsets(lists, SHAPE)
    found = network_lib.held_pitches(onset.step, notes, SHAPE.num_pitches)
    lists = jax.device_get(lists)
    expected = np.zeros(found.shape)
    for b, k, earlier, m in np.ndindex(16, 5, 5, 4):
        pitch, step = lists.pitches[b, earlier, m], int(lists.steps[b, earlier])
        end = step + onset_encoding.DURATION_STEPS[lists.durations[b, earlier, m]]
        if earlier < k and pitch < SHAPE.num_pitches and end > lists.steps[b, k]:
            expected[b, k, pitch] = 1
    np.testing.assert_array_equal(found, expected)
    assert 0 < expected.sum() < expected.size


def phrases(seed: int, batch: int) -> tuple[OnsetLists[jax.Array], WindowConditions[DecodedWindow]]:
    """Random melodies of four keys' notes, which repeat the earlier window that conditions them."""
    rng = np.random.default_rng(seed)
    steps = np.sort(np.stack([rng.permutation(8)[:4] for _ in range(batch)]))
    pitches = rng.integers(0, SHAPE.num_pitches, steps.shape)
    notes = np.stack([steps, np.full(steps.shape, instruments.KEYS), pitches, np.full(steps.shape, 2)], axis=-1)
    lists = onset_encoding.from_windows(NoteLists(notes, np.ones(steps.shape, bool)), np.arange(3), SHAPE)
    onset = np.full((batch, SHAPE.window_steps, SHAPE.num_pitches), -MAX_LOGIT, np.float32)
    onset[np.arange(batch)[:, None], steps, pitches] = MAX_LOGIT
    keys = np.where(np.arange(NUM_PITCHED_PARTS) == instruments.KEYS, MAX_LOGIT, -MAX_LOGIT).astype(np.float32)
    share = np.broadcast_to(keys, (*onset.shape, NUM_PITCHED_PARTS))
    drum = np.full((batch, SHAPE.window_steps, SHAPE.num_drums), -MAX_LOGIT, np.float32)
    link = DecodedWindow(np.zeros((batch, 6), np.float32), onset, drum, share)
    conditions = random_conditions(0, 1)
    conditions = of_rows(conditions, [0] * batch)._replace(link=link, similarity=np.ones(batch, np.float32))
    return lists, conditions


def test_a_composer_trained_on_repetitions_repeats_new_phrases():
    lists, conditions = phrases(0, 64)
    initial = jit(network().init)(jax.random.key(0), lists, conditions)
    optimizer = optax.rmsprop(1e-2)

    @jit
    def train_step(variables, state):
        gradients = jax.grad(lambda v: jnp.mean(network().apply(v, lists, conditions)["loss"]))(variables)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(variables, updates), state

    trained, state = initial, optimizer.init(initial)
    for _ in range(60):
        trained, state = train_step(trained, state)
    new, conditions_of_new = phrases(1, 64)
    for variables, share in ((initial, 0.0), (trained, 1.0)):
        made, _ = sample(variables, conditions_of_new, jax.random.key(1), Temperatures(1e-3, 1e-3), max_onsets=5)
        made = jax.device_get(made)
        equal = jax.tree.map(lambda one, two: np.all(one == two, axis=tuple(range(1, two.ndim))), made, new)
        assert np.mean(np.all(equal, axis=0)) == pytest.approx(share, abs=0.1)
