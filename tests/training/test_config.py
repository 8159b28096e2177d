"""The optimisers and the length of a run."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vae_jax.training.config import OptimizerConfig, TrainConfig


def test_rmsprop_is_that_of_keras():
    learning_rate, rho, epsilon = 1e-3, 0.9, 1e-7
    optimizer = OptimizerConfig("rmsprop", learning_rate).make(12)
    params = jnp.array([1.0, -2.0, 0.5])
    state = optimizer.init(params)
    expected, accumulator = np.array([1.0, -2.0, 0.5]), np.zeros(3)
    for gradient in (np.array([0.5, -3.0, 1e-7]), np.array([-0.25, 1.0, 2e-7])):
        updates, state = optimizer.update(jnp.asarray(gradient, jnp.float32), state, params)
        params = optax.apply_updates(params, updates)
        accumulator = rho * accumulator + (1 - rho) * gradient**2
        expected = expected - learning_rate * gradient / (np.sqrt(accumulator) + epsilon)
        np.testing.assert_allclose(np.asarray(params) - [1, -2, 0.5], expected - [1, -2, 0.5], rtol=1e-3)


def test_a_run_shorter_than_its_warm_up_reaches_the_learning_rate_halfway():
    optimizer = OptimizerConfig("adam", 0.1, warmup_steps=100).make(6)
    params, moved = jnp.array(0.0), []
    state = optimizer.init(params)
    for _ in range(6):
        with jax.numpy_dtype_promotion("standard"):  # Optax's Adam needs it.
            updates, state = optimizer.update(jnp.array(1.0), state, params)
        moved.append(-float(updates))  # Of a constant gradient Adam's step is the learning rate.
    np.testing.assert_allclose(moved, [0, 0.1 / 3, 0.2 / 3, 0.1, 0.075, 0.025], rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize(
    ("num_examples", "min_steps", "epoch_steps"),
    [
        (7, 0, 3),  # Batches of 3, 3 and 1.
        (6, 0, 2),
        (2, 0, 1),
        (7, 12, 3),  # Four epochs of three updates are twelve.
        (7, 13, 6),  # Two passes an epoch.
        (2, 100, 25),
    ],
)
def test_few_examples_are_used_more_often_in_an_epoch(num_examples: int, min_steps: int, epoch_steps: int):
    config = TrainConfig(batch_size=3, num_epochs=4, min_steps=min_steps)
    assert config.epoch_steps(num_examples) == epoch_steps
    assert config.num_steps(num_examples) == 4 * epoch_steps
