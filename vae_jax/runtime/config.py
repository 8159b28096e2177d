"""Sections of a config as frozen dataclasses that check their own fields.

@dataclasses.dataclass(frozen=True)
class LossConfig(config.Section):
    kl_weight: float = config.number(at_least=0, default=0.5)
"""

import dataclasses
import numbers
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from vae_jax.runtime.errors import UserError

Fields = Mapping[str, Any]  # A section of a config, or a whole one, as its file gives it.

_LIMIT = 2**32  # Of every number: what is larger is a typing error.
_KINDS: dict[str, tuple[type, str]] = {
    "bool": (bool, "True or False"),
    "int": (numbers.Integral, "an integer"),
    "float": (numbers.Real, "a number"),
    "str": (str, "a string"),
}


class FieldError(ValueError):
    """A field has a value outside its range; the message starts with the field's name."""


def number(
    *, at_least: float | None = None, above: float | None = None, at_most: float | None = None, default: object = ...
) -> Any:
    """Returns a dataclass field that holds a number in a range; `...` for a field without a default."""
    limits = {"at_least": at_least, "above": above, "at_most": at_most}
    return _field(default, {name: limit for name, limit in limits.items() if limit is not None})


def choice(names: Collection[str], default: object = ...) -> Any:
    """Returns a dataclass field that holds one of some names."""
    return _field(default, {"choice": names})


def _field(default: object, metadata: Mapping[str, object]) -> Any:
    if default is ...:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Section:
    """Base of a section: every instance satisfies the ranges of its fields.

    Raises:
      FieldError: where a value has another type than its field, lies outside its range or is not finite.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check_type(field, getattr(self, field.name))
            _check_range(field, getattr(self, field.name))


def _check_type(field: dataclasses.Field, value: object) -> None:
    name = field.type if isinstance(field.type, str) else field.type.__name__
    if name not in _KINDS:
        return
    kind, described = _KINDS[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and name != "bool"):
        raise FieldError(f"{field.name} must be {described}, got {value!r}")


def _check_range(field: dataclasses.Field, value: Any) -> None:
    limits, is_number = field.metadata, isinstance(value, numbers.Real)
    if is_number and not abs(value) < _LIMIT:  # Nor is a NaN.
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
Option = TypeVar("Option")


def choose(options: Mapping[str, Option], fields: Fields, section: str) -> tuple[Option, Fields]:
    """Returns the option that a config section's field `name` names, and the other fields. Raises UserError where the
    name is missing or unknown."""
    if "name" not in fields:
        raise UserError(f"{section}.name is missing")
    name = fields["name"]
    if name not in options:
        raise UserError(f"{section}.name must be one of {', '.join(options)}, got {name!r}")
    return options[name], {key: value for key, value in fields.items() if key != "name"}


def make_section(section: type[SectionType], values: Fields, name: str) -> SectionType:
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
