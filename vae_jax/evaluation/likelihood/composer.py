"""The composer's likelihood: whole pieces, window after window from the first downbeat, each given those before it."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence

import jax
import numpy as np

from vae_jax.composer import conditioning, dataset
from vae_jax.composer.dataset import ComposerExamples
from vae_jax.composer.network import NO_LINK
from vae_jax.composer.onset_encoding import OnsetLists
from vae_jax.composer.stage import TrainedComposer
from vae_jax.evaluation.likelihood.frequencies import Frequencies
from vae_jax.evaluation.likelihood.target import TERMS, GridPiece, LikelihoodModel, PieceNats
from vae_jax.representations import arrays

_BATCH = 64
_STYLE = "the shares of the parts, mode, density, chord sizes, register and note length of the whole piece"
_RETURNS = "which earlier window the next one resembles most, and how closely"


class ComposerLikelihood(LikelihoodModel):
    """The composer, an autoregressive model of windows."""

    remarks = ("pick-ups and notes that exceed its lists have their training frequencies",)

    def __init__(self, composer: TrainedComposer, frequencies: Frequencies):
        """Takes the composer, and the frequencies of what it leaves out."""
        self.given: tuple[str, ...] = (_STYLE, _RETURNS)
        self._composer, self._frequencies, self._with_returns = composer, frequencies, True
        self._loss = jax.jit(lambda variables, batch, key: composer.stage.loss(variables, batch, key, False)[1])
        self._examples = functools.lru_cache(maxsize=1)(self._make_examples)

    def without_returns(self) -> ComposerLikelihood:
        """Returns the row in which it is not told which earlier window the next one resembles, as in a share of its
        training."""
        row = copy.copy(self)
        row.given, row._with_returns = (_STYLE,), False
        return row

    def _make_examples(self, pieces: tuple[GridPiece, ...]) -> ComposerExamples:
        composer, stage = self._composer, self._composer.stage
        return dataset.make_examples(
            [piece.roll for piece in pieces],
            [conditioning.read_conditions(piece.score, piece.roll).style for piece in pieces],
            stage.representation,
            composer.inference.encode,
            composer.drum_pitches,
            stage.shape,
        )

    def nats(self, pieces: Sequence[GridPiece]) -> list[PieceNats]:
        """Returns what each piece costs."""
        examples = self._examples(tuple(pieces))
        # There is an example for every beat: those that follow each other without a gap are kept.
        hop = self._composer.stage.representation.window_beats
        beats = [dataset.example_starts(piece.roll, hop) for piece in pieces]
        first_row = np.cumsum([0, *(len(starts) for starts in beats)])
        rows = [first + np.arange(0, len(starts), hop) for first, starts in zip(first_row, beats, strict=False)]
        examples = arrays.take(examples, np.concatenate(rows))
        if not self._with_returns:
            conditions = examples.conditions
            nothing = {
                "link": np.zeros_like(conditions.link),
                "similarity": np.full_like(conditions.similarity, NO_LINK),
            }
            examples = examples._replace(conditions=conditions._replace(**nothing))
        nats, ends = self._window_nats(examples), np.cumsum([len(mine) for mine in rows])
        costs = []
        for n, (piece, starts) in enumerate(zip(pieces, beats, strict=True)):
            mine = slice(ends[n] - len(rows[n]), ends[n])
            left_out = self._left_out(piece, starts[::hop], arrays.take(examples.onsets, mine))
            total = {name: float(values[mine].sum()) for name, values in nats.items()}
            costs.append(
                PieceNats(
                    onsets=total["step_nats"] + total["pitch_nats"],
                    durations=total["duration_nats"],
                    parts=total["part_nats"],
                    drums=total["drum_nats"],
                ).plus(**{term: getattr(left_out, term) for term in TERMS})
            )
        return costs

    def _window_nats(self, examples: ComposerExamples) -> dict[str, np.ndarray]:
        """The terms of the composer's loss of W windows, [W] each."""
        count = arrays.num_examples(examples)
        batches = [
            jax.device_get(self._loss(self._composer.variables, arrays.take(examples, rows), jax.random.key(0)))
            for rows in arrays.rows_in_order(count, _BATCH)
        ]
        return {name: values[:count].astype(np.float64) for name, values in arrays.concatenate(batches).items()}

    def _left_out(self, piece: GridPiece, starts: np.ndarray, lists: OnsetLists[np.ndarray]) -> PieceNats:
        """What the frequencies take for cells that no onset list of windows from `starts` [W] can hold."""
        shape, drum_pitches = self._composer.stage.shape, self._composer.drum_pitches
        every = np.arange(piece.num_steps)
        window = np.searchsorted(starts, every, side="right") - 1
        in_window = every - starts[window]
        is_full = lists.steps[:, -1] < shape.window_steps
        last = np.where(is_full, lists.steps[:, -1], shape.window_steps - 1)
        outside = (window < 0) | (in_window > last[window])
        onsets = np.repeat(outside[:, None], shape.num_pitches, axis=1)
        drums = onsets | ~np.isin(np.arange(shape.num_pitches), drum_pitches)
        # Of a chord that fills its list any other pitch may be left out.
        held = np.nonzero(lists.pitches[..., -1] < shape.num_pitches)
        steps = starts[held[0]] + lists.steps[held]
        onsets[steps] = True
        onsets[steps[:, None], lists.pitches[held]] = False
        return self._frequencies.mask_nats(piece, onsets, drums)
