"""The overlapping area against SciPy's densities, the area of two normal densities, and at its ends."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from vae_jax.evaluation.features import overlapping_area


@pytest.mark.parametrize("shift", [0.0, 0.3, 1.0, 4.0])
def test_scipy_gives_the_same_area(shift: float):
    """Two samples of one variance have one bandwidth by Scott's rule, each on its own."""
    a = np.random.default_rng(0).gamma(2.0, size=40)
    b = a + shift
    densities = [scipy.stats.gaussian_kde(values) for values in (a, b)]
    points = np.linspace(-5, 20, 4001)
    expected = scipy.integrate.trapezoid(np.minimum(*(density(points) for density in densities)), points)
    assert overlapping_area(a, b) == pytest.approx(expected, abs=1e-4)


def test_two_normal_samples_share_the_area_of_their_densities():
    rng = np.random.default_rng(1)
    a, b = rng.normal(0, 1, 4000), rng.normal(1.5, 1, 4000)
    assert overlapping_area(a, b) == pytest.approx(2 * scipy.stats.norm.cdf(-0.75), abs=0.03)


def test_units_and_order_do_not_matter():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=12), rng.normal(0.5, 2, size=50)
    area = overlapping_area(a, b)
    assert area is not None and 0 < area < 1
    assert overlapping_area(b, a) == pytest.approx(area)
    assert overlapping_area(1000 * a + 7, 1000 * b + 7) == pytest.approx(area)


def test_samples_apart_share_nothing():
    rng = np.random.default_rng(3)
    assert overlapping_area(rng.normal(size=30), rng.normal(size=30) + 50) == pytest.approx(0, abs=1e-6)
    assert overlapping_area(np.zeros(5), np.ones(9)) == pytest.approx(0, abs=1e-6)


def test_equal_values_share_everything():
    assert overlapping_area(np.full(5, 0.2), np.full(9, 0.2)) == 1.0
    a = np.random.default_rng(4).normal(size=30)
    assert overlapping_area(a, a) == pytest.approx(1, abs=1e-4)


def test_a_sample_of_zeros_is_like_one_that_is_nearly_all_zeros():
    nearly = np.zeros(100)
    nearly[:4] = (0.1, 0.05, 0.2, 0.1)
    area = overlapping_area(np.zeros(13), nearly)
    assert area is not None and area > 0.9


@pytest.mark.parametrize(("num_a", "num_b"), [(0, 0), (1, 5), (5, 1), (0, 9)])
def test_a_single_value_has_no_density(num_a: int, num_b: int):
    assert overlapping_area(np.zeros(num_a), np.arange(num_b)) is None
