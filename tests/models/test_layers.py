"""Layers against Flax's own: the same variables, the same values, the same gradients."""

from __future__ import annotations

from collections.abc import Callable

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax.models import layers

KERNELS = ((5, 1), (5, 3), (3, 5))


def gradients(layer: nn.Module, variables: dict, x: jax.Array) -> tuple[jax.Array, dict]:
    """By the input and by the variables, of a sum that weighs every output differently."""

    def weighed(x: jax.Array, variables: dict) -> jax.Array:
        y = layer.apply(variables, x)
        return jnp.sum(y * jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))

    return jax.jit(jax.grad(weighed, argnums=(0, 1)))(x, variables)


@pytest.mark.parametrize(
    ("kernel", "width", "flax_layer"),
    [
        *((kernel, width, nn.Conv) for kernel, width in [((5, 1), 3), ((5, 3), 1), ((5, 3), 3), ((3, 5), 4)]),
        ((5, 3), 3, nn.ConvTranspose),
    ],
)
def test_a_convolution_is_flax_s(kernel: tuple[int, int], width: int, flax_layer: Callable[..., nn.Module]):
    ours = layers.SameConv(6, kernel)
    theirs = flax_layer(6, kernel, padding="SAME", kernel_init=nn.initializers.xavier_uniform())
    x = jax.random.normal(jax.random.key(1), (2, 7, width, 5))
    variables = ours.init(jax.random.key(2), x)
    chex.assert_trees_all_equal(variables, theirs.init(jax.random.key(2), x))
    variables["params"]["bias"] += 0.5
    np.testing.assert_allclose(ours.apply(variables, x), theirs.apply(variables, x), atol=2e-5)
    chex.assert_trees_all_close(gradients(ours, variables, x), gradients(theirs, variables, x), atol=1e-4)


@pytest.mark.parametrize("kernel", KERNELS)
def test_columns_give_what_accelerators_are_given(kernel: tuple[int, int]):
    x = jax.random.normal(jax.random.key(1), (2, 7, 3, 5))
    taps = jax.random.normal(jax.random.key(2), (*kernel, 5, 6))
    np.testing.assert_allclose(layers.convolve_by_columns(x, taps), layers.convolve_by_xla(x, taps), atol=2e-5)


def test_a_wide_layer_is_flax_s():
    ours, theirs = layers.WideDense(50), nn.Dense(50, kernel_init=nn.initializers.xavier_uniform())
    x = jax.random.normal(jax.random.key(1), (3, 8))
    variables = ours.init(jax.random.key(2), x)
    chex.assert_trees_all_equal(variables, theirs.init(jax.random.key(2), x))
    variables["params"]["bias"] += 0.5
    np.testing.assert_allclose(ours.apply(variables, x), theirs.apply(variables, x), atol=1e-5)
    chex.assert_trees_all_close(gradients(ours, variables, x), gradients(theirs, variables, x), atol=1e-5)
