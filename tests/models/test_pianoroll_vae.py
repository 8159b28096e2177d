"""The VAE for piano rolls: what it counts, how it infers and decodes, its prior, where it starts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vae_jax.models import losses
from vae_jax.models.pianoroll_start import from_known, from_pca
from vae_jax.models.pianoroll_vae import (
    ABSENT_LOGIT,
    RollVAE,
    RollVAEConfig,
    add_neighbours,
    stack_neighbours,
)
from vae_jax.models.posterior import Posterior, reparameterize
from vae_jax.representations.pianoroll.rasterize import DURATION_EDGES, DURATION_REGISTER, Rolls
from vae_jax.runtime.config import FieldError

SHAPE = S, P, C = 4, 12, 3  # Steps, pitches, parts: two pitched parts and drums.
SIZES = CELLS, _, SHARES, _ = S * P, S * P, 3 * 2, S * 2 * len(DURATION_EDGES)
ENCODER_REACH = 8  # Of the small model: 2 of the first guess, 3 of each of its two steps.
LAGS = [1, 2, 3, 4, 6, 8, 12, 16]


def small_model(**fields) -> RollVAE:
    defaults = {
        "latent_dim": 6,
        "num_onset_cells": 40,
        "num_drum_cells": 10,
        "num_durations": 30,
        "register_semitones": 5,  # Does not divide twelve: the last register is narrower.
        "kernel_beats": 3,
        "preconditioner_beats": 3,
        "num_iterations": 2,
        "prior_hidden": 5,
    }
    return RollVAE(SHAPE, RollVAEConfig(**(defaults | fields)))


def rolls_of(onsets: np.ndarray, durations: np.ndarray) -> Rolls:
    """Rolls of onsets [B, T, S, P, C] and of the durations of all cells, of the same shape."""
    longer = (durations[..., None] > np.array((0, *DURATION_EDGES))) & (onsets[..., None] > 0)
    halves = longer.reshape(*longer.shape[:2], 2, S // 2, P // DURATION_REGISTER, DURATION_REGISTER, C, -1)
    outlasting = halves.sum(axis=(3, 5))[..., : C - 1, :]
    return Rolls(onsets.astype(np.uint8), outlasting.astype(np.uint8), np.ones(onsets.shape[:2], np.float32))


def random_rolls(seed: int, count: int, beats: int = 6) -> Rolls:
    """Rolls that repeat a few patterns, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    patterns, durations = rng.random((6, *SHAPE)) < 0.1, rng.integers(1, 60, (6, *SHAPE))
    drawn = rng.integers(0, 6, (2, count, beats))
    return rolls_of(np.any(patterns[drawn], axis=0), np.max(durations[drawn] * patterns[drawn], axis=0))


def take(x: Rolls, *rows: slice) -> Rolls:
    return jax.tree.map(lambda array: array[rows], x)


def padded(x: Rolls, before: int, after: int) -> Rolls:
    """The same beats among others that do not belong to the piece."""
    return jax.tree.map(lambda array: np.pad(array, ((0, 0), (before, after), *((0, 0),) * (array.ndim - 2))), x)


@functools.cache
def applied(model: RollVAE, method: str | None = None) -> Callable[..., Any]:
    return jax.jit(functools.partial(model.apply, method=method))


def drawn(model: RollVAE) -> dict[str, Any]:
    init = jax.jit(functools.partial(model.init, method="prior"))  # Draws all variables; compiled faster than the call.
    return dict(init(jax.random.key(0), jnp.zeros((1, 1, model.latent_dim))))


count_features = jax.jit(small_model().count_features)


@functools.cache
def started(model: RollVAE, seed: int = 0, count: int = 30) -> dict[str, Any]:
    """Variables from PCA of random rolls, which come in batches of ten, with a random prior."""
    rolls = random_rolls(seed, count)
    batches = [take(rolls, slice(first, first + 10)) for first in range(0, count, 10)]
    variables = from_pca(model, drawn(model), lambda: batches, seed=0)
    rng = np.random.default_rng(2)
    prior = {
        name: jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.07, leaf.shape), jnp.float32), values)
        for name, values in variables["params"].items()
        if name.startswith("prior_")
    }
    assert len(prior) == 3
    return variables | {"params": variables["params"] | prior}


def widened(variables: dict[str, Any]) -> dict[str, Any]:
    """With kernels that reach beyond one beat, unlike those of PCA."""
    rng = np.random.default_rng(4)
    wide = {
        name: jnp.asarray(rng.normal(variables["params"][name], 0.1), jnp.float32)
        for name in ("kernel", "start", "preconditioner")
    }
    return variables | {"params": variables["params"] | wide}


def logits_by_hand(variables: dict[str, Any], z: np.ndarray, width: int = 3) -> np.ndarray:
    """b + sum_k W_k z_(t+k), [B, T, M]."""
    kernel = np.asarray(variables["params"]["kernel"]).reshape(width, z.shape[-1], -1)
    logits = np.tile(np.asarray(variables["params"]["bias"]), (*z.shape[:2], 1))
    for t in range(z.shape[1]):
        for k in range(-(width // 2), width // 2 + 1):
            if 0 <= t + k < z.shape[1]:
                logits[:, t] += z[:, t + k] @ kernel[k + width // 2]
    return logits


# What it counts.


def test_features_are_counted_by_hand():
    onsets, durations = np.zeros((1, 2, *SHAPE)), np.zeros((1, 2, *SHAPE), int)
    onsets[0, 0, 1, 0, :2] = 1  # A pitch that both parts play, one of them for three steps, one for fifty.
    durations[0, 0, 1, 0, :2] = 3, 50
    onsets[0, 0, 0, 5, 0], durations[0, 0, 0, 5, 0] = 1, 50  # The first part in the same half and register.
    onsets[0, 0, 2, 4, 1], durations[0, 0, 2, 4, 1] = 1, 1  # The second part alone, in the same register.
    onsets[0, 1, 0, 11, 0], durations[0, 1, 0, 11, 0] = 1, 2  # The next beat, the last register.
    onsets[0, 0, 3, 3, 2], durations[0, 0, 3, 3, 2] = 1, 9  # Drums.
    counted = jax.device_get(count_features(rolls_of(onsets, durations)))
    assert counted.successes.shape == counted.trials.shape == (1, 2, sum(SIZES))
    successes, trials = (np.split(values[0], np.cumsum(SIZES)[:-1], axis=-1) for values in counted)

    assert np.argwhere(successes[0].reshape(2, S, P)).tolist() == [[0, 0, 5], [0, 1, 0], [0, 2, 4], [1, 0, 11]]
    assert np.argwhere(successes[1].reshape(2, S, P)).tolist() == [[0, 3, 3]]
    assert np.all(trials[0] == 1) and np.all(trials[1] == 1)
    taken, available = (group[2].reshape(2, 3, 2) for group in (successes, trials))
    assert taken.tolist() == [[[1, 2], [1, 0], [0, 0]], [[0, 0], [0, 0], [1, 0]]]
    assert available.tolist() == [[[2, 2], [1, 1], [0, 0]], [[0, 0], [0, 0], [1, 1]]]
    longer, tried = (group[3].reshape(2, 2, 2, 2, -1) for group in (successes, trials))
    assert tried[0, 0, 0, 0].tolist() == [2, 2, 2, *[1] * 9]  # One ends in the third class, one outlasts them all.
    assert longer[0, 0, 0, 0].tolist() == [2, 2, *[1] * 10]
    assert tried[0, 0, 0, 1].tolist() == [1] * 12 and longer[0, 0, 0, 1].tolist() == [1] * 12
    assert tried[0, 1, 0, 1, :2].tolist() == [1, 0] and longer[0, 1, 0, 1, 0] == 0
    assert tried[1, 0, 1, 0, :3].tolist() == [1, 1, 0] and longer[1, 0, 1, 0, :2].tolist() == [1, 0]
    assert tried.sum() == 3 * 2 + 9 + 12 + 1 + 2


def test_nothing_is_tried_outside_of_the_piece():
    x = padded(random_rolls(0, 2), 1, 2)
    trials = np.asarray(count_features(x).trials)
    assert not trials[:, [0, -2, -1]].any() and np.all(trials[:, 1:-2, :CELLS] == 1)


def test_the_most_frequent_features_are_modelled():
    model = small_model()
    variables, rolls = started(model), random_rolls(0, 30)
    assert small_model(num_drum_cells=1000).num_modelled == (40, CELLS, SHARES, 30)
    features = np.asarray(variables["constants"]["features"])
    assert len(features) == model.num_features == variables["params"]["bias"].size
    counts = jax.tree.map(lambda values: values.sum(axis=(0, 1)), jax.device_get(count_features(rolls)))
    for ranked, first, size in ((counts.successes, 0, CELLS), (counts.trials, 2 * CELLS + SHARES, SIZES[3])):
        group = np.arange(first, first + size)
        kept = np.isin(group, features)
        assert ranked[group[kept]].min() >= ranked[group[~kept]].max()


# Sequences.


def test_neighbours_by_hand():
    x = np.arange(1.0, 5, dtype=np.float32).reshape(1, 4, 1)
    assert stack_neighbours(x, 3)[0].tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 0]]
    np.testing.assert_array_equal(stack_neighbours(x, 1), x)


@pytest.mark.parametrize("width", [1, 3, 5])
@pytest.mark.parametrize("beats", [1, 2, 7])
def test_stacking_and_adding_are_transposes(width: int, beats: int):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, beats, 3)).astype(np.float32), rng.normal(size=(2, beats, 3 * width)).astype(np.float32)
    stacked, added = stack_neighbours(x, width), add_neighbours(y, width)
    chex.assert_equal_shape([stacked, y])
    chex.assert_equal_shape([added, x])
    np.testing.assert_allclose(np.sum(stacked * y), np.sum(x * added), rtol=1e-5)


def test_decoding_puts_every_feature_where_counting_found_it():
    model, variables = small_model(), started(small_model())
    z = np.random.default_rng(3).normal(size=(2, 5, 6)).astype(np.float32)
    decoded = jax.device_get(applied(model, "decode")(variables, z))
    chex.assert_shape([decoded.onset, decoded.drum], (2, 5, S, P))
    chex.assert_shape(decoded.share, (2, 5, P, C - 1))
    chex.assert_shape(decoded.outlasts, (2, 5, 2, 2, C - 1, len(DURATION_EDGES)))
    logits, features = logits_by_hand(variables, z), np.asarray(variables["constants"]["features"])
    outlasts = decoded.outlasts.reshape(2, 5, -1)
    for place, feature in enumerate(features.tolist()):
        if feature < 2 * CELLS:
            found = (decoded.onset, decoded.drum)[feature // CELLS].reshape(2, 5, CELLS)[..., feature % CELLS]
        elif feature < 2 * CELLS + SHARES:
            register, part = divmod(feature - 2 * CELLS, 2)
            for pitch in range(5 * register, min(5 * register + 5, P)):
                found = decoded.share[..., pitch, part]
                np.testing.assert_allclose(found, logits[..., place], rtol=1e-4, atol=1e-5)
        else:
            found = outlasts[..., feature - 2 * CELLS - SHARES]
        np.testing.assert_allclose(found, logits[..., place], rtol=1e-4, atol=1e-5)
    absent = np.setdiff1d(np.arange(CELLS), features)
    assert len(absent) == CELLS - 40 and np.all(decoded.onset.reshape(2, 5, -1)[..., absent] == ABSENT_LOGIT)


def test_durations_that_are_not_modelled_have_the_odds_of_the_training_beats():
    model, variables = small_model(), started(small_model())
    counts = jax.tree.map(lambda values: values.sum(axis=(0, 1)), jax.device_get(count_features(random_rolls(0, 30))))
    absent = np.setdiff1d(np.arange(sum(SIZES[:3]), sum(SIZES)), np.asarray(variables["constants"]["features"]))
    decoded = applied(model, "decode")(variables, np.zeros((2, 5, 6), np.float32))
    found = scipy.special.expit(np.asarray(decoded.outlasts)[0, 0].ravel()[absent - sum(SIZES[:3])])
    expected = (counts.successes[absent] + 0.1) / (counts.trials[absent] + 0.2)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert len(absent) == SIZES[3] - 30


# Inference.


def test_inference_climbs_the_log_joint_by_its_gradient():
    model, variables, x = small_model(), started(small_model()), random_rolls(1, 5)
    counts = applied(model, "counts")(variables, x)
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def log_joint(z):
        around = jnp.concatenate([jnp.pad(z, ((0, 0), (1, 1), (0, 0)))[:, n : n + 6] for n in range(3)], axis=-1)
        nats = losses.binomial_nll(around @ kernel + bias, counts)
        values = -jnp.sum(nats, axis=1) - 0.5 * model.config.prior_weight * jnp.sum(z**2, axis=(1, 2))
        return jnp.sum(values), values

    zero = jnp.zeros((5, 6, 6))
    (_, mine), _ = log_joint(applied(model, "encode")(variables, x).mean)
    (_, nothing), first = log_joint(zero)
    assert jnp.mean(mine) > jnp.mean(nothing)

    # From zero, two bounded steps along the gradient, which JAX takes here, with a momentum of 0.5 in the second.
    plain = {
        "start": jnp.zeros((18, 6)),
        "preconditioner": jnp.tile(0.01 * jnp.eye(18, 6, k=-6), (2, 1, 1)),
        "momentum": jnp.array([0.3, 0.5]),
    }
    found = applied(model, "encode")(variables | {"params": variables["params"] | plain}, x).mean
    step = 0.7 * jnp.tanh(0.01 * first / 0.7)
    _, second = log_joint(step)
    expected = step + 0.7 * jnp.tanh((0.5 * step + 0.01 * second) / 0.7)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_the_decoder_learns_from_decoding_alone():
    model, variables = small_model(), started(small_model())
    x = random_rolls(1, 5)

    def mean_sum(params):
        return jnp.sum(model.apply(variables | {"params": params}, x, method="encode").mean)

    grads = jax.jit(jax.grad(mean_sum))(variables["params"])
    assert np.all(grads["kernel"] == 0)
    assert np.all(grads["bias"] == 0)
    assert np.any(grads["start"] != 0)
    assert np.any(grads["preconditioner"] != 0)


def test_beats_outside_of_the_piece_change_nothing():
    model, variables = small_model(), widened(started(small_model()))
    x, among = random_rolls(1, 5, beats=4), padded(random_rolls(1, 5, beats=4), 1, 1)
    posterior, inside = (applied(model, "encode")(variables, rolls) for rolls in (x, among))
    chex.assert_trees_all_close(take(inside, slice(None), slice(1, -1)), posterior, rtol=1e-4, atol=1e-5)
    outside = np.array([0, -1])
    assert not np.asarray(inside.mean)[:, outside].any() and not np.asarray(inside.log_var)[:, outside].any()

    output = applied(model)(variables, among, jax.random.key(1))
    z = reparameterize(jax.random.key(1), inside)[:, 1:-1]
    kl = applied(model, "kl_nats")(variables, posterior, z)
    np.testing.assert_allclose(output.kl_nats, kl.sum(axis=1), rtol=1e-4)
    logits = jnp.asarray(logits_by_hand(variables, np.asarray(z)))
    nll = losses.binomial_nll(logits, applied(model, "counts")(variables, x))
    np.testing.assert_allclose(output.distortion, nll.sum(axis=1), rtol=1e-4)


def test_latents_do_not_depend_on_where_a_beat_stands_but_near_the_ends():
    model, variables = small_model(), started(small_model())
    x = random_rolls(1, 2, beats=26)
    shifted = jax.tree.map(lambda array: np.roll(array, 3, axis=1), x)
    one, other = (np.asarray(applied(model, "encode")(variables, rolls).mean) for rolls in (x, shifted))
    inner = slice(ENCODER_REACH, 26 - 3 - ENCODER_REACH)
    np.testing.assert_allclose(one[:, inner], np.roll(other, -3, axis=1)[:, inner], rtol=1e-4, atol=1e-5)
    decoded = [np.asarray(applied(model, "decode")(variables, z).onset) for z in (one, np.roll(one, 3, axis=1))]
    np.testing.assert_allclose(decoded[0][:, 1:22], decoded[1][:, 4:25], rtol=1e-4, atol=1e-4)


def test_latents_depend_on_beats_within_the_context_alone():
    model, variables = small_model(), widened(started(small_model()))
    x = random_rolls(1, 1, beats=26)
    changed = jax.tree.map(np.copy, x)
    changed.onsets[:, 13] = 1 - changed.onsets[:, 13]
    one, other = (np.asarray(applied(model, "encode")(variables, rolls).mean) for rolls in (x, changed))
    moved = np.flatnonzero(np.any(one != other, axis=(0, 2)))
    reach = np.array([13 - moved.min(), moved.max() - 13])  # What comes from afar may round away.
    assert reach.max() == ENCODER_REACH and reach.min() >= ENCODER_REACH - 2
    assert model.context == max(ENCODER_REACH, *LAGS)
    assert small_model(num_iterations=8, kernel_beats=5).context == 9 * (2 + 1) + 8 * 2


# The prior.


def test_the_prior_of_a_beat_depends_on_the_latents_before_it_alone():
    model, variables = small_model(), started(small_model())
    z = np.random.default_rng(0).normal(size=(1, 30, 6)).astype(np.float32)
    changed = z.copy()
    changed[:, 7] += 1
    one, other = (jax.device_get(applied(model, "prior")(variables, rows)) for rows in (z, changed))
    for before, after in zip(one, other, strict=True):
        assert np.flatnonzero(np.any(before != after, axis=(0, 2))).tolist() == [7 + lag for lag in LAGS]
    # The first beat has none before it: as if they were zero.
    np.testing.assert_allclose(
        one.mean[:, 0], applied(model, "prior")(variables, np.zeros_like(z)).mean[:, 20], rtol=1e-5
    )


def test_an_untrained_prior_is_standard_normal():
    model = small_model()
    variables = drawn(model)
    prior = applied(model, "prior")(variables, jnp.ones((2, 6, 6)))
    assert not np.asarray(prior.mean).any() and not np.asarray(prior.log_var).any()
    posterior = Posterior(jnp.ones((2, 6, 6)), jnp.full((2, 6, 6), -1.0))
    kl = applied(model, "kl_nats")(variables, posterior, jnp.zeros((2, 6, 6)))
    np.testing.assert_allclose(kl, losses.gaussian_kl_nats(posterior), rtol=1e-6)


def test_the_kl_is_that_of_monte_carlo():
    model, variables = small_model(), started(small_model())
    rng = np.random.default_rng(5)
    mean, log_var, z = rng.normal(size=(3, 1, 5, 6)).astype(np.float32)
    found = np.asarray(applied(model, "kl_nats")(variables, Posterior(mean, log_var), z))
    prior = jax.device_get(applied(model, "prior")(variables, z))
    drawn = rng.normal(mean, np.exp(log_var / 2), size=(20_000, 1, 5, 6))
    log_ratio = scipy.stats.norm.logpdf(drawn, mean, np.exp(log_var / 2))
    log_ratio -= scipy.stats.norm.logpdf(drawn, prior.mean, np.exp(prior.log_var / 2))
    estimate = log_ratio.sum(axis=-1)
    error = estimate.std(axis=0) / np.sqrt(len(estimate))
    assert np.all(np.abs(estimate.mean(axis=0) - found) < 5 * error)
    assert np.all(found > 20 * error)


def test_samples_of_the_prior_have_its_conditional_moments():
    model, variables = small_model(), started(small_model())
    sample = jax.jit(functools.partial(model.apply, method="sample_prior"), static_argnames=("num", "num_examples"))

    def residuals(seed: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
        key = jax.random.key(seed)
        z = sample(variables, key, num=300, num_examples=25, temperature=jnp.float32(temperature))
        prior = jax.device_get(applied(model, "prior")(variables, z))
        return np.asarray(z), (np.asarray(z) - prior.mean) / np.exp(prior.log_var / 2)

    z, drawn = residuals(0, 1.0)
    assert z.shape == (300, 25, 6)
    rows = drawn.reshape(300, -1)
    assert np.all(np.abs(rows.mean(axis=0)) < 5 / np.sqrt(300))
    assert abs(rows.var() - 1) < 0.05
    assert np.abs(np.corrcoef(drawn.reshape(-1, 6).T) - np.eye(6)).max() < 0.06
    assert scipy.stats.kstest(rows.ravel()[::7], "norm").pvalue > 0.01
    np.testing.assert_allclose(residuals(0, 0.5)[1], 0.5 * drawn, atol=1e-3)
    frozen, nothing = residuals(0, 0.0)
    np.testing.assert_allclose(nothing, 0, atol=1e-4)
    np.testing.assert_array_equal(frozen[0], frozen[1])
    assert np.any(np.diff(frozen[0], axis=0) != 0)
    np.testing.assert_array_equal(residuals(0, 1.0)[0], z)
    assert np.all(residuals(1, 1.0)[0] != z)


# The call, and the start.


def test_the_call_is_the_loss_of_the_latents_sampled_with_the_key():
    model, variables = small_model(), started(small_model())
    x = random_rolls(1, 5)
    output = applied(model)(variables, x, jax.random.key(1))
    chex.assert_shape([output.distortion, output.kl_nats], (5,))
    posterior = applied(model, "encode")(variables, x)
    chex.assert_shape(posterior, (5, 6, 6))
    z = reparameterize(jax.random.key(1), posterior)
    logits = jnp.asarray(logits_by_hand(variables, np.asarray(z)))
    nll = losses.binomial_nll(logits, applied(model, "counts")(variables, x))
    np.testing.assert_allclose(output.distortion, nll.sum(axis=1), rtol=1e-4)
    kl = losses.gaussian_divergence_nats(posterior, applied(model, "prior")(variables, z))
    np.testing.assert_allclose(output.kl_nats, kl.sum(axis=1), rtol=1e-4)
    chex.assert_trees_all_equal(output, applied(model)(variables, x, jax.random.key(1)))
    other = applied(model)(variables, x, jax.random.key(2))
    assert np.all(output.distortion != other.distortion) and np.all(output.kl_nats != other.kl_nats)


def test_the_pca_start_is_better_than_chance_and_deterministic():
    model, rolls = small_model(), random_rolls(0, 30)
    variables = started(model)
    chex.assert_trees_all_equal(variables, started.__wrapped__(model))
    mean = applied(model, "encode")(variables, rolls).mean
    decoded = jax.device_get(applied(model, "decode")(variables, mean))
    played, truth = decoded.onset > 0, rolls.onsets[..., :-1].any(axis=-1)
    assert 2 * np.sum(played & truth) / (np.sum(played) + np.sum(truth)) > 0.9
    # Durations: of the notes that outlast a class, how many outlast the next.
    counts = rolls.outlasting.astype(int)
    tried = counts[..., :-1] > 0
    is_right = (decoded.outlasts > 0) == (2 * counts[..., 1:] > counts[..., :-1])
    assert is_right[tried].mean() > 0.85


@pytest.mark.parametrize("rank", [0, 2])
def test_a_start_from_fewer_beats_than_latents(rank: int):
    model, rolls = small_model(), random_rolls(0, 1, beats=rank + 1)
    variables = from_pca(model, drawn(model), lambda: [rolls], seed=0)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(variables))
    middle = np.asarray(variables["params"]["kernel"] - drawn(model)["params"]["kernel"])[6:12]
    assert np.linalg.matrix_rank(middle, tol=1e-3) == rank
    output = applied(model)(variables, random_rolls(1, 5), jax.random.key(1))
    assert np.all(np.isfinite(output.distortion)) and np.all(np.isfinite(output.kl_nats))


def test_a_start_from_silence():
    model, silence = small_model(), jax.tree.map(np.zeros_like, random_rolls(0, 5))
    silence.inside[:] = 1
    variables = from_pca(model, drawn(model), lambda: [silence], seed=0)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(variables))
    mean = applied(model, "encode")(variables, silence).mean
    assert np.all(applied(model, "decode")(variables, mean).onset < 0)


@pytest.mark.parametrize("field", ["kernel_beats", "preconditioner_beats"])
def test_an_even_width_is_refused(field: str):
    with pytest.raises(FieldError, match=f"{field} must be odd, got 4"):
        small_model(**{field: 4})


def test_a_start_from_a_model_of_the_same_features_is_that_model():
    """What the rolls of the other model have, in the same order."""
    model, rolls = small_model(), random_rolls(0, 10)
    known = from_pca(model, drawn(model), lambda: [rolls], seed=0)
    started = from_known(model, drawn(model), lambda: [rolls], known)
    np.testing.assert_array_equal(started["constants"]["features"], known["constants"]["features"])
    chex.assert_trees_all_close(started["params"], known["params"], atol=1e-6)


def test_a_start_from_a_smaller_model_reconstructs_as_well_and_knows_more_features():
    """Columns of features that it does not have are zero, their biases the log odds."""
    small, model, rolls = small_model(num_onset_cells=20), small_model(), random_rolls(0, 10)
    known = from_pca(small, drawn(small), lambda: [rolls], seed=0)
    started = from_known(model, drawn(model), lambda: [rolls], known)
    there, here = (np.asarray(one["constants"]["features"]) for one in (known, started))
    assert set(there) < set(here)
    is_known = np.isin(here, there)
    kernel, bias = (np.asarray(started["params"][name]) for name in ("kernel", "bias"))
    np.testing.assert_allclose(kernel[:, is_known], known["params"]["kernel"], atol=1e-6)
    assert not kernel[:, ~is_known].any()
    frequency = np.asarray(applied(model, "counts")(started, rolls).successes).sum(axis=(0, 1))[~is_known]
    assert np.corrcoef(frequency, bias[~is_known])[0, 1] > 0.9
    np.testing.assert_array_equal(started["params"]["preconditioner"], known["params"]["preconditioner"])


def test_a_start_keeps_features_that_only_the_other_model_knows():
    model, rolls = small_model(), random_rolls(0, 10)
    known = from_pca(model, drawn(model), lambda: [rolls], seed=0)
    silence = jax.tree.map(np.zeros_like, rolls)
    silence.inside[:] = 1
    started = from_known(model, drawn(model), lambda: [silence], known)
    np.testing.assert_array_equal(started["constants"]["features"], known["constants"]["features"])
