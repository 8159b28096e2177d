"""The composer as a distribution: it sums to one, looks at nothing to come, and draws what it scores."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import chex
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from vae_jax.composer import network as composer_lib
from vae_jax.composer import onset_encoding
from vae_jax.composer.heads import NUM_DURATIONS, Heard, mirrored
from vae_jax.composer.network import NO_LINK, PLACE_SIZES, STYLE_SIZE, Composer
from vae_jax.composer.onset_encoding import NUM_PITCHED_PARTS, OnsetShape
from vae_jax.composer.sampling import Temperatures, write_window
from vae_jax.music import instruments

QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # To compile.
jit = functools.partial(jax.jit, compiler_options=QUICKLY)
SHAPE = OnsetShape(window_steps=8, num_pitches=13, max_onsets=5, max_pitches=4, num_drums=3)
ONE_BY_ONE = Temperatures(1.0, 1.0)
ONE = OnsetShape(window_steps=1, num_pitches=4, max_onsets=1, max_pitches=3, num_drums=1)
NUM_SETS = 2**NUM_PITCHED_PARTS
ALLOWED = np.ones(instruments.NUM_PARTS, bool)
LISTS = ("steps", "pitches", "durations", "parts", "drums")
DRAWN = ("step_nats", "pitch_nats", "duration_nats", "drum_nats")  # The terms of what `write_window` scores.


def network(shape: OnsetShape = SHAPE, **fields) -> Composer:
    return Composer(shape, window_beats=1 if shape.window_steps < 4 else 4, hidden=16, **fields)


def heard(seed: int, batch: int, shape: OnsetShape = SHAPE) -> Heard:
    rng = np.random.default_rng(seed)
    length, pitches = shape.window_steps, shape.num_pitches
    sizes = ((6,), (length, pitches), (length, shape.num_drums), (length, pitches, NUM_PITCHED_PARTS))
    return Heard(*(jnp.asarray(rng.normal(0, 2, (batch, *size)), jnp.float32) for size in sizes))


def memory_inputs(seed: int, batch: int, shape: OnsetShape = SHAPE, allowed: np.ndarray = ALLOWED) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    style = rng.normal(size=(batch, STYLE_SIZE))
    style[:, : instruments.NUM_PARTS] = allowed
    similarity = np.where(np.arange(batch) % 3 == 1, NO_LINK, rng.random(batch))
    return {
        "previous": heard(seed + 1, batch, shape),
        "link": heard(seed + 2, batch, shape),
        "place": jnp.asarray(np.stack([rng.integers(0, size, batch) for size in PLACE_SIZES], axis=1)),
        "style": jnp.asarray(style, jnp.float32),
        "similarity": jnp.asarray(similarity, jnp.float32),
    }


def random_lists(seed: int, batch: int, shape: OnsetShape = SHAPE) -> dict[str, jax.Array]:
    """Onset lists of random windows, the last of them empty."""
    rng = np.random.default_rng(seed)
    count = rng.integers(2, 20, batch)
    count[-1] = 0
    mask = np.arange(20) < count[:, None]
    columns = (shape.window_steps, instruments.NUM_PARTS, shape.num_pitches)
    notes = np.stack(
        [*(rng.integers(0, size, mask.shape) for size in columns), rng.integers(1, 60, mask.shape)], axis=-1
    )
    arrays = onset_encoding.from_windows(notes, mask, np.arange(shape.num_drums), shape)
    return {name: jnp.asarray(rows) for name, rows in arrays.items()}


@functools.cache
def parameters(shape: OnsetShape = SHAPE) -> Any:
    """Parameters drawn at random, biases too, so that no term is constant by chance."""
    key = jax.random.key(0)
    shapes = jax.eval_shape(network(shape).init, key, random_lists(0, 1, shape), memory_inputs(0, 1, shape))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape), jnp.float32), shapes)


@functools.partial(jit, static_argnames="shape")
def score(variables, lists, inputs, shape=SHAPE) -> dict[str, jax.Array]:
    return network(shape).apply(variables, lists, inputs)


@functools.partial(jit, static_argnames="max_onsets")
def write(variables, inputs, key, temperatures=ONE_BY_ONE, max_onsets=8) -> dict[str, jax.Array]:
    return network().apply(variables, inputs, key, temperatures, max_onsets, method=write_window)


def of_rows(tree: Any, rows: Any) -> Any:
    return jax.tree.map(lambda values: np.asarray(values)[np.asarray(rows)], tree)


@pytest.mark.parametrize(("size", "span"), [(7, 4), (4, 7)])
def test_mirrored_against_a_loop(size, span):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 6, span)).astype(np.float32)
    origin = rng.integers(-3, size + span + 3, (3, 6))
    expected = np.zeros((3, 6, size), np.float32)
    for b, n, p in np.ndindex(expected.shape):
        if 0 <= origin[b, n] - p < span:
            expected[b, n, p] = values[b, n, origin[b, n] - p]
    np.testing.assert_array_equal(mirrored(jnp.asarray(values), jnp.asarray(origin), size, span), expected)
    # Finite differences; the function is linear, so that they are exact but for rounding.
    check_grads(lambda v: mirrored(v, jnp.asarray(origin), size, span), (jnp.asarray(values),), order=2, modes=["rev"])


def test_shapes_and_the_sum_of_the_terms():
    terms = score(parameters(), random_lists(0, 64), memory_inputs(0, 64))
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
    count, room = len(next(iter(lists.values()))), NUM_SETS**2
    rows = of_rows(random_lists(0, 1, ONE), [0] * room)
    rows |= {"steps": jnp.zeros((room, 1), jnp.int32), "pitches": jnp.tile(jnp.array([3, 1, 4]), (room, 1, 1))}
    rows |= {name: jnp.pad(values, ((0, room - count), (0, 0)))[:, None] for name, values in lists.items()}
    return score(parameters(ONE), rows, of_rows(memory_inputs(7, 1, ONE), [0] * room), ONE)[term][:count]


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
    lists = {"steps": steps, "pitches": pitches, "drums": drums}
    lists |= {"durations": 5 - 2 * pitches, "parts": jnp.where(pitches < 2, 5, 0)}  # Whatever they are.
    terms = score(parameters(shape), lists, of_rows(memory_inputs(5, 1, shape), [0] * 81), shape)
    nats = terms["step_nats"] + terms["pitch_nats"] + terms["drum_nats"]
    assert jnp.sum(jnp.exp(-nats)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("max_onsets", [8, 2])
def test_what_is_drawn_is_scored_as_it_was_drawn(max_onsets):
    """Teacher forcing and sampling are one model, whether a window ends before the list is full or with it.

    As what is drawn can look at nothing to come, neither can what is scored.
    """
    inputs = memory_inputs(1, 64)
    made = write(parameters(), inputs, jax.random.key(3), max_onsets=max_onsets)
    terms = score(parameters(), {name: made[name] for name in LISTS}, inputs)
    nats = sum(terms[name] for name in DRAWN)
    np.testing.assert_allclose(nats, made["nats"], rtol=1e-4, atol=1e-4)
    ended = np.asarray(made["steps"][:, -1] == SHAPE.window_steps)
    assert np.std(nats) > 1 and np.any(ended if max_onsets == 8 else ~ended)


def test_what_is_drawn_is_a_window():
    made = jax.device_get(write(parameters(), memory_inputs(1, 64), jax.random.key(5)))
    steps, pitches = made["steps"], made["pitches"]
    over = steps == SHAPE.window_steps
    assert np.all((np.diff(steps) > 0) | over[:, 1:])
    sounding = pitches < SHAPE.num_pitches
    assert np.all((made["durations"] < NUM_DURATIONS) & (sounding | (made["durations"] == 0)))
    assert len(np.unique(made["durations"][sounding])) > 5
    assert np.all((np.diff(pitches) < 0) | ~sounding[..., 1:])
    assert np.all(sounding[..., :-1] | ~sounding[..., 1:])
    assert not sounding[over].any() and not made["parts"][over].any() and not made["drums"][over].any()
    np.testing.assert_array_equal(made["parts"] > 0, sounding)  # Every note is played by somebody.
    assert sounding.any() and made["drums"].any()
    # And nothing is lost on the way to notes.
    notes = onset_encoding.to_notes(made, np.arange(3), SHAPE)
    assert sum(map(len, notes)) == sum(int(bits).bit_count() for bits in [*made["parts"].flat, *made["drums"].flat])


def test_steps_are_drawn_as_often_as_they_are_scored():
    """The first step of four thousand windows against its probabilities by teacher forcing."""
    draws = 4000
    one = memory_inputs(2, 1)
    made = write(parameters(), of_rows(one, [0] * draws), jax.random.key(6), max_onsets=1)
    drawn = np.bincount(np.asarray(made["steps"][:, 0]), minlength=9) / draws
    lists = {
        "steps": jnp.pad(jnp.arange(9)[:, None], ((0, 0), (0, 4)), constant_values=8),
        "pitches": jnp.full((9, 5, 4), 13),
        "durations": jnp.zeros((9, 5, 4), jnp.int32),
        "parts": jnp.zeros((9, 5, 4), jnp.int32),
        "drums": jnp.zeros((9, 5), jnp.int32),
    }
    first = {name: rows[:, :1] for name, rows in lists.items()}  # Full with one onset: nothing follows.
    probs = np.exp(-score(parameters(), first, of_rows(one, [0] * 9))["step_nats"])
    assert probs.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(drawn, probs, atol=5 * 0.5 / np.sqrt(draws))


def test_parts_that_are_not_there_do_not_play():
    allowed = np.isin(np.arange(instruments.NUM_PARTS), (instruments.KEYS, instruments.BASS))
    made = jax.device_get(write(parameters(), memory_inputs(1, 64, allowed=allowed), jax.random.key(5)))
    assert not made["drums"].any()
    played = made["parts"][made["pitches"] < SHAPE.num_pitches]
    assert len(played) and np.all(played > 0)
    assert not np.any(played & ~(2**instruments.KEYS | 2**instruments.BASS))


def test_cold_windows_are_all_alike_and_warm_ones_are_not():
    one = of_rows(memory_inputs(2, 1), [0] * 64)
    cold = write(parameters(), one, jax.random.key(0), Temperatures(1e-5, 1e-5))
    warm = write(parameters(), one, jax.random.key(0))
    for name in LISTS:
        assert np.all(cold[name] == cold[name][:1])
        assert np.any(warm[name] != warm[name][:1])
    again = write(parameters(), one, jax.random.key(0))
    chex.assert_trees_all_equal(warm, again)


def test_the_gradient_of_an_onset_by_those_that_follow_is_zero():
    """Through the network that reads onsets: features of onset k by the chords, parts and drums of every onset."""
    net, lists, inputs = network(), random_lists(8, 64), memory_inputs(4, 64)

    def outputs(pitches, drums):
        def run(module):
            memory = module.remember(**inputs)
            written, _ = composer_lib.unpack(lists, SHAPE)
            x = module.read_onset(memory, written._replace(pitches=pitches, drums=drums)) + memory.summary[:, None]
            return jnp.sum(module.rnn(x, initial_carry=module.start(memory)) ** 2, axis=(0, 2))

        return net.apply(parameters(), method=run)

    written, _ = composer_lib.unpack(lists, SHAPE)
    for gradient in jit(jax.jacrev(outputs, argnums=(0, 1)))(written.pitches, written.drums):
        size = np.abs(gradient).sum(axis=(1, 3))  # [of onset, by onset]
        assert np.all(np.triu(size, 1) == 0)
        assert np.all(np.tril(size) + np.triu(np.ones((5, 5)), 1) > 0)


def test_without_a_link_what_it_holds_does_not_matter():
    inputs, lists = memory_inputs(4, 64), random_lists(8, 64)
    other = inputs | {"link": heard(99, 64)}
    unlinked = np.asarray(inputs["similarity"] == NO_LINK)
    one, two = (np.asarray(score(parameters(), lists, each)["loss"]) for each in (inputs, other))
    np.testing.assert_array_equal(one[unlinked], two[unlinked])
    assert np.all(one[~unlinked] != two[~unlinked])
    made = [write(parameters(), each, jax.random.key(1)) for each in (inputs, other)]
    chex.assert_trees_all_equal(*(of_rows(each, np.flatnonzero(unlinked)) for each in made))


@pytest.mark.parametrize("name", ["previous", "place", "style", "similarity"])
def test_all_else_that_is_remembered_matters(name):
    inputs, lists = memory_inputs(4, 64), random_lists(8, 64)
    other = inputs | {name: memory_inputs(40, 64)[name]}
    one, two = (np.asarray(score(parameters(), lists, each)["loss"]) for each in (inputs, other))
    assert np.all(one[[0, 3, 6]] != two[[0, 3, 6]])


def test_room_beyond_the_end_changes_nothing():
    inputs, lists = memory_inputs(4, 64), random_lists(8, 64)
    ended = np.flatnonzero(lists["steps"][:, -1] == SHAPE.window_steps)
    assert len(ended) > 1
    ended = np.resize(ended, 64)
    lists, inputs = of_rows(lists, ended), of_rows(inputs, ended)
    empty = of_rows(random_lists(8, 64), [-1] * 64)
    longer = {name: jnp.concatenate([rows, empty[name]], axis=1) for name, rows in lists.items()}
    chex.assert_trees_all_close(
        score(parameters(), longer, inputs), score(parameters(), lists, inputs), rtol=1e-5, atol=1e-5
    )


def test_what_stands_beyond_the_end_does_not_count():
    """Pitches, parts and drums after the end are never looked at."""
    inputs, lists = memory_inputs(4, 64), random_lists(8, 64)
    over = lists["steps"] == SHAPE.window_steps
    stray = random_lists(10, 64)
    mixed = {"steps": lists["steps"]}
    for name in LISTS[1:]:
        mask = over.reshape(over.shape + (1,) * (lists[name].ndim - 2))
        mixed[name] = jnp.where(mask, stray[name][:1, :1], lists[name])
    chex.assert_trees_all_close(
        score(parameters(), mixed, inputs), score(parameters(), lists, inputs), rtol=1e-5, atol=1e-5
    )


def test_dropout_is_drawn_only_in_training():
    net, lists, inputs = network(dropout=0.5), random_lists(8, 64), memory_inputs(4, 64)

    @jit
    def loss(key):
        return net.apply(parameters(), lists, inputs, False, rngs={"dropout": key})["loss"]

    dropped = [np.asarray(loss(jax.random.key(seed))) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(dropped[0], dropped[1])
    assert np.all(dropped[0] != score(parameters(), lists, inputs)["loss"])
    assert np.all(dropped[0] != dropped[2])


def test_gradients_of_the_loss_against_finite_differences():
    """Along the gradient the loss climbs as steeply as the gradient is long."""
    lists, inputs = random_lists(8, 64), memory_inputs(4, 64)
    flat, unravel = jax.flatten_util.ravel_pytree(parameters())

    def loss(values):
        return jnp.mean(network().apply(unravel(values), lists, inputs)["loss"])

    gradient = jit(jax.grad(loss))(flat)
    steepness = jnp.linalg.norm(gradient)
    ahead, behind = (jit(loss)(flat + step * gradient / steepness) for step in (0.01, -0.01))
    assert steepness > 1
    assert steepness == pytest.approx(float(ahead - behind) / 0.02, rel=0.02)


def test_pitches_that_sound_on_against_a_loop():
    lists = jax.device_get(random_lists(8, 16))
    found = composer_lib.held_pitches(
        *(jnp.asarray(lists[name], jnp.int32) for name in ("steps", "pitches", "durations")), SHAPE.num_pitches
    )
    expected = np.zeros(found.shape)
    for b, k, earlier, m in np.ndindex(16, 5, 5, 4):
        pitch, step = lists["pitches"][b, earlier, m], int(lists["steps"][b, earlier])
        end = step + onset_encoding.DURATION_STEPS[lists["durations"][b, earlier, m]]
        if earlier < k and pitch < SHAPE.num_pitches and end > lists["steps"][b, k]:
            expected[b, k, pitch] = 1
    np.testing.assert_array_equal(found, expected)
    assert 0 < expected.sum() < expected.size
