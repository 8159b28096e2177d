"""Linear models as Trainables, small enough to be written again in NumPy or to have a known likelihood."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vae_jax.data.dataset import Dataset
from vae_jax.models.base import VAEOutput, Variables
from vae_jax.models.losses import gaussian_kl_nats
from vae_jax.models.posterior import Posterior, reparameterize
from vae_jax.training.config import OptimizerConfig
from vae_jax.training.trainable import Metrics, Trainable


class Points(NamedTuple):
    """Inputs [N, D] and targets [N], float32."""

    x: np.ndarray
    y: np.ndarray


@dataclasses.dataclass(frozen=True)
class LinearRegression(Trainable[Points]):
    """Squared error of x w + b."""

    num_inputs: int
    optimizer_config: OptimizerConfig

    def init(self, key: jax.Array, dataset: Dataset[Points] | None) -> Variables:
        del dataset
        return {"params": {"w": jax.random.normal(key, (self.num_inputs,)), "b": jnp.zeros(())}}

    def loss(self, variables: Variables, batch: Points, key: jax.Array, train: bool) -> tuple[jax.Array, Metrics]:
        del key, train
        error = batch.x @ variables["params"]["w"] + variables["params"]["b"] - batch.y
        return jnp.square(error), {"absolute_error": jnp.abs(error)}

    def optimizer(self, num_steps: int) -> optax.GradientTransformation:
        return self.optimizer_config.make(num_steps)


class Vectors(NamedTuple):
    """Observations [N, D], float32."""

    x: np.ndarray


@dataclasses.dataclass(frozen=True)
class LinearVAE(Trainable[Any]):
    """A VAE whose encoder and decoder are linear and whose noise has one variance: probabilistic PCA.

    Its best ELBO is the log likelihood (Lucas, Tucker, Grosse and Norouzi 2019, "Don't blame the ELBO!"). It takes the
    first array of an example, whatever its shape, times `scale`.
    """

    num_inputs: int
    latent_dim: int
    optimizer_config: OptimizerConfig
    scale: float = 1.0

    def init(self, key: jax.Array, dataset: Dataset[Any] | None) -> Variables:
        del dataset
        encoder_key, decoder_key = jax.random.split(key)
        size, latents = self.num_inputs, self.latent_dim
        params = {
            "encoder": 0.1 * jax.random.normal(encoder_key, (size, latents)),
            "offset": jnp.zeros(latents),
            "log_var": jnp.zeros(latents),
            "decoder": 0.1 * jax.random.normal(decoder_key, (latents, size)),
            "mean": jnp.zeros(size),
            "noise_log_var": jnp.zeros(()),
        }
        return {"params": params}

    def loss(self, variables: Variables, batch: Any, key: jax.Array, train: bool) -> tuple[jax.Array, Metrics]:
        del train
        params, x = variables["params"], jax.tree.leaves(batch)[0]
        x = self.scale * x.reshape(len(x), -1)
        mean = x @ params["encoder"] + params["offset"]
        posterior = Posterior(mean, jnp.broadcast_to(params["log_var"], mean.shape))
        decoded = reparameterize(key, posterior) @ params["decoder"] + params["mean"]
        log_var = params["noise_log_var"]
        nll = 0.5 * jnp.sum(jnp.square(x - decoded) * jnp.exp(-log_var) + log_var + jnp.log(2 * jnp.pi), axis=-1)
        output = VAEOutput(nll, gaussian_kl_nats(posterior))
        return output.loss(1.0), {"distortion": nll, "kl_nats": output.kl_nats}

    def optimizer(self, num_steps: int) -> optax.GradientTransformation:
        return self.optimizer_config.make(num_steps)
