"""Lines: which of a piece's tracks play each note, note after note, so that every track is a voice of its own."""

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.composer.notes import MAX_TRACKS, NotePiece, in_order
from vae_jax.models.base import Variables
from vae_jax.music import instruments, key
from vae_jax.music.key import Tonic
from vae_jax.music.score import Score

LINE_SIZE = 8 + instruments.NUM_PITCHED_PARTS
_INTERVALS = (-13, -8, -5, -3, -1, 0, 1, 3, 5, 8, 13)  # Limits of classes of melodic intervals.
_LONG_AGO = 30_000


@dataclasses.dataclass(frozen=True)
class Line:
    """A track of an ensemble."""

    program: int
    part: int
    velocity: int  # Mean.
    pitch: float  # Mean pitch in C, as MIDI.
    spread: float  # Standard deviation of the pitch.
    activity: float  # Share of the chords in which it plays.
    chord: float  # Mean number of notes that it starts together.
    roles: tuple[float, float, float]  # Shares of soprano, bass and inner notes among its notes.

    def vector(self) -> np.ndarray:
        """Returns the input of the network, float32 [LINE_SIZE]."""
        values = (1.0, (self.pitch - 60) / 12, self.spread / 6, self.activity, min(self.chord - 1, 3.0), *self.roles)
        return np.array([*values, *np.eye(instruments.NUM_PITCHED_PARTS)[self.part]], np.float32)


def read_lines(score: Score, piece: NotePiece, tonic: Tonic) -> tuple[Line, ...]:
    """Reads the pitched lines of a score, in the order of the bits of `NotePiece.tracks`."""
    notes = score.notes
    pitched = np.flatnonzero(~notes.is_drum)
    parts, programs = instruments.assign_parts(score)[pitched], instruments.line_programs(score)[pitched]
    of_note = np.unique(notes.line[pitched], return_inverse=True)[1]
    transposition = key.semitones_to(tonic)
    role = np.minimum(in_order(piece.step, piece.pitch)[1], 2)
    lines, num_chords = [], max(len(np.unique(piece.step)), 1)
    for n in range(min(int(of_note.max(initial=-1)) + 1, MAX_TRACKS)):
        mine = pitched[of_note == n]
        has = (piece.tracks >> n) & 1 > 0
        chords, count = len(np.unique(piece.step[has])), max(int(has.sum()), 1)
        pitches = notes.pitch[mine] + transposition
        lines.append(
            Line(
                program=int(programs[of_note == n][0]),
                part=int(parts[of_note == n][0]),
                velocity=int(np.clip(round(float(notes.velocity[mine].mean())), 1, 127)),
                pitch=round(float(pitches.mean()), 2),
                spread=round(float(pitches.std()), 2),
                activity=round(chords / num_chords, 3),
                chord=round(count / max(chords, 1), 3),
                roles=tuple((np.bincount(role[has], minlength=3) / count).round(3).tolist()),
            )
        )
    return tuple(lines)


def line_table(lines: tuple[Line, ...]) -> np.ndarray:
    """Returns the vectors of lines, float32 [MAX_TRACKS, LINE_SIZE]; zeros where there is none."""
    table = np.zeros((MAX_TRACKS, LINE_SIZE), np.float32)
    for n, line in enumerate(lines):
        table[n] = line.vector()
    return table


class NoteRow(NamedTuple):
    """Notes, int32 [...]."""

    step: jax.Array
    pitch: jax.Array
    end: jax.Array
    role: jax.Array
    size: jax.Array  # Of its chord.


class LineState(NamedTuple):
    """What is known of the lines before a note, int32 [..., MAX_TRACKS]."""

    pitch: jax.Array  # Of the last note; the mean pitch before the first.
    step: jax.Array  # At which it started.
    end: jax.Array  # At which it ends.
    role: jax.Array  # Its role, 2 for inner voices, 3 before the first.
    note: jax.Array  # Number of the note; -1 before the first.
    taken: jax.Array  # Notes that it has started at the step of the last note.

    @staticmethod
    def start(lines: jax.Array) -> "LineState":
        """Returns the state before the first note, for lines [..., MAX_TRACKS, LINE_SIZE]."""
        pitch = jnp.round(lines[..., 1] * 12 + 36).astype(jnp.int32)
        full = lambda value: jnp.full(pitch.shape, value, jnp.int32)  # noqa: E731
        return LineState(pitch, full(-_LONG_AGO), full(-_LONG_AGO), full(3), full(-1), full(0))


def describe(state: LineState, note: NoteRow, lines: jax.Array) -> jax.Array:
    """Features of whether each line plays a note, but for what other lines do, float32 [..., MAX_TRACKS, F]."""
    shape = state.pitch.shape
    step, pitch, role = note.step[..., None], note.pitch[..., None], jnp.minimum(note.role, 2)[..., None]
    interval = pitch - state.pitch
    classes = jnp.searchsorted(jnp.array(_INTERVALS), interval, side="right", method="compare_all")
    silence = jnp.clip(step - state.step, 0, 400)
    is_now = state.step == step
    taken = jnp.where(is_now, state.taken, 0)
    known = (state.note >= 0).astype(jnp.float32)
    deviation = jnp.clip(
        (pitch.astype(jnp.float32) - 36 - lines[..., 1] * 12) / jnp.maximum(lines[..., 2] * 6, 1.5), -4, 4
    )
    of_role = jnp.where(role == 0, lines[..., 5], jnp.where(role == 1, lines[..., 6], lines[..., 7]))
    columns = [
        known,
        jnp.clip(jnp.abs(interval), 0, 24) / 12,
        deviation,
        deviation**2 / 4,
        jnp.log1p(silence) / 6,
        silence > 96,
        is_now,
        jnp.minimum(taken, 4) / 2,
        (taken > 0) * (lines[..., 4] < 0.15),
        state.end > step,
        jnp.where(state.role == role, known, 0.0),
        jnp.minimum(note.size, 8)[..., None] / 4,
        jnp.minimum(note.role, 6)[..., None] / 3,
        of_role,
        step % 12 == 0,
        *(role == n for n in range(3)),
        *_crossings(state, note, lines),
    ]
    dense = jnp.stack([jnp.broadcast_to(jnp.asarray(x, jnp.float32), shape) for x in columns], axis=-1)
    hot = jax.nn.one_hot(classes, len(_INTERVALS) + 1)
    return jnp.concatenate([dense, hot, jnp.broadcast_to(lines, (*shape, lines.shape[-1]))], axis=-1)


def _crossings(state: LineState, note: NoteRow, lines: jax.Array) -> list[jax.Array]:
    """How many lines each line would cross with a note: those above it by mean pitch whose last note is lower, and the
    reverse; all such lines, and those that still sound. Four arrays float32 [..., MAX_TRACKS]."""
    mean, pitch = lines[..., 1], note.pitch[..., None, None]
    sounds = (state.end > note.step[..., None])[..., None, :]
    is_other = ((lines[..., 0] > 0) & (state.note >= 0))[..., None, :]
    crossed = (
        is_other & (mean[..., None, :] > mean[..., :, None]) & (state.pitch[..., None, :] < pitch),
        is_other & (mean[..., None, :] < mean[..., :, None]) & (state.pitch[..., None, :] > pitch),
    )
    return [jnp.minimum((x & y).sum(axis=-1), 4) / 2 for x in crossed for y in (is_other, sounds)]


def others(state: LineState, plays: jax.Array, exists: jax.Array) -> jax.Array:
    """What the lines before each line do with this note, float32 [..., MAX_TRACKS, 4].

    How many play it, whether any that shared its last note does, whether any of these does not, and whether it is left
    to this line. `plays` [..., MAX_TRACKS] is 0 or 1; entries from a line on do not count for it.
    """
    plays = plays.astype(jnp.float32)
    before = jnp.tril(jnp.ones((MAX_TRACKS, MAX_TRACKS)), -1)
    partners = (state.note[..., :, None] == state.note[..., None, :]) & (state.note >= 0)[..., None] & (before > 0)
    partners = partners.astype(jnp.float32)
    count = plays @ before.T
    left = exists.sum(-1, keepdims=True) - exists @ jnp.tril(jnp.ones_like(before)).T
    columns = [
        jnp.minimum(count, 4) / 2,
        jnp.minimum(jnp.einsum("...kj,...j->...k", partners, plays), 1.0),
        jnp.minimum(jnp.einsum("...kj,...j->...k", partners, exists * (1 - plays)), 1.0),
        (left == 0) & (count == 0),
    ]
    return jnp.stack([jnp.broadcast_to(x.astype(jnp.float32), count.shape) for x in columns], axis=-1)


def take(state: LineState, note: NoteRow, plays: jax.Array, number: jax.Array) -> LineState:
    """Returns the state after a note [B], which the lines with `plays` bool [B, MAX_TRACKS] play."""
    taken = jnp.where(state.step == note.step[:, None], state.taken, 0) + 1
    new = (note.pitch, note.step, note.end, jnp.minimum(note.role, 2), jnp.broadcast_to(number, note.step.shape))
    columns = zip((*new, taken), state, strict=True)
    return LineState(*(jnp.where(plays, value[:, None] if value.ndim == 1 else value, old) for value, old in columns))


def states_before(notes: NoteRow, plays: jax.Array, lines: jax.Array) -> LineState:
    """Returns the state before each of the notes [B, N]; who plays them is `plays`, bool [B, N, MAX_TRACKS]."""
    number = jnp.arange(notes.step.shape[1])[None, :, None]
    latest = jax.lax.cummax(jnp.where(plays, number, -1), axis=1)
    latest = jnp.pad(latest, ((0, 0), (1, 0), (0, 0)), constant_values=-1)[:, :-1]
    known = latest >= 0
    at = jnp.maximum(latest, 0)
    start = LineState.start(lines[:, None])
    values = (notes.pitch, notes.step, notes.end, jnp.minimum(notes.role, 2))
    found = [jnp.take_along_axis(value[..., None], at, axis=1) for value in values]
    # Notes that a line has started since the first of the chord of its latest note.
    plays = plays.astype(jnp.int32)
    count = jnp.cumsum(plays, axis=1)
    new_chord = jnp.pad(notes.step[:, 1:] != notes.step[:, :-1], ((0, 0), (1, 0)), constant_values=True)
    first = jax.lax.cummax(jnp.where(new_chord, number[..., 0], 0), axis=1)
    before = jnp.take_along_axis(count - plays, first[..., None], axis=1)  # Of the chord at each note.
    taken = jnp.take_along_axis(count - before, at, axis=1)
    columns = zip((*found, latest, taken), start, strict=True)
    return LineState(*(jnp.where(known, value, old) for value, old in columns))


class LineNet(nn.Module):
    """The log odds that a line plays a note, given what the lines before it do."""

    hidden: int = 48

    def setup(self):  # noqa: D102
        self.layers = nn.Dense(self.hidden), nn.Dense(self.hidden // 2), nn.Dense(1)

    def decide(self, features: jax.Array, seen: jax.Array) -> jax.Array:
        """Maps features [..., F] and `others` [..., 4] to log odds [...]."""
        first, second, last = self.layers
        x = nn.relu(first(jnp.concatenate([features, seen], axis=-1)))
        return last(nn.relu(second(x)))[..., 0]

    def __call__(self, notes: NoteRow, plays: jax.Array, lines: jax.Array) -> jax.Array:
        """Log odds of every line for notes [B, N], given who plays them and the notes before, [B, N, MAX_TRACKS]."""
        state, by_note = states_before(notes, plays, lines), lines[:, None]
        return self.decide(describe(state, notes, by_note), others(state, plays, by_note[..., 0]))


def sample_lines(
    net: LineNet,
    params: Variables,
    notes: NoteRow,
    num_notes: jax.Array,
    lines: jax.Array,
    given: tuple[jax.Array, jax.Array],
    keys: jax.Array,
    temperature: jax.Array,
) -> jax.Array:
    """Samples who plays each of the notes [B, N], bool [B, N, MAX_TRACKS]: line after line, at least one.

    Args:
      net, params: the network.
      notes, lines: the notes, and lines [B, MAX_TRACKS, LINE_SIZE].
      num_notes: of the N notes, so many are played, of the piece that has most; nobody plays those after them.
      given: who plays the first notes, bool [B, M, MAX_TRACKS], and of how many this is known, [B].
      keys: [B], consumed.
      temperature: of the log odds.
    """
    exists = lines[..., 0]
    known, num_known = given

    def body(number, carry):
        state, written = carry
        note = jax.tree.map(lambda x: x[:, number], notes)
        features = describe(state, note, lines)
        noise = jax.vmap(lambda key: jax.random.logistic(jax.random.fold_in(key, number), (MAX_TRACKS,)))(keys)

        def decide(k, carry):
            plays, odds = carry
            seen = others(state, plays, exists)[:, k]
            logit = jnp.asarray(net.apply({"params": params}, features[:, k], seen, method=LineNet.decide))
            mine = jnp.where(exists[:, k] > 0, logit / temperature, -1e9) + noise[:, k]
            return plays.at[:, k].set(mine > 0), odds.at[:, k].set(mine)

        plays, odds = jax.lax.fori_loop(0, MAX_TRACKS, decide, (jnp.zeros(exists.shape, bool), jnp.zeros(exists.shape)))
        alone = jax.nn.one_hot(odds.argmax(-1), MAX_TRACKS) > 0
        plays = jnp.where(plays.any(-1, keepdims=True), plays, alone)
        plays = jnp.where((number < num_known)[:, None], known[:, jnp.minimum(number, known.shape[1] - 1)], plays)
        return take(state, note, plays, number), written.at[:, number].set(plays)

    nobody = jnp.zeros((*notes.step.shape, MAX_TRACKS), bool)
    return jax.lax.fori_loop(0, num_notes, body, (LineState.start(lines), nobody))[1]
