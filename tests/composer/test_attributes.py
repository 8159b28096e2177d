"""Attributes measured on pieces made by hand, and requests that are moved by them."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from beat_scores import score_of

from vae_jax.composer import attributes
from vae_jax.composer.attributes import ATTRIBUTES, DENSITY, MODE, POLYPHONY, REGISTER
from vae_jax.composer.conditions import PieceConditions
from vae_jax.composer.dynamics import Dynamics
from vae_jax.composer.form import Form
from vae_jax.composer.notes import STYLE_SIZE
from vae_jax.composer.requests import Request
from vae_jax.music.key import Tonic
from vae_jax.music.score import EMPTY
from vae_jax.runtime.errors import UserError

CONDITIONS = PieceConditions(
    (4, 4), 4, 0, 0, False, 100.0, 24, (), (0.0,) * (STYLE_SIZE - 1) + (1.0,), (), (0.0,), Dynamics(0, 0, 0, (), (), ())
)
REQUEST = Request(CONDITIONS, np.arange(5) * 48, Form(0, 96, np.zeros(2, np.int64), np.zeros(2)))
# Two bars: chords of three, two and one notes; of third, sixth and seventh one is minor and two are major.
PIECE = score_of((0, 1, 60), (0, 1, 64), (0, 1, 67), (1, 1, 63), (1, 1, 55), (2, 6, 71))


def composer_of(styles: np.ndarray) -> Any:
    return SimpleNamespace(conditions=[dataclasses.replace(CONDITIONS, style=tuple(row)) for row in styles.tolist()])


@pytest.fixture
def composer() -> Any:
    """Density and polyphony are correlated, register is not."""
    rng = np.random.default_rng(0)
    styles = np.zeros((200, STYLE_SIZE))
    styles[:, 0] = rng.normal(size=200)
    styles[:, 1] = 0.5 * styles[:, 0] + 0.1 * rng.normal(size=200)
    styles[:, 3] = rng.normal(size=200)
    return composer_of(styles)


def test_attributes_by_hand():
    found = attributes.measure(PIECE, Tonic(0, False, 1.0))
    assert found == pytest.approx(
        {DENSITY: 6 / 8, REGISTER: (60 + 64 + 67 + 63 + 55 + 71) / 6, MODE: 1 / 3, POLYPHONY: 2}
    )


def test_mode_and_register_are_in_c():
    found = attributes.measure(PIECE, Tonic(5, False, 1.0))  # Of F: A flat and E flat become minor in C.
    assert found[MODE] == pytest.approx(np.mean([False, True]))  # C is its fifth; D (6th, major) is B, E flat is Bb.


def test_nothing_to_measure():
    assert all(math.isnan(value) for value in attributes.measure(EMPTY, Tonic(0, False, 1.0)).values())


@pytest.mark.parametrize(("name", "column"), [(DENSITY, 0), (POLYPHONY, 1), (REGISTER, 3)])
def test_a_move_is_of_so_many_standard_deviations(composer, name, column):
    known = np.array([one.style for one in composer.conditions])
    for amount in (-2.0, 0.0, 1.5):
        moved = attributes.move(composer, REQUEST, {name: amount})
        assert moved.conditions.style[column] == pytest.approx(amount * known[:, column].std(ddof=1), abs=1e-6)
        assert moved.conditions.style[-1] == 1


def test_what_is_correlated_follows_unless_it_is_asked_for_too(composer):
    moved = attributes.move(composer, REQUEST, {DENSITY: 1.0})
    assert moved.conditions.style[1] == pytest.approx(0.5, rel=0.2)
    assert abs(moved.conditions.style[3]) < 0.2
    both = attributes.move(composer, REQUEST, {DENSITY: 1.0, POLYPHONY: 0.0})
    assert both.conditions.style[1] == pytest.approx(0, abs=1e-6)


def test_the_mode_moves_by_halves(composer):
    found = [attributes.move(composer, REQUEST, {MODE: amount}) for amount in (-1.0, 0.0, 1.0, 2.0)]
    assert [one.mode for one in found] == [-0.5, 0, 0.5, 1]
    assert [one.conditions.minor for one in found] == [False, False, False, True]
    assert all(one.conditions.style == REQUEST.conditions.style for one in found)


@pytest.mark.parametrize("num", [1, 2])
def test_a_corpus_of_pieces_all_alike_moves_nothing(num):
    moved = attributes.move(composer_of(np.zeros((num, STYLE_SIZE))), REQUEST, {DENSITY: 3.0})
    assert np.isfinite(moved.conditions.style).all() and moved.conditions.style[0] == 0


def test_attributes_are_read():
    assert [attributes.parse_attribute(f"{name}:+1.5") for name in ATTRIBUTES] == [(name, 1.5) for name in ATTRIBUTES]
    assert attributes.parse_attribute("mode:-10") == (MODE, -10)


@pytest.mark.parametrize("text", ["", "density", "loudness:1", "density:", "density:a", "density:11", "density:nan"])
def test_attributes_that_do_not_exist(text):
    with pytest.raises(UserError, match=r"attribute|amount"):
        attributes.parse_attribute(text)
