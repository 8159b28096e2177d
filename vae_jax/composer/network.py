"""The composer: an autoregressive model of the next window, onset by onset and note by note, given earlier windows.

Two windows condition it, as the first stage decodes them from their latents: the one that ends where the new one
starts, and an earlier one that the new one may repeat, with a similarity. A GRU (Cho et al. 2014) runs over the onsets
of the window. Each onset is a sequence of decisions: its step; its pitches from high to low until the chord ends; the
duration and the parts of each; the drums. Two things help where training music is scarce. The decoded windows' logits
are added to those of each step, so that repeating a phrase is nearly free to learn. And every pitch is also scored by
its interval from the note above it and from the last melody note, so that all pitches share weights (Johnson 2017,
"Generating Polyphonic Music Using Tied Parallel Networks").
"""

from typing import Generic, NamedTuple, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from vae_jax.composer import heads
from vae_jax.composer.heads import MAX_LOGIT, NUM_DURATIONS, ChordInputs, DecodedWindow, Windows, gather_steps
from vae_jax.composer.onset_encoding import DURATION_STEPS, NUM_PITCHED_PARTS, OnsetLists, OnsetShape, unpack_bits

NO_LINK = -1.0  # Similarity where there is no earlier window to repeat.
# Sizes of the one-hot columns of "place": beat of the bar, half beats in a bar, beats to the end, half windows so far.
PLACE_SIZES = (6, 13, 25, 13)
STYLE_SIZE = 14  # Of `conditioning.Style.vector`.
_BEAT_FEATURES = 128
_COPY_KNOTS = 9
_COUNTDOWN_HALF_BEATS = 32  # Before the end of a piece.


AnyArray = np.ndarray | Array
W = TypeVar("W", AnyArray, DecodedWindow)


class Onset(NamedTuple):
    """What starts at a step; leading axes are those of a batch."""

    step: Array  # int32 [...]; T for the end of the window, T + 1 before the first onset.
    pitches: Array  # [..., P] 0 or 1.
    top: Array  # int32 [...], the highest pitch; P where there is none.
    bottom: Array  # int32 [...], the lowest.
    duration: Array  # int32 [...], duration class of the highest; NUM_DURATIONS where there is none.
    parts: Array  # [..., parts] 0 or 1, the parts that play.
    drums: Array  # [..., D] 0 or 1.


class Notes(NamedTuple):
    """The pitched notes of onsets, M each, from high to low."""

    pitches: Array  # int32 [..., M]; P where there is no note.
    durations: Array  # int32 [..., M], duration classes.
    parts: Array  # float32 [..., M, parts] 0 or 1, the parts that play.


class WindowConditions(NamedTuple, Generic[W]):
    """What B windows are conditioned on; earlier windows are given by their latents [B, Z], or decoded."""

    previous: W  # The window that ends where the new one starts.
    link: W  # The window to repeat.
    similarity: AnyArray  # [B], how closely the new window repeats `link`, 0 to 1, or NO_LINK.
    place: AnyArray  # [B, 4] int, see `PLACE_SIZES`.
    style: AnyArray  # [B, STYLE_SIZE].


LatentConditions = WindowConditions[AnyArray]
DecodedConditions = WindowConditions[DecodedWindow]


class EncodedConditions(NamedTuple):
    """Conditions as the network uses them."""

    windows: Windows  # Clipped.
    beats: tuple[Array, Array]  # Features of their beats, [B, beats, features].
    summary: Array  # [B, hidden].
    place: AnyArray
    style: AnyArray
    copy_weight: Array  # [B], weight of the logits of the window to repeat.


class Composer(nn.Module):
    """The network; T steps, P pitches, K onsets of M pitches, D drums. Dropout is on where there is a key for it."""

    shape: OnsetShape
    window_beats: int = 8
    hidden: int = 256  # Width of the GRU.
    dropout: float = 0.3  # Rate.

    def setup(self) -> None:
        """Declares the layers; Flax derives their initial values from these names."""
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
        self.copy_knots = self.param("echo_gain", lambda _: (jnp.arange(_COPY_KNOTS) / (_COPY_KNOTS - 1)) ** 3)
        self.step_head = heads.StepHead(shape)
        self.features = [nn.Dense(width), nn.Dense(width)]
        self.embed_target = nn.Embed(shape.window_steps + 2, width)
        self.pitch_head = heads.PitchHead(shape)
        self.duration_head = heads.DurationHead(shape)
        self.part_head = heads.PartHead(shape)
        self.drum_head = heads.DrumHead(shape)
        self.drop = nn.Dropout(self.dropout, deterministic=not self.has_rng("dropout"))

    @property
    def _steps_per_beat(self) -> int:
        return self.shape.window_steps // self.window_beats

    def __call__(self, lists: OnsetLists[Array], conditions: DecodedConditions) -> dict[str, Array]:
        """Returns the negative log likelihood of windows, in nats, [B] each: "loss", the sum, and its five terms."""
        length = self.shape.window_steps
        encoded = self.encode_conditions(conditions)
        onset, notes = unpack_onsets(lists, self.shape)
        previous = jax.tree.map(
            lambda values, start: jnp.concatenate([start[:, None], values[:, :-1]], axis=1),
            onset,
            first_onset(len(onset.step), self.shape),
        )
        x = self.drop(self.embed_onset(encoded, previous) + encoded.summary[:, None])
        h = self.drop(self.rnn(x, initial_carry=nn.tanh(encoded.summary)))
        last = jnp.where(previous.step > length, -1, previous.step)
        step_nats = heads.categorical_nats(self.step_logits(encoded, h, last), onset.step)
        step_nats = jnp.where(previous.step == length, 0.0, step_nats)
        held = held_pitches(onset.step, notes, self.shape.num_pitches)
        chord, features = self.chord_inputs(encoded, h, onset.step, previous, held)
        nats = self._note_nats(encoded, chord, features, onset.step, previous, notes)
        nats["drum_nats"] = heads.bernoulli_nats(self.drum_head(encoded.windows, features, onset.step), onset.drums)
        is_onset = (onset.step < length).astype(jnp.float32)
        terms = {"step_nats": step_nats} | {name: values * is_onset for name, values in nats.items()}
        terms = {name: jnp.sum(values, axis=-1) for name, values in terms.items()}
        return {"loss": sum(terms.values(), jnp.zeros(len(is_onset))), **terms}

    def _note_nats(
        self, encoded: EncodedConditions, chord: ChordInputs, x: Array, step: Array, previous: Onset, notes: Notes
    ) -> dict[str, Array]:
        """Returns the negative log likelihood of pitches, durations and parts, [B, K] each, for features x."""
        num_pitches, (pitches, durations, parts) = self.shape.num_pitches, notes
        is_note = pitches < num_pitches
        one_hot = jax.nn.one_hot(pitches, num_pitches)
        chosen = jnp.cumsum(one_hot, axis=2) - one_hot
        last = _shift(pitches, jnp.full_like(step, num_pitches + 1))
        is_decided = last != num_pitches  # One end follows the last pitch; a full chord needs none.
        chord = jax.tree.map(lambda values: values[:, :, None], chord)
        pitch_logits = self.pitch_head(chord, chosen, jnp.where(is_decided, last, 0))
        duration_logits = self.duration_head(x[:, :, None], pitches, _shift(durations, previous.duration))
        step, parts_before = jnp.broadcast_to(step[..., None], pitches.shape), _shift(parts, previous.parts)
        part_logits = self.part_head(encoded.windows, x[:, :, None], step, pitches, parts_before)
        nats = {
            "pitch_nats": jnp.where(is_decided, heads.categorical_nats(pitch_logits, pitches), 0.0),
            "duration_nats": jnp.where(is_note, heads.categorical_nats(duration_logits, durations), 0.0),
            "part_nats": jnp.where(is_note, heads.bernoulli_nats(part_logits, parts), 0.0),
        }
        return {name: jnp.sum(values, axis=-1) for name, values in nats.items()}

    def encode_conditions(self, conditions: DecodedConditions) -> EncodedConditions:
        """Encodes what is the same for all onsets of a window."""
        previous, link, similarity, place, style = conditions
        is_linked = (similarity >= 0).astype(jnp.float32)[:, None]
        windows = (_clip_window(previous, jnp.ones_like(is_linked)), _clip_window(link, is_linked))
        one_hot = [jax.nn.one_hot(place[:, n], size) for n, size in enumerate(PLACE_SIZES)]
        inputs = jnp.concatenate([*one_hot, style, jnp.maximum(similarity, 0)[:, None], is_linked], axis=-1)
        summary = self.read_place(inputs)
        for layer, window in zip(self.hear_latents, windows, strict=True):
            summary += layer(window.latent / 2)
        summary = self.summarise(self.drop(nn.gelu(summary)))
        beats = (self._beat_features(windows[0]), self._beat_features(windows[1]))
        # Piecewise linear between learned knots; no copying without a link.
        knots = jnp.linspace(0.0, 1.0, _COPY_KNOTS)
        copy_weight = jnp.where(similarity >= 0, jnp.interp(similarity, knots, self.copy_knots), 0.0)
        return EncodedConditions(windows, beats, summary, place, style, copy_weight)

    def embed_onset(self, encoded: EncodedConditions, onset: Onset) -> Array:
        """Makes the GRU's input from the previous onset, [..., hidden]."""
        beat = jnp.where(onset.step < self.shape.window_steps, onset.step, 0) // self._steps_per_beat
        next_beat = jnp.minimum(beat + 1, self.window_beats - 1)
        near = [gather_steps(beats, index) for beats in encoded.beats for index in (beat, next_beat)]
        sets = zip(self.embed_sets, (onset.pitches, onset.parts, onset.drums), strict=True)
        return (
            self.embed_step(onset.step)
            + self.embed_top(onset.top)
            + self.embed_bottom(onset.bottom)
            + self.embed_duration(onset.duration)
            + self._embed_time(encoded, onset.step)
            + sum(embed(values) for embed, values in sets)
            + self.embed_near(nn.gelu(jnp.concatenate(near, axis=-1)))
        )

    def step_logits(self, encoded: EncodedConditions, h: Array, last: Array) -> Array:
        """Returns the logits of the next onset's step, or of the end, [..., T + 1]; `last` is the last step or -1."""
        decoded = [jnp.max(window.onset, axis=-1) for window in encoded.windows]
        return self.step_head(h, last, decoded, encoded.copy_weight[:, None] * decoded[1])

    def chord_inputs(
        self, encoded: EncodedConditions, h: Array, step: Array, previous: Onset, held: Array
    ) -> tuple[ChordInputs, Array]:
        """Returns what the notes of an onset at `step` depend on, and its features [..., hidden].

        `held` [..., P] is 1 for pitches of earlier onsets of the window that have not ended.
        """
        decoded = tuple(gather_steps(window.onset, step) for window in encoded.windows)
        target = self.embed_target(step) + self._embed_time(encoded, step)
        axes = tuple(range(1, step.ndim))
        style = jnp.broadcast_to(jnp.expand_dims(encoded.style, axes), (*step.shape, STYLE_SIZE))
        size = jax.nn.one_hot(jnp.sum(previous.pitches, axis=-1).astype(jnp.int32), self.shape.max_pitches + 1)
        inputs = [h, target, *(nn.sigmoid(logits) for logits in decoded), previous.pitches, held, size, style]
        features = self.features[0](jnp.concatenate(inputs, axis=-1))
        features = self.features[1](self.drop(nn.gelu(features)))
        copy_bias = jnp.expand_dims(encoded.copy_weight, (*axes, step.ndim)) * decoded[1]
        projected = self.pitch_head.project(features)
        return ChordInputs(projected, decoded, copy_bias, previous.pitches, previous.top), features

    def _embed_time(self, encoded: EncodedConditions, step: Array) -> Array:
        """Embeds the position in the bar of a step, and its distance from the end of the piece, [..., hidden]."""
        place = jnp.expand_dims(encoded.place, tuple(range(1, step.ndim))).astype(jnp.int32)
        phase, half_beats, beats_left, _ = jnp.moveaxis(place, -1, 0)
        bar_steps = jnp.maximum(half_beats * self._steps_per_beat // 2, 1)
        position = (phase * self._steps_per_beat + step) % bar_steps
        countdown = (beats_left * self._steps_per_beat - step) * 2 // self._steps_per_beat
        # Beats left are clipped: at the limit the end is far away.
        countdown = jnp.where(beats_left < PLACE_SIZES[2] - 1, countdown, _COUNTDOWN_HALF_BEATS)
        return self.embed_bar_position(jnp.minimum(position, self.shape.window_steps - 1)) + self.embed_countdown(
            jnp.clip(countdown, 0, _COUNTDOWN_HALF_BEATS)
        )

    def _beat_features(self, window: DecodedWindow) -> Array:
        """Features of every beat of a window, [B, beats, features]."""
        batch, _, pitches = window.onset.shape
        onset = nn.sigmoid(window.onset).reshape(batch, self.window_beats, self._steps_per_beat * pitches)
        share = nn.tanh(window.share[:, :: self._steps_per_beat, ::3] / 4).reshape(batch, self.window_beats, -1)
        return self.hear_beat(jnp.concatenate([onset, 0.3 * share], axis=-1))


def first_onset(batch: int, shape: OnsetShape) -> Onset:
    """Returns what stands before the first onset of B windows."""
    empty = jax.tree.map(lambda values: jnp.asarray(values[:, 0]), OnsetLists.empty(batch, shape))
    return unpack_onsets(empty, shape)[0]._replace(step=jnp.full(batch, shape.window_steps + 1, jnp.int32))


def make_onset(step: Array, notes: Notes, drums: Array, num_pitches: int) -> Onset:
    """Makes an onset of its step [...], its notes and its drums [..., D]."""
    pitches, durations, parts = notes
    count = jnp.sum(pitches < num_pitches, axis=-1, keepdims=True)
    return Onset(
        step=step,
        pitches=jnp.sum(jax.nn.one_hot(pitches, num_pitches), axis=-2),
        top=pitches[..., 0],
        bottom=jnp.take_along_axis(pitches, jnp.maximum(count - 1, 0), axis=-1)[..., 0],
        duration=jnp.where(count[..., 0] > 0, durations[..., 0], NUM_DURATIONS),
        parts=jnp.max(parts, axis=-2),
        drums=drums,
    )


def unpack_onsets(lists: OnsetLists[Array], shape: OnsetShape) -> tuple[Onset, Notes]:
    """Turns onset lists [B, K, ...] into onsets and their notes."""
    step, pitches, durations = (values.astype(jnp.int32) for values in lists[:3])
    parts = unpack_bits(lists.parts, NUM_PITCHED_PARTS).astype(jnp.float32)
    drums = unpack_bits(lists.drums, shape.num_drums).astype(jnp.float32)
    notes = Notes(pitches, durations, parts)
    return make_onset(step, notes, drums, shape.num_pitches), notes


def held_pitches(step: Array, notes: Notes, num_pitches: int) -> Array:
    """Returns the pitches of earlier onsets that have not ended at each onset [B, K], [B, K, P] 0 or 1."""
    order = jnp.arange(step.shape[1])
    ends = step[..., None] + jnp.asarray(DURATION_STEPS)[notes.durations]
    is_held = ends[:, None] > step[:, :, None, None]  # [B, K, earlier K, M]
    is_held &= (order < order[:, None])[None, :, :, None]
    one_hot = jax.nn.one_hot(notes.pitches, num_pitches)
    return jnp.minimum(jnp.einsum("bkjm,bjmp->bkp", is_held.astype(jnp.float32), one_hot), 1.0)


def _shift(values: Array, first: Array) -> Array:
    """Puts `first` [B, K, ...] before values [B, K, M, ...] and drops the last of them."""
    return jnp.concatenate([first[:, :, None], values[:, :, :-1]], axis=2)


def _clip_window(window: DecodedWindow, is_present: AnyArray) -> DecodedWindow:
    """Clips the logits of a window; a window that is absent (`is_present` [B, 1] is 0) holds no notes."""
    onset, drum = (
        jnp.where(is_present[:, :, None] > 0, jnp.clip(logits, -MAX_LOGIT, MAX_LOGIT), -MAX_LOGIT)
        for logits in (window.onset, window.drum)
    )
    share = jnp.clip(window.share, -MAX_LOGIT, MAX_LOGIT) * is_present[:, :, None, None]
    return DecodedWindow(window.latent * is_present, onset, drum, share)
