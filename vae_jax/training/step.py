"""The training state and the pure, jitted steps over it."""

import functools
import itertools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import chex
import flax.struct
import jax
import jax.numpy as jnp
import optax

from vae_jax.data import dataset
from vae_jax.data.dataset import Batch
from vae_jax.models.base import Variables
from vae_jax.representations import arrays
from vae_jax.representations.base import B
from vae_jax.runtime import sharding
from vae_jax.training.trainable import Metrics, Trainable

P = ParamSpec("P")
T = TypeVar("T")


@flax.struct.dataclass
class TrainState:
    """Everything that training changes, and the model's constants: data only."""

    step: jax.Array  # Number of updates made, int32 [].
    params: chex.ArrayTree  # The model's parameters.
    constants: Variables  # The model's other variables by collection, fixed before the first step.
    opt_state: optax.OptState  # The optimiser's state.
    average: chex.ArrayTree  # Moving average of the parameters; () where none is kept.

    @property
    def trained_variables(self) -> Variables:
        """The variables to use: the average of the parameters where one is kept, and the constants."""
        return {"params": self.average if self.average != () else self.params, **self.constants}


TrainStep = Callable[[TrainState, chex.ArrayTree | None, Batch], tuple[TrainState, Metrics]]
EvalStep = Callable[[TrainState, chex.ArrayTree, jax.Array], Metrics]


def draw_variables(init: Callable[[jax.Array], Variables], key: jax.Array) -> Variables:
    """Draws initial variables by `init(key)` in one program (the key is consumed)."""
    if isinstance(key, jax.core.Tracer):
        return init(key)
    # Not one program for every layer, and not optimised on a CPU: compiling would take longer than running.
    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else {}
    return jax.jit(init, compiler_options=options)(key)


def init_state(variables: Variables, optimizer: optax.GradientTransformation, average_decay: float) -> TrainState:
    """Returns the state before the first step."""
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        constants={name: collection for name, collection in variables.items() if name != "params"},
        opt_state=optimizer.init(params),
        average=jax.tree.map(jnp.copy, params) if average_decay else (),  # A copy: the state's buffers are donated.
    )


def abstract_state(trainable: Trainable[B], average_decay: float, key: jax.Array) -> TrainState:
    """Returns shapes and dtypes of the training state; they do not depend on the data or the length of the run."""

    def init(key: jax.Array) -> TrainState:
        return init_state(trainable.init(key, None), trainable.optimizer(1), average_decay)

    return jax.eval_shape(init, key)


def make_train_step(
    trainable: Trainable[B], optimizer: optax.GradientTransformation, base_key: jax.Array, average_decay: float = 0.0
) -> TrainStep:
    """Returns the jitted step `(state, resident, batch) -> (state, metrics)`; it donates the state.

    `resident` and `batch` are what `Examples` gives. The key of a step is `fold_in(base_key, state.step)`, so that a
    resumed run draws what an uninterrupted one would. Metrics are means over the examples of the batch that
    count. A batch that is sharded over several devices makes the same step as on one, up to the order of float32 sums.
    """

    def train_step(state: TrainState, resident: B | None, batch: Batch[B]) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(base_key, state.step)
        examples = dataset.take(resident, batch)

        def mean_loss(params: chex.ArrayTree) -> tuple[jax.Array, Metrics]:
            loss, terms = trainable.loss({"params": params, **state.constants}, examples, key, True)
            means = {name: batch.mean(values) for name, values in ({"loss": loss} | terms).items()}
            return means["loss"], means

        grads, metrics = jax.grad(mean_loss, has_aux=True)(state.params)
        norm = optax.tree.norm(grads)
        updates, opt_state = optimizer.update(_after(norm, grads), state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        average = state.average
        if average_decay:
            # A young average forgets faster, so that it does not lag behind the first steps.
            step = state.step.astype(jnp.float32)
            decay = jnp.minimum(average_decay, (step + 1) / (step + 10))
            average = optax.incremental_update(params, average, 1 - decay)
        return TrainState(state.step + 1, params, state.constants, opt_state, average), metrics | {"grad_norm": norm}

    return jax.jit(_traced_once(train_step), donate_argnums=0, out_shardings=sharding.replicated())


def make_eval_step(trainable: Trainable[B], base_key: jax.Array) -> EvalStep:
    """Returns the jitted `(state, examples, indices) -> terms`, each [B], of the variables that are to be used."""

    def eval_step(state: TrainState, examples: B, indices: jax.Array) -> Metrics:
        key = jax.random.fold_in(jax.random.fold_in(base_key, state.step), indices[0])
        loss, terms = trainable.loss(state.trained_variables, arrays.take(examples, indices), key, False)
        return {"loss": loss} | terms

    return jax.jit(eval_step, out_shardings=sharding.replicated())


def _after(norm: jax.Array, grads: chex.ArrayTree) -> chex.ArrayTree:
    """Returns the gradients, to be used only when all of them have been computed.

    Without this XLA copies the parameters so that it may write some while the gradients of others are still being
    computed (docs/performance.md). The factor is one, or NaN where a gradient is.
    """
    one = jnp.where(norm >= 0, 1.0, jnp.nan)
    return jax.tree.map(lambda grad: grad * one, grads)


def _traced_once(step: Callable[P, T]) -> Callable[P, T]:
    """Lets a function that is jitted be traced once and no more: all batches of a run have one shape."""
    traces = itertools.count(1)

    @functools.wraps(step)
    def counted(*arguments: P.args, **named: P.kwargs) -> T:
        if next(traces) > 1:
            raise AssertionError(f"{step.__name__} is traced more than once")
        return step(*arguments, **named)

    return counted
