"""Means and shares of samples that may be empty: NaN then, which stands for a value that a piece does not have."""

import numpy as np


def mean(values: np.ndarray) -> float:
    """Returns the mean of values [N]; NaN for none."""
    return float(np.mean(values)) if len(values) else np.nan


def share(flags: np.ndarray) -> float:
    """Returns the share of flags [N] bool that are true; NaN for none."""
    return mean(flags)


def spread(values: np.ndarray) -> float:
    """Returns the standard deviation of values [N]; NaN for none."""
    return float(np.std(values)) if len(values) else np.nan


def entropy_bits(values: np.ndarray) -> float:
    """Returns the entropy of the relative frequencies of values [N], bits; NaN for none."""
    shares = np.unique(values, return_counts=True)[1] / max(len(values), 1)
    return float(np.sum(-shares * np.log2(shares))) if len(values) else np.nan
