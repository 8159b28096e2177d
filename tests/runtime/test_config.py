"""Config sections: types, ranges, unknown and missing fields, each refused in one line that names the field."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from vae_jax.runtime import config
from vae_jax.runtime.errors import UserError

COLORS = {"red": 1, "blue": 2}


@dataclasses.dataclass(frozen=True)
class Example(config.Section):
    size: int = config.number(at_least=1)
    share: float = config.number(at_least=0, at_most=1, default=0.5)
    rate: float = config.number(above=0, default=1e-3)
    offset: float = config.number(default=-3.0)
    color: str = config.choice(COLORS, default="red")
    wide: bool = False


def make(**values: Any) -> Example:
    return config.make_section(Example, {"size": 2} | values, "config.example")


def test_values_and_defaults():
    assert make(share=1, color="blue") == Example(2, 1, 1e-3, -3.0, "blue", False)
    assert make(size=np.int64(3), share=0.0, rate=1e-9, offset=1 - 2**32).size == 3


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("size", 0, "must be at least 1, got 0"),
        ("size", 2.5, "must be an integer, got 2.5"),
        ("size", True, "must be an integer, got True"),
        ("size", "2", "must be an integer, got '2'"),
        ("size", 2**32, "must be a number below 2**32, got 4294967296"),
        ("size", 10**400, "must be a number below 2**32, got 1000"),
        ("share", -0.1, "must not be negative, got -0.1"),
        ("share", 1.1, "must be at most 1, got 1.1"),
        ("share", None, "must be a number, got None"),
        ("rate", 0.0, "must be above zero, got 0.0"),
        ("rate", math.nan, "must be a number below 2**32, got nan"),
        ("rate", math.inf, "must be a number below 2**32, got inf"),
        ("offset", -math.inf, "must be a number below 2**32, got -inf"),
        ("color", "green", "must be one of red, blue, got 'green'"),
        ("color", 1, "must be a string, got 1"),
        ("wide", 1, "must be True or False, got 1"),
    ],
)
def test_a_value_that_does_not_fit_its_field_is_refused(field: str, value: Any, reason: str):
    with pytest.raises(UserError) as caught:
        make(**{field: value})
    assert str(caught.value).startswith(f"config.example.{field} {reason}")
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(config.FieldError):  # Without a config the programmer is told.
        Example(**{"size": 2} | {field: value})


def test_unknown_and_missing_fields_are_named():
    with pytest.raises(UserError, match=r"config\.example has no field 'sizes'; it has size, share, rate"):
        make(sizes=3)
    with pytest.raises(UserError, match=r"config\.example\.size is missing"):
        config.make_section(Example, {"share": 0.5}, "config.example")


def test_a_choice_may_grow_after_the_section_is_defined(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(COLORS, "green", 3)
    assert make(color="green").color == "green"


def test_a_named_option_is_chosen_and_the_other_fields_are_its_own():
    assert config.choose(COLORS, {"name": "blue", "size": 3}, "config.paint") == (2, {"size": 3})
    with pytest.raises(UserError, match=r"config\.paint\.name must be one of red, blue, got 'green'"):
        config.choose(COLORS, {"name": "green"}, "config.paint")
    with pytest.raises(UserError, match=r"config\.paint\.name is missing"):
        config.choose(COLORS, {"size": 3}, "config.paint")


def test_another_error_of_a_section_is_not_blamed_on_the_user():
    @dataclasses.dataclass(frozen=True)
    class Broken(config.Section):
        size: int = config.number(default=1)

        def __post_init__(self) -> None:
            super().__post_init__()
            raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug") as caught:
        config.make_section(Broken, {}, "config.broken")
    assert not isinstance(caught.value, UserError | config.FieldError)
