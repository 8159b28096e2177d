"""The train step and the evaluation step: pure, traced once, and equal to the papers' formulas in NumPy."""

from __future__ import annotations

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from linear_models import LinearRegression, Points
from tiny_run import HELD_OUT, LAST_STEP, TRAIN, TinyRun, bits

from vae_jax.data.dataset import Batch
from vae_jax.representations.note_matrix import NoteMatrix
from vae_jax.runtime import sharding
from vae_jax.training import step
from vae_jax.training.config import OptimizerConfig

CLIP_NORM = 4.0


@pytest.fixture(scope="module")
def examples() -> NoteMatrix:
    return sharding.replicate(TRAIN)


def batch(*rows: int, size: int = 3) -> Batch[Any]:
    return Batch.place(np.array(rows, np.int32), len(rows), size)


def numpy_steps(
    points: Points, w: np.ndarray, b: float, batches: list[tuple[list[int], int]], num_steps: int
) -> list[dict[str, Any]]:
    """Gradient descent on the mean squared error as the papers write it, in float64.

    The gradient is clipped by its norm (Pascanu, Mikolov and Bengio 2013), Adam (Kingma and Ba 2015, algorithm
    1) has b2 = 0.99, the learning rate rises to 0.1 in two steps and falls along a cosine (Loshchilov and Hutter 2017),
    and the moving average has a decay of 0.9, less in the first steps.
    """
    theta, average = np.append(w, b), np.append(w, b)
    first, second, results = np.zeros_like(theta), np.zeros_like(theta), []
    for n, (rows, size) in enumerate(batches):
        x, y = points.x[rows[:size]].astype(np.float64), points.y[rows[:size]].astype(np.float64)
        error = x @ theta[:-1] + theta[-1] - y
        gradient = np.append(2 * error @ x, 2 * error.sum()) / size
        norm = np.sqrt(np.sum(gradient**2))
        clipped = gradient * min(1.0, CLIP_NORM / norm)
        first = 0.9 * first + 0.1 * clipped
        second = 0.99 * second + 0.01 * clipped**2
        rate = 0.1 * n / 2 if n < 2 else 0.1 * 0.5 * (1 + np.cos(np.pi * (n - 2) / (num_steps - 2)))
        theta = theta - rate * (first / (1 - 0.9 ** (n + 1))) / (np.sqrt(second / (1 - 0.99 ** (n + 1))) + 1e-8)
        decay = min(0.9, (n + 1) / (n + 10))
        average = decay * average + (1 - decay) * theta
        results.append(
            {
                "theta": theta,
                "average": average,
                "loss": np.mean(error**2),
                "absolute_error": np.mean(np.abs(error)),
                "grad_norm": norm,
            }
        )
    return results


def test_steps_are_those_of_the_papers_in_numpy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9, 4)).astype(np.float32)
    points = Points(x, (x @ [1.0, -2.0, 0.5, 0.0] + 0.7 + 0.1 * rng.normal(size=9)).astype(np.float32))
    model = LinearRegression(4, OptimizerConfig("adam", 0.1, warmup_steps=2, clip_norm=CLIP_NORM, b2=0.99))
    optimizer, num_steps = model.optimizer(6), 6
    state = step.init_state(model.init(jax.random.key(0), None), optimizer, 0.9)
    start = jax.device_get(state.params)
    batches = [([0, 4, 7], 3), ([1, 2, 3], 3), ([5, 5, 5], 1), ([8, 6, 0], 2), ([3, 8, 1], 3)]
    expected = numpy_steps(points, start["w"].astype(np.float64), float(start["b"]), batches, num_steps)
    assert any(one["grad_norm"] > CLIP_NORM for one in expected) and any(
        one["grad_norm"] < CLIP_NORM for one in expected
    )

    train_step = step.make_train_step(model, optimizer, jax.random.key(1), average_decay=0.9)
    resident = sharding.replicate(points)
    state = sharding.replicate(state)
    for (rows, size), wanted in zip(batches, expected, strict=True):
        with jax.numpy_dtype_promotion("standard"):  # Optax's Adam needs it.
            state, metrics = train_step(state, resident, batch(*rows, size=size))
        for tree, name in ((state.params, "theta"), (state.average, "average")):
            np.testing.assert_allclose(np.append(tree["w"], tree["b"]), wanted[name], rtol=1e-4, atol=1e-5)
        for name, value in metrics.items():
            assert float(value) == pytest.approx(wanted[name], rel=1e-4), name
    assert int(state.step) == len(batches)


def test_a_step_draws_with_the_key_of_its_number(tiny_run: TinyRun, examples: NoteMatrix):
    model, picked, state = tiny_run.trainable, batch(4, 0, 6), tiny_run.initial()
    key = jax.random.fold_in(tiny_run.keys["train"], 0)

    def mean_loss(params: Any) -> jax.Array:
        return jnp.mean(model.loss({"params": params}, NoteMatrix(examples.values[picked.rows]), key, True)[0])

    with jax.debug_key_reuse(False):  # The step draws with this very key once more.
        loss, grads = jax.jit(jax.value_and_grad(mean_loss))(state.params)
    updates, _ = model.optimizer(LAST_STEP).update(grads, state.opt_state, state.params)
    expected = optax.apply_updates(state.params, updates)
    after, terms = tiny_run.train_step(tiny_run.initial(), examples, picked)
    assert float(terms["loss"]) == pytest.approx(float(loss), rel=1e-5)
    assert float(terms["grad_norm"]) == pytest.approx(float(optax.tree.norm(grads)), rel=1e-4)
    chex.assert_trees_all_close(after.params, expected, rtol=1e-3, atol=1e-5)


def test_a_step_depends_on_its_arguments_alone(tiny_run: TinyRun, examples: NoteMatrix):
    first, first_terms = tiny_run.train_step(tiny_run.initial(), examples, batch(0, 1, 2))
    again, again_terms = tiny_run.train_step(tiny_run.initial(), examples, batch(0, 1, 2))
    assert bits(first) == bits(again)
    assert jax.device_get(first_terms) == jax.device_get(again_terms)


def test_every_step_draws_with_a_key_of_its_own(tiny_run: TinyRun, examples: NoteMatrix):
    terms = [
        tiny_run.train_step(
            tiny_run.initial().replace(step=sharding.replicate(jnp.asarray(number, jnp.int32))),
            examples,
            batch(0, 1, 2),
        )[1]
        for number in (0, 1)
    ]
    assert float(terms[0]["distortion"]) != float(terms[1]["distortion"])
    assert float(terms[0]["kl_nats"]) == float(terms[1]["kl_nats"])


def test_the_state_is_donated(tiny_run: TinyRun, examples: NoteMatrix):
    state = tiny_run.initial()
    tiny_run.train_step(state, examples, batch(0, 1, 2))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))


def test_examples_that_fill_a_batch_up_do_not_count(tiny_run: TinyRun, examples: NoteMatrix):
    alone, alone_terms = tiny_run.fresh_step()(tiny_run.initial(), examples, batch(4, size=1))
    for others in [(4, 4), (0, 6)]:
        filled, filled_terms = tiny_run.train_step(tiny_run.initial(), examples, batch(4, *others, size=1))
        for name, value in alone_terms.items():
            assert float(filled_terms[name]) == pytest.approx(float(value), rel=1e-5)
        chex.assert_trees_all_close(filled.params, alone.params, rtol=1e-3, atol=1e-5)


def test_a_second_shape_of_batch_is_not_traced(tiny_run: TinyRun, examples: NoteMatrix):
    state = tiny_run.initial()
    for picked in ([0, 1, 2], [2, 3, 4], [4, 4, 4]):
        state, _ = tiny_run.train_step(state, examples, batch(*picked))
    with pytest.raises(AssertionError, match="traced"):
        tiny_run.train_step(state, examples, batch(0, 1))


def test_a_gradient_that_is_not_finite_is_reported_and_reaches_the_parameters():
    model = LinearRegression(1, OptimizerConfig("rmsprop", 0.1))
    state = step.init_state(model.init(jax.random.key(0), None), model.optimizer(1), 0.0)
    points = Points(np.array([[np.inf]], np.float32), np.zeros(1, np.float32))
    train_step = step.make_train_step(model, model.optimizer(1), jax.random.key(1))
    after, metrics = train_step(sharding.replicate(state), sharding.replicate(points), batch(0, size=1))
    assert not np.isfinite(metrics["grad_norm"])
    assert all(np.isnan(leaf).all() for leaf in jax.tree.leaves(after.params))


def test_evaluation_gives_the_terms_of_each_example(tiny_run: TinyRun):
    state, held_out = tiny_run.initial(), jax.device_put(HELD_OUT)
    terms = tiny_run.eval_step(state, held_out, jnp.arange(3))
    assert {name: values.shape for name, values in terms.items()} == dict.fromkeys(
        ("loss", "distortion", "kl_nats"), (3,)
    )
    again = tiny_run.eval_step(state, held_out, jnp.arange(3))
    later = tiny_run.eval_step(state.replace(step=state.step + 1), held_out, jnp.arange(3))
    np.testing.assert_array_equal(terms["distortion"], again["distortion"])
    assert np.all(np.asarray(terms["distortion"]) != np.asarray(later["distortion"]))


def test_evaluation_uses_the_average_of_the_parameters_where_one_is_kept():
    model = LinearRegression(1, OptimizerConfig("rmsprop", 0.1))
    state = step.init_state(model.init(jax.random.key(0), None), model.optimizer(1), 0.9)
    average = {"w": jnp.array([2.0]), "b": jnp.array(1.0)}
    points = Points(np.array([[3.0]], np.float32), np.zeros(1, np.float32))
    eval_step = step.make_eval_step(model, jax.random.key(1))
    terms = eval_step(sharding.replicate(state.replace(average=average)), points, jnp.arange(1))
    assert float(terms["loss"][0]) == 49.0


def test_shapes_of_the_state_do_not_depend_on_the_data(tiny_run: TinyRun):
    abstract = step.abstract_state(tiny_run.trainable, 0.5, tiny_run.keys["init"])
    state = tiny_run.initial()
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), abstract.average) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), state.params
    )
    assert abstract.step.shape == () and abstract.step.dtype == jnp.int32
