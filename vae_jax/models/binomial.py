"""Counts of successes out of trials: what a binomial decoder is compared with."""

from __future__ import annotations

from typing import NamedTuple

import jax


class Trials(NamedTuple):
    """Features as successes out of trials, float32 [B, M] each; a cell of a roll is one trial."""

    successes: jax.Array
    trials: jax.Array
