"""The composer's decoder over the notes of a whole piece.

The decoder writes token after token: whether the chord goes on; of a new chord the time to the next one; the pitch; the
duration. Its trunk is causal, dilated convolutions over the tokens so far. What was played a beat, 1, 2, 4 and 8 bars
before, and at the lag of the planned form, enters the logits of pitches, times and durations through gates, so that
repeating music is a matter of opening a gate. Pitches and durations are also scored by their distance from those of
earlier notes: of the same voice, of the chord, of the notes held.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from vae_jax.composer.counts import FIELDS, GAP_CLASSES, NUM_CONTEXTS, NUM_COUNTED, unpack
from vae_jax.composer.crops import NOTE, START, Crops
from vae_jax.composer.harmony import NO_CHORD, NUM_CHORDS
from vae_jax.composer.layers import by_distance, flat, hot, interval_features, recall, rows, shift
from vae_jax.composer.notes import (
    HYPER_BARS,
    MAX_BARS_LEFT,
    MAX_CHORD,
    MAX_GAP,
    MELODY,
    NUM_DURATION_REFERENCES,
    NUM_DURATIONS,
    NUM_LAGS,
    NUM_PITCHES,
    NUM_POSITIONS,
    NUM_REFERENCES,
    NUM_ROLES,
    NUM_SHARES,
    STYLE_SIZE,
    motion_style,
)

NUM_GAPS = MAX_GAP + 2  # Steps to the next chord; the last class says that none follows.
DILATIONS = (1, 2, 4, 8, 16, 32, 64)
_MAX_BEATS_LEFT = 16
_BARS_AHEAD = 3  # In which the places of later chords are told apart.
_LARGEST_MOVE = 12  # Semitones of a move of the melody that are told apart.
_NEVER = -1e9


class Place(NamedTuple):
    """Where a note starts, and what is known there, [..., ...] as in `Crops`."""

    position: jax.Array
    bar: jax.Array
    left: jax.Array
    hyper: jax.Array
    role: jax.Array
    plan: jax.Array
    references: jax.Array
    moves: jax.Array
    lengths: jax.Array
    held: jax.Array  # bool [..., NUM_PITCHES]
    aligned: jax.Array  # bool [..., NUM_LAGS, NUM_PITCHES]
    aligned_role: jax.Array
    aligned_size: jax.Array
    chords: jax.Array  # [..., 3], before, now and next.
    condition: jax.Array  # [..., K], style, mode, latents and whether they are given.


def _place_features(place: Place) -> jax.Array:
    bar = jnp.maximum(place.bar.astype(jnp.int32), 1)
    position, left = place.position.astype(jnp.int32), place.left.astype(jnp.int32)
    sizes = jnp.minimum(place.aligned_size.astype(jnp.float32), 6) / 3
    so_far = jnp.stack(motion_style(*jnp.moveaxis(place.moves.astype(jnp.float32), -1, 0)), axis=-1)
    style = place.condition[..., :STYLE_SIZE]
    wanted, is_given = style[..., -NUM_SHARES - 1 : -1], style[..., -1:]
    return flat(
        hot(position, NUM_POSITIONS),
        hot(position % 12, 12),
        hot(jnp.minimum(bar // 6, 32), 33),
        hot(jnp.minimum(-(-left // bar), MAX_BARS_LEFT), MAX_BARS_LEFT + 1),
        hot(jnp.minimum((left + 5) // 6, 2 * _MAX_BEATS_LEFT), 2 * _MAX_BEATS_LEFT + 1),
        hot(place.hyper, HYPER_BARS),
        sizes,
        place.aligned_size > 0,
        place.plan,
        rows(hot(place.chords, NUM_CHORDS)),
        place.condition,
        so_far,
        (wanted - so_far) * is_given,
        jnp.log1p(place.moves[..., :1].astype(jnp.float32)) / 4,
        place.held,
    )


def _last_move(place: Place) -> jax.Array:
    """One-hot interval between the last two notes of the melody, [..., 2 * _LARGEST_MOVE + 1]; zeros before them."""
    melody, before = (place.references[..., MELODY + n].astype(jnp.int32) for n in (0, 1))
    move = jnp.clip(melody - before, -_LARGEST_MOVE, _LARGEST_MOVE) + _LARGEST_MOVE
    return hot(jnp.where(before < NUM_PITCHES, move, -1), 2 * _LARGEST_MOVE + 1)


class Decoder(nn.Module):
    """The decoder; the dimensions of a batch come first."""

    channels: int = 128
    dropout: float = 0.3

    def setup(self):  # noqa: D102
        dense, c = nn.Dense, self.channels
        self.place = dense(3 * c)
        self.embed = dense(c)
        self.layers = [(dense(c), nn.LayerNorm()) for _ in DILATIONS]
        self.norm = nn.LayerNorm()
        self.drop = nn.Dropout(self.dropout, broadcast_dims=(-2,))  # The same units in all tokens of a crop.
        self.more_place, self.more_hidden, self.more_logit = dense(c // 2), dense(c // 2), dense(1)
        self.more_recall = dense(2 * len(NUM_CONTEXTS[3]))
        self.gap_hidden, self.gap_logits = dense(c), dense(NUM_GAPS)
        self.gap_position, self.gap_gates, self.gap_recall = (
            dense(NUM_POSITIONS),
            dense(NUM_LAGS),
            dense(2 * len(NUM_CONTEXTS[1])),
        )
        self.out_place, self.out_hidden, self.out_second = dense(c), dense(2 * c), dense(2 * c)
        self.out_norm = nn.LayerNorm()
        self.pitch_logits, self.class_logits = dense(NUM_PITCHES), dense(12)
        self.chord_logits = dense(3 * 12)
        self.reference_logits = dense(NUM_REFERENCES * (2 * NUM_PITCHES - 1))
        self.move_logits = dense(2 * NUM_PITCHES - 1, use_bias=False, kernel_init=nn.initializers.zeros)
        self.pitch_gates, self.held_gates, self.pitch_recall = (
            dense(NUM_LAGS * 3),
            dense(2),
            dense(2 * len(NUM_CONTEXTS[0])),
        )
        self.duration_note, self.duration_hidden = dense(c), dense(c)
        self.duration_logits, self.duration_gates = dense(NUM_DURATIONS), dense(NUM_LAGS)
        self.duration_recall = dense(2 * len(NUM_CONTEXTS[2]))
        self.duration_tables = dense((NUM_DURATION_REFERENCES + 1) * (2 * NUM_DURATIONS - 1))

    def see(self, place: Place) -> tuple[jax.Array, ...]:
        """Embeds places for whole tokens, times and notes, [..., C] each."""
        return tuple(jnp.split(self.place(_place_features(place)), 3, axis=-1))

    def embed_notes(self, pitch, duration, gap, aligned_duration, place: Place, seen: jax.Array) -> jax.Array:
        """Embeds whole tokens [..., C], given `see` of their places."""
        p = pitch.astype(jnp.int32)
        is_note = (p < NUM_PITCHES)[..., None]
        at = jnp.minimum(p, NUM_PITCHES - 1)[..., None, None]
        matched = jnp.take_along_axis(place.aligned, at, axis=-1)[..., 0] & is_note
        same = (aligned_duration == duration[..., None]) & matched
        x = flat(
            hot(p, NUM_PITCHES + 1),
            hot(jnp.where(p < NUM_PITCHES, p % 12, -1), 12),
            hot(duration, NUM_DURATIONS) * is_note.astype(jnp.float32),
            hot(gap, NUM_GAPS),
            hot(place.role, NUM_ROLES),
            interval_features(pitch, place.references),
            matched,
            same,
        )
        return self.embed(x) + seen

    def layer(self, n: int, x: jax.Array, earlier: jax.Array) -> jax.Array:
        """The change of a layer to its input [..., C], given that of `DILATIONS[n]` tokens before."""
        mix, norm = self.layers[n]
        return norm(nn.gelu(mix(jnp.concatenate([x, earlier], axis=-1))))

    def trunk(self, x: jax.Array, deterministic: bool = True) -> jax.Array:
        """Maps embedded tokens [B, N, C] to what is known after each, [B, N, C]."""
        for n, dilation in enumerate(DILATIONS):
            earlier = jnp.pad(x, ((0, 0), (dilation, 0), (0, 0)))[:, : x.shape[1]]
            x = x + self.drop(self.layer(n, x, earlier), deterministic=deterministic)
        return self.norm(x)

    def more(self, h, place: Place, counts, is_full, deterministic: bool = True) -> jax.Array:
        """Log odds that the chord of the last token goes on, [...].

        Args:
          h: trunk output at the last token.
          place: that of the last token, with the role of the note to come.
          counts: as in `Crops.more_counts`.
          is_full: whether no pitch is left between the chord's bass and its last note.
        """
        sizes = place.aligned_size.astype(jnp.int32)
        goes_on = sizes > jnp.minimum(place.role.astype(jnp.int32), MAX_CHORD)[..., None]
        x = flat(goes_on, sizes > 0, hot(place.role, NUM_ROLES), place.plan, place.condition)
        z = nn.gelu(self.more_hidden(self.drop(h, deterministic=deterministic)) + self.more_place(x))
        known = recall(counts, self.more_recall(z))
        return jnp.where(is_full, _NEVER, self.more_logit(z)[..., 0] + known[..., 1] - known[..., 0])

    def gaps(self, h, place: Place, seen, flags, counts, earliest, deterministic: bool = True) -> jax.Array:
        """Log probabilities of the steps from a new chord to the next one, [..., NUM_GAPS].

        Args:
          h: trunk output at the token before the chord.
          place: that of the chord.
          seen: `see` of it.
          flags: [..., NUM_GAPS - 1, NUM_LAGS], chords a lag before.
          counts: as in `Crops.gap_counts`.
          earliest: [...], the fewest steps.
        """
        z = self.drop(nn.gelu(self.gap_hidden(h) + seen), deterministic=deterministic)
        ahead = jnp.arange(NUM_GAPS - 1)
        bar, position = place.bar.astype(jnp.int32)[..., None], place.position.astype(jnp.int32)[..., None]
        by_position = jnp.pad(self.gap_position(z), [(0, 0)] * (z.ndim - 1) + [(_BARS_AHEAD * NUM_POSITIONS, NUM_GAPS)])
        later = jnp.einsum("...l,...dl->...d", self.gap_gates(z), flags.astype(jnp.float32))
        later += recall(counts, self.gap_recall(z))
        for n in range(_BARS_AHEAD):
            first = _BARS_AHEAD * NUM_POSITIONS + position[..., 0] - n * bar[..., 0]
            found = shift(by_position, jnp.maximum(first, 0), NUM_GAPS - 1)
            later += jnp.where((position + ahead) // jnp.maximum(bar, 1) == n, found, 0)
        logits = self.gap_logits(z).at[..., :-1].add(later)
        left = place.left.astype(jnp.int32)[..., None]
        outside = (ahead < earliest[..., None]) | (ahead > left)
        outside = jnp.concatenate([outside, (left > 0) | (earliest[..., None] == 0)], axis=-1)
        return jax.nn.log_softmax(jnp.where(outside, _NEVER, logits))

    def note_hidden(self, h, place: Place, seen, gap, deterministic: bool = True) -> jax.Array:
        """Hidden values for a note in a known place (`see` of it), from the trunk's output at the token before."""
        of_scale = jnp.where(place.references < NUM_PITCHES, place.references % 12, -1)
        x = flat(
            hot(gap, NUM_GAPS),
            hot(place.role, NUM_ROLES),
            rows(hot(place.references[..., :2], NUM_PITCHES)),
            rows(hot(of_scale, 12)),
            hot(place.aligned_role[..., -1], NUM_PITCHES),
            _last_move(place),
        )
        z = nn.gelu(self.out_hidden(flat(h, nn.gelu(self.out_place(x) + seen))))
        z = self.drop(z, deterministic=deterministic)
        return self.out_norm(z + nn.gelu(self.out_second(z)))

    def pitches(self, z, place: Place, counts, low, high, chord_weight: jax.Array | float = 1.0) -> jax.Array:
        """Log probabilities of pitches, [..., NUM_PITCHES]; those outside low < p < high are impossible.

        `counts` is as in `Crops.pitch_counts`; `chord_weight` [..., 1] weighs the logits by distance from the roots.
        """
        classes = self.class_logits(z) + chord_weight * above_roots(self.chord_logits(z), place.chords)
        logits = self.pitch_logits(z) + jnp.tile(classes, NUM_PITCHES // 12)
        tables = self.reference_logits(z).reshape(*z.shape[:-1], NUM_REFERENCES, -1)
        logits += by_distance(tables, place.references, NUM_PITCHES)
        moves = self.move_logits(_last_move(place))[..., None, :]
        is_soprano = (place.role == 0)[..., None]
        logits += jnp.where(is_soprano, by_distance(moves, place.references[..., MELODY : MELODY + 1], NUM_PITCHES), 0)
        gates = self.pitch_gates(z).reshape(*z.shape[:-1], NUM_LAGS, 3)
        aligned = place.aligned.astype(jnp.float32)
        logits += jnp.einsum("...l,...lp->...p", gates[..., 0], aligned)
        logits += jnp.einsum("...l,...lp->...p", gates[..., 1], hot(place.aligned_role, NUM_PITCHES))
        classes = aligned.reshape(*aligned.shape[:-1], NUM_PITCHES // 12, 12).max(axis=-2)
        logits += jnp.tile(jnp.einsum("...l,...lp->...p", gates[..., 2], classes), NUM_PITCHES // 12)
        held = place.held.astype(jnp.float32)
        held_classes = held.reshape(*held.shape[:-1], NUM_PITCHES // 12, 12).max(axis=-2)
        gate = self.held_gates(z)
        logits += gate[..., :1] * held + gate[..., 1:] * jnp.tile(held_classes, NUM_PITCHES // 12)
        logits += recall(counts, self.pitch_recall(z))
        p = jnp.arange(NUM_PITCHES)
        allowed = (p > low[..., None]) & (p < high[..., None])
        return jax.nn.log_softmax(jnp.where(allowed, logits, _NEVER))

    def durations(self, z, pitch, gap, aligned_duration, place: Place, counts, deterministic: bool = True) -> jax.Array:
        """Log probabilities of duration classes of a note whose pitch is known.

        `counts` is as in `Crops.duration_counts`.
        """
        of_gap = jnp.asarray(GAP_CLASSES)[gap.astype(jnp.int32)]
        x = flat(
            hot(pitch, NUM_PITCHES),
            interval_features(pitch, place.references),
            rows(hot(place.lengths, NUM_DURATIONS + 1)),
            hot(of_gap, NUM_DURATIONS + 1),
        )
        y = nn.gelu(self.duration_hidden(z) + self.duration_note(x))
        y = self.drop(y, deterministic=deterministic)
        logits = self.duration_logits(y)
        logits += jnp.einsum("...l,...ld->...d", self.duration_gates(y), hot(aligned_duration, NUM_DURATIONS))
        logits += recall(counts, self.duration_recall(y))
        tables = self.duration_tables(y).reshape(*y.shape[:-1], NUM_DURATION_REFERENCES + 1, -1)
        references = jnp.concatenate([place.lengths.astype(jnp.int32), of_gap[..., None]], axis=-1)
        logits += by_distance(tables, references, NUM_DURATIONS)
        return jax.nn.log_softmax(logits)

    def __call__(self, crops: Crops[jax.Array], latents: jax.Array, deterministic: bool = True) -> dict[str, Any]:
        """Returns the nats of crops, [B, N - 1] each: of chords going on, times, pitches and durations.

        `latents` [B, N, L] are those of each token's phrase and whether they are given.
        """
        c = crops
        pitch_counts, gap_counts, duration_counts, more_counts = (
            unpack(getattr(c, name), size) for name, size in zip(FIELDS, NUM_COUNTED, strict=True)
        )
        place = make_place(c, latents)
        as_token, as_time, as_note = self.see(place)
        x = self.embed_notes(c.pitch, c.duration, c.gap, c.aligned_duration, place, as_token)
        h = self.trunk(x, deterministic)[:, :-1]
        before, here = jax.tree.map(lambda a: a[:, :-1], place), jax.tree.map(lambda a: a[:, 1:], place)
        kind, kind_before = c.kind[:, 1:], c.kind[:, :-1]
        is_note, is_first = kind == NOTE, c.role[:, 1:] == 0
        low, high, is_full = limits(c.pitch, c.role, place.references)
        following = jnp.minimum(before.role.astype(jnp.int32) + 1, NUM_ROLES - 1)
        odds = self.more(h, before._replace(role=following), more_counts[:, :-1], is_full[:, :-1], deterministic)
        is_asked = (kind_before == NOTE) & (kind <= _LAST_KIND)
        more = jnp.where(is_asked, jnp.logaddexp(0.0, jnp.where(is_first, odds, -odds)), 0.0)

        flags = jnp.unpackbits(c.onsets, axis=-1, count=NUM_GAPS - 1, bitorder="little")[:, 1:]
        earliest = (kind != START).astype(jnp.int32)
        logs = self.gaps(
            h, here, as_time[:, 1:], jnp.swapaxes(flags, -1, -2), gap_counts[:, 1:], earliest, deterministic
        )
        gap = jnp.where((is_note | (kind == START)) & is_first, _nats(logs, c.gap[:, 1:]), 0.0)

        z = self.note_hidden(h, here, as_note[:, 1:], c.gap[:, 1:], deterministic)
        pitch = _nats(
            self.pitches(z, here, pitch_counts[:, 1:], low[:, 1:], high[:, 1:]),
            jnp.minimum(c.pitch[:, 1:], NUM_PITCHES - 1),
        )
        arguments = c.pitch[:, 1:], c.gap[:, 1:], c.aligned_duration[:, 1:], here, duration_counts[:, 1:]
        duration = _nats(self.durations(z, *arguments, deterministic), c.duration[:, 1:])
        pitch, duration = (jnp.where(is_note, values, 0.0) for values in (pitch, duration))
        return {"more": more, "gap": gap, "pitch": pitch, "duration": duration}


def above_roots(tables: jax.Array, chords: jax.Array) -> jax.Array:
    """Scores pitch classes by their distance above the roots of chords [..., R], summed, [..., 12].

    `tables` [..., 12 * R] are for distances of 0 to 11 from each.
    """
    tables = tables.reshape(*tables.shape[:-1], -1, 12)
    distance = (jnp.arange(12)[None, :] - jnp.arange(12)[:, None]) % 12  # [root, pitch class].
    roots = hot(jnp.where(chords < NO_CHORD, chords // 2, -1), 12)
    return jnp.einsum("...rk,...rkp->...p", roots, tables[..., distance])


_LAST_KIND = NOTE + 1  # Of tokens that are there.


def make_place(crops: Crops[jax.Array], latents: jax.Array) -> Place:
    """Returns the places of all tokens of crops [B, N]."""
    c = crops
    condition = flat(c.style, c.minor[..., None])
    condition = jnp.broadcast_to(condition[:, None], (*c.pitch.shape, condition.shape[-1]))
    bits = lambda x: jnp.unpackbits(x, axis=-1, count=NUM_PITCHES, bitorder="little") > 0  # noqa: E731
    return Place(
        c.position,
        c.bar,
        c.left,
        c.hyper,
        c.role,
        c.plan,
        c.references,
        c.moves,
        c.lengths,
        bits(c.held),
        bits(c.aligned),
        c.aligned_role,
        c.aligned_size,
        c.chords,
        flat(condition, latents),
    )


def limits(pitch: jax.Array, role: jax.Array, references: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Between which pitches each note of a chord lies (exclusive), and whether its chord can have no further note."""
    role, p = role.astype(jnp.int32), pitch.astype(jnp.int32)
    before, soprano, bass = (references[..., n].astype(jnp.int32) for n in (1, 2, 3))
    high = jnp.where(role == 0, NUM_PITCHES, jnp.where(role <= 2, soprano, before))
    low = jnp.where(role <= 1, -1, bass)
    next_high = jnp.where(role == 1, soprano, p)
    next_low = jnp.where(role == 0, -1, jnp.where(role == 1, p, bass))
    return low, high, (next_high - next_low < 2) & (p < NUM_PITCHES)


def _nats(logs: jax.Array, index: jax.Array) -> jax.Array:
    """Negative log probabilities of classes [...] by `logs` [..., K]."""
    return -(logs * hot(index, logs.shape[-1])).sum(axis=-1)
