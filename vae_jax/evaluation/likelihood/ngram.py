"""An n-gram model over onsets, pitches, parts and durations: what counting alone makes of the past.

Every order k of the context mixes its counts with the probability of the order below,

    p_k(x) = (n_k(x) + w_k m_k(x) + a_k p_{k-1}(x)) / (n_k + w_k m_k + a_k),

the interpolated (hierarchical Dirichlet) language model of MacKay and Peto (1995). n counts the training pieces and m
what the piece itself held before the event, as the short-term model of Conklin and Witten (1995) does, so that the
model learns the rhythms and the repetitions of the piece. The strengths a_k and weights w_k are those with the best
likelihood of the training pieces, each under the counts of all tunes but its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from vae_jax.evaluation.likelihood import contexts
from vae_jax.evaluation.likelihood.contexts import RADIX, Events
from vae_jax.evaluation.likelihood.target import GridPiece, LikelihoodModel, PieceNats
from vae_jax.representations import arrays

_STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)
_OWN_WEIGHTS = (1.0, 10.0, 30.0)
_MAX_PIECES = 400  # Training pieces that are counted.


class _Table(NamedTuple):
    """How often keys occur in training: [U] keys, ascending, and their counts."""

    keys: np.ndarray
    counts: np.ndarray

    def look_up(self, keys: np.ndarray) -> np.ndarray:
        """Returns the counts of keys, 0 for others."""
        place = np.minimum(np.searchsorted(self.keys, keys), max(len(self.keys) - 1, 0))
        return np.where(self.keys[place] == keys, self.counts[place], 0) if len(self.keys) else np.zeros(len(keys))


class _Counts(NamedTuple):
    """How often what E events hold occurred before, [E] each."""

    training: np.ndarray  # In the training pieces.
    own: np.ndarray  # Earlier in the same piece.


class _Order(NamedTuple):
    """One order of the context."""

    of_symbol: _Table  # Counts of contexts with their symbol.
    of_context: _Table
    strength: float  # a_k.
    own_weight: float  # w_k.


class BackoffModel:
    """The distribution of one kind of symbol given its context."""

    def __init__(self, training: Sequence[Events], tunes: Sequence[int]):
        """Counts the events of training pieces, with the tune of each, and chooses strengths and weights."""
        symbols, columns, base, piece = _join(training)
        tune = np.unique(tunes, return_inverse=True)[1][piece]
        self._orders: list[_Order] = []
        probs = base
        for keys in _keys_by_order(symbols, columns):
            (of_symbol, symbol), (of_context, context) = (_count(key, piece, tune) for key in keys)
            choices = list(itertools.product(_STRENGTHS, _OWN_WEIGHTS))
            costs = [-np.log(_mix(probs, symbol, context, *choice)).sum() for choice in choices]
            choice = choices[int(np.argmin(costs))]
            probs = _mix(probs, symbol, context, *choice)
            self._orders.append(_Order(of_symbol, of_context, *choice))

    def nats(self, events: Sequence[Events]) -> np.ndarray:
        """Returns the negative log probability of the events of each piece, [pieces] float64."""
        symbols, columns, probs, piece = _join(events)
        for order, keys in zip(self._orders, _keys_by_order(symbols, columns), strict=True):
            symbol, context = (
                _Counts(table.look_up(key), _num_before(np.unique(key, return_inverse=True)[1], piece))
                for table, key in zip((order.of_symbol, order.of_context), keys, strict=True)
            )
            probs = _mix(probs, symbol, context, order.strength, order.own_weight)
        return np.bincount(piece, -np.log(probs), minlength=len(events))


class NGram(LikelihoodModel):
    """The n-gram model of the whole target, fitted to training pieces with the tune of each."""

    given: tuple[str, ...] = ()
    remarks: tuple[str, ...] = (
        "parts and durations are coded after all onsets: the sum is the likelihood, not each term alone",
    )

    def __init__(self, training: Sequence[GridPiece], tunes: Sequence[int]):
        kept = arrays.subsample_rows(len(training), _MAX_PIECES)
        events = _events([training[n] for n in kept])
        self._models = {name: BackoffModel(mine, [tunes[n] for n in kept]) for name, mine in events.items()}

    def nats(self, pieces: Sequence[GridPiece]) -> list[PieceNats]:
        """Returns what each piece costs."""
        nats = {name: self._models[name].nats(mine) for name, mine in _events(pieces).items()}
        return [
            PieceNats(
                onsets=float(nats["steps"][n] + nats["pitches"][n]),
                durations=float(nats["durations"][n]),
                parts=float(nats["parts"][n]),
                drums=float(nats["drum_steps"][n] + nats["drum_pitches"][n]),
            )
            for n in range(len(pieces))
        ]


def _events(pieces: Sequence[GridPiece]) -> dict[str, list[Events]]:
    """The events of pieces by the model that they belong to."""
    silent = [np.zeros(piece.num_steps, np.int64) for piece in pieces]
    pitched = [np.isin(np.arange(piece.num_steps), piece.step).astype(np.int64) for piece in pieces]
    return {
        "steps": [contexts.onset_events(one, one.step, rest) for one, rest in zip(pieces, silent, strict=True)],
        "pitches": [contexts.chord_events(one, one.step, one.pitch) for one in pieces],
        "parts": [contexts.part_events(one) for one in pieces],
        "durations": [contexts.duration_events(one) for one in pieces],
        "drum_steps": [contexts.onset_events(one, one.drum_step, on) for one, on in zip(pieces, pitched, strict=True)],
        "drum_pitches": [contexts.chord_events(one, one.drum_step, one.drum_pitch) for one in pieces],
    }


def _join(events: Sequence[Events]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Joins the events of pieces; the last array says which piece each is of."""
    piece = np.repeat(np.arange(len(events)), [len(one.symbols) for one in events])
    symbols, columns, base = (np.concatenate(parts) for parts in zip(*events, strict=True))
    return symbols, columns, base, piece


def _keys_by_order(symbols: np.ndarray, columns: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Packs contexts of each order, with and without their symbol, into one number each."""
    context = np.zeros(len(symbols), np.int64)
    for column in columns.T:
        context = context * RADIX + column
        yield context * RADIX + symbols, context


def _num_before(index: np.ndarray, piece: np.ndarray) -> np.ndarray:
    """Counts the earlier events of the same piece with the same index, [E]."""
    order = np.lexsort((index, piece))
    is_first = (np.diff(index[order], prepend=-1) != 0) | (np.diff(piece[order], prepend=-1) != 0)
    place = np.arange(len(order))
    before = np.empty(len(order), np.int64)
    before[order] = place - np.maximum.accumulate(np.where(is_first, place, 0))
    return before


def _count(key: np.ndarray, piece: np.ndarray, tune: np.ndarray) -> tuple[_Table, _Counts]:
    """Counts keys in training pieces: a table of all, and for each event the counts in the other tunes."""
    keys, index, counts = np.unique(key, return_inverse=True, return_counts=True)
    of_tune = np.unique(index * (tune.max(initial=0) + 1) + tune, return_inverse=True, return_counts=True)
    return _Table(keys, counts), _Counts(counts[index] - of_tune[2][of_tune[1]], _num_before(index, piece))


def _mix(below: np.ndarray, symbol: _Counts, context: _Counts, strength: float, own_weight: float) -> np.ndarray:
    """The probability of each event, given that of the order below."""
    right = symbol.training + own_weight * symbol.own + strength * below
    return right / (context.training + own_weight * context.own + strength)
