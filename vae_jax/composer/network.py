"""The composer: writes the window that follows, onset by onset and note by note, from the latents of what came before.

It hears two windows through the decoder of the first stage: the one that ends where the new one starts, and an earlier
one that the new one may return to (with how closely it does). Over the onsets of the window runs a GRU (Cho et al.
2014). Each onset is written in order: its step; its pitches from high to low until it stops; how long each lasts and
which parts play it; the drums. Two things make much of little music: what the two windows play at a step stands beside
the logits of that step, so that returning to a phrase is nearly free to learn, and every pitch is also scored by its
interval from the note above it and from the last melody note (as the shared weights of Johnson 2017, "Generating
Polyphonic Music Using Tied Parallel Networks", do), so that all pitches learn from each other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from vae_jax.composer.heads import (
    MAX_LOGIT,
    NUM_DURATIONS,
    Chord,
    DrumHead,
    DurationHead,
    Heard,
    PartHead,
    PitchHead,
    StepHead,
    at,
    chosen_nats,
)
from vae_jax.composer.onset_encoding import DURATION_STEPS, NUM_PITCHED_PARTS, OnsetShape

NO_LINK = -1.0  # Similarity to an earlier window where there is none to return to.
# Sizes of the one-hot columns of "place": beat of the bar, half beats in a bar, beats to the end, half windows done.
PLACE_SIZES = (6, 13, 25, 13)
STYLE_SIZE = 14  # Shares of the parts, mode and five measures: see `continuations.Style`.
_BEAT_FEATURES = 128
_ECHO_KNOTS = 9
_COUNTDOWN_HALF_BEATS = 32  # Before the end of a piece.


class Onset(NamedTuple):
    """What starts at a step; leading axes are those of a batch.

    Attributes:
      step: int32 [...]; T for "the window is over", T + 1 before the first.
      pitches: [..., P] 0 or 1.
      top, bottom: int32 [...], the highest and the lowest pitch, P where there is none.
      duration: int32 [...], the class of how long the highest lasts; NUM_DURATIONS where there is none.
      parts: [..., parts] 0 or 1, the parts that play.
      drums: [..., D] 0 or 1.
    """

    step: jax.Array
    pitches: jax.Array
    top: jax.Array
    bottom: jax.Array
    duration: jax.Array
    parts: jax.Array
    drums: jax.Array


@flax.struct.dataclass
class Memory:
    """All that the composer knows before the window starts.

    Attributes:
      heard: the window before and the one to return to.
      beats: features of their beats, [B, beats, features] each.
      summary: [B, hidden].
      place: see `PLACE_SIZES`.
      style: [B, STYLE_SIZE].
      echo: [B], by how much what the window to return to plays is echoed.
    """

    heard: tuple[Heard, Heard]
    beats: tuple[jax.Array, jax.Array]
    summary: jax.Array
    place: jax.Array
    style: jax.Array
    echo: jax.Array


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
        self.embed_duration = nn.Embed(NUM_DURATIONS + 1, width)
        self.embed_bar_position = nn.Embed(shape.window_steps, width)
        self.embed_countdown = nn.Embed(_COUNTDOWN_HALF_BEATS + 1, width)
        self.embed_sets = [nn.Dense(width, use_bias=False) for _ in range(3)]
        self.embed_near = nn.Dense(width)
        self.cell = nn.GRUCell(width)
        self.rnn = nn.RNN(self.cell)
        self.echo_gain = self.param("echo_gain", lambda _: (jnp.arange(_ECHO_KNOTS) / (_ECHO_KNOTS - 1)) ** 3)
        self.step_head = StepHead(shape)
        self.features = [nn.Dense(width), nn.Dense(width)]
        self.embed_target = nn.Embed(shape.window_steps + 2, width)
        self.pitch_head = PitchHead(shape)
        self.duration_head = DurationHead(shape)
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
        beats = (self._beats(heard[0]), self._beats(heard[1]))
        return Memory(heard, beats, summary, place, style, self._echo(similarity))

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
            + self.embed_duration(onset.duration)
            + self._embed_time(memory, onset.step)
            + sum(embed(values) for embed, values in sets)
            + self.embed_near(nn.gelu(jnp.concatenate(near, axis=-1)))
        )

    def step_logits(self, memory: Memory, h: jax.Array, last: jax.Array) -> jax.Array:
        """Returns the logits of the next onset's step, or of the end, [..., T + 1]; `last` is the step before or -1."""
        heard = [jnp.max(window.onset, axis=-1) for window in memory.heard]
        return self.step_head(h, last, heard, memory.echo[:, None] * heard[1])

    def chord(
        self,
        memory: Memory,
        h: jax.Array,
        step: jax.Array,
        before: Onset,
        held: jax.Array,
        deterministic: bool = True,
    ) -> tuple[Chord, jax.Array]:
        """Returns what the notes of an onset at `step` depend on, and its features [..., hidden].

        `held` [..., P] is 1 for the pitches that sound on from earlier onsets of the window.
        """
        played = tuple(at(window.onset, step) for window in memory.heard)
        target = self.embed_target(step) + self._embed_time(memory, step)
        style = memory.style.reshape(len(memory.style), *(1,) * (step.ndim - 1), -1)
        style = jnp.broadcast_to(style, (*step.shape, STYLE_SIZE))
        size = jax.nn.one_hot(jnp.sum(before.pitches, axis=-1).astype(jnp.int32), self.shape.max_pitches + 1)
        inputs = [h, target, *(nn.sigmoid(logits) for logits in played), before.pitches, held, size, style]
        features = self.features[0](jnp.concatenate(inputs, axis=-1))
        features = self.features[1](self.drop(nn.gelu(features), deterministic=deterministic))
        echo = _spread(memory.echo, step) * played[1]
        return Chord(self.pitch_head.prepare(features), played, echo, before.pitches, before.top), features

    def __call__(
        self,
        onsets: dict[str, jax.Array],
        memory_inputs: dict[str, Any],
        deterministic: bool = True,
    ) -> dict[str, jax.Array]:
        """Returns the negative log likelihood of windows, in nats, [B] each: "loss", the sum, and its five parts.

        Args:
          onsets: onset lists, see `vae_jax.composer.onset_encoding`.
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
        step_nats = chosen_nats(self.step_logits(memory, h, last), written.step)
        step_nats = jnp.where(before.step == length, 0.0, step_nats)
        sounds = (written.step < length).astype(jnp.float32)
        durations = onsets["durations"].astype(jnp.int32)
        held = held_pitches(written.step, onsets["pitches"].astype(jnp.int32), durations, self.shape.num_pitches)
        chord, features = self.chord(memory, h, written.step, before, held, deterministic)
        pitch_nats = self.pitch_head.nats(chord, onsets["pitches"].astype(jnp.int32)) * sounds
        duration_nats = self.duration_head.nats(features, before.duration, onsets["pitches"], durations)
        part_nats = self.part_head.nats(
            memory.heard, features, written.step, before.parts, onsets["pitches"], played_by
        )
        drum_logits = self.drum_head(memory.heard, features, written.step)
        drum_nats = jnp.sum(jax.nn.softplus(drum_logits) - written.drums * drum_logits, axis=-1) * sounds
        terms = {
            "step_nats": jnp.sum(step_nats, axis=-1),
            "pitch_nats": jnp.sum(pitch_nats, axis=-1),
            "duration_nats": jnp.sum(duration_nats * sounds, axis=-1),
            "part_nats": jnp.sum(part_nats * sounds, axis=-1),
            "drum_nats": jnp.sum(drum_nats, axis=-1),
        }
        return {"loss": sum(terms.values(), jnp.zeros(len(sounds))), **terms}

    def _echo(self, similarity: jax.Array) -> jax.Array:
        """How strong the echo is, [B]: straight lines between learned knots over the similarity, 0 without a link."""
        knots = jnp.linspace(0.0, 1.0, _ECHO_KNOTS)
        return jnp.where(similarity >= 0, jnp.interp(similarity, knots, self.echo_gain), 0.0)

    def start(self, memory: Memory) -> jax.Array:
        """The GRU's state before the first onset, [B, hidden]."""
        return nn.tanh(memory.summary)

    def _embed_time(self, memory: Memory, step: jax.Array) -> jax.Array:
        """Where in its bar a step lies, and how far from the end of the piece, [..., hidden]."""
        steps_per_beat = self.shape.window_steps // self.window_beats
        phase, half_beats, beats_left = (
            memory.place[:, n].reshape(-1, *(1,) * (step.ndim - 1)).astype(jnp.int32) for n in range(3)
        )
        bar_steps = jnp.maximum(half_beats * steps_per_beat // 2, 1)
        position = (phase * steps_per_beat + step) % bar_steps
        countdown = (beats_left * steps_per_beat - step) * 2 // steps_per_beat
        # Beats left are counted up to a limit: at it the end is far away.
        countdown = jnp.where(beats_left < PLACE_SIZES[2] - 1, countdown, _COUNTDOWN_HALF_BEATS)
        return self.embed_bar_position(jnp.minimum(position, self.shape.window_steps - 1)) + self.embed_countdown(
            jnp.clip(countdown, 0, _COUNTDOWN_HALF_BEATS)
        )

    def _beats(self, window: Heard) -> jax.Array:
        """Features of every beat of a window, [B, beats, features]."""
        batch, _, pitches = window.onset.shape
        steps_per_beat = self.shape.window_steps // self.window_beats
        onset = nn.sigmoid(window.onset).reshape(batch, self.window_beats, steps_per_beat * pitches)
        share = nn.tanh(window.share[:, ::steps_per_beat, ::3] / 4).reshape(batch, self.window_beats, -1)
        return self.hear_beat(jnp.concatenate([onset, 0.3 * share], axis=-1))


def _spread(values: jax.Array, like: jax.Array) -> jax.Array:
    """Gives [B] values the axes of `like` [B, ...] and one more."""
    return values.reshape(-1, *(1,) * like.ndim)


def first_onset(batch: int, shape: OnsetShape) -> Onset:
    """What stands before the first onset of a window."""
    nothing = jnp.full(batch, shape.num_pitches, jnp.int32)
    return Onset(
        step=jnp.full(batch, shape.window_steps + 1, jnp.int32),
        pitches=jnp.zeros((batch, shape.num_pitches)),
        top=nothing,
        bottom=nothing,
        duration=jnp.full(batch, NUM_DURATIONS, jnp.int32),
        parts=jnp.zeros((batch, NUM_PITCHED_PARTS)),
        drums=jnp.zeros((batch, shape.num_drums)),
    )


def make_onset(
    step: jax.Array,
    pitches: jax.Array,
    durations: jax.Array,
    played_by: jax.Array,
    drums: jax.Array,
    num_pitches: int,
) -> Onset:
    """Gathers an onset from its step [...], pitches and durations [..., M], parts [..., M, parts], drums [..., D]."""
    count = jnp.sum(pitches < num_pitches, axis=-1, keepdims=True)
    lowest = jnp.take_along_axis(pitches, jnp.maximum(count - 1, 0), axis=-1)[..., 0]
    return Onset(
        step=step,
        pitches=jnp.sum(jax.nn.one_hot(pitches, num_pitches), axis=-2),
        top=pitches[..., 0],
        bottom=lowest,
        duration=jnp.where(count[..., 0] > 0, durations[..., 0], NUM_DURATIONS),
        parts=jnp.max(played_by, axis=-2),
        drums=drums,
    )


def end_steps(step: jax.Array, durations: jax.Array) -> jax.Array:
    """Returns when notes end, [..., M], for the step of their onset [...] and their duration classes [..., M]."""
    return step[..., None] + jnp.asarray(DURATION_STEPS)[durations]


def held_pitches(step: jax.Array, pitches: jax.Array, durations: jax.Array, num_pitches: int) -> jax.Array:
    """Returns which pitches sound on at every onset from earlier ones, [B, K, P] 0 or 1.

    Args:
      step: [B, K].
      pitches, durations: [B, K, M], P where there is no note.
      num_pitches: P.
    """
    order = jnp.arange(step.shape[1])
    sounds_on = end_steps(step, durations)[:, None] > step[:, :, None, None]  # [B, K, earlier K, M]
    sounds_on &= (order < order[:, None])[None, :, :, None]
    notes = jax.nn.one_hot(pitches, num_pitches)
    return jnp.minimum(jnp.einsum("bkjm,bjmp->bkp", sounds_on.astype(jnp.float32), notes), 1.0)


def unpack(onsets: dict[str, jax.Array], shape: OnsetShape) -> tuple[Onset, jax.Array]:
    """Turns onset lists into onsets [B, K, ...] and the parts of every pitch, [B, K, M, parts] float32."""
    played_by = _bits(onsets["parts"], NUM_PITCHED_PARTS)
    step, pitches, durations = (onsets[name].astype(jnp.int32) for name in ("steps", "pitches", "durations"))
    drums = _bits(onsets["drums"], shape.num_drums)
    return make_onset(step, pitches, durations, played_by, drums, shape.num_pitches), played_by


def _limited(window: Heard, present: jax.Array) -> Heard:
    """Limits what is heard; a window that is not there is silent."""
    silence = jnp.full_like(window.onset, -MAX_LOGIT)
    onset = jnp.where(present[:, :, None] > 0, jnp.clip(window.onset, -MAX_LOGIT, MAX_LOGIT), silence)
    drum = jnp.where(present[:, :, None] > 0, jnp.clip(window.drum, -MAX_LOGIT, MAX_LOGIT), -MAX_LOGIT)
    share = jnp.clip(window.share, -MAX_LOGIT, MAX_LOGIT) * present[:, :, None, None]
    return Heard(window.latent * present, onset, drum, share)


def _bits(packed: jax.Array, count: int) -> jax.Array:
    return ((packed.astype(jnp.int32)[..., None] >> jnp.arange(count)) & 1).astype(jnp.float32)
