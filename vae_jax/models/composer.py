"""The composer: writes the window that follows, onset by onset and note by note, from the latents of what came before.

It hears two windows through the decoder of the first stage: the one that ends where the new one starts, and an earlier
one that the new one may return to (with how closely it does). Over the onsets of the window runs a GRU (Cho et al.
2014). Each onset is written in order: its step; its pitches from high to low until it stops; the parts that play each;
the drums. Two things make so much of so little music: what the two windows play at a step stands beside the logits of
that step, so that returning to a phrase is nearly free to learn, and every pitch is also scored by its interval from
the note above it and from the last melody note (as the shared weights of Johnson 2015, "Generating Polyphonic Music
Using Tied Parallel Networks", do), so that all pitches learn from each other.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from vae_jax.onsets import NUM_PITCHED_PARTS, OnsetShape

NO_LINK = -1.0  # Similarity to an earlier window where there is none to return to.
# Sizes of the one-hot columns of "place": beat of the bar, half beats in a bar, beats to the end, half windows done.
PLACE_SIZES = (6, 13, 25, 13)
STYLE_SIZE = 11  # Parts, mode, density, polyphony: see `continuations.Style`.
_MAX_LOGIT = 8.0  # Of what is heard: beyond it a cell is certain.
_HARMONY_SEMITONES = 36
_MELODY_SEMITONES = 24
_BEAT_FEATURES = 128
_PART_FEATURES = 64
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


class Onset(NamedTuple):
    """What starts at a step; leading axes are those of a batch.

    Attributes:
      step: int32 [...]; T for "the window is over", T + 1 before the first.
      pitches: [..., P] 0 or 1.
      top, bottom: int32 [...], the highest and the lowest pitch, P where there is none.
      parts: [..., parts] 0 or 1, the parts that play.
      drums: [..., D] 0 or 1.
    """

    step: jax.Array
    pitches: jax.Array
    top: jax.Array
    bottom: jax.Array
    parts: jax.Array
    drums: jax.Array


@flax.struct.dataclass
class Memory:
    """All that the composer knows before the window starts; `heard` is the window before and the one returned to."""

    heard: tuple[Heard, Heard]
    beats: tuple[jax.Array, jax.Array]
    summary: jax.Array


@flax.struct.dataclass
class Chord:
    """What the notes of an onset depend on: features, what is heard at its step (logits), and the onset before it."""

    features: jax.Array
    heard: tuple[jax.Array, ...]
    before: jax.Array
    melody: jax.Array


class Composer(nn.Module):
    """The network; T steps, P pitches, K onsets of M pitches, D drums.

    Attributes:
      shape: the shape of onset lists.
      window_beats: beats in a window.
      hidden: width of the GRU.
      dropout: rate.
    """

    shape: OnsetShape
    window_beats: int = 8
    hidden: int = 256
    dropout: float = 0.3

    def setup(self) -> None:
        """Declares the layers."""
        width, shape = self.hidden, self.shape
        self.hear_beat = nn.Dense(_BEAT_FEATURES)
        self.hear_latents = [nn.Dense(width), nn.Dense(width)]
        self.read_place = nn.Dense(width)
        self.summarise = nn.Dense(width)
        self.embed_step = nn.Embed(shape.window_steps + 2, width)
        self.embed_top, self.embed_bottom = (nn.Embed(shape.num_pitches + 1, width) for _ in range(2))
        self.embed_sets = [nn.Dense(width, use_bias=False) for _ in range(3)]
        self.embed_near = nn.Dense(width)
        self.cell = nn.GRUCell(width)
        self.rnn = nn.RNN(self.cell)
        self.step_head = StepHead(shape)
        self.features = [nn.Dense(width), nn.Dense(width)]
        self.embed_target = nn.Embed(shape.window_steps + 2, width)
        self.pitch_head = PitchHead(shape)
        self.part_head = PartHead(shape)
        self.drum_head = DrumHead(shape)
        self.drop = nn.Dropout(self.dropout)

    def remember(
        self,
        previous: Heard,
        link: Heard,
        place: jax.Array,
        style: jax.Array,
        similarity: jax.Array,
        deterministic: bool = True,
    ) -> Memory:
        """Listens to what came before.

        Args:
          previous: the window that ends where the new one starts.
          link: the window to return to.
          place: [B, 4] int, see `PLACE_SIZES`.
          style: [B, STYLE_SIZE].
          similarity: [B], how closely the new window returns to `link`, 0 to 1, or NO_LINK.
          deterministic: whether dropout is off.
        """
        linked = (similarity >= 0).astype(jnp.float32)[:, None]
        heard = (_limited(previous, jnp.ones_like(linked)), _limited(link, linked))
        one_hot = [jax.nn.one_hot(place[:, n], size) for n, size in enumerate(PLACE_SIZES)]
        place_features = jnp.concatenate([*one_hot, style, jnp.maximum(similarity, 0)[:, None], linked], axis=-1)
        summary = self.read_place(place_features)
        for listen, window in zip(self.hear_latents, heard, strict=True):
            summary += listen(window.latent / 2)
        summary = self.summarise(self.drop(nn.gelu(summary), deterministic=deterministic))
        return Memory(heard, (self._beats(heard[0]), self._beats(heard[1])), summary)

    def read_onset(self, memory: Memory, onset: Onset) -> jax.Array:
        """Makes the GRU's input from the onset before, [..., hidden]."""
        steps_per_beat = self.shape.window_steps // self.window_beats
        beat = jnp.where(onset.step < self.shape.window_steps, onset.step, 0) // steps_per_beat
        following = jnp.minimum(beat + 1, self.window_beats - 1)
        near = [at(beats, place) for beats in memory.beats for place in (beat, following)]
        sets = zip(self.embed_sets, (onset.pitches, onset.parts, onset.drums), strict=True)
        return (
            self.embed_step(onset.step)
            + self.embed_top(onset.top)
            + self.embed_bottom(onset.bottom)
            + sum(embed(values) for embed, values in sets)
            + self.embed_near(nn.gelu(jnp.concatenate(near, axis=-1)))
        )

    def step_logits(self, memory: Memory, h: jax.Array, last: jax.Array) -> jax.Array:
        """Returns the logits of the next onset's step, or of the end, [..., T + 1]; `last` is the step before or -1."""
        return self.step_head(h, last, [jnp.max(window.onset, axis=-1) for window in memory.heard])

    def chord(
        self, memory: Memory, h: jax.Array, step: jax.Array, before: Onset, deterministic: bool = True
    ) -> tuple[Chord, jax.Array]:
        """Returns what the notes of an onset at `step` depend on, and its features [..., hidden]."""
        played = tuple(at(window.onset, step) for window in memory.heard)
        inputs = [h, self.embed_target(step), *(nn.sigmoid(logits) for logits in played), before.pitches]
        features = self.features[0](jnp.concatenate(inputs, axis=-1))
        features = self.features[1](self.drop(nn.gelu(features), deterministic=deterministic))
        return Chord(self.pitch_head.prepare(features), played, before.pitches, before.top), features

    def __call__(
        self,
        onsets: dict[str, jax.Array],
        memory_inputs: dict[str, Any],
        deterministic: bool = True,
    ) -> dict[str, jax.Array]:
        """Returns the negative log likelihood of windows, in nats, [B] each: "loss", the sum, and its four parts.

        Args:
          onsets: onset lists, see `vae_jax.onsets`.
          memory_inputs: the arguments of `remember`.
          deterministic: whether dropout is off.
        """
        memory = self.remember(**memory_inputs, deterministic=deterministic)
        written, played_by = unpack(onsets, self.shape)
        before = jax.tree.map(
            lambda values, start: jnp.concatenate([start, values[:, :-1]], axis=1),
            written,
            jax.tree.map(lambda row: row[:, None], first_onset(len(written.step), self.shape)),
        )
        x = self.drop(self.read_onset(memory, before) + memory.summary[:, None], deterministic=deterministic)
        h = self.drop(self.rnn(x, initial_carry=self.start(memory)), deterministic=deterministic)

        length = self.shape.window_steps
        last = jnp.where(before.step > length, -1, before.step)
        step_nats = _nats(self.step_logits(memory, h, last), written.step) * (before.step != length)
        sounds = (written.step < length).astype(jnp.float32)
        chord, features = self.chord(memory, h, written.step, before, deterministic)
        pitch_nats = self.pitch_head.nats(chord, onsets["pitches"].astype(jnp.int32)) * sounds
        part_nats = self.part_head.nats(memory, features, written.step, before.parts, onsets["pitches"], played_by)
        drum_logits = self.drum_head(memory, features, written.step)
        drum_nats = jnp.sum(jax.nn.softplus(drum_logits) - written.drums * drum_logits, axis=-1) * sounds
        terms = {
            "step_nats": jnp.sum(step_nats, axis=-1),
            "pitch_nats": jnp.sum(pitch_nats, axis=-1),
            "part_nats": jnp.sum(part_nats * sounds, axis=-1),
            "drum_nats": jnp.sum(drum_nats, axis=-1),
        }
        return {"loss": sum(terms.values(), jnp.zeros(len(sounds))), **terms}

    def start(self, memory: Memory) -> jax.Array:
        """The GRU's state before the first onset, [B, hidden]."""
        return nn.tanh(memory.summary)

    def _beats(self, window: Heard) -> jax.Array:
        """Features of every beat of a window, [B, beats, features]."""
        batch, _, pitches = window.onset.shape
        steps_per_beat = self.shape.window_steps // self.window_beats
        onset = nn.sigmoid(window.onset).reshape(batch, self.window_beats, steps_per_beat * pitches)
        share = nn.tanh(window.share[:, ::steps_per_beat, ::3] / 4).reshape(batch, self.window_beats, -1)
        return self.hear_beat(jnp.concatenate([onset, 0.3 * share], axis=-1))


class StepHead(nn.Module):
    """Which step comes next: by its place, by its distance, and by what is heard there."""

    shape: OnsetShape

    @nn.compact
    def __call__(self, h: jax.Array, last: jax.Array, heard: list[jax.Array]) -> jax.Array:
        """Returns logits [..., T + 1] for features [..., H], the step before [...] and two windows [B, T]."""
        length = self.shape.window_steps
        by_place, by_distance = nn.Dense(length + 1)(h), nn.Dense(length)(h)
        gates = nn.Dense(2, bias_init=nn.initializers.constant(0.3))(h)
        steps = jnp.arange(length)
        # The step at distance d is at place T - 1 - d of the reversed steps.
        logits = by_place[..., :length] + mirrored(by_distance, length - 2 - last, length, length)[..., ::-1]
        for n, values in enumerate(heard):
            logits += gates[..., n, None] * (values if h.ndim == 2 else values[:, None])
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
        for n, values in enumerate((*chord.heard, _MAX_LOGIT / 2 * chord.before)):
            logits += gates[..., n, None] * values
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
        return jnp.sum(_nats(logits, pitches) * decided, axis=-1)


class PartHead(nn.Module):
    """Which parts play a note, by what played that register before."""

    shape: OnsetShape

    @nn.compact
    def __call__(
        self, memory: Memory, features: jax.Array, step: jax.Array, pitch: jax.Array, before: jax.Array
    ) -> jax.Array:
        """Returns logits [..., parts] of a note of each onset; `before` are the parts of the note written before it."""
        cell = jnp.minimum(pitch, self.shape.num_pitches - 1)
        place = jnp.minimum(step, self.shape.window_steps - 1) * self.shape.num_pitches + cell
        shares = [at(window.share.reshape(len(window.share), -1, NUM_PITCHED_PARTS), place) for window in memory.heard]
        inputs = jnp.concatenate([*(nn.tanh(share / 4) for share in shares), before], axis=-1)
        x = nn.Dense(_PART_FEATURES)(features) + nn.Dense(_PART_FEATURES)(inputs)
        x = nn.gelu(x + nn.Embed(self.shape.num_pitches + 1, _PART_FEATURES)(pitch))
        weights = self.param("heard", nn.initializers.constant(0.5), (2,))
        logits = nn.Dense(NUM_PITCHED_PARTS, kernel_init=nn.initializers.normal(0.01))(x)
        return logits + weights[0] * shares[0] + weights[1] * shares[1]

    def nats(
        self,
        memory: Memory,
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
        logits = self(memory, features[:, :, None], step, pitches, ahead)
        nats = jnp.sum(jax.nn.softplus(logits) - played_by * logits, axis=-1)
        return jnp.sum(nats * (pitches < self.shape.num_pitches), axis=-1)


class DrumHead(nn.Module):
    """Which drums are struck."""

    shape: OnsetShape

    @nn.compact
    def __call__(self, memory: Memory, features: jax.Array, step: jax.Array) -> jax.Array:
        """Returns logits [..., D] of each onset."""
        weights = self.param("heard", nn.initializers.constant(0.5), (2,))
        logits = nn.Dense(self.shape.num_drums)(features)
        return logits + sum(weights[n] * at(window.drum, step) for n, window in enumerate(memory.heard))


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


def first_onset(batch: int, shape: OnsetShape) -> Onset:
    """What stands before the first onset of a window."""
    nothing = jnp.full(batch, shape.num_pitches, jnp.int32)
    return Onset(
        step=jnp.full(batch, shape.window_steps + 1, jnp.int32),
        pitches=jnp.zeros((batch, shape.num_pitches)),
        top=nothing,
        bottom=nothing,
        parts=jnp.zeros((batch, NUM_PITCHED_PARTS)),
        drums=jnp.zeros((batch, shape.num_drums)),
    )


def make_onset(step: jax.Array, pitches: jax.Array, played_by: jax.Array, drums: jax.Array, num_pitches: int) -> Onset:
    """Gathers an onset from its step [...], pitches [..., M], their parts [..., M, parts] and drums [..., D]."""
    count = jnp.sum(pitches < num_pitches, axis=-1, keepdims=True)
    lowest = jnp.take_along_axis(pitches, jnp.maximum(count - 1, 0), axis=-1)[..., 0]
    return Onset(
        step=step,
        pitches=jnp.sum(jax.nn.one_hot(pitches, num_pitches), axis=-2),
        top=pitches[..., 0],
        bottom=lowest,
        parts=jnp.max(played_by, axis=-2),
        drums=drums,
    )


def unpack(onsets: dict[str, jax.Array], shape: OnsetShape) -> tuple[Onset, jax.Array]:
    """Turns onset lists into onsets [B, K, ...] and the parts of every pitch, [B, K, M, parts] float32."""
    played_by = _bits(onsets["parts"], NUM_PITCHED_PARTS)
    step, pitches = onsets["steps"].astype(jnp.int32), onsets["pitches"].astype(jnp.int32)
    return make_onset(step, pitches, played_by, _bits(onsets["drums"], shape.num_drums), shape.num_pitches), played_by


def _limited(window: Heard, present: jax.Array) -> Heard:
    """Limits what is heard; a window that is not there is silent."""
    silence = jnp.full_like(window.onset, -_MAX_LOGIT)
    onset = jnp.where(present[:, :, None] > 0, jnp.clip(window.onset, -_MAX_LOGIT, _MAX_LOGIT), silence)
    drum = jnp.where(present[:, :, None] > 0, jnp.clip(window.drum, -_MAX_LOGIT, _MAX_LOGIT), -_MAX_LOGIT)
    share = jnp.clip(window.share, -_MAX_LOGIT, _MAX_LOGIT) * present[:, :, None, None]
    return Heard(window.latent * present, onset, drum, share)


def _bits(packed: jax.Array, count: int) -> jax.Array:
    return ((packed.astype(jnp.int32)[..., None] >> jnp.arange(count)) & 1).astype(jnp.float32)


def _nats(logits: jax.Array, chosen: jax.Array) -> jax.Array:
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), chosen[..., None], axis=-1)[..., 0]
