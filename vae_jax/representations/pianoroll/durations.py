"""Duration classes: the lengths of notes on the beat grid that a likelihood or a decoder tells apart."""

import numpy as np

# Length of each class in steps, twelve to the beat: every length up to a beat, then ever coarser.
DURATION_STEPS = np.array(
    [*range(1, 13), 14, 16, 18, 20, 22, 24, 28, 32, 36, 40, 44, 48, 60, 72, 96, 144], dtype=np.int32
)


def duration_classes(steps: np.ndarray) -> np.ndarray:
    """Returns the class whose length is nearest in proportion, int64, for lengths in steps."""
    return np.searchsorted(np.sqrt(DURATION_STEPS[1:] * DURATION_STEPS[:-1]), steps)
