"""Writing whole pieces with a trained composer, window after window."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
import numpy as np

from vae_jax import continuations, onsets
from vae_jax.batches import concatenate
from vae_jax.composing import TrainedComposer
from vae_jax.ensembles import Ensemble
from vae_jax.forms import Form, phrase_steps
from vae_jax.models.composer import NO_LINK
from vae_jax.models.composer_sampling import Temperatures, write_window
from vae_jax.representations.context import default_context
from vae_jax.representations.roll import DURATION, PART, PITCH, STEP, RollPiece
from vae_jax.score import Score
from vae_jax.tonic import Tonic

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
    """Writes pieces of one length, meter and length of opening together (the key is consumed).

    Args:
      composer: the trained composer.
      orders: what to write.
      key: consumed.
      temperature: scales the temperatures of the config; 0 is as good as always choosing the likeliest.
    """
    representation = composer.stage.representation
    config, first = representation.config, orders[0]
    bar = bar_steps(first.meter, config.steps_per_beat)
    num_steps, phrase = first.num_bars * bar, phrase_steps(bar, config.window_steps)
    pieces = [_begin(composer, order, num_steps) for order in orders]
    write = _writer(composer, max(temperature, 1e-3))
    for n in range(num_phrases(first.num_bars, bar, config.window_steps, first.opening_steps)):
        start = first.opening_steps + n * phrase
        arrays = _before(composer, pieces, orders, n, start, phrase, bar, num_steps)
        written = jax.device_get(write(composer.variables, arrays, jax.random.fold_in(key, n)))
        for b, notes in enumerate(onsets.to_notes(written, composer.kit, composer.stage.shape)):
            pieces[b] = _add(pieces[b], notes, start, min(phrase, num_steps - start))
    return [_finish(composer, piece) for piece in pieces]


@functools.cache
def _writer(composer: TrainedComposer, temperature: float):
    stage = composer.stage
    temperatures = Temperatures(
        stage.config["step_temperature"] * temperature, stage.config["note_temperature"] * temperature
    )
    max_onsets = stage.shape.max_onsets + _MORE_ONSETS

    def write(variables, arrays, key):
        inputs = stage.memory_inputs(variables, arrays)
        return stage.net.apply(
            {"params": variables["params"]}, inputs, key, temperatures, max_onsets, method=write_window
        )

    return jax.jit(write)


def _begin(composer: TrainedComposer, order: Order, num_steps: int) -> RollPiece:
    """The piece before anything is composed: its context and its opening."""
    players = order.ensemble
    context = default_context(
        num_steps,
        composer.stage.representation.steps_per_beat,
        beats_per_minute=players.beats_per_minute,
        meter=order.meter,
        tonic=Tonic(players.pitch_class, players.style.minor, 1.0),
        programs=players.programs,
        velocities=players.velocities,
    )
    empty = composer.stage.representation.empty_piece(context, num_steps)
    return dataclasses.replace(empty, notes=order.opening)


def _before(
    composer: TrainedComposer,
    pieces: Sequence[RollPiece],
    orders: Sequence[Order],
    n: int,
    start: int,
    phrase: int,
    bar: int,
    num_steps: int,
) -> dict[str, np.ndarray]:
    """What the composer hears and knows before phrase n, which starts at a step."""
    representation, inference = composer.stage.representation, composer.inference
    length, count = representation.config.window_steps, len(pieces)
    sources = [start - int(order.form.back[n]) * phrase for order in orders]
    heard = [representation.encode_at(_sounding(piece), np.array([start - length])) for piece in pieces]
    heard += [
        representation.encode_at(_sounding(piece), np.array([source]))
        for piece, source in zip(pieces, sources, strict=True)
    ]
    latents = inference.encode(concatenate(heard)).mean
    link = latents[count:]
    linked = np.array([order.form.back[n] > 0 for order in orders])
    if any(order.models is not None for order in orders):
        linked = np.array([order.models is not None for order in orders])
        link = np.stack([order.models[n] if order.models is not None else link[b] for b, order in enumerate(orders)])
    similarity = np.array([order.form.similarity[n] for order in orders])
    one = np.array([start])
    place = continuations.describe_place(
        one, np.zeros(1, np.int64), np.array([bar]), 0, num_steps, representation.steps_per_beat
    )
    return {
        "previous": latents[:count],
        "link": link.astype(np.float32),
        "similarity": np.where(linked, similarity, NO_LINK).astype(np.float32),
        "place": np.repeat(place, count, axis=0),
        "style": np.stack([order.ensemble.style.vector() for order in orders]),
    }


def _sounding(piece: RollPiece) -> RollPiece:
    """The piece so far, with every note a beat long: durations play no part in what is heard."""
    notes = piece.notes.copy()
    notes[:, DURATION] = _HEARD_BEATS * piece.config.steps_per_beat
    return dataclasses.replace(piece, notes=notes)


def _add(piece: RollPiece, notes: np.ndarray, start: int, length: int) -> RollPiece:
    """Adds the notes of a window, from its start to a length in steps."""
    mine = notes[notes[:, STEP] < length]
    mine = mine + np.array([start, 0, 0, 0], dtype=mine.dtype)
    joined = np.concatenate([piece.notes, mine])
    order = np.lexsort((joined[:, PITCH], joined[:, PART], joined[:, STEP]))
    return dataclasses.replace(piece, notes=joined[order])


def _finish(composer: TrainedComposer, piece: RollPiece) -> Composition:
    representation = composer.stage.representation
    starts = np.arange(0, piece.num_steps, representation.config.window_steps)
    latents = composer.inference.encode(representation.encode_at(_sounding(piece), starts)).mean
    return Composition(piece, latents, representation.decode_notes(piece))
