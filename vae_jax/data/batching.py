"""Which examples make the batch of a step: a function of the step and the seed."""

import functools
import threading

import numpy as np

_ORDER_LOCK = threading.Lock()


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """Number of batches that hold every example once."""
    return -(-num_examples // batch_size)


def passes_per_epoch(num_examples: int, batch_size: int, num_epochs: int, min_steps: int) -> int:
    """Passes over the examples in one epoch of a run: more than one if the run would end before `min_steps` updates."""
    return max(1, -(-min_steps // (num_epochs * steps_per_epoch(num_examples, batch_size))))


def batch_indices(step: int, *, num_examples: int, batch_size: int, seed: int) -> tuple[np.ndarray, int]:
    """Returns the examples of a step's batch, [B] int32, and how many of them count.

    Every pass is a new permutation of the examples. B is the smaller of the batch size and the number of examples; the
    last batch of a pass is padded, so that all steps have one shape.
    """
    epoch, batch = divmod(step, steps_per_epoch(num_examples, batch_size))
    with _ORDER_LOCK:  # At the turn of an epoch threads that read ahead would all compute the same permutation.
        order = _permutation(seed, epoch, num_examples)
    rows = order[batch * batch_size : (batch + 1) * batch_size]
    return np.pad(rows, (0, min(batch_size, num_examples) - len(rows)), mode="edge"), len(rows)


@functools.lru_cache(maxsize=2)  # Threads that read ahead are already in the next epoch.
def _permutation(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """The order of a pass, [N] int32; the same as `permutation(num_examples)`, in half of its memory."""
    order = np.arange(num_examples, dtype=np.int32)
    np.random.default_rng([seed, epoch]).shuffle(order)
    order.flags.writeable = False
    return order
