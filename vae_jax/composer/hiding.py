"""What training hides from the composer at random, or gets wrong on purpose, so that it does without."""

import jax
import jax.numpy as jnp

from vae_jax.composer import counts
from vae_jax.composer.crops import Crops
from vae_jax.composer.harmony import UNKNOWN
from vae_jax.composer.notes import NUM_DURATIONS, NUM_LAGS, NUM_PITCHES


def forget(crops: Crops[jax.Array], no_form: jax.Array, no_style: jax.Array, no_harmony: jax.Array) -> Crops[jax.Array]:
    """Returns crops without their form, without their style and without their chords, where the masks [B] say so."""
    mask = no_form[:, None]

    def without(values: jax.Array, nothing: int) -> jax.Array:
        last = values[:, :, -1]
        where = mask.reshape(-1, *[1] * (last.ndim - 1))
        return values.at[:, :, -1].set(jnp.where(where, jnp.asarray(nothing, last.dtype), last))

    return crops._replace(
        plan=jnp.where(mask[..., None], 0, crops.plan),
        aligned=without(crops.aligned, 0),
        aligned_role=without(crops.aligned_role, NUM_PITCHES),
        aligned_duration=without(crops.aligned_duration, NUM_DURATIONS),
        aligned_size=without(crops.aligned_size, 0),
        onsets=without(crops.onsets, 0),
        style=jnp.where(no_style[:, None], 0, crops.style),
        chords=jnp.where(no_harmony[:, None, None], jnp.uint8(UNKNOWN), crops.chords),
    )


def confuse_memories(crops: Crops[jax.Array], rate: float, key: jax.Array) -> Crops[jax.Array]:
    """Returns crops in which some tokens have the counts and lags of others, so that errors in them do not repeat.

    Every kind of counts and every fixed lag is another token's with a probability of up to twice `rate`.
    """
    names = counts.FIELDS
    (batch, length), num_fixed = crops.pitch.shape, NUM_LAGS - 1
    level_key, mask_key, shift_key = jax.random.split(key, 3)
    level = jax.random.uniform(level_key, (batch, 1, 1), maxval=2 * rate)
    wrong = jax.random.bernoulli(mask_key, level, (batch, length, num_fixed + len(names)))
    wrong = jnp.concatenate([wrong, jnp.zeros((batch, length, 1), bool)], axis=-1)
    wrong_lag = jnp.concatenate([wrong[..., :num_fixed], wrong[..., -1:]], axis=-1)
    shift = jax.random.randint(shift_key, (), 1, length)

    def confuse(values: jax.Array, where: jax.Array) -> jax.Array:
        where = where.reshape(*where.shape, *[1] * (values.ndim - where.ndim))
        return jnp.where(where, jnp.roll(values, shift, axis=1), values)

    lagged = ("aligned", "aligned_role", "aligned_duration", "aligned_size", "onsets")
    return crops._replace(
        **{name: confuse(getattr(crops, name), wrong_lag) for name in lagged},
        **{name: confuse(getattr(crops, name), wrong[..., num_fixed + n]) for n, name in enumerate(names)},
    )
