"""Sampling whole pieces note after note, in one program for a batch of pieces, with cached layer inputs."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.composer.network import DILATIONS, NUM_GAPS, Decoder, Place, limits
from vae_jax.composer.notes import (
    GAP_CLASSES,
    MAX_GAP,
    NUM_CONTEXTS,
    NUM_COUNTED,
    NUM_DURATIONS,
    NUM_LAGS,
    NUM_PITCHES,
    NUM_ROLES,
    Recent,
    duration_contexts,
    gap_contexts,
    is_bass,
    is_melody,
    melody_class,
    more_contexts,
    pitch_contexts,
)
from vae_jax.models.base import Variables
from vae_jax.representations.pianoroll.durations import DURATION_STEPS, duration_classes

ENDING_BARS = 2
_RING = max(DILATIONS) + 1
_NEVER = 10**6  # A step that no piece reaches.
_BAR_CLASSES = duration_classes(np.arange(256).clip(1))


class Frame(NamedTuple):
    """What a batch of B pieces is to be: T steps, those of the longest and `MAX_GAP` more; int32 unless said otherwise.

    Music that phrases may repeat can lie before a piece, in the steps below `start`.
    """

    start: jax.Array  # [B]
    last: jax.Array  # [B], step of the last chord.
    position: jax.Array  # [B, T], steps since the bar line.
    bar: jax.Array  # [B, T], steps of the bar.
    hyper: jax.Array  # [B, T], bar modulo HYPER_BARS.
    lags: jax.Array  # [B, T, NUM_LAGS], 0 where there is none.
    plan: jax.Array  # float32 [B, T, PLAN_SIZE]
    condition: jax.Array  # float32 [B, K], style and mode.
    latents: jax.Array  # float32 [B, T, L + 1], of the phrase, and whether they are given.
    given: jax.Array  # [B, M, 5], step, pitch, duration class, role and steps to the next chord (-1: free) of notes.
    num_given: jax.Array  # [B], of the first notes of the piece.
    earliest: jax.Array  # [B], step before which no chord follows those given.
    music: "Music"


class Music(NamedTuple):
    """What starts at each step."""

    roll: jax.Array  # bool [B, T, NUM_PITCHES]
    roles: jax.Array  # uint8 [B, T, NUM_ROLES], pitches.
    lengths: jax.Array  # uint8 [B, T, NUM_PITCHES], duration classes.


class Temperatures(NamedTuple):
    """Temperatures of times (and of how many notes a chord has), pitches and durations; float32 scalars.

    Times and durations with less than `least_time` times the probability of the likeliest value are not sampled, nor
    pitches with less than `least_pitch` (min-p sampling, Nguyen et al. 2024).
    """

    time: jax.Array
    pitch: jax.Array
    duration: jax.Array
    ending: jax.Array  # Of pitches in the last bars, in proportion.
    least_time: jax.Array
    least_pitch: jax.Array


class Sampled(NamedTuple):
    """Notes int32 [B, N]: step, pitch and duration class; the first `count` [B] of each piece."""

    step: jax.Array
    pitch: jax.Array
    duration: jax.Array
    count: jax.Array


class _State(NamedTuple):
    n: jax.Array  # Tokens so far.
    step: jax.Array  # [B], of the last token.
    role: jax.Array
    pitch: jax.Array
    gap: jax.Array  # Of the last chord, a class.
    following: jax.Array  # Step of the next chord.
    second: jax.Array  # [B, NUM_ROLES], last pitch but one of each role.
    last: jax.Array  # [B, NUM_ROLES], last pitch of each role, and its duration class.
    last_duration: jax.Array
    gaps: jax.Array  # [B, 2], after this chord and the one before.
    sizes: jax.Array  # [B, 2], notes of the chord before this one, and of this one so far.
    melody: jax.Array  # [B, 2], last pitches that started above all others, the last one first.
    bass: jax.Array  # [B], last pitch that started below all others.
    counts: tuple[tuple[jax.Array, ...], ...]  # uint8 [B, contexts, values], as `NUM_CONTEXTS`.
    chord: jax.Array  # [B, 2], duration classes of the last two notes of the chord.
    ends: jax.Array  # [B, NUM_PITCHES], where notes of earlier chords end, and those of this one.
    new_ends: jax.Array
    h: jax.Array  # [B, C]
    rings: jax.Array  # [layers, B, _RING, C]
    music: Music
    done: jax.Array  # bool [B]
    notes: Sampled


@functools.partial(jax.jit, static_argnames=("net", "max_notes"))
def sample_pieces(
    net: Decoder, params: Variables, frame: Frame, temperatures: Temperatures, key: jax.Array, max_notes: int
) -> Sampled:
    """Samples pieces of at most `max_notes` notes each (the key is consumed)."""

    def apply(method, *args):
        return net.apply({"params": params}, *args, method=method)

    batch, num_steps = frame.position.shape
    rows = jnp.arange(batch)

    def choose(key: jax.Array, logs: jax.Array, temperature: jax.Array, least: jax.Array) -> jax.Array:
        """Samples from log probabilities, the least likely left out."""
        least = logs.max(axis=-1, keepdims=True) + jnp.log(jnp.maximum(least, 1e-9))
        return jax.random.categorical(key, jnp.where(logs >= least, logs / temperature, -jnp.inf))

    def place(state: _State, step: jax.Array, role: jax.Array) -> tuple[Place, jax.Array]:
        """The place of a note, and the duration classes of every pitch at its lags, [B, NUM_LAGS, NUM_PITCHES]."""
        lag = frame.lags[rows, step]
        source = step[:, None] - lag
        valid = (lag > 0) & (source >= 0)
        at = rows[:, None], jnp.where(valid, source, 0)
        aligned = state.music.roll[at] & valid[..., None]
        roles = jnp.take_along_axis(state.music.roles[at], role[:, None, None], axis=-1)[..., 0]
        ends = jnp.where((step > state.step)[:, None], jnp.maximum(state.ends, state.new_ends), state.ends)
        held = ends > step[:, None]
        any_held = held.any(axis=1)
        highest = jnp.where(any_held, NUM_PITCHES - 1 - held[:, ::-1].argmax(axis=1), NUM_PITCHES)
        lowest = jnp.where(any_held, held.argmax(axis=1), NUM_PITCHES)
        references = state.last[rows, role], state.pitch, state.last[:, 0], state.last[:, 1], highest, lowest
        references += (state.second[rows, role], state.melody[:, 0], state.melody[:, 1], state.bass)
        position, bar = frame.position[rows, step], frame.bar[rows, step]
        chord = jnp.where((role == 0)[:, None], NUM_DURATIONS, state.chord)
        to_bar = jnp.asarray(_BAR_CLASSES)[jnp.maximum(bar - position, 1)]
        lengths = jnp.concatenate([state.last_duration[rows, role][:, None], chord, to_bar[:, None]], axis=-1)
        found = Place(
            position=position,
            bar=bar,
            left=jnp.maximum(frame.last - step, 0),
            hyper=frame.hyper[rows, step],
            role=role,
            plan=frame.plan[rows, step],
            references=jnp.stack(references, axis=-1),
            lengths=lengths,
            held=held,
            aligned=aligned,
            aligned_role=jnp.where(valid, roles, NUM_PITCHES),
            aligned_size=aligned.sum(axis=-1),
            condition=jnp.concatenate([frame.condition, frame.latents[rows, step]], axis=-1),
        )
        return found, jnp.where(valid[..., None], state.music.lengths[at], NUM_DURATIONS)

    def advance(state: _State, pitch, duration, gap, aligned_duration, here: Place) -> _State:
        """Puts a token into the trunk."""
        x = apply(Decoder.embed_notes, pitch, duration, gap, aligned_duration, here, apply(Decoder.see, here)[0])
        rings, slot = state.rings, state.n % _RING
        for k, dilation in enumerate(DILATIONS):
            rings = rings.at[k, :, slot].set(x)
            x = x + apply(Decoder.layer, k, x, rings[k, :, (state.n - dilation) % _RING])
        return state._replace(h=apply(lambda net, x: net.norm(x), x), rings=rings, n=state.n + 1)

    def recall(state: _State, which: int, contexts: tuple[jax.Array, ...]) -> jax.Array:
        pairs = zip(state.counts[which], contexts, strict=True)
        return jnp.stack([table[rows, context] for table, context in pairs], axis=1)

    def count(
        state: _State, which: int, contexts: tuple[jax.Array, ...], value: jax.Array, counts: jax.Array
    ) -> tuple[jax.Array, ...]:
        tables = []
        for table, context in zip(state.counts[which], contexts, strict=True):
            at = rows, context, jnp.where(counts, value, table.shape[-1])  # Out of bounds: dropped.
            tables.append(table.at[at].set(jnp.minimum(table[at], 254) + 1, mode="drop"))
        return tuple(tables)

    def look_back(state: _State, role: jax.Array) -> Recent:
        return Recent(
            last=jnp.where(role == 0, state.melody[:, 0], state.last[rows, role]),
            before=state.pitch,
            soprano=state.last[:, 0],
            melody=melody_class(state.melody[:, 0] - state.melody[:, 1], state.melody[:, 1] < NUM_PITCHES),
            gap=state.gaps[:, 0],
            gap_before=state.gaps[:, 1],
            duration=state.last_duration[rows, role],
            above=jnp.where(role == 0, NUM_DURATIONS, state.chord[:, 0]),
            size=jnp.where(role == 0, state.sizes[:, 1], state.sizes[:, 0]),
        )

    def sample_gap(state: _State, here: Place, step: jax.Array, earliest: jax.Array, key: jax.Array) -> jax.Array:
        ahead = jnp.minimum(step[:, None] + jnp.arange(NUM_GAPS - 1), num_steps - 1)
        lag = frame.lags[rows[:, None], ahead]
        source = ahead[..., None] - lag
        is_now = (source == step[:, None, None]) & (state.n > 1)  # Of the chord at hand it is known that it starts.
        valid = (lag > 0) & (source >= 0)
        starts = state.music.roles[rows[:, None, None], jnp.where(valid, source, 0), 0] < NUM_PITCHES
        flags = valid & (is_now | (starts & (source < step[:, None, None])))
        counts = recall(state, 1, gap_contexts(look_back(state, here.role), here.position))
        logs = apply(Decoder.gaps, state.h, here, apply(Decoder.see, here)[1], flags, counts, earliest)
        return choose(key, logs, temperatures.time, temperatures.least_time)

    def follow(step: jax.Array, gap: jax.Array) -> jax.Array:
        return jnp.where(gap > MAX_GAP, _NEVER, step + gap)

    def next_note(state: _State) -> _State:
        keys = jax.random.split(jax.random.fold_in(key, state.n), 4)
        index = state.n - 2
        given = frame.given[:, jnp.minimum(index, frame.given.shape[1] - 1)]
        is_given = index < frame.num_given

        next_role = jnp.minimum(state.role + 1, NUM_ROLES - 1)
        before, _ = place(state, state.step, next_role)
        is_full = limits(state.pitch, state.role, before.references)[2]
        going_on = more_contexts(look_back(state, next_role), next_role, before.position)
        odds = apply(Decoder.more, state.h, before, recall(state, 3, going_on), is_full)
        more = jax.random.logistic(keys[0], odds.shape) < odds / temperatures.time
        more = jnp.where(is_given, given[:, 3] > 0, more & (state.pitch < NUM_PITCHES))
        following = jnp.where(is_given, given[:, 0], state.following)
        done = state.done | (~more & (following > frame.last))
        step = jnp.where(done | more, state.step, following)
        role = jnp.where(more, jnp.minimum(state.role + 1, NUM_ROLES - 1), 0)
        there, lengths = place(state, step, role)
        is_last = index == frame.num_given - 1
        least = jnp.where(is_last, jnp.clip(frame.earliest - step, 1, MAX_GAP), 1)
        gap = sample_gap(state, there, step, least, keys[1])
        gap = jnp.where(is_given & (given[:, 4] >= 0), jnp.minimum(given[:, 4], MAX_GAP), gap)
        gap = jnp.where(more & ~(is_given & (given[:, 4] < 0)), state.gap, gap)
        z = apply(Decoder.note_hidden, state.h, there, apply(Decoder.see, there)[2], gap)
        low, high, _ = limits(state.pitch, role, there.references)
        recent = look_back(state, role)
        by_pitch, by_gap = pitch_contexts(recent, role, there.position), gap_contexts(recent, there.position)
        logs = apply(Decoder.pitches, z, there, recall(state, 0, by_pitch), low, high)
        is_ending = frame.last - step <= ENDING_BARS * frame.bar[rows, step]
        warmth = temperatures.pitch * jnp.where(is_ending, temperatures.ending, 1.0)[:, None]
        pitch = jnp.where(is_given, given[:, 1], choose(keys[2], logs, warmth, temperatures.least_pitch))
        aligned_duration = jnp.take_along_axis(lengths, pitch[:, None, None], axis=-1)[..., 0]
        by_duration = duration_contexts(recent, role, jnp.asarray(GAP_CLASSES)[gap])
        logs = apply(Decoder.durations, z, pitch, gap, aligned_duration, there, recall(state, 2, by_duration))
        duration = jnp.where(
            is_given, given[:, 2], choose(keys[3], logs, temperatures.duration, temperatures.least_time)
        )

        where = jnp.where(done, num_steps, step)  # Out of bounds: dropped.
        music = Music(
            state.music.roll.at[rows, where, pitch].set(True, mode="drop"),
            state.music.roles.at[rows, where, role].set(pitch.astype(jnp.uint8), mode="drop"),
            state.music.lengths.at[rows, where, pitch].set(duration.astype(jnp.uint8), mode="drop"),
        )
        notes = Sampled(
            state.notes.step.at[:, index].set(step),
            state.notes.pitch.at[:, index].set(pitch),
            state.notes.duration.at[:, index].set(duration),
            jnp.where(done, state.notes.count, index + 1),
        )
        last = state.last.at[rows, role].set(pitch)
        # A single note may be the bass too, until a bass follows.
        last = last.at[:, 1].set(jnp.where((role == 0) & (last[:, 1] == NUM_PITCHES), pitch, last[:, 1]))
        is_new = (step > state.step)[:, None]
        is_first, everywhere = role == 0, jnp.ones(batch, bool)
        counts = (
            count(state, 0, by_pitch, pitch, everywhere),
            count(state, 1, by_gap, gap, is_first & (gap <= MAX_GAP)),
            count(state, 2, by_duration, duration, everywhere),
            count(state, 3, going_on, more.astype(jnp.int32), state.pitch < NUM_PITCHES),
        )
        leads = is_melody(role, pitch, there.references[:, 4])
        new_ends = jnp.where(is_new, 0, state.new_ends)
        state = state._replace(
            step=step,
            role=role,
            pitch=pitch,
            gap=gap,
            following=jnp.where(more & ~(is_given & (given[:, 4] < 0)), state.following, follow(step, gap)),
            last=last,
            second=state.second.at[rows, role].set(state.last[rows, role]),
            last_duration=state.last_duration.at[rows, role].set(duration),
            gaps=jnp.where(is_first[:, None], jnp.stack([gap, state.gaps[:, 0]], axis=-1), state.gaps),
            sizes=jnp.stack(
                [
                    jnp.where(is_first, state.sizes[:, 1], state.sizes[:, 0]),
                    jnp.where(is_first, 1, state.sizes[:, 1] + 1),
                ],
                axis=-1,
            ),
            melody=jnp.where(leads[:, None], jnp.stack([pitch, state.melody[:, 0]], axis=-1), state.melody),
            bass=jnp.where(is_bass(role, pitch, there.references[:, 5]), pitch, state.bass),
            counts=counts,
            chord=jnp.stack([duration, jnp.where(role == 0, NUM_DURATIONS, state.chord[:, 0])], axis=-1),
            ends=jnp.where(is_new, jnp.maximum(state.ends, state.new_ends), state.ends),
            new_ends=new_ends.at[rows, pitch].max(step + jnp.asarray(DURATION_STEPS)[duration]),
            music=music,
            done=done,
            notes=notes,
        )
        return advance(state, pitch, duration, gap, aligned_duration, there)

    nothing, none = jnp.zeros(batch, jnp.int32), jnp.full(batch, NUM_PITCHES, jnp.int32)
    state = _State(
        n=jnp.zeros((), jnp.int32),
        step=frame.start,
        role=nothing,
        pitch=none,
        gap=jnp.full(batch, MAX_GAP + 1, jnp.int32),
        following=nothing,
        last=jnp.full((batch, NUM_ROLES), NUM_PITCHES, jnp.int32),
        second=jnp.full((batch, NUM_ROLES), NUM_PITCHES, jnp.int32),
        last_duration=jnp.full((batch, NUM_ROLES), NUM_DURATIONS, jnp.int32),
        gaps=jnp.full((batch, 2), MAX_GAP + 1, jnp.int32),
        sizes=jnp.zeros((batch, 2), jnp.int32),
        melody=jnp.full((batch, 2), NUM_PITCHES, jnp.int32),
        bass=none,
        counts=tuple(
            tuple(jnp.zeros((batch, contexts, size), jnp.uint8) for contexts in numbers)
            for numbers, size in zip(NUM_CONTEXTS, NUM_COUNTED, strict=True)
        ),
        chord=jnp.full((batch, 2), NUM_DURATIONS, jnp.int32),
        ends=jnp.zeros((batch, NUM_PITCHES), jnp.int32),
        new_ends=jnp.zeros((batch, NUM_PITCHES), jnp.int32),
        h=jnp.zeros((batch, net.channels)),
        rings=jnp.zeros((len(DILATIONS), batch, _RING, net.channels)),
        music=frame.music,
        done=jnp.zeros(batch, bool),
        notes=Sampled(*(jnp.zeros((batch, max_notes), jnp.int32) for _ in range(3)), nothing),
    )
    here, _ = place(state, frame.start, nothing)
    unknown = jnp.full((batch, NUM_LAGS), NUM_DURATIONS, jnp.int32)
    state = advance(state, none, nothing, state.gap, unknown, here)
    earliest = jnp.clip(frame.earliest - frame.start, 0, MAX_GAP)
    gap = sample_gap(state, here, frame.start, earliest, jax.random.fold_in(key, 0))
    first = frame.given[:, 0, 0]
    gap = jnp.where(frame.num_given > 0, jnp.clip(first - frame.start, 0, MAX_GAP), gap)
    state = state._replace(gap=gap, following=follow(frame.start, gap))
    state = advance(state, none, nothing, gap, unknown, here)
    state = jax.lax.while_loop(lambda s: ~jnp.all(s.done) & (s.n < max_notes + 2), next_note, state)
    return state.notes
