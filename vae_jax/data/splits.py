"""Splits of a corpus into training and held-out pieces."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

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


def split_groups(
    tune_groups: Sequence[int], num_held_out: int, seed: int, by: str = "tune", num_folds: int = 0, fold: int = 0
) -> Split:
    """Splits pieces at random, or into folds.

    Args:
      tune_groups: for each piece the index of the first piece with the same tune.
      num_held_out: how many tunes (or files) are held out; at most half of them.
      seed: seed of the split.
      by: "tune" keeps the files of one tune together; "file" does not, as in the post, and lets duplicates leak.
      num_folds: if above zero, the tunes are dealt into so many folds, and `num_held_out` is ignored.
      fold: the fold that is held out, from 0.

    Raises:
      UserError: for an unknown `by`, a negative count or a fold that does not exist.
    """
    if by not in ("tune", "file"):
        raise UserError(f"config.data.split_by must be 'tune' or 'file', got {by!r}")
    if num_held_out < 0:
        raise UserError(f"config.data.num_held_out must not be negative, got {num_held_out}")
    groups = tune_groups if by == "tune" else tuple(range(len(tune_groups)))
    names = sorted(set(groups))
    order = np.random.default_rng(seed).permutation(len(names))
    if num_folds:
        if not 2 <= num_folds <= len(names) or not 0 <= fold < num_folds:
            allowed = f"config.data.num_folds must lie in 2..{len(names)} and fold below it"
            raise UserError(f"{allowed}, got {num_folds}, {fold}")
        chosen = order[fold::num_folds]
    else:
        chosen = order[: min(num_held_out, len(names) // 2)]
    return Split.of(np.isin(groups, [names[n] for n in chosen]))


def split_by_config(tune_groups: Sequence[int], data: Mapping[str, Any]) -> Split:
    """Splits pieces as a config's `data` section says."""
    fields = ("num_held_out", "split_seed", "split_by", "num_folds", "fold")
    return split_groups(tune_groups, *(data[name] for name in fields))
