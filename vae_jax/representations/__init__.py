"""Representations: pairs of pure functions between a Score and arrays of a fixed shape.

A representation turns one piece into W examples (`encode`) and examples back into a piece (`decode`). Between the two
stands the model: `rasterise` makes its input from a batch of compact arrays, on the device, inside the jitted step;
`from_outputs` makes arrays again from what the model's decoder gives. Adding a representation is adding one file and
one line to `make_representation`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import numpy as np

from vae_jax.errors import UserError
from vae_jax.score import Score

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Encoded:
    """One piece as W examples.

    Attributes:
      arrays: the examples, each array [W, ...] and compact.
      context: what decoding takes from the original because the model does not carry it, such as tempo, meter and
        instruments.
      report: what encoding left out or changed, as counts of notes.
    """

    arrays: Arrays
    context: Any
    report: dict[str, int]


class Representation(Protocol):
    """What the rest of the project asks of a representation."""

    @property
    def example_shape(self) -> tuple[int, ...]:
        """Shape of the model's input for one example."""

    def encode(self, score: Score) -> Encoded:
        """Turns a piece into examples."""

    def decode(self, encoded: Encoded) -> Score:
        """Turns examples back into a piece."""

    def rasterise(self, arrays: Mapping[str, jax.Array]) -> jax.Array:
        """Turns a batch of compact arrays, each [B, ...], into the model's input, [B, *example_shape]; jittable."""

    def from_outputs(self, outputs: np.ndarray) -> Arrays:
        """Turns what the model's decoder gives for W examples into compact arrays, each [W, ...]."""

    def default_context(self) -> Any:
        """The context of music that has no original."""


def make_representation(config: Mapping[str, Any]) -> Representation:
    """Returns the representation that a config's `representation` section names.

    Raises:
      UserError: for an unknown name.
    """
    from vae_jax.representations import events

    makers = {"events": events.EventsRepresentation}
    fields = dict(config)
    name = fields.pop("name")
    if name not in makers:
        raise UserError(f"config.representation.name must be one of {', '.join(makers)}, got {name!r}")
    return makers[name](**fields)
