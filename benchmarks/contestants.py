"""What the contestants of a training benchmark start from; vae_jax as a contestant, and the base of those in PyTorch.

A contestant is an object in a process of its own (`interleaved`), with these methods:

  num_parameters()          number of trained values
  losses(batches, draws)    trains anew with the given draws; returns the loss of every step
  train(batches)            trains on with draws of its own until the last step is done: this is what is timed
  parameters()              the moving average of the parameters (of the flagship only)
  matmul(size)              seconds of one product of square matrices, float32

A batch is int32 [B], indices of examples; what a step draws is a dict of arrays: "noise" of the latents, float32
[B, Z] or [B, T, Z], and the fields of the representation's augmentation where the config has one.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

# What imports JAX is imported in functions: PyTorch's processes import this module, too.

Arrays = Mapping[str, np.ndarray]

_MATMUL_REPEATS = 5
_STEPS_AHEAD = 3  # The training loop's.


@dataclasses.dataclass(frozen=True, eq=False)
class Start:
    """What the contestants start from, as NumPy arrays.

    Attributes:
      config: the resolved config.
      num_steps: updates in the run, which the schedule of the learning rate depends on.
      variables: the model's collections by name: "params" and its constants.
      examples: the training examples, arrays [N, ...] by name.
    """

    config: Mapping[str, Any]
    num_steps: int
    variables: Mapping[str, Any]
    examples: Arrays

    @property
    def num_examples(self) -> int:
        """N."""
        return len(next(iter(self.examples.values())))

    @property
    def batch_size(self) -> int:
        """Examples in a full batch."""
        return min(self.config["train"]["batch_size"], self.num_examples)

    def latent_shape(self, batch_size: int) -> tuple[int, ...]:
        """Shape of the latents of a batch: [B, Z], or [B, T, Z] where examples are crops of beats."""
        beats = self.examples["inside"].shape[1:] if "inside" in self.examples else ()
        return (batch_size, *beats, self.config["model"]["latent_dim"])


class Ours:
    """vae_jax as `run.py` trains the first stage."""

    def __init__(self, start: Start):
        import jax

        from vae_jax.data.dataset import ArrayExamples
        from vae_jax.training import experiment, step

        self._start, self._experiment = start, experiment.build_experiment(start.config)
        trainable, decay = self._experiment.trainable, self._experiment.train.average_decay
        optimizer, self._key = trainable.optimizer(start.num_steps), jax.random.key(self._experiment.seed)
        self._step: Any = step.make_train_step(trainable, optimizer, self._key, decay)
        self._init = lambda variables: step.init_state(variables, optimizer, decay)
        example_type = self._experiment.representation.example_type
        self._resident = ArrayExamples(example_type(**start.examples)).resident()
        self._reset()

    def num_parameters(self) -> int:
        """Number of trained values."""
        import jax

        return sum(leaf.size for leaf in jax.tree.leaves(self._state.params))

    def draws(self, batch_size: int, num_steps: int) -> list[Arrays]:
        """What the first steps draw; the keys are those of `make_train_step` and `TrainableVAE.loss`."""
        import jax
        import jax.numpy as jnp

        from vae_jax.models.posterior import STANDARD, Posterior, reparameterize

        form = self._start.config["model"].get("reparameterization", STANDARD)
        standard = Posterior(*jnp.zeros((2, *self._start.latent_shape(batch_size))))
        probabilities, drawn = self._start.config.get("augment"), []
        for step in range(num_steps):
            augment_key, noise_key = jax.random.split(jax.random.fold_in(self._key, step))
            draws = {"noise": reparameterize(noise_key, standard, form)}
            if probabilities is not None:
                augmentation: Any = self._experiment.representation.make_augmentation(probabilities)
                draws |= augmentation.draw(augment_key, batch_size)._asdict()
            drawn.append(jax.device_get(draws))
        return drawn

    def losses(self, batches: Sequence[np.ndarray], draws: Sequence[Arrays]) -> list[float]:
        """Trains anew; the draws are its own, which are those of `draws`."""
        del draws
        self._reset()
        return [float(self._update(batch)["loss"]) for batch in batches]

    def train(self, batches: Sequence[np.ndarray]) -> None:
        """Trains on, a few steps ahead of the device, as the training loop does."""
        import jax

        metrics: list[Any] = []
        for batch in batches:
            metrics.append(self._update(batch))
            if len(metrics) > _STEPS_AHEAD:
                jax.block_until_ready(metrics[-1 - _STEPS_AHEAD])
        jax.block_until_ready(self._state)

    def parameters(self) -> Any:
        """The parameters that are evaluated."""
        import jax

        return jax.tree.map(np.array, self._state.trained_variables["params"])

    def matmul(self, size: int) -> float:
        """Seconds of one matrix product."""
        import jax
        import jax.numpy as jnp

        a, multiply = jnp.asarray(_square(size)), jax.jit(jnp.matmul)
        return shortest(lambda: multiply(a, a).block_until_ready())

    def count_costs(self) -> dict[str, float]:
        """What XLA counts in a step: floating-point operations, and bytes that go in and out of its kernels."""
        batch = self._place(np.arange(self._start.batch_size, dtype=np.int32))
        cost = self._step.lower(self._state, self._resident, batch).compile().cost_analysis()
        return {"flops": cost["flops"], "bytes": cost["bytes accessed"]}

    def _reset(self) -> None:
        import jax

        from vae_jax.runtime import sharding

        # As `loop.fit` does; the step would be traced twice for a state that lies elsewhere.
        self._state = sharding.replicate(self._init(jax.device_put(dict(self._start.variables))))

    def _update(self, batch: np.ndarray) -> Any:
        self._state, metrics = self._step(self._state, self._resident, self._place(batch))
        return metrics

    def _place(self, batch: np.ndarray) -> Any:
        from vae_jax.data.dataset import Batch

        rows = np.pad(batch, (0, self._start.batch_size - len(batch)), mode="edge")
        return Batch.place(rows, len(rows), len(batch))


class TorchContestant:
    """Training in PyTorch as one would write it.

    A subclass sets, before the first step, `_model`, `_optimizer` and `_loss(examples, draws)`, a scalar, of tensors
    [B, ...] by name; and it says how to load the start's parameters.
    """

    _model: Any
    _optimizer: Any
    _loss: Callable[[Mapping[str, Any], Mapping[str, Any]], Any]

    def __init__(self, start: Start):
        import torch

        torch.manual_seed(start.config["seed"])
        self._torch, self._start = torch, start
        self._examples = {name: torch.tensor(array) for name, array in start.examples.items()}

    def num_parameters(self) -> int:
        """Number of trained values."""
        return sum(parameter.numel() for parameter in self._model.parameters())

    def losses(self, batches: Sequence[np.ndarray], draws: Sequence[Arrays]) -> list[float]:
        """Trains anew with the given draws; returns the loss of every step."""
        self._reset()
        tensors = [{name: self._torch.tensor(array) for name, array in drawn.items()} for drawn in draws]
        return [self._update(batch, drawn).item() for batch, drawn in zip(batches, tensors, strict=True)]

    def train(self, batches: Sequence[np.ndarray]) -> None:
        """Trains on with draws of its own."""
        for batch in batches:
            self._update(batch, self._draw(len(batch)))

    def matmul(self, size: int) -> float:
        """Seconds of one matrix product."""
        a = self._torch.tensor(_square(size))
        return shortest(lambda: a @ a)

    def _reset(self) -> None:
        """Loads the start's parameters and forgets what the optimiser knows."""
        raise NotImplementedError

    def _draw(self, batch_size: int) -> dict[str, Any]:
        return {"noise": self._torch.randn(self._start.latent_shape(batch_size))}

    def _apply_gradients(self) -> None:
        self._optimizer.step()

    def _update(self, batch: np.ndarray, draws: Mapping[str, Any]) -> Any:
        rows = self._torch.from_numpy(batch)
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._loss({name: array[rows] for name, array in self._examples.items()}, draws)
        loss.backward()
        self._apply_gradients()
        return loss


def shortest(function: Callable[[], Any]) -> float:
    """The shortest of some calls, in seconds."""
    function()
    seconds = []
    for _ in range(_MATMUL_REPEATS):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


@functools.cache
def _square(size: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(size, size)).astype(np.float32)
