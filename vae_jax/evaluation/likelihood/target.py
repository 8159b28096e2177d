"""The target of every likelihood: what a piece holds on the beat grid, and what a model reports of it.

The target of a piece of known length, meter and key (its roll in C, where the representation has one tonic) is

- onsets: the set of cells (step, pitch) in which any pitched part starts a note; a unison is one note;
- durations: the duration class of each of these notes, that of the longest in its unison;
- parts: which of the seven pitched instrument groups play each of them, a set;
- drums: the set of cells (step, drum) of the percussion.

It is discrete, so a likelihood is a probability and its negative logarithm a length of code; costs of models are
comparable where they are of one target. Velocities, tempo, programs and doublings within a part are not in it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from vae_jax.music import instruments
from vae_jax.music.instruments import NUM_PITCHED_PARTS
from vae_jax.music.score import Score
from vae_jax.representations.pianoroll import encoding
from vae_jax.representations.pianoroll.config import DURATION, PART, PITCH, STEP, RollConfig
from vae_jax.representations.pianoroll.durations import DURATION_STEPS, duration_classes
from vae_jax.representations.pianoroll.encoding import RollPiece

NUM_DURATIONS = len(DURATION_STEPS)
TERMS = ("onsets", "durations", "parts", "drums")


@dataclasses.dataclass(frozen=True, eq=False)
class GridPiece:
    """The target of one piece: N notes, ordered by step and, within one, from high to low; D drum hits, in step order.

    All arrays are int64; times are steps, pitches indices of the roll.
    """

    roll: RollPiece  # Its meter, key and length are given to every model.
    score: Score  # For models that take other representations.
    step: np.ndarray  # [N]
    pitch: np.ndarray  # [N]
    duration: np.ndarray  # [N], duration classes.
    parts: np.ndarray  # [N], bit c is set where part c plays the note; at least one bit.
    drum_step: np.ndarray  # [D]
    drum_pitch: np.ndarray  # [D]

    @property
    def num_steps(self) -> int:
        """Length in steps, to the bar line that closes the last bar."""
        return self.roll.num_steps

    @property
    def num_beats(self) -> float:
        """Length in beats (quarter notes)."""
        return self.num_steps / self.roll.config.steps_per_beat

    @property
    def bar_of_step(self) -> np.ndarray:
        """The bar in which each step lies, [num_steps]."""
        return np.searchsorted(self.roll.bars, np.arange(self.num_steps), side="right") - 1

    @property
    def step_in_bar(self) -> np.ndarray:
        """Steps since the bar line of each step, [num_steps]."""
        return np.arange(self.num_steps) - self.roll.bars[self.bar_of_step]


@dataclasses.dataclass(frozen=True)
class PieceNats:
    """What the target of one piece costs by a model, in nats; None where the model does not have a term.

    For a latent variable model the four terms are the expected reconstruction under the posterior and `kl` what the
    latents cost, so that the sum is the negative ELBO; `importance_weighted` is the bound of Burda, Grosse and
    Salakhutdinov (2016) on the same sum.
    """

    onsets: float | None = None
    durations: float | None = None
    parts: float | None = None
    drums: float | None = None
    kl: float | None = None
    importance_weighted: float | None = None

    def plus(self, **added: float | None) -> PieceNats:
        """Returns the costs with more nats for terms that the model has, in its bound too."""
        kept = {name: nats for name, nats in added.items() if nats is not None and getattr(self, name) is not None}
        if self.importance_weighted is not None:
            kept["importance_weighted"] = sum(kept.values())
        return dataclasses.replace(self, **{name: getattr(self, name) + nats for name, nats in kept.items()})


class LikelihoodModel(Protocol):
    """A model that gives the target a likelihood.

    Attributes:
      given: what the model takes from the piece without paying for it, beside length, meter and key.
      remarks: how the likelihood departs from the model as it is used.
    """

    given: tuple[str, ...]
    remarks: tuple[str, ...]

    def nats(self, pieces: Sequence[GridPiece]) -> list[PieceNats]:
        """Returns what each piece costs."""


def make_grid_piece(score: Score, config: RollConfig) -> GridPiece:
    """Quantizes a score as the piano roll does and merges its unisons."""
    roll = encoding.encode(score, config)
    notes = roll.notes.astype(np.int64)
    is_drum = notes[:, PART] == instruments.DRUMS
    pitched, drums = notes[~is_drum], notes[is_drum]
    # Within a step from high to low: the key of a cell grows as its pitch falls.
    keys = pitched[:, STEP] * config.num_pitches + (config.num_pitches - 1 - pitched[:, PITCH])
    cells, of_note = np.unique(keys, return_inverse=True)
    longest, parts = np.ones(len(cells), np.int64), np.zeros(len(cells), np.int64)
    np.maximum.at(longest, of_note, pitched[:, DURATION])
    np.bitwise_or.at(parts, of_note, 1 << pitched[:, PART])
    step, below_top = np.divmod(cells, config.num_pitches)
    return GridPiece(
        roll=roll,
        score=score,
        step=step,
        pitch=config.num_pitches - 1 - below_top,
        duration=duration_classes(longest),
        parts=parts,
        drum_step=drums[:, STEP],
        drum_pitch=drums[:, PITCH],
    )


def part_bits(parts: np.ndarray) -> np.ndarray:
    """Returns the sets of parts [N] as 0 and 1, int64 [N, NUM_PITCHED_PARTS]."""
    return (parts[:, None] >> np.arange(NUM_PITCHED_PARTS)) & 1
