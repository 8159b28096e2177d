"""Sections of a config as frozen dataclasses that check their own fields.

@dataclasses.dataclass(frozen=True)
class LossConfig(config.Section):
    kl_weight: float = config.number(at_least=0, default=0.5)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from vae_jax.runtime.errors import UserError

_LIMIT = 2**32  # Of every number: what is larger is a typing error.


class FieldError(ValueError):
    """A field has a value outside its range; the message starts with the field's name."""


def number(
    *, at_least: float | None = None, above: float | None = None, at_most: float | None = None, default: Any = ...
) -> Any:
    """Returns a dataclass field that holds a number in a range; `...` for a field without a default."""
    limits = {"at_least": at_least, "above": above, "at_most": at_most}
    return _field(default, {name: limit for name, limit in limits.items() if limit is not None})


def choice(*names: str, default: Any = ...) -> Any:
    """Returns a dataclass field that holds one of some names."""
    return _field(default, {"choice": names})


def _field(default: Any, metadata: Mapping[str, Any]) -> Any:
    if default is ...:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Section:
    """Base of a section: every instance satisfies the ranges of its fields.

    Raises:
      FieldError: where a value lies outside its range or is not finite.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, limits = getattr(self, field.name), field.metadata
            if isinstance(value, int | float) and not (math.isfinite(value) and abs(value) < _LIMIT):
                raise FieldError(f"{field.name} must be a number below 2**32, got {value}")
            if "choice" in limits and value not in limits["choice"]:
                raise FieldError(f"{field.name} must be one of {', '.join(limits['choice'])}, got {value!r}")
            if "at_least" in limits and value < limits["at_least"]:
                wanted = "not be negative" if limits["at_least"] == 0 else f"be at least {limits['at_least']}"
                raise FieldError(f"{field.name} must {wanted}, got {value}")
            if "above" in limits and value <= limits["above"]:
                wanted = "zero" if limits["above"] == 0 else limits["above"]
                raise FieldError(f"{field.name} must be above {wanted}, got {value}")
            if "at_most" in limits and value > limits["at_most"]:
                raise FieldError(f"{field.name} must be at most {limits['at_most']}, got {value}")


SectionType = TypeVar("SectionType")


def make_section(section: type[SectionType], values: Mapping[str, Any], name: str) -> SectionType:
    """Builds a section from a config's values.

    Args:
      section: a dataclass; those of its fields that are not in `values` take their defaults.
      values: the values by field.
      name: what the section is called in messages: "config.train".

    Raises:
      UserError: for an unknown or missing field, or a value outside its range; names it.
    """
    fields = {field.name: field for field in dataclasses.fields(section)}  # type: ignore[arg-type]
    unknown = sorted(values.keys() - fields.keys())
    if unknown:
        raise UserError(f"{name} has no field {unknown[0]!r}; it has {', '.join(fields)}")
    missing = [key for key, field in fields.items() if key not in values and field.default is dataclasses.MISSING]
    if missing:
        raise UserError(f"{name}.{missing[0]} is missing")
    try:
        return section(**values)
    except FieldError as error:
        raise UserError(f"{name}.{error}") from error
