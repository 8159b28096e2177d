"""Frozen dataclasses to JSON and back, by their field annotations.

A field is a str, int, float, bool, NumPy array, another such dataclass, a tuple of these, or one of these or None. A
tuple becomes a list; an array becomes its dtype, shape and flat values. An array is annotated `np.ndarray`, or
`numpy.typing.NDArray[np.int64]` where no other dtype may be read back.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")

_SCALARS = (str, int, float, bool)
_ITEM_TYPES = {"b": bool, "i": int, "u": int, "f": float}  # By the kind of an array's dtype.


def to_json(instance: DataclassInstance) -> dict[str, object]:
    """Returns a dataclass as values that `json.dumps` accepts."""
    return {field.name: _pack(getattr(instance, field.name)) for field in dataclasses.fields(instance)}


def from_json(cls: type[T], packed: object) -> T:
    """Returns the instance of `cls` that `to_json` turned into `packed`; every value and dtype is the same. Raises
    ValueError where `packed` does not fit the annotations of `cls`; the message names the field."""
    return typing.cast(T, _unpack(cls, packed, cls.__name__))


def _pack(value: object) -> object:
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.name, "shape": list(value.shape), "values": value.ravel().tolist()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_json(value)
    if isinstance(value, tuple):
        return [_pack(one) for one in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, _SCALARS):
        return value
    raise TypeError(f"{type(value).__name__} has no JSON form here")


def _unpack(hint: object, value: object, name: str) -> object:
    """Returns a JSON value as the type of an annotation; `name` is the value's place in the whole."""
    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        (other,) = (one for one in arguments if one is not types.NoneType)
        return None if value is None else _unpack(other, value, name)
    if origin is tuple and isinstance(value, list):
        hints = arguments[:1] * len(value) if arguments[-1] is ... else arguments
        if len(hints) != len(value):
            raise ValueError(f"{name} has {len(value)} values, not {len(hints)}")
        return tuple(_unpack(one, value[n], f"{name}[{n}]") for n, one in enumerate(hints))
    if origin in (np.ndarray, NDArray) and isinstance(value, dict):
        return _unpack_array(arguments, value, name)
    if isinstance(origin, type) and dataclasses.is_dataclass(origin) and isinstance(value, dict):
        hints_by_name = _field_hints(origin)
        if value.keys() != hints_by_name.keys():
            raise ValueError(f"{name} has the fields {sorted(value)}, not {sorted(hints_by_name)}")
        return origin(**{field: _unpack(hints_by_name[field], one, f"{name}.{field}") for field, one in value.items()})
    if hint in _SCALARS and (type(value) is hint or (hint is float and type(value) is int)):
        return value
    raise ValueError(f"{name} is {type(value).__name__}, not {getattr(hint, '__name__', hint)}")


def _unpack_array(arguments: tuple[type, ...], packed: dict[str, object], name: str) -> np.ndarray:
    # Of NDArray[x] the x: (shape, np.dtype[x]), but from Python 3.12 and NumPy 2.5 on an alias with x itself.
    wanted = typing.get_args(arguments[1]) if len(arguments) > 1 else arguments
    shape, values = packed.get("shape"), packed.get("values")
    try:
        dtype = np.dtype(str(packed.get("dtype")))
        item = _ITEM_TYPES.get(dtype.kind)
        if wanted and dtype != np.dtype(wanted[0]):
            raise ValueError(f"{dtype} instead of {np.dtype(wanted[0])}")
        if not (isinstance(shape, list) and isinstance(values, list) and all(type(one) is item for one in values)):
            raise ValueError(f"not a list of {dtype} with a shape")
        array = np.array(values, dtype).reshape(shape)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} is not a valid array ({error})") from error
    if list(array.shape) != shape:
        raise ValueError(f"{name} is an array of shape {array.shape}, not {shape}")
    return array


@functools.cache
def _field_hints(cls: type) -> dict[str, object]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}
