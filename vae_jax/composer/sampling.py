"""Sampling a window from the composer, one onset after another."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from vae_jax.composer import network
from vae_jax.composer.heads import IMPOSSIBLE, ChordInputs, bernoulli_nats, categorical_nats
from vae_jax.composer.network import Composer, DecodedConditions, EncodedConditions, Notes, Onset
from vae_jax.composer.onset_encoding import DURATION_STEPS, NUM_PITCHED_PARTS, OnsetLists


class Temperatures(NamedTuple):
    """Divisors of the logits, a number or [B] each."""

    step: Array | float  # Of steps and durations.
    note: Array | float  # Of pitches, parts and drums.


def sample_window(
    composer: Composer, conditions: DecodedConditions, key: Array, temperatures: Temperatures, max_onsets: int
) -> tuple[OnsetLists[Array], Array]:
    """Samples the next window of B pieces (the key is consumed), for `composer.apply(..., method=sample_window)`.

    A window ends after `max_onsets`, K, at the latest; parts that the style does not have do not play.

    Returns:
      Onset lists, int32 [B, K, ...], and the negative log likelihood, in nats at temperature 1, of their steps,
      pitches, durations and drums, [B].
    """
    temperature = Temperatures(*(jnp.reshape(jnp.asarray(values), (-1, 1)) for values in temperatures))
    sampler = _Sampler(composer, composer.encode_conditions(conditions), temperature)
    shape, batch = composer.shape, len(conditions.style)
    none_held = jnp.zeros((batch, shape.num_pitches), jnp.int32)
    start = (jnp.tanh(sampler.encoded.summary), network.first_onset(batch, shape), none_held, jnp.zeros(batch, bool))
    _, (lists, nats) = jax.lax.scan(sampler.sample_onset, start, jax.random.split(key, max_onsets))
    return jax.tree.map(lambda values: jnp.moveaxis(values, 0, 1), lists), nats.sum(axis=0)


@dataclasses.dataclass(frozen=True)
class _Sampler:
    """The composer with what is the same for all onsets."""

    composer: Composer
    encoded: EncodedConditions
    temperature: Temperatures  # [B, 1] each.

    def sample_onset(self, carry, key: Array):
        """Samples an onset; carries the GRU's state, the previous onset, the ends of pitches and of the window."""
        (h, previous, until, is_over), shape = carry, self.composer.shape
        step_key, pitch_key, duration_key, part_key, drum_key = jax.random.split(key, 5)
        h, output = self.composer.cell(h, self.composer.embed_onset(self.encoded, previous) + self.encoded.summary)
        last = jnp.where(previous.step > shape.window_steps, -1, previous.step)
        logits = self.composer.step_logits(self.encoded, output, last)
        step = jnp.where(is_over, shape.window_steps, jax.random.categorical(step_key, logits / self.temperature.step))
        nats = jnp.where(is_over, 0.0, categorical_nats(logits, step))
        is_over = step == shape.window_steps
        held = (until > step[:, None]).astype(jnp.float32)
        chord, features = self.composer.chord_inputs(self.encoded, output, step, previous, held)
        pitches, pitch_nats = self._sample_pitches(chord, pitch_key, is_over)
        notes, duration_nats = self._sample_notes(features, step, pitches, previous, duration_key, part_key)
        drum_logits = self.composer.drum_head(self.encoded.windows, features, step)
        is_struck = jax.random.bernoulli(drum_key, jax.nn.sigmoid(drum_logits / self.temperature.note))
        has_drums = self.encoded.style[:, NUM_PITCHED_PARTS] > 0
        drums = (is_struck & has_drums[:, None] & ~is_over[:, None]).astype(jnp.float32)
        nats += jnp.where(is_over, 0.0, pitch_nats + duration_nats + bernoulli_nats(drum_logits, drums))
        ends = step[:, None] + jnp.asarray(DURATION_STEPS)[notes.durations]
        one_hot = jax.nn.one_hot(pitches, shape.num_pitches, dtype=jnp.int32)
        until = jnp.maximum(until, jnp.max(one_hot * ends[..., None], axis=1))
        onset = network.make_onset(step, notes, drums, shape.num_pitches)
        lists = OnsetLists(step, pitches, notes.durations, _pack_bits(notes.parts), _pack_bits(drums))
        return (h, onset, until, is_over), (lists, nats)

    def _sample_pitches(self, chord: ChordInputs, key: Array, is_over: Array) -> tuple[Array, Array]:
        """Samples the pitches of an onset from high to low, [B, M], and their nats, [B]."""
        num_pitches, batch = self.composer.shape.num_pitches, len(is_over)

        def sample(carry, key):
            chosen, last, is_complete = carry
            logits = self.composer.pitch_head(chord, chosen, last)
            pitch = jax.random.categorical(key, logits / self.temperature.note)
            nats = jnp.where(is_complete, 0.0, categorical_nats(logits, pitch))
            pitch = jnp.where(is_complete, num_pitches, pitch)
            is_complete = pitch == num_pitches
            chosen += jax.nn.one_hot(pitch, num_pitches)
            return (chosen, jnp.where(is_complete, 0, pitch), is_complete), (pitch, nats)

        start = (jnp.zeros((batch, num_pitches)), jnp.full(batch, num_pitches + 1, jnp.int32), is_over)
        _, (pitches, nats) = jax.lax.scan(sample, start, jax.random.split(key, self.composer.shape.max_pitches))
        return pitches.T, nats.sum(axis=0)

    def _sample_notes(
        self, features: Array, step: Array, pitches: Array, previous: Onset, duration_key: Array, part_key: Array
    ) -> tuple[Notes, Array]:
        """Samples durations and parts of pitches [B, M]; returns the notes and the durations' nats, [B].

        Where no part is sampled, the likeliest of the style's plays.
        """
        has_part = self.encoded.style[:, :NUM_PITCHED_PARTS] > 0

        def sample(carry, inputs):
            (duration, parts), (pitch, duration_key, part_key) = carry, inputs
            is_note = pitch < self.composer.shape.num_pitches
            logits = self.composer.duration_head(features, pitch, duration)
            duration = jnp.where(is_note, jax.random.categorical(duration_key, logits / self.temperature.step), 0)
            nats = jnp.where(is_note, categorical_nats(logits, duration), 0.0)
            logits = self.composer.part_head(self.encoded.windows, features, step, pitch, parts)
            logits = jnp.where(has_part, logits, IMPOSSIBLE)
            plays = jax.random.bernoulli(part_key, jax.nn.sigmoid(logits / self.temperature.note))
            likeliest = jax.nn.one_hot(jnp.argmax(logits, axis=-1), NUM_PITCHED_PARTS) > 0
            plays = jnp.where(jnp.any(plays, axis=-1, keepdims=True), plays, likeliest)
            parts = (plays & is_note[:, None]).astype(jnp.float32)
            return (duration, parts), (duration, parts, nats)

        keys = [jax.random.split(key, pitches.shape[1]) for key in (duration_key, part_key)]
        _, (durations, parts, nats) = jax.lax.scan(sample, (previous.duration, previous.parts), (pitches.T, *keys))
        return Notes(pitches, durations.T, jnp.moveaxis(parts, 0, 1)), nats.sum(axis=0)


def _pack_bits(bits: Array) -> Array:
    return jnp.sum(bits.astype(jnp.int32) << jnp.arange(bits.shape[-1]), axis=-1)
