"""The training state and the pure, jitted steps over it."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from vae_jax.data import batching, dataset
from vae_jax.data.dataset import Batch
from vae_jax.models.losses import Objective
from vae_jax.representations import arrays as arrays_lib
from vae_jax.representations.base import Representation
from vae_jax.runtime import sharding
from vae_jax.runtime.errors import UserError

Metrics = dict[str, jax.Array]
Variables = dict[str, Any]
LossTerms = Callable[[Variables, dict[str, jax.Array], jax.Array], Metrics]
MakeInput = Callable[[jax.Array, dict[str, jax.Array]], jax.Array]


@flax.struct.dataclass
class TrainState:
    """Everything that training changes, and what the model holds beside its parameters: data only.

    Attributes:
      step: number of updates made, int32 [].
      params: the model's parameters.
      constants: the model's other variables by collection, fixed before the first step.
      opt_state: the optimiser's state.
      average: moving average of the parameters; () where none is kept.
    """

    step: jax.Array
    params: Any
    constants: Any
    opt_state: optax.OptState
    average: Any

    @property
    def variables(self) -> dict[str, Any]:
        """The variables to train on: parameters and constants."""
        return {"params": self.params, **self.constants}

    @property
    def trained_variables(self) -> dict[str, Any]:
        """The variables to use: the average of the parameters where one is kept, and the constants."""
        return {"params": self.average if self.average != () else self.params, **self.constants}


TrainStep = Callable[[TrainState, dict[str, jax.Array], Batch], tuple[TrainState, Metrics]]
EvalStep = Callable[[TrainState, dict[str, jax.Array], jax.Array], Metrics]


def make_optimizer(config: Mapping[str, Any], num_steps: int, rate_factor: float = 1.0) -> optax.GradientTransformation:
    """Returns the optimiser that a config's `optimizer` section describes, for a run of so many steps; its learning
    rate is multiplied by a factor.

    "rmsprop" has Keras's constants: decay 0.9, epsilon 1e-7 outside the root, no momentum. "adam" clips the gradient's
    norm, warms up and follows a cosine down to nothing.

    Raises:
      UserError: for an unknown name.
    """
    learning_rate = config["learning_rate"] * rate_factor
    if config["name"] == "rmsprop":
        return optax.rmsprop(learning_rate, decay=0.9, eps=1e-7, eps_in_sqrt=False)
    if config["name"] == "adam":
        warmup = min(config["warmup_steps"], num_steps // 2)
        schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, warmup, max(num_steps, warmup + 1))
        return optax.chain(optax.clip_by_global_norm(config["clip_norm"]), optax.adam(schedule, b2=config["b2"]))
    raise UserError(f"config.optimizer.name must be rmsprop or adam, got {config['name']!r}")


def epoch_steps(config: Mapping[str, Any], num_examples: int) -> int:
    """Number of updates in an epoch of a run with a config's `train` section on so many examples."""
    passes = batching.passes_per_epoch(num_examples, config["batch_size"], config["num_epochs"], config["min_steps"])
    return passes * batching.steps_per_epoch(num_examples, config["batch_size"])


def init_variables(key: jax.Array, model: nn.Module, example_shape: tuple[int, ...]) -> dict[str, Any]:
    """Draws a model's initial variables (the key is consumed)."""

    def init(key: jax.Array) -> dict[str, Any]:
        params_key, sample_key = jax.random.split(key)
        return dict(model.init(params_key, jnp.zeros((1, *example_shape), jnp.float32), sample_key))

    return draw(init, key)


def draw(init: Callable[[jax.Array], Variables], key: jax.Array) -> Variables:
    """Draws initial variables by `init(key)` in one program (the key is consumed)."""
    if isinstance(key, jax.core.Tracer):
        return init(key)
    # Not one for every layer, and not optimised on a CPU: LLVM takes longer over it than it ever runs.
    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else {}
    return jax.jit(init, compiler_options=options)(key)


def init_state(variables: dict[str, Any], optimizer: optax.GradientTransformation, average_decay: float) -> TrainState:
    """Returns the state before the first step."""
    constants = {name: collection for name, collection in variables.items() if name != "params"}
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        constants=constants,
        opt_state=optimizer.init(params),
        average=jax.tree.map(jnp.copy, params) if average_decay else (),  # A copy: the state's buffers are donated.
    )


def make_train_step(
    loss_terms: LossTerms, optimizer: optax.GradientTransformation, base_key: jax.Array, average_decay: float = 0.0
) -> TrainStep:
    """Returns the jitted step `(state, resident, batch) -> (state, metrics)`; it donates the state.

    `resident` and `batch` are what `Examples` gives: the arrays that stay on the devices, and the batch.
    `loss_terms(variables, arrays, key)` gives the terms of the loss, each [B]; the one called "loss" is minimised. The
    key of a step is derived from `base_key` and the state's step, so that a resumed run draws what an uninterrupted one
    would. Metrics are means over the examples of the batch that count. A batch that is shared out over several devices
    makes the same step as on one, up to the order of float32 sums.
    """

    def train_step(state: TrainState, resident: dict[str, jax.Array], batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(base_key, state.step)
        arrays = dataset.take(resident, batch)

        def mean_loss(params):
            terms = loss_terms({"params": params, **state.constants}, arrays, key)
            means = {name: dataset.mean(values, batch) for name, values in terms.items()}
            return means["loss"], means

        grads, terms = jax.grad(mean_loss, has_aux=True)(state.params)
        norm = optax.tree.norm(grads)
        # One, but where a gradient is not a number. All is read before the first parameter is written: without this
        # XLA copies the parameters so that it may write some while others' gradients are still being computed.
        after_all = jnp.where(norm >= 0, 1.0, jnp.nan)
        grads = jax.tree.map(lambda grad: grad * after_all, grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        average = state.average
        if average_decay:
            # A young average forgets faster, so that it is not held back by where training started.
            step = state.step.astype(jnp.float32)
            average = optax.incremental_update(
                params, average, 1 - jnp.minimum(average_decay, (step + 1) / (step + 10))
            )
        terms["grad_norm"] = norm
        return TrainState(state.step + 1, params, state.constants, opt_state, average), terms

    return jax.jit(_traced_once(train_step), donate_argnums=0, out_shardings=sharding.replicated())


def _traced_once(step: Callable) -> Callable:
    """Lets a function that is jitted be traced once and no more: all batches of a run have one shape.

    `chex.assert_max_traces` counts by where a function is made: the steps of two learning rates would be one to it.
    """
    traces = itertools.count(1)

    @functools.wraps(step)
    def counted(*arguments):
        if next(traces) > 1:
            raise AssertionError(f"{step.__name__} is traced more than once")
        return step(*arguments)

    return counted


def make_eval_step(loss_terms: LossTerms, base_key: jax.Array) -> EvalStep:
    """Returns the jitted `(state, arrays, indices) -> terms`, each [B], of the variables that are to be used."""

    def eval_step(state: TrainState, arrays: dict[str, jax.Array], indices: jax.Array) -> Metrics:
        key = jax.random.fold_in(jax.random.fold_in(base_key, state.step), indices[0])
        return loss_terms(state.trained_variables, arrays_lib.take(arrays, indices), key)

    return jax.jit(eval_step, out_shardings=sharding.replicated())


def augmented_loss(model: nn.Module, objective: Objective, make_input: MakeInput) -> LossTerms:
    """The loss of a VAE in training: `make_input(key, arrays)` turns compact arrays into its input, augmented."""

    def loss_terms(variables: Variables, arrays: dict[str, jax.Array], key: jax.Array) -> Metrics:
        input_key, sample_key = jax.random.split(key)
        return _vae_terms(model, objective, variables, make_input(input_key, arrays), sample_key)

    return loss_terms


def plain_loss(model: nn.Module, objective: Objective, representation: Representation) -> LossTerms:
    """The loss of a VAE on examples as they are, with latents drawn as in training."""

    def loss_terms(variables: Variables, arrays: dict[str, jax.Array], key: jax.Array) -> Metrics:
        return _vae_terms(model, objective, variables, representation.rasterise(arrays), key)

    return loss_terms


def _vae_terms(model: nn.Module, objective: Objective, variables: Variables, x: jax.Array, key: jax.Array) -> Metrics:
    outputs: Any = model.apply(variables, x, key)
    targets = model.apply(variables, x, method="targets")
    return objective(outputs[0], targets, outputs[1])
