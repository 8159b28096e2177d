"""Drums: which of D drums start at each step, given the pitched notes and all earlier drums.

The drums of a step are Bernoulli variables, each given those before it in the step. Weights for what a drum itself did
before are shared by all drums: a pattern goes on alike whoever plays it.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.composer.notes import HYPER_BARS, MAX_BARS_LEFT, STEPS_PER_BEAT, NotePiece, place_at, sounding_range
from vae_jax.music.score import Score
from vae_jax.representations.pianoroll import encoding

_RECENT = (1, 2, 3, 4, 6, 8, 9, 12, 24)
_BARS_BACK = (1, 2, 3, 4, 8)
NUM_LAGS = len(_RECENT) + len(_BARS_BACK) + 1  # Recent steps, bars back, and the lag of the form.
_FIRST_DRUM = 35  # Of General MIDI.
_MAX_BEATS = 8
_SIZES = (STEPS_PER_BEAT, _MAX_BEATS, _MAX_BEATS + 1, HYPER_BARS, MAX_BARS_LEFT + 1)  # Of the columns of `place`.
_MANY = 16  # Starts so far that count.
_RANDOM_PAST = 0.05  # Share of crops, see `_random_past`.
_RATES_GIVEN = 0.5  # Share of crops whose drum rates are known in training.


class DrumContext(NamedTuple):
    """What is known of T steps before their drums; leading axes are those of a batch."""

    place: np.ndarray  # uint8 [T, 5]: step in the beat, beat in the bar, beats of the bar, bar in eight, bars left.
    notes: np.ndarray  # uint8 [T, 7]: notes that start, whether the highest or the lowest voice does, and more.
    plan: np.ndarray  # uint8 [T, 2]: whether there is a plan, and the planned similarity times 255.
    time: np.ndarray  # uint16 [T, 2], steps so far and steps left.
    drum_rates: np.ndarray  # float32 [D + 1], see `measure_drum_rates`.


class DrumCrops(NamedTuple):
    """Crops of T steps; `past` and `counts` are features of the drums before each step."""

    rows: np.ndarray  # uint8 [T, D], whether a drum starts.
    past: np.ndarray  # uint8 [T, ...], bits: `rows` at each lag, [NUM_LAGS, D].
    counts: np.ndarray  # uint16 [T, D], how often each drum started before.
    context: DrumContext
    weight: np.ndarray  # uint8 [T], 0 for padding.


def choose_drums(scores: Sequence[Score], num: int = 12) -> np.ndarray:
    """Returns the `num` drums with most notes as MIDI pitches, int64 ascending; filled up where there are fewer."""
    pitches = [score.notes.pitch[score.notes.is_drum] for score in scores]
    counts = np.bincount(np.concatenate([np.zeros(0, np.int64), *pitches]), minlength=128)
    fallback = np.roll(np.arange(128), -_FIRST_DRUM)
    order = fallback[np.argsort(-counts[fallback], kind="stable")]
    return np.sort(order[:num])


def read_drums(score: Score, piece: NotePiece, drums: np.ndarray) -> np.ndarray:
    """Reads which drums start at each step of a piece, bool [T, D]; others are left out."""
    rows = np.zeros((piece.end, len(drums)), bool)
    _, steps, _ = encoding.quantize_notes(score, STEPS_PER_BEAT)
    hit = score.notes.is_drum[:, None] & (score.notes.pitch[:, None] == drums)
    note, drum = np.nonzero(hit)
    rows[steps[note], drum] = True
    return rows


def measure_drum_rates(rows: np.ndarray, piece: NotePiece) -> np.ndarray:
    """Returns how often a piece uses each drum, starts a beat, and a 1, float32 [D + 1]; all 0 stands for unknown."""
    return np.append(rows.sum(axis=0) * STEPS_PER_BEAT / max(piece.end, 1), 1.0).astype(np.float32)


def drum_lags(piece: NotePiece) -> np.ndarray:
    """Returns the lags of every step, int32 [T, NUM_LAGS]; 0 where the music before does not reach so far back."""
    steps = np.arange(piece.end)
    fixed = np.array([*_RECENT, *(bars * piece.bar for bars in _BARS_BACK)])
    lags = np.concatenate([np.tile(fixed, (len(steps), 1)), piece.form.lag_at(steps)[:, None]], axis=1)
    return np.where(lags <= steps[:, None], lags, 0).astype(np.int32)


def make_context(piece: NotePiece, rates: np.ndarray) -> DrumContext:
    """Makes the context of all steps of a piece."""
    steps = np.arange(piece.end)
    position, bar, left, hyper = place_at(steps, piece)
    columns = (
        position % STEPS_PER_BEAT,
        np.minimum(position // STEPS_PER_BEAT, _MAX_BEATS - 1),
        np.minimum(bar // STEPS_PER_BEAT, _MAX_BEATS),
        hyper,
        np.minimum(-(-left // piece.bar), MAX_BARS_LEFT),
    )
    plan = np.stack([piece.form.lag_at(steps) > 0, np.clip(piece.form.similarity_at(steps), 0, 1) * 255], axis=1)
    time = np.minimum(np.stack([steps, left], axis=1), 65535).astype(np.uint16)
    place = np.stack(columns, axis=1).astype(np.uint8)
    return DrumContext(place, _describe_notes(piece), plan.astype(np.uint8), time, rates)


def _describe_notes(piece: NotePiece) -> np.ndarray:
    """Describes the pitched notes at every step, uint8 [T, 7]."""
    bottom, top = sounding_range(piece)
    columns = np.zeros((7, piece.end))
    size, soprano, bass, longest, density, height, wait = columns
    np.add.at(size, piece.step, 1)
    soprano[piece.step[piece.pitch == top[piece.step]]] = 1
    bass[piece.step[piece.pitch == bottom[piece.step]]] = 1
    np.maximum.at(longest, piece.step, np.minimum(piece.duration, 255))
    total = np.concatenate([[0], np.cumsum(size)])
    steps = np.arange(piece.end)
    near = np.clip(steps + piece.bar, 0, piece.end), np.clip(steps - piece.bar, 0, piece.end)
    mean = max(len(piece.step) / max(piece.end, 1), 1e-3)
    density[:] = np.clip((total[near[0]] - total[near[1]]) / (near[0] - near[1]) / mean * 64, 0, 255)
    usual = piece.pitch.mean() if len(piece.pitch) else 0
    height[:] = np.where(top >= 0, np.clip(top - usual + 64, 0, 255), 0)
    onsets = np.append(np.unique(piece.step), piece.end)
    wait[:] = np.minimum(onsets[np.searchsorted(onsets, steps, side="right").clip(0, len(onsets) - 1)] - steps, 255)
    return columns.T.astype(np.uint8)


def past_rows(rows: np.ndarray, lags: np.ndarray) -> np.ndarray:
    """Returns the rows [..., NUM_LAGS, D] at lags [T, NUM_LAGS] before each step; zeros at a lag of 0."""
    source = np.maximum(np.arange(len(lags))[:, None] - lags, 0)
    return rows[source] & (lags > 0)[..., None]


def make_drum_features(rows: np.ndarray, piece: NotePiece) -> DrumCrops:
    """Makes the features of all steps of a piece with drums bool [T, D]."""
    past = past_rows(rows, drum_lags(piece)).reshape(len(rows), -1)
    counts = np.minimum(np.cumsum(rows, axis=0) - rows, 65535).astype(np.uint16)
    context = make_context(piece, measure_drum_rates(rows, piece))
    weight = np.ones(len(rows), np.uint8)
    return DrumCrops(rows.astype(np.uint8), np.packbits(past, axis=-1), counts, context, weight)


def thin_drums(features: DrumCrops, rng: np.random.Generator, factor: int = 6) -> DrumCrops:
    """Leaves out steps at which nothing starts at random, all but one in `factor`, which then counts for as many."""
    is_quiet = (features.rows.max(axis=-1) == 0) & (features.context.notes[:, 0] == 0)
    weighted = features._replace(weight=np.where(is_quiet, factor, 1).astype(np.uint8))
    return _take(weighted, np.flatnonzero(~is_quiet | (rng.integers(factor, size=len(is_quiet)) == 0)))


def crop_drums(features: DrumCrops, length: int = 768) -> DrumCrops:
    """Cuts features into crops [C, length, ...], one after the other, the last one padded with steps of weight 0."""
    total = len(features.weight)
    index = np.arange(-(-total // length) * length).reshape(-1, length)
    cut = _take(features, np.minimum(index, total - 1))
    context = cut.context._replace(drum_rates=np.tile(features.context.drum_rates, (len(index), 1)))
    return cut._replace(context=context, weight=cut.weight * (index < total))


def _take(features: DrumCrops, index: np.ndarray) -> DrumCrops:
    """Returns the features at some steps."""
    rows, past, counts, context, weight = features
    context = _map_steps(lambda x: x[index], context)
    return DrumCrops(rows[index], past[index], counts[index], context, weight[index])


def _map_steps(function: Callable[..., Any], *contexts: DrumContext) -> DrumContext:
    """Applies a function to those arrays of contexts that have an axis of steps; the rates are the first one's."""
    place, notes, plan, time = (function(*columns) for columns in list(zip(*contexts, strict=True))[:-1])
    return DrumContext(place, notes, plan, time, contexts[0].drum_rates)


class DrumNet(nn.Module):
    """Log odds that each of D drums starts. Where there is a key for dropout it is on, and histories are disturbed."""

    num_drums: int
    hidden: int = 48
    shared: int = 16  # Hidden units of each drum.
    dropout: float = 0.2

    @nn.compact
    def __call__(self, rows: jax.Array, past: jax.Array, counts: jax.Array, context: DrumContext) -> jax.Array:
        """Maps rows and counts [B, T, D] and past bool [B, T, NUM_LAGS, D] to log odds [B, T, D], which depend on those
        of the rows that stand before."""
        train = self.has_rng("dropout")
        drop = nn.Dropout(self.dropout, deterministic=not train)
        rates = jnp.asarray(context.drum_rates)[:, None]
        if train:
            given, memory = jax.random.split(self.make_rng("dropout"))
            rates = jnp.where(jax.random.bernoulli(given, _RATES_GIVEN, (len(rates), 1, 1)), rates, 0.0)
            past = past | _random_past(memory, past.shape)
        rows, past, counts = (jnp.asarray(x, jnp.float32) for x in (rows, past, counts))
        own = _describe_counts(counts, rates, context.time)
        known = jnp.concatenate([own.reshape(*rows.shape[:2], -1), past.max(axis=-1), _describe(context)], axis=-1)
        x = drop(nn.gelu(nn.Dense(self.hidden)(known)))
        own = jnp.concatenate([jnp.swapaxes(past, -1, -2), own], axis=-1)
        small = nn.initializers.normal(0.1)
        embedding = self.param("embedding", small, (self.num_drums, self.shared))
        earlier = self.param("earlier", small, (self.num_drums, self.shared))
        weights = self.param("weights", small, (self.num_drums, self.num_drums))
        before = jnp.einsum("bte,de,eh->btdh", rows, jnp.tril(jnp.ones_like(weights), -1), earlier)
        hidden = nn.Dense(self.shared)(own) + nn.Dense(self.shared)(x)[..., None, :] + embedding
        logits = nn.Dense(self.num_drums, bias_init=nn.initializers.constant(-6.0))(x)
        return logits + nn.Dense(1)(nn.relu(hidden + before))[..., 0] + rows @ jnp.tril(weights, -1).T


def _describe_counts(counts: jax.Array, rates: jax.Array, time: np.ndarray) -> jax.Array:
    """Features of how often drums started so far and will have to at rates [B, 1, D + 1], [B, T, D, 6]."""
    is_known = jnp.broadcast_to(rates[..., -1:], counts.shape)
    so_far, left = jnp.moveaxis(jnp.asarray(time, jnp.float32) / STEPS_PER_BEAT, -1, 0)[..., None]
    missing = jnp.maximum(rates[..., :-1] * (so_far + left) - counts, 0)
    is_over = jnp.where(missing < 0.5, is_known, 0.0)
    scaled = (jnp.log1p(64 * rate) / 2 for rate in (rates[..., :-1], missing / jnp.maximum(left, 1)))
    level, rate = (jnp.broadcast_to(rate, counts.shape) for rate in scaled)
    started = jnp.asarray(counts > 0, jnp.float32)
    return jnp.stack([started, jnp.log1p(jnp.minimum(counts, _MANY)) / 3, is_known, level, rate, is_over], axis=-1)


def _random_past(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Random starts in what some crops have as the past of some drums, bool [B, T, NUM_LAGS, D].

    A network trained on real pieces alone copies a false start again and again, until all steps are full.
    """
    crop, lag, drum = jax.random.split(key, 3)
    rate = jax.random.uniform(crop, (shape[0], 1, 1, 1), minval=1 - 1 / _RANDOM_PAST)
    rate = jnp.where(rate > 0, 1 - rate / 2, 0.0)  # None, or between a half and one.
    return (jax.random.uniform(lag, (*shape[:3], 1)) < rate) & jax.random.bernoulli(
        drum, 0.3, (shape[0], 1, 1, shape[3])
    )


def _describe(context: DrumContext) -> jax.Array:
    """Features of the context but for counts, float32 [B, T, F]."""
    size, soprano, bass, longest, density, height, wait = jnp.moveaxis(jnp.asarray(context.notes, jnp.float32), -1, 0)
    planned, similarity = jnp.moveaxis(jnp.asarray(context.plan, jnp.float32), -1, 0)
    columns = (
        *(size > 0, size / 4, soprano, bass, jnp.log1p(longest) / 3, longest >= 36, density / 64 - 1),
        *((height - 64) / 12, jnp.log1p(wait) / 3, planned, similarity / 255, similarity > 217),
    )
    dense = jnp.stack([jnp.asarray(column, jnp.float32) for column in columns], axis=-1)
    place = jnp.asarray(context.place, jnp.int32)
    return jnp.concatenate([dense, *(jax.nn.one_hot(place[..., n], size) for n, size in enumerate(_SIZES))], axis=-1)


def net_inputs(crops: DrumCrops) -> tuple[jax.Array, jax.Array, jax.Array, DrumContext]:
    """Returns what `DrumNet` is called with, for crops [B, T, ...]."""
    shape = (*crops.rows.shape[:2], NUM_LAGS, crops.rows.shape[-1])
    bits = jnp.unpackbits(jnp.asarray(crops.past), axis=-1, count=shape[-2] * shape[-1])
    return jnp.asarray(crops.rows), bits.reshape(shape).astype(bool), jnp.asarray(crops.counts), crops.context


def drum_nats(net: DrumNet, params: Any, crops: DrumCrops, key: jax.Array | None = None) -> jax.Array:
    """Returns the negative log likelihood of the drums of each step times its weight in nats, [B, T]; a key switches
    dropout on."""
    logits = jnp.asarray(
        net.apply({"params": params}, *net_inputs(crops), rngs=None if key is None else {"dropout": key})
    )
    nats = jax.nn.softplus(logits) - logits * jnp.asarray(crops.rows, jnp.float32)
    return nats.sum(axis=-1) * jnp.asarray(crops.weight, jnp.float32)


def stack_frames(
    pieces: Sequence[NotePiece], rates: Sequence[np.ndarray], length: int
) -> tuple[DrumContext, np.ndarray]:
    """Stacks the contexts [B, T, ...] and the lags [B, T, NUM_LAGS] of pieces, padded to T = `length` steps."""

    def pad(values: np.ndarray) -> np.ndarray:
        return np.pad(values, ((0, length - len(values)), *[(0, 0)] * (values.ndim - 1)))

    contexts = [make_context(*one) for one in zip(pieces, rates, strict=True)]
    context = _map_steps(lambda *columns: np.stack([pad(column) for column in columns]), *contexts)
    return context._replace(drum_rates=np.stack(rates)), np.stack([pad(drum_lags(piece)) for piece in pieces])


@functools.partial(jax.jit, static_argnames="net")
def sample_drums(
    net: DrumNet,
    params: Any,
    frames: tuple[DrumContext, jax.Array],
    num_steps: jax.Array,
    keys: jax.Array,
    temperature: float = 1.0,
    given: tuple[jax.Array, jax.Array] | None = None,
) -> jax.Array:
    """Samples the drums of B pieces, bool [B, T, D], none after the end of a piece.

    Args:
      frames: of `stack_frames`.
      num_steps: of the longest piece.
      keys: [B], consumed.
      given: drums bool [B, T, D] and how many of their first steps [B] the pieces start with.
    """
    context, lags = frames
    batch, length, _ = lags.shape
    index = jnp.arange(batch)[:, None]
    start, num = given or (jnp.zeros((batch, length, net.num_drums), bool), jnp.zeros(batch, jnp.int32))

    def body(t, carry):
        rows, counts = carry
        lag = lags[:, t]
        past = rows[index, jnp.maximum(t - lag, 0)] & (lag > 0)[..., None]
        noise = jax.vmap(lambda key: jax.random.logistic(jax.random.fold_in(key, t), (net.num_drums,)))(keys)
        noise = noise * temperature
        here = _map_steps(lambda x: x[:, t][:, None], context)
        now = jnp.zeros(counts.shape, bool)
        for drum in range(net.num_drums):
            logits = jnp.asarray(net.apply({"params": params}, now[:, None], past[:, None], counts[:, None], here))[
                :, 0
            ]
            now = now.at[:, drum].set((logits + noise)[:, drum] > 0)
        now = jnp.where((t < num)[:, None], start[:, t], now) & (here.time[..., 1] > 0)
        return rows.at[:, t].set(now), counts + now.astype(jnp.int32)

    empty = jnp.zeros((batch, length, net.num_drums), bool), jnp.zeros((batch, net.num_drums), jnp.int32)
    return jax.lax.fori_loop(0, num_steps, body, empty)[0]
