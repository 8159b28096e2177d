"""Sampling whole pieces note after note, in one program for a batch of pieces, with cached layer inputs."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.composer import memory as memory_lib
from vae_jax.composer.counts import GAP_CLASSES, duration_contexts, gap_contexts, more_contexts, pitch_contexts
from vae_jax.composer.memory import Memory, Music, Note, Sampled
from vae_jax.composer.network import DILATIONS, NUM_GAPS, Decoder, Place, limits
from vae_jax.composer.notes import (
    ENDING_BARS,
    MAX_GAP,
    NEARLY_EQUAL,
    NUM_DURATIONS,
    NUM_LAGS,
    NUM_PITCHES,
    NUM_ROLES,
)
from vae_jax.models.base import Variables
from vae_jax.representations.pianoroll.durations import duration_classes

A = TypeVar("A", np.ndarray, jax.Array)

_RING = max(DILATIONS) + 1
_NEVER = 10**6  # A step that no piece reaches.
_BAR_CLASSES = duration_classes(np.arange(256).clip(1)).astype(np.int32)
_PITCH, _GAP, _DURATION, _MORE = range(4)  # Of the counts.


class Melody(NamedTuple, Generic[A]):
    """The top voice where it is given, int32 [B, T]."""

    pitch: A  # Of the note that starts at each step, NUM_PITCHES for none.
    duration: A  # Its class.
    following: A  # Step of the first note after each step.
    ceiling: A  # Pitch below which all other notes lie.

    @staticmethod
    def free(length: int) -> "Melody[np.ndarray]":
        """No melody, [length]."""
        return Melody(*(np.full(length, value, np.int32) for value in (NUM_PITCHES, 0, _NEVER, NUM_PITCHES)))


class Frame(NamedTuple, Generic[A]):
    """What a batch of B pieces is to be: T steps, those of the longest and `MAX_GAP` more; int32 unless said otherwise.

    Music that phrases may repeat can lie before a piece, in the steps below `start`.
    """

    start: A  # [B]
    last: A  # [B], step of the last chord.
    position: A  # [B, T], steps since the bar line.
    bar: A  # [B, T], steps of the bar.
    hyper: A  # [B, T], bar modulo HYPER_BARS.
    lags: A  # [B, T, NUM_LAGS], 0 where there is none.
    plan: A  # float32 [B, T, PLAN_SIZE]
    chords: A  # [B, T, 3]
    condition: A  # float32 [B, K], style and mode.
    latents: A  # float32 [B, T, L + 1], of the phrase, and whether they are given.
    given: A  # [B, M, 5], notes as `memory.Note`; where the time to the next chord is free it is -1.
    num_given: A  # [B], of the first notes of the piece.
    earliest: A  # [B], step before which no chord follows those given.
    melody: Melody[A]
    music: Music[A]


class Temperatures(NamedTuple):
    """Temperatures of times (and of how many notes a chord has), pitches and durations; float32 scalars.

    Times and durations with less than `least_time` times the probability of the likeliest value are not sampled, nor
    pitches with less than `least_pitch` (min-p sampling, Nguyen et al. 2024).
    """

    time: jax.Array
    pitch: jax.Array
    duration: jax.Array
    ending: jax.Array  # Of pitches in the last `ENDING_BARS` bars, in proportion.
    ending_chords: jax.Array  # Weight of the chords in the pitches of these bars; elsewhere it is 1.
    returns: jax.Array  # Of all in phrases that are to be nearly equal to earlier ones, in proportion.
    least_time: jax.Array
    least_pitch: jax.Array


class _State(NamedTuple):
    n: jax.Array  # Tokens so far.
    memory: Memory
    following: jax.Array  # [B], step of the next chord.
    h: jax.Array  # [B, C], output of the trunk.
    rings: jax.Array  # [layers, B, _RING, C], inputs of its layers.
    done: jax.Array  # bool [B]


@functools.partial(jax.jit, static_argnames=("net", "max_notes"))
def sample_pieces(
    net: Decoder,
    params: Variables,
    frame: Frame[jax.Array],
    temperatures: Temperatures,
    keys: jax.Array,
    max_notes: int,
) -> Sampled[jax.Array]:
    """Samples pieces of at most `max_notes` notes, each with a key of its own, [B] (they are consumed)."""
    sampler = _Sampler(net, params, frame, temperatures, keys)
    state = sampler.start(max_notes)
    state = jax.lax.while_loop(lambda s: ~jnp.all(s.done) & (s.n < max_notes + 2), sampler.next_note, state)
    return state.memory.notes


@dataclasses.dataclass(frozen=True, eq=False)
class _Sampler:
    """The steps of `sample_pieces`, whose arguments it holds."""

    net: Decoder
    params: Variables
    frame: Frame[jax.Array]
    temperatures: Temperatures
    keys: jax.Array

    def start(self, max_notes: int) -> _State:
        """Returns the state after the two tokens that start a piece."""
        frame, batch = self.frame, len(self.frame.start)
        nothing, never = jnp.zeros(batch, jnp.int32), jnp.zeros(batch, bool)
        memory = memory_lib.init_memory(frame.start, frame.music, max_notes)
        rings = jnp.zeros((len(DILATIONS), batch, _RING, self.net.channels))
        state = _State(jnp.zeros((), jnp.int32), memory, nothing, jnp.zeros((batch, self.net.channels)), rings, never)
        here, _ = self.place(memory, frame.start, nothing)
        unknown = jnp.full((batch, NUM_LAGS), NUM_DURATIONS, jnp.int32)
        silence = Note(frame.start, nothing, memory.pitch, nothing, memory.gap)
        state = self.advance(state, silence, unknown, here)
        least = jnp.clip(frame.earliest - frame.start, 0, MAX_GAP)
        gap = self.sample_gap(state, here, frame.start, least, self.keys_at(0))
        first = jnp.clip(frame.given[:, 0, 0] - frame.start, 0, MAX_GAP)
        gap = jnp.where(frame.num_given > 0, first, gap)
        state = state._replace(following=jnp.maximum(_follow(frame.start, gap), frame.earliest))
        return self.advance(state, silence._replace(gap=gap), unknown, here)

    def next_note(self, state: _State) -> _State:
        """Adds a note to each piece that is not done."""
        keys = [self.keys_at(4 * state.n + k) for k in range(4)]
        frame, memory, index, heat = self.frame, state.memory, state.n - 2, self.temperatures
        given = Note(*frame.given[:, jnp.minimum(index, frame.given.shape[1] - 1)].T)
        is_given = index < frame.num_given

        next_role = jnp.minimum(memory.role + 1, NUM_ROLES - 1)
        before, _ = self.place(memory, memory.step, next_role)
        going_on = more_contexts(memory_lib.look_back(memory, next_role), next_role, before.position)
        more = self.sample_more(state, before, going_on, keys[0])
        is_free = (memory.pitch < NUM_PITCHES) & (index != frame.num_given)  # The last chord given is complete.
        more = jnp.where(is_given, given.role > 0, more & is_free)
        following = jnp.where(is_given, given.step, state.following)
        done = state.done | (~more & (following > frame.last))
        step = jnp.where(done | more, memory.step, following)
        role = jnp.where(more, next_role, 0)
        here, lengths = self.place(memory, step, role)

        is_last = is_given & (given.gap < 0)  # Of the chords given.
        least = jnp.where(is_last, jnp.clip(frame.earliest - step, 1, MAX_GAP), 1)
        gap = self.sample_gap(state, here, step, least, keys[1])
        gap = jnp.where(is_given & ~is_last, jnp.minimum(given.gap, MAX_GAP), gap)
        gap = jnp.where(more, memory.gap, gap)
        earliest = jnp.where(is_last, frame.earliest, 0)
        following = jnp.where(more, state.following, jnp.maximum(_follow(step, gap), earliest))

        recent = memory_lib.look_back(memory, role)
        by_pitch, by_gap = pitch_contexts(recent, role, here.position), gap_contexts(recent, here.position)
        by_duration = duration_contexts(recent, role, jnp.asarray(GAP_CLASSES, jnp.int32)[gap])
        z = self.apply(Decoder.note_hidden, state.h, here, self.apply(Decoder.see, here)[2], gap)
        low, high, _ = limits(memory.pitch, role, here.references)
        melody = jax.tree.map(lambda x: x[jnp.arange(len(step)), step], frame.melody)
        sings = (role == 0) & (melody.pitch < NUM_PITCHES)
        high = jnp.where(role == 0, jnp.minimum(high, melody.ceiling), high)
        is_ending = here.left <= ENDING_BARS * here.bar
        known = memory_lib.recall(memory.counts[_PITCH], by_pitch)
        chord_weight = jnp.where(is_ending, heat.ending_chords, 1.0)[:, None]
        logs = self.apply(Decoder.pitches, z, here, known, low, high, chord_weight)
        warmth = self.warmth(here)
        warmth_of_pitch = warmth * (heat.pitch * jnp.where(is_ending, heat.ending, 1.0))[:, None]
        pitch = jnp.where(sings, melody.pitch, _choose(keys[2], logs, warmth_of_pitch, heat.least_pitch))
        pitch = jnp.where(is_given, given.pitch, pitch)
        aligned_duration = jnp.take_along_axis(lengths, pitch[:, None, None], axis=-1)[..., 0]
        counts = memory_lib.recall(memory.counts[_DURATION], by_duration)
        logs = self.apply(Decoder.durations, z, pitch, gap, aligned_duration, here, counts)
        duration = jnp.where(sings, melody.duration, _choose(keys[3], logs, warmth * heat.duration, heat.least_time))
        duration = jnp.where(is_given, given.duration, duration)

        note, everywhere = Note(step, role, pitch, duration, gap), jnp.ones_like(done)
        counted = (
            (by_pitch, pitch, everywhere),
            (by_gap, gap, (role == 0) & (gap <= MAX_GAP)),
            (by_duration, duration, everywhere),
            (going_on, more.astype(jnp.int32), memory.pitch < NUM_PITCHES),
        )
        tables = tuple(memory_lib.count(table, *row) for table, row in zip(memory.counts, counted, strict=True))
        memory = memory_lib.add_note(memory, note, index, done)._replace(counts=tables)
        state = state._replace(memory=memory, following=following, done=done)
        return self.advance(state, note, aligned_duration, here)

    def keys_at(self, n: jax.Array | int) -> jax.Array:
        """The n-th key of each piece, [B]."""
        return jax.vmap(lambda key: jax.random.fold_in(key, n))(self.keys)

    def warmth(self, place: Place) -> jax.Array:
        """What temperatures are multiplied by at places, [B, 1]."""
        return jnp.where(place.plan[:, NEARLY_EQUAL, None] > 0, self.temperatures.returns, 1.0)

    def apply(self, method: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a method of the network."""
        return self.net.apply({"params": self.params}, *arguments, method=method)

    def place(self, memory: Memory, step: jax.Array, role: jax.Array) -> tuple[Place, jax.Array]:
        """The place of a note, and the duration classes of every pitch at its lags, [B, NUM_LAGS, NUM_PITCHES]."""
        frame, rows = self.frame, jnp.arange(len(step))
        lag = frame.lags[rows, step]
        source = step[:, None] - lag
        valid = (lag > 0) & (source >= 0)
        at = rows[:, None], jnp.where(valid, source, 0)
        aligned = memory.music.roll[at] & valid[..., None]
        roles = jnp.take_along_axis(memory.music.roles[at], role[:, None, None], axis=-1)[..., 0]
        held, highest, lowest = memory_lib.held_at(memory, step)
        last = memory.last
        references = (
            *(last[rows, role], memory.pitch, last[:, 0], last[:, 1], highest, lowest, memory.second[rows, role]),
            *(memory.melody[:, 0], memory.melody[:, 1], memory.bass),
        )
        position, bar = frame.position[rows, step], frame.bar[rows, step]
        chord = jnp.where((role == 0)[:, None], NUM_DURATIONS, memory.chord)
        to_bar = jnp.asarray(_BAR_CLASSES)[jnp.maximum(bar - position, 1)]
        found = Place(
            position=position,
            bar=bar,
            left=jnp.maximum(frame.last - step, 0),
            hyper=frame.hyper[rows, step],
            role=role,
            plan=frame.plan[rows, step],
            references=jnp.stack(references, axis=-1),
            moves=memory.moves,
            lengths=jnp.concatenate([memory.last_duration[rows, role][:, None], chord, to_bar[:, None]], axis=-1),
            held=held,
            aligned=aligned,
            aligned_role=jnp.where(valid, roles, NUM_PITCHES),
            aligned_size=aligned.sum(axis=-1),
            chords=frame.chords[rows, step],
            condition=jnp.concatenate([frame.condition, frame.latents[rows, step]], axis=-1),
        )
        return found, jnp.where(valid[..., None], memory.music.lengths[at].astype(jnp.int32), NUM_DURATIONS)

    def advance(self, state: _State, note: Note, aligned_duration: jax.Array, here: Place) -> _State:
        """Puts a token into the trunk."""
        seen = self.apply(Decoder.see, here)[0]
        x = self.apply(Decoder.embed_notes, note.pitch, note.duration, note.gap, aligned_duration, here, seen)
        rings, slot = state.rings, state.n % _RING
        for k, dilation in enumerate(DILATIONS):
            rings = rings.at[k, :, slot].set(x)
            x = x + self.apply(Decoder.layer, k, x, rings[k, :, (state.n - dilation) % _RING])
        return state._replace(h=self.apply(lambda net, x: net.norm(x), x), rings=rings, n=state.n + 1)

    def sample_more(self, state: _State, before: Place, contexts: tuple[jax.Array, ...], keys: jax.Array) -> jax.Array:
        """Samples whether chords go on, bool [B]; `before` is the place of the last note, with the next role."""
        memory = state.memory
        is_full = limits(memory.pitch, memory.role, before.references)[2]
        odds = self.apply(Decoder.more, state.h, before, memory_lib.recall(memory.counts[_MORE], contexts), is_full)
        return jax.vmap(jax.random.logistic)(keys) < odds / (self.temperatures.time * self.warmth(before)[:, 0])

    def sample_gap(
        self, state: _State, here: Place, step: jax.Array, earliest: jax.Array, keys: jax.Array
    ) -> jax.Array:
        """Samples the steps from a chord to the next, `earliest` [B] the fewest."""
        frame, memory, rows = self.frame, state.memory, jnp.arange(len(step))
        ahead = jnp.minimum(step[:, None] + jnp.arange(NUM_GAPS - 1), frame.position.shape[1] - 1)
        lag = frame.lags[rows[:, None], ahead]
        source = ahead[..., None] - lag
        is_now = (source == step[:, None, None]) & (state.n > 1)  # Of the chord at hand it is known that it starts.
        valid = (lag > 0) & (source >= 0)
        starts = memory.music.roles[rows[:, None, None], jnp.where(valid, source, 0), 0] < NUM_PITCHES
        flags = valid & (is_now | (starts & (source < step[:, None, None])))
        contexts = gap_contexts(memory_lib.look_back(memory, here.role), here.position)
        counts, seen = memory_lib.recall(memory.counts[_GAP], contexts), self.apply(Decoder.see, here)[1]
        logs = self.apply(Decoder.gaps, state.h, here, seen, flags, counts, earliest)
        starts_now = (frame.melody.pitch[rows, step] < NUM_PITCHES) & (earliest == 0)
        latest = jnp.where(starts_now, 0, frame.melody.following[rows, step] - step)
        logs = jnp.where(jnp.arange(NUM_GAPS) <= latest[:, None], logs, -jnp.inf)
        return _choose(keys, logs, self.temperatures.time * self.warmth(here), self.temperatures.least_time)


def _choose(keys: jax.Array, logs: jax.Array, temperature: jax.Array, least: jax.Array) -> jax.Array:
    """Samples from log probabilities [B, K], with a key for each row, the least likely left out."""
    lowest = logs.max(axis=-1, keepdims=True) + jnp.log(jnp.maximum(least, 1e-9))
    return jax.vmap(jax.random.categorical)(keys, jnp.where(logs >= lowest, logs / temperature, -jnp.inf))


def _follow(step: jax.Array, gap: jax.Array) -> jax.Array:
    """The step of the next chord."""
    return jnp.where(gap > MAX_GAP, _NEVER, step + gap)
