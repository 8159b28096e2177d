"""The flagship's training step in PyTorch, for `benchmarks.flagship_step`.

A step picks a batch, augments its lists of notes, makes rolls and counts of them, infers, decodes, and updates the
parameters and their moving average.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.contestants import Start, TorchContestant
from vae_jax.music import instruments
from vae_jax.representations.pianoroll.config import DURATION, PART, PITCH, STEP
from vae_jax.representations.pianoroll.rasterize import DURATION_EDGES, DURATION_REGISTER, DURATION_SPANS

_NEAR_KEYS = (-12, -7, -5, 5, 7, 12)  # The augmentation's, in semitones.
_LOG_VAR_SCALE, _LONGEST_STEP = 10.0, 0.7  # The model's.
_LAGS = (1, 2, 3, 4, 6, 8, 12, 16)


def flat_params(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Parameters by one name each: that of the layer and its own."""
    flat: dict[str, np.ndarray] = {}
    for name, value in params.items():
        parts = {f"{name}_{own}": part for own, part in value.items()} if isinstance(value, Mapping) else {name: value}
        flat |= parts
    return flat


def step_flops(start: Start) -> int:
    """Floating-point operations of the matrix products of a step of a full batch, counted by hand.

    A beat's kernel of H numbers needs P = 2 H operations to decode; a preconditioner of G numbers Q = 2 G; the prior's
    kernels of F numbers in all R = 2 F. With K unrolled steps a beat needs forward:
      P + Q for the first guess; 2 P + Q for each unrolled step, to the logits and back; P to decode; R for the prior:
      (2 K + 2) P + (K + 1) Q + R.
    Backward:
      2 P for decoding, the gradients by the kernel and by the latents; for each unrolled step 2 P, the gradients by the
      inputs of both products, because the kernel is not trained through inference, and 2 Q; Q for the first guess,
      whose input has no gradient; 2 R: (2 K + 2) P + (2 K + 1) Q + 2 R.
    """
    params, num_iterations = start.variables["params"], start.config["model"]["num_iterations"]
    wide, square = 2 * params["kernel"].size, 2 * params["start"].size
    prior = 2 * sum(layer["kernel"].size for name, layer in params.items() if name.startswith("prior_"))
    num_beats = start.batch_size * start.examples["inside"].shape[1]
    return num_beats * ((4 * num_iterations + 4) * wide + (3 * num_iterations + 2) * square + 3 * prior)


class Torch(TorchContestant):
    """The flagship; `compiled` passes everything up to the loss through `torch.compile`.

    The optimiser is PyTorch's fused one in both: `torch.compile` makes it slower.
    """

    def __init__(self, start: Start, compiled: bool):
        super().__init__(start)
        self._model = _make_model(start)
        self._loss = self._torch.compile(self._model, dynamic=False) if compiled else self._model
        self._reset()

    def parameters(self) -> dict[str, np.ndarray]:
        """The moving average of the parameters."""
        names = [name for name, _ in self._model.named_parameters()]
        return {name: value.numpy().copy() for name, value in zip(names, self._average, strict=True)}

    def _reset(self) -> None:
        torch, config = self._torch, self._start.config["optimizer"]
        parameters = list(self._model.parameters())
        with torch.no_grad():
            for name, parameter in self._model.named_parameters():
                parameter.copy_(torch.tensor(flat_params(self._start.variables["params"])[name]))
        self._average = [parameter.detach().clone() for parameter in parameters]
        self._optimizer = torch.optim.Adam(
            parameters, lr=config["learning_rate"], betas=(0.9, config["b2"]), eps=1e-8, fused=True
        )
        warmup = min(config["warmup_steps"], self._start.num_steps // 2)
        factor = functools.partial(_rate_factor, warmup, max(self._start.num_steps, warmup + 1))
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, factor)
        self._num_updates = 0

    def _draw(self, batch_size: int) -> dict[str, Any]:
        torch, augment = self._torch, self._start.config["augment"]
        shift = torch.tensor(_NEAR_KEYS)[torch.randint(len(_NEAR_KEYS), (batch_size, 1))]
        dropped = torch.rand(batch_size, 1) < augment["drop_parts_probability"]
        return super()._draw(batch_size) | {
            "shift": shift * (torch.rand(batch_size, 1) < augment["transpose_probability"]),
            "keep": (torch.rand(batch_size, instruments.NUM_PARTS) < 0.5) | ~dropped,
            "mixed": torch.rand(batch_size, 1) < augment["mix_probability"],
        }

    def _apply_gradients(self) -> None:
        torch, config = self._torch, self._start.config
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), config["optimizer"]["clip_norm"])
        self._optimizer.step()
        self._schedule.step()
        step = self._num_updates
        decay = min(config["train"]["average_decay"], (step + 1) / (step + 10))  # As `step.make_train_step` does.
        with torch.no_grad():
            torch._foreach_lerp_(self._average, list(self._model.parameters()), 1 - decay)
        self._num_updates += 1


def _rate_factor(warmup: int, num_steps: int, step: int) -> float:
    """What the learning rate is multiplied by: linear warm-up from zero, then a cosine to zero."""
    if step < warmup:
        return step / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / (num_steps - warmup))))


def _rolls(examples: Mapping[str, Any], draws: Mapping[str, Any], shape: tuple[int, int, int]) -> tuple[Any, Any]:
    """Augmented rolls of onsets, float32 [B, T, S, P, C], and how many notes outlast each class, [B, T, 2, R, C - 1,
    K + 1]; crops are laid over each other while they are lists."""
    import torch

    steps, pitches, num_parts = shape
    step, part, pitch, duration = (examples["notes"][..., n].long() for n in (STEP, PART, PITCH, DURATION))
    pitch = pitch + torch.where(part == instruments.DRUMS, 0, draws["shift"][:, None])
    there = examples["mask"] & draws["keep"].gather(1, part.flatten(1)).view_as(part)
    laid_over = there.roll(1, 0) & draws["mixed"][:, None] & examples["inside"][..., None]
    step, part, pitch, duration = (torch.cat([x, x.roll(1, 0)], dim=2) for x in (step, part, pitch, duration))
    there = torch.cat([there, laid_over], dim=2) & (pitch >= 0) & (pitch < pitches)
    beat = torch.arange(there[..., 0].numel()).view(*there.shape[:2], 1)
    row, num_rows, registers = beat * steps + step, there[..., 0].numel() * steps, -(-pitches // DURATION_REGISTER)

    cell = torch.where(there, (row * pitches + pitch) * num_parts + part, num_rows * pitches * num_parts)
    onsets = torch.zeros(num_rows * pitches * num_parts + 1)  # The last cell is that of padding.
    onsets = onsets.scatter_(0, cell.flatten(), 1.0)[:-1].view(*there.shape[:2], *shape)
    is_pitched = there & (part != instruments.DRUMS)
    half, num_groups = beat * DURATION_SPANS + step * DURATION_SPANS // steps, registers * (num_parts - 1)
    last = there[..., 0].numel() * DURATION_SPANS * num_groups
    register = torch.where(is_pitched, half * num_groups + pitch // DURATION_REGISTER * (num_parts - 1) + part, last)
    longer = (duration[..., None] > torch.tensor((0, *DURATION_EDGES))).float().flatten(0, 2)
    outlasting = torch.zeros(last + 1, longer.shape[1]).index_add_(0, register.flatten(), longer)
    return onsets, outlasting[:-1].view(*there.shape[:2], DURATION_SPANS, registers, num_parts - 1, -1)


def _counts(onsets: Any, outlasting: Any, inside: Any, register: int, features: Sequence[Any]) -> tuple[Any, Any]:
    """Successes and trials of the modelled features of each group, [B, T, M] each.

    Sums over a beat first, which lies together in memory, and then over a register.
    """
    import torch
    from torch.nn import functional

    played = onsets[..., :-1].amax(dim=-1)
    beat = torch.cat([onsets[..., :-1], played[..., None]], dim=-1).sum(dim=2)
    beat = functional.pad(beat, (0, 0, 0, -beat.shape[2] % register))
    taken = beat.view(*beat.shape[:2], -1, register, beat.shape[3]).sum(dim=3)
    available = taken[..., -1:].expand(*taken.shape[:3], taken.shape[3] - 1)
    groups = (
        (played, None),
        (onsets[..., -1], None),
        (taken[..., :-1], available),
        (outlasting[..., 1:], outlasting[..., :-1]),
    )
    successes = [group.flatten(2)[..., index] for (group, _), index in zip(groups, features, strict=True)]
    trials = [
        torch.ones_like(mine) if tried is None else tried.flatten(2)[..., index]
        for mine, (_, tried), index in zip(successes, groups, features, strict=True)
    ]
    return torch.cat(successes, dim=-1), torch.cat(trials, dim=-1) * inside[..., None]


def _make_model(start: Start) -> Any:
    import torch
    from torch.nn import functional

    model, representation = start.config["model"], start.config["representation"]
    kl_weight, wide, narrow = start.config["loss"]["kl_weight"], model["kernel_beats"], model["preconditioner_beats"]
    shape = representation["steps_per_beat"], representation["num_pitches"], instruments.NUM_PARTS
    cells, register = shape[0] * shape[1], model["register_semitones"]
    bounds = np.cumsum([0, cells, cells, -(-shape[1] // register) * (shape[2] - 1), 10**9])
    chosen = np.asarray(start.variables["constants"]["features"], np.int64)
    features = [
        torch.from_numpy(chosen[(chosen >= first) & (chosen < last)] - first)
        for first, last in itertools.pairwise(bounds.tolist())
    ]

    def stack(x: Any, width: int) -> Any:
        padded, beats = functional.pad(x, (0, 0, width // 2, width // 2)), x.shape[1]
        return torch.cat([padded[:, n : n + beats] for n in range(width)], dim=-1)

    def add(x: Any, width: int) -> Any:
        parts = functional.pad(x, (0, 0, width // 2, width // 2)).chunk(width, dim=-1)
        return sum(part[:, width - 1 - n : width - 1 - n + x.shape[1]] for n, part in enumerate(parts))

    class RollVAE(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, value in flat_params(start.variables["params"]).items():
                self.register_parameter(name, torch.nn.Parameter(torch.tensor(value)))

        def infer(self, successes: Any, trials: Any, inside: Any) -> Any:
            kernel, bias = self.kernel.detach(), self.bias.detach()

            def pull_back(residual: Any) -> Any:
                return add(residual @ kernel.T, wide) * inside

            z = stack(pull_back(successes - trials * torch.sigmoid(bias)), narrow) @ self.start * inside
            step = torch.zeros_like(z)
            for n in range(model["num_iterations"]):
                residual = successes - trials * torch.sigmoid(stack(z, wide) @ kernel + bias)
                gradient = pull_back(residual) - model["prior_weight"] * z
                step = self.momentum[n] * step + stack(gradient, narrow) @ self.preconditioner[n]
                step = _LONGEST_STEP * torch.tanh(step / _LONGEST_STEP)
                z = (z + step) * inside
            return z

        def prior(self, z: Any) -> Any:
            past = torch.cat([functional.pad(z, (0, 0, lag, 0))[:, : z.shape[1]] for lag in _LAGS], dim=-1)
            hidden = functional.gelu(past @ self.prior_hidden_kernel + self.prior_hidden_bias, approximate="tanh")
            out = hidden @ self.prior_out_kernel + self.prior_out_bias + past @ self.prior_skip_kernel
            return out.chunk(2, dim=-1)

        def forward(self, examples: Mapping[str, Any], draws: Mapping[str, Any]) -> Any:
            inside = examples["inside"].float()[..., None]
            successes, trials = _counts(*_rolls(examples, draws, shape), inside[..., 0], register, features)
            mean, log_var = self.infer(successes, trials, inside), _LOG_VAR_SCALE * self.scaled_log_var * inside
            z = (mean + torch.exp(log_var / 2) * draws["noise"]) * inside
            logits = stack(z, wide) @ self.kernel + self.bias
            nats = (trials * functional.softplus(logits) - successes * logits).sum(dim=(1, 2))
            prior_mean, prior_log_var = self.prior(z)
            squares = ((mean - prior_mean).square() + log_var.exp()) * torch.exp(-prior_log_var)
            kl = 0.5 * ((squares - 1 - log_var + prior_log_var) * inside).sum(dim=(1, 2))
            return (nats + kl_weight * kl).mean()

    return RollVAE()
