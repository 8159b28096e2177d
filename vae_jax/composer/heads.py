"""The composer's output heads: distributions of the next onset's step, pitches, durations, parts and drums."""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from vae_jax.composer.onset_encoding import DURATION_STEPS, NUM_PITCHED_PARTS, OnsetShape

NUM_DURATIONS = len(DURATION_STEPS)
MAX_LOGIT = 8.0  # Of a decoded window: beyond it a cell is certain.
IMPOSSIBLE = -1e9  # A logit.
_HARMONY_SEMITONES = 36
_MELODY_SEMITONES = 24
_NOTE_FEATURES = 64


class DecodedWindow(NamedTuple):
    """A window as the first stage decodes it."""

    latent: Array  # [B, Z].
    onset: Array  # Logits that any pitched part plays, [B, T, P].
    drum: Array  # Logits of the drum pitches, [B, T, D].
    share: Array  # Logits that a part takes a note, [B, T, P, parts].


Windows = tuple[DecodedWindow, DecodedWindow]  # The previous one and the one to repeat.


class ChordInputs(NamedTuple):
    """What the notes of an onset depend on."""

    features: Array  # [..., width], from `PitchHead.project`.
    decoded: tuple[Array, ...]  # Onset logits of the two decoded windows at this step, [..., P] each.
    copy_bias: Array  # [..., P], added to the logits.
    previous: Array  # [..., P] 0 or 1, pitches of the previous onset.
    melody: Array  # int32 [...], the highest of these; P where there is none.


class StepHead(nn.Module):
    """The next onset's step: by position, by distance from the last one, and by the decoded windows."""

    shape: OnsetShape

    @nn.compact
    def __call__(self, h: Array, last: Array, decoded: list[Array], copy_bias: Array) -> Array:
        """Returns logits [..., T + 1] for features [..., H], the last step [...], two windows and the bias [B, T]."""
        length = self.shape.window_steps
        by_position, by_distance = nn.Dense(length + 1)(h), nn.Dense(length)(h)
        gates = nn.Dense(2, bias_init=nn.initializers.constant(0.3))(h)
        # The step at distance d is at position T - 1 - d of the reversed steps.
        reversed_steps = gather_by_interval(by_distance, length - 2 - last, length, length)
        logits = by_position[..., :length] + reversed_steps[..., ::-1]
        for n, values in enumerate(decoded):
            logits += gates[..., n, None] * (values if h.ndim == 2 else values[:, None])
        logits += copy_bias if h.ndim == 2 else copy_bias[:, None]
        logits = jnp.where(jnp.arange(length) > last[..., None], logits, IMPOSSIBLE)
        return jnp.concatenate([logits, by_position[..., length:]], axis=-1)


class PitchHead(nn.Module):
    """The next pitch of a chord, from high to low, or the end of the chord."""

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

    def __call__(self, inputs: ChordInputs, chosen: Array, last: Array) -> Array:
        """Returns logits [..., P + 1], the last of them of the end.

        Args:
          inputs: what the notes depend on.
          chosen: [..., P] 0 or 1, the pitches so far.
          last: [...] int32, the lowest of them; P + 1 where there is none.
        """
        num_pitches = self.shape.num_pitches
        x = nn.gelu(inputs.features + self.chosen(chosen) + self.last(last))
        x = nn.gelu(self.mix(x)) + x
        by_pitch, gates = self.by_pitch(x), self.gates(x)
        far = 4 * num_pitches  # An origin from which nothing is near: there is no note yet, or no melody.
        last_note = jnp.where(last < num_pitches, last, far)
        logits = by_pitch[..., :num_pitches] + gather_by_interval(
            self.by_harmony(x), last_note, num_pitches, _HARMONY_SEMITONES + 1
        )
        melody = jnp.broadcast_to(jnp.where(inputs.melody < num_pitches, inputs.melody, far), last.shape)
        logits += gather_by_interval(
            self.by_melody(x), melody + _MELODY_SEMITONES, num_pitches, 2 * _MELODY_SEMITONES + 1
        )
        for n, values in enumerate((*inputs.decoded, MAX_LOGIT / 2 * inputs.previous)):
            logits += gates[..., n, None] * values
        logits += inputs.copy_bias
        logits = jnp.where(jnp.arange(num_pitches) < last[..., None], logits, IMPOSSIBLE)
        return jnp.concatenate([logits, by_pitch[..., num_pitches:]], axis=-1)


class DurationHead(nn.Module):
    """The duration class of a note, given that of the note before it."""

    shape: OnsetShape

    @nn.compact
    def __call__(self, features: Array, pitch: Array, previous: Array) -> Array:
        """Returns logits [..., NUM_DURATIONS] of a note; `previous` is the class of the note before it."""
        x = nn.Dense(_NOTE_FEATURES)(features) + nn.Embed(self.shape.num_pitches + 1, _NOTE_FEATURES)(pitch)
        x = nn.gelu(x + nn.Embed(NUM_DURATIONS + 1, _NOTE_FEATURES)(previous))
        return nn.Dense(NUM_DURATIONS)(x)


class PartHead(nn.Module):
    """The parts that play a note, given those that play its register in the decoded windows."""

    shape: OnsetShape

    @nn.compact
    def __call__(self, windows: Windows, features: Array, step: Array, pitch: Array, previous: Array) -> Array:
        """Returns logits [..., parts] of a note; `previous` are the parts of the note before it."""
        pitch_or_top = jnp.minimum(pitch, self.shape.num_pitches - 1)
        cell = jnp.minimum(step, self.shape.window_steps - 1) * self.shape.num_pitches + pitch_or_top
        shares = [gather_steps(w.share.reshape(len(w.share), -1, NUM_PITCHED_PARTS), cell) for w in windows]
        inputs = jnp.concatenate([*(nn.tanh(share / 4) for share in shares), previous], axis=-1)
        x = nn.Dense(_NOTE_FEATURES)(features) + nn.Dense(_NOTE_FEATURES)(inputs)
        x = nn.gelu(x + nn.Embed(self.shape.num_pitches + 1, _NOTE_FEATURES)(pitch))
        weights = self.param("window_weights", nn.initializers.constant(0.5), (2,))
        logits = nn.Dense(NUM_PITCHED_PARTS, kernel_init=nn.initializers.normal(0.01))(x)
        return logits + weights[0] * shares[0] + weights[1] * shares[1]


class DrumHead(nn.Module):
    """The drums that are struck."""

    shape: OnsetShape

    @nn.compact
    def __call__(self, windows: Windows, features: Array, step: Array) -> Array:
        """Returns logits [..., D] of each onset."""
        weights = self.param("window_weights", nn.initializers.constant(0.5), (2,))
        logits = nn.Dense(self.shape.num_drums)(features)
        return logits + sum(weights[n] * gather_steps(window.drum, step) for n, window in enumerate(windows))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def gather_by_interval(values: Array, origin: Array, size: int, span: int) -> Array:
    """Reads values by their distance below an origin: out[..., p] = values[..., origin - p], 0 outside.

    Its derivative is a gather too: the scatter that JAX derives for a gather is slow on CPUs. From values [..., span]
    and an int32 origin [...] to [..., size].
    """
    distance = origin[..., None] - jnp.arange(size)
    read = jnp.take_along_axis(values, jnp.clip(distance, 0, span - 1), axis=-1)
    return jnp.where((distance >= 0) & (distance < span), read, 0.0)


gather_by_interval.defvjp(
    lambda values, origin, size, span: (gather_by_interval(values, origin, size, span), origin),
    lambda size, span, origin, gradient: (gather_by_interval(gradient, origin, span, size), None),
)


def gather_steps(values: Array, index: Array) -> Array:
    """Picks rows of [B, T, ...] by index [B, ...], the last row for an index beyond it."""
    return jax.vmap(lambda rows, index: rows[jnp.minimum(index, len(rows) - 1)])(values, index)


def categorical_nats(logits: Array, chosen: Array) -> Array:
    """Returns the negative log probability of classes [...], for logits [..., N]."""
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), chosen[..., None], axis=-1)[..., 0]


def bernoulli_nats(logits: Array, values: Array) -> Array:
    """Returns the negative log probability of values [..., N], 0 or 1, for logits [..., N]: their sum, [...]."""
    return jnp.sum(jax.nn.softplus(logits) - values * logits, axis=-1)
