"""The training state and the pure, jitted steps over it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import chex
import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from vae_jax import batches
from vae_jax.errors import UserError
from vae_jax.losses import Objective
from vae_jax.models.posterior import Posterior
from vae_jax.representations import Representation

Metrics = dict[str, jax.Array]


@flax.struct.dataclass
class TrainState:
    """Everything that training changes: data only, no functions and no key.

    Attributes:
      step: number of updates made, int32 [].
      params: the model's parameters.
      opt_state: the optimiser's state.
    """

    step: jax.Array
    params: Any
    opt_state: optax.OptState


def make_optimizer(config: Mapping[str, Any]) -> optax.GradientTransformation:
    """Returns the optimiser that a config's `optimizer` section describes.

    "rmsprop" has Keras's constants: decay 0.9, epsilon 1e-7 outside the root, no momentum.

    Raises:
      UserError: for an unknown name.
    """
    if config["name"] == "rmsprop":
        return optax.rmsprop(config["learning_rate"], decay=0.9, eps=1e-7, eps_in_sqrt=False)
    raise UserError(f"config.optimizer.name must be rmsprop, got {config['name']!r}")


def init_state(key: jax.Array, model: nn.Module, optimizer: optax.GradientTransformation, example_shape) -> TrainState:
    """Draws the initial parameters (the key is consumed) and starts the optimiser."""
    params_key, sample_key = jax.random.split(key)
    params = model.init(params_key, jnp.zeros((1, *example_shape), jnp.float32), sample_key)["params"]
    return TrainState(step=jnp.zeros((), jnp.int32), params=params, opt_state=optimizer.init(params))


def make_train_step(
    model: nn.Module,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    representation: Representation,
    base_key: jax.Array,
) -> Callable[[TrainState, dict[str, jax.Array], jax.Array], tuple[TrainState, Metrics]]:
    """Returns the jitted step `(state, examples, indices) -> (state, metrics)`; it donates the state.

    `examples` holds all compact arrays on the device, `indices` [B] picks the batch. The key of a step is derived from
    `base_key` and the state's step, so that a resumed run draws what an uninterrupted one would. Metrics are means over
    the batch.
    """

    def train_step(state: TrainState, examples: dict[str, jax.Array], indices: jax.Array) -> tuple[TrainState, Metrics]:
        x = representation.rasterise(batches.take(examples, indices))
        key = jax.random.fold_in(base_key, state.step)

        def mean_loss(params):
            outputs, posterior = _apply(model, params, x, key)
            terms = {name: jnp.mean(values) for name, values in objective(outputs, x, posterior).items()}
            return terms["loss"], terms

        grads, terms = jax.grad(mean_loss, has_aux=True)(state.params)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        terms["grad_norm"] = optax.global_norm(grads)
        return TrainState(step=state.step + 1, params=params, opt_state=opt_state), terms

    # Two shapes at most: a full batch, and the smaller one at the end of an epoch.
    return jax.jit(chex.assert_max_traces(train_step, n=2), donate_argnums=0)


def make_eval_step(
    model: nn.Module, objective: Objective, representation: Representation, base_key: jax.Array
) -> Callable[[Any, dict[str, jax.Array], jax.Array, jax.Array], Metrics]:
    """Returns the jitted `(params, examples, indices, step) -> terms`, each [B], with latents drawn as in training."""

    def eval_step(params, examples: dict[str, jax.Array], indices: jax.Array, step: jax.Array) -> Metrics:
        x = representation.rasterise(batches.take(examples, indices))
        key = jax.random.fold_in(jax.random.fold_in(base_key, step), indices[0])
        outputs, posterior = _apply(model, params, x, key)
        return objective(outputs, x, posterior)

    return jax.jit(eval_step)


def _apply(model: nn.Module, params: Any, x: jax.Array, key: jax.Array) -> tuple[jax.Array, Posterior]:
    outputs: Any = model.apply({"params": params}, x, key)
    return outputs
