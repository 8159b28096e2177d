"""Layers whose variables and values are those of Flax's own, and which take less time on CPUs (docs/performance.md)."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp


class SameConv(nn.Module):
    """`nn.Conv` of stride one, padded to the size of its input; `nn.ConvTranspose` of stride one is the same."""

    features: int  # Channels of the output.
    kernel_size: tuple[int, int]  # (height, width), both odd.
    kernel_init: Callable[..., jax.Array] = nn.initializers.xavier_uniform()  # Draws the kernel.

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H, W, features]."""
        kernel = self.param("kernel", self.kernel_init, (*self.kernel_size, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        convolve = convolve_by_columns if jax.default_backend() == "cpu" else convolve_by_xla
        return convolve(x, kernel) + bias


class WideDense(nn.Module):
    """`nn.Dense` with far more outputs than inputs."""

    features: int  # Of the output.
    kernel_init: Callable[..., jax.Array] = nn.initializers.xavier_uniform()  # Draws the kernel.

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, C] to [B, features]."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        return wide_affine(x, kernel, bias) if jax.default_backend() == "cpu" else x @ kernel + bias


@jax.custom_vjp
def wide_affine(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """Returns x [B, C] times the kernel [C, D] plus the bias [D], with gradients that XLA makes fast products of."""
    return x @ kernel + bias


def _wide_affine_forward(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> tuple[jax.Array, tuple]:
    return wide_affine(x, kernel, bias), (x, kernel)


def _wide_affine_backward(saved: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, ...]:
    x, kernel = saved
    # [C, B] takes half the time of [B, C]; without the barrier XLA would turn it around.
    by_x = jax.lax.optimization_barrier(jnp.einsum("bd,cd->cb", gradient, kernel)).T
    return by_x, x.T @ gradient, jnp.ones(len(x), gradient.dtype) @ gradient


wide_affine.defvjp(_wide_affine_forward, _wide_affine_backward)


def convolve_by_xla(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves [B, H, W, C] with [h, w, C, D] into [B, H, W, D], zeros around: the general operation."""
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def convolve_by_columns(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Does what `convolve_by_xla` does, by a convolution over the rows for every column; best for a few columns.

    A column is seen by those beside it, through one column of the kernel each: their taps lie side by side in one
    kernel [h, C, columns D]. That leaves out the taps that lie in the padding at the sides, two ninths of a 3-wide
    kernel over three columns, and XLA computes the gradients of such convolutions sooner.
    """
    width, reach = x.shape[2], kernel.shape[1] // 2
    columns: list[list[jax.Array]] = [[] for _ in range(width)]
    for place in range(width):
        seen_by = range(max(0, place - reach), min(width, place + reach + 1))
        taps = jnp.concatenate([kernel[:, place - column + reach] for column in seen_by], axis=-1)
        seen = jax.lax.conv_general_dilated(x[:, :, place], taps, (1,), "SAME", dimension_numbers=("NHC", "HIO", "NHC"))
        for column, share in zip(seen_by, jnp.split(seen, len(seen_by), axis=-1), strict=True):
            columns[column].append(share)
    return jnp.stack([sum(shares[1:], shares[0]) for shares in columns], axis=2)
