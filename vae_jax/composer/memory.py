"""What is known of the pieces of a batch while their notes are sampled, one after the other."""

from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.composer.counts import NUM_CONTEXTS, NUM_COUNTED, Recent, is_bass, is_melody, melody_class
from vae_jax.composer.notes import MAX_GAP, NUM_DURATIONS, NUM_MOVES, NUM_PITCHES, NUM_ROLES
from vae_jax.representations.pianoroll.durations import DURATION_STEPS

A = TypeVar("A", np.ndarray, jax.Array)


class Music(NamedTuple, Generic[A]):
    """What starts at each of T steps."""

    roll: A  # bool [B, T, NUM_PITCHES]
    roles: A  # uint8 [B, T, NUM_ROLES], pitches.
    lengths: A  # uint8 [B, T, NUM_PITCHES], duration classes.


class Sampled(NamedTuple, Generic[A]):
    """Notes int32 [B, N]: step, pitch and duration class; the first `num_notes` [B] of each piece."""

    step: A
    pitch: A
    duration: A
    num_notes: A


class Note(NamedTuple):
    """A note of each piece, int32 [B]."""

    step: jax.Array
    role: jax.Array
    pitch: jax.Array
    duration: jax.Array  # Class.
    gap: jax.Array  # From its chord to the next, a class.


class Memory(NamedTuple):
    """What is known before a note, int32 unless said otherwise."""

    step: jax.Array  # [B], of the last note, as the next three.
    role: jax.Array
    pitch: jax.Array
    gap: jax.Array
    last: jax.Array  # [B, NUM_ROLES], last pitch of each role, the last but one, and the last duration class.
    second: jax.Array
    last_duration: jax.Array
    gaps: jax.Array  # [B, 2], after this chord and the one before.
    sizes: jax.Array  # [B, 2], notes of the chord before this one, and of this one so far.
    moves: jax.Array  # [B, NUM_MOVES], as in `Crops`.
    direction: jax.Array  # [B], the last interval of the melody that is not 0.
    melody: jax.Array  # [B, 2], last pitches that started above all that was held, the last one first.
    bass: jax.Array  # [B], last pitch that started below.
    counts: tuple[tuple[jax.Array, ...], ...]  # uint8 [B, contexts, values], as `NUM_CONTEXTS`.
    chord: jax.Array  # [B, 2], duration classes of the last two notes of the chord.
    ends: jax.Array  # [B, NUM_PITCHES], where notes of earlier chords end, and those of this one.
    new_ends: jax.Array
    music: Music[jax.Array]
    notes: Sampled[jax.Array]


def init_memory(start: jax.Array, music: Music[jax.Array], max_notes: int) -> Memory:
    """Returns the memory of pieces that start at steps [B] after some music, with room for `max_notes` each."""
    batch = len(start)
    nothing, empty = jnp.zeros(batch, jnp.int32), jnp.zeros((batch, max_notes), jnp.int32)
    return Memory(
        step=start,
        role=nothing,
        pitch=jnp.full(batch, NUM_PITCHES, jnp.int32),
        gap=jnp.full(batch, MAX_GAP + 1, jnp.int32),
        last=jnp.full((batch, NUM_ROLES), NUM_PITCHES, jnp.int32),
        second=jnp.full((batch, NUM_ROLES), NUM_PITCHES, jnp.int32),
        last_duration=jnp.full((batch, NUM_ROLES), NUM_DURATIONS, jnp.int32),
        gaps=jnp.full((batch, 2), MAX_GAP + 1, jnp.int32),
        sizes=jnp.zeros((batch, 2), jnp.int32),
        moves=jnp.zeros((batch, NUM_MOVES), jnp.int32),
        direction=nothing,
        melody=jnp.full((batch, 2), NUM_PITCHES, jnp.int32),
        bass=jnp.full(batch, NUM_PITCHES, jnp.int32),
        counts=tuple(
            tuple(jnp.zeros((batch, contexts, size), jnp.uint8) for contexts in numbers)
            for numbers, size in zip(NUM_CONTEXTS, NUM_COUNTED, strict=True)
        ),
        chord=jnp.full((batch, 2), NUM_DURATIONS, jnp.int32),
        ends=jnp.zeros((batch, NUM_PITCHES), jnp.int32),
        new_ends=jnp.zeros((batch, NUM_PITCHES), jnp.int32),
        music=music,
        notes=Sampled(empty, empty, empty, nothing),
    )


def look_back(memory: Memory, role: jax.Array) -> Recent[jax.Array]:
    """Returns what the contexts of counts look at, before a note of a role [B]."""
    rows, is_first, known = jnp.arange(len(role)), role == 0, memory.melody[:, 1] < NUM_PITCHES
    return Recent(
        last=jnp.where(is_first, memory.melody[:, 0], memory.last[rows, role]),
        before=memory.pitch,
        soprano=memory.last[:, 0],
        melody=melody_class(memory.melody[:, 0] - memory.melody[:, 1], known.astype(jnp.int32)),
        gap=memory.gaps[:, 0],
        gap_before=memory.gaps[:, 1],
        duration=memory.last_duration[rows, role],
        above=jnp.where(is_first, NUM_DURATIONS, memory.chord[:, 0]),
        size=jnp.where(is_first, memory.sizes[:, 1], memory.sizes[:, 0]),
    )


def held_at(memory: Memory, step: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns which pitches sound since earlier steps, bool [B, NUM_PITCHES], the highest and the lowest, [B]."""
    is_new = (step > memory.step)[:, None]
    held = jnp.where(is_new, jnp.maximum(memory.ends, memory.new_ends), memory.ends) > step[:, None]
    highest = jnp.where(held.any(axis=1), NUM_PITCHES - 1 - held[:, ::-1].argmax(axis=1), NUM_PITCHES)
    return held, highest, jnp.where(held.any(axis=1), held.argmax(axis=1), NUM_PITCHES)


def recall(tables: tuple[jax.Array, ...], contexts: tuple[jax.Array, ...]) -> jax.Array:
    """Returns the counts of contexts [B] each, [B, contexts, values]."""
    rows = jnp.arange(len(contexts[0]))
    return jnp.stack([table[rows, context] for table, context in zip(tables, contexts, strict=True)], axis=1)


def count(
    tables: tuple[jax.Array, ...], contexts: tuple[jax.Array, ...], value: jax.Array, counts: jax.Array
) -> tuple[jax.Array, ...]:
    """Returns the tables after values [B] in their contexts, where `counts` bool [B] says so."""
    rows, found = jnp.arange(len(value)), []
    for table, context in zip(tables, contexts, strict=True):
        at = rows, context, jnp.where(counts, value, table.shape[-1])  # Out of bounds: dropped.
        found.append(table.at[at].set(jnp.minimum(table[at], 254) + 1, mode="drop"))
    return tuple(found)


def _count_moves(memory: Memory, note: Note, leads: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns `moves` and `direction` after a note, which belongs to the melody where `leads` [B] says so."""
    is_interval = leads & (memory.melody[:, 0] < NUM_PITCHES)
    by = jnp.where(is_interval, note.pitch - memory.melody[:, 0], 0)
    is_known = (note.role == 1) & (jnp.maximum(memory.second[:, 0], memory.last[:, 1]) < NUM_PITCHES)
    motion = jnp.where(is_known, (memory.last[:, 0] - memory.second[:, 0]) * (note.pitch - memory.last[:, 1]), 0)
    is_move, is_step, turns = by != 0, (by != 0) & (jnp.abs(by) <= 2), by * memory.direction < 0
    new = jnp.stack((is_interval, is_move, is_step, turns, motion != 0, motion < 0), axis=-1)
    return memory.moves + new.astype(jnp.int32), jnp.where(is_move, by, memory.direction)


def add_note(memory: Memory, note: Note, index: jax.Array, done: jax.Array) -> Memory:
    """Returns the memory after a note, number `index` of each piece; those that are `done` [B] keep it out."""
    rows, (step, role, pitch, duration, gap) = jnp.arange(len(note.step)), note
    is_first, is_new = role == 0, (step > memory.step)[:, None]
    where = jnp.where(done, memory.music.roll.shape[1], step)  # Out of bounds: dropped.
    last = memory.last.at[rows, role].set(pitch)
    # A single note may be the bass too, until a bass follows.
    last = last.at[:, 1].set(jnp.where(is_first & (last[:, 1] == NUM_PITCHES), pitch, last[:, 1]))
    _, highest, lowest = held_at(memory, step)
    leads = is_melody(role, pitch, highest)[:, None]
    moves, direction = _count_moves(memory, note, leads[:, 0])
    size = jnp.where(is_first, 1, memory.sizes[:, 1] + 1)
    new_ends = jnp.where(is_new, 0, memory.new_ends)
    music, notes = memory.music, memory.notes
    return memory._replace(
        step=step,
        role=role,
        pitch=pitch,
        gap=gap,
        last=last,
        second=memory.second.at[rows, role].set(memory.last[rows, role]),
        last_duration=memory.last_duration.at[rows, role].set(duration),
        gaps=jnp.where(is_first[:, None], jnp.stack([gap, memory.gaps[:, 0]], axis=-1), memory.gaps),
        sizes=jnp.stack([jnp.where(is_first, memory.sizes[:, 1], memory.sizes[:, 0]), size], axis=-1),
        moves=moves,
        direction=direction,
        melody=jnp.where(leads, jnp.stack([pitch, memory.melody[:, 0]], axis=-1), memory.melody),
        bass=jnp.where(is_bass(role, pitch, lowest), pitch, memory.bass),
        chord=jnp.stack([duration, jnp.where(is_first, NUM_DURATIONS, memory.chord[:, 0])], axis=-1),
        ends=jnp.where(is_new, jnp.maximum(memory.ends, memory.new_ends), memory.ends),
        new_ends=new_ends.at[rows, pitch].max(step + jnp.asarray(DURATION_STEPS, jnp.int32)[duration]),
        music=Music(
            music.roll.at[rows, where, pitch].set(True, mode="drop"),
            music.roles.at[rows, where, role].set(pitch.astype(jnp.uint8), mode="drop"),
            music.lengths.at[rows, where, pitch].set(duration.astype(jnp.uint8), mode="drop"),
        ),
        notes=Sampled(
            notes.step.at[:, index].set(step),
            notes.pitch.at[:, index].set(pitch),
            notes.duration.at[:, index].set(duration),
            jnp.where(done, notes.num_notes, index + 1),
        ),
    )
