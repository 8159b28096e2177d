"""Splits of a corpus into training and held-out pieces."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from vae_jax.data.config import DataConfig
from vae_jax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True)
class Split:
    """Indices into a corpus's pieces, ascending."""

    train: tuple[int, ...]
    held_out: tuple[int, ...]

    @classmethod
    def of(cls, is_held_out: np.ndarray) -> Split:
        """From a flag for each piece, bool [P]."""
        return cls(tuple(np.flatnonzero(~is_held_out).tolist()), tuple(np.flatnonzero(is_held_out).tolist()))


def split_pieces(tune_groups: Sequence[int], data: DataConfig) -> Split:
    """Splits pieces (of each a number that it shares with those of the same tune) at random, as a config says.

    With folds, the pieces of one fold are held out, or for fold -1 those of all folds. Raises UserError for a fold that
    does not exist.
    """
    groups = np.array(tune_groups) if data.split_by == "tune" else np.arange(len(tune_groups))
    names = np.unique(groups)
    order = np.random.default_rng(data.split_seed).permutation(len(names))
    chosen = order[: min(data.num_held_out, len(names) // 2)]
    if data.num_folds:
        if not 2 <= data.num_folds <= len(names) or data.fold >= data.num_folds:
            allowed = f"config.data.num_folds must lie in 2..{len(names)}, the number of tunes, and fold below it"
            raise UserError(f"{allowed}, got {data.num_folds}, {data.fold}")
        if not data.num_held_out:
            raise UserError("config.data.num_held_out, the tunes of a fold, must be at least 1, got 0")
        folds = np.array_split(order[: data.num_folds * data.num_held_out], data.num_folds)
        chosen = np.concatenate(folds) if data.fold < 0 else folds[data.fold]
    return Split.of(np.isin(groups, names[chosen]))
