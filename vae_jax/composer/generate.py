"""Writing whole pieces with a trained composer, window after window."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.composer import dataset, onset_encoding
from vae_jax.composer.conditioning import Ensemble
from vae_jax.composer.network import NO_LINK
from vae_jax.composer.sampling import Temperatures, write_window
from vae_jax.composer.stage import TrainedComposer
from vae_jax.composer.structure import Form, phrase_steps
from vae_jax.music.key import Tonic
from vae_jax.music.score import Score
from vae_jax.representations.arrays import concatenate
from vae_jax.representations.pianoroll.context import default_context
from vae_jax.representations.pianoroll.encoding import DURATION, PART, PITCH, STEP, RollPiece

_MORE_ONSETS = 8  # Than the longest window in training: room for a busier one.
_HEARD_BEATS = 1  # How long a note is taken to last while the piece is being written.


@dataclasses.dataclass(frozen=True, eq=False)
class Order:
    """What is to be composed.

    Attributes:
      ensemble: who plays.
      form: of the phrases, which are windows of as many whole bars as fit.
      num_bars: length.
      meter: numerator and denominator.
      opening: [N, 4] int32 notes with which the piece begins.
      opening_steps: steps that they take, whole bars.
      models: latents [U, Z] of a window to follow for each phrase, instead of an earlier one of the piece itself, as
        closely as the form says; None where there are none.
    """

    ensemble: Ensemble
    form: Form
    num_bars: int
    meter: tuple[int, int] = (4, 4)
    opening: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 4), np.int32))
    opening_steps: int = 0
    models: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Composition:
    """A composed piece: its roll, its latents [W, Z] in windows without gaps, and the score."""

    roll: RollPiece
    latents: np.ndarray
    score: Score


def bar_steps(meter: tuple[int, int], steps_per_beat: int) -> int:
    """Steps in a bar; a meter that does not fit the grid gives 0."""
    steps, rest = divmod(4 * steps_per_beat * meter[0], meter[1])
    return 0 if rest else steps


def num_phrases(num_bars: int, bar: int, window_steps: int, opening_steps: int = 0) -> int:
    """How many phrases are written after an opening."""
    return max(-(-(num_bars * bar - opening_steps) // phrase_steps(bar, window_steps)), 0)


def write_pieces(
    composer: TrainedComposer, orders: Sequence[Order], key: jax.Array, temperature: float = 1.0
) -> list[Composition]:
    """Writes pieces side by side (the key is consumed).

    Args:
      composer: the trained composer.
      orders: what to write.
      key: consumed.
      temperature: scales the temperatures of the config; near 0 always the likeliest is chosen.
    """
    plans = [_Plan.of(composer, order) for order in orders]
    pieces = [_begin(composer, plan) for plan in plans]
    write = _writer(composer)
    for n in range(max(plan.count for plan in plans)):
        arrays = _before(composer, pieces, plans, n)
        temperatures = _temperatures(composer, plans, n, max(temperature, 1e-3))
        written = jax.device_get(write(composer.variables, arrays, jax.random.fold_in(key, n), temperatures))
        for b, notes in enumerate(onset_encoding.to_notes(written, composer.kit, composer.stage.shape)):
            pieces[b] = _add(pieces[b], notes, plans[b], n)
    return [_finish(composer, piece) for piece in pieces]


@dataclasses.dataclass(frozen=True, eq=False)
class _Plan:
    """An order in steps: of a bar, of a phrase, of the whole piece, and how many phrases are written."""

    order: Order
    bar: int
    phrase: int
    num_steps: int
    count: int

    @classmethod
    def of(cls, composer: TrainedComposer, order: Order) -> _Plan:
        config = composer.stage.representation
        bar = bar_steps(order.meter, config.steps_per_beat)
        phrase = phrase_steps(bar, config.window_steps)
        count = num_phrases(order.num_bars, bar, config.window_steps, order.opening_steps)
        return cls(order, bar, phrase, order.num_bars * bar, count)

    def start(self, n: int) -> int:
        """Where phrase n starts; a piece that is complete stays at its last one while others go on."""
        return self.order.opening_steps + min(n, self.count - 1) * self.phrase

    def source(self, n: int) -> int:
        """Where the window starts that phrase n returns to."""
        return self.start(n) - int(self.order.form.back[min(n, self.count - 1)]) * self.phrase

    def similarity(self, n: int) -> float:
        """How closely phrase n returns, or NO_LINK."""
        n = min(n, self.count - 1)
        linked = self.order.form.back[n] > 0 or self.order.models is not None
        return float(self.order.form.similarity[n]) if linked else NO_LINK


@functools.cache
def _writer(composer: TrainedComposer):
    stage = composer.stage
    max_onsets = stage.shape.max_onsets + _MORE_ONSETS

    def write(variables, arrays, key, temperatures):
        inputs = stage.memory_inputs(variables, arrays)
        return stage.net.apply(
            {"params": variables["params"]}, inputs, key, temperatures, max_onsets, method=write_window
        )

    return jax.jit(write)


def _temperatures(composer: TrainedComposer, plans: Sequence[_Plan], n: int, temperature: float) -> Temperatures:
    """Temperatures for phrase n of every piece; the notes of the last one have their own: an end is expected."""
    config = composer.stage.config
    is_last = np.array([n >= plan.count - 1 for plan in plans])
    note = np.where(is_last, config.last_note_temperature, config.note_temperature)
    step = np.full(len(plans), config.step_temperature)
    return Temperatures(jnp.asarray(temperature * step, jnp.float32), jnp.asarray(temperature * note, jnp.float32))


def _begin(composer: TrainedComposer, plan: _Plan) -> RollPiece:
    """The piece before anything is composed: its context and its opening."""
    players = plan.order.ensemble
    context = default_context(
        plan.num_steps,
        composer.stage.representation.steps_per_beat,
        beats_per_minute=players.beats_per_minute,
        meter=plan.order.meter,
        tonic=Tonic(players.pitch_class, players.style.minor, 1.0),
        programs=players.programs,
        velocities=players.velocities,
    )
    empty = composer.stage.representation.empty_piece(context, plan.num_steps)
    return dataclasses.replace(empty, notes=plan.order.opening)


def _before(
    composer: TrainedComposer, pieces: Sequence[RollPiece], plans: Sequence[_Plan], n: int
) -> dict[str, np.ndarray]:
    """What the composer hears and knows before phrase n of every piece."""
    representation = composer.stage.representation
    length, steps_per_beat = representation.window_steps, representation.steps_per_beat
    sounding = [_sounding(piece) for piece in pieces]
    places = [[plan.start(n) - length for plan in plans], [plan.source(n) for plan in plans]]
    heard = [
        representation.encode_at(piece, np.array([start]))
        for starts in places
        for piece, start in zip(sounding, starts, strict=True)
    ]
    previous, link = np.split(composer.inference.encode(concatenate(heard)).mean, 2)
    for b, plan in enumerate(plans):
        if plan.order.models is not None:
            link[b] = plan.order.models[min(n, plan.count - 1)]
    starts, ends = np.array([plan.start(n) for plan in plans]), np.array([plan.num_steps for plan in plans])
    bars = np.array([plan.bar for plan in plans])
    return {
        "previous": previous,
        "link": link,
        "similarity": np.array([plan.similarity(n) for plan in plans], dtype=np.float32),
        "place": dataset.describe_place(starts, np.zeros_like(starts), bars, 0, ends, steps_per_beat),
        "style": np.stack([plan.order.ensemble.style.vector() for plan in plans]),
    }


def _sounding(piece: RollPiece) -> RollPiece:
    """The piece so far, with every note a beat long: durations play no part in what is heard."""
    notes = piece.notes.copy()
    notes[:, DURATION] = _HEARD_BEATS * piece.config.steps_per_beat
    return dataclasses.replace(piece, notes=notes)


def _add(piece: RollPiece, notes: np.ndarray, plan: _Plan, n: int) -> RollPiece:
    """Adds what phrase n of a piece is to hold of the notes of a window; nothing to a piece that is complete."""
    start = plan.start(n)
    if n >= plan.count:
        return piece
    mine = notes[notes[:, STEP] < min(plan.phrase, plan.num_steps - start)]
    mine = mine + np.array([start, 0, 0, 0], dtype=mine.dtype)
    mine[:, DURATION] = np.minimum(mine[:, DURATION], plan.num_steps - mine[:, STEP])
    joined = np.concatenate([piece.notes, mine])
    order = np.lexsort((joined[:, PITCH], joined[:, PART], joined[:, STEP]))
    return dataclasses.replace(piece, notes=joined[order])


def _finish(composer: TrainedComposer, piece: RollPiece) -> Composition:
    representation = composer.stage.representation
    starts = np.arange(0, piece.num_steps, representation.window_steps)
    latents = composer.inference.encode(representation.encode_at(_sounding(piece), starts)).mean
    piece = dataclasses.replace(piece, notes=_released(piece.notes))
    return Composition(piece, latents, representation.decode_notes(piece))


def _released(notes: np.ndarray) -> np.ndarray:
    """Ends every note where its part strikes the same pitch again, at the latest."""
    order = np.lexsort((notes[:, STEP], notes[:, PITCH], notes[:, PART]))
    sorted_notes = notes[order]
    again = np.all(sorted_notes[1:, [PART, PITCH]] == sorted_notes[:-1, [PART, PITCH]], axis=1)
    gap = np.diff(sorted_notes[:, STEP])
    released = notes.copy()
    released[order[:-1][again], DURATION] = np.minimum(sorted_notes[:-1, DURATION], gap)[again]
    return released
