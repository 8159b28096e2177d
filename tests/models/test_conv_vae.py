"""The post's model and the reparameterisation."""

from __future__ import annotations

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import post
from vae_jax.models.conv_vae import PostVAE
from vae_jax.models.factory import make_model
from vae_jax.models.posterior import Posterior, reparameterise
from vae_jax.runtime.errors import UserError

EXAMPLE = (10, 3, 2)
BATCH, LATENTS = 3, 4
NUM_DRAWS = 50_000


@pytest.fixture(scope="module")
def small() -> tuple[PostVAE, dict]:
    model = PostVAE(EXAMPLE, filters=8, hidden=64, latent_dim=LATENTS)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, *EXAMPLE)), jax.random.key(1))["params"]
    return model, params


def abstract_params(model: PostVAE) -> dict:
    x = jnp.zeros((1, *model.example_shape))
    return jax.eval_shape(model.init, jax.random.key(0), x, jax.random.key(1))["params"]


def test_the_posts_model_has_69_282_557_parameters():
    config = post.get_config().to_dict()
    sizes = config["representation"]
    model = make_model(config["model"], "events", (sizes["num_notes"], 3, sizes["num_tracks"]))
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(abstract_params(model))) == 69_282_557


def test_the_layers_are_those_of_the_post():
    kernels = {
        f"{half}/{layer}": leaves["kernel"].shape
        for half, layers in abstract_params(PostVAE((150, 3, 9))).items()
        for layer, leaves in layers.items()
    }
    assert kernels == {
        "encoder/conv_0": (5, 1, 9, 36),
        "encoder/conv_1": (5, 1, 36, 72),
        "encoder/conv_2": (5, 3, 72, 144),
        "encoder/conv_3": (5, 3, 144, 288),
        "encoder/dense_0": (150 * 3 * 288, 256),
        "encoder/dense_1": (256, 128),
        "encoder/dense_2": (128, 64),
        "encoder/mean": (64, 2),
        "encoder/log_var": (64, 2),
        "decoder/dense_0": (2, 64),
        "decoder/dense_1": (64, 128),
        "decoder/dense_2": (128, 256),
        "decoder/dense_3": (256, 150 * 3 * 288),
        "decoder/conv_0": (5, 3, 288, 288),
        "decoder/conv_1": (5, 3, 288, 144),
        "decoder/conv_2": (5, 1, 144, 72),
        "decoder/conv_3": (5, 1, 72, 9),
    }


@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
def test_shapes_and_dtypes(small: tuple[PostVAE, dict], jit: bool):
    model, params = small
    wrap = jax.jit if jit else lambda function: function
    x = jnp.ones((BATCH, *EXAMPLE))
    outputs, posterior = wrap(lambda p, x, key: model.apply({"params": p}, x, key))(params, x, jax.random.key(0))
    chex.assert_shape(outputs, (BATCH, *EXAMPLE))
    chex.assert_shape(posterior, (BATCH, LATENTS))
    chex.assert_type([outputs, *posterior], jnp.float32)
    encoded = wrap(lambda p, x: model.apply({"params": p}, x, method="encode"))(params, x)
    chex.assert_trees_all_close(encoded, posterior, rtol=1e-5)
    decoded = wrap(lambda p, z: model.apply({"params": p}, z, method="decode"))(params, posterior.mean)
    chex.assert_shape(decoded, (BATCH, *EXAMPLE))
    assert np.all(np.asarray(decoded) >= 0)


def test_the_call_decodes_the_latent_drawn_by_its_key(small: tuple[PostVAE, dict]):
    model, params = small
    x = jax.random.uniform(jax.random.key(5), (BATCH, *EXAMPLE)) * 100
    outputs, posterior = model.apply({"params": params}, x, jax.random.key(7))
    z = reparameterise(jax.random.key(7), posterior)
    chex.assert_trees_all_close(outputs, model.apply({"params": params}, z, method="decode"), rtol=1e-5)


def test_examples_do_not_see_each_other(small: tuple[PostVAE, dict]):
    model, params = small
    x = jax.random.uniform(jax.random.key(5), (BATCH, *EXAMPLE)) * 100
    together = model.apply({"params": params}, x, method="encode")
    alone = model.apply({"params": params}, x[1:2], method="encode")
    chex.assert_trees_all_close(jax.tree.map(lambda rows: rows[1:2], together), alone, rtol=1e-4, atol=1e-6)


def test_wrong_shapes_are_refused(small: tuple[PostVAE, dict]):
    model, params = small
    with pytest.raises(AssertionError):
        model.apply({"params": params}, jnp.zeros((BATCH, 10, 3, 3)), method="encode")
    with pytest.raises(AssertionError):
        model.apply({"params": params}, jnp.zeros((BATCH, LATENTS + 1)), method="decode")


def test_kernels_are_drawn_as_keras_draws_them(small: tuple[PostVAE, dict]):
    _, params = small
    for half, layer in [("encoder", "conv_3"), ("encoder", "dense_0"), ("decoder", "dense_3"), ("decoder", "conv_0")]:
        kernel = np.asarray(params[half][layer]["kernel"])
        field = math.prod(kernel.shape[:-2])
        limit = math.sqrt(6 / (field * (kernel.shape[-2] + kernel.shape[-1])))
        assert 0.99 * limit < np.abs(kernel).max() <= limit * (1 + 1e-6), (half, layer)
        assert kernel.std() == pytest.approx(limit / math.sqrt(3), rel=0.05), (half, layer)
    assert all(not np.any(layer["bias"]) for half in params.values() for layer in half.values())


def test_an_unknown_model_is_refused_by_name():
    with pytest.raises(UserError, match="'transformer'"):
        make_model({"name": "transformer"}, "events", EXAMPLE)
    with pytest.raises(UserError, match=r"takes config\.representation\.name=events, not roll"):
        make_model({"name": "post"}, "roll", (8, 8, 8))


# The reparameterisation.


def draws(form: str, mean: list[float], log_var: list[float]) -> np.ndarray:
    rows = [jnp.broadcast_to(jnp.array(values), (NUM_DRAWS, len(values))) for values in (mean, log_var)]
    return np.asarray(reparameterise(jax.random.key(3), Posterior(*rows), form))


@pytest.mark.parametrize(("form", "log_std_per_log_var"), [("standard", 0.5), ("post", 1.0)])
def test_moments_of_the_draws(form: str, log_std_per_log_var: float):
    mean, log_var = [1.0, -2.0], [0.8, -1.2]
    z = draws(form, mean, log_var)
    std = np.exp(np.array(log_var) * log_std_per_log_var)
    error = 5 / math.sqrt(NUM_DRAWS)  # Five standard errors.
    np.testing.assert_allclose(z.mean(axis=0), mean, atol=error * std.max())
    np.testing.assert_allclose(z.std(axis=0), std, rtol=error)


def test_latents_of_the_correct_form_are_independent():
    z = draws("standard", [0.0, 0.0], [0.0, 0.0])
    assert abs(np.corrcoef(z.T)[0, 1]) < 5 / math.sqrt(NUM_DRAWS)


def test_latents_of_the_posts_form_move_along_one_diagonal():
    mean, log_var = np.array([1.0, -2.0, 0.0]), np.array([0.8, -1.2, 0.0])
    epsilon = (draws("post", mean.tolist(), log_var.tolist()) - mean) / np.exp(log_var)
    np.testing.assert_allclose(epsilon, np.broadcast_to(epsilon[:, :1], epsilon.shape), rtol=1e-3, atol=1e-5)
    assert epsilon[:, 0].std() == pytest.approx(1, rel=0.02)  # Another epsilon for each example.


@pytest.mark.parametrize("form", ["standard", "post"])
def test_the_same_key_draws_the_same_and_another_key_draws_otherwise(form: str):
    posterior = Posterior(jnp.zeros((5, 2)), jnp.zeros((5, 2)))
    first, again, other = (reparameterise(jax.random.key(seed), posterior, form) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.all(np.asarray(first) != np.asarray(other))


@pytest.mark.parametrize(("form", "slope"), [("standard", 0.5), ("post", 1.0)])
def test_gradients_reach_the_mean_and_the_variance(form: str, slope: float):
    posterior = Posterior(jnp.array([[0.3, -0.4]]), jnp.array([[0.2, -0.6]]))
    grads = jax.grad(lambda p: reparameterise(jax.random.key(0), p, form).sum())(posterior)
    np.testing.assert_allclose(grads.mean, 1.0)
    # z = mean + exp(slope * log_var) * epsilon: its derivative by log_var is slope * (z - mean).
    z = reparameterise(jax.random.key(0), posterior, form)
    np.testing.assert_allclose(grads.log_var, slope * (z - posterior.mean), rtol=1e-4)
    assert np.all(np.asarray(grads.log_var) != 0)


def test_tests_refuse_a_key_used_twice():
    key = jax.random.key(0)
    posterior = Posterior(jnp.zeros((1, 2)), jnp.zeros((1, 2)))
    reparameterise(key, posterior)
    with pytest.raises(jax.errors.KeyReuseError):
        reparameterise(key, posterior)


def test_a_form_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="form must be"):
        reparameterise(jax.random.key(0), Posterior(jnp.zeros((1, 2)), jnp.zeros((1, 2))), "keras")
    with pytest.raises(AssertionError):
        reparameterise(jax.random.key(0), Posterior(jnp.zeros((1, 2)), jnp.zeros((1, 3))))
