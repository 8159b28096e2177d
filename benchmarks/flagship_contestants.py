"""The flagship's training step in PyTorch, for `benchmarks.flagship_step`.

A step picks a batch, augments its lists of notes, makes rolls and counts of them, infers, decodes, and updates the
parameters and their moving average.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.contestants import Start, TorchContestant
from vae_jax.music import instruments
from vae_jax.representations.pianoroll.config import PART, PITCH, STEP

_NEAR_KEYS = (-12, -7, -5, 5, 7, 12)  # The augmentation's, in semitones.
_LOG_VAR_SCALE = 10.0  # The model's.


def step_flops(start: Start) -> int:
    """Floating-point operations of the matrix products of a step of a full batch, counted by hand.

    With P = 2 x latents x features and Q = 2 x latents x latents, an example needs forward:
      P + Q for the first guess; 2 P + Q for each unrolled step, to the logits and back; P to decode: (2 K + 2) P +
      (K + 1) Q.
    Backward:
      2 P for decoding, the gradients by the kernel and by the latents; for each unrolled step 2 P, the gradients by the
      inputs of both products, because the kernel is not trained through inference, and 2 Q; Q for the first guess,
      whose input has no gradient: (2 K + 2) P + (2 K + 1) Q.
    """
    latent_dim, num_features = start.variables["params"]["kernel"].shape
    num_iterations = start.config["model"]["num_iterations"]
    wide, square = 2 * latent_dim * num_features, 2 * latent_dim**2
    return start.batch_size * ((4 * num_iterations + 4) * wide + (3 * num_iterations + 2) * square)


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
                parameter.copy_(torch.tensor(self._start.variables["params"][name]))
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


def _rolls(notes: Any, mask: Any, draws: Mapping[str, Any], shape: tuple[int, int, int]) -> Any:
    """Augmented rolls of onsets, float32 [B, T, P, C]; windows are laid over each other while they are lists."""
    import torch

    steps, pitches, num_parts = shape
    step, part, pitch = (notes[..., column].long() for column in (STEP, PART, PITCH))
    pitch = pitch + torch.where(part == instruments.DRUMS, 0, draws["shift"])
    inside = mask & draws["keep"].gather(1, part) & (step >= 0) & (step < steps) & (pitch >= 0) & (pitch < pitches)
    cell = (step * pitches + pitch) * num_parts + part
    cell = torch.cat([cell, cell.roll(1, 0)], dim=1)
    inside = torch.cat([inside, inside.roll(1, 0) & draws["mixed"]], dim=1)
    size = steps * pitches * num_parts
    cell = torch.where(inside, cell + size * torch.arange(len(notes))[:, None], size * len(notes))
    rolls = torch.zeros(size * len(notes) + 1)  # The last cell is that of padding.
    return rolls.scatter_(0, cell.flatten(), 1.0)[:-1].view(-1, *shape)


def _counts(x: Any, model: Mapping[str, Any], onset_cells: Any, drum_cells: Any) -> tuple[Any, Any]:
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


def _make_model(start: Start) -> Any:
    import torch
    from torch.nn import functional

    model, representation = start.config["model"], start.config["representation"]
    kl_weight = start.config["loss"]["kl_weight"]
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
                residual = successes - trials * torch.sigmoid(torch.addmm(bias, z, kernel))
                gradient = residual @ kernel.T - model["prior_weight"] * z
                step = self.momentum[n] * step + gradient @ self.preconditioner[n]
                z = z + step
            return z

        def forward(self, examples: Mapping[str, Any], draws: Mapping[str, Any]) -> Any:
            x = _rolls(examples["notes"], examples["mask"], draws, (steps, pitches, instruments.NUM_PARTS))
            successes, trials = _counts(x, model, self.onset_cells, self.drum_cells)
            mean, log_var = self.infer(successes, trials), _LOG_VAR_SCALE * self.scaled_log_var
            logits = torch.addmm(self.bias, mean + torch.exp(log_var / 2) * draws["noise"], self.kernel)
            nats = (trials * functional.softplus(logits) - successes * logits).sum(dim=1)
            kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(dim=1)
            return (nats + kl_weight * kl).mean()

    return RollVAE()
