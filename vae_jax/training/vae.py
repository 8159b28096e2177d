"""A VAE with its representation as a Trainable: the first stage of the flagship, and the post's model."""

import dataclasses
from collections.abc import Iterator, Mapping

import chex
import jax
import optax

from vae_jax.data.dataset import Dataset
from vae_jax.models.base import VAE, InputBatches, Variables
from vae_jax.music.score import EMPTY
from vae_jax.representations import arrays
from vae_jax.representations.base import AnyRepresentation, B
from vae_jax.training import step
from vae_jax.training.config import OptimizerConfig
from vae_jax.training.trainable import Metrics, Trainable

_INIT_EXAMPLES = 3072  # Evenly spaced; as many as PCA needs.
_INIT_BATCH = 32


@dataclasses.dataclass(frozen=True)
class TrainableVAE(Trainable[B]):
    """A VAE to be trained."""

    model: VAE  # The network with its likelihood.
    representation: AnyRepresentation  # Makes its inputs, augmented in training.
    kl_weight: float  # Beta, the weight of the KL in nats.
    augmentation: Mapping[str, float]  # The config's `augment` section.
    optimizer_config: OptimizerConfig  # The optimiser.
    seed: int  # Of what the model computes of its data on the host, such as a randomised PCA.

    def init(self, key: jax.Array, dataset: Dataset[B] | None) -> Variables:
        """Draws the variables (the key is consumed); a model that starts from its data then sees some of it."""

        def init(key: jax.Array) -> Variables:
            params_key, sample_key = jax.random.split(key)
            x = self.representation.rasterize(self.representation.encode_training(EMPTY))
            return dict(self.model.init(params_key, x, sample_key))

        variables = step.draw_variables(init, key)
        if dataset is None:
            return variables
        return self.model.init_from_data(variables, self._inputs(dataset), self.seed)

    def adapt(self, known: Variables, dataset: Dataset[B], key: jax.Array) -> Variables:
        """Returns initial variables from those of another model (the key is consumed)."""
        return self.model.adapt(self.init(key, None), self._inputs(dataset), known)

    def _inputs(self, dataset: Dataset[B]) -> InputBatches:
        """Gives the model's inputs of some training examples."""
        examples = dataset.train.sample(_INIT_EXAMPLES)
        rasterize = jax.jit(self.representation.rasterize)

        def inputs() -> Iterator[chex.ArrayTree]:
            for start in range(0, arrays.num_examples(examples), _INIT_BATCH):
                yield jax.device_get(rasterize(arrays.take(examples, slice(start, start + _INIT_BATCH))))

        return inputs

    def loss(self, variables: Variables, batch: B, key: jax.Array, train: bool) -> tuple[jax.Array, Metrics]:
        """distortion + kl_weight * KL of one sample of the posterior an example, [B]; both terms are logged.

        In training the key is split: the first half is that of the augmentation, the second that of the samples.
        """
        if train:
            augment_key, key = jax.random.split(key)
            if any(self.augmentation.values()):
                batch = self.representation.make_augmentation(self.augmentation)(augment_key, batch)
        output = self.model.apply(variables, self.representation.rasterize(batch), key)
        return output.loss(self.kl_weight), {"distortion": output.distortion, "kl_nats": output.kl_nats}

    def optimizer(self, num_steps: int) -> optax.GradientTransformation:
        """Returns the config's optimiser."""
        return self.optimizer_config.make(num_steps)
