"""Dataclasses to JSON and back: the same values and dtypes, and no other input accepted."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_st

from vae_jax.runtime.json_dataclass import from_json, to_json


@dataclasses.dataclass(frozen=True)
class Inner:
    name: str
    tick: int
    major: bool = True

    def __post_init__(self):
        if self.tick < 0:
            raise ValueError("tick is negative")


@dataclasses.dataclass(frozen=True, eq=False)
class Outer:
    inner: Inner | None
    several: tuple[tuple[Inner, ...], ...]
    pair: tuple[int, float]
    shares: tuple[float | None, ...]
    steps: npt.NDArray[np.int64]
    anything: np.ndarray


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
INNER = st.builds(Inner, TEXT, st.integers(0, 2**70), st.booleans())
FLOAT = st.floats(allow_nan=False)
ARRAY = st.one_of(arrays_st.boolean_dtypes(), arrays_st.integer_dtypes(), arrays_st.unsigned_integer_dtypes())
ARRAY = (ARRAY | arrays_st.floating_dtypes(sizes=(16, 32, 64))).flatmap(
    lambda dtype: arrays_st.arrays(dtype, arrays_st.array_shapes(min_dims=0, min_side=0, max_side=4))
)
OUTER = st.builds(
    Outer,
    st.none() | INNER,
    st.lists(st.lists(INNER, max_size=3).map(tuple), max_size=3).map(tuple),
    st.tuples(st.integers(), FLOAT),
    st.lists(st.none() | FLOAT, max_size=3).map(tuple),
    arrays_st.arrays(np.int64, arrays_st.array_shapes(min_side=0, max_side=3)),
    ARRAY,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
)


def example() -> Outer:
    inner = Inner("a", 3)
    return Outer(inner, ((inner,), ()), (1, 0.5), (None,), np.arange(6).reshape(2, 3), np.zeros(2, np.float16))


@given(OUTER)
def test_every_value_and_dtype_comes_back(instance: Outer):
    again = from_json(Outer, json.loads(json.dumps(to_json(instance))))
    for field in dataclasses.fields(Outer):
        value, other = getattr(instance, field.name), getattr(again, field.name)
        if isinstance(value, np.ndarray):
            assert other.dtype == value.dtype.newbyteorder("=")
            assert other.shape == value.shape
            np.testing.assert_array_equal(other, value)
            np.testing.assert_array_equal(np.signbit(other.astype(float)), np.signbit(value.astype(float)))
        else:
            assert repr(other) == repr(value)  # Tells -0.0 from 0.0 and a tuple from a list.


def test_the_form_is_readable():
    assert to_json(example()) == {
        "inner": {"name": "a", "tick": 3, "major": True},
        "several": [[{"name": "a", "tick": 3, "major": True}], []],
        "pair": [1, 0.5],
        "shares": [None],
        "steps": {"dtype": "int64", "shape": [2, 3], "values": [0, 1, 2, 3, 4, 5]},
        "anything": {"dtype": "float16", "shape": [2], "values": [0.0, 0.0]},
    }


STEPS = {"dtype": "int64", "shape": [2], "values": [0, 1]}
DAMAGES = {
    "a string for a number": ("pair", ["1", 0.5], r"Outer\.pair\[0\] is str, not int"),
    "a bool for a number": ("pair", [True, 0.5], r"pair\[0\] is bool, not int"),
    "a fraction for a whole number": ("pair", [1.0, 0.5], r"pair\[0\] is float, not int"),
    "a value too few": ("pair", [1], "pair has 1 values, not 2"),
    "a number for a tuple": ("pair", 1, "pair is int"),
    "None where there is always one": ("pair", [None, 0.5], r"pair\[0\] is NoneType, not int"),
    "a field missing": ("inner", {"name": "a", "tick": 3}, r"Outer\.inner has the fields \['name', 'tick'\]"),
    "a field too many": ("inner", {"name": "a", "tick": 3, "major": True, "x": 1}, "inner has the fields"),
    "a list for an object": ("inner", [], "inner is list, not Inner"),
    "deep inside": ("several", [[{"name": 1, "tick": 3, "major": True}]], r"several\[0\]\[0\]\.name is int, not str"),
    "what the class refuses": ("inner", {"name": "a", "tick": -1, "major": True}, "tick is negative"),
    "another dtype than annotated": ("steps", STEPS | {"dtype": "int32"}, "steps is not a valid array .int32 instead"),
    "objects": ("anything", STEPS | {"dtype": "object"}, "anything is not a valid array"),
    "dates": ("anything", STEPS | {"dtype": "datetime64[s]"}, "anything is not a valid array"),
    "no dtype": ("anything", STEPS | {"dtype": "none such"}, "anything is not a valid array"),
    "another shape": ("steps", STEPS | {"shape": [3]}, "steps is not a valid array"),
    "an open shape": ("steps", STEPS | {"shape": [-1]}, r"of shape \(2,\), not \[-1\]"),
    "no shape": ("steps", {"dtype": "int64", "values": [0, 1]}, "with a shape"),
    "fractions in whole numbers": ("steps", STEPS | {"values": [0, 1.5]}, "not a list of int64"),
    "too large for the dtype": ("anything", STEPS | {"dtype": "uint8", "values": [0, 256]}, "not a valid array"),
    "a list for an array": ("steps", [0, 1], "steps is list, not"),
}


@pytest.mark.parametrize(("field", "value", "message"), DAMAGES.values(), ids=DAMAGES.keys())
def test_input_that_does_not_fit_is_refused_by_its_place(field: str, value: object, message: str):
    with pytest.raises(ValueError, match=message):
        from_json(Outer, to_json(example()) | {field: value})


@given(JSON, st.sampled_from([field.name for field in dataclasses.fields(Outer)]))
def test_any_json_is_read_or_refused_with_a_value_error(packed: object, name: str):
    for whole in (packed, to_json(example()) | {name: packed}):
        try:
            from_json(Outer, whole)
        except ValueError:
            continue
        assert whole is not packed


def test_what_has_no_json_form_is_the_programmers_mistake():
    @dataclasses.dataclass(frozen=True)
    class Held:
        values: list[int]

    with pytest.raises(TypeError, match="list has no JSON form"):
        to_json(Held([1]))
