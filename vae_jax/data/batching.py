"""Examples on the device, and which of them make the batch of a step."""

from __future__ import annotations

import functools
import threading

import numpy as np

_ORDER_LOCK = threading.Lock()


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """Number of batches that show every example once, in the last of them fewer count where they do not divide."""
    return -(-num_examples // batch_size)


def passes_per_epoch(num_examples: int, batch_size: int, num_epochs: int, min_steps: int) -> int:
    """How often the examples are shown in what a run counts as an epoch: once, or more where they are so few that the
    run would end before `min_steps` updates."""
    return max(1, -(-min_steps // (num_epochs * steps_per_epoch(num_examples, batch_size))))


def batch_indices(step: int, *, num_examples: int, batch_size: int, seed: int) -> tuple[np.ndarray, int]:
    """Returns which examples make the batch of a step, [B] int32, and how many of them count: a function of its
    arguments alone.

    Every epoch is a new order of all the examples. B is the batch size, or the number of examples where that is
    smaller; the last batch of an epoch is filled up, so that one program makes every step.
    """
    epoch, batch = divmod(step, steps_per_epoch(num_examples, batch_size))
    with _ORDER_LOCK:  # Threads that read ahead would all make the same order at the turn of an epoch.
        order = _epoch_order(seed, epoch, num_examples)
    rows = order[batch * batch_size : (batch + 1) * batch_size]
    return fill_up(rows, min(batch_size, num_examples)), len(rows)


def fill_up(rows: np.ndarray, length: int) -> np.ndarray:
    """Repeats the last of some rows [n] until they are so many."""
    return np.pad(rows, (0, length - len(rows)), mode="edge")


@functools.lru_cache(maxsize=2)  # Whoever reads ahead is in the next epoch while this one is trained on.
def _epoch_order(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """Returns the order of an epoch, [N] int32: that of `permutation(num_examples)`, in half of its memory."""
    order = np.arange(num_examples, dtype=np.int32)
    np.random.default_rng([seed, epoch]).shuffle(order)
    order.flags.writeable = False
    return order
