"""The contract of a representation: pure functions between a Score and arrays of fixed shapes.

A representation turns one piece into W examples (`encode`) and examples back into a piece (`decode`). Examples are a
typed pytree of compact NumPy arrays that share their first axis. `rasterize` makes the model's input from a batch of
them on the device, inside the jitted step; `from_outputs` makes examples from the outputs of the model's decoder. A new
representation is one file and one line in `factory.py` (docs/extending.md).
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import jax
import numpy as np
import scipy.sparse

from vae_jax.music.match_counts import MatchCounts
from vae_jax.music.score import Score
from vae_jax.runtime.errors import UserError

Calibration = Mapping[str, float]

B = TypeVar("B")  # Examples: a NamedTuple of arrays [W, ...].
C = TypeVar("C")  # The context of a piece: a frozen dataclass that `runtime.json_dataclass` can store.
X = TypeVar("X")  # The model's input for a batch: a pytree of arrays [B, ...].
O = TypeVar("O", contravariant=True)  # The decoder's outputs for a batch: a pytree of arrays [B, ...].  # noqa: E741


@dataclasses.dataclass(frozen=True, eq=False)
class Encoded(Generic[B, C]):
    """One piece as W examples.

    Attributes:
      context: what decoding takes from the original because the model does not carry it, such as tempo, meter and
        instruments.
      report: what encoding left out or changed, as counts of notes.
      diagnostics: further figures of the piece that cannot be summed over pieces.
    """

    examples: B  # The examples, arrays [W, ...].
    context: C
    report: Mapping[str, int] = dataclasses.field(default_factory=dict)
    diagnostics: Mapping[str, float] = dataclasses.field(default_factory=dict)


class BeatGrid(Protocol[B, C]):
    """What evaluations ask of a representation whose examples are cells (step, pitch) of a grid of beats.

    With `by_part` a cell is (step, pitch, instrument group); else the pitched groups are merged. Drums take no part.
    """

    @property
    def num_pitches(self) -> int:
        """Pitches of the grid; cell = step * num_pitches + pitch, times the number of groups plus the group."""

    @property
    def examples_per_row(self) -> int:
        """Consecutive examples of a piece in a row of cells; the last row of a piece is filled up with nothing."""

    def cells(self, examples: B, *, by_part: bool) -> scipy.sparse.csr_matrix:
        """Returns the examples of a piece, or training examples, as rows of 0 and 1, [rows, number of cells]."""

    def from_cells(self, like: B, cells: Sequence[np.ndarray]) -> B:
        """Returns the examples of a piece, of the shape of others, that hold the given cells (by part) of each row."""

    def count_matches(self, reference: Encoded[B, C], estimate: B, *, by_part: bool) -> MatchCounts:
        """Counts the cells in which a piece and a model's estimate of its examples agree."""

    def count_previous_bar(self, encoded: Encoded[B, C]) -> MatchCounts:
        """Counts the cells that are right where every bar is a copy of the one before."""


class Representation(Protocol[B, C, X, O]):
    """What the rest of the project asks of a representation.

    A representation derives from this class; what it does not define has the simplest answer: no grid, no augmentation,
    nothing to calibrate, training on the examples of `encode`.
    """

    @property
    def example_shape(self) -> tuple[int, ...]:
        """Shape by which the model is built: of its input for one example."""

    @property
    def example_type(self) -> type[B]:
        """The NamedTuple of an example's arrays."""

    @property
    def context_type(self) -> type[C]:
        """The dataclass of a piece's context."""

    def encode(self, score: Score) -> Encoded[B, C]:
        """Turns a piece into examples."""

    def decode(self, encoded: Encoded[B, C]) -> Score:
        """Turns examples back into a piece."""

    def rasterize(self, batch: B) -> X:
        """Turns a batch of examples, arrays [B, ...], into the model's input, arrays [B, ...]; jittable."""

    def from_outputs(self, outputs: O, calibration: Calibration) -> B:
        """Turns the outputs of the model's decoder for W examples into examples, arrays [W, ...]."""

    def context_of_length(self, num_examples: int) -> C:
        """Returns the context of music of so many examples that has no original."""

    def context_between(self, start: C, end: C, fraction: float, num_examples: int) -> C:
        """Returns the context of music of so many examples between two pieces: 0 is the start, 1 the end."""
        del start, end, fraction
        return self.context_of_length(num_examples)

    @property
    def grid(self) -> BeatGrid[B, C] | None:
        """The beat grid of the examples; None where their times lie on no grid."""
        return None

    def first_full_example(self, context: C) -> int:
        """Returns the index of the first example of a piece that is not just a pick-up."""
        del context
        return 0

    def encode_training(self, score: Score) -> B:
        """Turns a piece into the examples to train on, which may be more than those of `encode`."""
        return self.encode(score).examples

    def make_augmentation(self, probabilities: Mapping[str, float]) -> Callable[[jax.Array, B], B]:
        """Returns `(key, batch) -> batch`, which changes training examples at random; jittable, the key is consumed.
        Raises UserError for a field that the representation does not have, or a value that is no probability."""
        for name in probabilities:
            raise UserError(f"config.augment has no field {name!r}: this representation has no augmentation")
        return lambda key, batch: batch

    def default_calibration(self) -> Calibration:
        """Returns what `from_outputs` uses before it was calibrated."""
        return {}

    def calibrate(self, outputs: O, x: X) -> Calibration:
        """Tunes what `from_outputs` needs on training examples, x [W, ...], and the decoder's outputs for them."""
        del outputs, x
        return {}


AnyRepresentation = Representation[Any, Any, Any, Any]
AnyGrid = BeatGrid[Any, Any]
