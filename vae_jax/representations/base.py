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

from vae_jax.music.score import Score

Arrays = Mapping[str, np.ndarray]
Calibration = Mapping[str, float]


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

    def encode_training(self, score: Score) -> Arrays:
        """Turns a piece into the examples to train on, which may be more than those of `encode`."""

    def decode(self, encoded: Encoded) -> Score:
        """Turns examples back into a piece."""

    def rasterise(self, arrays: Mapping[str, jax.Array]) -> jax.Array:
        """Turns a batch of compact arrays, each [B, ...], into the model's input, [B, *example_shape]; jittable."""

    def from_outputs(self, outputs: Any, calibration: Calibration) -> Arrays:
        """Turns what the model's decoder gives for W examples into compact arrays, each [W, ...]."""

    def calibrate(self, outputs: Any, x: np.ndarray) -> Calibration:
        """Tunes what `from_outputs` needs on training examples, x [W, ...], and the decoder's outputs for them."""

    def default_calibration(self) -> Calibration:
        """What `from_outputs` uses before it was tuned."""

    def context_of_length(self, num_examples: int) -> Any:
        """The context of music of so many examples that has no original."""

    def first_full_example(self, context: Any) -> int:
        """Index of the first example of a piece that is not just a pick-up."""

    def pack_context(self, context: Any) -> dict[str, Any]:
        """Turns a context into what JSON can hold."""

    def unpack_context(self, packed: dict[str, Any]) -> Any:
        """Turns it back."""
