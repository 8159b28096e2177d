"""Words and numbers in messages."""

from __future__ import annotations

import pytest

from vae_jax.runtime.text import quantity, shorten


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 pieces"), (1, "1 piece"), (2, "2 pieces"), (12345, "12,345 pieces")]
)
def test_quantity(number: int, text: str):
    assert quantity(number, "piece") == text


@pytest.mark.parametrize(
    ("text", "length", "short"), [("abc", 3, "abc"), ("abcdefghij", 7, "abcd…ij"), ("abcd", 2, "a…"), ("", 5, "")]
)
def test_shorten(text: str, length: int, short: str):
    assert shorten(text, length) == short
    assert len(short) <= length
