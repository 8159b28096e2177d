"""The composer's heads: what the next onset's step, pitches, durations, parts and drums are, from its features."""

from __future__ import annotations

import functools
from typing import NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from vae_jax.composer.onset_encoding import DURATION_STEPS, NUM_PITCHED_PARTS, OnsetShape

NUM_DURATIONS = len(DURATION_STEPS)
MAX_LOGIT = 8.0  # Of what is heard: beyond it a cell is certain.
_HARMONY_SEMITONES = 36
_MELODY_SEMITONES = 24
_NOTE_FEATURES = 64
_NEVER = -1e9


class Heard(NamedTuple):
    """A window as the first stage decodes it.

    Attributes:
      latent: [B, Z].
      onset: logits that any pitched part plays, [B, T, P].
      drum: logits of the drums of the kit, [B, T, D].
      share: logits that a part takes a note, [B, T, P, parts].
    """

    latent: jax.Array
    onset: jax.Array
    drum: jax.Array
    share: jax.Array


@flax.struct.dataclass
class Chord:
    """What the notes of an onset depend on: features, what is heard and echoed at its step, and the onset before."""

    features: jax.Array
    heard: tuple[jax.Array, ...]
    echo: jax.Array
    before: jax.Array
    melody: jax.Array


class StepHead(nn.Module):
    """Which step comes next: by its place, by its distance, and by what is heard there."""

    shape: OnsetShape

    @nn.compact
    def __call__(self, h: jax.Array, last: jax.Array, heard: list[jax.Array], echo: jax.Array) -> jax.Array:
        """Returns logits [..., T + 1] for features [..., H], the step before [...], two windows and the echo [B, T]."""
        length = self.shape.window_steps
        by_place, by_distance = nn.Dense(length + 1)(h), nn.Dense(length)(h)
        gates = nn.Dense(2, bias_init=nn.initializers.constant(0.3))(h)
        steps = jnp.arange(length)
        # The step at distance d is at place T - 1 - d of the reversed steps.
        logits = by_place[..., :length] + mirrored(by_distance, length - 2 - last, length, length)[..., ::-1]
        for n, values in enumerate(heard):
            logits += gates[..., n, None] * (values if h.ndim == 2 else values[:, None])
        logits += echo if h.ndim == 2 else echo[:, None]
        logits = jnp.where(steps > last[..., None], logits, _NEVER)
        return jnp.concatenate([logits, by_place[..., length:]], axis=-1)


class PitchHead(nn.Module):
    """Which pitch comes next from high to low, or that the chord is complete."""

    shape: OnsetShape
    width: int = 192

    def setup(self) -> None:
        """Declares the layers."""
        self.project, self.mix = nn.Dense(self.width), nn.Dense(self.width)
        self.chosen = nn.Dense(self.width, use_bias=False)
        self.last = nn.Embed(self.shape.num_pitches + 2, self.width)
        self.by_pitch = nn.Dense(self.shape.num_pitches + 1)
        self.by_harmony = nn.Dense(_HARMONY_SEMITONES + 1)
        self.by_melody = nn.Dense(2 * _MELODY_SEMITONES + 1)
        self.gates = nn.Dense(3)

    def prepare(self, features: jax.Array) -> jax.Array:
        """Projects the features of an onset once for all of its notes."""
        return self.project(features)

    def __call__(self, chord: Chord, chosen: jax.Array, last: jax.Array) -> jax.Array:
        """Returns logits [..., P + 1], the last of them for "complete".

        Args:
          chord: what the notes depend on, [..., ...].
          chosen: [..., P] 0 or 1, the pitches so far.
          last: [...] int32, the lowest of them; P + 1 where there is none.
        """
        num_pitches = self.shape.num_pitches
        x = nn.gelu(chord.features + self.chosen(chosen) + self.last(last))
        x = nn.gelu(self.mix(x)) + x
        by_pitch, gates = self.by_pitch(x), self.gates(x)
        pitch = jnp.arange(num_pitches)
        far = 4 * num_pitches  # An origin from which nothing is near: there is no note yet, or no melody.
        last_note = jnp.where(last < num_pitches, last, far)
        logits = by_pitch[..., :num_pitches] + mirrored(
            self.by_harmony(x), last_note, num_pitches, _HARMONY_SEMITONES + 1
        )
        melody = jnp.broadcast_to(jnp.where(chord.melody < num_pitches, chord.melody, far), last.shape)
        logits += mirrored(self.by_melody(x), melody + _MELODY_SEMITONES, num_pitches, 2 * _MELODY_SEMITONES + 1)
        for n, values in enumerate((*chord.heard, MAX_LOGIT / 2 * chord.before)):
            logits += gates[..., n, None] * values
        logits += chord.echo
        logits = jnp.where(pitch < last[..., None], logits, _NEVER)
        return jnp.concatenate([logits, by_pitch[..., num_pitches:]], axis=-1)

    def nats(self, chord: Chord, pitches: jax.Array) -> jax.Array:
        """Returns the negative log likelihood of chords [B, K, M], descending and padded with P, [B, K]."""
        nothing = self.shape.num_pitches
        one_hot = jax.nn.one_hot(pitches, nothing)
        chosen = jnp.cumsum(one_hot, axis=2) - one_hot
        last = jnp.concatenate([jnp.full_like(pitches[..., :1], nothing + 1), pitches[..., :-1]], axis=-1)
        decided = last != nothing  # After the last pitch comes one "complete"; a full chord says it by being full.
        spread = jax.tree.map(lambda values: values[:, :, None], chord)
        logits = self(spread, chosen, jnp.where(decided, last, 0))
        return jnp.sum(jnp.where(decided, chosen_nats(logits, pitches), 0.0), axis=-1)


class DurationHead(nn.Module):
    """How long a note lasts, by how long the note written before it does."""

    shape: OnsetShape

    @nn.compact
    def __call__(self, features: jax.Array, pitch: jax.Array, before: jax.Array) -> jax.Array:
        """Returns logits [..., NUM_DURATIONS] of a note of each onset; `before` is the class of the one before it."""
        x = nn.Dense(_NOTE_FEATURES)(features) + nn.Embed(self.shape.num_pitches + 1, _NOTE_FEATURES)(pitch)
        x = nn.gelu(x + nn.Embed(NUM_DURATIONS + 1, _NOTE_FEATURES)(before))
        return nn.Dense(NUM_DURATIONS)(x)

    def nats(self, features: jax.Array, before: jax.Array, pitches: jax.Array, durations: jax.Array) -> jax.Array:
        """Returns the negative log likelihood of the durations of pitches, [B, K, M] each, [B, K]."""
        pitches = pitches.astype(jnp.int32)
        ahead = jnp.concatenate([before[:, :, None], durations[:, :, :-1]], axis=2)
        logits = self(features[:, :, None], pitches, ahead)
        return jnp.sum(jnp.where(pitches < self.shape.num_pitches, chosen_nats(logits, durations), 0.0), axis=-1)


class PartHead(nn.Module):
    """Which parts play a note, by what played that register before."""

    shape: OnsetShape

    @nn.compact
    def __call__(
        self, heard: tuple[Heard, ...], features: jax.Array, step: jax.Array, pitch: jax.Array, before: jax.Array
    ) -> jax.Array:
        """Returns logits [..., parts] of a note of each onset; `before` are the parts of the note written before it."""
        cell = jnp.minimum(pitch, self.shape.num_pitches - 1)
        place = jnp.minimum(step, self.shape.window_steps - 1) * self.shape.num_pitches + cell
        shares = [at(window.share.reshape(len(window.share), -1, NUM_PITCHED_PARTS), place) for window in heard]
        inputs = jnp.concatenate([*(nn.tanh(share / 4) for share in shares), before], axis=-1)
        x = nn.Dense(_NOTE_FEATURES)(features) + nn.Dense(_NOTE_FEATURES)(inputs)
        x = nn.gelu(x + nn.Embed(self.shape.num_pitches + 1, _NOTE_FEATURES)(pitch))
        weights = self.param("heard", nn.initializers.constant(0.5), (2,))
        logits = nn.Dense(NUM_PITCHED_PARTS, kernel_init=nn.initializers.normal(0.01))(x)
        return logits + weights[0] * shares[0] + weights[1] * shares[1]

    def nats(
        self,
        heard: tuple[Heard, ...],
        features: jax.Array,
        step: jax.Array,
        before: jax.Array,
        pitches: jax.Array,
        played_by: jax.Array,
    ) -> jax.Array:
        """Returns the negative log likelihood of the parts [B, K, M, parts] of pitches [B, K, M], [B, K]."""
        pitches = pitches.astype(jnp.int32)
        ahead = jnp.concatenate([before[:, :, None], played_by[:, :, :-1]], axis=2)
        step = jnp.broadcast_to(step[..., None], pitches.shape)
        logits = self(heard, features[:, :, None], step, pitches, ahead)
        nats = jnp.sum(jax.nn.softplus(logits) - played_by * logits, axis=-1)
        return jnp.sum(jnp.where(pitches < self.shape.num_pitches, nats, 0.0), axis=-1)


class DrumHead(nn.Module):
    """Which drums are struck."""

    shape: OnsetShape

    @nn.compact
    def __call__(self, heard: tuple[Heard, ...], features: jax.Array, step: jax.Array) -> jax.Array:
        """Returns logits [..., D] of each onset."""
        weights = self.param("heard", nn.initializers.constant(0.5), (2,))
        logits = nn.Dense(self.shape.num_drums)(features)
        return logits + sum(weights[n] * at(window.drum, step) for n, window in enumerate(heard))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def mirrored(values: jax.Array, origin: jax.Array, size: int, span: int) -> jax.Array:
    """Reads values by distance below an origin: out[..., p] = values[..., origin - p], 0 outside.

    Written with its own derivative, which reads too: that of a general gather adds one by one, slowly on CPUs.

    Args:
      values: [..., span].
      origin: int32 [...].
      size: of the last axis of the result.
      span: of the last axis of `values`.
    """
    return _read_mirrored(values, origin, size, span)


def _read_mirrored(values: jax.Array, origin: jax.Array, size: int, span: int) -> jax.Array:
    distance = origin[..., None] - jnp.arange(size)
    read = jnp.take_along_axis(values, jnp.clip(distance, 0, span - 1), axis=-1)
    return jnp.where((distance >= 0) & (distance < span), read, 0.0)


def _mirrored_forward(values, origin, size, span):
    return _read_mirrored(values, origin, size, span), origin


def _mirrored_backward(size, span, origin, gradient):
    return _read_mirrored(gradient, origin, span, size), None


mirrored.defvjp(_mirrored_forward, _mirrored_backward)


def at(values: jax.Array, place: jax.Array) -> jax.Array:
    """Picks rows of [B, T, ...] by place [B, ...], the last row for a place beyond it."""
    return jax.vmap(lambda rows, index: rows[jnp.minimum(index, len(rows) - 1)])(values, place)


def chosen_nats(logits: jax.Array, chosen: jax.Array) -> jax.Array:
    """Returns minus the log probability of what was chosen [...], for logits [..., N]."""
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), chosen[..., None], axis=-1)[..., 0]
