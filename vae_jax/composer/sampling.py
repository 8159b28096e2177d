"""Sampling whole pieces note after note, in one program for a batch of pieces, with cached layer inputs."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vae_jax.composer.network import DILATIONS, KERNEL, NUM_GAPS, Decoder, Place
from vae_jax.composer.notes import MAX_CHORD, MAX_GAP, NUM_DURATIONS, NUM_LAGS, NUM_PITCHES, NUM_ROLES

_RING = (KERNEL - 1) * max(DILATIONS) + 1


class Frame(NamedTuple):
    """What a batch of B pieces is to be: T is the length of the longest and `MAX_GAP` more steps."""

    position: jax.Array  # int32 [B, T], steps since the bar line.
    bar: jax.Array  # int32 [B, T], steps of the bar.
    hyper: jax.Array  # int32 [B, T], bar modulo HYPER_BARS.
    lags: jax.Array  # int32 [B, T, NUM_LAGS], 0 where there is none.
    plan: jax.Array  # float32 [B, T, PLAN_SIZE]
    end: jax.Array  # int32 [B]
    condition: jax.Array  # float32 [B, K], style and mode.
    given: jax.Array  # int32 [B, M, 3], step, pitch and duration class of the first notes.
    num_given: jax.Array  # int32 [B]


class Temperatures(NamedTuple):
    """Temperatures [B] of the time, the pitch and the duration of a note."""

    gap: jax.Array
    pitch: jax.Array
    duration: jax.Array


class Sampled(NamedTuple):
    """Notes [B, N]: step, pitch and duration class; the first `count` of each piece."""

    step: jax.Array
    pitch: jax.Array
    duration: jax.Array
    count: jax.Array  # int32 [B]


class _State(NamedTuple):
    n: jax.Array
    step: jax.Array  # [B], of the last note.
    role: jax.Array
    pitch: jax.Array
    last: jax.Array  # [B, NUM_ROLES], last pitch of each role.
    h: jax.Array  # [B, C]
    rings: jax.Array  # [layers, B, _RING, C]
    chords: jax.Array  # uint8 [B, T, MAX_CHORD]
    lengths: jax.Array  # uint8 [B, T, P + 1]
    onsets: jax.Array  # bool [B, T]
    done: jax.Array
    notes: Sampled


@functools.partial(jax.jit, static_argnames=("net", "max_notes"))
def sample_pieces(
    net: Decoder, params: Any, frame: Frame, temperatures: Temperatures, key: jax.Array, max_notes: int
) -> Sampled:
    """Samples pieces of at most `max_notes` notes each; the key is consumed."""

    def apply(method, *args):
        return net.apply({"params": params}, *args, method=method)

    batch, num_steps = frame.position.shape
    rows = jnp.arange(batch)

    def place(state: _State, step: jax.Array, role: jax.Array) -> tuple[Place, jax.Array]:
        lag = frame.lags[rows, step]
        source = step[:, None] - lag
        valid = (lag > 0) & (source >= 0)
        source = jnp.where(valid, source, 0)
        aligned = jnp.where(valid[..., None], state.chords[rows[:, None], source], NUM_PITCHES)
        aligned_lengths = jnp.where(valid[..., None], state.lengths[rows[:, None], source], NUM_DURATIONS)
        at = frame.position[rows, step], frame.bar[rows, step], frame.end - step, frame.hyper[rows, step]
        return Place(*at, jnp.minimum(role, NUM_ROLES - 1), frame.plan[rows, step], aligned), aligned_lengths

    def advance(state: _State, gap, pitch, duration, references, aligned_duration, here: Place) -> _State:
        """Puts a note into the trunk."""
        x = apply(Decoder.embed_notes, gap, pitch, duration, references, aligned_duration, here, frame.condition)
        rings = state.rings
        slot = state.n % _RING
        for k, dilation in enumerate(DILATIONS):
            y = apply(lambda net, k=k, x=x: net.layers[k][2](x))
            rings = rings.at[k, :, slot].set(y)
            taps = [y, *(rings[k, :, (state.n - j * dilation) % _RING] for j in range(1, KERNEL))]
            x = x + apply(Decoder.layer, k, jnp.concatenate(taps, axis=-1))
        return state._replace(h=apply(lambda net, x=x: net.norm(x)), rings=rings, n=state.n + 1)

    def next_note(state: _State) -> _State:
        keys = jax.random.split(jax.random.fold_in(key, state.n), 3)
        here, _ = place(state, state.step, state.role)
        ahead = state.step[:, None] + jnp.arange(NUM_GAPS - 1)
        ahead = jnp.minimum(ahead, num_steps - 1)
        lag = frame.lags[rows[:, None], ahead]
        source = ahead[..., None] - lag
        valid = (lag > 0) & (source >= 0) & (source <= state.step[:, None, None])
        flags = valid & state.onsets[rows[:, None, None], jnp.where(valid, source, 0)]
        size = (here.aligned < NUM_PITCHES).sum(axis=-1)
        flags = flags.at[:, 0].set(size > jnp.minimum(state.role, MAX_CHORD)[:, None] + 1)
        soprano, bass = state.last[:, 0], state.last[:, 1]
        next_high = jnp.where(state.role == 1, soprano, state.pitch)
        next_low = jnp.where(state.role == 0, -1, jnp.where(state.role == 1, state.pitch, bass))
        is_full = (next_high - next_low < 2) & (state.pitch < NUM_PITCHES)
        logs = apply(Decoder.gaps, state.h, here.position, here.bar, here.left, flags, is_full)
        gap = jax.random.categorical(keys[0], logs / temperatures.gap[:, None])
        given = frame.given[:, jnp.minimum(state.n - 1, frame.given.shape[1] - 1)]
        is_given = state.n - 1 < frame.num_given
        gap = jnp.where(is_given, jnp.minimum(given[:, 0] - state.step, MAX_GAP), gap)
        done = state.done | (gap == NUM_GAPS - 1)
        step = jnp.where(done, state.step, state.step + gap)
        role = jnp.where((gap == 0) & (state.n > 1), state.role + 1, 0)
        there, lengths = place(state, step, role)
        capped = jnp.minimum(role, NUM_ROLES - 1)
        references = jnp.stack([state.last[rows, capped], state.pitch, soprano, bass], axis=-1)
        z = apply(Decoder.note_hidden, state.h, there, gap, references)
        high = jnp.where(role == 0, NUM_PITCHES, jnp.where(role <= 2, soprano, state.pitch))
        low = jnp.where(role <= 1, -1, bass)
        logs = apply(Decoder.pitches, z, there, references, low, high)
        pitch = jax.random.categorical(keys[1], logs / temperatures.pitch[:, None])
        pitch = jnp.where(is_given, given[:, 1], pitch)
        aligned_duration = jnp.take_along_axis(lengths, pitch[:, None, None], axis=-1)[..., 0]
        logs = apply(Decoder.durations, z, pitch, aligned_duration)
        duration = jax.random.categorical(keys[2], logs / temperatures.duration[:, None])
        duration = jnp.where(is_given, given[:, 2], duration)

        where = jnp.where(done, num_steps, step)  # Out of bounds: dropped.
        chords = state.chords.at[rows, where, jnp.where(role < MAX_CHORD, role, MAX_CHORD)].set(
            pitch.astype(jnp.uint8), mode="drop"
        )
        at = state.n - 1
        notes = Sampled(
            state.notes.step.at[:, at].set(step),
            state.notes.pitch.at[:, at].set(pitch),
            state.notes.duration.at[:, at].set(duration),
            jnp.where(done, state.notes.count, at + 1),
        )
        last = state.last.at[rows, capped].set(pitch)
        # A first note may be the bass too, until a bass follows.
        last = last.at[:, 1].set(jnp.where((role == 0) & (last[:, 1] == NUM_PITCHES), pitch, last[:, 1]))
        state = state._replace(
            step=step,
            role=role,
            pitch=pitch,
            last=last,
            chords=chords,
            lengths=state.lengths.at[rows, where, pitch].set(duration.astype(jnp.uint8), mode="drop"),
            onsets=state.onsets.at[rows, where].set(True, mode="drop"),
            done=done,
            notes=notes,
        )
        return advance(state, gap, pitch, duration, references, aligned_duration, there)

    nothing, none = jnp.zeros(batch, jnp.int32), jnp.full(batch, NUM_PITCHES, jnp.int32)
    state = _State(
        n=jnp.zeros((), jnp.int32),
        step=nothing,
        role=nothing,
        pitch=none,
        last=jnp.full((batch, NUM_ROLES), NUM_PITCHES, jnp.int32),
        h=jnp.zeros((batch, net.channels)),
        rings=jnp.zeros((len(DILATIONS), batch, _RING, net.channels)),
        chords=jnp.full((batch, num_steps, MAX_CHORD), NUM_PITCHES, jnp.uint8),
        lengths=jnp.full((batch, num_steps, NUM_PITCHES + 1), NUM_DURATIONS, jnp.uint8),
        onsets=jnp.zeros((batch, num_steps), bool),
        done=jnp.zeros(batch, bool),
        notes=Sampled(*(jnp.zeros((batch, max_notes), jnp.int32) for _ in range(3)), nothing),
    )
    here, lengths = place(state, nothing, nothing)
    references = jnp.full((batch, 4), NUM_PITCHES, jnp.int32)
    state = advance(state, nothing, none, nothing, references, lengths[..., NUM_PITCHES], here)
    state = jax.lax.while_loop(lambda s: ~jnp.all(s.done) & (s.n <= max_notes), next_note, state)
    return state.notes
