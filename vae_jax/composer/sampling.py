"""Writing a window with the composer: the same heads as in training, one onset after another."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vae_jax.composer.heads import chosen_nats
from vae_jax.composer.network import Composer, Memory, Onset, end_steps, first_onset, make_onset
from vae_jax.composer.onset_encoding import NUM_PITCHED_PARTS

_NEVER = -1e9


class Temperatures(NamedTuple):
    """What the logits are divided by before drawing: those of steps and durations; those of pitches, parts and drums.

    One for all pieces, or [B].
    """

    step: jax.Array | float
    note: jax.Array | float


def write_window(
    composer: Composer, memory_inputs: dict[str, Any], key: jax.Array, temperatures: Temperatures, max_onsets: int
) -> dict[str, jax.Array]:
    """Draws the next window of B pieces (the key is consumed); to be called by `composer.apply(..., method=...)`.

    Args:
      composer: bound.
      memory_inputs: the arguments of `Composer.remember`. Parts that the style does not have do not play.
      key: consumed.
      temperatures: see `Temperatures`.
      max_onsets: K, onsets after which a window ends.

    Returns:
      Onset lists as in `onset_encoding`, [B, K, ...], and "nats" [B]: minus the log likelihood of the steps, pitches,
      durations and drums drawn, at temperature one.
    """
    memory = composer.remember(**memory_inputs)
    step_temperature, note_temperature = (jnp.reshape(jnp.asarray(values), (-1, 1)) for values in temperatures)
    style = memory_inputs["style"]
    allowed, drums_allowed = style[:, :NUM_PITCHED_PARTS] > 0, style[:, NUM_PITCHED_PARTS] > 0
    shape = composer.shape
    batch = len(style)

    def write_onset(carry, onset_key):
        h, before, until, over = carry
        step_key, pitch_key, duration_key, part_key, drum_key = jax.random.split(onset_key, 5)
        x = composer.read_onset(memory, before) + memory.summary
        h, output = composer.cell(h, x)
        last = jnp.where(before.step > shape.window_steps, -1, before.step)
        logits = composer.step_logits(memory, output, last)
        step = jnp.where(over, shape.window_steps, jax.random.categorical(step_key, logits / step_temperature))
        nats = jnp.where(over, 0.0, chosen_nats(logits, step))
        over = step == shape.window_steps
        held = (until > step[:, None]).astype(jnp.float32)
        chord, features = composer.chord(memory, output, step, before, held)
        pitches, pitch_nats = _write_pitches(composer, chord, pitch_key, note_temperature, over)
        durations, duration_nats = _draw_durations(
            composer, features, pitches, before.duration, duration_key, step_temperature
        )
        played_by = _choose_parts(
            composer, memory, features, step, pitches, before, part_key, note_temperature, allowed
        )
        drum_logits = composer.drum_head(memory.heard, features, step)
        struck = jax.random.bernoulli(drum_key, jax.nn.sigmoid(drum_logits / note_temperature))
        drums = (struck & drums_allowed[:, None] & ~over[:, None]).astype(jnp.float32)
        drum_nats = jnp.sum(jax.nn.softplus(drum_logits) - drums * drum_logits, axis=-1)
        onset = make_onset(step, pitches, durations, played_by, drums, shape.num_pitches)
        nats += jnp.where(over, 0.0, pitch_nats + duration_nats + drum_nats)
        ends = jax.nn.one_hot(pitches, shape.num_pitches, dtype=jnp.int32) * end_steps(step, durations)[..., None]
        until = jnp.maximum(until, jnp.max(ends, axis=1))
        return (h, onset, until, over), (step, pitches, durations, _pack(played_by), _pack(drums), nats)

    nothing_held = jnp.zeros((batch, shape.num_pitches), jnp.int32)
    start = (composer.start(memory), first_onset(batch, shape), nothing_held, jnp.zeros(batch, bool))
    _, written = jax.lax.scan(write_onset, start, jax.random.split(key, max_onsets))
    *written, nats = written
    written = dict(zip(("steps", "pitches", "durations", "parts", "drums"), written, strict=True))
    return {name: jnp.moveaxis(values, 0, 1) for name, values in written.items()} | {"nats": nats.sum(axis=0)}


def _write_pitches(
    composer: Composer, chord: Any, key: jax.Array, temperature: jax.Array, over: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Draws the pitches of an onset from high to low, [B, M], and their nats, [B]."""
    num_pitches, max_pitches = composer.shape.num_pitches, composer.shape.max_pitches
    batch = len(over)

    def write(carry, pitch_key):
        chosen, last, complete = carry
        logits = composer.pitch_head(chord, chosen, last)
        pitch = jax.random.categorical(pitch_key, logits / temperature)
        nats = jnp.where(complete, 0.0, chosen_nats(logits, pitch))
        pitch = jnp.where(complete, num_pitches, pitch)
        complete = pitch == num_pitches
        return (chosen + jax.nn.one_hot(pitch, num_pitches), jnp.where(complete, 0, pitch), complete), (pitch, nats)

    start = (jnp.zeros((batch, num_pitches)), jnp.full(batch, num_pitches + 1, jnp.int32), over)
    _, (pitches, nats) = jax.lax.scan(write, start, jax.random.split(key, max_pitches))
    return pitches.T, nats.sum(axis=0)


def _draw_durations(
    composer: Composer,
    features: jax.Array,
    pitches: jax.Array,
    before: jax.Array,
    key: jax.Array,
    temperature: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Draws how long every pitch lasts, classes [B, M], and their nats, [B]."""

    def draw(ahead, inputs):
        pitch, duration_key = inputs
        logits = composer.duration_head(features, pitch, ahead)
        sounds = pitch < composer.shape.num_pitches
        drawn = jnp.where(sounds, jax.random.categorical(duration_key, logits / temperature), 0)
        return drawn, (drawn, jnp.where(sounds, chosen_nats(logits, drawn), 0.0))

    keys = jax.random.split(key, composer.shape.max_pitches)
    _, (durations, nats) = jax.lax.scan(draw, before, (pitches.T, keys))
    return durations.T, nats.sum(axis=0)


def _choose_parts(
    composer: Composer,
    memory: Memory,
    features: jax.Array,
    step: jax.Array,
    pitches: jax.Array,
    before: Onset,
    key: jax.Array,
    temperature: jax.Array,
    allowed: jax.Array,
) -> jax.Array:
    """Draws the parts of every pitch, [B, M, parts] float32: at least the likeliest that is allowed."""

    def choose(ahead, inputs):
        pitch, part_key = inputs
        logits = jnp.where(allowed, composer.part_head(memory.heard, features, step, pitch, ahead), _NEVER)
        plays = jax.random.bernoulli(part_key, jax.nn.sigmoid(logits / temperature))
        likeliest = jax.nn.one_hot(jnp.argmax(logits, axis=-1), NUM_PITCHED_PARTS) > 0
        plays = jnp.where(jnp.any(plays, axis=-1, keepdims=True), plays, likeliest)
        plays = (plays & (pitch < composer.shape.num_pitches)[:, None]).astype(jnp.float32)
        return plays, plays

    keys = jax.random.split(key, composer.shape.max_pitches)
    _, played_by = jax.lax.scan(choose, before.parts, (pitches.T, keys))
    return jnp.moveaxis(played_by, 0, 1)


def _pack(bits: jax.Array) -> jax.Array:
    return jnp.sum(bits.astype(jnp.int32) << jnp.arange(bits.shape[-1]), axis=-1)
