"""Layers that the composer's networks share."""

import jax
import jax.numpy as jnp

from vae_jax.composer.notes import NUM_PITCHES

_NEAR = 15  # Semitones of an interval that are told apart.
_MANY = 8.0  # More often counts as often.


def hot(x: jax.Array, size: int) -> jax.Array:
    """One-hot float32 [..., size] of integers of any type; zeros where one is outside."""
    return jax.nn.one_hot(x.astype(jnp.int32), size)


def flat(*parts: jax.Array) -> jax.Array:
    """Joins features along the last axis as float32."""
    return jnp.concatenate([part.astype(jnp.float32) for part in parts], axis=-1)


def rows(x: jax.Array) -> jax.Array:
    """Flattens the last two axes."""
    return x.reshape(*x.shape[:-2], -1)


def shift(tables: jax.Array, start: jax.Array, size: int) -> jax.Array:
    """Takes `size` entries of each table [..., K] from `start` [...] on."""
    take = lambda table, n: jax.lax.dynamic_slice(table, (n,), (size,))  # noqa: E731
    found = jax.vmap(take)(tables.reshape(-1, tables.shape[-1]), start.reshape(-1))
    return found.reshape(*start.shape, size)


def by_distance(tables: jax.Array, reference: jax.Array, size: int) -> jax.Array:
    """Scores values 0 to size - 1 by their distance from references, summed, [..., size].

    Args:
      tables: [..., R, 2 * size - 1], for distances of 1 - size to size - 1.
      reference: [..., R] integers from 0 to `size`; the last stands for none.
    """
    known = reference < size
    found = shift(tables, jnp.where(known, size - 1 - reference.astype(jnp.int32), 0), size)
    return jnp.where(known[..., None], found, 0).sum(axis=-2)


def recall(counts: jax.Array, gates: jax.Array) -> jax.Array:
    """Scores values by how often they occurred in C contexts, [..., K]; counts [..., C, K], gates [..., 2 C]."""
    counts = jnp.minimum(counts.astype(jnp.float32), _MANY)
    shares = counts / jnp.maximum(counts.sum(axis=-1, keepdims=True), 1.0)
    planes = jnp.concatenate([jnp.log1p(counts), shares], axis=-2)
    return jnp.einsum("...c,...ck->...k", gates, planes)


def interval_features(pitch: jax.Array, references: jax.Array) -> jax.Array:
    """One-hot intervals of a pitch [...] from references [..., R]; zeros where either is missing."""
    pitch, references = pitch.astype(jnp.int32)[..., None], references.astype(jnp.int32)
    interval = jnp.clip(pitch - references, -_NEAR, _NEAR) + _NEAR
    known = (pitch < NUM_PITCHES) & (references < NUM_PITCHES)
    return rows(hot(jnp.where(known, interval, -1), 2 * _NEAR + 1))
