"""Intervals by hand and by enumeration."""

from __future__ import annotations

import collections
import itertools

import numpy as np

from vae_jax.evaluation import intervals


def test_the_interval_leaves_out_a_fortieth_on_either_side():
    assert intervals.interval_95(np.arange(1001)) == [25.0, 975.0]


def test_groups_are_drawn_whole_and_with_replacement():
    """Three groups with sums 3, 4 and 10: each ordered draw of three comes as often as any other."""
    columns = [np.array([1, 4, 2, 10]), np.ones(4)]
    sums, sizes = intervals.resample_group_sums(columns, ["a", "b", "a", "c"], np.random.default_rng(0), 27_000)
    draws = itertools.product([(3, 2), (4, 1), (10, 1)], repeat=3)
    expected = collections.Counter(tuple(map(sum, zip(*draw, strict=True))) for draw in draws)
    found = collections.Counter(zip(sums.tolist(), sizes.tolist(), strict=True))
    assert set(found) == set(expected)
    for total, count in expected.items():
        assert abs(found[total] - 1000 * count) < 5 * np.sqrt(1000 * count)
