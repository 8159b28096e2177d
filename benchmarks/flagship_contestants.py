"""The flagship's training step in JAX and in PyTorch, for `benchmarks.flagship_step`.

Both start from the same parameters and have the same notes at hand. A step picks a batch, augments its lists of notes,
makes rolls and counts of them, infers, decodes, and updates the parameters and their moving average. Every contestant
has `num_parameters()`, `losses(batches, draws)`, which trains anew and returns the loss of each step, `train(batches)`,
which trains on and is timed, `parameters()`, which gives the moving average, and `matmul(size)`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.interleaved import matmul_seconds
from benchmarks.post_contestants import square
from vae_jax.music import instruments

_STEP, _PART, _PITCH = range(3)  # Columns of a note.
_NEAR_KEYS = (-12, -7, -5, 5, 7, 12)  # `augment`'s, in semitones.
_LOG_VAR_SCALE = 10.0  # The model's.
_STEPS_AHEAD = 3  # The training loop's.


@dataclasses.dataclass(frozen=True, eq=False)
class Start:
    """What the contestants start from, in NumPy's arrays.

    Attributes:
      config: the resolved config.
      num_steps: updates in the run, which the learning rate's schedule goes by.
      variables: "params" and "constants" of the model, started from PCA.
      arrays: the training examples, "notes" int16 [N, notes, 4] and "mask" bool [N, notes].
    """

    config: Mapping[str, Any]
    num_steps: int
    variables: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]


class Draws(NamedTuple):
    """What a step draws.

    Attributes:
      shift: semitones by which each example is moved, [B, 1] integers.
      keep: which parts of each are kept, bool [B, parts].
      mixed: whether each has the one before it laid over, bool [B, 1].
      noise: of the latents, [B, Z] float32.
    """

    shift: Any
    keep: Any
    mixed: Any
    noise: Any


def step_flops(batch_size: int, latent_dim: int, num_features: int, num_iterations: int) -> int:
    """Floating-point operations of a step's matrix products, counted by hand.

    With P = 2 x latents x features and Q = 2 x latents x latents, an example needs forward:
      P + Q for the first guess; 2 P + Q for each unrolled step, to the logits and back; P to decode: (2 K + 2) P +
      (K + 1) Q.
    Backward:
      2 P for decoding, the gradients by the kernel and by the latents; for each unrolled step 2 P, the gradients by the
      inputs of both products, for inside inference nobody learns the kernel, and 2 Q; Q for the first guess, whose
      input has no gradient: (2 K + 2) P + (2 K + 1) Q.
    """
    wide, square_product = 2 * latent_dim * num_features, 2 * latent_dim**2
    return batch_size * ((4 * num_iterations + 4) * wide + (3 * num_iterations + 2) * square_product)


class Ours:
    """vae_jax as `run.py --config=configs/anthems.py` runs it."""

    def __init__(self, start: Start):
        from vae_jax.data.dataset import ArrayExamples
        from vae_jax.training import experiment

        self._start = start
        self._experiment = experiment.build_experiment(start.config)
        self._step = self._experiment.train_step(start.num_steps)
        self._resident = ArrayExamples(start.arrays).resident()
        self._batch_size = min(start.config["train"]["batch_size"], len(start.arrays["mask"]))
        self._state = self._init()

    def num_parameters(self) -> int:
        """Number of trained values."""
        import jax

        return sum(leaf.size for leaf in jax.tree.leaves(self._state.params))

    def draws(self, batch_size: int, num_steps: int) -> list[Draws]:
        """What the first steps draw: `train.augmented_loss` and `augment.RollAugmentation`, key by key."""
        import jax

        augment, size = self._start.config["augment"], batch_size

        def drawn(step: int) -> Draws:
            input_key, noise_key = jax.random.split(jax.random.fold_in(self._experiment.keys()["train"], step))
            shift_key, moved_key, keep_key, thin_key, mix_key = jax.random.split(input_key, 5)
            shift = jax.random.choice(shift_key, np.array(_NEAR_KEYS, np.int16), (size,))
            moved = jax.random.bernoulli(moved_key, augment["transpose_probability"], (size,))
            thinned = jax.random.bernoulli(thin_key, augment["thin_probability"], (size, 1))
            keep = jax.random.bernoulli(keep_key, 0.5, (size, instruments.NUM_PARTS)) | ~thinned
            mixed = jax.random.bernoulli(mix_key, augment["mix_probability"], (size, 1))
            noise = jax.random.normal(noise_key, (size, self._experiment.model.latent_dim))
            return Draws((shift * moved)[:, None], keep, mixed, noise)

        return [Draws(*map(np.asarray, drawn(step))) for step in range(num_steps)]

    def losses(self, batches: Sequence[np.ndarray], draws: Sequence[Draws]) -> list[float]:
        """Trains anew; returns the loss of each step. The draws are its own: those of `draws`."""
        del draws
        self._state = self._init()
        return [float(self._update(batch)["loss"]) for batch in batches]

    def train(self, batches: Sequence[np.ndarray]) -> None:
        """Trains on batches, each int32 [B] indices, and waits for the last; a few steps ahead, as the program does."""
        import jax

        ahead: list[Any] = []
        for batch in batches:
            ahead.append(self._update(batch))
            if len(ahead) > _STEPS_AHEAD:
                jax.block_until_ready(ahead.pop(0))
        jax.block_until_ready(self._state)

    def parameters(self) -> dict[str, np.ndarray]:
        """The moving average of the parameters."""
        import jax

        return jax.tree.map(np.array, self._state.average)

    def matmul(self, size: int) -> float:
        """Seconds of one matrix product."""
        import jax
        import jax.numpy as jnp

        a = jnp.asarray(square(size))
        multiply = jax.jit(jnp.matmul)
        return matmul_seconds(lambda: multiply(a, a).block_until_ready())

    def counted(self, batch_size: int) -> dict[str, float]:
        """What XLA counts in a step: floating-point operations, and bytes that go in and out of its kernels."""
        from vae_jax.data.dataset import Batch

        step = self._experiment.train_step(self._start.num_steps)
        batch = Batch.place(np.arange(batch_size, dtype=np.int32), batch_size, batch_size)
        cost = step.lower(self._state, self._resident, batch).compile().cost_analysis()
        return {"flops": cost["flops"], "bytes": cost["bytes accessed"]}

    def _init(self) -> Any:
        import jax

        from vae_jax.runtime import sharding
        from vae_jax.training import step as step_lib

        variables, decay = jax.device_put(dict(self._start.variables)), self._start.config["train"]["average_decay"]
        state = step_lib.init_state(variables, self._experiment.optimizer(self._start.num_steps), decay)
        return sharding.replicate(state)  # As `loop.fit` does; a state elsewhere has the step compiled twice.

    def _update(self, batch: np.ndarray) -> Any:
        from vae_jax.data.dataset import Batch

        rows = np.pad(batch, (0, self._batch_size - len(batch)), mode="edge")
        self._state, terms = self._step(self._state, self._resident, Batch.place(rows, len(rows), len(batch)))
        return terms


class Torch:
    """PyTorch as one would write it; `compiled` passes everything up to the loss through `torch.compile`.

    The optimiser is PyTorch's fused one in both: `torch.compile` makes it slower.
    """

    def __init__(self, start: Start, compiled: bool):
        import torch

        self._torch, self._start = torch, start
        torch.manual_seed(start.config["seed"])
        self._notes, self._mask = (torch.tensor(start.arrays[name]) for name in ("notes", "mask"))
        self._model = _torch_model(start)
        self._loss = torch.compile(self._model, dynamic=False) if compiled else self._model
        self._reset()

    def num_parameters(self) -> int:
        """Number of trained values."""
        return sum(parameter.numel() for parameter in self._model.parameters())

    def losses(self, batches: Sequence[np.ndarray], draws: Sequence[Draws]) -> list[float]:
        """Trains anew with the draws given; returns the loss of each step."""
        self._reset()
        given = [Draws(*map(self._torch.tensor, one)) for one in draws]
        return [self._update(batch, one).item() for batch, one in zip(batches, given, strict=True)]

    def train(self, batches: Sequence[np.ndarray]) -> None:
        """Trains on batches, each int32 [B] indices, with draws of its own."""
        draw = functools.partial(_torch_draw, self._start.config["augment"], self._start.config["model"]["latent_dim"])
        for batch in batches:
            self._update(batch, draw(len(batch)))

    def parameters(self) -> dict[str, np.ndarray]:
        """The moving average of the parameters."""
        names = [name for name, _ in self._model.named_parameters()]
        return {name: value.numpy().copy() for name, value in zip(names, self._average, strict=True)}

    def matmul(self, size: int) -> float:
        """Seconds of one matrix product."""
        a = self._torch.tensor(square(size))
        return matmul_seconds(lambda: a @ a)

    def _reset(self) -> None:
        torch, config = self._torch, self._start.config["optimizer"]
        parameters = list(self._model.parameters())
        with torch.no_grad():
            for name, parameter in self._model.named_parameters():
                parameter.copy_(torch.tensor(self._start.variables["params"][name]))
        self._average = [parameter.detach().clone() for parameter in parameters]
        self._optimizer = torch.optim.Adam(
            parameters, lr=config["learning_rate"], betas=(0.9, config["b2"]), eps=1e-8, fused=True
        )
        warmup = min(config["warmup_steps"], self._start.num_steps // 2)
        factor = functools.partial(_rate_factor, warmup, max(self._start.num_steps, warmup + 1))
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, factor)
        self._num_updates = 0

    def _update(self, batch: np.ndarray, draws: Draws) -> Any:
        torch, config = self._torch, self._start.config
        rows = torch.from_numpy(batch)
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._loss(self._notes[rows], self._mask[rows], draws)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), config["optimizer"]["clip_norm"])
        self._optimizer.step()
        self._schedule.step()
        step = self._num_updates
        decay = min(config["train"]["average_decay"], (step + 1) / (step + 10))  # As `train.make_train_step` does.
        with torch.no_grad():
            torch._foreach_lerp_(self._average, list(self._model.parameters()), 1 - decay)
        self._num_updates += 1
        return loss


def _rate_factor(warmup: int, num_steps: int, step: int) -> float:
    """What the learning rate is multiplied by: up from nothing on a line, down to nothing on a cosine."""
    if step < warmup:
        return step / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / (num_steps - warmup))))


def _torch_draw(augment: Mapping[str, float], latent_dim: int, size: int) -> Draws:
    import torch

    shift = torch.tensor(_NEAR_KEYS)[torch.randint(len(_NEAR_KEYS), (size, 1))]
    moved = torch.rand(size, 1) < augment["transpose_probability"]
    thinned = torch.rand(size, 1) < augment["thin_probability"]
    keep = (torch.rand(size, instruments.NUM_PARTS) < 0.5) | ~thinned
    mixed = torch.rand(size, 1) < augment["mix_probability"]
    return Draws(shift * moved, keep, mixed, torch.randn(size, latent_dim))


def _torch_rolls(notes: Any, mask: Any, draws: Draws, shape: tuple[int, int, int]) -> Any:
    """Augmented rolls of onsets, float32 [B, T, P, C]; one example is laid over another while they are lists."""
    import torch

    steps, pitches, num_parts = shape
    step, part, pitch = (notes[..., column].long() for column in (_STEP, _PART, _PITCH))
    pitch = pitch + torch.where(part == instruments.DRUMS, 0, draws.shift)
    inside = mask & draws.keep.gather(1, part) & (step >= 0) & (step < steps) & (pitch >= 0) & (pitch < pitches)
    cell = (step * pitches + pitch) * num_parts + part
    cell = torch.cat([cell, cell.roll(1, 0)], dim=1)
    inside = torch.cat([inside, inside.roll(1, 0) & draws.mixed], dim=1)
    size = steps * pitches * num_parts
    cell = torch.where(inside, cell + size * torch.arange(len(notes))[:, None], size * len(notes))
    rolls = torch.zeros(size * len(notes) + 1)  # The last takes what is no note.
    return rolls.scatter_(0, cell.flatten(), 1.0)[:-1].view(-1, *shape)


def _torch_counts(x: Any, model: Mapping[str, Any], onset_cells: Any, drum_cells: Any) -> tuple[Any, Any]:
    """Successes and trials of the modelled features, [B, M] each: onset cells, drum cells, all shares.

    Sums over a beat first, which lies together in memory, and then over a register: three times faster than at once.
    """
    import torch

    batch, steps, pitches, num_parts = x.shape
    beats, register = model["window_beats"], model["register_semitones"]
    played = x[..., :-1].amax(dim=-1)
    taken = x.view(batch, beats, steps // beats, pitches * num_parts).sum(dim=2)
    taken = taken.view(batch, beats, -1, register, num_parts).sum(dim=3)[..., :-1]
    trials = played.view(batch, beats, steps // beats, pitches).sum(dim=2)
    trials = trials.view(batch, beats, -1, register).sum(dim=3)[..., None].expand_as(taken)
    cells = torch.cat([played.flatten(1)[:, onset_cells], x[..., -1].flatten(1)[:, drum_cells]], dim=1)
    return torch.cat([cells, taken.flatten(1)], dim=1), torch.cat([torch.ones_like(cells), trials.flatten(1)], dim=1)


def _torch_model(start: Start) -> Any:
    import torch
    from torch.nn import functional

    model, loss = start.config["model"], start.config["loss"]
    representation = start.config["representation"]
    steps, pitches = representation["steps_per_beat"] * representation["window_beats"], representation["num_pitches"]
    features = torch.tensor(start.variables["constants"]["features"], dtype=torch.long)
    is_onset, is_drum = features < steps * pitches, (features >= steps * pitches) & (features < 2 * steps * pitches)

    class RollVAE(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, value in start.variables["params"].items():
                self.register_parameter(name, torch.nn.Parameter(torch.tensor(value)))
            self.register_buffer("onset_cells", features[is_onset])
            self.register_buffer("drum_cells", features[is_drum] - steps * pitches)

        def infer(self, successes: Any, trials: Any) -> Any:
            kernel, bias = self.kernel.detach(), self.bias.detach()
            z = (successes - trials * torch.sigmoid(bias)) @ kernel.T @ self.start
            step = torch.zeros_like(z)
            for n in range(model["num_iterations"]):
                surprise = successes - trials * torch.sigmoid(torch.addmm(bias, z, kernel))
                gradient = surprise @ kernel.T - model["prior_weight"] * z
                step = self.momentum[n] * step + gradient @ self.preconditioner[n]
                z = z + step
            return z

        def forward(self, notes: Any, mask: Any, draws: Draws) -> Any:
            x = _torch_rolls(notes, mask, draws, (steps, pitches, instruments.NUM_PARTS))
            successes, trials = _torch_counts(x, model, self.onset_cells, self.drum_cells)
            mean, log_var = self.infer(successes, trials), _LOG_VAR_SCALE * self.scaled_log_var
            logits = torch.addmm(self.bias, mean + torch.exp(log_var / 2) * draws.noise, self.kernel)
            nats = (trials * functional.softplus(logits) - successes * logits).sum(dim=1)
            kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(dim=1)
            return (loss["loss_factor"] * nats + loss["reg_factor"] * kl).mean()

    return RollVAE()
