"""The decoder: a causal convolutional network over the notes of a whole piece with an exact memory of aligned bars."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from vae_jax.composer.notes import (
    HYPER_BARS,
    MAX_BARS_LEFT,
    MAX_CHORD,
    MAX_GAP,
    NUM_DURATIONS,
    NUM_LAGS,
    NUM_PITCHES,
    NUM_POSITIONS,
    NUM_ROLES,
    PLAN_SIZE,
    Crops,
)

NUM_GAPS = MAX_GAP + 2  # Steps to the next onset; the last class ends the piece.
KERNEL, DILATIONS = 3, (1, 2, 4, 8, 16, 32, 64)
_REACH = 28  # Semitones of an interval that are told apart.
_NUM_REFERENCES = 4
_NUM_PLANES = 3  # Of an aligned chord: the note of the same role, every note, every pitch class.
_NEVER = -1e9


class Place(NamedTuple):
    """Where notes start, and what is known there; [..., ...] as in `Crops`."""

    position: jax.Array
    bar: jax.Array
    left: jax.Array
    hyper: jax.Array
    role: jax.Array
    plan: jax.Array
    aligned: jax.Array


def _one_hot(x: jax.Array, size: int) -> jax.Array:
    return jax.nn.one_hot(x.astype(jnp.int32), size)


def planes(aligned: jax.Array, role: jax.Array) -> jax.Array:
    """Turns aligned chords [..., L, M] into [..., L, 3, P]: the note of the same role, all notes, their pitch classes."""
    hot = jax.nn.one_hot(aligned.astype(jnp.int32), NUM_PITCHES)
    at_role = jax.nn.one_hot(jnp.minimum(role, MAX_CHORD - 1).astype(jnp.int32), MAX_CHORD)
    same = jnp.einsum("...lmp,...m->...lp", hot, at_role)
    every = hot.sum(axis=-2)
    classes = jnp.minimum(every.reshape(*every.shape[:-1], NUM_PITCHES // 12, 12).sum(axis=-2), 1.0)
    return jnp.stack([same, every, jnp.tile(classes, NUM_PITCHES // 12)], axis=-2)


class Decoder(nn.Module):
    """The network; the dimensions of a batch come first."""

    channels: int = 192
    dropout: float = 0.3

    def setup(self):
        dense, embed = nn.Dense, nn.Embed
        c = self.channels
        self.pitch = embed(NUM_PITCHES + 1, c)
        self.pitch_class = embed(13, c)
        self.duration = embed(NUM_DURATIONS + 1, c)
        self.gap = embed(NUM_GAPS, c)
        self.interval = [embed(2 * _REACH + 2, c) for _ in range(_NUM_REFERENCES)]
        self.place_in = self._place_tables(c)
        self.place_out = self._place_tables(c)
        self.features = dense(c)
        self.layers = [(dense(c), dense(c), nn.LayerNorm()) for _ in DILATIONS]
        self.norm = nn.LayerNorm()
        self.drop = nn.Dropout(self.dropout)
        self.gap_hidden, self.gap_logits = dense(c), dense(NUM_GAPS)
        self.gap_position, self.gap_gates = dense(NUM_POSITIONS), dense(NUM_LAGS)
        self.out_hidden, self.out_features, self.out_second = dense(2 * c), dense(2 * c), dense(2 * c)
        self.out_norm = nn.LayerNorm()
        self.pitch_logits = dense(NUM_PITCHES)
        self.class_logits = dense(12)
        self.reference_logits = dense(_NUM_REFERENCES * (2 * _REACH + 2))
        self.pitch_gates = dense(NUM_LAGS * _NUM_PLANES)
        self.duration_hidden, self.duration_pitch = dense(c), embed(NUM_PITCHES + 1, c)
        self.duration_logits, self.duration_gates = dense(NUM_DURATIONS), dense(NUM_LAGS)

    def _place_tables(self, c):
        sizes = (NUM_POSITIONS, 12, 33, MAX_BARS_LEFT + 1, HYPER_BARS, NUM_ROLES)
        return [nn.Embed(size, c) for size in sizes]

    def _place(self, tables, place: Place) -> jax.Array:
        bar = jnp.maximum(place.bar.astype(jnp.int32), 1)
        position, left = place.position.astype(jnp.int32), place.left.astype(jnp.int32)
        columns = (
            position,
            position % 12,
            jnp.minimum(bar // 6, 32),
            jnp.minimum(-(-left // bar), MAX_BARS_LEFT),
            place.hyper,
            place.role,
        )
        return sum(table(column.astype(jnp.int32)) for table, column in zip(tables, columns, strict=True))

    def embed_notes(self, gap, pitch, duration, references, aligned_duration, place: Place, condition) -> jax.Array:
        """Embeds whole notes [..., C]; `condition` [..., K] holds the style and the mode."""
        p = pitch.astype(jnp.int32)
        matched = jnp.any(place.aligned == pitch[..., None, None], axis=-1) & (p < NUM_PITCHES)[..., None]
        has_aligned = place.aligned[..., 0] < NUM_PITCHES
        same = aligned_duration == duration[..., None]
        flags = jnp.concatenate([matched, has_aligned, same & matched], axis=-1).astype(jnp.float32)
        x = self.pitch(p) + self.pitch_class(jnp.where(p < NUM_PITCHES, p % 12, 12))
        x += self.duration(duration.astype(jnp.int32)) + self.gap(gap.astype(jnp.int32))
        for n, table in enumerate(self.interval):
            x += table(_interval(p, references[..., n]))
        x += self._place(self.place_in, place)
        return x + self.features(jnp.concatenate([flags, place.plan.astype(jnp.float32), condition], axis=-1))

    def layer(self, n: int, taps: jax.Array) -> jax.Array:
        """What layer n adds, from its normalised inputs at three notes, [..., 3 C]."""
        first, second, _ = self.layers[n]
        return second(nn.gelu(first(taps)))

    def trunk(self, x: jax.Array, deterministic: bool) -> jax.Array:
        """Runs the trunk over embedded notes [B, N, C]."""
        x = self.drop(x, deterministic=deterministic)
        for n, dilation in enumerate(DILATIONS):
            y = self.layers[n][2](x)
            taps = [jnp.pad(y, ((0, 0), (k * dilation, 0), (0, 0)))[:, : y.shape[1]] for k in range(KERNEL)]
            x = x + self.drop(self.layer(n, jnp.concatenate(taps, axis=-1)), deterministic=deterministic)
        return self.norm(x)

    def gaps(self, h, position, bar, left, flags, is_full, deterministic: bool = True) -> jax.Array:
        """Log probabilities of the steps to the next onset, [..., NUM_GAPS].

        Args:
          h: trunk output at the last note.
          position, bar, left: its place.
          flags: [..., NUM_GAPS - 1, NUM_LAGS], onsets a lag before.
          is_full: whether its chord admits no further note.
        """
        z = self.drop(nn.gelu(self.gap_hidden(h)), deterministic=deterministic)
        ahead = jnp.arange(NUM_GAPS - 1)
        bar = jnp.maximum(bar.astype(jnp.int32), 1)[..., None]
        index = jnp.minimum((position.astype(jnp.int32)[..., None] + ahead) % bar, NUM_POSITIONS - 1)
        logits = self.gap_logits(z)
        later = jnp.take_along_axis(self.gap_position(z), index, axis=-1)
        later += jnp.einsum("...l,...dl->...d", self.gap_gates(z), flags.astype(jnp.float32))
        logits = logits.at[..., :-1].add(later)
        outside = (ahead > 0) & (ahead >= left.astype(jnp.int32)[..., None])
        outside |= (ahead == 0) & is_full[..., None]
        outside = jnp.concatenate([outside, jnp.zeros_like(outside[..., :1])], axis=-1)
        return jax.nn.log_softmax(jnp.where(outside, _NEVER, logits))

    def note_hidden(self, h, place: Place, gap, references, deterministic: bool = True) -> jax.Array:
        """Hidden values for a note whose time is known, from the trunk's output at the note before."""
        has = (place.aligned[..., 0] < NUM_PITCHES).astype(jnp.float32)
        x = self._place(self.place_out, place) + self.gap(gap.astype(jnp.int32))
        x += self.out_features(jnp.concatenate([has, place.plan.astype(jnp.float32)], axis=-1))[..., : self.channels]
        for n in range(_NUM_REFERENCES):
            x += self.pitch(references[..., n].astype(jnp.int32))
        z = self.drop(nn.gelu(self.out_hidden(jnp.concatenate([h, x], axis=-1))), deterministic=deterministic)
        return self.out_norm(z + nn.gelu(self.out_second(z)))

    def pitches(self, z, place: Place, references, low, high) -> jax.Array:
        """Log probabilities of pitches, [..., P]; those outside low < p < high are impossible."""
        p = jnp.arange(NUM_PITCHES)
        logits = self.pitch_logits(z) + jnp.tile(self.class_logits(z), NUM_PITCHES // 12)
        tables = self.reference_logits(z).reshape(*z.shape[:-1], _NUM_REFERENCES, -1)
        index = _interval(p, references[..., None])
        logits += jnp.take_along_axis(tables, index, axis=-1).sum(axis=-2)
        gates = self.pitch_gates(z).reshape(*z.shape[:-1], NUM_LAGS, _NUM_PLANES)
        logits += jnp.einsum("...lk,...lkp->...p", gates, planes(place.aligned, place.role))
        allowed = (p > low[..., None]) & (p < high[..., None])
        return jax.nn.log_softmax(jnp.where(allowed, logits, _NEVER))

    def durations(self, z, pitch, aligned_duration, deterministic: bool = True) -> jax.Array:
        """Log probabilities of duration classes, given the pitch."""
        y = self.drop(
            nn.gelu(self.duration_hidden(z) + self.duration_pitch(pitch.astype(jnp.int32))), deterministic=deterministic
        )
        hot = _one_hot(aligned_duration, NUM_DURATIONS)
        logits = self.duration_logits(y) + jnp.einsum("...l,...ld->...d", self.duration_gates(y), hot)
        return jax.nn.log_softmax(logits)

    def __call__(self, crops: Crops, deterministic: bool = True) -> dict[str, Any]:
        """Returns the nats of every target note [B, N - 1] of crops."""
        c = crops
        place = Place(c.position, c.bar, c.left, c.hyper, c.role, c.plan, c.aligned)
        condition = jnp.concatenate([c.style, c.minor[..., None].astype(jnp.float32)], axis=-1)
        condition = jnp.broadcast_to(condition[:, None], (*c.pitch.shape, condition.shape[-1]))
        x = self.embed_notes(c.gap, c.pitch, c.duration, c.references, c.aligned_duration, place, condition)
        h = self.trunk(x, deterministic)[:, :-1]
        flags = jnp.unpackbits(c.onsets, axis=-1, count=NUM_GAPS - 1, bitorder="little")[:, :-1]
        flags = jnp.swapaxes(flags, -1, -2)
        low, high, is_full = _limits(c)
        gap_logs = self.gaps(
            h, c.position[:, :-1], c.bar[:, :-1], c.left[:, :-1], flags, is_full[:, :-1], deterministic
        )
        after = jax.tree.map(lambda a: a[:, 1:], place)
        z = self.note_hidden(h, after, c.gap[:, 1:], c.references[:, 1:], deterministic)
        pitch_logs = self.pitches(z, after, c.references[:, 1:], low[:, 1:], high[:, 1:])
        duration_logs = self.durations(z, c.pitch[:, 1:], c.aligned_duration[:, 1:], deterministic)
        weight = c.weight[:, 1:].astype(jnp.float32)
        is_note = weight * (c.pitch[:, 1:] < NUM_PITCHES)
        take = lambda logs, index: -jnp.take_along_axis(logs, index.astype(jnp.int32)[..., None], axis=-1)[..., 0]  # noqa: E731
        return {
            "gap": take(gap_logs, c.gap[:, 1:]) * weight,
            "pitch": take(pitch_logs, jnp.minimum(c.pitch[:, 1:], NUM_PITCHES - 1)) * is_note,
            "duration": take(duration_logs, c.duration[:, 1:]) * is_note,
        }


def _interval(pitch, reference) -> jax.Array:
    reference = reference.astype(jnp.int32)
    known = jnp.clip(pitch - reference, -_REACH, _REACH) + _REACH
    return jnp.where(reference < NUM_PITCHES, known, 2 * _REACH + 1)


def _limits(c: Crops) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Between which pitches each note of a chord lies (exclusive), and whether its chord can have no further note."""
    role = c.role.astype(jnp.int32)
    before = c.references[..., 1].astype(jnp.int32)  # The note before.
    soprano, bass = c.references[..., 2].astype(jnp.int32), c.references[..., 3].astype(jnp.int32)
    high = jnp.where(role == 0, NUM_PITCHES, jnp.where(role <= 2, soprano, before))
    low = jnp.where(role <= 1, -1, bass)
    p = c.pitch.astype(jnp.int32)
    next_high = jnp.where(role == 1, soprano, p)
    next_low = jnp.where(role == 0, -1, jnp.where(role == 1, p, bass))
    return low, high, (next_high - next_low < 2) & (p < NUM_PITCHES)
