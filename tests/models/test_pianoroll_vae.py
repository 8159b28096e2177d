"""The VAE for rolls: what it counts, how it infers, where it starts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax.models import losses
from vae_jax.models.pianoroll_vae import ABSENT_LOGIT, RollVAE, RollVAEConfig, pca_start
from vae_jax.models.posterior import reparameterize
from vae_jax.runtime.errors import UserError

SHAPE = (16, 12, 3)  # Steps, pitches, parts: two pitched parts and drums.


def small_model(**fields) -> RollVAE:
    defaults = {
        "latent_dim": 4,
        "num_onset_cells": 40,
        "num_drum_cells": 10,
        "window_beats": 4,
        "register_semitones": 5,  # Does not divide twelve: the last register is narrower.
        "num_iterations": 3,
    }
    return RollVAE(SHAPE, RollVAEConfig(**(defaults | fields)))


def random_rolls(seed: int, count: int) -> np.ndarray:
    """Rolls that repeat a few patterns, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    patterns = rng.random((6, *SHAPE)) < 0.06
    return np.any(patterns[rng.integers(0, 6, (count, 2))], axis=1).astype(np.float32)


@functools.cache
def applied(model: RollVAE, method: str | None = None) -> Callable[..., Any]:
    return jax.jit(functools.partial(model.apply, method=method))


@functools.cache
def started(model: RollVAE, seed: int, count: int) -> dict:
    """Variables from PCA of random rolls, which come in batches of 10 and the rest."""
    rolls = random_rolls(seed, count)
    drawn = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, *SHAPE)), jax.random.key(1))
    return pca_start(model, dict(drawn), lambda: [part for part in (rolls[:10], rolls[10:]) if len(part)], seed=0)


def test_features_are_counted_by_hand():
    model = small_model()
    x = np.zeros((1, *SHAPE), np.float32)
    x[0, 1, 0, 0] = x[0, 1, 0, 1] = 1  # One note that both parts play: beat 0, register 0.
    x[0, 2, 4, 1] = 1  # Another of the second part alone, in the same beat and register.
    x[0, 5, 11, 0] = 1  # Beat 1, the last register.
    x[0, 9, 3, 2] = 1  # Drums.
    counted = jax.jit(model.count_features)(x)
    cells = SHAPE[0] * SHAPE[1]
    onset = counted.successes[0, :cells].reshape(16, 12)
    assert onset.sum() == 3
    assert onset[1, 0] == onset[2, 4] == onset[5, 11] == 1
    assert counted.successes[0, cells : 2 * cells].reshape(16, 12)[9, 3] == 1
    taken = counted.successes[0, 2 * cells :].reshape(4, 3, 2)
    trials = counted.trials[0, 2 * cells :].reshape(4, 3, 2)
    np.testing.assert_array_equal(taken[0, 0], [1, 2])
    np.testing.assert_array_equal(trials[0, 0], [2, 2])
    np.testing.assert_array_equal(taken[1, 2], [1, 0])
    np.testing.assert_array_equal(trials[1, 2], [1, 1])
    assert trials.sum() == 2 * 3
    assert np.all(counted.trials[0, : 2 * cells] == 1)


def test_shapes():
    model = small_model()
    variables = started(model, 0, 30)
    x = jnp.asarray(random_rolls(1, 5))
    output = applied(model)(variables, x, jax.random.key(2))
    chex.assert_shape([output.distortion, output.kl_nats], (5,))
    chex.assert_shape([output.posterior.mean, output.posterior.log_var], (5, 4))
    decoded = applied(model, "decode")(variables, output.posterior.mean)
    chex.assert_shape([decoded.onset, decoded.drum], (5, 16, 12))
    chex.assert_shape(decoded.share, (5, 16, 12, 2))


def test_decoding_puts_every_feature_where_counting_found_it():
    model = small_model()
    variables = started(model, 0, 30)
    z = jax.random.normal(jax.random.key(3), (2, 4))
    decoded = applied(model, "decode")(variables, z)
    logits = z @ variables["params"]["kernel"] + variables["params"]["bias"]
    features = np.asarray(variables["constants"]["features"])
    cells = SHAPE[0] * SHAPE[1]
    for place, feature in enumerate(features.tolist()):
        if feature < cells:
            found = decoded.onset[:, feature // 12, feature % 12]
        elif feature < 2 * cells:
            found = decoded.drum[:, (feature - cells) // 12, (feature - cells) % 12]
        else:
            beat, register, part = np.unravel_index(feature - 2 * cells, (4, 3, 2))
            found = decoded.share[:, 4 * beat + 1, 5 * register + 1, part]
        np.testing.assert_allclose(found, logits[:, place], rtol=1e-5)
    absent = np.setdiff1d(np.arange(cells), features)
    assert np.all(decoded.onset.reshape(2, -1)[:, absent] == ABSENT_LOGIT)


def test_inference_climbs_the_log_joint():
    model = small_model(num_iterations=12)
    variables = started(model, 0, 60)
    x = jnp.asarray(random_rolls(0, 60)[:20])
    counted = applied(model, "counts")(variables, x)
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]

    @jax.jit
    def log_joint(z):
        nats = losses.binomial_nll(z @ kernel + bias, counted)
        return -nats - 0.5 * model.config.prior_weight * jnp.sum(z**2, axis=-1)

    mean = applied(model, "encode")(variables, x).mean
    short = small_model(num_iterations=1)
    guess = applied(short, "encode")(started(short, 0, 60), x).mean
    assert jnp.mean(log_joint(mean)) > jnp.mean(log_joint(guess))
    # After enough steps the gradient, taken by JAX rather than written out, is nearly gone.
    gradient = jax.jit(jax.grad(lambda z: jnp.sum(log_joint(z))))
    assert jnp.linalg.norm(gradient(mean)) < 0.5 * jnp.linalg.norm(gradient(guess))


def test_the_decoder_learns_from_decoding_alone():
    model = small_model()
    variables = started(model, 0, 30)
    x = jnp.asarray(random_rolls(1, 5))

    def mean_sum(params):
        return jnp.sum(model.apply(variables | {"params": params}, x, method="encode").mean)

    grads = jax.jit(jax.grad(mean_sum))(variables["params"])
    assert np.all(grads["kernel"] == 0)
    assert np.all(grads["bias"] == 0)
    assert np.any(grads["start"] != 0)
    assert np.any(grads["preconditioner"] != 0)


def test_the_pca_start_is_better_than_chance_and_deterministic():
    model = small_model(latent_dim=6, num_onset_cells=192, num_drum_cells=60)
    rolls = random_rolls(0, 80)
    first, second = started(model, 0, 80), started.__wrapped__(model, 0, 80)
    chex.assert_trees_all_equal(first, second)
    mean = applied(model, "encode")(first, rolls).mean
    decoded = applied(model, "decode")(first, mean)
    played, truth = np.asarray(decoded.onset) > 0, rolls[..., :-1].any(axis=-1)
    f1 = 2 * np.sum(played & truth) / (np.sum(played) + np.sum(truth))
    assert f1 > 0.9


def test_a_pca_start_of_fewer_windows_than_latents():
    model = small_model(latent_dim=8)
    posterior = applied(model, "encode")(started(model, 0, 3), random_rolls(0, 3))
    assert np.all(np.isfinite(posterior.mean))


def test_the_distortion_is_the_nll_of_the_latent_sampled_with_the_key():
    model = small_model()
    variables = started(model, 0, 30)
    x = jnp.asarray(random_rolls(1, 5))
    output = applied(model)(variables, x, jax.random.key(1))
    z = reparameterize(jax.random.key(1), output.posterior)
    logits = z @ variables["params"]["kernel"] + variables["params"]["bias"]
    expected = losses.binomial_nll(logits, applied(model, "counts")(variables, x))
    np.testing.assert_allclose(output.distortion, expected, rtol=1e-5)
    chex.assert_trees_all_close(output.posterior, applied(model, "encode")(variables, x), rtol=1e-5)


def test_without_parts_only_the_merged_onsets_are_modelled():
    model = small_model(with_parts=False)
    rolls, variables = random_rolls(0, 30), started(model, 0, 30)
    assert model.num_features == 40 == variables["params"]["bias"].size
    decoded = applied(model, "decode")(variables, jnp.zeros((1, 4)))
    assert np.all(decoded.drum == ABSENT_LOGIT) and np.all(decoded.share == ABSENT_LOGIT)
    # Which part starts a note makes no difference.
    merged = np.zeros_like(rolls)
    merged[..., 0] = rolls[..., :-1].max(axis=-1)
    encoded = [applied(model, "encode")(variables, jnp.asarray(one)) for one in (rolls, merged)]
    chex.assert_trees_all_equal(*encoded)


def test_a_number_of_beats_that_does_not_divide_the_window_is_refused():
    with pytest.raises(UserError, match="must divide a window's 16 steps, got 5"):
        small_model(window_beats=5)
