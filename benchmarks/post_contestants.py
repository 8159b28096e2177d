"""The post's model, its loss and its optimiser in PyTorch and Keras, for `benchmarks.post_step`.

Parameters come as the program's: of each half of the model layers by name, each with a "kernel", (in, out) of a dense
layer or (height, width, in, out) of a convolution, and a "bias".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.contestants import Arrays, Start, TorchContestant

Layers = Mapping[str, Mapping[str, Arrays]]

_EPSILON = 1e-7  # Keras's, of the loss and of the optimiser.
_DECAY = 0.9
_NUM_CONVOLUTIONS = 4


def step_flops(start: Start) -> float:
    """Floating-point operations of the matrix products of a step of a full batch, counted by hand.

    Forward, gradient by the inputs, gradient by the kernels; the gradient by the examples is not needed.
    """
    halves, positions = start.variables["params"], int(np.prod(_shape(start)[:2]))
    kernels = [layer["kernel"] for half in halves.values() for layer in half.values()]
    forward = sum(2 * kernel.size * (positions if kernel.ndim == 4 else 1) for kernel in kernels)
    first = 2 * halves["encoder"]["conv_0"]["kernel"].size * positions
    return start.batch_size * (3.0 * forward - first)


def _shape(start: Start) -> tuple[int, int, int]:
    """(notes, features, tracks) of an example."""
    return start.examples["values"].shape[1:]


class Torch(TorchContestant):
    """The post's model; `compiled` passes the loss and the optimiser through `torch.compile`."""

    def __init__(self, start: Start, compiled: bool):
        super().__init__(start)
        torch = self._torch
        self._examples = {"values": torch.tensor(start.examples["values"].transpose(0, 3, 1, 2).copy())}
        self._model = _torch_model(start.variables["params"])
        rate = start.config["optimizer"]["learning_rate"]
        self._optimizer = torch.optim.RMSprop(self._model.parameters(), lr=rate, alpha=_DECAY, eps=_EPSILON)
        self._apply = self._optimizer.step
        self._loss = lambda examples, draws: _torch_loss(
            self._model, start.config["loss"]["kl_weight"], examples["values"], draws["noise"]
        )
        if compiled:
            self._loss, self._apply = (torch.compile(one, dynamic=False) for one in (self._loss, self._apply))
        self._reset()

    def _apply_gradients(self) -> None:
        self._apply()

    def _reset(self) -> None:
        torch, num_channels = self._torch, self._start.variables["params"]["encoder"]["conv_3"]["bias"].size
        with torch.no_grad():
            for half, layers in self._start.variables["params"].items():
                for name, values in layers.items():
                    layer, kernel = self._model[half][name], values["kernel"]
                    if isinstance(layer, torch.nn.Linear):
                        kernel = _channels_first(f"{half}/{name}", kernel, num_channels).T
                    elif isinstance(layer, torch.nn.ConvTranspose2d):
                        kernel = kernel[::-1, ::-1].transpose(2, 3, 0, 1)  # It turns the kernel round.
                    else:
                        kernel = kernel.transpose(3, 2, 0, 1)
                    layer.weight.copy_(torch.tensor(np.ascontiguousarray(kernel)))
                    layer.bias.copy_(torch.tensor(values["bias"]))
        self._optimizer.state.clear()


def _torch_model(params: Layers) -> Any:
    from torch import nn

    halves = {half: nn.ModuleDict() for half in params}
    for half, layers in params.items():
        for name, values in layers.items():
            shape = values["kernel"].shape
            if len(shape) == 2:
                halves[half][name] = nn.Linear(*shape)
                continue
            height, width, num_in, num_out = shape
            make = nn.Conv2d if half == "encoder" else nn.ConvTranspose2d
            halves[half][name] = make(num_in, num_out, (height, width), padding=(height // 2, width // 2))
    return nn.ModuleDict(halves)


def _channels_first(name: str, kernel: np.ndarray, num_channels: int) -> np.ndarray:
    """A dense kernel whose flattened side is ordered by [channel, note, feature], as PyTorch's arrays are."""
    if name == "encoder/dense_0":
        return kernel.reshape(-1, num_channels, kernel.shape[1]).swapaxes(0, 1).reshape(kernel.shape)
    if name == "decoder/dense_3":
        return kernel.reshape(kernel.shape[0], -1, num_channels).swapaxes(1, 2).reshape(kernel.shape)
    return kernel


def _torch_loss(model: Any, kl_weight: float, x: Any, noise: Any) -> Any:
    import torch

    encoder, decoder = model["encoder"], model["decoder"]
    y = x
    for n in range(_NUM_CONVOLUTIONS):
        y = torch.relu(encoder[f"conv_{n}"](y))
    channels = y.shape[1]
    y = y.flatten(1)
    for n in range(3):
        y = torch.sigmoid(encoder[f"dense_{n}"](y))
    mean, log_var = encoder["mean"](y), encoder["log_var"](y)
    z = mean + torch.exp(log_var) * noise
    for n in range(3):
        z = torch.sigmoid(decoder[f"dense_{n}"](z))
    y = torch.relu(decoder["dense_3"](z)).reshape(-1, channels, *x.shape[2:])
    for n in range(_NUM_CONVOLUTIONS):
        y = torch.relu(decoder[f"conv_{n}"](y))
    difference = torch.log1p(y.clamp(min=_EPSILON)) - torch.log1p(x.clamp(min=_EPSILON))
    kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(dim=1)
    return difference.square().mean() + kl_weight * kl.mean()


class Keras:
    """Keras 3 as one would write it: a model compiled with its optimiser and `train_on_batch`."""

    def __init__(self, start: Start):
        import keras
        from keras import ops

        self._keras, self._start, kl_weight = keras, start, start.config["loss"]["kl_weight"]

        class VAE(keras.Model):
            def __init__(self) -> None:
                super().__init__()
                self.encoder, self.decoder = _keras_halves(start)

            def call(self, inputs: Any) -> Any:
                x, noise = inputs
                mean, log_var = self.encoder(x)
                kl = 0.5 * ops.sum(ops.square(mean) + ops.exp(log_var) - 1 - log_var, axis=-1)
                self.add_loss(kl_weight * ops.mean(kl))
                return self.decoder(mean + ops.exp(log_var) * noise)

        self._model = VAE()
        # Keras 3 has its epsilon inside the root; Keras 2, which the post used, outside.
        optimizer = keras.optimizers.RMSprop(
            start.config["optimizer"]["learning_rate"], rho=_DECAY, epsilon=_EPSILON**2
        )
        self._model.compile(optimizer, loss="mean_squared_logarithmic_error")
        self._reset()

    def num_parameters(self) -> int:
        """Number of trained values."""
        return self._model.encoder.count_params() + self._model.decoder.count_params()

    def losses(self, batches: Sequence[np.ndarray], draws: Sequence[Arrays]) -> list[float]:
        """Trains anew with the given draws; returns the loss of every step."""
        self._reset()
        return [self._update(batch, drawn["noise"]) for batch, drawn in zip(batches, draws, strict=True)]

    def train(self, batches: Sequence[np.ndarray]) -> None:
        """Trains on; every step returns its loss."""
        rng = np.random.default_rng(0)
        for batch in batches:
            self._update(batch, rng.normal(size=(len(batch), self._start.config["model"]["latent_dim"])))

    def _update(self, batch: np.ndarray, noise: np.ndarray) -> float:
        x = self._start.examples["values"][batch]
        self._model.reset_metrics()
        return float(self._model.train_on_batch((x, noise.astype(np.float32)), x))

    def _reset(self) -> None:
        for half, layers in self._start.variables["params"].items():
            for name, values in layers.items():
                layer, kernel = getattr(self._model, half).get_layer(name), values["kernel"]
                if isinstance(layer, self._keras.layers.Conv2DTranspose):
                    kernel = kernel[::-1, ::-1].swapaxes(2, 3)  # It turns the kernel round, and has the outputs first.
                layer.set_weights([kernel, values["bias"]])
        for variable in self._model.optimizer.variables:
            if "velocity" in variable.path:
                variable.assign(np.zeros(variable.shape, np.float32))


def _keras_halves(start: Start) -> Any:
    from keras import Input, Model
    from keras.layers import Conv2D, Conv2DTranspose, Dense, Flatten, Reshape

    params, shape = start.variables["params"], _shape(start)

    def convolve(make: Any, half: str, n: int, y: Any) -> Any:
        height, width, _, channels = params[half][f"conv_{n}"]["kernel"].shape
        return make(channels, (height, width), padding="same", activation="relu", name=f"conv_{n}")(y)

    def dense(half: str, name: str, activation: str | None, y: Any) -> Any:
        return Dense(params[half][name]["bias"].size, activation=activation, name=name)(y)

    x = y = Input(shape)
    for n in range(_NUM_CONVOLUTIONS):
        y = convolve(Conv2D, "encoder", n, y)
    channels = y.shape[-1]
    y = Flatten()(y)
    for n in range(3):
        y = dense("encoder", f"dense_{n}", "sigmoid", y)
    encoder = Model(x, [dense("encoder", name, None, y) for name in ("mean", "log_var")])
    z = y = Input((start.config["model"]["latent_dim"],))
    for n in range(4):
        y = dense("decoder", f"dense_{n}", "sigmoid" if n < 3 else "relu", y)
    y = Reshape((*shape[:2], channels))(y)
    for n in range(_NUM_CONVOLUTIONS):
        y = convolve(Conv2DTranspose, "decoder", n, y)
    return encoder, Model(z, y)
