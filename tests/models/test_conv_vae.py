"""The post's model: its layers, shapes and likeness to Keras."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import post
from vae_jax.models.conv_vae import ConvVAE, ConvVAEConfig
from vae_jax.models.factory import make_model
from vae_jax.models.losses import gaussian_kl_nats, mean_squared_log_error
from vae_jax.models.posterior import reparameterize
from vae_jax.runtime.errors import UserError

EXAMPLE = (10, 3, 2)
BATCH, LATENTS = 3, 4


@pytest.fixture(scope="module")
def small() -> tuple[ConvVAE, dict]:
    model = ConvVAE(EXAMPLE, ConvVAEConfig(LATENTS, filters=8, hidden=64))
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, *EXAMPLE)), jax.random.key(1))["params"]
    return model, params


@functools.cache
def applied(model: ConvVAE, method: str | None = None) -> Callable[..., Any]:
    return jax.jit(functools.partial(model.apply, method=method))


def abstract_params(model: ConvVAE) -> dict:
    x = jnp.zeros((1, *model.example_shape))
    return jax.eval_shape(model.init, jax.random.key(0), x, jax.random.key(1))["params"]


def test_the_posts_model_has_69_282_557_parameters():
    config = post.get_config().to_dict()
    sizes = config["representation"]
    model = make_model(config["model"], sizes, (sizes["num_notes"], 3, sizes["num_tracks"]))
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(abstract_params(model))) == 69_282_557


def test_the_layers_are_those_of_the_post():
    kernels = {
        f"{half}/{layer}": leaves["kernel"].shape
        for half, layers in abstract_params(ConvVAE((150, 3, 9), ConvVAEConfig())).items()
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


def test_shapes_and_dtypes(small: tuple[ConvVAE, dict]):
    model, params = small
    x = jnp.ones((BATCH, *EXAMPLE))
    output = applied(model)({"params": params}, x, jax.random.key(0))
    chex.assert_shape([output.distortion, output.kl_nats, output.loss(0.5)], (BATCH,))
    encoded = applied(model, "encode")({"params": params}, x)
    chex.assert_shape(encoded, (BATCH, LATENTS))
    chex.assert_type([output.distortion, output.kl_nats, *encoded], jnp.float32)
    np.testing.assert_allclose(output.kl_nats, gaussian_kl_nats(encoded), rtol=1e-5)
    decoded = applied(model, "decode")({"params": params}, encoded.mean)
    chex.assert_shape(decoded, (BATCH, *EXAMPLE))
    assert np.all(np.asarray(decoded) >= 0)


def test_the_distortion_is_that_of_the_latent_sampled_with_the_key(small: tuple[ConvVAE, dict]):
    model, params = small
    x = jax.random.uniform(jax.random.key(5), (BATCH, *EXAMPLE)) * 100
    output = applied(model)({"params": params}, x, jax.random.key(7))
    z = reparameterize(jax.random.key(7), applied(model, "encode")({"params": params}, x))
    decoded = applied(model, "decode")({"params": params}, z)
    np.testing.assert_allclose(output.distortion, mean_squared_log_error(decoded, x), rtol=1e-5)


def test_the_config_chooses_distortion_and_reparameterization(small: tuple[ConvVAE, dict]):
    _, params = small
    x = jax.random.uniform(jax.random.key(5), (BATCH, *EXAMPLE)) * 100
    other = ConvVAE(EXAMPLE, ConvVAEConfig(LATENTS, 8, 64, reparameterization="post", distortion="mse"))
    output = applied(other)({"params": params}, x, jax.random.key(7))
    z = reparameterize(jax.random.key(7), applied(other, "encode")({"params": params}, x), "post")
    decoded = applied(other, "decode")({"params": params}, z)
    np.testing.assert_allclose(output.distortion, np.mean((decoded - x) ** 2, axis=(1, 2, 3)), rtol=1e-5)


def test_examples_do_not_see_each_other(small: tuple[ConvVAE, dict]):
    model, params = small
    x = jax.random.uniform(jax.random.key(5), (BATCH, *EXAMPLE)) * 100
    together = applied(model, "encode")({"params": params}, x)
    alone = applied(model, "encode")({"params": params}, x[1:2])
    chex.assert_trees_all_close(jax.tree.map(lambda rows: rows[1:2], together), alone, rtol=1e-4, atol=1e-6)


def test_wrong_shapes_are_refused(small: tuple[ConvVAE, dict]):
    model, params = small
    with pytest.raises(AssertionError):
        applied(model, "encode")({"params": params}, jnp.zeros((BATCH, 10, 3, 3)))
    with pytest.raises(AssertionError):
        applied(model, "decode")({"params": params}, jnp.zeros((BATCH, LATENTS + 1)))


def test_kernels_are_drawn_as_keras_draws_them(small: tuple[ConvVAE, dict]):
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
        make_model({"name": "transformer"}, {"name": "note_matrix"}, EXAMPLE)
    with pytest.raises(UserError, match=r"takes config\.representation\.name=note_matrix, not pianoroll"):
        make_model({"name": "conv_vae"}, {"name": "pianoroll"}, (8, 8, 8))
