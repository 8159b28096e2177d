"""The contract between a model and the training loop."""

from typing import Protocol

import jax
import optax

from vae_jax.data.dataset import Dataset
from vae_jax.models.base import Variables
from vae_jax.representations.base import B

Metrics = dict[str, jax.Array]


class Trainable(Protocol[B]):
    """What the loop needs of a model, and all it needs. B is the NamedTuple of a batch's arrays."""

    def init(self, key: jax.Array, dataset: Dataset[B] | None) -> Variables:
        """Returns the initial variables: "params", which are trained, and collections that stay as they are.

        Args:
          key: consumed.
          dataset: what the initial values may depend on; None where shapes and dtypes are enough.
        """

    def loss(self, variables: Variables, batch: B, key: jax.Array, train: bool) -> tuple[jax.Array, Metrics]:
        """Returns the loss of each example, [B], and further terms to log, each [B]; pure and jittable.

        Args:
          variables: as from `init`.
          batch: examples, arrays [B, ...].
          key: consumed.
          train: whether to augment, drop out and perturb as in training.
        """

    def optimizer(self, num_steps: int) -> optax.GradientTransformation:
        """Returns the gradient transformation of a run of so many updates."""
