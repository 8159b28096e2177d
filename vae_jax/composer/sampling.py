"""Sampling a window from the composer, one onset after another."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from vae_jax.composer import network
from vae_jax.composer.heads import IMPOSSIBLE, ChordInputs, bernoulli_nats, categorical_nats
from vae_jax.composer.network import Composer, Conditions, EncodedConditions, Notes, Onset
from vae_jax.composer.onset_encoding import NUM_PITCHED_PARTS, OnsetLists


class Temperatures(NamedTuple):
    """Divisors of the logits, a number or [B] each."""

    step: Array | float  # Of steps and durations.
    note: Array | float  # Of pitches, parts and drums.


def sample_window(
    composer: Composer, conditions: Conditions, key: Array, temperatures: Temperatures, max_onsets: int
) -> tuple[OnsetLists[Array], Array]:
    """Samples the next window of B pieces (the key is consumed), for `composer.apply(..., method=sample_window)`.

    Args:
      composer: bound.
      conditions: parts that the style does not have do not play.
      key: consumed.
      temperatures: see `Temperatures`.
      max_onsets: K, onsets after which a window ends.

    Returns:
      Onset lists, int32 [B, K, ...], and the negative log likelihood, in nats at temperature 1, of their steps,
      pitches, durations and drums, [B].
    """
    encoded = composer.encode_conditions(conditions)
    temperature = Temperatures(*(jnp.reshape(jnp.asarray(values), (-1, 1)) for values in temperatures))
    has_part, has_drums = jnp.split(conditions.style[:, : NUM_PITCHED_PARTS + 1] > 0, [NUM_PITCHED_PARTS], axis=1)
    shape, batch = composer.shape, len(has_part)

    def sample_onset(carry, onset_key):
        h, previous, until, is_over = carry
        step_key, pitch_key, duration_key, part_key, drum_key = jax.random.split(onset_key, 5)
        h, output = composer.cell(h, composer.embed_onset(encoded, previous) + encoded.summary)
        last = jnp.where(previous.step > shape.window_steps, -1, previous.step)
        logits = composer.step_logits(encoded, output, last)
        step = jnp.where(is_over, shape.window_steps, jax.random.categorical(step_key, logits / temperature.step))
        nats = jnp.where(is_over, 0.0, categorical_nats(logits, step))
        is_over = step == shape.window_steps
        held = (until > step[:, None]).astype(jnp.float32)
        chord, features = composer.chord_inputs(encoded, output, step, previous, held)
        pitches, pitch_nats = _sample_pitches(composer, chord, pitch_key, temperature, is_over)
        notes, duration_nats = _sample_durations_and_parts(
            composer, encoded, features, step, pitches, previous, (duration_key, part_key), temperature, has_part
        )
        drum_logits = composer.drum_head(encoded.windows, features, step)
        is_struck = jax.random.bernoulli(drum_key, jax.nn.sigmoid(drum_logits / temperature.note))
        drums = (is_struck & has_drums & ~is_over[:, None]).astype(jnp.float32)
        nats += jnp.where(is_over, 0.0, pitch_nats + duration_nats + bernoulli_nats(drum_logits, drums))
        ends = network.end_steps(step, notes.durations)[..., None]
        until = jnp.maximum(until, jnp.max(jax.nn.one_hot(pitches, shape.num_pitches, dtype=jnp.int32) * ends, axis=1))
        onset = network.make_onset(step, notes, drums, shape.num_pitches)
        lists = OnsetLists(step, pitches, notes.durations, _pack_bits(notes.parts), _pack_bits(drums))
        return (h, onset, until, is_over), (lists, nats)

    none_held = jnp.zeros((batch, shape.num_pitches), jnp.int32)
    start = (composer.initial_carry(encoded), network.first_onset(batch, shape), none_held, jnp.zeros(batch, bool))
    _, (lists, nats) = jax.lax.scan(sample_onset, start, jax.random.split(key, max_onsets))
    return jax.tree.map(lambda values: jnp.moveaxis(values, 0, 1), lists), nats.sum(axis=0)


def _sample_pitches(
    composer: Composer, chord: ChordInputs, key: Array, temperature: Temperatures, is_over: Array
) -> tuple[Array, Array]:
    """Samples the pitches of an onset from high to low, [B, M], and their nats, [B]."""
    num_pitches, max_pitches = composer.shape.num_pitches, composer.shape.max_pitches

    def sample(carry, pitch_key):
        chosen, last, is_complete = carry
        logits = composer.pitch_head(chord, chosen, last)
        pitch = jax.random.categorical(pitch_key, logits / temperature.note)
        nats = jnp.where(is_complete, 0.0, categorical_nats(logits, pitch))
        pitch = jnp.where(is_complete, num_pitches, pitch)
        is_complete = pitch == num_pitches
        return (chosen + jax.nn.one_hot(pitch, num_pitches), jnp.where(is_complete, 0, pitch), is_complete), (
            pitch,
            nats,
        )

    start = (jnp.zeros((len(is_over), num_pitches)), jnp.full(len(is_over), num_pitches + 1, jnp.int32), is_over)
    _, (pitches, nats) = jax.lax.scan(sample, start, jax.random.split(key, max_pitches))
    return pitches.T, nats.sum(axis=0)


def _sample_durations_and_parts(
    composer: Composer,
    encoded: EncodedConditions,
    features: Array,
    step: Array,
    pitches: Array,
    previous: Onset,
    keys: tuple[Array, Array],
    temperature: Temperatures,
    has_part: Array,
) -> tuple[Notes, Array]:
    """Samples durations and parts of pitches [B, M]; returns the notes and the durations' nats, [B].

    The likeliest part that the piece has plays where none is sampled.
    """

    def sample(carry, inputs):
        duration, parts = carry
        pitch, duration_key, part_key = inputs
        is_note = pitch < composer.shape.num_pitches
        logits = composer.duration_head(features, pitch, duration)
        duration = jnp.where(is_note, jax.random.categorical(duration_key, logits / temperature.step), 0)
        nats = jnp.where(is_note, categorical_nats(logits, duration), 0.0)
        logits = jnp.where(has_part, composer.part_head(encoded.windows, features, step, pitch, parts), IMPOSSIBLE)
        plays = jax.random.bernoulli(part_key, jax.nn.sigmoid(logits / temperature.note))
        likeliest = jax.nn.one_hot(jnp.argmax(logits, axis=-1), NUM_PITCHED_PARTS) > 0
        plays = jnp.where(jnp.any(plays, axis=-1, keepdims=True), plays, likeliest)
        parts = (plays & is_note[:, None]).astype(jnp.float32)
        return (duration, parts), (duration, parts, nats)

    note_keys = [jax.random.split(key, composer.shape.max_pitches) for key in keys]
    start = (previous.duration, previous.parts)
    _, (durations, parts, nats) = jax.lax.scan(sample, start, (pitches.T, *note_keys))
    return Notes(pitches, durations.T, jnp.moveaxis(parts, 0, 1)), nats.sum(axis=0)


def _pack_bits(bits: Array) -> Array:
    return jnp.sum(bits.astype(jnp.int32) << jnp.arange(bits.shape[-1]), axis=-1)
